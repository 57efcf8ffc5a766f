"""The standard deviation of a heart rate: integers, C on every target, self-test and pages."""

from __future__ import annotations

import ctypes
import subprocess
from functools import cache

import numpy as np
import pytest
import torch
from exports import FRONTS, STRICT, exported
from students import random_windows

from pulsehr.firmware.c_text import array
from pulsehr.firmware.cortex_m import run_on
from pulsehr.firmware.graph import Dense, Graph, measure_ranges
from pulsehr.firmware.host import HostLibrary, compile_library
from pulsehr.firmware.integer import power_of_two, quantize_windows, run, run_outputs
from pulsehr.firmware.lowering import lower
from pulsehr.firmware.microcontroller import MicrocontrollerModel
from pulsehr.firmware.quantization import LOG2_STD_LIMITS, LOG2_STEPS, quantize
from pulsehr.firmware.self_test import self_test_samples
from pulsehr.forms import InteractingNetwork

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")

PROGRAM = """
#include "hr.h"
#include "semihosting.h"
{windows}
static _Alignas(16) uint8_t arena[HR_ARENA_BYTES];
static const int32_t logarithms[5] = {{INT32_MIN, INT32_MAX, 0, 300, -300}};
int main(void)
{{
    for (int32_t i = 0; i < {n_windows} + 5; ++i) {{
        int32_t bpm_q8 = 0, std_q8 = 0;
        const int8_t *const window = windows + i * HR_INPUT_BYTES;

        if (i < {n_windows} && hr_predict(window, arena, &bpm_q8) != HR_OK) {{
            return 1;
        }}
        if (i >= {n_windows}) {{ /* what was not estimated is kept within its bounds */
            *(int32_t *)(void *)arena = logarithms[i - {n_windows}];
        }}
        if (hr_std(arena, &std_q8) != HR_OK) {{
            return 2;
        }}
        semihosting_print_integer(bpm_q8);
        semihosting_print(" ");
        semihosting_print_integer(std_q8);
        semihosting_print("\\n");
    }}
    return 0;
}}
"""

HOST = """
#include <stdio.h>
static void semihosting_print(const char *text) { fputs(text, stdout); }
static void semihosting_print_integer(int32_t value) { printf("%ld", (long)value); }
"""


@cache
def graph_of(n_channels: int, n_times: int, filters: tuple[int, int, int] = (4, 3, 6)):
    """Quantize a random student whose standard deviations differ, some beyond their bounds."""
    shape = (n_channels, n_times)
    torch.manual_seed(0)
    network = InteractingNetwork(*shape, filters, n_outputs=2).eval()
    windows = random_windows(50, shape, seed=1)
    with torch.no_grad():
        log_scale = network.out(network(torch.from_numpy(windows).float())[1])[:, 1]
        network.out.weight[1] *= 4 / log_scale.std()
        network.out.bias[1] *= 4 / log_scale.std()
        log_scale = network.out(network(torch.from_numpy(windows).float())[1])[:, 1]
        network.out.bias[1] += 1 - log_scale.mean()
        network.out.bias[0] = 90 / 20
    graph = lower(network, shape, std_scale=1.3)
    return quantize(graph, measure_ranges(graph, windows))


def windows_of(graph):
    windows = quantize_windows(random_windows(8, graph.input_shape, seed=2), graph.input_format)
    windows[0], windows[1] = -128, 127
    return windows


def program_of(graph):
    """Return a program for a core, and the numbers that it must print."""
    windows = windows_of(graph)
    values = array(f"static const int8_t windows[{windows.size}]", windows)
    outputs = run_outputs(graph, windows)
    low, high = graph.log2_std_bounds
    kept = np.clip([-(2**31), 2**31 - 1, 0, 300, -300], low, high)
    rest = np.stack([np.zeros(5, int), power_of_two(kept)], axis=1)
    expected = np.concatenate([outputs, rest]).ravel().tolist()
    return PROGRAM.format(windows=values, n_windows=len(windows)), expected


def test_powers_of_two_are_within_a_thousandth_or_half_a_step():
    low, high = LOG2_STD_LIMITS
    exponents = np.arange(low * LOG2_STEPS, high * LOG2_STEPS + 1)
    exact = 2.0 ** (exponents / LOG2_STEPS + 8)
    error = np.abs(power_of_two(exponents) - exact)
    assert (error <= np.maximum(0.001 * exact, 0.5) + 0.001 * exact).all()
    whole = np.arange(low, high + 1)
    np.testing.assert_array_equal(power_of_two(whole * LOG2_STEPS), 2 ** (whole + 8))
    assert (np.diff(power_of_two(exponents)) >= 0).all()


def test_the_second_output_is_the_logarithm_of_the_std_by_hand():
    dense = Dense("dense", np.array([[1.0]]), np.zeros(1))
    out = Dense("out", np.array([[10.0], [1.0]]), np.array([60.0, 2.0]))
    graph = Graph((1, 1), (dense, out), (-1.0, 3.5))
    bpm, std = graph.run_with_std([[[0.0]], [[1.0]], [[9.0]], [[-9.0]]])
    np.testing.assert_allclose(bpm, [60, 70, 150, -30])
    np.testing.assert_allclose(std, [4, 8, 2**3.5, 0.5])
    quantized = quantize(graph, {"input": (-9.0, 9.0), "dense": (-9.0, 9.0)})
    assert quantized.log2_std_bounds == (-256, 896)
    windows = quantize_windows(np.array([[[0.0]], [[9.0]], [[-9.0]]]), quantized.input_format)
    outputs = run_outputs(quantized, windows) / 256
    np.testing.assert_allclose(outputs[:, 1], [4, 2**3.5, 0.5], rtol=0.01)
    np.testing.assert_array_equal(run(quantized, windows) / 256, outputs[:, 0])


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_graph_with_bounds_must_give_two_numbers(outputs):
    out = Dense("out", np.ones((outputs, 1)), np.zeros(outputs))
    with pytest.raises(ValueError, match=r"must give two numbers, got shape \(1, 1, "):
        Graph((1, 1), (out,), (-1.0, 3.0))


def test_integers_are_near_the_float_std():
    graph = graph_of(4, 64)
    stds = run_outputs(graph, windows_of(graph))[:, 1]
    low, high = (2.0 ** (bound / 256 + 8) for bound in graph.log2_std_bounds)
    assert len(set(stds.tolist())) > 3
    assert low * 0.99 <= stds.min() <= stds.max() <= high * 1.01


@pytest.mark.parametrize("target", ["portable", "cmsis-nn"])
@pytest.mark.parametrize("shape", [(4, 64), (1, 37), (2, 5)])
def test_c_gives_the_same_bits(shape, target, compiler):
    graph = graph_of(*shape)
    model = MicrocontrollerModel(graph, "hr", target)
    X = random_windows(20, shape, seed=3)
    for found, expected in zip(
        model.run_c(X, return_std=True), model.predict(X, return_std=True), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(model.predict(X), model.predict(X, return_std=True)[0])
    np.testing.assert_array_equal(model.run_c(X), model.predict(X))


@pytest.mark.parametrize("name", FRONTS)
def test_streams_give_the_std_of_each_window(name, compiler):
    n_channels = FRONTS[name].get("n_channels", 4)
    model = exported(graph_of(n_channels, 64), FRONTS[name])
    front = model.front_end
    given = (*self_test_samples(front, 900, 900), np.arange(64, 180, 10))
    expected = model._run_integers(*given)
    assert len(set(expected[:, 1].tolist())) > 1
    np.testing.assert_array_equal(model._compiled().stream(*given), expected)


@pytest.mark.parametrize("flags", [("-O2",), SANITIZERS], ids=["plain", "sanitized"])
def test_a_program_gives_the_same_bits_without_a_warning(flags, compiler, tmp_path):
    graph = graph_of(4, 64)
    main, expected = program_of(graph)
    main = main.replace('#include "semihosting.h"', HOST)
    for name, text in {**MicrocontrollerModel(graph, "hr").sources, "main.c": main}.items():
        (tmp_path / name).write_text(text)
    units = [path.name for path in tmp_path.glob("*.c")]
    command = [compiler, *STRICT, *flags, "-o", "main", *units]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True)
    assert [int(word) for word in done.stdout.split()] == expected


@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4", "cortex-m55"])
def test_cortex_m_gives_the_same_bits(core, qemu):
    graph = graph_of(4, 64)
    main, expected = program_of(graph)
    finished = run_on(core, MicrocontrollerModel(graph, "hr").sources, main)
    assert finished.status == 0
    assert [int(word) for word in finished.stdout.split()] == expected


def test_wrong_pointers_are_refused_and_write_nothing(compiler, tmp_path):
    model = MicrocontrollerModel(graph_of(1, 37), "hr")
    library = ctypes.CDLL(str(compile_library(model.sources, tmp_path)))
    arena, std = np.zeros(999, np.int32), np.full(1, -7, np.int32)
    at, to = arena.ctypes.data, std.ctypes.data

    def call(*addresses):
        return library.hr_std(*(ctypes.c_void_p(address) for address in addresses))

    assert (call(None, to), call(at, None), call(at + 1, to)) == (-1, -1, -2)
    assert std[0] == -7
    assert call(at, to) == 0
    assert std[0] == 256


def test_the_self_test_tells_a_damaged_std(compiler, tmp_path):
    model = exported(graph_of(4, 64), FRONTS["one rate"])
    memory = np.empty(4096, np.int32)

    def result(sources, folder):
        folder.mkdir()
        library = ctypes.CDLL(str(compile_library(sources, folder)))
        return library.hr_self_test(ctypes.c_void_p(memory.ctypes.data))

    assert result(model.sources, tmp_path / "whole") == 0
    damaged = model.sources["hr.c"].replace("powers[place % 256 / 32 + 1]", "below")
    assert damaged != model.sources["hr.c"]
    assert 1 <= result({**model.sources, "hr.c": damaged}, tmp_path / "damaged") <= 6


@pytest.mark.parametrize("name", [None, *FRONTS])
def test_a_model_without_std_has_nothing_of_it(name, quantized_student):
    n_channels = 4 if name is None else FRONTS[name].get("n_channels", 4)
    model = exported(quantized_student(n_channels, 64, (4, 3, 5)), FRONTS.get(name))
    assert not any("std_q8" in text or "hr_std" in text for text in model.files.values())
    with pytest.raises(ValueError, match=r"MicrocontrollerModel: return_std=True needs a network"):
        model.predict(random_windows(2, (n_channels, 64), seed=0), return_std=True)


@pytest.mark.parametrize("name", [None, "paper"])
def test_pages_and_report_speak_of_the_std(name, arm_gcc):
    model = exported(graph_of(4, 64), FRONTS.get(name))
    assert "hr_std(" in model.files["README.md"]
    assert "hr_std" in model.functions
    assert "hr_std" in model.report()
    assert model.footprint.symbols["hr_std"] < 200


def test_the_library_of_the_host_asks_for_the_std_only_if_it_is_told(compiler):
    model = MicrocontrollerModel(graph_of(1, 37), "hr")
    windows = windows_of(model.graph)
    without = HostLibrary(model.sources, "hr", model.arena_bytes)
    expected = run_outputs(model.graph, windows)
    np.testing.assert_array_equal(without.predict(windows), expected[:, :1])
