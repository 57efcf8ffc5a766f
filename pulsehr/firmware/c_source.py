"""The plan of a quantized network as C text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from pulsehr._version import __version__
from pulsehr.firmware.c_text import array, defines, float_literal, integer_literal
from pulsehr.firmware.graph import Conv
from pulsehr.firmware.integer import SATURATED_STEPS
from pulsehr.firmware.memory import (
    ALIGNMENT,
    MemoryPlan,
    Scratch,
    cmsis_nn_scratch,
    portable_scratch,
)
from pulsehr.firmware.quantization import (
    MULTIPLIER_BITS,
    Products,
    QuantizedGraph,
    QuantizedLayer,
)
from pulsehr.firmware.schedule import Segment, Stage

#: The operator for the bits of input and output of the two dense layers.
DENSE_KERNELS: dict[tuple[int, int], str] = {(8, 16): "dense_s8_s16", (16, 32): "dense_s16_s32"}

#: How the files end that are filled from templates, and those of the operators.
TEMPLATES = {
    "model.h": ".h",
    "model.c": ".c",
    "network.h": "_network.h",
    "weights.h": "_weights.h",
    "weights.c": "_weights.c",
    "quantize.h": "_quantize.h",
    "quantize.c": "_quantize.c",
}
OPERATORS = {"pulsehr_kernels.h": "_kernels.h", "pulsehr_kernels.c": "_kernels.c"}


@dataclass(frozen=True)
class Target:
    """What the C is written for.

    Parameters
    ----------
    scratch : callable
        Bytes that its kernels work in.
    operators : mapping of str to str
        Files of kernels beside the portable ones, and how they end.
    cmsis_nn : int
        The value of the macro ``CMSIS_NN``: who runs the convolutions.
    """

    scratch: Scratch
    operators: Mapping[str, str]
    cmsis_nn: int


#: The targets by name. The same bits come from all of them.
TARGETS = {
    "portable": Target(portable_scratch, OPERATORS, 0),
    "cmsis-nn": Target(cmsis_nn_scratch, {**OPERATORS, "pulsehr_cmsis_nn.c": "_cmsis_nn.c"}, 1),
}


def network_files(
    graph: QuantizedGraph, plan: MemoryPlan, prefix: str, front: str, target: Target
) -> dict[str, str]:
    """Write a network as C11.

    Parameters
    ----------
    graph : QuantizedGraph
        The network.
    plan : MemoryPlan
        Its order, and where its tensors lie.
    prefix : str
        Starts every symbol and file name.
    front : str
        How the windows were made that the network was fitted on.
    target : Target
        What it is written for.

    Returns
    -------
    dict of str to str
        Name and text of each file; the same network gives the same text.

    Raises
    ------
    ValueError
        If no operator exists for a layer.
    """
    fields = {**_fields(graph, plan, prefix), "front": front}
    made = {
        **{f"{prefix}{end}": _fill(name, fields) for name, end in TEMPLATES.items()},
        **{f"{prefix}{end}": _rename(name, prefix) for name, end in target.operators.items()},
    }
    switch = f"#define {prefix.upper()}_CMSIS_NN"
    header = f"{prefix}_kernels.h"
    made[header] = made[header].replace(f"{switch} 0", f"{switch} {target.cmsis_nn}")
    note = f"/* {provenance(prefix)}: export the model again to change it. */\n"
    return {
        **{name: note + text for name, text in made.items()},
        f"{prefix}.md": _fill("README.md", fields),
    }


def provenance(prefix: str) -> str:
    """Say who wrote a file for which model, on one of its first lines."""
    return f"Written by pulsehr {__version__} with prefix {prefix}"


def _fields(graph: QuantizedGraph, plan: MemoryPlan, prefix: str) -> dict[str, str]:
    """Compute what the templates are filled with."""
    n_channels, n_times = graph.input_shape
    upper, input_format = prefix.upper(), graph.input_format
    scale = float_literal(input_format.scale)
    schedule = plan.schedule
    return {
        "provenance": provenance(prefix),
        "prefix": prefix,
        "upper": upper,
        "n_channels": str(n_channels),
        "n_times": str(n_times),
        "input_bytes": str(n_channels * n_times),
        "arena_bytes": str(plan.arena_bytes),
        "flash_bytes": str(plan.constant_bytes),
        "alignment": str(ALIGNMENT),
        "scale": scale,
        "zero_point": str(input_format.zero_point),
        "saturated": float_literal(SATURATED_STEPS),
        "sizes": defines(
            [
                (f"{upper}_N_CHANNELS", n_channels, "signals of a window"),
                (f"{upper}_N_TIMES", n_times, "samples of each signal"),
                (f"{upper}_INPUT_BYTES", n_channels * n_times, "bytes of a window"),
                (f"{upper}_INPUT_SCALE", scale, "real value of one step of a sample"),
                (f"{upper}_INPUT_ZERO_POINT", input_format.zero_point, "sample that means zero"),
                (f"{upper}_ARENA_BYTES", plan.arena_bytes, "bytes of working memory"),
                (f"{upper}_ARENA_ALIGNMENT", ALIGNMENT, "its address is a multiple of this"),
            ]
        ).rstrip(),
        "places": defines(
            [
                (f"{upper}_ROW_OFFSET", _row_offset(plan), "samples of a row"),
                (f"{upper}_FIRST_OFFSET", _input_offset(plan, 0), "input of the first segment"),
                (f"{upper}_ROW_SEGMENTS", len(schedule.row_segments), "run for each row"),
                (f"{upper}_SEGMENTS", len(schedule.segments), "and on the rows together"),
                *(
                    (f"{upper}_{layer.name.upper()}_OFFSET", plan.offset(layer.name, "input"), note)
                    for layer, note in zip(schedule.dense, _dense_notes(plan), strict=True)
                ),
            ]
        ).rstrip(),
        "dense_calls": _dense_calls(plan, prefix),
        "dense_records": "\n".join(
            f"extern const {prefix}_dense_layer {prefix}_{layer.name};" for layer in schedule.dense
        ),
        "n_segments": str(len(schedule.segments)),
        "tables": "\n".join(
            [
                *(_stage_tables(s, prefix) for seg in schedule.segments for s in seg.stages),
                *(_dense_tables(layer, prefix) for layer in schedule.dense),
                *(_segment_layers(plan, k, prefix) for k in range(len(schedule.segments))),
                _segment_table(plan, prefix),
            ]
        ),
    }


def _dense_notes(plan: MemoryPlan) -> list[str]:
    return [
        f"{int(np.prod(layer.source_shape))} int{layer.source.bits}"
        for layer in plan.schedule.dense
    ]


def _dense_calls(plan: MemoryPlan, prefix: str) -> str:
    """One call per dense layer, each on the output of the one before."""
    lines = []
    for layer, after in zip_longest(plan.schedule.dense, plan.schedule.dense[1:]):
        bits = (layer.source.bits, layer.target.bits)
        if bits not in DENSE_KERNELS:
            raise ValueError(
                f"layer {layer.name!r}: no operator Dense from {bits[0]} to {bits[1]} bits; "
                f"before the last dense layer must come exactly one other"
            )
        source = f"bytes + {prefix.upper()}_{layer.name.upper()}_OFFSET"
        if layer.source.bits == 16:
            source = f"(const int16_t *)(const void *)({source})"
        target = "&bpm_q8"
        if after is not None:
            target = f"(int16_t *)(void *)(bytes + {prefix.upper()}_{after.name.upper()}_OFFSET)"
        lines.append(
            f"    {prefix}_{DENSE_KERNELS[bits]}(\n"
            f"        &{prefix}_{layer.name}, {source},\n        {target});"
        )
    return "\n".join(lines)


def _input_offset(plan: MemoryPlan, index: int) -> int:
    """First byte of the input of a segment, after its padding, or of the first dense layer."""
    segments = plan.schedule.segments
    if index == len(segments):
        return plan.offset(plan.schedule.dense[0].name, "input")
    first = segments[index].stages[0]
    return plan.offset(first.name, "input") + first.padding * first.depth


def _row_offset(plan: MemoryPlan) -> int:
    """First byte of where the samples of a row are put."""
    return _input_offset(plan, 0) if plan.schedule.row_segments else plan.offset("row", "input")


def _stage_tables(stage: Stage, prefix: str) -> str:
    """Write the tables of a layer along time."""
    if stage.layer.products is None:
        return ""
    conv = stage.layer.layer
    assert isinstance(conv, Conv)
    # (n_out, rows, taps, n_in) to (n_out, taps, depth): a time step holds all rows
    weights = stage.layer.products.weights.transpose(0, 2, 1, 3)
    return _tables(stage.layer, weights, prefix)


def _dense_tables(layer: QuantizedLayer, prefix: str) -> str:
    """Write the tables and the record of a dense layer."""
    products = _products_of(layer)
    rows = [
        *_table_rows(f"{prefix}_{layer.name}"),
        ("n_inputs", products.weights.shape[1]),
        ("n_outputs", products.weights.shape[0]),
        ("low", integer_literal(layer.lowest)),
        ("high", layer.target.high),
    ]
    record = _record(rows, "    ")
    return (
        f"{_tables(layer, products.weights, prefix)}"
        f"const {prefix}_dense_layer {prefix}_{layer.name} = {{\n{record}\n}};\n"
    )


def _tables(layer: QuantizedLayer, weights: NDArray[np.int8], prefix: str) -> str:
    """Write weights, biases that hold the zero of the input, multipliers and shifts."""
    products = _products_of(layer)
    name = f"{prefix}_{layer.name}"
    sums = weights.reshape(len(weights), -1).astype(np.int64).sum(axis=1)
    bias = products.bias - layer.source.zero_point * sums
    shapes = (
        ", ".join(str(size) for size in shape) for shape in (layer.source_shape, layer.target_shape)
    )
    text = f"/* {layer.name}: ({next(shapes)}) to ({next(shapes)}) */\n"
    multiplier = ("int32_t", products.multiplier)
    if layer.target.bits == 8:
        multiplier = ("uint16_t", products.multiplier >> (31 - MULTIPLIER_BITS))
    for suffix, ctype, values in (
        ("weights", "int8_t", weights),
        ("bias", "int32_t", bias),
        ("multiplier", *multiplier),
        ("shift", "int8_t", products.shift),
    ):
        text += array(f"static const {ctype} {name}_{suffix}[{values.size}]", values)
    return text


def _table_rows(name: str) -> list[tuple[str, object]]:
    return [(table, f"{name}_{table}") for table in ("weights", "bias", "multiplier", "shift")]


def _segment_layers(plan: MemoryPlan, index: int, prefix: str) -> str:
    """Write the records of the layers of a segment."""
    stages = plan.schedule.segments[index].stages
    records = [
        _record(_stage_rows(plan, stage, "lines" if k else "input", prefix), "        ")
        for k, stage in enumerate(stages)
    ]
    body = "\n".join(
        f"    {{ /* {stage.name} */\n{record}\n    }},"
        for stage, record in zip(stages, records, strict=True)
    )
    name = f"static const {prefix}_layer {prefix}_layers_{index}[{len(stages)}]"
    return f"{name} = {{\n{body}\n}};\n"


def _stage_rows(plan: MemoryPlan, stage: Stage, kind: str, prefix: str) -> list[tuple[str, object]]:
    layer = stage.layer
    tables = [] if layer.products is None else _table_rows(f"{prefix}_{layer.name}")
    return [
        *tables,
        *((name, getattr(stage, name)) for name in ("depth", "n_outputs", "kernel")),
        *((name, getattr(stage, name)) for name in ("dilation", "stride", "padding")),
        ("lines", plan.offset(stage.name, kind)),
        ("input_zero", layer.source.zero_point),
        ("output_zero", layer.target.zero_point),
        ("low", layer.lowest),
    ]


def _segment_table(plan: MemoryPlan, prefix: str) -> str:
    segments = plan.schedule.segments
    records = [_record(_segment_rows(plan, k, prefix), "        ") for k in range(len(segments))]
    body = "\n".join(
        f"    {{ /* {segment.name} */\n{record}\n    }},"
        for segment, record in zip(segments, records, strict=True)
    )
    return f"const {prefix}_segment {prefix}_segments[{len(segments)}] = {{\n{body}\n}};\n"


def _segment_rows(plan: MemoryPlan, index: int, prefix: str) -> list[tuple[str, object]]:
    segment = plan.schedule.segments[index]
    n_outputs = segment.stages[-1].n_outputs
    gathers = segment.per_row and _is_last_per_row(plan, segment)
    n_rows = plan.schedule.n_rows if gathers else 1
    has_scratch = any(stage.layer.products is not None for stage in segment.stages)
    return [
        ("layers", f"{prefix}_layers_{index}"),
        ("n_layers", len(segment.stages)),
        ("width", segment.width),
        ("tile", segment.tile),
        ("output", _input_offset(plan, index + 1)),
        ("output_step", n_rows * n_outputs),
        ("row_step", n_outputs if gathers else 0),
        ("scratch", plan.offset(segment.stages[0].name, "scratch") if has_scratch else 0),
    ]


def _is_last_per_row(plan: MemoryPlan, segment: Segment) -> bool:
    return segment is plan.schedule.row_segments[-1]


def _record(rows: list[tuple[str, object]], indent: str) -> str:
    width = max(len(field) for field, _ in rows)
    return "\n".join(f"{indent}.{field:<{width}} = {value}," for field, value in rows)


def _products_of(layer: QuantizedLayer) -> Products:
    assert layer.products is not None
    return layer.products


def _rename(name: str, prefix: str) -> str:
    """Read hand-written operators, their symbols renamed to the user's prefix."""
    text = _read("kernels", name)
    text = re.sub(r"\bpulsehr_", f"{prefix}_", text)
    return re.sub(r"\bPULSEHR_", f"{prefix.upper()}_", text)


def _fill(name: str, fields: dict[str, str]) -> str:
    """Read a template and replace each @name@ by its field."""
    return re.sub(r"@(\w+)@", lambda match: fields[match[1]], _read("templates", name))


def _read(folder: str, name: str) -> str:
    return (files("pulsehr.firmware") / folder / name).read_text(encoding="utf-8")
