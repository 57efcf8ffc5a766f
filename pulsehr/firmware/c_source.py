"""The plan of a quantized network as C text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from pulsehr._version import __version__
from pulsehr.firmware.c_files import fill, rename, with_note
from pulsehr.firmware.c_text import defines, float_literal
from pulsehr.firmware.integer import POWERS, SATURATED_STEPS
from pulsehr.firmware.memory import (
    ALIGNMENT,
    MemoryPlan,
    Scratch,
    cmsis_nn_scratch,
    portable_scratch,
)
from pulsehr.firmware.quantization import (
    QuantizedGraph,
)
from pulsehr.firmware.weights_source import input_offset, weight_tables

#: The operator for the bits of input and output of the two dense layers.
DENSE_KERNELS: dict[tuple[int, int], str] = {(8, 16): "dense_s8_s16", (16, 32): "dense_s16_s32"}

#: How the files end that are filled from templates, and those of the operators.
TEMPLATES = {
    "model.h": ".h",
    "model.c": ".c",
    "network.h": "_network.h",
    "weights.h": "_weights.h",
    "weights.c": "_weights.c",
}
#: Those beside a network that takes normalised windows from elsewhere.
WINDOW_TEMPLATES = {"quantize.h": "_quantize.h", "quantize.c": "_quantize.c"}
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


@dataclass(frozen=True)
class HeaderParts:
    """What a front end adds to the public header.

    Parameters
    ----------
    usage : str
        Lines of the comment on top.
    sizes, statuses : list of tuple
        Macros: name, value and comment.
    api : str
        Types and functions.
    """

    usage: str
    sizes: list[tuple[str, object, str]]
    statuses: list[tuple[str, object, str]]
    api: str


def network_files(
    graph: QuantizedGraph,
    plan: MemoryPlan,
    prefix: str,
    target: Target,
    stream: HeaderParts | None = None,
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
    target : Target
        What it is written for.
    stream : HeaderParts or None, default=None
        What its front end adds; None for a network that takes windows.

    Returns
    -------
    dict of str to str
        Name and text of each file; the same network gives the same text.

    Raises
    ------
    ValueError
        If no operator exists for a layer.
    """
    fields = _fields(graph, plan, prefix, stream)
    templates = TEMPLATES if stream is not None else {**TEMPLATES, **WINDOW_TEMPLATES}
    made = {
        **{f"{prefix}{end}": fill(name, fields) for name, end in templates.items()},
        **{f"{prefix}{end}": rename(name, prefix) for name, end in target.operators.items()},
    }
    switch = f"#define {prefix.upper()}_CMSIS_NN"
    header = f"{prefix}_kernels.h"
    made[header] = made[header].replace(f"{switch} 0", f"{switch} {target.cmsis_nn}")
    return {name: with_note(text, prefix) for name, text in made.items()}


def version_number(version: str) -> int:
    """Turn a version into the number of the macro: major * 10000 + minor * 100 + patch."""
    major, minor, patch = map(int, re.findall(r"\d+", version)[:3])
    return major * 10000 + minor * 100 + patch


def _fields(
    graph: QuantizedGraph, plan: MemoryPlan, prefix: str, stream: HeaderParts | None
) -> dict[str, str]:
    """Compute what the templates are filled with."""
    n_channels, n_times = graph.input_shape
    upper, input_format = prefix.upper(), graph.input_format
    scale = float_literal(input_format.scale)
    schedule = plan.schedule
    names = {
        "prefix": prefix,
        "upper": upper,
        "n_channels": str(n_channels),
        "n_times": str(n_times),
    }
    return {
        **names,
        "version": __version__,
        "version_number": str(version_number(__version__)),
        "and_acc": " and acceleration" if n_channels > 1 else "",
        "signals": "PPG, then acceleration x, y, z" if n_channels > 1 else "the PPG",
        "usage": (fill("usage_window.h", names) if stream is None else stream.usage).rstrip(),
        "statuses": _statuses(upper, stream),
        "stream_api": "" if stream is None else stream.api,
        "input_bytes": str(n_channels * n_times),
        "arena_bytes": str(plan.arena_bytes),
        "alignment": str(ALIGNMENT),
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
                *_std_sizes(graph, prefix),
                *([] if stream is None else stream.sizes),
            ]
        ).rstrip(),
        "places": defines(
            [
                (f"{upper}_ROW_OFFSET", _row_offset(plan), "samples of a row"),
                (f"{upper}_FIRST_OFFSET", input_offset(plan, 0), "input of the first segment"),
                (f"{upper}_ROW_SEGMENTS", len(schedule.row_segments), "run for each row"),
                (f"{upper}_SEGMENTS", len(schedule.segments), "and on the rows together"),
                *(
                    (f"{upper}_{layer.name.upper()}_OFFSET", plan.offset(layer.name, "input"), note)
                    for layer, note in zip(schedule.dense, _dense_notes(plan), strict=True)
                ),
                *_std_places(graph, upper),
            ]
        ).rstrip(),
        "dense_calls": _dense_calls(graph, plan, prefix),
        **_std_fields(graph, names, stream),
        "dense_records": "\n".join(
            f"extern const {prefix}_dense_layer {prefix}_{layer.name};" for layer in schedule.dense
        ),
        "n_segments": str(len(schedule.segments)),
        "tables": weight_tables(plan, prefix),
    }


def _statuses(upper: str, stream: HeaderParts | None) -> str:
    """Write the status codes: 0, then what is to be done, then errors."""
    rows: list[tuple[str, object, str]] = [
        (f"{upper}_OK", 0, "done"),
        (f"{upper}_ERROR_NULL", "(-1)", "a pointer is NULL"),
        (f"{upper}_ERROR_ALIGNMENT", "(-2)", "the arena is misaligned"),
        *([] if stream is None else stream.statuses),
    ]
    # positive ones after OK, errors in the order of their numbers
    return defines(sorted(rows, key=lambda row: str(row[1]).startswith("("))).rstrip()


def _dense_notes(plan: MemoryPlan) -> list[str]:
    return [
        f"{int(np.prod(layer.source_shape))} int{layer.source.bits}"
        for layer in plan.schedule.dense
    ]


def _std_fields(
    graph: QuantizedGraph, names: Mapping[str, str], stream: HeaderParts | None
) -> dict[str, str]:
    """Write what a network with a standard deviation has beside one without."""
    if graph.log2_std_bounds is None:
        plain = {"outputs": "int32_t bpm_q8;", "return": "    return bpm_q8;"}
        return {**plain, "std": "", "std_api": ""}
    prefix = names["prefix"]
    fields = {
        **names,
        "powers": ", ".join(str(power) for power in POWERS),
        "or_state": "" if stream is None else f", or\n *         the state of {prefix}_heart_rate",
        "not_tracked": "" if stream is None else ", of the window by itself",
        "starts": "" if stream is None else fill("std_state.c", names),
    }
    kept = f"    memcpy(arena, &outputs[1], sizeof outputs[1]); /* for {prefix}_std */"
    return {
        "outputs": "int32_t outputs[2]; /* heart rate, and the logarithm of its deviation */",
        "return": f"{kept}\n    return outputs[0];",
        "std": fill("std.c", fields),
        "std_api": fill("std.h", fields),
    }


def _std_sizes(graph: QuantizedGraph, prefix: str) -> list[tuple[str, object, str]]:
    if graph.log2_std_bounds is None:
        return []
    return [(f"{prefix.upper()}_WITH_STD", 1, f"there is {prefix}_std")]


def _std_places(graph: QuantizedGraph, upper: str) -> list[tuple[str, object, str]]:
    if graph.log2_std_bounds is None:
        return []
    low, high = (f"({bound})" if bound < 0 else bound for bound in graph.log2_std_bounds)
    return [
        (f"{upper}_LOG2_STD_MIN", low, "of a standard deviation in bpm, 1/256"),
        (f"{upper}_LOG2_STD_MAX", high, "the same"),
    ]


def _dense_calls(graph: QuantizedGraph, plan: MemoryPlan, prefix: str) -> str:
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
        target = "&bpm_q8" if graph.n_outputs == 1 else "outputs"
        if after is not None:
            target = f"(int16_t *)(void *)(bytes + {prefix.upper()}_{after.name.upper()}_OFFSET)"
        lines.append(
            f"    {prefix}_{DENSE_KERNELS[bits]}(\n"
            f"        &{prefix}_{layer.name}, {source},\n        {target});"
        )
    return "\n".join(lines)


def _row_offset(plan: MemoryPlan) -> int:
    """First byte of where the samples of a row are put."""
    return input_offset(plan, 0) if plan.schedule.row_segments else plan.offset("row", "input")
