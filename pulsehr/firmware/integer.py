"""The exact integer run in numpy: the definition of what the C must compute.

Sums are requantized with the double rounding of CMSIS-NN and TFLite Micro [1]_: the high half of
the doubled product is rounded (halves up), then divided by a power of two (halves away from zero).

References
----------
.. [1] Lai, Suda and Chandra, CMSIS-NN: Efficient Neural Network Kernels for Arm Cortex-M CPUs,
   2018; the functions arm_nn_requantize and arm_avgpool_s8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsehr.firmware.graph import CHUNK, Conv, Dense, MeanPool, gather_patches, sum_groups
from pulsehr.firmware.quantization import (
    LOG2_STD_LIMITS,
    LOG2_STEPS,
    Format,
    Products,
    QuantizedGraph,
    QuantizedLayer,
)

#: Integers up to here are exact in single and in double precision.
FLOAT32_EXACT = 2**24

#: Steps beyond which a sample saturates at any zero point; keeps conversions defined.
SATURATED_STEPS = 512.0

#: 2 ** (k / 8) in 2**-14, for k up to 8.
POWERS: NDArray[np.int32] = np.round(2 ** (14 + np.arange(9) / 8)).astype(np.int32)

_DTYPES: dict[int, Any] = {8: np.int8, 16: np.int16, 32: np.int32}


def quantize_windows(windows: NDArray[Any], input_format: Format) -> NDArray[np.int8]:
    """Convert normalised windows to the integers that the firmware takes.

    Each sample is divided by the scale in single precision, rounded to the nearest integer with
    halves away from zero, moved by the zero point and saturated. The emitted C does the same.

    Parameters
    ----------
    windows : ndarray of shape (n_windows, n_channels, n_times)
        Finite samples; taken as float32.
    input_format : Format
        Scale and zero point of the input.

    Returns
    -------
    ndarray of int8, shape (n_windows, n_channels, n_times)
        The windows in steps of the scale.

    Examples
    --------
    >>> import numpy as np
    >>> from pulsehr.firmware.integer import quantize_windows
    >>> from pulsehr.firmware.quantization import Format
    >>> quantize_windows(np.array([[[0.25, -0.25, 0.2, 1e9]]]), Format(8, 0.5, 10))
    array([[[ 11,   9,  10, 127]]], dtype=int8)
    """
    with np.errstate(over="ignore"):
        steps = np.asarray(windows, dtype=np.float32) / np.float32(input_format.scale)
    steps = np.clip(steps, np.float32(-SATURATED_STEPS), np.float32(SATURATED_STEPS))
    whole = np.trunc(steps)
    # the fraction is exact, steps + 0.5 would not be
    away = np.where(np.abs(steps - whole) >= 0.5, np.sign(steps), np.float32(0))
    integers = (whole + away).astype(np.int32) + input_format.zero_point
    integers = np.clip(integers, input_format.low, input_format.high)
    return np.asarray(integers, dtype=np.int8)


def run(graph: QuantizedGraph, windows: NDArray[np.int8]) -> NDArray[np.int32]:
    """Estimate heart rates in integers.

    Parameters
    ----------
    graph : QuantizedGraph
        The network.
    windows : ndarray of int8, shape (n_windows, n_channels, n_times)
        From `quantize_windows`.

    Returns
    -------
    ndarray of int32, shape (n_windows,)
        Heart rate in 1/256 bpm.
    """
    return run_outputs(graph, windows)[:, 0]


def run_outputs(graph: QuantizedGraph, windows: NDArray[np.int8]) -> NDArray[np.int32]:
    """Estimate heart rates and, if the network tells them, their standard deviations in integers.

    Parameters
    ----------
    graph : QuantizedGraph
        The network.
    windows : ndarray of int8, shape (n_windows, n_channels, n_times)
        From `quantize_windows`.

    Returns
    -------
    ndarray of int32, shape (n_windows, 1 or 2)
        Heart rate and standard deviation in 1/256 bpm.
    """
    outputs = np.empty((len(windows), graph.n_outputs), dtype=np.int32)
    for start in range(0, len(windows), CHUNK):
        x: NDArray[Any] = windows[start : start + CHUNK, ..., np.newaxis]
        for layer in graph.layers:
            x = run_layer(layer, x)
        outputs[start : start + CHUNK] = x.reshape(len(x), -1)
    if graph.log2_std_bounds is not None:
        outputs[:, 1] = power_of_two(np.clip(outputs[:, 1], *graph.log2_std_bounds))
    return outputs


def power_of_two(log2_q8: NDArray[np.int32]) -> NDArray[np.int32]:
    """Raise 2 to numbers in 1/256, in integers.

    Between `POWERS` of an octave lie straight lines, which are at most 0.1 % off.

    Parameters
    ----------
    log2_q8 : ndarray of int32
        Exponents in 1/256, within `LOG2_STD_LIMITS`.

    Returns
    -------
    ndarray of int32, of the same shape
        Powers in 1/256.

    Examples
    --------
    >>> import numpy as np
    >>> from pulsehr.firmware.integer import power_of_two
    >>> (power_of_two(np.array([-2048, 0, 128, 3840])) / 256).tolist()
    [0.00390625, 1.0, 1.4140625, 32768.0]
    """
    octave, place = np.divmod(log2_q8 - LOG2_STD_LIMITS[0] * LOG2_STEPS, LOG2_STEPS)
    index, rest = np.divmod(place, LOG2_STEPS // 8)
    below, above = POWERS[index], POWERS[index + 1]
    power = below + ((above - below) * rest + 16) // 32
    down, up = np.maximum(14 - octave, 0), np.maximum(octave - 14, 0)
    return np.asarray(((power + ((1 << down) >> 1)) >> down) << up, dtype=np.int32)


def run_layer(layer: QuantizedLayer, x: NDArray[Any]) -> NDArray[Any]:
    """Run one layer.

    Parameters
    ----------
    layer : QuantizedLayer
        The layer.
    x : ndarray of int, shape (n_windows, *layer.source_shape)
        Input in integers of the source format.

    Returns
    -------
    ndarray of int, shape (n_windows, *layer.target_shape)
        Output in integers of the target format.
    """
    return _RUN[type(layer.layer)](layer, x)


def requantize(
    sums: NDArray[np.int64], multiplier: NDArray[np.int32], shift: NDArray[np.int8]
) -> NDArray[np.int64]:
    """Multiply sums by ``multiplier * 2**(shift - 31)`` with double rounding.

    Parameters
    ----------
    sums : ndarray of int64, shape (..., n_out)
        Sums, of 32 bits after a shift to the left.
    multiplier : ndarray of int32, shape (n_out,)
        Not negative.
    shift : ndarray of int8, shape (n_out,)
        Positive shifts left before the multiplication, negative right after it.

    Returns
    -------
    ndarray of int64, shape (..., n_out)
        Within 32 bits.
    """
    exponent = shift.astype(np.int64)
    left, right = np.maximum(exponent, 0), np.maximum(-exponent, 0)
    product: NDArray[np.int64] = sums * (multiplier.astype(np.int64) << left)
    product += 1 << 30
    product >>= 31
    # halves away from zero: a negative number is shifted from one lower, if at all
    product += (product >> 63) & np.where(right > 0, -1, 0)
    product += (1 << right) >> 1
    product >>= right
    return product


def _run_conv(layer: QuantizedLayer, x: NDArray[Any]) -> NDArray[Any]:
    conv, products = layer.layer, _products_of(layer)
    assert isinstance(conv, Conv)
    offset = x.astype(_exact_dtype(products)) - layer.source.zero_point
    return _sum(layer, gather_patches(offset, conv))


def _run_dense(layer: QuantizedLayer, x: NDArray[Any]) -> NDArray[Any]:
    offset = x.astype(_exact_dtype(_products_of(layer))) - layer.source.zero_point
    return _sum(layer, offset.reshape(len(x), 1, 1, -1))


def _run_pool(layer: QuantizedLayer, x: NDArray[Any]) -> NDArray[Any]:
    assert isinstance(layer.layer, MeanPool)
    sums, counts = sum_groups(x.astype(np.int32), layer.layer.size)
    means = np.sign(sums) * ((np.abs(sums) + counts // 2) // counts)
    return np.asarray(means, dtype=x.dtype)


def _sum(layer: QuantizedLayer, inputs: NDArray[Any]) -> NDArray[Any]:
    """Weighted sums of (n, rows, times, n_inputs), requantized to the target."""
    products = _products_of(layer)
    weights = products.weights.reshape(len(products.weights), -1).astype(inputs.dtype)
    # exact: every partial sum is an integer that the float type holds
    sums = (inputs @ weights.T).astype(np.int64) + products.bias
    y = requantize(sums, products.multiplier, products.shift)
    y += layer.target.zero_point
    np.clip(y, layer.lowest, layer.target.high, out=y)
    return y.astype(_DTYPES[layer.target.bits])


def _products_of(layer: QuantizedLayer) -> Products:
    assert layer.products is not None
    return layer.products


def _exact_dtype(products: Products) -> Any:
    return np.float32 if products.largest_sum < FLOAT32_EXACT else np.float64


_RUN: dict[type, Callable[[QuantizedLayer, NDArray[Any]], NDArray[Any]]] = {
    Conv: _run_conv,
    MeanPool: _run_pool,
    Dense: _run_dense,
}
