"""A belt's log labels a recording by an offset that is told, and a lag is only ever reported."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulsehr import Recording
from pulsehr.datasets import load_bami, load_ieee_spc, make_recordings
from pulsehr.datasets._matlab import read_arrays
from pulsehr.exceptions import RepairedDataWarning
from pulsehr.reference import estimate_lag, with_reference


@pytest.fixture
def bare():
    """Thirty seconds without labels."""
    return Recording(ppg=np.sin(np.arange(1920) / 5), ppg_rate=64, subject="S1", name="walk")


SECONDS = np.arange(31.0)


def test_a_label_is_the_mean_of_the_log_in_the_window_that_ends_at_it(bare):
    labelled = with_reference(bare, SECONDS, 60 + SECONDS)
    assert labelled.heart_rate_times.tolist() == list(range(8, 31, 2))
    # entries of seconds 1 to 8, 3 to 10, ...
    assert labelled.heart_rate == pytest.approx(60 + labelled.heart_rate_times - 3.5)
    assert np.array_equal(labelled.ppg, bare.ppg)
    assert (labelled.subject, labelled.name) == ("S1", "walk")


def test_the_offset_is_added_to_the_times_of_the_log(bare):
    log = np.arange(-10.0, 45.0)
    labelled = with_reference(bare, log, 80 + log, offset=3.0)
    assert labelled.heart_rate == pytest.approx(80 + labelled.heart_rate_times - 3.5 - 3.0)


@settings(max_examples=50)
@given(offset=st.floats(-30, 30), window=st.sampled_from([4.0, 8.0, 10.5]))
def test_shifting_the_log_and_the_offset_the_other_way_changes_nothing(offset, window):
    bare = Recording(ppg=np.sin(np.arange(1920) / 5), ppg_rate=64)
    log, rates = np.arange(-10.0, 45.0) + 0.3, 100 + 20 * np.sin(np.arange(55) / 9)
    here = with_reference(bare, log, rates, window=window)
    there = with_reference(bare, log - offset, rates, window=window, offset=offset)
    assert np.array_equal(here.heart_rate_times, there.heart_rate_times)
    assert there.heart_rate == pytest.approx(here.heart_rate)


def test_intervals_count_by_their_middle_as_beats_per_time(bare):
    rr = np.where(np.arange(60) % 2, 0.65, 0.85)
    beats = np.cumsum(rr)
    labelled = with_reference(bare, beats, rr=rr, stride=8.0)
    for end, bpm in zip(labelled.heart_rate_times, labelled.heart_rate, strict=True):
        middle = beats - rr / 2
        inside = (middle > end - 8) & (middle <= end)
        assert bpm == pytest.approx(60 * inside.sum() / rr[inside].sum())
    assert labelled.heart_rate == pytest.approx(80, abs=3)


def test_missed_beats_are_no_slow_heart():
    rng = np.random.default_rng(0)
    beats = np.cumsum(rng.normal(0.6, 0.02, size=480))
    walk = Recording(ppg=np.sin(np.arange(64 * 280) / 8), ppg_rate=64, name="walk")
    true = with_reference(walk, beats[1:], rr=np.diff(beats))
    seen = np.delete(beats, rng.choice(np.arange(1, 479), 30, replace=False))
    with pytest.warns(RepairedDataWarning, match="entries of the log are implausible"):
        labelled = with_reference(walk, seen[1:], rr=np.diff(seen))
    truth = true.heart_rate[np.isin(true.heart_rate_times, labelled.heart_rate_times)]
    assert np.abs(labelled.heart_rate - truth).max() < 1.5


def test_a_hole_in_the_log_leaves_out_the_labels_over_it(bare):
    held = (SECONDS < 12) | (SECONDS > 16)
    with pytest.warns(
        RepairedDataWarning, match="of 12 windows have no label, as the log has none"
    ):
        labelled = with_reference(bare, SECONDS[held], 60 + SECONDS[held])
    # from 11 to 17 nothing was logged: windows that hold more than 3 s of it have no label
    assert labelled.heart_rate_times.tolist() == [8, 10, 12, 14, 22, 24, 26, 28, 30]
    bridged = with_reference(bare, SECONDS[held], 60 + SECONDS[held], max_gap=6)
    assert len(bridged.heart_rate) == 12


def test_a_belt_without_contact_is_a_hole_not_a_heart_rate_of_zero(bare):
    rates = np.where(SECONDS == 20, 0, 70.0)
    with pytest.warns(RepairedDataWarning, match="1 entries of the log are implausible"):
        labelled = with_reference(bare, SECONDS, rates)
    assert set(labelled.heart_rate.tolist()) == {70.0}


@pytest.mark.parametrize(
    ("log", "options", "message"),
    [
        ((SECONDS,), {}, "expected either heart_rate or rr, got both or neither"),
        ((SECONDS, SECONDS + 60), {"rr": SECONDS}, "got both or neither"),
        ((SECONDS, SECONDS[1:] + 60), {}, "of equal length, got shapes (31,) and (30,)"),
        ((SECONDS[::-1], SECONDS + 60), {}, "times must increase, got 30 before 29 s at index 0"),
        ((SECONDS,), {"rr": np.full(31, 820.0)}, "got a median of 820: is it in seconds (belts"),
        ((SECONDS, np.full(31, 1.3)), {}, "got a median of 1.3: is it in bpm?"),
        ((SECONDS,), {"rr": np.where(SECONDS % 2, 0.4, 1.0)}, "got none beside which there is no"),
        ((SECONDS + 1e9, SECONDS + 60), {}, "are times seconds after its start, and"),
        ((SECONDS, SECONDS + 60), {"window": 0}, "window must be > 0 s, got 0"),
        ((SECONDS, SECONDS + 60), {"offset": np.nan}, "offset must be a finite number of seconds"),
    ],
)
def test_a_log_that_cannot_be_right_is_an_error(bare, log, options, message):
    with pytest.raises(ValueError, match=rf"with_reference: 'walk': .*{re.escape(message)}"):
        with_reference(bare, *log, **options)


def test_signals_on_disk_stay_there(tmp_path):
    np.save(tmp_path / "ppg.npy", np.sin(np.arange(1920) / 5, dtype=np.float32))
    bare = Recording(ppg=np.load(tmp_path / "ppg.npy", mmap_mode="r"), ppg_rate=64)
    labelled = with_reference(bare, SECONDS, 60 + SECONDS)
    assert labelled.ppg is bare.ppg
    assert not isinstance(labelled.ppg, np.ndarray)


def test_labels_are_not_replaced_in_silence(bare):
    labelled = with_reference(bare, SECONDS, 60 + SECONDS)
    with pytest.raises(ValueError, match="must have no labels, got 12: to replace them"):
        with_reference(labelled, SECONDS, 60 + SECONDS)


@pytest.fixture(scope="module")
def changing():
    """Five minutes of rest, work and walking, with its true heart rate every two seconds."""
    return make_recordings(1, 300, motion=0.2, random_state=1).recordings[0]


@pytest.mark.parametrize("lag", [-12.0, 0.0, 5.5])
def test_a_lag_is_found_with_the_sign_of_the_offset(changing, lag):
    belt = changing.heart_rate_times - 4 - lag
    estimate = estimate_lag(changing, belt, changing.heart_rate)
    assert estimate.lag == pytest.approx(lag, abs=1.25)
    low, high = estimate.interval
    assert low <= estimate.lag <= high
    assert high - low < 5
    assert estimate.error <= estimate.error_at_zero
    assert estimate.errors.argmin() == list(estimate.lags).index(estimate.lag)


def test_the_report_says_that_nothing_was_shifted_and_what_a_leak_is(changing):
    labels = changing.heart_rate.copy()
    estimate = estimate_lag(changing, changing.heart_rate_times - 4 - 5, labels, max_lag=4)
    text = str(estimate)
    assert "Nothing was shifted" in text
    assert "leaks its PPG into its labels" in text
    assert "which reaches the last one tried: raise max_lag" in text
    assert np.array_equal(changing.heart_rate, labels)


def test_a_steady_heart_tells_no_lag_and_the_interval_says_so():
    rng = np.random.default_rng(0)
    seconds = np.arange(0, 300, 1 / 32)
    ppg = np.sin(2 * np.pi * 1.2 * seconds) + 0.3 * rng.normal(size=len(seconds))
    belt = np.arange(0.0, 300.0)
    estimate = estimate_lag(
        Recording(ppg=ppg, ppg_rate=32), belt, 72 + rng.normal(scale=0.5, size=300)
    )
    assert estimate.interval[1] - estimate.interval[0] > 8


@pytest.mark.parametrize("start", [1.7e9, 1.7e12, 3600.0, -7200.0])
def test_a_log_of_another_time_than_the_recording_is_told_apart_from_a_short_one(changing, start):
    with pytest.raises(ValueError, match=r"within 0 to 300.0 s, got .* after its start, and both"):
        estimate_lag(changing, changing.heart_rate_times + start, changing.heart_rate)


def test_too_short_a_log_for_the_lags_is_an_error(changing):
    with pytest.raises(ValueError, match=r"expected at least 60 readings .*lower max_lag"):
        estimate_lag(changing, np.arange(60.0), np.full(60, 80.0))


@pytest.mark.parametrize(("subject", "known"), [(5, 11.5), (8, 5.0), (15, -3.0), (20, 2.5)])
def test_the_known_lags_of_bami_are_found(pulsehr_data, subject, known, tmp_path):
    path = pulsehr_data / "bami_gyro" / f"Subject_{subject}.mat"
    (tmp_path / path.name).symlink_to(path)
    recording = load_bami(tmp_path).recordings[0]
    beats = read_arrays("test", path, {"timeECG": None, "bpmECG": None})
    estimate = estimate_lag(recording, beats["timeECG"], rr=60 / beats["bpmECG"])
    assert estimate.lag == pytest.approx(known, abs=0.75)


def test_ieee_spc_has_no_lag(pulsehr_data):
    lags = []
    for recording in load_ieee_spc(pulsehr_data / "ieee_spc_2015").recordings[2:6]:
        middle = recording.heart_rate_times - 4
        lags.append(estimate_lag(recording, middle, recording.heart_rate).lag)
    assert np.abs(lags).max() <= 1  # labels come every two seconds
