"""Rows that are NaN throughout are answered by NaN and never learnt from."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from pulsehr import (
    DistilledStudentRegressor,
    HeartRateTracker,
    PPGWindower,
    PulseTeacherRegressor,
    QuantizedStudentRegressor,
    Reading,
    Recording,
)
from pulsehr.baselines import MotionAwareSpectralRegressor, SpectralPeakRegressor
from pulsehr.datasets import make_recordings
from pulsehr.exceptions import MissingSamplesWarning
from pulsehr.tracking import causal_clip, causal_clip_readings

SMALL = {"max_epochs": 1, "filters": (2, 3, 4), "batch_size": 16, "random_state": 0, "verbose": 0}
LAPLACE = {**SMALL, "loss": "laplace"}

REGRESSORS = {
    "teacher": PulseTeacherRegressor(**SMALL),
    "teacher with std": PulseTeacherRegressor(network="interacting", **LAPLACE),
    "student": DistilledStudentRegressor(PulseTeacherRegressor(**SMALL), **SMALL),
    "student with std": DistilledStudentRegressor(
        PulseTeacherRegressor(**SMALL), network="interacting", **LAPLACE
    ),
    "integers": QuantizedStudentRegressor(
        DistilledStudentRegressor(PulseTeacherRegressor(**SMALL), **SMALL)
    ),
    "integers with std": QuantizedStudentRegressor(
        DistilledStudentRegressor(PulseTeacherRegressor(**SMALL), **LAPLACE)
    ),
    "peak": SpectralPeakRegressor(),
    "motion-aware peak": MotionAwareSpectralRegressor(),
}


@pytest.fixture(scope="module")
def rows():
    data = make_recordings(n_subjects=2, duration=40, random_state=0)
    return PPGWindower().fit_transform(data.X), data.y


@pytest.fixture(scope="module")
def fitted(rows):
    return {name: regressor.fit(*rows) for name, regressor in REGRESSORS.items()}


def without(X, rows):
    X = X.copy()
    X[rows] = np.nan
    return X


def predict(regressor, X, name):
    return np.array(
        regressor.predict(X, return_std=True) if "std" in name else regressor.predict(X)
    )


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("name", REGRESSORS)
def test_rows_of_nan_are_answered_by_nan_and_change_no_other(name, flat, fitted, rows):
    X = rows[0].reshape(len(rows[0]), -1) if flat else rows[0]
    expected = predict(fitted[name], X, name)
    expected[..., [0, 3, 4]] = np.nan
    np.testing.assert_array_equal(predict(fitted[name], without(X, [0, 3, 4]), name), expected)
    nothing = predict(fitted[name], without(X, slice(None)), name)
    np.testing.assert_array_equal(nothing, np.full_like(expected, np.nan))


@pytest.mark.parametrize("name", REGRESSORS)
def test_a_row_with_some_nan_is_an_error(name, fitted, rows):
    X = without(rows[0], 2)
    X[5, 1, 9] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN in row 5, expected rows of numbers"):
        fitted[name].predict(X)


@pytest.mark.parametrize("name", REGRESSORS)
def test_nothing_is_learnt_from_rows_of_nan(name, fitted, rows):
    message = r"X contains NaN throughout 2 of 34 rows, the first row 3, .* leave them out"
    with pytest.raises(ValueError, match=message):
        fitted[name].fit(without(rows[0], [3, 7]), rows[1])
    if hasattr(fitted[name], "partial_fit"):
        with pytest.raises(ValueError, match=message):
            fitted[name].partial_fit(without(rows[0], [3, 7]), rows[1])


def test_embeddings_of_rows_of_nan_are_nan(fitted, rows):
    for name in ("teacher", "student", "student with std"):
        embedding = fitted[name].transform(without(rows[0], [1]))
        np.testing.assert_array_equal(np.isnan(embedding).any(axis=1), np.arange(34) == 1)


def recording_with_a_gap():
    ppg = np.sin(np.arange(32 * 60) / 4) + np.random.default_rng(0).normal(size=32 * 60) / 9
    ppg[32 * 30 : 32 * 31] = np.nan
    acc = np.random.default_rng(1).normal(scale=0.3, size=(32 * 60, 3))
    return Recording(ppg=ppg, acc=acc, ppg_rate=32, acc_rate=32, subject="S1")


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", REGRESSORS)
def test_readings_over_a_gap_are_answered_by_nan_also_lazily(name, lazy, fitted):
    recording = recording_with_a_gap()
    windower = PPGWindower(lazy=lazy, missing="nan").fit(recording.readings())
    readings = recording.readings(gaps="keep")
    with pytest.warns(MissingSamplesWarning, match="4 of 27 rows"):
        windows = windower.transform(readings)
    answers = predict(fitted[name], windows, name)
    over = recording.over_gap([reading.instant for reading in readings])
    np.testing.assert_array_equal(np.isnan(answers), np.broadcast_to(over, answers.shape))
    there = predict(fitted[name], windower.transform(recording.readings()), name)
    np.testing.assert_array_equal(answers[..., ~over], there)
    with pytest.raises(
        ValueError, match="X contains NaN throughout 4 of 27 rows, the first row 12"
    ):
        fitted[name].fit(windows, np.full(27, 70.0))


class Listed(RegressorMixin, BaseEstimator):
    """Predict what a list says of each instant, with a std of 3 bpm."""

    def __init__(self, values=()):
        self.values = values

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X, return_std=False):
        bpm = np.array([self.values[round(reading.instant / 2)] for reading in X])
        return (bpm, np.full(len(X), 3.0)) if return_std else bpm


@pytest.mark.parametrize("lookahead", [0.0, 6.0])
@pytest.mark.parametrize("method", ["clip", "kalman", "belief"])
def test_a_tracker_answers_nan_by_nan_as_if_the_reading_were_not_there(method, lookahead):
    if method == "clip" and lookahead:
        return
    rng = np.random.default_rng(0)
    values = 80 + rng.normal(scale=9, size=60)
    values[[0, 17, 18, 40]] = np.nan
    recording = Recording(ppg=rng.normal(size=32 * 120), ppg_rate=32, subject="S1")
    readings = [Reading(recording, 2.0 * k) for k in rng.permutation(60)]
    there = [reading for reading in readings if not np.isnan(values[round(reading.instant / 2)])]
    tracker = HeartRateTracker(Listed(values), method=method, lookahead=lookahead).fit(readings)
    expected = np.array(tracker.predict(there, return_std=True))
    answers = np.array(tracker.predict(readings, return_std=True))
    missing = np.isnan(answers[0])
    assert missing.sum() == 4
    np.testing.assert_array_equal(np.isnan(answers[1]), missing)
    np.testing.assert_array_equal(answers[:, ~missing], expected)


def test_a_tracker_starts_anew_after_a_gap_longer_than_its_longest():
    values = np.full(60, 80.0)
    values[10:20] = np.nan
    values[20:] = 140.0
    recording = Recording(ppg=np.random.default_rng(0).normal(size=3840), ppg_rate=32)
    readings = [Reading(recording, 2.0 * k) for k in range(60)]
    tracker = HeartRateTracker(Listed(values), method="kalman", max_gap=10.0).fit(readings)
    assert tracker.predict(readings)[20] == 140.0
    tracker.set_params(max_gap=30.0)
    assert tracker.predict(readings)[20] < 120.0


def test_a_tracker_of_nothing_but_gaps_answers_nan():
    recording = Recording(ppg=np.random.default_rng(0).normal(size=3840), ppg_rate=32)
    readings = [Reading(recording, 2.0 * k) for k in range(9)]
    tracker = HeartRateTracker(Listed(np.full(9, np.nan)), method="belief").fit(readings)
    assert np.isnan(tracker.predict(readings, return_std=True)).all()


def test_a_tracked_pipeline_answers_readings_over_a_gap_by_nan(fitted):
    recording = recording_with_a_gap()
    windower = PPGWindower(missing="nan").fit(recording.readings())
    pipe = make_pipeline(windower, fitted["student with std"])
    tracker = HeartRateTracker(FrozenEstimator(pipe), method="kalman").fit(recording.readings())
    readings = recording.readings(gaps="keep")
    with pytest.warns(MissingSamplesWarning) as caught:
        bpm, std = tracker.predict(readings, return_std=True)
    assert len(caught) == 1
    over = recording.over_gap([reading.instant for reading in readings])
    np.testing.assert_array_equal(np.isnan(bpm), over)
    np.testing.assert_array_equal(np.isnan(std), over)


def test_clipping_passes_over_nan():
    values = [100.0] * 5 + [np.nan] + [100.0] * 5 + [np.nan, 150.0]
    clipped = causal_clip(values)
    np.testing.assert_array_equal(np.isnan(clipped), np.isnan(values))
    assert clipped[-1] == pytest.approx(110)
    recording = Recording(ppg=np.random.default_rng(0).normal(size=640), ppg_rate=32)
    readings = [Reading(recording, float(k)) for k in range(13)]
    np.testing.assert_array_equal(causal_clip_readings(readings, values), clipped)
