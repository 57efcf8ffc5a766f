"""Emitted C on Cortex-M cores: the integers that QEMU computes, sizes and stack."""

from __future__ import annotations

import re

import numpy as np
import pytest
from students import random_windows

from pulsehr.firmware.c_text import array
from pulsehr.firmware.cmsis_nn import find_cmsis_nn
from pulsehr.firmware.cortex_m import (
    CORES,
    cross_compile,
    find_core,
    find_tool,
    run_on,
    support_files,
)
from pulsehr.firmware.cortex_m_footprint import (
    link_footprint,
    measured_footprint,
    stack_bytes,
)
from pulsehr.firmware.integer import quantize_windows, run
from pulsehr.firmware.microcontroller import MicrocontrollerModel

STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Werror"]


def printing_main(model: MicrocontrollerModel, windows: np.ndarray) -> str:
    """Write a program that prints the heart rate of each window."""
    prefix, upper = model.prefix, model.prefix.upper()
    return f"""
#include "{prefix}.h"
#include "semihosting.h"
{array(f"static const int8_t windows[{windows.size}]", windows)}
static _Alignas(16) uint8_t arena[{upper}_ARENA_BYTES];
int main(void)
{{
    for (int i = 0; i < {len(windows)}; ++i) {{
        int32_t bpm_q8 = -1;
        const int status = {prefix}_predict(windows + i * {windows[0].size}, arena, &bpm_q8);

        if (status != {upper}_OK) {{
            return status;
        }}
        semihosting_print_integer(bpm_q8);
        semihosting_print("\\n");
    }}
    return 0;
}}
"""


@pytest.fixture(scope="module")
def small(quantized_student) -> MicrocontrollerModel:
    return MicrocontrollerModel(quantized_student(2, 37, (4, 3, 5)), prefix="small")


@pytest.fixture(scope="module")
def paper(quantized_student) -> MicrocontrollerModel:
    return MicrocontrollerModel(quantized_student(4, 256), prefix="paper")


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", ["small", "paper"])
def test_a_core_computes_the_integers_of_python(name, core, qemu, request):
    model = request.getfixturevalue(name)
    graph = model.graph
    floats = random_windows(6, graph.input_shape, seed=2)
    windows = quantize_windows(floats, graph.input_format)
    windows[0], windows[1] = -128, 127
    finished = run_on(core, model.sources, printing_main(model, windows), options=STRICT)
    assert finished.status == 0
    assert [int(line) for line in finished.stdout.split()] == run(graph, windows).tolist()


def test_the_files_that_come_with_a_model_are_plain_text():
    for text in support_files().values():
        assert text.isascii()
        assert max(map(len, text.splitlines())) <= 100


def test_what_main_returns_is_the_status(qemu):
    assert run_on("cortex-m4", {}, "int main(void) { return 3; }").status == 3


@pytest.mark.parametrize("core", CORES)
def test_variables_have_their_first_values(core, qemu):
    main = """
    #include "semihosting.h"
    static int seven = 7, zeros[9];
    static volatile float half = 0.5f;
    int main(void)
    {
        semihosting_print_integer(-2147483647 - 1);
        return (int)(half * (float)(seven + 1)) + zeros[8];
    }
    """
    finished = run_on(core, {}, main)
    assert (finished.stdout, finished.status) == ("-2147483648", 4)


@pytest.mark.parametrize("core", CORES)
def test_a_fault_ends_the_run(core, qemu):
    finished = run_on(core, {}, "int main(void) { __builtin_trap(); }")
    assert finished.status == 99
    assert re.fullmatch(r"stopped by exception \d\n", finished.stdout)


def test_an_unknown_core_is_named():
    with pytest.raises(ValueError, match=r"core must be one of \['cortex-m3', .*'cortex-m0'"):
        find_core("cortex-m0")


def test_a_missing_tool_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"no arm-none-eabi-gcc.*apt-get install.*newlib"):
        find_tool("arm-none-eabi-gcc")


def test_what_the_compiler_says_is_passed_on(tmp_path, arm_gcc):
    with pytest.raises(RuntimeError, match=r"arm-none-eabi-gcc failed:[\s\S]*nonsense"):
        cross_compile({"a.c": "nonsense"}, tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"two C files have the name a\.c"):
        cross_compile({"a.c": "", "b/a.c": ""}, tmp_path)


def test_flash_holds_at_least_the_constants(paper, arm_gcc):
    footprint = measured_footprint(paper.sources, ["paper_predict"])
    tables = sum(
        layer.products.n_bytes for layer in paper.graph.layers if layer.products is not None
    )
    assert tables < footprint.flash_bytes < tables + 8192
    assert footprint.ram_bytes == 0  # no variables: all memory is the caller's
    assert footprint.symbols["paper_dense_weights"] == 32 * 32 * 8
    assert sum(footprint.symbols.values()) <= footprint.flash_bytes


def test_only_what_the_roots_reach_is_counted(arm_gcc):
    files = {
        "a.c": "static const int big[100] = {1};\nint table[10] = {1}, zeros[20];\n"
        "int small(int i) { return i + 1; }\nint large(int i) { return big[i]; }\n"
        "int writes(int i) { table[i] = 2; zeros[i] = 3; return i; }\n"
    }
    small, large = (measured_footprint(files, [root]).flash_bytes for root in ("small", "large"))
    assert 0 < small < 16
    assert 400 < large < 420
    both = measured_footprint(files, ["small", "writes"])
    assert both.ram_bytes == 120
    assert both.symbols["zeros"] == 80


def test_a_root_that_is_not_there_is_named(arm_gcc):
    with pytest.raises(RuntimeError, match="nobody"):
        measured_footprint({"a.c": "int a;"}, ["nobody"])
    with pytest.raises(ValueError, match="roots must name a function"):
        measured_footprint({"a.c": "int a;"}, [])


def test_the_stack_of_a_prediction_is_bounded(paper, tmp_path, arm_gcc):
    objects = cross_compile(paper.sources, tmp_path)
    assert 0 < stack_bytes(objects, "paper_predict") < 1024
    assert link_footprint(objects, ["paper_predict"], tmp_path).flash_bytes > 0


def test_the_deepest_chain_of_calls_counts(tmp_path, arm_gcc):
    functions = """
    #define USE(n) volatile char x[n]; x[i] = 1; return x[i]
    __attribute__((noinline)) static int leaf(int i) { USE(200); }
    __attribute__((noinline)) static int flat(int i) { USE(80); }
    int root(int i) { int sum = leaf(i) + flat(i); i += sum; USE(40); }
    """
    assert 240 <= stack_bytes(cross_compile({"a.c": functions}, tmp_path), "root") <= 280


def test_a_structure_that_is_passed_partly_in_registers_counts(tmp_path, arm_gcc):
    # the callee stores 8 bytes of it beside its frame, which the compiler does not say
    functions = """
    typedef struct { int a, b, c; } three;
    int leaf(const three *t);
    __attribute__((noinline)) static int split(int i, int j, three t) { return leaf(&t) + i * j; }
    __attribute__((noinline)) int leaf(const three *t) { return t->a; }
    int root(int i) { three t = {i, 2, 3}; return split(i, i, t); }
    """
    objects = cross_compile({"a.c": functions}, tmp_path, optimize="-O1")
    text = (tmp_path / "a.ci").read_text()
    said = int(re.search(r"split\S*\\n(\d+) bytes", text).group(1))
    assert stack_bytes(objects, "a.c:split") - stack_bytes(objects, "leaf") == said + 8


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("int f(int i) { return i ? 3 * f(i / 2) + f(i - 1) * i : 1; }", "f -> f is recursive"),
        ("int f(int (*g)(int)) { return 1 + g(2); }", "f calls by pointer"),
        ("int g(int); int f(int i) { return 1 + g(i); }", "nothing is known of g, called by f"),
        ("int f(int i) { volatile char x[i]; x[0] = 1; return x[0]; }", "the stack of f varies"),
    ],
)
def test_a_stack_without_a_bound_is_an_error(function, reason, tmp_path, arm_gcc):
    objects = cross_compile({"a.c": function}, tmp_path)
    with pytest.raises(RuntimeError, match=reason):
        stack_bytes(objects, "f")


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
def test_cmsis_nn_compiles(core, cmsis_nn, arm_gcc):
    footprint = measured_footprint(
        {},
        ["arm_convolve_wrapper_s8"],
        core,
        include_dirs=cmsis_nn.include_dirs,
        sources=cmsis_nn.sources,
    )
    assert 1000 < footprint.flash_bytes < 10_000


def test_where_cmsis_nn_is_looked_for(monkeypatch, tmp_path):
    monkeypatch.delenv("CMSIS_NN_DIR", raising=False)
    monkeypatch.delenv("CMSIS_CORE_DIR", raising=False)
    with pytest.raises(RuntimeError, match="set CMSIS_NN_DIR"):
        find_cmsis_nn()
    monkeypatch.setenv("CMSIS_NN_DIR", str(tmp_path / "NN"))
    with pytest.raises(RuntimeError, match="has no Include/arm_nnfunctions"):
        find_cmsis_nn()
    for name in ("NN/Include/arm_nnfunctions.h", "NN/Source/a/b.c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(RuntimeError, match=r"CMSIS-Core not found.*set CMSIS_CORE_DIR"):
        find_cmsis_nn()
    core = tmp_path / "Core" / "Include"
    core.mkdir(parents=True)
    (core / "cmsis_compiler.h").touch()
    found = find_cmsis_nn()
    assert found.include_dirs == (tmp_path / "NN" / "Include", core)
    assert found.sources == (tmp_path / "NN/Source/a/b.c",)
