"""Recordings are validated once and immutable; readings point into them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from pulsehr import Reading, Recording

PPG = np.sin(np.arange(640) / 5)
ACC = np.random.default_rng(0).normal(size=(640, 3))


class Series:
    """What numpy reads through __array__, as a column of a data frame."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype, copy=copy)


def make(**changes):
    fields = {"ppg": PPG, "ppg_rate": 32, "acc": ACC, "acc_rate": 32, "subject": "S1", "name": "r1"}
    return Recording(**{**fields, **changes})


def with_value(array, value):
    changed = array.copy()
    changed[7] = value
    return changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ppg": with_value(PPG, np.inf)}, r"ppg must be finite, or NaN .* 1 infinite .*\[7\]"),
        ({"acc": with_value(ACC, np.inf)}, r"acc must be finite, or NaN .* 3 infinite .*\[7, 0\]"),
        ({"ppg": np.full(640, np.nan)}, "ppg holds no sample, all 640 are NaN: leave it out"),
        ({"ppg": with_value(np.ones(640), np.nan)}, "ppg is constant: is the sensor connected"),
        ({"acc": ACC * [np.nan, 1, 1]}, "acc holds no sample"),
        ({"ppg": np.ones(640)}, "ppg is constant: is the sensor connected"),
        ({"acc": ACC * [1, 0, 1]}, "acc axis y is constant"),
        ({"ppg": []}, "ppg must not be empty"),
        ({"ppg": ACC}, r"ppg must have shape \(n_samples,\), got \(640, 3\)"),
        ({"acc": ACC[:, :2]}, r"acc must have shape \(n_samples, 3\), got \(640, 2\)"),
        ({"ppg_rate": 0}, r"ppg_rate \(Hz\) must be > 0, got 0"),
        ({"ppg_rate": np.nan}, r"ppg_rate \(Hz\) must be > 0, got nan"),
        ({"acc_rate": None}, "acc and acc_rate go together"),
        ({"acc": ACC[:300]}, r"ppg lasts 20.00 s but acc 9.38 s: check ppg_rate"),
        ({"ppg": PPG * 1e300}, "ppg must be finite"),
        ({"ppg": PPG + 1e12}, "ppg is constant"),
        ({"heart_rate": [70]}, "heart_rate and heart_rate_times go together"),
        ({"heart_rate": [], "heart_rate_times": []}, "must be 1-D, not empty"),
        ({"heart_rate": [70], "heart_rate_times": [8000]}, "within the 20 s of the signals, got"),
        ({"heart_rate": [70], "heart_rate_times": [-2]}, "within the 20 s of the signals, got"),
        ({"activity": [], "activity_times": []}, "must be 1-D, not empty"),
        ({"heart_rate": [70, 80], "heart_rate_times": [8]}, r"equal length, got shapes \(2,\)"),
        ({"heart_rate": [70, 19], "heart_rate_times": [8, 9]}, "20 to 250 bpm, got 19 at index 1"),
        ({"heart_rate": [251], "heart_rate_times": [8]}, "20 to 250 bpm, got 251 at index 0"),
        ({"heart_rate": [70, 80], "heart_rate_times": [9, 8]}, "heart_rate_times must increase"),
        ({"activity": ["rest"]}, "activity and activity_times go together"),
    ],
)
def test_bad_recording_is_refused_with_its_name(changes, message):
    with pytest.raises(ValueError, match=f"^Recording 'r1': .*{message}"):
        make(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ppg": ["a"] * 640}, "ppg must be numeric, got values of type <U1"),
        ({"ppg": PPG.astype(str)}, "ppg must be numeric"),
        ({"ppg": PPG + 1j}, "ppg must be numeric, got values of type complex128"),
        ({"ppg": PPG > 0}, "ppg must be numeric, got values of type bool"),
        ({"ppg": None}, "ppg must be numeric, got NoneType"),
        ({"ppg_rate": "64"}, r"ppg_rate \(Hz\) must be a number, got '64'"),
        ({"ppg_rate": True}, "must be a number, got True"),
    ],
)
def test_text_where_numbers_belong_is_a_type_error(changes, message):
    with pytest.raises(TypeError, match=f"Recording 'r1': .*{message}"):
        make(**changes)


def test_arrays_are_read_only_and_independent_of_the_callers():
    mine = PPG.astype(np.float32)
    view = mine[:]
    view.flags.writeable = False
    by_array, by_view, by_series = make(ppg=mine), make(ppg=view), make(ppg=Series(mine))
    mine[0] = 99
    for recording in (by_array, by_view, by_series):
        assert recording.ppg[0] == np.float32(PPG[0])
        with pytest.raises(ValueError, match="cannot set WRITEABLE"):
            recording.ppg.flags.writeable = True
    with pytest.raises(ValueError, match="read-only"):
        recording.ppg[0] = 1
    with pytest.raises(AttributeError):
        recording.ppg = PPG
    with pytest.raises(ValueError, match="read-only"):
        pickle.loads(pickle.dumps(recording)).ppg[0] = 1


def test_tensors_are_copied_into_memory():
    tensor = torch.from_numpy(PPG.copy())
    recording = make(ppg=tensor)
    tensor[0] = 99
    assert isinstance(recording.ppg, np.ndarray)
    np.testing.assert_array_equal(recording.ppg, PPG.astype(np.float32))


def test_acceleration_may_be_absent_or_transposed():
    assert make(acc=None, acc_rate=None).n_channels == 1
    np.testing.assert_array_equal(make(acc=ACC.T).acc, make().acc)


def test_acceleration_in_another_unit_is_warned_of():
    with pytest.warns(UserWarning, match=r"Recording 'r1': acc has a median length of .*9\.81"):
        make(acc=9.81 * (ACC * 0.1 + [0, 0, 1]))


def test_readings_start_after_a_window_and_end_with_the_recording():
    instants = [reading.instant for reading in make().readings(stride=2.0)]
    assert instants == [8, 10, 12, 14, 16, 18, 20]
    assert len(make().readings(stride=0.1, window=0.1)) == 200


def test_recording_shorter_than_a_window_has_no_readings():
    with pytest.raises(ValueError, match=r"Recording 'r1': lasts 20.00 s, shorter than a window"):
        make().readings(window=21)


@pytest.mark.parametrize("stride", [0, -1, np.inf])
def test_stride_must_be_positive(stride):
    with pytest.raises(ValueError, match="stride must be > 0"):
        make().readings(stride=stride)


def test_reading_knows_its_label_and_subject():
    recording = make(heart_rate=[70, 80], heart_rate_times=[8, 10.5])
    assert [r.heart_rate for r in recording.labelled_readings()] == [70, 80]
    assert [r.instant for r in recording.labelled_readings(window=9)] == [10.5]
    assert Reading(recording, 9.0).heart_rate is None
    assert Reading(recording, 9.0).subject == "S1"
    with pytest.raises(ValueError, match="has no heart_rate labels"):
        make().labelled_readings()


def test_reading_wants_a_recording_and_a_finite_instant():
    with pytest.raises(TypeError, match="recording must be a Recording, got str"):
        Reading("S1", 8.0)
    with pytest.raises(ValueError, match="instant must be finite, got nan"):
        Reading(make(), np.nan)
    with pytest.raises(TypeError, match="instant must be a number, got '8'"):
        Reading(make(), "8")


def test_activity_lasts_until_the_next():
    recording = make(activity=["rest", "walk"], activity_times=[1, 10])
    assert recording.activity_at([0, 1, 9.9, 10, 99]).tolist() == [
        *("", "rest", "rest", "walk", "walk")
    ]
    assert make().activity_at([3]).tolist() == [""]


def test_pickled_readings_hold_each_recording_once():
    readings = make().readings(stride=0.1)
    one, all_of_them = len(pickle.dumps(readings[:1])), len(pickle.dumps(readings))
    assert len(readings) == 121
    assert all_of_them < 2 * one
    restored = pickle.loads(pickle.dumps(readings))
    assert len({id(reading.recording) for reading in restored}) == 1


def test_lists_of_readings_take_masks_and_rows(recording):
    X = recording.readings()
    numbers = np.arange(len(X))
    for rows in (numbers % 2 == 0, numbers[::-1], np.array([3, 3, 0]), slice(2, 9, 3)):
        chosen = X[rows]
        assert [r.instant for r in chosen] == [X[int(k)].instant for k in numbers[rows]]
        assert type(chosen) is type(X)
    assert X[-1] is list(X)[-1]
    assert pickle.loads(pickle.dumps(X))[1].instant == X[1].instant
    with pytest.raises(IndexError, match="boolean index"):
        X[np.ones(3, dtype=bool)]


def test_a_large_offset_that_float32_cannot_carry_is_told():
    pulse = np.round(200 * np.sin(np.arange(640) / 5)).astype(np.int64)
    Recording(ppg=pulse + 10_000_000, ppg_rate=64)
    with pytest.warns(UserWarning, match="ppg is kept as float32, which rounds .*: subtract its"):
        Recording(ppg=pulse + (1 << 31), ppg_rate=64)
