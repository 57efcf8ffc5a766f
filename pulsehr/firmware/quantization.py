"""Ranges of a `Graph` into integers: scales, zero points, multipliers and shifts.

A real value is ``scale * (integer - zero_point)`` [1]_. Weights are int8 with one scale per output,
tensors int8 with one scale and a zero point, sums int32. Two tensors are wider, because one int8
step of the heart rate would be 0.6 bpm: the input of the last layer is int16, with headroom since
its steps are plentiful, and the heart rate is int32 in steps of 1/256 bpm.

A few large values widen the steps of all others: take ranges that leave out 5 values in 100,000 at
either end, as students learn them in `fit`; `docs/quantization.md` compares ways to choose them.

References
----------
.. [1] Jacob et al., Quantization and Training of Neural Networks for Efficient
   Integer-Arithmetic-Only Inference, CVPR 2018.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsehr.firmware.graph import Conv, Dense, FloatArray, Graph, MeanPool, Shape

#: Largest sum after a shift to the left: doubled, as C does before it takes the high half of the
#: product with the multiplier, it still fits int32.
SUM_MAX = 2**30 - 1

#: Largest int8 weight; -128 stays unused so that weights are symmetric.
WEIGHT_MAX = 127

#: Largest quantized bias; the other half of the sums is left to the products.
BIAS_MAX = 2**29

#: Range of the factors from the step of a sum to that of an int8 output. Above, an output would be
#: finer than the sums; below, weights would be finer than an output can show.
FACTOR_MAX, FACTOR_MIN = 0.24, 2.0**-20

#: Significant bits of the multiplier of an int8 output, which are plenty: two bytes of flash each.
MULTIPLIER_BITS = 16

#: How far beyond its measured range the int16 input of the last layer reaches.
HEADROOM = 2.0

#: The heart rate leaves as an integer of 1/256 bpm.
BPM_STEPS = 256

#: And the binary logarithm of its standard deviation as one of 1/256, a step of 0.3 %.
LOG2_STEPS = 256

#: Furthest bounds of that logarithm: the standard deviation is an integer of 1/256 bpm, of 32 bits.
LOG2_STD_LIMITS = (-8, 15)


@dataclass(frozen=True)
class Format:
    """How the integers of a tensor stand for real values.

    Parameters
    ----------
    bits : {8, 16, 32}
        Width of the signed integers.
    scale : float
        Real value of one step.
    zero_point : int
        The integer that stands for zero.
    """

    bits: int
    scale: float
    zero_point: int = 0

    @property
    def low(self) -> int:
        """Smallest integer."""
        return -(1 << (self.bits - 1))

    @property
    def high(self) -> int:
        """Largest integer."""
        return (1 << (self.bits - 1)) - 1

    @property
    def n_bytes(self) -> int:
        """Bytes of one value."""
        return self.bits // 8


@dataclass(frozen=True, eq=False)
class Products:
    """What a layer of weighted sums stores: one multiplier and shift per output.

    Parameters
    ----------
    weights : ndarray of int8, first axis n_out
        As in the `Graph`.
    bias : ndarray of int32, shape (n_out,)
        In steps of the sums.
    multiplier : ndarray of int32, shape (n_out,)
        In units of 2**-31.
    shift : ndarray of int8, shape (n_out,)
        Power of two beside the multiplier: positive shifts left, before it.
    largest_sum : int
        No sum, complete or partial, is larger than this.
    """

    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    multiplier: NDArray[np.int32]
    shift: NDArray[np.int8]
    largest_sum: int

    @property
    def n_bytes(self) -> int:
        """Bytes of the four tables."""
        tables = (self.weights, self.bias, self.multiplier, self.shift)
        return sum(table.nbytes for table in tables)


@dataclass(frozen=True, eq=False)
class QuantizedLayer:
    """One layer in integers.

    Parameters
    ----------
    layer : Conv, MeanPool or Dense
        Name and geometry; its float weights are not used any more.
    source, target : Format
        Integers of input and output.
    source_shape, target_shape : tuple of 3 int
        Height, width and depth of input and output.
    products : Products or None
        Weights and multipliers; None for a pool.
    """

    layer: Conv | MeanPool | Dense
    source: Format
    target: Format
    source_shape: Shape
    target_shape: Shape
    products: Products | None = None

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self.layer.name

    @property
    def lowest(self) -> int:
        """Smallest integer of the output: a ReLU cuts at zero."""
        relu = not isinstance(self.layer, MeanPool) and self.layer.relu
        return self.target.zero_point if relu else self.target.low

    @property
    def target_bytes(self) -> int:
        """Bytes of the output."""
        return int(np.prod(self.target_shape)) * self.target.n_bytes


@dataclass(frozen=True, eq=False)
class QuantizedGraph:
    """A network in integers.

    Parameters
    ----------
    input_shape : tuple of 2 int
        Channels and time steps of a window.
    input_format : Format
        Integers of a window; the scale is a single-precision number.
    layers : tuple of QuantizedLayer
        In the order in which they run.
    log2_std_bounds : tuple of 2 int or None, default=None
        Between which the second output, the binary logarithm of the standard deviation in 1/256,
        is kept; None: one output.
    """

    input_shape: tuple[int, int]
    input_format: Format
    layers: tuple[QuantizedLayer, ...]
    log2_std_bounds: tuple[int, int] | None = None

    @property
    def n_outputs(self) -> int:
        """Outputs of the last layer: the heart rate and, with bounds, its standard deviation."""
        return 1 if self.log2_std_bounds is None else 2

    @property
    def n_macs(self) -> int:
        """Multiplications of one window."""
        return sum(layer.layer.n_macs(layer.source_shape) for layer in self.layers)


def quantize(graph: Graph, ranges: Mapping[str, tuple[float, float]]) -> QuantizedGraph:
    """Choose the integers of a network from the ranges of its tensors.

    Parameters
    ----------
    graph : Graph
        The network; its last layer is dense.
    ranges : mapping of str to tuple of 2 float
        Between which values "input" and every layer's output (after its ReLU) lie on the
        training windows; what lies beyond is clipped. Pools keep the integers of their input
        and the heart rate has steps of 1/256 bpm, so that their ranges are not used.

    Returns
    -------
    QuantizedGraph
        Whose sums all fit into 32 bits.

    Raises
    ------
    ValueError
        If a range is missing, not finite or inverted, a weight is not finite, a sum could leave
        32 bits, or the last layer is not dense.

    Examples
    --------
    >>> import numpy as np
    >>> from pulsehr.firmware.graph import Dense, Graph
    >>> from pulsehr.firmware.quantization import quantize
    >>> dense = Dense("dense", np.array([[1.0, 0.5]]), np.array([0.0]))
    >>> out = Dense("out", np.array([[10.0]]), np.array([60.0]))
    >>> graph = Graph((1, 2), (dense, out))
    >>> quantized = quantize(graph, {"input": (-1.0, 1.0), "dense": (-1.5, 1.5)})
    >>> [layer.target.bits for layer in quantized.layers]
    [16, 32]
    """
    if not isinstance(graph.layers[-1], Dense):
        raise ValueError(f"quantize: the last layer {graph.layers[-1].name!r} must be dense")
    shapes = graph.shapes
    source = input_format = _format_of_input(_range_of("input", ranges))
    source_shape = shapes["input"]
    layers: list[QuantizedLayer] = []
    for index, layer in enumerate(graph.layers):
        target, products = source, None
        if not isinstance(layer, MeanPool):
            steps = _scales_of_weights(layer, source.scale)
            target = _format_of_output(graph, index, ranges, float(steps.max()) * source.scale)
            products = _products(layer, steps, source, target)
        target_shape = shapes[layer.name]
        layers.append(QuantizedLayer(layer, source, target, source_shape, target_shape, products))
        source, source_shape = target, target_shape
    bounds = None
    if graph.log2_std_bounds is not None:
        low, high = np.clip(graph.log2_std_bounds, *LOG2_STD_LIMITS)
        bounds = round(low * LOG2_STEPS), round(high * LOG2_STEPS)
    return QuantizedGraph(graph.input_shape, input_format, tuple(layers), bounds)


def _range_of(name: str, ranges: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    """Return the range of a tensor, widened to include zero (the padding)."""
    if name not in ranges:
        raise ValueError(f"quantize: no range of {name!r}; got those of {sorted(ranges)}")
    low, high = (float(value) for value in ranges[name])
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise ValueError(
            f"quantize: the range of {name!r} must be finite (min, max), got ({low:g}, {high:g})"
        )
    return min(low, 0.0), max(high, 0.0)


def _format_of_input(limits: tuple[float, float]) -> Format:
    """Format of a window, in single precision as C divides by the scale."""
    low, high = limits
    scale = float(np.float32((high - low) / 255 or 1.0))
    if not np.finfo(np.float32).tiny <= scale < np.inf:
        raise ValueError(f"quantize: the range of 'input' ({low:g}, {high:g}) leaves float32")
    return _asymmetric(low, scale)


def _format_of_output(
    graph: Graph, index: int, ranges: Mapping[str, tuple[float, float]], finest: float
) -> Format:
    """Format of a layer's output; steps `finest` of the sums are not divided further."""
    layer, left = graph.layers[index], len(graph.layers) - 1 - index
    if left == 0:
        return Format(32, 1 / BPM_STEPS)  # also the logarithm's, LOG2_STEPS
    low, high = _range_of(layer.name, ranges)
    if left == 1:
        return Format(16, max(HEADROOM * max(-low, high) / (2**15 - 1), finest) or 1.0)
    if not isinstance(layer, MeanPool) and layer.relu:
        low = 0.0  # nothing below, so that zero is the least integer
    return _asymmetric(low, max((high - low) / 255, finest / FACTOR_MAX) or 1.0)


def _asymmetric(low: float, scale: float) -> Format:
    """Int8 with the zero point that puts `low` (at most 0) at -128."""
    return Format(8, scale, min(max(round(-128 - low / scale), -128), 127))


def _scales_of_weights(layer: Conv | Dense, source_scale: float) -> FloatArray:
    """Scale of each output's weights, such that they and the bias fit."""
    weights, bias = _flat(layer)
    if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
        raise ValueError(f"quantize: the weights of layer {layer.name!r} must be finite")
    scales = np.abs(weights).max(axis=1) / WEIGHT_MAX
    return np.asarray(np.maximum(scales, np.abs(bias) / (source_scale * BIAS_MAX)))


def _products(layer: Conv | Dense, steps: FloatArray, source: Format, target: Format) -> Products:
    """Quantize weights and bias, and prove that no sum leaves 32 bits."""
    weights, bias = _flat(layer)
    if target.bits == 8:
        steps = np.maximum(steps, target.scale / source.scale * FACTOR_MIN)
    # an output without weights and bias has scale 0: its sums are 0 at any scale
    steps = np.where(steps > 0, steps, target.scale / source.scale)
    quantized = np.clip(_round(weights / steps[:, np.newaxis]), -WEIGHT_MAX, WEIGHT_MAX)
    offsets = _round(bias / (steps * source.scale))
    factor = steps * source.scale / target.scale
    if target.bits == 8:  # half of it, so that C may double it once for all
        multiplier, shift = split_multiplier(factor, MULTIPLIER_BITS)
        multiplier, shift = multiplier // 2, shift + np.int8(1)
    else:
        multiplier, shift = split_multiplier(factor)
    reach = max(source.high - source.zero_point, source.zero_point - source.low)
    sums = np.abs(quantized).sum(axis=1) * reach + np.abs(offsets)
    shifted = (sums * 2.0 ** np.maximum(shift, 0)).max()
    if shifted > SUM_MAX:
        raise ValueError(
            f"quantize: sums of layer {layer.name!r} could reach {shifted:.3g}, beyond 32 bits: "
            f"it has {weights.shape[1]} inputs per output and target steps of {target.scale:.3g}"
        )
    return Products(
        quantized.reshape(layer.weights.shape).astype(np.int8),
        offsets.astype(np.int32),
        multiplier,
        shift,
        int(sums.max()),
    )


def _flat(layer: Conv | Dense) -> tuple[FloatArray, FloatArray]:
    """Weights (n_out, n_inputs) and bias (n_out,) in double precision."""
    weights = layer.weights.astype(np.float64)
    return weights.reshape(len(weights), -1), layer.bias.astype(np.float64)


def split_multiplier(
    factor: FloatArray, n_bits: int = 31
) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Write positive factors as ``multiplier * 2**(shift - 31)``, as CMSIS-NN wants them.

    Parameters
    ----------
    factor : ndarray of shape (n_out,)
        Step of the sums over step of the output.
    n_bits : int, default=31
        Significant bits of the multiplier; those below are 0.

    Returns
    -------
    multiplier : ndarray of int32, shape (n_out,)
        From 2**30 to below 2**31; 0 for a factor under 2**-31, whose results are all 0.
    shift : ndarray of int8, shape (n_out,)
        From -30 up.
    """
    fraction, exponent = np.frexp(factor)
    multiplier = _round(fraction * 2.0**n_bits).astype(np.int64) << (31 - n_bits)
    full = multiplier == 2**31
    multiplier = np.where(full, 2**30, multiplier)
    shift = exponent + full
    tiny = shift < -30
    shift = np.clip(np.where(tiny, 0, shift), -30, 127)
    return np.where(tiny, 0, multiplier).astype(np.int32), shift.astype(np.int8)


def _round(values: FloatArray) -> FloatArray:
    """Round to the nearest integer, halves away from zero."""
    return np.asarray(np.trunc(values + np.copysign(0.5, values)))
