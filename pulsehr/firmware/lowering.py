"""A fitted student into a `Graph` and its integers: a table from layer type to function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from pulsehr.firmware.graph import Conv, Dense, FloatArray, Graph, Layer, MeanPool, Shape
from pulsehr.firmware.quantization import QuantizedGraph, quantize
from pulsehr.networks import DistilledStudent, RectifiedConv2d


def lower(network: nn.Module, input_shape: tuple[int, int]) -> Graph:
    """Lower a student network to plain data.

    Parameters
    ----------
    network : DistilledStudent
        The trained network, on any device; dropout is left out.
    input_shape : tuple of 2 int
        Channels and time steps of a window.

    Returns
    -------
    Graph
        The same function, its layers under the same names.

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
    if not isinstance(network, DistilledStudent):
        raise TypeError(
            f"{type(network).__name__} cannot become firmware: expected a DistilledStudent; "
            f"distil a student from it (DistilledStudentRegressor) and export that"
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
    return Graph(input_shape, tuple(layers))


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
    return quantize(lower(student.network_, shape), student.ranges_)


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
    weights = _array(module.weight)
    if weights.shape[1] != np.prod(shape):
        raise ValueError(
            f"layer {name!r} takes {weights.shape[1]} inputs but gets a tensor of shape {shape}: "
            f"is the shape of a window right?"
        )
    # torch flattens feature by feature, a tensor lies row by row and step by step
    height, width, depth = shape
    columns = weights.reshape(-1, depth, height, width).transpose(0, 2, 3, 1)
    return Dense(name, columns.reshape(len(weights), -1), _bias(module))


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
    nn.Dropout: _nothing,
}
