"""The self-test of an export passes where it must, and tells damaged weights."""

from __future__ import annotations

import ctypes
import itertools
import re
import subprocess

import numpy as np
import pytest
from exports import FRONTS, STRICT, exported

from pulsehr.firmware.cortex_m import run_on
from pulsehr.firmware.cortex_m_footprint import measured_footprint
from pulsehr.firmware.front_integer import front_windows
from pulsehr.firmware.host import compile_library
from pulsehr.firmware.integer import run
from pulsehr.firmware.self_test import (
    N_READINGS,
    N_WINDOWS,
    expected_heart_rates,
    self_test_samples,
    self_test_windows,
    wave,
)

MAIN = """
#include <stdio.h>
#include "hr_self_test.h"
static uint32_t memory[HR_SELF_TEST_BYTES / 4 + 1];
int main(void)
{
    if (hr_self_test(NULL) != HR_ERROR_NULL) {
        return 1;
    }
    for (unsigned k = 0; k < sizeof memory; ++k) {
        ((uint8_t *)memory)[k] = 0xA5;
    }
    printf("%d\\n", hr_self_test(memory));
    return ((uint8_t *)memory)[HR_SELF_TEST_BYTES] != 0xA5;
}
"""


@pytest.fixture(scope="module")
def graphs(quantized_student):
    return {n: quantized_student(n, 64, (4, 3, 5)) for n in (1, 4)}


def model_of(graphs, name, **parameters):
    front = FRONTS.get(name)
    return exported(graphs[(front or {}).get("n_channels", 4)], front, **parameters)


def result_of(sources, folder, compiler):
    for name, text in {**sources, "main.c": MAIN}.items():
        (folder / name).write_text(text)
    units = [path.name for path in folder.glob("*.c")]
    subprocess.run([compiler, *STRICT, "-o", "main", *units], cwd=folder, check=True)
    done = subprocess.run([folder / "main"], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.parametrize("name", ["alone", *FRONTS])
def test_it_passes_on_this_machine_without_a_warning(name, graphs, tmp_path, compiler):
    assert result_of(model_of(graphs, name).sources, tmp_path, compiler) == 0


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
def test_it_passes_on_cortex_m(core, graphs, qemu):
    main = MAIN.replace("#include <stdio.h>", '#include <stddef.h>\n#include "semihosting.h"')
    main = main.replace('printf("%d\\n", hr_self_test(memory));', PRINT)
    finished = run_on(core, model_of(graphs, "everything").sources, main)
    assert (finished.status, finished.stdout) == (0, "0")


PRINT = "semihosting_print_integer(hr_self_test(memory));"


def flipped(text, table, share):
    """Change the sign bit of a weight: of the first of a table at share 0, of the last at 1."""
    start = text.index("{", text.index(f"_{table}_weights["))
    numbers = list(re.finditer(r"-?\d+", text[start : text.index("}", start)]))
    found = numbers[round(share * (len(numbers) - 1))]
    value = int(found[0])
    changed = value - 128 if value >= 0 else value + 128
    return text[: start + found.start()] + str(changed) + text[start + found.end() :]


def heart_rates_of(library, windows):
    arena = np.empty(4096, np.int32)
    bpm_q8 = np.empty(len(windows), np.int32)
    for window, bpm in zip(windows, bpm_q8.reshape(-1, 1), strict=True):
        addresses = (x.ctypes.data for x in (window, arena, bpm))
        assert library.hr_predict(*(ctypes.c_void_p(address) for address in addresses)) == 0
    return bpm_q8


def test_a_damaged_weight_is_told_if_it_changes_heart_rates(graphs, tmp_path, compiler):
    model = model_of(graphs, "alone")
    windows = np.random.default_rng(3).integers(-100, 100, (20, 4, 64)).astype(np.int8)
    healthy = run(model.graph, windows)
    memory = np.empty(4096, np.int32)
    told = {}
    for table, share in itertools.product(("conv11", "conv4", "dense", "out"), (0.05, 0.5, 0.95)):
        damaged = flipped(model.sources["hr_weights.c"], table, share)
        folder = tmp_path / f"{table}{share}"
        folder.mkdir()
        path = compile_library({**model.sources, "hr_weights.c": damaged}, folder)
        library = ctypes.CDLL(str(path))
        result = library.hr_self_test(ctypes.c_void_p(memory.ctypes.data))
        told[table, share] = 1 <= result <= N_WINDOWS
        if (heart_rates_of(library, windows) != healthy).any():
            assert told[table, share], (table, share)
    # few weights lead to features that are always zero
    assert sum(told.values()) >= 10


def test_a_damaged_front_end_is_told_by_the_stream(quantized_student, tmp_path, compiler):
    sources = exported(quantized_student(4, 64), FRONTS["paper"]).sources
    tables = sources["hr_front_tables.h"]
    tap = re.search(r"hr_ppg_taps\[10\] = \{\s+(\d+)", tables)
    damaged = tables[: tap.start(1)] + str(int(tap[1]) ^ 4096) + tables[tap.end(1) :]
    result = result_of({**sources, "hr_front_tables.h": damaged}, tmp_path, compiler)
    assert N_WINDOWS < result <= N_WINDOWS + N_READINGS


def test_vectors_reach_the_rails_and_differ(graphs):
    windows = self_test_windows(graphs[4])
    assert (windows[0] == -128).all()
    assert (windows[1] == 127).all()
    assert {-128, 127} == set(windows[2].ravel())
    assert len(np.unique(windows.reshape(N_WINDOWS, -1), axis=0)) == N_WINDOWS


def test_waves_stay_in_their_range_and_have_a_noise_for_each_signal():
    waves = np.array([wave(np.arange(4000), signal, 48) for signal in range(4)])
    assert (waves.min(), waves.max()) == (-96, 95)
    assert np.abs(np.corrcoef(np.diff(waves - waves.mean(axis=0)))[0, 1:]).max() < 0.6


@pytest.mark.parametrize("name", FRONTS)
def test_streams_neither_vanish_nor_saturate(name, graphs):
    model = model_of(graphs, name)
    front = model.front_end
    ends = np.array([64])
    window = front_windows(front, *self_test_samples(front, 999, 999), ends)[0].astype(int)
    spans = np.ptp(window, axis=1)
    assert (spans > 20).all()
    if front.bandpass is None:
        assert (np.abs(window - np.array([[front.zero_point]])) < 128).all()
    assert len(set(expected_heart_rates(graphs[len(window)], front).tolist())) > 1


def test_it_takes_flash_only_if_it_is_called_and_little_then(quantized_student, arm_gcc):
    model = exported(quantized_student(4, 256), FRONTS["everything"])
    functions = list(model.functions)
    assert not [name for name in model.footprint.symbols if "self_test" in name]
    both = measured_footprint(model.sources, [*functions, "hr_predict", "hr_self_test"])
    without = measured_footprint(model.sources, [*functions, "hr_predict"])
    assert both.flash_bytes - without.flash_bytes < 1024
