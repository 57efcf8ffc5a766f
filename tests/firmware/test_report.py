"""Sizes of a model, and the tables that show them, with and without the tools to measure."""

from __future__ import annotations

import re

import pytest
from exports import FRONTS, exported

from pulsehr.firmware.boards import BOARDS

#: What the issue of the firmware asks of the paper's student, ring buffer and scratch included.
MAX_STATE_BYTES, MAX_FLASH_BYTES = 9 << 10, 33 << 10


@pytest.fixture(scope="module")
def paper(quantized_student):
    """The paper's student, PPG at 64 Hz and acceleration at 32 Hz."""
    return exported(quantized_student(4, 256), FRONTS["paper"])


@pytest.fixture(scope="module")
def alone(quantized_student):
    return exported(quantized_student(2, 37, (4, 3, 5)))


@pytest.fixture
def without_tools(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))


def section(report, title):
    found = [part for part in report.split("\n\n") if part.startswith(title)]
    assert len(found) == 1, report
    return found[0].splitlines()


def test_memory_of_the_paper_student(paper, arm_gcc):
    assert paper.state_bytes <= MAX_STATE_BYTES
    assert paper.footprint.static_bytes == 0


def test_flash_of_the_paper_student(paper, arm_gcc):
    assert paper.flash_bytes <= MAX_FLASH_BYTES


@pytest.mark.parametrize("name", ["alone", *FRONTS])
def test_memory_is_what_the_compiler_for_cortex_m_sees(name, quantized_student, arm_gcc):
    front = FRONTS.get(name)
    n_channels = (front or {}).get("n_channels", 4)
    model = exported(quantized_student(n_channels, 64, (4, 3, 5)), front)
    found = model.footprint
    assert (found.arena_bytes, found.state_bytes) == (model.arena_bytes, model.state_bytes)


def test_flash_is_measured_once_and_holds_the_constants(alone, arm_gcc, monkeypatch, tmp_path):
    total = alone.flash_bytes
    assert alone.constant_bytes < total < alone.constant_bytes + 8192
    monkeypatch.setenv("PATH", str(tmp_path))
    assert alone.flash_bytes == total


def test_constants_are_the_tables_that_the_linker_sees(paper, arm_gcc):
    ends = ("weights", "scales", "bias", "multiplier", "shift", "segments", "hr_dense", "hr_out")
    symbols = paper.footprint.symbols
    tables = {name for name in symbols if name.endswith(ends) or "_layers_" in name}
    assert sum(symbols[name] for name in tables) == paper.constant_bytes


def test_cmsis_nn_is_left_out_on_cortex_m4(quantized_student, alone, arm_gcc, monkeypatch):
    monkeypatch.delenv("CMSIS_NN_DIR", raising=False)
    graph = quantized_student(2, 37, (4, 3, 5))
    assert exported(graph, target="cmsis-nn").flash_bytes == alone.flash_bytes


def test_without_a_compiler_flash_is_an_error_that_helps(quantized_student, without_tools):
    model = exported(quantized_student(2, 37, (4, 3, 5)))
    with pytest.raises(RuntimeError, match=r"no arm-none-eabi-gcc found: install it, on Debian by"):
        model.flash_bytes  # noqa: B018 reading the property is the test
    assert f"{model.constant_bytes} bytes of constants" in repr(model)


def test_the_report_lists_layers_blocks_and_sums(paper, arm_gcc):
    report = paper.report()
    layers = section(report, "Layers")
    assert [line.split()[0] for line in layers[2:-2]] == [y.name for y in paper.graph.layers]
    assert layers[-1].split() == ["total", "3,383,328", f"{paper.constant_bytes:,}"]
    arena = section(report, f"Arena: {paper.arena_bytes:,} bytes")
    assert len(arena) == len(paper.plan.blocks) + 2
    block = paper.plan.blocks[0]
    row = rf"{block.name}, {block.kind} +{block.offset:,} +{block.n_bytes:,}  row in \.\. "
    assert [line for line in arena if re.match(row, line)]
    state = section(report, f"State of a stream: {paper.state_bytes:,} bytes")
    sizes = [int(re.findall(r"[\d,]+", line[8:])[0].replace(",", "")) for line in state[2:]]
    assert sum(sizes[:-1]) == sizes[-1] == paper.state_bytes
    flash = section(report, f"Flash: {paper.flash_bytes:,} bytes, measured on Cortex-M4 at -O2")
    sizes = [int(line.split()[-1].replace(",", "")) for line in flash[2:]]
    assert sum(sizes[:-1]) == sizes[-1] == paper.flash_bytes
    stack = max(paper.footprint.stack_bytes.values())
    ram = section(report, f"RAM: {paper.state_bytes + stack:,} bytes")
    assert [line for line in ram if "stack of hr_heart_rate" in line]


def test_the_report_says_what_fits(paper, quantized_student, arm_gcc):
    boards = section(paper.report(), "Boards (code as on Cortex-M4)")
    assert [line.startswith(board.name) for line, board in zip(boards[2:], BOARDS, strict=True)]
    assert all(line.endswith("yes") for line in boards[2:])
    large = exported(quantized_student(4, 2048, (24, 32, 48)), FRONTS["paper"])
    fits = [line.split()[-1] for line in section(large.report(), "Boards")[2:]]
    assert {"yes", "no"} == set(fits)


def test_the_report_works_without_tools(quantized_student, without_tools):
    model = exported(quantized_student(2, 37, (4, 3, 5)))
    report = model.report()
    flash = section(report, f"Flash: constants {model.constant_bytes:,} bytes, beside the code")
    assert "no arm-none-eabi-gcc found: install it" in flash[1]
    window = 2 * 37
    assert section(report, f"RAM: {model.arena_bytes + window:,} bytes")
    assert "total, without the stack" in report
    assert section(report, "Boards (constants and memory alone)")
    assert "State of a stream" not in report
    assert "not part of the C" in report
