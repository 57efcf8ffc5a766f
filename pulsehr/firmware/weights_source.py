"""The layers of a network as C tables: weights, scales, shapes and places in the arena."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pulsehr.firmware.c_text import array, integer_literal
from pulsehr.firmware.graph import Conv
from pulsehr.firmware.memory import VECTOR, MemoryPlan
from pulsehr.firmware.quantization import MULTIPLIER_BITS, Products, QuantizedLayer
from pulsehr.firmware.schedule import Segment, Stage


def weight_tables(plan: MemoryPlan, prefix: str) -> str:
    """Write the tables and records of all layers and segments.

    Parameters
    ----------
    plan : MemoryPlan
        The order of the layers, and where their tensors lie.
    prefix : str
        Starts every name.

    Returns
    -------
    str
        Definitions in C.
    """
    schedule = plan.schedule
    return "\n".join(
        [
            *(_stage_tables(s, prefix) for seg in schedule.segments for s in seg.stages),
            *(_dense_tables(layer, prefix) for layer in schedule.dense),
            *(_segment_layers(plan, k, prefix) for k in range(len(schedule.segments))),
            _segment_table(plan, prefix),
        ]
    )


def input_offset(plan: MemoryPlan, index: int) -> int:
    """First byte of the input of a segment, after its padding, or of the first dense layer."""
    segments = plan.schedule.segments
    if index == len(segments):
        return plan.offset(plan.schedule.dense[0].name, "input")
    first = segments[index].stages[0]
    return plan.offset(first.name, "input") + first.padding * first.depth


def _stage_tables(stage: Stage, prefix: str) -> str:
    """Write the tables of a layer along time."""
    if stage.layer.products is None:
        return ""
    conv = stage.layer.layer
    assert isinstance(conv, Conv)
    # (n_out, rows, taps, n_in) to (n_out, taps, depth): a time step holds all rows
    weights = stage.layer.products.weights.transpose(0, 2, 1, 3)
    name = f"{prefix}_{stage.name}"
    # the kernel with DSP instructions reads eight at a time, and multiplies by zero what is beyond
    padded = np.append(weights, np.zeros(-weights[0].size % VECTOR, np.int8))
    products = stage.layer.products
    bias = _folded_bias(stage.layer, weights)
    multiplier = products.multiplier >> (30 - MULTIPLIER_BITS)
    rows = "".join(
        f"    {{{row[0]}, {row[1]}, {row[2]}}},\n"
        for row in zip(bias, multiplier, products.shift, strict=True)
    )
    return (
        f"{_title(stage.layer)}"
        f"{array(f'static const int8_t {name}_weights[{padded.size}]', padded)}"
        f"static const {prefix}_scale {name}_scales[{len(weights)}] = {{\n{rows}}};\n"
    )


def _dense_tables(layer: QuantizedLayer, prefix: str) -> str:
    """Write the tables and the record of a dense layer."""
    products = _products_of(layer)
    rows = [
        *_table_rows(f"{prefix}_{layer.name}", ("weights", "bias", "multiplier", "shift")),
        ("n_inputs", products.weights.shape[1]),
        ("n_outputs", products.weights.shape[0]),
        ("low", integer_literal(layer.lowest)),
        ("high", layer.target.high),
    ]
    tables = (
        ("weights", "int8_t", products.weights),
        ("bias", "int32_t", _folded_bias(layer, products.weights)),
        ("multiplier", "int32_t", products.multiplier),
        ("shift", "int8_t", products.shift),
    )
    text = "".join(
        array(f"static const {ctype} {prefix}_{layer.name}_{suffix}[{values.size}]", values)
        for suffix, ctype, values in tables
    )
    record = _record(rows, "    ")
    return (
        f"{_title(layer)}{text}"
        f"const {prefix}_dense_layer {prefix}_{layer.name} = {{\n{record}\n}};\n"
    )


def _title(layer: QuantizedLayer) -> str:
    source, target = (
        ", ".join(str(size) for size in shape) for shape in (layer.source_shape, layer.target_shape)
    )
    return f"/* {layer.name}: ({source}) to ({target}) */\n"


def _folded_bias(layer: QuantizedLayer, weights: NDArray[np.int8]) -> NDArray[np.int64]:
    """Biases that hold the zero of the input."""
    sums = weights.reshape(len(weights), -1).astype(np.int64).sum(axis=1)
    return np.asarray(_products_of(layer).bias - layer.source.zero_point * sums)


def _table_rows(name: str, tables: Sequence[str]) -> list[tuple[str, object]]:
    return [(table, f"{name}_{table}") for table in tables]


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
    tables = []
    if layer.products is not None:
        tables = _table_rows(f"{prefix}_{layer.name}", ("weights", "scales"))
    return [
        *tables,
        *((name, getattr(stage, name)) for name in ("depth", "n_outputs", "kernel")),
        *((name, getattr(stage, name)) for name in ("dilation", "stride", "padding")),
        ("lines", plan.offset(stage.name, kind)),
        ("input_zero", layer.source.zero_point),
        ("output_zero", layer.target.zero_point),
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
        ("output", input_offset(plan, index + 1)),
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
