"""The C of the front end against its integers in numpy, and in any order of calls."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
from fronts import (
    AHEAD,
    LATE,
    NOT_READY,
    NULL,
    OK,
    READY,
    CompiledFront,
    acc_streams,
    front_of,
    hashes_of,
    ppg_streams,
    windower,
)

from pulsehr.firmware.front import SLACK, design_front
from pulsehr.firmware.front_integer import CLIP_REACH, clipped, front_windows
from pulsehr.firmware.front_source import front_files, header_parts, state_bytes
from pulsehr.firmware.quantization import Format

BAND = (0.5, 4.0)


@pytest.fixture
def compiled(tmp_path, compiler):
    """Compile a front end."""

    def make(front, flags=()):
        return CompiledFront(front, tmp_path, compiler, flags)

    return make


def all_text(front, prefix="hr"):
    """Join the files of a front end and its part of the public header."""
    return "".join([*front_files(front, prefix).values(), header_parts(front, prefix, 100).api])


def check_streams(c, n_rows=700):
    front = c.front
    factors = front.ppg.factor, 0 if front.acc is None else front.acc.factor
    accs = acc_streams(n_rows * factors[1])
    rng = np.random.default_rng(2)
    for k, (name, ppg) in enumerate(ppg_streams(n_rows * factors[0]).items()):
        acc = None if front.acc is None else accs[k % len(accs)]
        # beyond the end of the streams, too
        ends = np.unique(rng.integers(front.n_times, n_rows + 40, 40))
        wanted = hashes_of(front_windows(front, ppg, acc, ends))
        np.testing.assert_array_equal(c.stream(ppg, acc, ends), wanted, err_msg=name)


@pytest.mark.parametrize("normalize", ["window", "channel", None])
@pytest.mark.parametrize("bandpass", [None, BAND])
@pytest.mark.parametrize("factors", [(1, 1), (2, 1), (1, 2), (5, 5), (3, 4)])
@pytest.mark.parametrize("n_channels", [1, 4])
def test_c_equals_the_integers(n_channels, factors, bandpass, normalize, compiled):
    front = front_of(n_channels, factors=factors, bandpass=bandpass, normalize=normalize)
    check_streams(compiled(front))


@pytest.mark.parametrize("input_format", [Format(8, 0.001, 127), Format(8, 5.0, -128)])
@pytest.mark.parametrize("window", [2 / 32, 0.5, 18.0])
def test_c_equals_the_integers_at_other_scales_and_lengths(window, input_format, compiled):
    check_streams(compiled(front_of(input_format=input_format, window=window)), n_rows=1500)


@pytest.mark.parametrize(
    ("rate", "bandpass"), [(25.0, (0.1, 12.0)), (100.0, (0.05, 4.0)), (32.0, (1.0, 15.9))]
)
def test_c_equals_the_integers_with_extreme_bands(rate, bandpass, compiled):
    check_streams(compiled(front_of(sampling_rate=rate, bandpass=bandpass)))


@pytest.mark.parametrize("normalize", ["window", "channel", None])
@pytest.mark.parametrize("bandpass", [None, BAND])
def test_no_stream_leads_to_undefined_behaviour(bandpass, normalize, compiled, missing):
    flags = ("-fsanitize=undefined", "-fno-sanitize-recover", "-static-libubsan")
    front = front_of(factors=(2, 3), bandpass=bandpass, normalize=normalize, clip=True)
    try:
        c = compiled(front, flags)
    except subprocess.CalledProcessError:
        missing("the compiler has no -static-libubsan: use a gcc that comes with libubsan")
    for ppg in ppg_streams(1400).values():
        for acc in acc_streams(2100):
            c.stream(ppg, acc, np.arange(front.n_times, 700, 10))


def test_clang_compiles_the_front_without_a_warning(tmp_path, missing):
    clang = next(filter(shutil.which, ("clang", "clang-14")), None)
    if clang is None:
        missing("there is no clang: install it (apt-get install clang-14)")
    check_streams(CompiledFront(front_of(factors=(2, 1), bandpass=BAND), tmp_path, clang))


def test_c_clips_as_the_integers(compiled):
    front = front_of(n_channels=1, clip=True)
    ppg = ppg_streams(1000)["walk"]
    ends = np.arange(front.n_times, 1000, 20)
    got = compiled(front).stream(ppg, None, ends)
    # hashes are heart rates of any size, cut to the largest that is clipped
    np.testing.assert_array_equal(got, clipped(hashes_of(front_windows(front, ppg, None, ends))))
    assert got.min() >= 0
    assert got.max() <= CLIP_REACH
    assert len(set(got[10:])) > 1


# ------------------------------------------------------------------------------ calls


def test_a_heart_rate_comes_every_stride(compiled):
    front = front_of(n_channels=1, window=1.0, stride=0.25)
    c = compiled(front)
    ppg = ppg_streams(100)["walk"]
    c.init()
    got = {}
    for k, sample in enumerate(ppg, 1):
        status = c.push(sample)
        assert status == (READY if k >= 32 and k % 8 == 0 else OK)
        if status == READY:
            (got[k],) = c.heart_rate()
    wanted = hashes_of(front_windows(front, ppg, None, np.array(list(got))))
    np.testing.assert_array_equal(list(got.values()), wanted)
    assert len(got) == 9


def test_push_equals_pushes_of_each_sensor(compiled):
    front = front_of(window=1.0, factors=(2, 2), stride=0.5)
    c = compiled(front)
    ppg, acc = ppg_streams(200)["walk"], acc_streams(200)[0]
    results = []
    for together in (True, False):
        c.init()
        for sample, axes in zip(ppg, acc, strict=True):
            if together:
                ready = c.push(sample, *axes) == READY
            else:
                ready = READY in (c.push_ppg(sample), c.push_acc(axes))
            if ready:
                results.append(c.heart_rate())
    assert results[:5] == results[5:]
    assert len(results) == 10


def test_there_is_no_common_push_at_different_rates():
    assert "hr_push(" not in header_parts(front_of(factors=(2, 1)), "hr", 4).api
    assert "hr_push(" in header_parts(front_of(), "hr", 4).api


def test_null_is_an_error(compiled):
    c = compiled(front_of())
    library = c.library
    assert library.hr_init(None) == NULL
    assert library.hr_push_ppg(None, 0) == NULL
    assert library.hr_push_acc(None, 0, 0, 0) == NULL
    assert library.hr_push(None, 0, 0, 0, 0) == NULL
    assert {getattr(library, f"hr_skip{end}")(None, 1) for end in ("", "_ppg", "_acc")} == {NULL}
    assert library.hr_heart_rate(None, None) == NULL
    c.init()
    assert library.hr_heart_rate(c.state, None) == NULL


def test_each_window_is_estimated_once(compiled):
    c = compiled(front_of(n_channels=1, window=1.0, stride=1.0))
    c.init()
    assert c.heart_rate() == NOT_READY
    statuses = [c.push_ppg(k % 5) for k in range(32)]
    assert statuses == [OK] * 31 + [READY]
    assert isinstance(c.heart_rate(), tuple)
    assert c.heart_rate() == NOT_READY
    assert c.push_ppg(0) == OK
    assert c.heart_rate() == NOT_READY


@pytest.mark.parametrize("n_late", [0, SLACK, SLACK + 1, 3 * SLACK])
def test_a_late_call_gives_the_same_or_says_that_it_is_late(n_late, compiled):
    front = front_of(n_channels=1, window=1.0, stride=2.0)
    c = compiled(front)
    ppg = ppg_streams(200)["walk"]
    c.init()
    for sample in ppg[: 32 + n_late]:
        c.push_ppg(sample)
    ends = np.array([32, 96])
    wanted = [(bpm,) for bpm in hashes_of(front_windows(front, ppg, None, ends)).tolist()]
    assert c.heart_rate() == (wanted[0] if n_late <= SLACK else LATE)
    assert c.heart_rate() == NOT_READY
    # the next window is not concerned
    for sample in ppg[32 + n_late : 96]:
        status = c.push_ppg(sample)
    assert status == READY
    assert c.heart_rate() == wanted[1]


def test_the_newest_window_replaces_one_that_was_not_estimated(compiled):
    front = front_of(n_channels=1, window=1.0, stride=0.5)
    c = compiled(front)
    ppg = ppg_streams(64)["walk"]
    c.init()
    assert [c.push_ppg(sample) for sample in ppg].count(READY) == 3
    assert c.heart_rate() == (int(hashes_of(front_windows(front, ppg, None, np.array([64])))[0]),)


@pytest.mark.parametrize("first", ["ppg", "acc"])
def test_a_sensor_that_runs_ahead_is_refused_until_the_other_follows(first, compiled):
    front = front_of(window=1.0, stride=1.0)
    c = compiled(front)
    ppg, acc = ppg_streams(64)["walk"], acc_streams(64)[0]
    pushes = [(c.push_ppg, ppg), (c.push_acc, acc)]
    if first == "acc":
        pushes.reverse()
    (push, samples), (push_other, others) = pushes
    c.init()
    assert [push(sample) for sample in samples[:SLACK]] == [OK] * SLACK
    assert push(samples[SLACK]) == AHEAD
    assert push(samples[SLACK]) == AHEAD
    assert push_other(others[0]) == OK
    # nothing of what was refused is stored
    statuses = []
    for k in range(1, 33):
        statuses += [push(samples[SLACK + k - 1]), push_other(others[k])]
    assert AHEAD not in statuses
    assert READY in statuses
    wanted = hashes_of(front_windows(front, ppg, acc, np.array([32])))
    assert c.heart_rate() == (int(wanted[0]),)


def test_fifos_of_eight_rows_may_be_emptied_in_turn_the_filtered_sensor_first(compiled):
    c = compiled(front_of(factors=(2, 1), window=1.0, stride=1.0))
    c.init()
    statuses = []
    for k in range(20):
        statuses += [c.push_ppg(k + i) for i in range(2 * SLACK)]
        statuses += [c.push_acc((k, i, -i)) for i in range(SLACK)]
    assert set(statuses) == {OK, READY}


def test_being_ahead_uses_up_what_may_be_late(compiled):
    c = compiled(front_of(window=1.0, stride=9.0))
    for n_late, wanted in ((3, tuple), (4, int)):
        c.init()
        for k in range(32):
            c.push(k, k, k, k)
        for k in range(n_late):
            c.push(k, k, k, k)
        for k in range(5):
            assert c.push_acc((k, k, k)) == OK
        assert isinstance(c.heart_rate(), wanted)


def test_a_push_of_both_is_refused_as_a_whole(compiled):
    # shifted against each other, one sensor completes a row and the other does not
    front = front_of(factors=(2, 2), window=1.0)
    c = compiled(front)
    c.init()
    ppg = 0
    while c.push_ppg(ppg) == OK:
        ppg += 1
    before = c.memory.copy()
    assert c.push(0, 0, 0, 0) == AHEAD
    np.testing.assert_array_equal(c.memory, before)


@pytest.mark.parametrize("seed", range(8))
def test_any_order_of_calls_is_safe_and_agrees_with_the_integers(seed, compiled):
    rng = np.random.default_rng(seed)
    factors = [(1, 1), (2, 1), (3, 2), (1, 4)][seed % 4]
    front = front_of(factors=factors, window=0.7, stride=0.125, bandpass=BAND if seed > 3 else None)
    c = compiled(front)
    c.init()
    ppg, acc = ppg_streams(4000)["walk"], acc_streams(4000)[3]
    n_ppg = n_acc = n_checked = 0
    window_at = None
    for _ in range(6000):
        call = rng.choice(3, p=[0.47, 0.47, 0.06])
        status = NOT_READY
        if call == 0 and n_ppg < len(ppg):
            status = c.push_ppg(ppg[n_ppg])
            n_ppg += status != AHEAD
        elif call == 1 and n_acc < len(acc):
            status = c.push_acc(acc[n_acc])
            n_acc += status != AHEAD
        elif call == 2:
            result = c.heart_rate()
            if isinstance(result, tuple):
                wanted = front_windows(front, ppg[:n_ppg], acc[:n_acc], np.array([window_at]))
                assert result == (int(hashes_of(wanted)[0]),)
                n_checked += 1
            else:
                assert result in (LATE, NOT_READY)
        if status == READY:
            window_at = front.n_times if window_at is None else window_at + front.stride
    c.check_guards()
    assert n_checked > 20


def test_cpp_takes_the_header(tmp_path, compiled, missing):
    if shutil.which("g++") is None:
        missing("there is no C++ compiler: install one, such as g++")
    compiled(front_of(bandpass=BAND, clip=True))
    text = '#include "hr.h"\nint start(hr_state *state) { return hr_init(state); }\n'
    (tmp_path / "user.cpp").write_text(text)
    flags = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run(["g++", *flags, "-c", "user.cpp"], cwd=tmp_path, check=True)


# ------------------------------------------------------------------------------ memory


def test_the_state_of_the_paper_stays_small():
    front = design_front(windower(window=8.0), Format(8, 0.03, 0), ppg_rate=64)
    # 264 samples of 4 + 3 * 2 bytes, 19 of the filter and 8 counters
    assert state_bytes(front, 0) == 264 * 10 + 19 * 4 + 8 * 4 == 2748


@pytest.mark.parametrize("window", [1.0, 33 / 32])
def test_the_size_of_the_state_is_that_of_the_compiler(window, compiled):
    # _Static_assert compares
    for n_channels in (1, 4):
        compiled(front_of(n_channels, window=window, factors=(2, 2), bandpass=BAND, clip=True))


def test_the_same_constants_give_the_same_text():
    first, second = (all_text(front_of(bandpass=BAND)) for _ in range(2))
    assert first == second


def test_another_prefix_names_everything():
    text = all_text(front_of(), "mine")
    assert "hr_" not in text.replace("pulsehr", "")
    assert "PULSEHR" not in text


def test_no_float_and_only_small_headers():
    text = all_text(front_of(bandpass=BAND, clip=True))
    assert "float" not in text
    assert "double" not in text
    assert "malloc" not in text
    headers = {line.split("<")[1][:-1] for line in text.splitlines() if "#include <" in line}
    assert headers == {"stdint.h", "stddef.h", "string.h"}
