"""Missing samples: the integers by hand, and the C against them in any order of calls."""

from __future__ import annotations

import numpy as np
import pytest
from fronts import (
    AHEAD,
    GAP,
    LATE,
    NOT_READY,
    NOT_STARTED,
    OK,
    READY,
    CompiledFront,
    acc_streams,
    front_of,
    hashes_of,
    ppg_streams,
    tracker_of,
)

from pulsehr.firmware.front import SLACK
from pulsehr.firmware.front_gaps import over_gap, rows_of
from pulsehr.firmware.front_integer import decimated, front_windows, streams, tracked
from pulsehr.firmware.front_source import header_parts

BAND = (0.5, 4.0)

#: Channels, both factors, the band-pass, and how windows are normalised.
KINDS = [
    (4, (1, 1), BAND, None),
    (4, (2, 1), None, "window"),
    (4, (2, 1), BAND, "window"),
    (4, (1, 2), None, "channel"),
    (4, (2, 2), BAND, "channel"),
    (4, (5, 3), None, "window"),
    (4, (4, 4), BAND, "window"),
    (1, (1, 1), BAND, "window"),
    (1, (2, 1), None, None),
    (1, (4, 1), BAND, "channel"),
]


@pytest.fixture
def compiled(tmp_path, compiler):
    """Compile a front end."""

    def make(front, flags=()):
        return CompiledFront(front, tmp_path, compiler, flags)

    return make


def with_gaps(samples, rng, often):
    """Mask stretches of samples, some of one sample."""
    missing = np.zeros(len(samples), dtype=bool)
    for start in np.flatnonzero(rng.random(len(samples)) < often):
        missing[start : start + rng.choice([1, 2, 3, 7, 60])] = True
    mask = missing if samples.ndim == 1 else np.repeat(missing[:, None], 3, axis=1)
    return np.ma.MaskedArray(samples, mask)


def streams_with_gaps(front, n_rows, seed, often=0.007):
    rng = np.random.default_rng(seed)
    factor = front.ppg.factor
    ppg = with_gaps(ppg_streams(n_rows * factor, seed)["walk"], rng, often / factor)
    if front.acc is None:
        return ppg, None
    factor = front.acc.factor
    return ppg, with_gaps(acc_streams(n_rows * factor, seed)[0], rng, often / factor)


# ------------------------------------------------------------------------ the integers by hand


def missing_at(n, *missing):
    mask = np.zeros(n, dtype=bool)
    mask[list(missing)] = True
    return mask


def test_a_row_is_missing_if_any_of_its_samples_is():
    sensor = front_of(1, factors=(3, 1)).ppg
    rows = rows_of(sensor, missing_at(15, 4, 12), 5)
    assert rows.missing.tolist() == [False, True, False, False, True]
    # of the last row, at the missing sample 12, there is no stretch
    assert rows.first.tolist() == [0, 0, 5, 5, -1]
    assert rows.last.tolist() == [3, 3, 11, 11, -1]


def test_a_gap_at_the_end_goes_on():
    sensor = front_of(1, factors=(2, 1)).ppg
    assert rows_of(sensor, missing_at(4, 3), 5).missing.tolist() == [False, True, True, True, True]


def test_rows_beside_a_gap_see_their_own_stretch_alone():
    front = front_of(1, factors=(2, 1))
    samples = np.where(np.arange(40) < 20, 1000, -5000)
    rows = rows_of(front.ppg, missing_at(40, 20), 20)
    # each side is constant; without a gap the filter would round the step off
    got = decimated(front.ppg, samples, 20, 1 << 23, rows)[~rows.missing]
    assert got.tolist() == [1000] * 10 + [-5000] * 9
    assert len(set(decimated(front.ppg, samples, 20, 1 << 23).tolist())) > 2


def test_before_a_gap_is_the_end_of_a_recording_and_after_it_the_start_of_one():
    front = front_of(1, factors=(3, 1), bandpass=BAND)
    ppg = ppg_streams(1500)["walk"]
    gap = np.ma.MaskedArray(ppg, np.isin(np.arange(1500), range(600, 660)))
    (whole,) = streams(front, gap, None, 500)
    (before,) = streams(front, ppg[:600], None, 200)
    (after,) = streams(front, ppg[660:], None, 280)
    np.testing.assert_array_equal(whole[:200], before)
    np.testing.assert_array_equal(whole[220:], after)


def test_a_window_lies_over_a_gap_from_its_first_sample_to_its_last():
    front = front_of(window=4 / 32, factors=(2, 1))
    ppg, acc = np.zeros(40, int), np.zeros((20, 3), int)
    gap = np.ma.MaskedArray(ppg, missing_at(40, 21))  # row 10
    ends = np.arange(4, 20)
    wanted = [end in (11, 12, 13, 14) for end in ends]
    assert over_gap(front, gap, acc, ends).tolist() == wanted
    # an axis is as good as all
    mask = np.zeros((20, 3), dtype=bool)
    mask[10, 1] = True
    assert over_gap(front, ppg, np.ma.MaskedArray(acc, mask), ends).tolist() == wanted
    assert not over_gap(front, ppg, acc, ends).any()


# ---------------------------------------------------------------------------- C = integers


@pytest.mark.parametrize(("n_channels", "factors", "bandpass", "normalize"), KINDS)
def test_c_equals_the_integers_over_gaps(n_channels, factors, bandpass, normalize, compiled):
    front = front_of(
        n_channels, factors=factors, bandpass=bandpass, normalize=normalize, window=1.0
    )
    c = compiled(front)
    for seed in range(3):
        ppg, acc = streams_with_gaps(front, 700, seed)
        # beyond the end of the streams, too
        ends = np.unique(np.random.default_rng(seed).integers(front.n_times, 740, 300))
        over = over_gap(front, ppg, acc, ends)
        got = c.stream(ppg, acc, ends)
        np.testing.assert_array_equal(np.ma.getmaskarray(got), over)
        wanted = hashes_of(front_windows(front, ppg, acc, ends))
        np.testing.assert_array_equal(got.data[~over], wanted[~over])
        assert over.any()
        assert not over.all()


@pytest.mark.parametrize(
    "tracking",
    [
        {"clip": True},
        {"tracker": tracker_of("clip", max_gap=2.0)},
        {"tracker": tracker_of("kalman", max_gap=2.0)},
    ],
)
def test_a_heart_rate_over_a_gap_is_one_not_asked_for(tracking, compiled):
    front = front_of(1, factors=(2, 1), window=1.0, stride=0.25, **tracking)
    ppg, _ = streams_with_gaps(front, 6000, 5, often=0.002)
    ends = np.arange(front.n_times, 6000, front.stride)
    over = over_gap(front, ppg, None, ends)
    got = compiled(front).stream(ppg, None, ends)
    np.testing.assert_array_equal(np.ma.getmaskarray(got), over)
    hashes = hashes_of(front_windows(front, ppg, None, ends[~over]))[:, None]
    np.testing.assert_array_equal(got.data[~over], tracked(front, hashes, ends[~over]))
    longest = np.diff(ends[~over]).max()
    assert front.max_gap is None or longest > front.max_gap


# ----------------------------------------------------------------------------------- calls


def rows_after_pushes(rows, n, factor):
    wait = 5 * factor if factor > 1 else 1
    return max(rows, 0 if n < wait else (n - wait) // factor + 1)


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_pushes_and_skips_agrees_with_the_integers(seed, compiled):
    rng = np.random.default_rng(seed)
    factors = [(1, 1), (2, 1), (3, 2), (1, 4)][seed % 4]
    front = front_of(factors=factors, window=0.5, stride=0.25, bandpass=BAND if seed % 2 else None)
    c = compiled(front)
    c.init()
    samples = {"ppg": ppg_streams(40000)["walk"], "acc": acc_streams(40000)[3]}
    missing = {sensor: np.zeros(40000, dtype=bool) for sensor in samples}
    counts, rows = dict.fromkeys(samples, 0), dict.fromkeys(samples, 0)
    by_sensor = dict(zip(samples, factors, strict=True))
    pending, window_at, found = False, 0, []
    # as many rows of one sensor as of the other
    shares = np.array([*factors, *(0.01 * sum(factors),) * 2, 0.1 * sum(factors)])
    calls = ["ppg", "acc", "skip ppg", "skip acc", "ask"]
    for call in rng.choice(calls, 8000, p=shares / shares.sum()):
        sensor = call.split()[-1]
        if call == "ask":
            result = c.heart_rate()
            ppg, acc = (
                np.ma.MaskedArray(samples[name][:n], mask_of(samples[name][:n], missing[name][:n]))
                for name, n in counts.items()
            )
            over = pending and over_gap(front, ppg, acc, np.array([window_at]))[0]
            if isinstance(result, tuple):
                assert not over
                wanted = front_windows(front, ppg, acc, np.array([window_at]))
                assert result == (int(hashes_of(wanted)[0]),)
            else:
                assert result == (NOT_READY if not pending else GAP if over else LATE)
                late = max(rows.values()) - window_at
                assert result != LATE or late > SLACK
            pending = False
            found.append(result if isinstance(result, int) else OK)
            continue
        factor, n = by_sensor[sensor], counts[sensor]
        if call.startswith("skip"):
            m = int(rng.choice([1, 2, 5, 20 * factor, 50 * factor]))
            status = c.skip(sensor, m)
            if status >= 0:
                missing[sensor][n : n + m] = True
                counts[sensor] += m
                rows[sensor] = -(-counts[sensor] // factor)
        else:
            push = c.push_ppg if sensor == "ppg" else c.push_acc
            status = push(samples[sensor][n])
            if status >= 0:
                counts[sensor] += 1
                rows[sensor] = rows_after_pushes(rows[sensor], counts[sensor], factor)
        done = min(rows.values())
        newest = front.n_times + (done - front.n_times) // front.stride * front.stride
        is_new = done >= front.n_times and newest > window_at
        assert status == (READY if is_new else OK) or (status == AHEAD and not is_new)
        if is_new:
            pending, window_at = True, newest
    c.check_guards()
    assert min(found.count(status) for status in (OK, GAP, NOT_READY)) > 10


def mask_of(samples, missing):
    return missing if samples.ndim == 1 else np.repeat(missing[:, None], 3, axis=1)


def push_some(c, n_rows):
    """Push rows of both sensors in the order of their times."""
    factors = c.front.ppg.factor, c.front.acc.factor
    ppg, acc = ppg_streams(n_rows * factors[0])["walk"], acc_streams(n_rows * factors[1])[0]
    i = j = 0
    while i < len(ppg):
        if j * factors[0] <= i * factors[1]:
            c.push_acc(acc[j])
            j += 1
        else:
            c.push_ppg(ppg[i])
            i += 1


@pytest.mark.parametrize("tracking", [{}, {"tracker": tracker_of("clip", max_gap=4.0)}])
@pytest.mark.parametrize("factors", [(1, 1), (2, 1), (2, 3)])
def test_skipping_at_once_leaves_the_state_that_skipping_one_by_one_does(
    factors, tracking, compiled
):
    c = compiled(front_of(factors=factors, window=1.0, stride=0.75, bandpass=BAND, **tracking))
    for n_rows in (0, 3, 50):
        for n in (1, 3, 40, 2000):
            states = []
            for at_once in (True, False):
                c.init()
                push_some(c, n_rows)
                for sensor, factor in zip(("ppg", "acc"), factors, strict=True):
                    n_samples = n * factor + 1
                    for k in [n_samples] if at_once else [1] * n_samples:
                        assert c.skip(sensor, k) in (OK, READY)
                states.append(c.memory.copy())
            np.testing.assert_array_equal(*states)


def test_years_are_skipped_in_little_work(compiled):
    c = compiled(front_of(factors=(2, 2), window=1.0, stride=0.75))
    c.init()
    most = 2**31 - 1
    # 2^30 rows each: what remains after whole strides is as of less
    assert [c.skip("ppg", most), c.skip("acc", most)] == [OK, READY]
    assert c.heart_rate() == GAP
    far = c.memory.copy()
    c.init()
    n_rows = 24 * 1000 + 2**30 % 24
    assert c.skip("", 2 * n_rows - 1) == READY
    c.heart_rate()
    ring = 40
    difference = np.flatnonzero(far != c.memory)
    # but for the position in the ring
    assert len(difference) <= 4, difference
    assert 2**30 % ring != n_rows % ring
    for k in range(200):
        if c.push(k, k, k, k) == READY and isinstance(c.heart_rate(), tuple):
            break
    assert 64 < k < 110


def test_a_sensor_cannot_be_ahead_by_more_than_can_be_counted(compiled):
    c = compiled(front_of(window=1.0))
    c.init()
    most = 2**31 - 1
    assert c.skip("acc", most - SLACK) == OK
    before = c.memory.copy()
    assert c.skip("acc", 1) == AHEAD
    assert c.skip("acc", most) == AHEAD
    assert c.push_acc((1, 2, 3)) == AHEAD
    np.testing.assert_array_equal(c.memory, before)
    assert c.push_ppg(1) == OK
    assert c.skip("acc", 1) == OK


@pytest.mark.parametrize("sensor", ["ppg", "acc"])
def test_after_all_that_can_be_skipped_at_once_pushes_wait(sensor, compiled):
    c = compiled(
        front_of(window=1.0), ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
    )
    c.init()
    assert c.skip(sensor, 2**31 - 1) == OK
    before = c.memory.copy()
    push, sample = (c.push_ppg, 1) if sensor == "ppg" else (c.push_acc, (1, 2, 3))
    assert [push(sample), c.skip(sensor, 1), c.skip(sensor, 2**31 - 1)] == [AHEAD] * 3
    np.testing.assert_array_equal(c.memory, before)
    other = "acc" if sensor == "ppg" else "ppg"
    assert c.skip(other, 2**31 - 1) == READY
    assert c.heart_rate() == GAP
    assert push(sample) == OK


def test_no_place_for_rows_that_await_samples_is_refused(compiled):
    c = compiled(front_of(window=1.0, factors=(2, 1)))
    c.init()
    while c.push_ppg(1) == OK:
        pass
    before = c.memory.copy()
    assert c.skip("ppg", 1) == AHEAD
    np.testing.assert_array_equal(c.memory, before)
    # five rows have a place
    for k in range(5):
        assert c.push_acc((k, k, k)) == OK
    assert c.skip("ppg", 1000) == OK


@pytest.mark.parametrize("n", [0, -1, -(2**31)])
def test_no_sample_is_skipped_if_none_is_missing(n, compiled):
    c = compiled(front_of(window=1.0, factors=(2, 2)))
    c.init()
    push_some(c, 40)
    before = c.memory.copy()
    assert [c.skip(sensor, n) for sensor in ("ppg", "acc", "")] == [OK] * 3
    np.testing.assert_array_equal(c.memory, before)


def test_a_stream_that_was_not_started_cannot_be_skipped(compiled):
    c = compiled(front_of(window=1.0))
    c.memory[:] = 0
    assert [c.skip(sensor, 5) for sensor in ("ppg", "acc", "")] == [NOT_STARTED] * 3


def test_after_a_gap_each_window_that_holds_it_says_so_and_the_next_does_not(compiled):
    c = compiled(front_of(1, window=1.0, stride=0.25))
    c.init()
    results = []
    for k in range(128):
        status = c.skip("ppg", 1) if k == 40 else c.push(k % 7)
        if status == READY:
            results.append(c.heart_rate())
            assert c.heart_rate() == NOT_READY
    # sample 40 lies in the windows that end at 48, 56, 64 and 72
    statuses = [result if isinstance(result, int) else OK for result in results]
    assert statuses == [OK] * 2 + [GAP] * 4 + [OK] * 7


def test_the_window_before_a_gap_is_there_once_the_gap_is_known(compiled):
    # samples after it, to which its filter looks ahead, never come
    c = compiled(front_of(1, factors=(2, 1), window=1.0, stride=1.0))
    ppg = ppg_streams(64)["walk"]
    c.init()
    assert {c.push(sample) for sample in ppg} == {OK}
    assert c.skip("", 1) == READY
    wanted = hashes_of(front_windows(c.front, ppg, None, np.array([32])))
    assert c.heart_rate() == (int(wanted[0]),)


def test_skips_are_declared_as_pushes_are():
    both = header_parts(front_of(), "hr", 4).api
    assert {f"hr_skip{end}(" in both for end in ("", "_ppg", "_acc")} == {True}
    apart = header_parts(front_of(factors=(2, 1)), "hr", 4).api
    assert "hr_skip(" not in apart
    assert "hr_skip_acc(" not in header_parts(front_of(1), "hr", 4).api
