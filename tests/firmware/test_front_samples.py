"""Recordings as counts of sensors."""

from __future__ import annotations

import numpy as np
import pytest
from fronts import windower

from pulsehr import Recording
from pulsehr.firmware.front import design_front
from pulsehr.firmware.front_samples import sensor_counts, window_ends
from pulsehr.firmware.quantization import Format

FORMAT = Format(8, 0.03, 0)


def recording_of(ppg, rate=32.0, acc=None, acc_rate=32.0):
    return Recording(
        ppg=ppg, ppg_rate=rate, acc=acc, acc_rate=None if acc is None else acc_rate, subject="S1"
    )


@pytest.fixture
def mono():
    return design_front(windower(1, window=1.0), FORMAT)


def test_whole_numbers_are_taken_as_they_are(mono):
    ppg = np.array([-8_388_607, 0, 5, 8_388_607] * 20)
    counts, acc = sensor_counts(mono, recording_of(ppg))
    np.testing.assert_array_equal(counts, ppg)
    assert counts.dtype == np.int32
    assert acc is None


@pytest.mark.parametrize("gain", [1e-9, 0.123, 1e3, 1e12])
def test_any_unit_is_scaled_to_16_bits(mono, gain):
    ppg = gain * np.sin(np.arange(100.0))
    counts, _ = sensor_counts(mono, recording_of(ppg))
    assert 2**15 <= np.ptp(counts) < 2**16
    ratio = np.median(counts[1:] / ppg[1:])
    assert np.log2(ratio) == pytest.approx(round(np.log2(ratio)), abs=1e-4)


def test_a_large_offset_leaves_24_bits(mono):
    counts, _ = sensor_counts(mono, recording_of(1e6 + 0.5 * (np.arange(100) % 3)))
    assert 2**22 <= counts.max() < 2**23


def test_units_given_are_used():
    front = design_front(windower(window=1.0), FORMAT, ppg_step=0.5, acc_step=1 / 64)
    acc = np.tile([1.0, -0.5, 700.0], (64, 1)) + np.arange(64)[:, np.newaxis] % 2
    with pytest.warns(UserWarning, match="acc has a median length"):
        recording = recording_of(np.arange(64) * 1.5, acc=acc)
    ppg, axes = sensor_counts(front, recording)
    np.testing.assert_array_equal(ppg, np.arange(64) * 3)
    assert axes.dtype == np.int16
    assert axes[0].tolist() == [64, -32, 2**15 - 1]


def test_another_rate_says_what_to_pass(mono):
    with pytest.raises(
        ValueError,
        match=r"takes ppg_rate=32 Hz, recording 'S1' has 64 Hz: pass "
        r"ppg_rate=64 to to_microcontroller",
    ):
        sensor_counts(mono, recording_of(np.arange(640), 64.0))
    with pytest.raises(ValueError, match=r"so give Recording, or from_frame, ppg_rate=32"):
        sensor_counts(mono, recording_of(np.arange(640), 32.001))
    front = design_front(windower(window=1.0), FORMAT)
    acc = np.random.default_rng(0).normal(size=(500, 3))
    with pytest.raises(ValueError, match="takes acc_rate=32 Hz, recording 'S1' has 50 Hz"):
        sensor_counts(front, recording_of(np.arange(320), acc=acc, acc_rate=50.0))


def test_acceleration_must_be_there_as_in_fit(mono):
    front = design_front(windower(window=1.0), FORMAT)
    with pytest.raises(ValueError, match=r"expected recordings of 4 channels .*'S1' has 1"):
        sensor_counts(front, recording_of(np.arange(320)))


def test_an_instant_between_samples_ends_at_the_one_before(mono):
    recording = recording_of(np.arange(320))
    instants = np.array([1.0, 1.031, 1.03125, 9.99, 10.0, 10.015])
    assert window_ends(mono, recording, instants).tolist() == [32, 32, 33, 319, 320, 320]


@pytest.mark.parametrize(
    ("instant", "problem"),
    [(0.99, "has less than 1 s of past"), (10.02, "lies after the end at 10 s")],
)
def test_an_instant_without_a_window_is_refused(mono, instant, problem):
    with pytest.raises(ValueError, match=f"instant {instant} s of recording 'S1' {problem}"):
        window_ends(mono, recording_of(np.arange(320)), np.array([5.0, instant]))
