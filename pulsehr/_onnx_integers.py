"""A `QuantizedGraph` as ONNX nodes, to the last bit or as accelerators expect it.

Both forms store the weights as int8 and pass every tensor through QuantizeLinear and
DequantizeLinear. The exact form has scales of one: floats hold the integers themselves, sums are
exact because they stay under 2**24 (in double under 2**53), and requantization repeats the
double rounding of `pulsehr.firmware.integer.requantize`. The standard form has the real scales
and rounds once, halves to even.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsehr._onnx_nodes import DOUBLE, FLOAT, INT64, Nodes, column, ints, mean_pool
from pulsehr.firmware.graph import Conv, Dense, MeanPool
from pulsehr.firmware.integer import FLOAT32_EXACT, SATURATED_STEPS, power_of_two
from pulsehr.firmware.quantization import (
    BPM_STEPS,
    LOG2_STEPS,
    Format,
    Products,
    QuantizedGraph,
    QuantizedLayer,
)

#: Integers up to here are exact in double precision.
FLOAT64_EXACT = 2**53

_ONE = np.float32(1)
_HALF = np.float64(0.5)

#: Moves a tie away from zero, but no other number of up to 32 bits onto or over one. (As a factor
#: of its own ONNX Runtime takes it for one and leaves it out; so it stands beside powers of two.)
_NUDGE = 1 + 2.0**-40


def integer_outputs(
    nodes: Nodes, graph: QuantizedGraph, x: str, exact: bool, with_std: bool = False
) -> list[str]:
    """Add a network in integers.

    Parameters
    ----------
    nodes : Nodes
        Where to add; opset 21 or later, which has int16.
    graph : QuantizedGraph
        The network.
    x : str
        Float windows (n, n_channels, n_times), normalised, or rows.
    exact : bool
        Which form.
    with_std : bool, default=False
        Whether to add the standard deviation, of a network that has one.

    Returns
    -------
    list of str
        Heart rate (n, 1) and, if wanted, standard deviation (n, 1) in bpm, float.
    """
    x = nodes.add("Reshape", x, ints(-1, 1, *graph.input_shape))
    if exact:
        x = _input_integers(nodes, graph.input_format, x)
    else:
        x = _to_integers(nodes, x, graph.input_format, np.float32(graph.input_format.scale))
    table = _EXACT if exact else _STANDARD
    for layer in graph.layers:
        x = table[type(layer.layer)](nodes, layer, x)
    if graph.n_outputs == 1:
        return [x]
    bpm = column(nodes, x, 0)
    return [bpm, _std(nodes, graph, column(nodes, x, 1))] if with_std else [bpm]


def _std(nodes: Nodes, graph: QuantizedGraph, x: str) -> str:
    """Look up the standard deviation of a logarithm, which has few values between its bounds."""
    assert graph.log2_std_bounds is not None
    low, high = graph.log2_std_bounds
    table = power_of_two(np.arange(low, high + 1, dtype=np.int32)) / BPM_STEPS
    steps = nodes.add("Round", nodes.add("Mul", x, np.float32(LOG2_STEPS)))
    kept = nodes.add("Clip", steps, np.float32(low), np.float32(high))
    index = nodes.add("Cast", nodes.add("Sub", kept, np.float32(low)), to=INT64)
    return nodes.add("Gather", np.float32(table), index, axis=0)


def _input_integers(nodes: Nodes, source: Format, x: str) -> str:
    """Divide in single precision and round halves away from zero, as `quantize_windows`."""
    steps = nodes.add("Div", x, np.float32(source.scale))
    limit = np.float32(SATURATED_STEPS)
    steps = nodes.add("Cast", nodes.add("Clip", steps, -limit, limit), to=DOUBLE)
    size = nodes.add("Floor", nodes.add("Add", nodes.add("Abs", steps), _HALF))
    whole = nodes.add("Cast", nodes.add("Mul", nodes.add("Sign", steps), size), to=FLOAT)
    return _to_integers(nodes, whole, source, _ONE)


def _halves_away(nodes: Nodes, x: str, factor: Any) -> str:
    """Multiply doubles by powers of two and round, halves away from zero."""
    return nodes.add("Round", nodes.add("Mul", x, factor * _NUDGE))


def _to_integers(nodes: Nodes, x: str, target: Format, scale: Any) -> str:
    return nodes.add("QuantizeLinear", x, scale, _zero(target))


def _from_integers(nodes: Nodes, x: str, source: Format, scale: Any) -> str:
    return nodes.add("DequantizeLinear", x, scale, _zero(source))


def _zero(fmt: Format) -> Any:
    return {8: np.int8, 16: np.int16}[fmt.bits](fmt.zero_point)


def _weights(layer: QuantizedLayer) -> NDArray[np.int8]:
    """Return weights in the order of ONNX: depth before height and width."""
    weights = _products_of(layer).weights
    if isinstance(layer.layer, Dense):
        columns = weights.reshape(len(weights), *layer.source_shape)
        return columns.transpose(0, 3, 1, 2).reshape(len(weights), -1)
    return weights.transpose(0, 3, 1, 2)


def _products_of(layer: QuantizedLayer) -> Products:
    assert layer.products is not None
    return layer.products


def _geometry(conv: Conv) -> dict[str, Any]:
    return {
        "dilations": [1, conv.dilation],
        "pads": [0, conv.padding, 0, conv.padding],
        "strides": [1, conv.stride],
    }


# ------------------------------------------------------------------------------- exact


def _exact_conv(nodes: Nodes, layer: QuantizedLayer, x: str) -> str:
    assert isinstance(layer.layer, Conv)
    offset = _from_integers(nodes, x, layer.source, _ONE)
    products, geometry = _products_of(layer), _geometry(layer.layer)
    if products.largest_sum < FLOAT32_EXACT:
        sums = nodes.add(
            "Conv", offset, _exact(nodes, _weights(layer)), _exact(nodes, products.bias), **geometry
        )
        return _requantized(nodes, layer, nodes.add("Cast", sums, to=DOUBLE))
    groups = _depth_groups(layer)
    parts = nodes.split(
        "Split",
        offset,
        ints(*(group.shape[1] for group in groups)),
        outputs=[None] * len(groups),
        axis=1,
    )
    sums = nodes.constant(products.bias.astype(np.float64).reshape(-1, 1, 1))
    for part, group in zip(parts, groups, strict=True):
        partial = nodes.add("Conv", part, _exact(nodes, group), **geometry)
        sums = nodes.add("Add", sums, nodes.add("Cast", partial, to=DOUBLE))
    return _requantized(nodes, layer, sums)


def _depth_groups(layer: QuantizedLayer) -> list[NDArray[np.int8]]:
    """Split weights by input depth so that the sums of each group are exact in single."""
    weights = _weights(layer)
    reach = max(
        layer.source.high - layer.source.zero_point, layer.source.zero_point - layer.source.low
    )
    for n_groups in range(1, weights.shape[1] + 1):
        groups = np.array_split(weights, n_groups, axis=1)
        sums = (np.abs(group.astype(np.int64)).sum(axis=(1, 2, 3)).max() for group in groups)
        if max(sums) * reach < FLOAT32_EXACT:
            return groups
    raise ValueError(f"to_onnx: the kernel of layer {layer.name!r} is too large for exact sums")


def _exact_dense(nodes: Nodes, layer: QuantizedLayer, x: str) -> str:
    offset = nodes.add("Flatten", _from_integers(nodes, x, layer.source, _ONE), axis=1)
    products = _products_of(layer)
    weights = _exact(nodes, _weights(layer))
    if products.largest_sum < FLOAT32_EXACT:
        sums = nodes.add("Gemm", offset, weights, _exact(nodes, products.bias), transB=1)
        return _requantized(nodes, layer, nodes.add("Cast", sums, to=DOUBLE))
    columns = nodes.add("Transpose", nodes.add("Cast", weights, to=DOUBLE), perm=[1, 0])
    sums = nodes.add("MatMul", nodes.add("Cast", offset, to=DOUBLE), columns)
    return _requantized(nodes, layer, nodes.add("Add", sums, np.float64(products.bias)))


def _exact_pool(nodes: Nodes, layer: QuantizedLayer, x: str) -> str:
    assert isinstance(layer.layer, MeanPool)
    size = layer.layer.size
    raw = nodes.add("DequantizeLinear", x, _ONE)
    means, _ = mean_pool(nodes, raw, size, layer.source_shape[1])
    # off the ties, and not as far as the next mean: 1 / (2 * size) from a tie, of 128 at most
    nudged = nodes.add("Mul", means, np.float32(1 + 1 / (512 * size)))
    return nodes.add("QuantizeLinear", nudged, _ONE, np.int8(0))


def _exact(nodes: Nodes, integers: NDArray[Any]) -> str:
    """Store integers and return them as float."""
    return nodes.add("DequantizeLinear", integers, _ONE)


def _requantized(nodes: Nodes, layer: QuantizedLayer, sums: str) -> str:
    """Round sums twice as `requantize`, each product and each half exact in double."""
    products = _products_of(layer)
    shape = (-1, 1, 1) if isinstance(layer.layer, Conv) else (-1,)
    shift = products.shift.astype(np.float64).reshape(shape)
    left, right = np.exp2(np.maximum(shift, 0)), np.exp2(np.minimum(shift, 0))
    multiplier = products.multiplier.astype(np.float64).reshape(shape) * left
    zero, rectified = layer.target.zero_point, layer.lowest == layer.target.zero_point
    largest = products.largest_sum * float(multiplier.max()) + 2**30 * (1 + 1 / float(right.min()))
    if largest < FLOAT64_EXACT and rectified:
        # what is negative becomes zero, so that all halves go up and two floors are one:
        # floor((floor(a + 1/2) + h) / 2h) = floor((a + 1/2 + h) / 2h)
        half = np.where(shift < 0, 0.5, 0.0) + 0.5 * right
        y = nodes.add("Mul", sums, multiplier * right * 2.0**-31)
        y = nodes.add("Floor", nodes.add("Add", y, half))
    else:
        y = _high_half(nodes, sums, multiplier, left, largest < FLOAT64_EXACT)
        y = _halves_away(nodes, y, right)
    if layer.target.bits == 32:
        y = nodes.add("Clip", y, np.float64(layer.lowest), np.float64(layer.target.high))
        return nodes.add("Cast", nodes.add("Mul", y, np.float64(1 / BPM_STEPS)), to=FLOAT)
    if rectified and zero > layer.target.low:
        y = nodes.add("Max", y, np.float64(0))
    return _to_integers(nodes, nodes.add("Cast", y, to=FLOAT), layer.target, _ONE)


def _high_half(
    nodes: Nodes, sums: str, multiplier: NDArray[Any], left: NDArray[Any], fits: bool
) -> str:
    """Return ``sums * multiplier / 2**31`` to the nearest integer, halves up."""
    if fits:
        y = nodes.add("Mul", sums, multiplier * 2.0**-31)
        return nodes.add("Floor", nodes.add("Add", y, _HALF))
    # of the 62 bits of the product, those of the low 16 of the multiplier give the carry
    high, low = np.divmod(multiplier / left, 2.0**16)
    carry = nodes.add("Add", nodes.add("Mul", sums, low * left * 2.0**-16), np.float64(2**14))
    y = nodes.add("Add", nodes.add("Mul", sums, high * left), nodes.add("Floor", carry))
    return nodes.add("Floor", nodes.add("Mul", y, np.float64(2.0**-15)))


_EXACT: dict[type, Callable[[Nodes, QuantizedLayer, str], str]] = {
    Conv: _exact_conv,
    MeanPool: _exact_pool,
    Dense: _exact_dense,
}

# ---------------------------------------------------------------------------- standard


def _standard_conv(nodes: Nodes, layer: QuantizedLayer, x: str) -> str:
    assert isinstance(layer.layer, Conv)
    real = _from_integers(nodes, x, layer.source, np.float32(layer.source.scale))
    y = nodes.add("Conv", real, *_real_weights(nodes, layer), **_geometry(layer.layer))
    return _rounded(nodes, layer, nodes.add("Relu", y) if layer.layer.relu else y)


def _standard_dense(nodes: Nodes, layer: QuantizedLayer, x: str) -> str:
    assert isinstance(layer.layer, Dense)
    real = _from_integers(nodes, x, layer.source, np.float32(layer.source.scale))
    flat = nodes.add("Flatten", real, axis=1)
    y = nodes.add("Gemm", flat, *_real_weights(nodes, layer), transB=1)
    return _rounded(nodes, layer, nodes.add("Relu", y) if layer.layer.relu else y)


def _standard_pool(nodes: Nodes, layer: QuantizedLayer, x: str) -> str:
    assert isinstance(layer.layer, MeanPool)
    real = _from_integers(nodes, x, layer.source, np.float32(layer.source.scale))
    means, _ = mean_pool(nodes, real, layer.layer.size, layer.source_shape[1])
    return _rounded(nodes, layer, means)


def _real_weights(nodes: Nodes, layer: QuantizedLayer) -> tuple[str, str]:
    """Return weights and bias by the scales from which the multipliers were made."""
    products = _products_of(layer)
    factor = np.ldexp(products.multiplier.astype(np.float64), products.shift.astype(int) - 31)
    sums = np.float32(np.maximum(factor * layer.target.scale, np.finfo(np.float32).tiny))
    steps = np.float32(sums / np.float32(layer.source.scale))
    return (
        nodes.add("DequantizeLinear", _weights(layer), steps, axis=0),
        nodes.add("DequantizeLinear", products.bias, sums, axis=0),
    )


def _rounded(nodes: Nodes, layer: QuantizedLayer, y: str) -> str:
    if layer.target.bits == 32:
        return y
    return _to_integers(nodes, y, layer.target, np.float32(layer.target.scale))


_STANDARD: dict[type, Callable[[Nodes, QuantizedLayer, str], str]] = {
    Conv: _standard_conv,
    MeanPool: _standard_pool,
    Dense: _standard_dense,
}
