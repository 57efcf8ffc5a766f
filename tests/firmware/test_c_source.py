"""The emitted C: what it contains, that it compiles without a warning, and what it computes."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from students import SHAPES

import pulsehr
from pulsehr.firmware import integer
from pulsehr.firmware.c_source import TARGETS, network_files, version_number
from pulsehr.firmware.graph import Conv, Dense, Graph
from pulsehr.firmware.host import compile_library
from pulsehr.firmware.memory import (
    DENSE_BYTES,
    SCALE_BYTES,
    SEGMENT_BYTES,
    STAGE_BYTES,
    plan_memory,
)
from pulsehr.firmware.quantization import QuantizedGraph, quantize

STRICT = (
    "-std=c11 -O2 -Wall -Wextra -Wconversion -Wshadow -Wcast-qual -Wstrict-prototypes "
    "-Wmissing-prototypes -Werror -pedantic"
).split()
GUARD = 64


def emitted(graph: QuantizedGraph, prefix: str = "hr") -> dict[str, str]:
    return network_files(graph, plan_memory(graph), prefix, TARGETS["portable"])


def c_windows(n: int, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Random windows; the first ones saturate every sample."""
    windows = np.random.default_rng(seed).integers(-128, 128, (n, *shape)).astype(np.int8)
    windows[0], windows[1] = -128, 127
    windows[2] = np.where(np.arange(shape[1]) % 2, 127, -128)
    return windows


def code(text: str) -> str:
    """Drop the comments."""
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


@pytest.fixture(scope="module")
def small(quantized_student) -> QuantizedGraph:
    return quantized_student(2, 37, (4, 3, 5))


def load(graph: QuantizedGraph, folder: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(compile_library(emitted(graph), folder)))


def predict(library: ctypes.CDLL, window: np.ndarray, arena: int) -> tuple[int, int]:
    bpm_q8 = ctypes.c_int32(-1)
    library.hr_predict.argtypes = [ctypes.c_void_p] * 3
    status = library.hr_predict(window.ctypes.data, arena, ctypes.addressof(bpm_q8))
    return status, bpm_q8.value


def test_the_same_model_gives_the_same_bytes(small):
    assert emitted(small) == emitted(small)


def test_files_and_their_provenance(small):
    files = emitted(small)
    ends = [".c", ".h", "_network.h"]
    ends += [f"_{part}.{kind}" for part in ("kernels", "quantize", "weights") for kind in "ch"]
    assert sorted(files) == sorted(f"hr{end}" for end in ends)
    for text in files.values():
        assert "Written by pulsehr" in text.splitlines()[0]
        assert "@" not in text
        assert text.endswith("\n")
        assert text.isascii()


def test_lines_are_short(small):
    for text in emitted(small).values():
        assert max(map(len, text.splitlines())) <= 100


def test_only_three_headers_and_no_heap(small):
    for text in emitted(small).values():
        included = set(re.findall(r"#include <(.*)>", text))
        assert included <= {"stdint.h", "stddef.h", "string.h"}
        assert not re.search(r"malloc|calloc|free\(|printf", code(text))


def test_the_core_has_no_floating_point(small):
    for name, text in emitted(small).items():
        if name.endswith((".c", ".h")) and "quantize" not in name:
            without_scale = re.sub(r"#define HR_(INPUT_SCALE|VERSION_STRING) .*", "", code(text))
            assert not re.search(r"\bfloat\b|\bdouble\b|\d\.\d", without_scale)


def test_the_header_says_what_the_input_is_and_who_wrote_it(small):
    header = emitted(small)["hr.h"]
    assert "signal after signal (PPG, then acceleration x, y, z)" in header
    assert "normalised as in training" in header
    assert f'#define HR_VERSION_STRING "{pulsehr.__version__}"' in header
    assert f"#define HR_VERSION        {version_number(pulsehr.__version__)}\n" in header


@pytest.mark.parametrize(("version", "number"), [("0.2.0", 200), ("1.12.3.dev0", 11203)])
def test_versions_are_numbers_in_order(version, number):
    assert version_number(version) == number


def test_a_layer_without_an_operator_is_named():
    conv = Conv("conv", np.ones((1, 1, 1, 1)), np.zeros(1))
    graph = Graph((1, 1), (conv, Dense("out", np.ones((1, 1)), np.zeros(1))))
    quantized = quantize(graph, {"input": (0.0, 1.0), "conv": (0.0, 1.0)})
    with pytest.raises(ValueError, match="layer 'conv': no operator Conv from 8 to 16 bits"):
        emitted(quantized)


@pytest.mark.parametrize("prefix", ["hr", "pulsehr", "HeartRate_2"])
def test_it_compiles_without_a_warning(small, prefix, tmp_path, compiler):
    for name, text in emitted(small, prefix).items():
        (tmp_path / name).write_text(text)
    twice = "".join(
        f'#include "{prefix}{end}.h"\n' for end in ("", "_weights", "_quantize", "_kernels") * 2
    )
    (tmp_path / "twice.c").write_text(f"{twice}extern int unused;\n")
    sources = [path.name for path in tmp_path.glob("*.c")]
    done = subprocess.run(
        [compiler, *STRICT, "-c", *sources], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_symbol_starts_with_the_prefix(small, tmp_path, compiler, missing):
    if not shutil.which("nm"):
        missing("there is no nm: install binutils to list the symbols")
    for name, text in emitted(small).items():
        (tmp_path / name).write_text(text)
    sources = [path.name for path in tmp_path.glob("*.c")]
    subprocess.run([compiler, "-std=c11", "-O0", "-c", *sources], cwd=tmp_path, check=True)
    objects = [path.name for path in tmp_path.glob("*.o")]
    listed = subprocess.run(
        ["nm", "-g", "--defined-only", *objects],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    symbols = {line.split()[-1] for line in listed.stdout.splitlines() if " " in line}
    own = {name.lstrip("_") for name in symbols if "GLOBAL_OFFSET_TABLE" not in name}
    assert own
    assert all(name.startswith("hr_") for name in own)


def test_records_take_the_bytes_that_are_counted(small, tmp_path, compiler):
    for name, text in emitted(small).items():
        (tmp_path / name).write_text(text)
    why = '"size"'
    sizes = (
        ("layer", 2, STAGE_BYTES),
        ("scale", 0, SCALE_BYTES),
        ("segment", 1, SEGMENT_BYTES),
        ("dense_layer", 4, DENSE_BYTES),
    )
    checks = "".join(
        f"_Static_assert(sizeof(hr_{kind}) == ({n_bytes} + {n} * (sizeof(void *) - 4) + "
        f"sizeof(void *) - 1) / sizeof(void *) * sizeof(void *), {why});"
        for kind, n, n_bytes in sizes
    )
    (tmp_path / "sizes.c").write_text(f'#include "hr_kernels.h"\n{checks}')
    subprocess.run([compiler, "-std=c11", "-c", "sizes.c"], cwd=tmp_path, check=True)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != (4, 256)])
@pytest.mark.parametrize("filters", [(16, 24, 32), (3, 1, 5)])
def test_c_equals_the_integers_on_odd_shapes(shape, filters, quantized_student, tmp_path, compiler):
    graph = quantized_student(*shape, filters)
    library = load(graph, tmp_path)
    windows = c_windows(40, shape)
    arena = np.empty(plan_memory(graph).arena_bytes // 4, np.int32)
    got = [predict(library, window, arena.ctypes.data) for window in windows]
    assert got == [(0, bpm) for bpm in integer.run(graph, windows).tolist()]


def test_c_equals_the_integers_on_a_thousand_windows(quantized_student, tmp_path, compiler):
    graph = quantized_student(4, 256)
    library = load(graph, tmp_path)
    windows = c_windows(1000, (4, 256))
    arena = np.empty(plan_memory(graph).arena_bytes // 4, np.int32)
    got = [predict(library, window, arena.ctypes.data)[1] for window in windows]
    np.testing.assert_array_equal(got, integer.run(graph, windows))


def test_c_equals_the_integers_on_the_published_student(published, tmp_path, compiler):
    ranges = {"input": (-3.0, 3.0), "dense": (-38.0, 38.0)}
    ranges |= {f"conv{b}{i}": (0.0, 3.0) for b in (1, 2, 3) for i in (1, 2, 3)}
    graph = quantize(published.graph, {**ranges, "conv4": (-2.0, 2.0)})
    library = load(graph, tmp_path)
    windows = integer.quantize_windows(published.windows, graph.input_format)
    arena = np.empty(plan_memory(graph).arena_bytes // 4, np.int32)
    got = [predict(library, window, arena.ctypes.data)[1] for window in windows]
    np.testing.assert_array_equal(got, integer.run(graph, windows))


def test_c_writes_nothing_outside_arena_and_reads_nothing_old(small, tmp_path, compiler):
    library = load(small, tmp_path)
    n_bytes = plan_memory(small).arena_bytes
    window = c_windows(4, (2, 37))[3]
    before = window.copy()
    results = []
    for fill in (0x00, 0x5A, 0xFF):
        memory = np.full(GUARD + n_bytes + GUARD, fill, np.uint8)
        assert memory.ctypes.data % 4 == 0
        results.append(predict(library, window, memory.ctypes.data + GUARD))
        assert (memory[:GUARD] == fill).all()
        assert (memory[-GUARD:] == fill).all()
    assert len(set(results)) == 1
    np.testing.assert_array_equal(window, before)


def test_errors_are_returned_and_nothing_is_written(small, tmp_path, compiler):
    library = load(small, tmp_path)
    window = c_windows(3, (2, 37))[0]
    arena = np.zeros(plan_memory(small).arena_bytes // 4 + 1, np.int32)
    address = arena.ctypes.data
    assert predict(library, window, 0) == (-1, -1)
    assert predict(library, window, address + 1) == (-2, -1)
    assert predict(library, window, address + 2) == (-2, -1)
    assert library.hr_predict(None, address, address) == -1
    assert library.hr_predict(window.ctypes.data, address, None) == -1
    assert not arena.any()


def test_c_quantizes_samples_as_python_does(small, tmp_path, compiler):
    library = load(small, tmp_path)
    scale = np.float32(small.input_format.scale)
    halves = ((np.arange(-300, 300) + 0.5) * scale).astype(np.float32)
    edges = [np.nextafter(halves, np.float32(way)) for way in (-np.inf, np.inf)]
    huge = np.array([3e38, -3e38, 1e-45, -0.0], np.float32)
    noise = np.random.default_rng(0).normal(0, 3, 20_000).astype(np.float32)
    samples = np.concatenate([halves, *edges, huge, noise])
    windows = np.resize(samples, (len(samples) // 74 + 1, 2, 37))
    got = np.empty(windows.shape, np.int8)
    for window, quantized in zip(windows, got, strict=True):
        library.hr_quantize_window(
            ctypes.c_void_p(window.ctypes.data), ctypes.c_void_p(quantized.ctypes.data)
        )
    np.testing.assert_array_equal(got, integer.quantize_windows(windows, small.input_format))


def test_c_quantizes_nan_to_the_zero_point(small, tmp_path, compiler):
    library = load(small, tmp_path)
    window, got = np.full((2, 37), np.nan, np.float32), np.empty((2, 37), np.int8)
    library.hr_quantize_window(
        ctypes.c_void_p(window.ctypes.data), ctypes.c_void_p(got.ctypes.data)
    )
    assert (got == small.input_format.zero_point).all()


MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include "hr.h"
int main(void)
{
    int8_t *window = malloc(HR_INPUT_BYTES);
    void *arena = malloc(HR_ARENA_BYTES);
    int32_t bpm_q8;
    while (fread(window, 1, HR_INPUT_BYTES, stdin) == HR_INPUT_BYTES) {
        if (hr_predict(window, arena, &bpm_q8) != HR_OK) {
            return 1;
        }
        printf("%d\\n", (int)bpm_q8);
    }
    free(arena);
    free(window);
    return 0;
}
"""


@pytest.mark.parametrize("shape", [(2, 37), (4, 100)])
def test_sanitizers_find_nothing(shape, quantized_student, tmp_path, compiler, missing):
    graph = quantized_student(*shape, (4, 3, 5))
    for name, text in {**emitted(graph), "main.c": MAIN}.items():
        (tmp_path / name).write_text(text)
    sources = [path.name for path in tmp_path.glob("*.c")]
    flags = "-std=c11 -g -fsanitize=address,undefined -fno-sanitize-recover=all".split()
    built = subprocess.run(
        [compiler, *flags, "-o", "main", *sources], cwd=tmp_path, capture_output=True, text=True
    )
    if built.returncode != 0:
        missing("the compiler has no sanitizers: install libasan and libubsan to run this")
    windows = c_windows(20, shape)
    done = subprocess.run(
        [str(tmp_path / "main")], input=windows.tobytes(), capture_output=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr.decode()
    assert list(map(int, done.stdout.split())) == integer.run(graph, windows).tolist()
