"""The Kalman filter in integers: near the one in floating point, within its bounds, equal to C."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import numpy as np
import pytest
from fronts import CompiledFront, front_of, hashes_of, ppg_streams, tracker_of

from pulsehr._kalman import GATE, MAX_STD, kalman
from pulsehr.firmware import front_integer, front_kalman
from pulsehr.firmware.front import MAX_GAP_ROWS
from pulsehr.firmware.front_integer import clipped, front_windows
from pulsehr.firmware.front_kalman import (
    MAX_STD_Q8,
    MAX_VARIANCE,
    REACH,
    Kalman,
    design_kalman,
    noises,
    quotient,
)

LIMITS = -(2**31), 2**31 - 1


def filtered(constants, heart_rate, rows, std=()):
    noise = noises(constants, std or [0] * len(rows))
    return front_kalman.filtered(constants, heart_rate, rows, noise)


def tracked(front, bpm_q8, ends):
    return front_integer.tracked(front, np.asarray(bpm_q8)[:, None], ends)


def walk(n, seed, jumps=0.1):
    rng = np.random.default_rng(seed)
    bpm = 90 + np.cumsum(rng.normal(0, 1.5, n)) + 50 * (rng.random(n) < jumps)
    return np.round(np.clip(bpm, 20, 250) * 256).astype(np.int32)


def test_one_step_by_hand():
    # V = 400 + 64 rows * 2 / 32 = 404, S = 404 + 4, 3 bpm off; both are divided by 2^9 before
    got = filtered(design_kalman(2.0, 2.0, 32.0), [70 * 256, 73 * 256], [0, 64])
    gain = 2**15 * (404 * 128) // (408 * 128)
    assert got == [70 * 256, 70 * 256 + (gain * 3 * 65536 // 2**15 + 128) // 256]


@pytest.mark.parametrize("noise", [0.5, 2.0, 9.0])
@pytest.mark.parametrize("drift", [0.1, 2.5, 20.0])
@pytest.mark.parametrize("rate", [16.0, 32.0, 100.0])
def test_integers_are_those_of_floating_point_to_a_twentieth_of_a_bpm(rate, drift, noise):
    for seed in range(4):
        bpm_q8 = walk(300, seed)
        rows = np.random.default_rng(seed).integers(1, int(8 * rate), 300)
        got = filtered(design_kalman(drift, noise, rate), bpm_q8.tolist(), rows.tolist())
        wanted, _ = kalman(np.cumsum(rows) / rate, bpm_q8 / 256, np.full(300, noise), drift)
        np.testing.assert_allclose(np.array(got) / 256, wanted, atol=0.05)


def extreme_streams(n=400):
    rng = np.random.default_rng(0)
    return {
        "any": rng.integers(*LIMITS, n),
        "rails": np.where(np.arange(n) % 2, *LIMITS),
        "zero to the largest": np.where(np.arange(n) % 2, 0, REACH),
        "a step": np.where(np.arange(n) < n // 2, LIMITS[0], LIMITS[1]),
        "constant": np.full(n, LIMITS[1]),
        "walk": walk(n, 1),
    }


@pytest.mark.parametrize(
    "constants",
    [
        design_kalman(2.5, 2.0, 32.0),
        design_kalman(1e9, 1e9, 0.1),
        design_kalman(1e-12, 1e-12, 1e6),
    ],
)
def test_nothing_leaves_its_bounds(constants):
    assert 0 < constants.drift <= LIMITS[1]
    assert 0 < constants.noise <= MAX_VARIANCE <= LIMITS[1]
    rng = np.random.default_rng(1)
    for stream in extreme_streams().values():
        rows = rng.choice([1, 64, MAX_GAP_ROWS], len(stream))
        got = filtered(constants, stream.tolist(), rows.tolist())
        assert min(got) >= 0
        assert max(got) <= REACH


def test_a_quotient_has_16_bits_at_most_to_divide_by():
    rng = np.random.default_rng(0)
    for bits in range(1, 40):
        whole = int(rng.integers(2 ** (bits - 1), 2**bits))
        part = int(rng.integers(0, whole + 1))
        assert 0 <= quotient(part, whole) <= 2**15
        assert quotient(part, whole) / 2**15 == pytest.approx(part / whole, abs=2**-14)
    assert quotient(7, 7) == 2**15


def test_constants_are_those_of_the_filter():
    assert design_kalman(2.0, 3.0, 32.0) == Kalman(2**20, 9 * 2**16, round(65536 / GATE**2))
    assert MAX_VARIANCE == MAX_STD**2 * 65536


# ------------------------------------------------------------------------------ gaps


@pytest.mark.parametrize("method", ["clip", "kalman"])
def test_a_gap_starts_anew(method):
    front = front_of(tracker=tracker_of(method, max_gap=5.0))
    assert front.max_gap == 160
    bpm_q8 = walk(60, 2)
    ends = 300 + 64 * np.arange(60)
    apart = [tracked(front, bpm_q8[part], ends[part]) for part in (slice(30), slice(30, 60))]
    together = tracked(front, bpm_q8, ends)
    assert (together != np.concatenate(apart)).any()
    ends[30:] += 160 - 64  # exactly the longest
    longest = tracked(front, bpm_q8, ends)
    assert (longest != np.concatenate(apart)).any()
    ends[30:] += 1
    np.testing.assert_array_equal(tracked(front, bpm_q8, ends), np.concatenate(apart))


def test_clip_without_a_tracker_never_starts_anew():
    for front in (front_of(clip=True), front_of(tracker=tracker_of("clip", max_gap=np.inf))):
        assert front.max_gap is None
        bpm_q8, ends = walk(60, 2), 300 + 100_000 * np.arange(60)
        np.testing.assert_array_equal(tracked(front, bpm_q8, ends), clipped(bpm_q8))


def test_an_endless_gap_of_the_filter_is_as_long_as_can_be_told():
    assert front_of(tracker=tracker_of(max_gap=np.inf)).max_gap == MAX_GAP_ROWS


def test_a_gap_shorter_than_the_stride_is_refused():
    with pytest.raises(ValueError, match=r"stride must be at most the max_gap=1 s .* got 2"):
        front_of(tracker=tracker_of(max_gap=1.0))


# ------------------------------------------------------------------------------ C


def check_c(front, folder, compiler, flags=()):
    c = CompiledFront(front, folder, compiler, flags)
    rng = np.random.default_rng(3)
    for name in ("walk", "noise of 24 bits", "constant"):
        ppg = ppg_streams(9000)[name]
        # readings a row apart, strides, and gaps
        steps = rng.choice([1, 7, 32, 64, 159, 160, 161, 400], 80)
        ends = np.minimum(front.n_times + np.cumsum(steps), 9000)
        ends = np.unique(ends)
        wanted = tracked(front, hashes_of(front_windows(front, ppg, None, ends)), ends)
        np.testing.assert_array_equal(c.stream(ppg, None, ends), wanted, err_msg=name)
        assert len(set(wanted.tolist())) > 1 or name == "constant"


@pytest.mark.parametrize("max_gap", [5.0, np.inf])
@pytest.mark.parametrize("method", ["clip", "kalman"])
def test_c_equals_the_integers(method, max_gap, tmp_path, compiler):
    tracker = tracker_of(method, max_gap=max_gap)
    check_c(front_of(n_channels=1, window=1.0, tracker=tracker), tmp_path, compiler)


@pytest.mark.parametrize(("drift", "noise"), [(1e-12, 1e-12), (1e9, 1e9), (0.1, 30.0), (50.0, 0.5)])
def test_no_heart_rate_leads_to_undefined_behaviour(drift, noise, tmp_path, compiler, missing):
    front = front_of(n_channels=1, window=1.0, tracker=tracker_of(drift=drift, noise=noise))
    flags = ("-fsanitize=undefined", "-fno-sanitize-recover", "-static-libubsan")
    try:
        check_c(replace(front, max_gap=160), tmp_path, compiler, flags)
    except subprocess.CalledProcessError:
        missing("the compiler has no -static-libubsan: use a gcc that comes with libubsan")


def test_a_heart_rate_that_was_not_asked_for_is_time_that_passed(tmp_path, compiler):
    front = front_of(n_channels=1, window=1.0, stride=0.5, tracker=tracker_of(max_gap=2.0))
    c = CompiledFront(front, tmp_path, compiler)
    ppg = ppg_streams(1200)["walk"]
    rng = np.random.default_rng(4)
    c.init()
    ends, got = [], []
    for k, sample in enumerate(ppg, 1):
        # now and then nobody asks for up to three seconds, so that it starts anew
        asked = rng.random() < 0.4 and not 500 < k < 600
        if c.push(sample) == 1 and asked:
            ends.append(k)
            got += c.heart_rate()
    wanted = tracked(
        front, hashes_of(front_windows(front, ppg, None, np.array(ends))), np.array(ends)
    )
    assert got == wanted.tolist()
    assert 10 < len(got) < 70


def test_a_late_question_is_of_the_window_not_of_now(tmp_path, compiler):
    front = front_of(n_channels=1, window=1.0, stride=0.5, tracker=tracker_of())
    c = CompiledFront(front, tmp_path, compiler)
    ppg = ppg_streams(1200)["walk"]
    c.init()
    ends, got = [], []
    for k, sample in enumerate(ppg, 1):
        c.push(sample)
        late = k % 16
        if k >= 32 and late == k // 16 % 8:  # rows after the window
            ends.append(k - late)
            got += c.heart_rate()
    wanted = tracked(
        front, hashes_of(front_windows(front, ppg, None, np.array(ends))), np.array(ends)
    )
    assert got == wanted.tolist()
    assert len(got) > 50


# ------------------------------------------------------------------------------ own stds


def test_each_reading_has_the_variance_that_its_std_says():
    constants = design_kalman(2.0, 0.5, 32.0, by_std=True)
    assert constants.noise == 2**14
    # a quarter of 4 bpm^2; what is too small or too large is limited
    assert noises(constants, [2 * 256, 0, 2**31 - 1]) == [2**16, 1, MAX_STD_Q8**2 // 4]
    assert noises(design_kalman(2.0, 9.0, 32.0, by_std=True), [2**15]) == [MAX_VARIANCE]
    assert noises(design_kalman(2.0, 0.5, 32.0), [7, 8]) == [2**14, 2**14]


def test_integers_with_stds_are_those_of_floating_point():
    rng = np.random.default_rng(0)
    bpm_q8, std = walk(300, 0), rng.integers(2 * 256, 30 * 256, 300)
    constants = design_kalman(2.5, 0.7, 32.0, by_std=True)
    got = filtered(constants, bpm_q8.tolist(), [64] * 300, std.tolist())
    wanted, _ = kalman(2.0 * np.arange(300), bpm_q8 / 256, 0.7 * std / 256, 2.5)
    np.testing.assert_allclose(np.array(got) / 256, wanted, atol=0.02)
