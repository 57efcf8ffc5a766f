"""A fitted student into a `Graph` and its integers: a table from layer type to function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from pulsehr.firmware.graph import Conv, Dense, FloatArray, Graph, Layer, MeanPool, Shape
from pulsehr.firmware.quantization import QuantizedGraph, quantize
from pulsehr.forms import STUDENTS, RectifiedLinear, ScaledLinear
from pulsehr.networks import LOG_SCALE_BOUNDS, STD_OF_LAPLACE, RectifiedConv2d


def lower(network: nn.Module, input_shape: tuple[int, int], std_scale: float = 1.0) -> Graph:
    """Lower a student network to plain data.

    Parameters
    ----------
    network : nn.Module
        The trained network, one of `pulsehr.forms.STUDENTS`, on any device; dropout is left out.
    input_shape : tuple of 2 int
        Channels and time steps of a window.
    std_scale : float, default=1.0
        Of a network with two outputs: the factor on its scales, ``std_scale_`` of the student.

    Returns
    -------
    Graph
        The same function, its layers under the same names; the second output, if there is one, is
        the binary logarithm of the standard deviation.

    Raises
    ------
    TypeError
        If the network is not a student, or has a layer with no counterpart.
    ValueError
        If windows of `input_shape` do not fit the network.

    Examples
    --------
    >>> from pulsehr.firmware.lowering import lower
    >>> from pulsehr.networks import DistilledStudent
    >>> graph = lower(DistilledStudent(n_channels=1, n_times=64), (1, 64))
    >>> [layer.name for layer in graph.layers][-3:]
    ['conv4', 'dense', 'out']
    """
    if not isinstance(network, tuple(STUDENTS.values())):
        names = " or ".join(kind.__name__ for kind in STUDENTS.values())
        raise TypeError(
            f"{type(network).__name__} cannot become firmware: expected a {names}; distil a "
            f"student from it (DistilledStudentRegressor) and export that"
        )
    layers: list[Layer] = []
    shape: Shape = (*input_shape, 1)
    for name, module in network.named_children():
        if type(module) not in _LAYERS:
            known = ", ".join(kind.__name__ for kind in _LAYERS)
            raise TypeError(
                f"layer {name!r} of type {type(module).__name__} cannot become firmware: "
                f"known are {known}"
            )
        layer = _LAYERS[type(module)](name, module, shape)
        if layer is not None:
            layers.append(layer)
            shape = layer.output_shape(shape)
    if shape[2] == 1:
        return Graph(input_shape, tuple(layers))
    layers[-1], bounds = _with_std(layers[-1], std_scale)
    return Graph(input_shape, tuple(layers), bounds)


def quantized_graph(student: Any) -> QuantizedGraph:
    """Return the integers of a fitted student.

    Parameters
    ----------
    student : DistilledStudentRegressor or QuantizedStudentRegressor
        Fitted: has ``network_``, ``ranges_``, ``n_channels_`` and ``n_times_``.

    Returns
    -------
    QuantizedGraph
        What the firmware computes.

    Raises
    ------
    TypeError, ValueError
        As `lower` and `quantize` do.
    """
    shape = (int(student.n_channels_), int(student.n_times_))
    inner = getattr(student, "student_", student)
    std_scale = getattr(inner, "std_scale_", None) or 1.0
    return quantize(lower(student.network_, shape, std_scale), student.ranges_)


def _conv(name: str, module: nn.Conv2d, shape: Shape) -> Conv:
    # torch is (out, in, height, width)
    return Conv(
        name,
        _array(module.weight).transpose(0, 2, 3, 1).copy(),
        _bias(module),
        dilation=module.dilation[1],
        padding=int(module.padding[1]),
        relu=isinstance(module, RectifiedConv2d),
        stride=module.stride[1],
    )


def _mean_pool(name: str, module: nn.AvgPool2d, shape: Shape) -> MeanPool:
    _, size = module.kernel_size  # type: ignore[misc]  # the student's pools are (1, size)
    return MeanPool(name, size)


def _dense(name: str, module: nn.Linear, shape: Shape) -> Dense:
    weights, bias = _array(module.weight), _bias(module)
    if isinstance(module, ScaledLinear):
        weights, bias = (_array(values) for values in module.folded())
    if weights.shape[1] != np.prod(shape):
        raise ValueError(
            f"layer {name!r} takes {weights.shape[1]} inputs but gets a tensor of shape {shape}: "
            f"is the shape of a window right?"
        )
    # torch flattens feature by feature, a tensor lies row by row and step by step
    height, width, depth = shape
    columns = weights.reshape(-1, depth, height, width).transpose(0, 2, 3, 1)
    relu = isinstance(module, RectifiedLinear)
    return Dense(name, columns.reshape(len(weights), -1), bias, relu=relu)


def _with_std(out: Any, std_scale: float) -> tuple[Dense, tuple[float, float]]:
    """Let the second output be the binary logarithm of the std (bpm); also return its bounds.

    A Laplace distribution of scale b has the std ``STD_OF_LAPLACE * b``: its logarithm is that of
    b and a constant, which goes into the bias.
    """
    constant = np.log(STD_OF_LAPLACE * std_scale)
    weights, bias = out.weights.astype(np.float64), out.bias.astype(np.float64)
    weights[1], bias[1] = weights[1] / np.log(2), (bias[1] + constant) / np.log(2)
    low, high = ((bound + constant) / np.log(2) for bound in LOG_SCALE_BOUNDS)
    return replace(out, weights=weights, bias=bias), (float(low), float(high))


def _nothing(name: str, module: nn.Module, shape: Shape) -> None:
    return None


def _bias(module: nn.Conv2d | nn.Linear) -> FloatArray:
    return np.zeros(len(module.weight)) if module.bias is None else _array(module.bias)


def _array(values: torch.Tensor) -> FloatArray:
    array: FloatArray = values.detach().cpu().numpy().astype(np.float32)
    return array


_LAYERS: dict[type[nn.Module], Callable[[str, Any, Shape], Layer | None]] = {
    RectifiedConv2d: _conv,
    nn.Conv2d: _conv,
    nn.AvgPool2d: _mean_pool,
    nn.Linear: _dense,
    RectifiedLinear: _dense,
    ScaledLinear: _dense,
    nn.Dropout: _nothing,
}
