"""The synthetic recordings behave as their docstring says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import periodogram, resample_poly

from pulsehr import Recording
from pulsehr.datasets import make_recordings


def in_window(recording: Recording, instant: float) -> tuple[np.ndarray, np.ndarray]:
    """Cut the PPG and the acceleration of the eight seconds before an instant."""
    ppg_end, acc_end = round(instant * recording.ppg_rate), round(instant * recording.acc_rate)
    return (
        recording.ppg[ppg_end - round(8 * recording.ppg_rate) : ppg_end],
        recording.acc[acc_end - round(8 * recording.acc_rate) : acc_end],
    )


def strongest_rate(window: np.ndarray, rate: float) -> float:
    """Frequency (bpm) of the strongest line between 0.6 and 3.5 Hz."""
    frequency, power = periodogram(
        window, rate, window="hann", nfft=16 * len(window), detrend="linear"
    )
    power[(frequency < 0.6) | (frequency > 3.5)] = 0
    return float(60 * frequency[np.argmax(power)])


def assert_same(first: Recording, second: Recording) -> None:
    for field in ("ppg", "acc", "heart_rate", "heart_rate_times", "activity", "activity_times"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))
    assert first.subject == second.subject


@pytest.fixture(scope="module")
def data():
    return make_recordings(random_state=0)


def test_shape_of_the_data_set(data):
    assert [r.subject for r in data.recordings] == [f"synthetic_{k:02d}" for k in range(12)]
    assert len(data.X) == 12 * 147
    assert data.X[0].instant == 8
    assert data.X[-1].instant == 300
    assert set(data.activity) == {"rest", "table", "walk", "run"}
    assert {len(r.ppg) for r in data.recordings} == {300 * 64}
    assert {r.acc.shape for r in data.recordings} == {(300 * 32, 3)}


def test_one_seed_gives_one_data_set(data):
    again = make_recordings(random_state=0)
    for first, second in zip(data.recordings, again.recordings, strict=True):
        assert_same(first, second)
    other = make_recordings(n_subjects=1, random_state=1)
    assert not np.array_equal(other.y, data.y[:147])


def test_fewer_subjects_are_the_first_of_more(data):
    few = make_recordings(n_subjects=2, random_state=0)
    for first, second in zip(few.recordings, data.recordings, strict=False):
        assert_same(first, second)


def test_random_state_instance_gives_what_its_seed_gives(data):
    instance = make_recordings(n_subjects=1, random_state=np.random.RandomState(0))
    assert_same(instance.recordings[0], data.recordings[0])


@pytest.mark.parametrize("random_state", [0, None])
def test_global_generator_is_left_alone(random_state):
    before = np.random.get_state()  # noqa: NPY002 it is the test
    make_recordings(n_subjects=1, duration=20, random_state=random_state)
    after = np.random.get_state()  # noqa: NPY002 it is the test
    assert before[2:] == after[2:]
    np.testing.assert_array_equal(before[1], after[1])


def test_none_differs_each_time():
    first, second = (make_recordings(n_subjects=1, duration=20) for _ in range(2))
    assert not np.array_equal(first.y, second.y)


@pytest.mark.parametrize(("ppg_rate", "acc_rate"), [(8, 8), (25, 100), (31.7, 12.5), (500, 200)])
def test_rates_are_free_and_do_not_change_the_heart(ppg_rate, acc_rate):
    options = {"n_subjects": 1, "duration": 61.3, "random_state": 3}
    recording = make_recordings(**options, ppg_rate=ppg_rate, acc_rate=acc_rate).recordings[0]
    usual = make_recordings(**options).recordings[0]
    assert len(recording.ppg) == np.ceil(61.3 * ppg_rate)
    assert len(recording.acc) == np.ceil(61.3 * acc_rate)
    np.testing.assert_array_equal(recording.heart_rate, usual.heart_rate)
    assert len(recording.labelled_readings()) == 27


def test_rates_show_the_same_signal():
    options = {"n_subjects": 1, "duration": 30, "random_state": 3, "activities": ["rest"]}
    slow = make_recordings(**options, ppg_rate=32).recordings[0].ppg
    fast = make_recordings(**options, ppg_rate=128).recordings[0].ppg
    lowered = resample_poly(fast - fast.mean(), 1, 4) + fast.mean()
    assert np.corrcoef(lowered[32:-32], slow[32:-32])[0, 1] > 0.98


def test_shortest_duration_gives_one_reading():
    data = make_recordings(n_subjects=1, duration=8, random_state=0)
    assert [reading.instant for reading in data.X] == [8]


@pytest.mark.parametrize("duration", [20, 100, 900])
def test_all_activities_come_up_at_any_duration(duration):
    recording = make_recordings(n_subjects=1, duration=duration, random_state=0).recordings[0]
    assert set(recording.activity) == {"rest", "table", "walk", "run"}
    assert recording.activity[0] == "rest"
    assert recording.activity_times[0] == 0
    assert recording.activity_times[-1] < duration


def test_pulse_is_at_the_labelled_heart_rate_at_rest():
    data = make_recordings(n_subjects=6, duration=60, activities=["rest"], random_state=0)
    estimates = [strongest_rate(in_window(x.recording, x.instant)[0], 64) for x in data.X]
    errors = np.abs(np.array(estimates) - data.y)
    assert np.median(errors) < 1.5
    assert np.mean(errors) < 4


def test_exercise_raises_the_heart_rate_with_delay(data):
    run = data.activity == "run"
    assert data.y[run].max() > 130
    for recording in data.recordings:
        start = recording.activity_times[recording.activity.tolist().index("run")]
        at_start, later = np.interp(
            [start, start + 40], recording.heart_rate_times, recording.heart_rate
        )
        assert at_start + 15 < later


def test_motion_spoils_the_strongest_line_and_no_motion_does_not():
    options = {"n_subjects": 6, "duration": 120, "activities": ["run"], "random_state": 0}
    for motion, low, high in ((1.0, 10, 100), (0.0, 0, 4)):
        data = make_recordings(**options, motion=motion)
        estimates = [strongest_rate(in_window(x.recording, x.instant)[0], 64) for x in data.X]
        assert low < np.mean(np.abs(np.array(estimates) - data.y)) < high


def test_ppg_and_acceleration_share_the_line_of_the_cadence():
    options = {"n_subjects": 6, "duration": 60, "activities": ["run"], "random_state": 1}
    moved, still = make_recordings(**options), make_recordings(**options, motion=0)
    for recording, clean in zip(moved.recordings, still.recordings, strict=True):
        ppg, acc = in_window(recording, 40.0)
        axis = np.argmax(acc.std(axis=0))
        cadence = strongest_rate(acc[:, axis], 32) / 60
        line, clean_line = (
            np.abs(
                np.sum(
                    signal * np.hanning(512) * np.exp(-2j * np.pi * cadence * np.arange(512) / 64)
                )
            )
            for signal in (ppg - ppg.mean(), in_window(clean, 40.0)[0] - ppg.mean())
        )
        assert line > 2 * clean_line, recording


def test_acceleration_is_gravity_at_rest(data):
    for recording in data.recordings:
        assert 0.95 < np.median(np.linalg.norm(recording.acc[: 32 * 30], axis=1)) < 1.05


def test_contact_is_lost_and_converters_saturate(data):
    ppg = np.stack([recording.ppg for recording in data.recordings])
    at_rail = (ppg == 0) | (ppg == 4095)
    assert ppg.min() >= 0
    assert ppg.max() <= 4095
    assert 0.0001 < at_rail.mean() < 0.05
    # a lost pulse: a second that hardly varies, far from the middle of the range
    seconds = ppg.reshape(-1, 64)
    lost = (seconds.std(axis=1) < 8) & (np.abs(seconds.mean(axis=1) - 2048) > 600)
    assert 0.001 < lost.mean() < 0.1
    assert np.abs(np.stack([r.acc for r in data.recordings])).max() <= 8


def test_subjects_differ_in_skin(data):
    pulses = [np.ptp(r.ppg[64 * 10 : 64 * 11]) for r in data.recordings]
    assert max(pulses) > 2 * min(pulses)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_subjects": 0}, ValueError, r"n_subjects must be >= 1, got 0"),
        ({"n_subjects": 1.5}, TypeError, r"n_subjects must be an integer, got 1.5"),
        ({"duration": 7.9}, ValueError, r"duration must be >= 8 s, got 7.9"),
        ({"duration": np.inf}, ValueError, r"duration must be >= 8 s, got inf"),
        ({"duration": "5 min"}, TypeError, r"duration must be a number, got '5 min'"),
        ({"ppg_rate": 4}, ValueError, r"ppg_rate must be >= 8 Hz, got 4"),
        ({"acc_rate": -32}, ValueError, r"acc_rate must be >= 8 Hz, got -32"),
        ({"motion": -1}, ValueError, r"motion must be >= 0, got -1"),
        ({"activities": []}, ValueError, r"activities must be some of \['rest', .* got \[\]"),
        ({"activities": ["swim"]}, ValueError, r"activities must be some of .* got \['swim'\]"),
        ({"activities": "rest"}, ValueError, r"activities must be some of .* got 'rest'"),
    ],
)
def test_bad_parameters(options, error, message):
    with pytest.raises(error, match=f"make_recordings: {message}"):
        make_recordings(**options)
