"""The integers of the front end: by hand, and against the windower in floating point."""

from __future__ import annotations

import numpy as np
import pytest
from fronts import front_of, ppg_streams

from pulsehr import PPGWindower, Recording
from pulsehr.firmware.front import RESIDUE, design_front
from pulsehr.firmware.front_filters import quantized_bandpass
from pulsehr.firmware.front_integer import (
    bandpassed,
    clipped,
    decimated,
    front_windows,
    normalized,
    streams,
)
from pulsehr.firmware.integer import quantize_windows
from pulsehr.firmware.quantization import Format
from pulsehr.tracking import causal_clip


def test_a_window_of_two_values_by_hand():
    # mean 15, deviations of 5 are one standard deviation: 1 / 0.25 = 4 steps from -2
    front = front_of(1, Format(8, 0.25, -2), window=4 / 32)
    got = front_windows(front, np.array([10, 20, 20, 10]), None, np.array([4]))
    assert got.tolist() == [[[-6, 2, 2, -6]]]


def test_gain_and_offset_drop_out():
    front = front_of(1, Format(8, 0.03, 5))
    ppg = np.random.default_rng(0).integers(-100, 100, 300)
    ends = np.array([200, 300])
    wanted = front_windows(front, ppg, None, ends)
    for gain, offset in ((1, 8_000_000), (40_000, 0), (-1, -77)):
        got = front_windows(front, gain * ppg + offset, None, ends).astype(int)
        expected = wanted if gain > 0 else 2 * 5 - wanted.astype(int)
        # a product that was halved exactly rounds up in both directions
        assert np.abs(got - expected).max() <= 1
        assert (got == expected).mean() > 0.99


def test_a_flat_window_is_the_zero_point():
    front = front_of(1, Format(8, 0.03, 5))
    got = front_windows(front, np.full(300, 2**23 - 1), None, np.array([200]))
    assert (got == 5).all()


def test_acceleration_by_hand():
    # 0.7 units a count of PPG do not matter; 4096 counts are 1 g, 10 steps of 0.1 g
    front = front_of(4, Format(8, 0.1, 0), window=4 / 32)
    acc = np.array([[4096, 0, -(2**15)], [0, 0, 2**15 - 1], [4096, 0, -(2**15)], [0, 0, 2**15 - 1]])
    got = front_windows(front, np.arange(4), acc, np.array([4]))[0, 1:]
    assert got.tolist() == [[5, -5, 5, -5], [0] * 4, [-80, 80, -80, 80]]


def test_a_decimated_signal_by_hand():
    front = front_of(1, factors=(2, 1))
    samples = np.zeros(100, dtype=np.int64)
    samples[40] = 1 << 15
    rows = decimated(front.ppg, samples, 50, 1 << 23)
    taps = front.ppg.taps.astype(int)
    assert rows[20] == taps[0]
    assert rows[19:22].tolist() == [taps[2], taps[0], taps[2]]
    assert not rows[:16].any()


@pytest.mark.parametrize("factor", [1, 2, 5])
def test_a_constant_passes_decimation_unchanged(factor):
    front = front_of(1, factors=(factor, 1))
    for value in (2**23 - 1, -(2**23), -1, 12345):
        rows = decimated(front.ppg, np.full(10, value), 30, 1 << 23)
        assert (rows == value).all()


def test_overshoot_saturates():
    front = front_of(1, factors=(3, 1))
    step = np.where(np.arange(300) < 150, -(2**23), 2**23 - 1)
    rows = decimated(front.ppg, step, 100, 1 << 23)
    assert (rows.min(), rows.max()) == (-(2**23), 2**23 - 1)


def test_what_lies_beyond_24_bits_is_limited():
    front = front_of(1)
    got = streams(front, np.array([2**31 - 1, -(2**31), 5]), None, 3)[0]
    assert got.tolist() == [2**23 - 1, -(2**23), 5]


@pytest.mark.parametrize("edges", [(0.5, 4.0), (0.1, 12.0)])
def test_the_band_pass_is_that_of_the_windower(edges):
    from scipy.signal import butter, sosfilt

    ppg = ppg_streams(4000)["walk"] % (1 << 22)
    band = quantized_bandpass(edges, 32.0)
    got = bandpassed(band, ppg, band.fraction_bits) / 2**band.fraction_bits
    sos = butter(2, edges, "bandpass", fs=32.0, output="sos")
    wanted = sosfilt(sos, ppg - ppg[0])
    assert np.abs(got - wanted).max() < 1e-6 * np.ptp(wanted)


@pytest.mark.parametrize("edges", [(0.5, 4.0), (0.1, 12.0), (0.7, 3.5)])
def test_a_filter_comes_to_rest_below_the_residue(edges):
    band = quantized_bandpass(edges, 32.0)
    for seed in range(5):
        signal = np.full(6000, 1234)
        signal[:1000] = np.random.default_rng(seed).integers(-(2**23), 2**23, 1000)
        assert np.ptp(bandpassed(band, signal, band.fraction_bits)[-256:]) <= RESIDUE
    front = front_of(1, Format(8, 0.03, 5), bandpass=edges)
    windows = front_windows(front, signal, None, np.array([6000]))
    assert (windows == 5).all()


@pytest.mark.parametrize("n", [5, 10, 300])
def test_clipping_is_that_of_the_tracker_to_a_step(n):
    rng = np.random.default_rng(n)
    bpm_q8 = (256 * (80 + np.cumsum(rng.normal(0, 12, n)) % 90)).astype(np.int32)
    wanted = causal_clip(bpm_q8 / 256)
    got = clipped(bpm_q8) / 256
    assert np.abs(got - wanted).max() <= 1 / 256
    assert n <= 10 or (got != bpm_q8 / 256).any()


def test_clipping_by_hand():
    assert clipped(np.array([25_600] * 10 + [40_000, 10_000], np.int32))[-2:].tolist() == [
        28_160,  # 1.1 of 25,600
        23_270,  # 0.9 of (9 * 25,600 + 28,160) / 10 = 25,856, which is 23,270.4
    ]
    # a network may say what no heart does
    assert clipped(np.array([-256] * 10 + [2**31 - 1], np.int32)).tolist() == [0] * 11
    assert clipped(np.array([2**31 - 1] * 50, np.int32)).tolist() == [2**24] * 50


@pytest.mark.parametrize("normalize", ["window", "channel", None])
@pytest.mark.parametrize("rates", [(32, 32), (64, 32), (160, 96)])
def test_rows_are_those_of_the_windower_to_one_step(rates, normalize):
    rng = np.random.default_rng(3)
    seconds = np.arange(0, 60, 1 / rates[0])
    ppg = 3000 * np.sin(2 * np.pi * 1.3 * seconds) + 50_000 + rng.normal(0, 200, len(seconds))
    acc = rng.normal([0, 0.5, 0.8], 0.2, (60 * rates[1], 3))
    recording = Recording(
        ppg=np.rint(ppg), ppg_rate=rates[0], acc=np.rint(acc * 4096) / 4096, acc_rate=rates[1]
    )
    readings = recording.readings(stride=2.0)
    source = PPGWindower(normalize=normalize).fit(readings)
    input_format = Format(8, 0.05, 3) if normalize else Format(8, 500.0, -40)
    front = design_front(source, input_format, ppg_rate=rates[0], acc_rate=rates[1], ppg_step=1.0)
    ends = np.array([round(32 * reading.instant) for reading in readings])
    counts = np.rint(np.asarray(recording.acc) * 4096).astype(np.int64)
    got = front_windows(front, np.asarray(recording.ppg).astype(np.int64), counts, ends).astype(int)
    wanted = quantize_windows(source.transform(readings), input_format)
    assert np.abs(got - wanted).max() <= 1
    assert (got == wanted).mean() > 0.98


def test_windows_do_not_depend_on_what_else_is_asked_for():
    front = front_of(1, factors=(2, 1), bandpass=(0.5, 4.0))
    ppg = ppg_streams(2000)["walk"]
    ends = np.array([900, 200, 555])
    together = front_windows(front, ppg, None, ends)
    for window, end in zip(together, ends, strict=True):
        np.testing.assert_array_equal(front_windows(front, ppg, None, np.array([end]))[0], window)
        n_needed = 2 * (end - 1) + front.ppg.lookahead + 1
        cut = front_windows(front, ppg[:n_needed], None, np.array([end]))[0]
        np.testing.assert_array_equal(cut, window)


def test_many_windows_are_normalised_in_parts():
    front = front_of(1, window=0.5)
    windows = np.random.default_rng(0).integers(-1000, 1000, (50, front.n_times))
    one_by_one = [normalized(front, 0, window[np.newaxis])[0] for window in windows]
    np.testing.assert_array_equal(normalized(front, 0, windows), one_by_one)
