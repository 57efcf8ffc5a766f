"""The plan of a quantized network as C text."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np

from pulsehr._version import __version__
from pulsehr.firmware.c_text import array, defines, float_literal, integer_literal
from pulsehr.firmware.graph import Conv, Dense, MeanPool
from pulsehr.firmware.integer import SATURATED_STEPS
from pulsehr.firmware.memory import ALIGNMENT, MemoryPlan
from pulsehr.firmware.quantization import QuantizedGraph, QuantizedLayer

#: The operator for a type of layer and the bits of its input and output.
KERNELS: dict[tuple[type, int, int], str] = {
    (Conv, 8, 8): "conv_s8",
    (MeanPool, 8, 8): "mean_pool_s8",
    (Dense, 8, 16): "dense_s8_s16",
    (Dense, 16, 32): "dense_s16_s32",
}

#: How the files end that are filled from templates, and those of the operators.
TEMPLATES = {
    "model.h": ".h",
    "model.c": ".c",
    "weights.h": "_weights.h",
    "weights.c": "_weights.c",
    "quantize.h": "_quantize.h",
    "quantize.c": "_quantize.c",
}
OPERATORS = {"pulsehr_kernels.h": "_kernels.h", "pulsehr_kernels.c": "_kernels.c"}


def portable_files(
    graph: QuantizedGraph, plan: MemoryPlan, prefix: str, front: str
) -> dict[str, str]:
    """Write a network as portable C11.

    Parameters
    ----------
    graph : QuantizedGraph
        The network.
    plan : MemoryPlan
        Where its tensors lie.
    prefix : str
        Starts every symbol and file name.
    front : str
        How the windows were made that the network was fitted on.

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
        **{f"{prefix}{end}": _rename(name, prefix) for name, end in OPERATORS.items()},
    }
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
    calls = _calls(graph, prefix)
    n_channels, n_times = graph.input_shape
    upper, input_format = prefix.upper(), graph.input_format
    scale = float_literal(input_format.scale)
    return {
        "provenance": provenance(prefix),
        "prefix": prefix,
        "upper": upper,
        "n_channels": str(n_channels),
        "n_times": str(n_times),
        "input_bytes": str(n_channels * n_times),
        "arena_bytes": str(plan.arena_bytes),
        "flash_bytes": str(plan.flash_bytes),
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
        "offsets": _offsets(graph, plan, upper),
        "fits": "\n".join(_fit(layer, upper) for layer in graph.layers[:-1]),
        "tensors": "\n".join(_tensor(layer, upper) for layer in graph.layers[:-1]),
        "calls": calls,
        "records": "\n".join(
            f"extern const {prefix}_{_RECORDS[type(layer.layer)][0]} {prefix}_{layer.name};"
            for layer in graph.layers
        ),
        "tables": "\n".join(_tables(layer, prefix) for layer in graph.layers),
    }


def _offsets(graph: QuantizedGraph, plan: MemoryPlan, upper: str) -> str:
    """First byte of each tensor as a macro."""
    shapes = {layer.name: _shape_text(layer) for layer in graph.layers}
    return defines(
        [(f"{upper}_{name.upper()}_OFFSET", n, shapes[name]) for name, n in plan.offsets.items()]
    ).rstrip()


def _shape_text(layer: QuantizedLayer) -> str:
    shape = ", ".join(str(size) for size in layer.target_shape)
    return f"({shape}) int{layer.target.bits}"


def _fit(layer: QuantizedLayer, upper: str) -> str:
    """Assert that a tensor lies in the arena."""
    return (
        f"_Static_assert({upper}_{layer.name.upper()}_OFFSET + {layer.target_bytes} <= "
        f'{upper}_ARENA_BYTES, "{layer.name} leaves the arena");'
    )


def _tensor(layer: QuantizedLayer, upper: str) -> str:
    """Declare the pointer to a tensor."""
    kind = f"int{layer.target.bits}_t"
    place = f"bytes + {upper}_{layer.name.upper()}_OFFSET"
    value = place if layer.target.bits == 8 else f"({kind} *)(void *)({place})"
    return f"    {kind} *const {layer.name} = {value};"


def _calls(graph: QuantizedGraph, prefix: str) -> str:
    """One call per layer, from the window to the heart rate."""
    lines, source = [], "window"
    for layer in graph.layers:
        key = (type(layer.layer), layer.source.bits, layer.target.bits)
        if key not in KERNELS:
            raise ValueError(
                f"layer {layer.name!r}: no operator {key[0].__name__} from {key[1]} to {key[2]} "
                f"bits; before the last dense layer must come another"
            )
        target = "bpm_q8" if layer is graph.layers[-1] else layer.name
        lines.append(f"    {prefix}_{KERNELS[key]}(&{prefix}_{layer.name}, {source}, {target});")
        source = target
    return "\n".join(lines)


def _tables(layer: QuantizedLayer, prefix: str) -> str:
    """Write the tables and the record of a layer."""
    kind, record = _RECORDS[type(layer.layer)]
    name = f"{prefix}_{layer.name}"
    source, target = (
        ", ".join(str(size) for size in shape) for shape in (layer.source_shape, layer.target_shape)
    )
    text = f"/* {layer.name}: ({source}) to ({target}) */\n"
    if layer.products is not None:
        products = layer.products
        for suffix, ctype, values in (
            ("weights", "int8_t", products.weights),
            ("bias", "int32_t", products.bias),
            ("multiplier", "int32_t", products.multiplier),
            ("shift", "int8_t", products.shift),
        ):
            text += array(f"static const {ctype} {name}_{suffix}[{values.size}]", values)
    rows = [*record(layer), *_product_rows(layer, name)]
    width = max(len(field) for field, _ in rows)
    body = "\n".join(f"    .{field:<{width}} = {value}," for field, value in rows)
    return f"{text}const {prefix}_{kind} {name} = {{\n{body}\n}};\n"


def _product_rows(layer: QuantizedLayer, name: str) -> list[tuple[str, object]]:
    if layer.products is None:
        return []
    tables = ("weights", "bias", "multiplier", "shift")
    return [
        *((f"products.{table}", f"{name}_{table}") for table in tables),
        ("products.input_zero", layer.source.zero_point),
        ("products.output_zero", layer.target.zero_point),
        ("products.output_low", integer_literal(layer.lowest)),
        ("products.output_high", layer.target.high),
    ]


def _conv_rows(layer: QuantizedLayer) -> list[tuple[str, object]]:
    assert isinstance(layer.layer, Conv)
    _, kernel_height, kernel_width, _ = layer.layer.weights.shape
    places = ("height", "width", "depth")
    return [
        *((f"input_{place}", n) for place, n in zip(places, layer.source_shape, strict=True)),
        *((f"output_{place}", n) for place, n in zip(places, layer.target_shape, strict=True)),
        ("kernel_height", kernel_height),
        ("kernel_width", kernel_width),
        ("dilation", layer.layer.dilation),
        ("padding", layer.layer.padding),
    ]


def _pool_rows(layer: QuantizedLayer) -> list[tuple[str, object]]:
    assert isinstance(layer.layer, MeanPool)
    height, input_width, depth = layer.source_shape
    return [
        ("height", height),
        ("input_width", input_width),
        ("depth", depth),
        ("output_width", layer.target_shape[1]),
        ("size", layer.layer.size),
    ]


def _dense_rows(layer: QuantizedLayer) -> list[tuple[str, object]]:
    return [
        ("n_inputs", int(np.prod(layer.source_shape))),
        ("n_outputs", int(np.prod(layer.target_shape))),
    ]


#: The C type of a layer's record, and what fills it beside the tables of products.
_RECORDS: dict[type, tuple[str, Callable[[QuantizedLayer], list[tuple[str, Any]]]]] = {
    Conv: ("conv_layer", _conv_rows),
    MeanPool: ("mean_pool_layer", _pool_rows),
    Dense: ("dense_layer", _dense_rows),
}


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
