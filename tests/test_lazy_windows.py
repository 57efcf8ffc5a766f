"""Lazy windows are the array they stand for, cut row by row."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.utils import _safe_indexing, indexable

from pulsehr import (
    DistilledStudentRegressor,
    PPGWindower,
    PulseTeacherRegressor,
    Reading,
    Recording,
)
from pulsehr import _lazy as lazy_module
from pulsehr._cutting import Cutting
from pulsehr._lazy import LazyWindows
from pulsehr.datasets import make_recordings

SMALL = {"max_epochs": 2, "filters": (2, 3, 4), "batch_size": 16, "random_state": 0, "verbose": 0}

PARAMETERS = [
    {},
    {"normalize": None},
    {"normalize": "channel"},
    {"bandpass": (0.4, 4.0)},
    {"bandpass": (0.4, 4.0), "normalize": "channel", "sampling_rate": 25.0},
    {"padding": "reflect", "window": 12.0},
    {"antialias": False, "padding": "reflect", "window": 12.0, "bandpass": (0.4, 4.0)},
]


@pytest.fixture(scope="module")
def readings():
    """Rows of four recordings of several rates, one on 3 axes in another layout, shuffled."""
    rng = np.random.default_rng(0)
    recordings = [
        Recording(
            ppg=2048 + 50 * rng.normal(size=int(rate * 60)),
            ppg_rate=rate,
            acc=rng.normal(scale=0.4, size=shape),
            acc_rate=acc_rate,
            subject=f"S{rate}",
        )
        for rate, acc_rate, shape in (
            (64.0, 32.0, (32 * 60, 3)),
            (125.0, 125.0, (3, 125 * 60)),
            (50.4, 25.0, (25 * 60, 3)),
            (32.0, 32.0, (32 * 60, 3)),
        )
    ]
    rows = [row for recording in recordings for row in recording.readings(1.3, window=9.0)]
    return [rows[k] for k in rng.permutation(len(rows))]


@pytest.fixture(scope="module")
def lazy(readings):
    return PPGWindower(lazy=True).fit_transform(readings)


@pytest.fixture(scope="module")
def eager(readings):
    return PPGWindower().fit_transform(readings)


@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize("block", [7, 1024])
def test_lazy_windows_are_the_array_to_the_bit(readings, parameters, block, monkeypatch):
    eager = PPGWindower(**parameters)
    expected = eager.fit_transform(readings)
    np.testing.assert_array_equal(eager.transform(readings), expected)
    np.testing.assert_array_equal(clone(eager).fit(readings).transform(readings), expected)
    # how many are cut at a time changes no more than the order of the sums of the statistics
    monkeypatch.setattr(lazy_module, "BLOCK_WINDOWS", block)
    windower = PPGWindower(lazy=True, **parameters)
    lazy = windower.fit_transform(readings)
    assert isinstance(lazy, LazyWindows)
    assert (lazy.shape, lazy.ndim, lazy.dtype, len(lazy)) == (
        *(expected.shape, 3, np.float32, len(expected)),
    )
    if parameters.get("normalize") == "channel":
        np.testing.assert_allclose(windower.mean_, eager.mean_, rtol=1e-12)
        np.testing.assert_allclose(windower.scale_, eager.scale_, rtol=1e-12)
        if block == 7:
            np.testing.assert_allclose(np.asarray(lazy), expected, rtol=1e-6, atol=1e-6)
            return
    np.testing.assert_array_equal(np.asarray(lazy), expected, strict=True)
    np.testing.assert_array_equal(windower.transform(readings)[:], expected, strict=True)


@pytest.mark.parametrize(
    "rows",
    [
        *(slice(None), slice(3, 20), slice(20, 3, -4), slice(5, 5), 0, -1, np.int64(7)),
        *([5, 3, 3, 90], np.array([9, -2, 9]), np.arange(0), [], (np.array([4, 1]), Ellipsis)),
        *((slice(2, 9), Ellipsis), np.arange(160) % 3 == 0, np.zeros(160, bool)),
    ],
    ids=str,
)
def test_rows_are_indexed_as_in_an_array(lazy, eager, rows):
    assert len(eager) == 160
    np.testing.assert_array_equal(lazy[rows], eager[rows], strict=True)


@pytest.mark.parametrize(
    "rows",
    [160, [3, 160], (slice(None), 0), None, 1.5, "S1", [[1, 2]], np.ones(9, bool), (1, 2, 3), ()],
    ids=str,
)
def test_what_is_no_row_is_an_index_error(lazy, rows):
    with pytest.raises(IndexError):
        lazy[rows]


def test_index_errors_say_what_to_do(lazy):
    with pytest.raises(IndexError, match=r"expected rows .*numpy\.asarray\(windows\) cuts all"):
        lazy[:, 0]


def test_numpy_cuts_all_rows(lazy, eager):
    assert np.asarray(lazy, dtype=np.float64).dtype == np.float64
    np.testing.assert_array_equal(np.stack(list(lazy)), eager)
    with pytest.raises(ValueError, match="windows are cut anew, expected copy=True or None"):
        np.asarray(lazy, copy=False)


def test_a_pickle_cuts_the_same(lazy, eager):
    again = pickle.loads(pickle.dumps(lazy))
    np.testing.assert_array_equal(again[[40, 3]], eager[[40, 3]])
    assert repr(again) == "LazyWindows(160 windows of 4 channels and 256 times, 4 recordings)"


def test_scikit_learn_selects_rows(lazy, eager, readings):
    np.testing.assert_array_equal(_safe_indexing(lazy, np.array([5, 1])), eager[[5, 1]])
    np.testing.assert_array_equal(_safe_indexing(lazy, slice(2, 7)), eager[2:7])
    assert indexable(lazy)[0] is lazy
    train, test = train_test_split(lazy, random_state=0)
    expected = train_test_split(eager, random_state=0)
    np.testing.assert_array_equal(train, expected[0])
    np.testing.assert_array_equal(test, expected[1])
    y = np.arange(len(lazy), dtype=float)
    predicted = cross_val_predict(DummyRegressor(), lazy, y, cv=3)
    np.testing.assert_array_equal(predicted, cross_val_predict(DummyRegressor(), eager, y, cv=3))


def test_regressors_take_lazy_windows_for_the_array(readings):
    y = np.linspace(60, 120, len(readings))
    student = DistilledStudentRegressor(max_epochs=1, filters=(2, 3, 4), random_state=0, verbose=0)
    lazy = make_pipeline(PPGWindower(lazy=True), student).fit(readings, y)
    eager = make_pipeline(PPGWindower(), clone(student)).fit(readings, y)
    np.testing.assert_array_equal(lazy.predict(readings), eager.predict(readings))


def test_nothing_is_cut_before_it_is_asked_for(readings, monkeypatch):
    cut = []
    original = Cutting.cut

    def counted(self, recording, instants):
        cut.append(len(instants))
        return original(self, recording, instants)

    monkeypatch.setattr(Cutting, "cut", counted)
    windows = PPGWindower(lazy=True).fit(readings).transform(readings)
    PPGWindower().fit(readings)
    assert cut == []
    windows[[3, 4, 5]]
    assert sum(cut) == 3
    cut.clear()
    monkeypatch.setattr(lazy_module, "BLOCK_WINDOWS", 10)
    PPGWindower(lazy=True, normalize="channel").fit_transform(readings)
    assert sum(cut) == len(readings)
    assert max(cut) == 10
    cut.clear()
    PPGWindower(normalize="channel").fit_transform(readings)
    assert sum(cut) == len(readings)  # once for the statistics and the windows


def test_lazy_windows_do_not_follow_later_parameters(readings, eager):
    windower = PPGWindower(lazy=True)
    windows = windower.fit_transform(readings)
    windower.set_params(normalize=None, window=4.0)
    np.testing.assert_array_equal(windows[3:5], eager[3:5])


def test_fit_checks_instants_and_channels_without_cutting(readings):
    windower = PPGWindower(lazy=True)
    recording = next(r.recording for r in readings if r.subject == "S64.0")
    with pytest.raises(ValueError, match=r"instant 99 s of recording 'S64\.0' lies after the end"):
        windower.fit([*readings, Reading(recording, 99.0)])
    bare = Recording(ppg=np.sin(np.arange(1000) / 5), ppg_rate=32, subject="bare")
    with pytest.raises(ValueError, match="all have acceleration or all lack it"):
        windower.fit([*readings, Reading(bare, 9.0)])
    windower.fit(readings)
    with pytest.raises(ValueError, match="expected 4 channels as in fit, got 1"):
        windower.transform([Reading(bare, 9.0)])


def test_windows_cut_elsewhere_stay_an_array():
    windows = np.random.default_rng(0).normal(size=(5, 4, 64))
    lazy = PPGWindower(lazy=True).fit_transform(windows)
    np.testing.assert_array_equal(lazy, PPGWindower().fit_transform(windows), strict=True)


def test_lazy_flat_rows_are_refused(readings):
    with pytest.raises(ValueError, match="lazy=True gives 3-D windows, got flatten=True: set"):
        PPGWindower(lazy=True, flatten=True).fit(readings)


@pytest.mark.parametrize("teacher", [None, PulseTeacherRegressor(**SMALL)])
def test_estimators_learn_the_same_from_lazy_windows(teacher, tmp_path):
    data = make_recordings(n_subjects=3, duration=40, random_state=0)
    weights = np.arange(len(data.y)) % 4 > 0
    learnt = []
    for lazy in (False, True):
        student = DistilledStudentRegressor(teacher=teacher, **SMALL)
        pipe = make_pipeline(PPGWindower(lazy=lazy), student)
        told = {"groups": data.groups, "sample_weight": weights}
        pipe.fit(data.X, data.y, **{f"distilledstudentregressor__{k}": v for k, v in told.items()})
        learnt.append((pipe.predict(data.X), pipe.transform(data.X), student.ranges_))
    for eager, lazy in zip(*learnt, strict=True):
        np.testing.assert_equal(eager, lazy)


def test_lazy_windows_of_another_shape_than_in_fit_are_refused():
    data = make_recordings(n_subjects=1, duration=40, random_state=0)
    model = DistilledStudentRegressor(**SMALL)
    model.fit(PPGWindower(lazy=True).fit_transform(data.X), data.y)
    with pytest.raises(ValueError, match=r"channels of 256 times as in fit, got 4 .* 128"):
        model.predict(PPGWindower(window=4.0, lazy=True).fit_transform(data.X))
