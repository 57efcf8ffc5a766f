"""Rails, flat stretches and missing samples are counted and marked; pulse waves are compared."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from pulsehr import Gap, Reading, Recording
from pulsehr.datasets import load_ieee_spc
from pulsehr.quality import LEAST_PULSES, mark_missing, signal_quality

RNG = np.random.default_rng(0)
TIMES = np.arange(0, 60, 1 / 64)
PULSE = np.sin(2 * np.pi * 1.3 * TIMES) + 0.3 * np.sin(2 * np.pi * 2.6 * TIMES + 1)


@pytest.fixture
def nk(missing):
    if importlib.util.find_spec("neurokit2") is None:
        missing('there is no NeuroKit2: pip install "pulsehr[data]"')


def of(ppg, rate=64.0, **fields):
    return Recording(ppg=ppg, ppg_rate=rate, subject="S1", **fields)


def changed(rows, values):
    ppg = PULSE + 0.05 * RNG.normal(size=len(PULSE))
    ppg[rows] = values
    return ppg


def test_shares_are_those_of_the_window():
    ppg = changed(slice(64 * 20, 64 * 22), -9.0)
    ppg[64 * 40 : 64 * 41] = np.nan
    quality = signal_quality([Reading(of(ppg), t) for t in (20, 21, 22, 30, 29.5, 45)])
    np.testing.assert_allclose(quality.at_rail, [0, 1 / 8, 2 / 8, 0, 0.5 / 8, 0])
    np.testing.assert_allclose(quality.flat, quality.at_rail)
    np.testing.assert_allclose(quality.missing, [0, 0, 0, 0, 0, 1 / 8])
    assert quality.pulse is None


def test_rows_of_several_recordings_keep_their_order():
    one, other = of(changed(slice(640, 704), 7.0)), of(changed(slice(0, 64), np.nan))
    rows = [Reading(other, 8), Reading(one, 11), Reading(other, 9), Reading(one, 20)]
    quality = signal_quality(rows)
    np.testing.assert_allclose(quality.missing, [1 / 8, 0, 0, 0])
    np.testing.assert_allclose(quality.at_rail, [0, 1 / 8, 0, 0])


@pytest.mark.parametrize(("n", "found"), [(1, 0), (2, 0), (3, 3), (9, 9)])
def test_an_extreme_that_is_held_for_three_samples_is_a_rail(n, found):
    ppg = changed(slice(1000, 1000 + n), 1023.0)
    quality = signal_quality([Reading(of(ppg), 20.0)])
    assert quality.at_rail[0] * 512 == found
    gaps = mark_missing(of(ppg)).gaps
    assert gaps == ((Gap("ppg", 1000 / 64, (1000 + n) / 64),) if found else ())


def test_single_samples_at_a_known_rail_count():
    ppg = changed([1000, 1100, 1101, 1102], 1023.0)
    assert signal_quality([Reading(of(ppg), 20.0)]).at_rail[0] * 512 == 4
    ppg = changed([1000, 1200], [1030.0, -5])
    quality = signal_quality([Reading(of(ppg), 20.0)], rails=(-5, 1023))
    assert quality.at_rail[0] * 512 == 2
    assert len(mark_missing(of(ppg), rails=(-5, 1023)).gaps) == 2


@pytest.mark.parametrize(("n", "found"), [(31, False), (32, True), (200, True)])
def test_half_a_second_without_a_change_is_flat(n, found):
    ppg = changed(slice(1000, 1000 + n), 0.123)
    expected = (Gap("ppg", 1000 / 64, (1000 + n) / 64),) if found else ()
    assert mark_missing(of(ppg)).gaps == expected
    assert mark_missing(of(ppg), flat=None).gaps == ()


def test_little_noise_is_flat_by_its_tolerance():
    ppg = changed(slice(1000, 1640), 0.123 + 0.001 * RNG.uniform(-1, 1, 640))
    assert mark_missing(of(ppg)).gaps == ()
    (gap,) = mark_missing(of(ppg), tolerance=0.002).gaps
    assert (gap.start, gap.end) == (1000 / 64, 1640 / 64)


def test_marking_keeps_all_else_and_leaves_the_recording_as_it_was():
    ppg = changed(slice(64 * 20, 64 * 22), -9.0)
    ppg[:64] = np.nan
    fields = {"acc": RNG.normal(size=(1920, 3)) / 3, "acc_rate": 32, "name": "n"}
    recording = of(ppg, heart_rate=[78.0], heart_rate_times=[50.0], **fields)
    marked = mark_missing(recording)
    assert marked.gaps == (Gap("ppg", 0, 1), Gap("ppg", 20, 22))
    assert recording.gaps == (Gap("ppg", 0, 1),)
    there = ~np.isnan(marked.ppg)
    np.testing.assert_array_equal(marked.ppg[there], recording.ppg[there])
    np.testing.assert_array_equal(marked.acc, recording.acc)
    assert (marked.name, marked.subject, marked.heart_rate[0]) == ("n", "S1", 78)
    assert 24.0 not in [reading.instant for reading in marked.readings()]
    clean = of(PULSE + RNG.normal(size=len(PULSE)))
    assert mark_missing(clean) is clean


def test_what_is_no_reading_or_recording_is_refused():
    recording = of(changed([], []))
    with pytest.raises(TypeError, match="signal_quality: X must hold readings, got ndarray"):
        signal_quality(np.zeros((3, 9)))
    with pytest.raises(TypeError, match="mark_missing: expected a Recording, got ReadingList"):
        mark_missing(recording.readings())
    with pytest.raises(ValueError, match="signal_quality: window must be a number > 0, got -1"):
        signal_quality(recording.readings(), window=-1)
    with pytest.raises(ValueError, match="mark_missing: flat must be a number > 0, got 0"):
        mark_missing(recording, flat=0)
    with pytest.raises(ValueError, match=r"rails must be \(low, high\) with low < high, got"):
        mark_missing(recording, rails=(1, 0))


@pytest.mark.usefixtures("nk")
@pytest.mark.parametrize("rate", [25.0, 50.4, 64.0, 125.0])
def test_a_pulse_is_more_like_itself_than_noise_is(rate):
    times = np.arange(0, 40, 1 / rate)
    pulse = np.sin(2 * np.pi * 1.3 * times) + 0.3 * np.sin(2 * np.pi * 2.6 * times + 1)
    noise = RNG.normal(size=len(times)).cumsum()
    noise -= np.convolve(noise, np.ones(round(rate)) / round(rate), "same")
    clean, noisy = (
        signal_quality(of(ppg, rate).readings(8.0), pulse=True).pulse for ppg in (pulse, noise)
    )
    assert np.nanmin(clean) > np.nanmax(noisy)
    assert np.isfinite(clean).all()
    assert clean.max() <= 1 + 1e-9


@pytest.mark.usefixtures("nk")
def test_where_there_are_no_pulses_there_is_no_figure():
    flat = changed(slice(64 * 20, 64 * 40), 0.5)
    gap = changed(slice(64 * 20, 64 * 21), np.nan)
    slow = np.sin(2 * np.pi * (LEAST_PULSES - 2) / 8 * TIMES)
    for ppg in (flat, gap, slow):
        quality = signal_quality([Reading(of(ppg), 28.0)], pulse=True)
        assert np.isnan(quality.pulse).all()


def test_without_neurokit_an_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "neurokit2", None)
    with pytest.raises(ImportError, match=r'pip install "pulsehr\[data\]", or set pulse=False'):
        signal_quality(of(PULSE).readings(), pulse=True)


def test_the_rails_of_a_real_recording_are_found(pulsehr_data):
    counts = {}
    for channel in (0, 1):
        data = load_ieee_spc(pulsehr_data / "ieee_spc_2015", ppg_channel=channel)
        for recording in data.recordings:
            marked = mark_missing(recording)
            n = int(np.isnan(marked.ppg).sum())
            if n:
                counts[recording.name, channel] = n
                over = marked.over_gap([r.instant for r in recording.labelled_readings()])
                assert len(marked.labelled_readings()) == (~over).sum()
    assert counts == {("ieee_spc_DATA_01_TYPE01", 0): 23, ("ieee_spc_DATA_01_TYPE01", 1): 5}
