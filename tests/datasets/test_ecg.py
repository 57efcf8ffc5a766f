"""Heart rate from beats and from an ECG: worked out by hand, simulated, and on real people."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat

from pulsehr.datasets import load_ieee_spc
from pulsehr.datasets._ecg import ecg_beats, plausible_intervals, window_labels
from pulsehr.datasets._optional import optional_library, quiet_library


@pytest.mark.parametrize("method", ["ecgsyn", "simple"])
@pytest.mark.parametrize("rate", [50, 75, 150])
def test_beats_of_a_simulated_ecg_are_found(method, rate):
    neurokit2 = optional_library("tests", "neurokit2")
    with quiet_library():
        ecg = neurokit2.ecg_simulate(
            duration=60,
            sampling_rate=700,
            heart_rate=rate,
            heart_rate_std=0,
            method=method,
            random_state=0,
            noise=0.05,
        )
    found = window_labels(ecg_beats("tests", "it", ecg, 700.0), 60.0, "mean_rate")
    assert len(found.times) == found.n_windows == 27
    np.testing.assert_allclose(found.heart_rate, rate, rtol=0.01)


@pytest.mark.parametrize("labels", ["mean_rate", "mean_rr"])
def test_labels_agree_with_those_of_ieee_spc(pulsehr_data, labels):
    """Two ways from ECG to label are 0.3 bpm apart on 13 runners; 64 of 1875 windows have none."""
    errors, n_windows = [], 0
    for recording in load_ieee_spc(pulsehr_data / "ieee_spc_2015").recordings:
        stem = recording.name.removeprefix("ieee_spc_")
        (path,) = (pulsehr_data / "ieee_spc_2015").rglob(f"{stem}.mat")
        beats = ecg_beats("tests", path.name, loadmat(path)["sig"][0], 125.0)
        found = window_labels(beats, recording.duration, labels)
        theirs = dict(zip(recording.heart_rate_times, recording.heart_rate, strict=True))
        errors += [
            rate - theirs[t]
            for t, rate in zip(found.times, found.heart_rate, strict=True)
            if t in theirs
        ]
        n_windows += len(theirs)
    size = np.abs(errors)
    assert size.mean() < 0.35
    assert np.mean(size <= 3) > 0.99
    assert n_windows - 70 < len(errors) < n_windows


def test_a_window_holds_the_intervals_with_their_middle_in_it():
    """Beats each second from 0: the middles in [2, 10) are 2.5 to 9.5, in [0, 8) 0.5 to 7.5."""
    beats = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 8.8, 9.6])
    found = window_labels(beats, 10.0, "mean_rr")
    np.testing.assert_array_equal(found.times, [8, 10])
    np.testing.assert_allclose(found.heart_rate, [60, 60 / ((6 * 1 + 2 * 0.8) / 8)])


def test_the_two_recipes_differ_as_harmonic_and_arithmetic_mean():
    beats = np.concatenate([[0.0], np.cumsum(np.tile([0.8, 1.0], 9))])
    (rate,) = window_labels(beats, 8.0, "mean_rate").heart_rate
    (rr,) = window_labels(beats, 8.0, "mean_rr").heart_rate
    n_short, n_long = 5, 4  # middles before 8 s: 0.4, 1.3, 2.2, 3.1, ..., 7.6
    assert rate == pytest.approx((n_short * 75 + n_long * 60) / 9)
    assert rr == pytest.approx(60 * 9 / (n_short * 0.8 + n_long * 1.0))


def test_missed_and_false_beats_do_not_change_a_label():
    beats = np.arange(0.0, 60.0, 0.5)
    missed = np.delete(beats, [30, 31, 70])
    false = np.sort(np.append(beats, [20.2, 41.1]))
    for some in (missed, false):
        found = window_labels(some, 60.0, "mean_rate")
        np.testing.assert_allclose(found.heart_rate, 120)
        assert (found.n_few, found.n_implausible) == (0, 0)


def test_windows_mostly_without_plausible_intervals_have_no_label():
    beats = np.arange(0.0, 60.0, 0.5)
    thinned = np.delete(beats, np.arange(61, 75, 2))  # every second beat from 30 to 37 s
    found = window_labels(thinned, 60.0, "mean_rate")
    assert found.n_few == 0
    assert found.n_implausible > 0
    assert found.n_windows == 27
    np.testing.assert_allclose(found.heart_rate, 120)


def test_a_change_of_rate_is_no_missed_beat():
    intervals = np.r_[np.full(40, 1.0), np.full(40, 0.45)]
    assert plausible_intervals(intervals).all()


@pytest.mark.parametrize("rate", [36, 219])
def test_the_slowest_and_the_fastest_heart_have_labels(rate):
    found = window_labels(np.arange(0, 60, 60 / rate), 58.0, "mean_rate")
    assert found.n_few == found.n_implausible == 0
    np.testing.assert_allclose(found.heart_rate, rate)


@pytest.mark.parametrize("rate", [34, 222])
def test_what_is_no_rate_of_a_heart_has_no_label(rate):
    found = window_labels(np.arange(0, 60, 60 / rate), 58.0, "mean_rate")
    assert len(found.times) == 0


@pytest.mark.parametrize("beats", [[], [3.0], [3.0, 4.0]])
def test_hardly_any_beat_gives_no_label(beats):
    found = window_labels(np.array(beats), 20.0, "mean_rate")
    assert (len(found.times), found.n_few, found.n_implausible) == (0, 7, 0)


@settings(max_examples=50)
@given(
    st.lists(st.floats(0.3, 1.7), min_size=20, max_size=120),
    st.floats(8.0, 90.0),
    st.sampled_from(["mean_rate", "mean_rr"]),
)
def test_a_label_is_within_the_rates_of_its_intervals(intervals, duration, labels):
    beats = np.cumsum(intervals)
    found = window_labels(beats, duration, labels)
    assert found.n_windows == int((duration - 8 + 1e-6) // 2) + 1
    middles, rates = beats[:-1] + np.diff(beats) / 2, 60 / np.diff(beats)
    for end, rate in zip(found.times, found.heart_rate, strict=True):
        within = rates[(middles >= end - 8.001) & (middles < end + 0.001)]
        assert within.min() - 1e-9 <= rate <= within.max() + 1e-9


def test_without_ecg_it_is_said_which_file(tmp_path):
    with pytest.raises(ValueError, match=r"load_x: S2\.pkl must hold an ECG"):
        ecg_beats("load_x", "S2.pkl", np.zeros(100), 700.0)
