"""What an exported model takes, as tables: layers, arena, state, flash, stack, and boards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pulsehr.firmware.boards import BOARDS, Board
from pulsehr.firmware.front import FrontEnd
from pulsehr.firmware.front_source import field_bytes, state_fields, unit_lines
from pulsehr.firmware.memory import SEGMENT_BYTES, MemoryPlan, constant_bytes
from pulsehr.firmware.model_footprint import ModelFootprint
from pulsehr.firmware.quantization import QuantizedGraph

#: Functions and tables that are listed by themselves.
MIN_SYMBOL_BYTES = 100


@dataclass(frozen=True)
class Parts:
    """What a report is about.

    Parameters
    ----------
    graph : QuantizedGraph
        The network.
    plan : MemoryPlan
        Where its tensors lie.
    front : FrontEnd or None
        What comes before it.
    state_bytes : int
        Memory of a stream; 0 without a front end.
    footprint : ModelFootprint or None
        What was measured.
    not_measured : str
        Why nothing was.
    """

    graph: QuantizedGraph
    plan: MemoryPlan
    front: FrontEnd | None
    state_bytes: int
    footprint: ModelFootprint | None
    not_measured: str = ""

    @property
    def memory_bytes(self) -> int:
        """The caller's memory: a stream's state, or an arena and a window."""
        return self.state_bytes or self.plan.arena_bytes + int(np.prod(self.graph.input_shape))


def write_report(parts: Parts) -> str:
    """Write the tables.

    Parameters
    ----------
    parts : Parts
        The model.

    Returns
    -------
    str
        Sections with a title each.
    """
    sections = [_input(parts), _layers(parts), _arena(parts.plan)]
    if parts.front is not None:
        sections.append(_state(parts.front, parts.plan.arena_bytes, parts.state_bytes))
    sections += [_flash(parts), _ram(parts), _boards(parts)]
    return "\n\n".join(sections)


def _input(parts: Parts) -> str:
    """Say what the C takes."""
    n_channels, n_times = parts.graph.input_shape
    if parts.front is None:
        lines = [
            f"a normalised window of {n_channels} x {n_times} int8; cutting, resampling,",
            "filtering and normalising are not part of the C",
        ]
    else:
        lines = unit_lines(parts.front)
    return "\n".join(["Input", *lines])


def _layers(parts: Parts) -> str:
    rows = []
    for layer in parts.graph.layers:
        height, width, depth = layer.target_shape
        n_macs = layer.layer.n_macs(layer.source_shape)
        sizes = f"{n_macs:,}", f"{constant_bytes(layer):,}", f"{layer.target_bytes:,}"
        rows.append((layer.name, f"{height} x {width} x {depth}", *sizes))
    n_segments = len(parts.plan.schedule.segments)
    rows.append(("segments", "", "", f"{SEGMENT_BYTES * n_segments:,}", ""))
    rows.append(("total", "", f"{parts.graph.n_macs:,}", f"{parts.plan.constant_bytes:,}", ""))
    titles = ("layer", "output", "MACs", "constants (B)", "whole tensor (B)")
    return "\n".join(["Layers", *_table(titles, rows)])


def _arena(plan: MemoryPlan) -> str:
    steps = plan.schedule.step_names
    blocks = sorted(plan.blocks, key=lambda block: (block.first, block.offset))
    rows = [
        (
            f"{block.name}, {block.kind}",
            f"{block.offset:,}",
            f"{block.n_bytes:,}",
            " .. ".join(dict.fromkeys((steps[block.first], steps[block.last]))),
        )
        for block in blocks
    ]
    title = f"Arena: {plan.arena_bytes:,} bytes, shared by blocks that are not in use together"
    return "\n".join([title, *_table(("block", "offset", "bytes", "in use"), rows, left={0, 3})])


def _state(front: FrontEnd, arena_bytes: int, total: int) -> str:
    fields = state_fields(front, arena_bytes)
    large = [field for field in fields if field[2] or field_bytes(field) > 4]
    n_counters = sum(field_bytes(field) for field in fields if field not in large)
    rows = [(name, f"{field_bytes(field):,}", field[3]) for field in large for name in [field[1]]]
    rows.append(("counters", f"{n_counters:,}", "positions, what is awaited"))
    rows.append(("total", f"{total:,}", ""))
    title = f"State of a stream: {total:,} bytes"
    return "\n".join([title, *_table(("field", "bytes", ""), rows, left={0, 2})])


def _flash(parts: Parts) -> str:
    if parts.footprint is None:
        return (
            f"Flash: constants {parts.plan.constant_bytes:,} bytes, beside the code, which was not "
            f"measured:\n{parts.not_measured}"
        )
    found = parts.footprint
    tables = {name: size for name, size in found.symbols.items() if _is_table(name, parts)}
    code = {name: size for name, size in found.symbols.items() if name not in tables}
    shown = {name: size for name, size in code.items() if size >= MIN_SYMBOL_BYTES}
    rows = [("tables of layers", f"{sum(tables.values()):,}")]
    rows += [(name, f"{size:,}") for name, size in shown.items()]
    rest = found.flash_bytes - sum(tables.values()) - sum(shown.values())
    rows += [("all else", f"{rest:,}"), ("total", f"{found.flash_bytes:,}")]
    title = f"Flash: {found.flash_bytes:,} bytes, measured on Cortex-M4 at -O2"
    return "\n".join([title, *_table(("function or table", "bytes"), rows)])


def _is_table(symbol: str, parts: Parts) -> bool:
    names = tuple(f"_{layer.name}{end}" for layer in parts.graph.layers for end in _TABLES)
    return symbol.endswith(names) or "_layers_" in symbol or symbol.endswith("_segments")


_TABLES = ("", "_weights", "_scales", "_bias", "_multiplier", "_shift")


def _ram(parts: Parts) -> str:
    what = "state with arena" if parts.front is not None else "arena and a window"
    rows = [(what, f"{parts.memory_bytes:,}")]
    if parts.footprint is not None:
        found = parts.footprint
        rows += [(f"stack of {name}", f"{size:,}") for name, size in found.stack_bytes.items()]
        rows.append(("variables of its own", f"{found.static_bytes:,}"))
    rows.append((f"total{'' if parts.footprint else ', without the stack'}", f"{_ram_of(parts):,}"))
    title = f"RAM: {_ram_of(parts):,} bytes"
    return "\n".join([title, *_table(("what", "bytes"), rows)])


def _ram_of(parts: Parts) -> int:
    if parts.footprint is None:
        return parts.memory_bytes
    stack = max(parts.footprint.stack_bytes.values())
    return parts.memory_bytes + parts.footprint.static_bytes + stack


def _boards(parts: Parts) -> str:
    measured = parts.footprint
    flash = measured.flash_bytes if measured else parts.plan.constant_bytes
    rows = [_board(board, flash, _ram_of(parts)) for board in BOARDS]
    note = "code as on Cortex-M4" if measured else "constants and memory alone"
    titles = ("board", "core", "flash", "RAM", "fits")
    return "\n".join([f"Boards ({note})", *_table(titles, rows, left={0, 1, 4})])


def _board(board: Board, flash: int, ram: int) -> tuple[str, ...]:
    shares = flash / (board.flash_kib * 1024), ram / (board.ram_kib * 1024)
    cells = [
        f"{100 * share:.1f} % of {kib:,} KiB"
        for share, kib in zip(shares, (board.flash_kib, board.ram_kib), strict=True)
    ]
    return board.name, board.core, *cells, "yes" if max(shares) <= 1 else "no"


def _table(
    titles: Sequence[str], rows: Iterable[Sequence[str]], left: Iterable[int] = (0,)
) -> list[str]:
    """Align columns: those of `left` to the left, others to the right."""
    lines = [titles, *rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(titles))]
    aligned = set(left)
    return [
        "  ".join(
            cell.ljust(width) if k in aligned else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
