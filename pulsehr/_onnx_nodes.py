"""What windower and float networks compute, as ONNX nodes.

Tensors are ``(n_windows, depth, n_channels, n_times)`` as torch has them. All operators are those
of opset 18, and a pool whose last group is short pads it at the end without counting the padding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from pulsehr._cutting import FLAT
from pulsehr.forms import (
    InteractingNetwork,
    RectifiedLinear,
    ScaledLinear,
)
from pulsehr.networks import (
    LOG_SCALE_BOUNDS,
    STD_OF_LAPLACE,
    DistilledStudent,
    PulseTeacher,
    RectifiedConv2d,
)

#: Element types of ONNX tensors, as ``onnx.TensorProto`` numbers them.
FLOAT, INT64, DOUBLE = 1, 7, 11


class Nodes:
    """Add nodes and constants to a conversion of skl2onnx, each under a new name.

    Parameters
    ----------
    scope : skl2onnx Scope
        Where names are unique.
    container : skl2onnx ModelComponentContainer
        What the nodes go into.
    """

    def __init__(self, scope: Any, container: Any) -> None:
        self._scope = scope
        self._container = container

    @property
    def opset(self) -> int:
        """Version of the operators asked for."""
        return int(self._container.target_opset_any_domain(""))

    def constant(self, values: Any) -> str:
        """Store an array, whose element type is kept, and return its name."""
        from onnx import numpy_helper

        tensor = numpy_helper.from_array(np.ascontiguousarray(values).reshape(np.shape(values)))
        name: str = self._scope.get_unique_variable_name("constant")
        self._container.add_initializer(name, tensor.data_type, list(tensor.dims), tensor)
        return name

    def add(self, operator: str, *inputs: Any, output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output and return the name of that.

        Parameters
        ----------
        operator : str
            Operator of ONNX.
        *inputs : str, or ndarray or numpy scalar
            Names of tensors; arrays become constants.
        output : str, default=None
            Name of the output; None makes one.
        **attributes : int, float or list
            Of the operator.

        Returns
        -------
        str
            Name of the output.
        """
        return self.split(operator, *inputs, outputs=[output], **attributes)[0]

    def split(
        self, operator: str, *inputs: Any, outputs: list[str | None], **attributes: Any
    ) -> list[str]:
        """Add a node with several outputs, named as in `add`, and return their names."""
        names = [name or self._scope.get_unique_variable_name(operator) for name in outputs]
        self._container.add_node(
            operator,
            [name if isinstance(name, str) else self.constant(name) for name in inputs],
            names,
            name=self._scope.get_unique_operator_name(operator),
            **attributes,
        )
        return names


def ints(*values: int) -> NDArray[np.int64]:
    """Return integers as ONNX takes shapes and axes."""
    return np.array(values, dtype=np.int64)


def network_outputs(nodes: Nodes, network: nn.Module, x: str, shape: tuple[int, int]) -> str:
    """Add the network up to its features.

    Parameters
    ----------
    nodes : Nodes
        Where to add.
    network : nn.Module
        One of the `TEACHERS` or `STUDENTS` of `pulsehr.forms`, on any device; without dropout.
    x : str
        Float windows (n, n_channels, n_times) or rows (n, n_channels * n_times).
    shape : tuple of 2 int
        Channels and times of a window.

    Returns
    -------
    str
        Features (n, 32), of which the layer ``out`` makes the heart rate.
    """
    n_channels, n_times = shape
    x = nodes.add("Reshape", x, ints(-1, 1, n_channels, n_times))
    for block in (1, 2, 3):
        for layer in (1, 2, 3):
            x = _conv(nodes, network.get_submodule(f"conv{block}{layer}"), x)
        pool: Any = network.get_submodule(f"pool{block}")
        size = int(pool.kernel_size[1])
        x, n_times = mean_pool(nodes, x, size, n_times)
    x = _HEADS[type(network)](nodes, network, x, n_channels, n_times)
    x = nodes.add("Flatten", x, axis=1)
    return linear(nodes, network.get_submodule("dense"), x)


def linear(nodes: Nodes, module: Any, x: str) -> str:
    """Add a linear layer from (n, n_in) to (n, n_out), and the ReLU after it if it has one."""
    weights, bias = module.weight, module.bias
    if isinstance(module, ScaledLinear):
        weights, bias = module.folded()
    y = nodes.add("Gemm", x, _array(weights), _array(bias), transB=1)
    return nodes.add("Relu", y) if isinstance(module, RectifiedLinear) else y


def column(nodes: Nodes, x: str, index: int) -> str:
    """Add the choice of a column of (n, n_columns): (n, 1)."""
    return nodes.add("Slice", x, ints(index), ints(index + 1), ints(1))


def std_of_log_scale(nodes: Nodes, x: str, std_scale: float) -> str:
    """Add the standard deviation (bpm) of a Laplace distribution from the log of its scale."""
    low, high = (np.float32(bound) for bound in LOG_SCALE_BOUNDS)
    scale = nodes.add("Exp", nodes.add("Clip", x, low, high))
    return nodes.add("Mul", scale, np.float32(STD_OF_LAPLACE * std_scale))


def mean_pool(nodes: Nodes, x: str, size: int, n_times: int) -> tuple[str, int]:
    """Add means of groups of `size` times; return them and how many there are."""
    n_groups = -(-n_times // size)
    missing = n_groups * size - n_times
    pooled = nodes.add(
        "AveragePool",
        x,
        kernel_shape=[1, size],
        strides=[1, size],
        pads=[0, 0, 0, missing],
        count_include_pad=0,
    )
    return pooled, n_groups


def _conv(nodes: Nodes, module: Any, x: str) -> str:
    height, width = (int(padding) for padding in module.padding)
    y = nodes.add(
        "Conv",
        x,
        _array(module.weight),
        _array(module.bias),
        dilations=[int(step) for step in module.dilation],
        pads=[height, width, height, width],
    )
    return nodes.add("Relu", y) if isinstance(module, RectifiedConv2d) else y


def _across_modalities(nodes: Nodes, network: Any, x: str, n_channels: int, n_times: int) -> str:
    return _conv(nodes, network.conv4, x)


def _attention(nodes: Nodes, network: Any, x: str, n_channels: int, n_times: int) -> str:
    """Let the maps of the PPG (n, filters, n_times) attend to those of the other channels."""
    n_filters = int(network.conv33.weight.shape[0])
    query = nodes.add("Gather", x, np.int64(0), axis=2)
    others = nodes.add("Slice", x, ints(1), ints(n_channels), ints(2)) if n_channels > 1 else x
    n_keys = max(n_channels - 1, 1) * n_filters
    keys = nodes.add("Transpose", others, perm=[0, 2, 1, 3])
    keys = nodes.add("Reshape", keys, ints(-1, n_keys, n_times))
    attended = _attended(nodes, network.multihead_attn, query, n_filters, keys, n_keys)
    return _layer_norm(nodes, network.layer_norm, attended)


def _attended(
    nodes: Nodes, attention: Any, query: str, n_query: int, others: str, n_others: int
) -> str:
    """Let tokens (n, n_query, width) attend to others (n, n_others, width)."""
    n_heads, width = int(attention.num_heads), int(attention.embed_dim)
    weights = np.split(_array(attention.in_proj_weight), 3)
    biases = np.split(_array(attention.in_proj_bias), 3)
    root = np.float32((width // n_heads) ** -0.5)
    weights[0], biases[0] = weights[0] * root, biases[0] * root
    q, k, v = (
        nodes.add(
            "Reshape",
            nodes.add("Add", nodes.add("MatMul", tokens, weight.T), bias),
            ints(-1, n_tokens, n_heads, width // n_heads),
        )
        for tokens, n_tokens, weight, bias in zip(
            (query, others, others), (n_query, n_others, n_others), weights, biases, strict=True
        )
    )
    q = nodes.add("Transpose", q, perm=[0, 2, 1, 3])
    k = nodes.add("Transpose", k, perm=[0, 2, 3, 1])
    v = nodes.add("Transpose", v, perm=[0, 2, 1, 3])
    shares = nodes.add("Softmax", nodes.add("MatMul", q, k), axis=-1)
    mixed = nodes.add("Transpose", nodes.add("MatMul", shares, v), perm=[0, 2, 1, 3])
    mixed = nodes.add("Reshape", mixed, ints(-1, n_query, width))
    out = attention.out_proj
    return nodes.add("Add", nodes.add("MatMul", mixed, _array(out.weight).T), _array(out.bias))


def _layer_norm(nodes: Nodes, norm: Any, x: str) -> str:
    if isinstance(norm, nn.Identity):
        return x
    return nodes.add(
        "LayerNormalization",
        x,
        _array(norm.weight),
        _array(norm.bias),
        axis=-1,
        epsilon=float(norm.eps),
    )


_HEADS: dict[type[nn.Module], Callable[[Nodes, Any, str, int, int], str]] = {
    PulseTeacher: _attention,
    DistilledStudent: _across_modalities,
    InteractingNetwork: _across_modalities,
}


def _array(values: Tensor) -> NDArray[np.float32]:
    return np.asarray(values.detach().cpu().numpy(), dtype=np.float32)


def windower_outputs(nodes: Nodes, windower: Any, x: str, n_times: int) -> str:
    """Add what a windower does to windows cut elsewhere: band-pass and normalise, in double.

    Parameters
    ----------
    nodes : Nodes
        Where to add.
    windower : PPGWindower
        Fitted.
    x : str
        Windows (n, n_channels, n_times) or rows, float.
    n_times : int
        Times of a window.

    Returns
    -------
    str
        Float windows (n, n_channels, n_times), or rows with ``flatten=True``.
    """
    n_channels = int(windower.n_channels_)
    x = nodes.add("Reshape", nodes.add("Cast", x, to=DOUBLE), ints(-1, n_channels, n_times))
    if windower.bandpass is not None:
        x = _bandpassed(nodes, windower, x, n_times)
    if windower.normalize == "window":
        x = _normalized(nodes, x, n_channels)
    elif windower.normalize == "channel":
        x = nodes.add("Sub", x, np.float64(windower.mean_[:, None]))
        x = nodes.add("Div", x, np.float64(windower.scale_[:, None]))
    x = nodes.add("Cast", x, to=FLOAT)
    return nodes.add("Flatten", x, axis=1) if windower.flatten else x


def _bandpassed(nodes: Nodes, windower: Any, x: str, n_times: int) -> str:
    # the filter from rest is linear: the responses to each sample are the rows of a matrix
    responses = windower._cutting().bandpassed(np.eye(n_times))
    first = nodes.add("Slice", x, ints(0), ints(1), ints(2))
    filtered = nodes.add("MatMul", nodes.add("Sub", x, first), responses)
    return nodes.add("Where", _is_flat(nodes, x), np.float64(0), filtered)


def _normalized(nodes: Nodes, x: str, n_channels: int) -> str:
    """Centre every channel, and scale the PPG to unit standard deviation (flat: zeros)."""
    centred = nodes.add("Sub", x, nodes.add("ReduceMean", x, ints(2), keepdims=1))
    measured = nodes.add("Slice", x, ints(0), ints(1), ints(1)) if n_channels > 1 else x
    ppg, others = centred, []
    if n_channels > 1:
        parts: list[str | None] = [None, None]
        ppg, *others = nodes.split("Split", centred, ints(1, n_channels - 1), outputs=parts, axis=1)
    power = nodes.add("ReduceMean", nodes.add("Mul", ppg, ppg), ints(2), keepdims=1)
    flat = _is_flat(nodes, measured)
    scale = nodes.add("Where", flat, np.float64(1), nodes.add("Sqrt", power))
    ppg = nodes.add("Where", flat, np.float64(0), nodes.add("Div", ppg, scale))
    return nodes.add("Concat", ppg, *others, axis=1) if others else ppg


def _is_flat(nodes: Nodes, x: str) -> str:
    """Tell which signals (n, n_channels, n_times) do not vary: (n, n_channels, 1)."""
    high, low, largest = (
        nodes.add(operator, values, ints(2), keepdims=1)
        for operator, values in (
            ("ReduceMax", x),
            ("ReduceMin", x),
            ("ReduceMax", nodes.add("Abs", x)),
        )
    )
    spread = nodes.add("Sub", high, low)
    return nodes.add("LessOrEqual", spread, nodes.add("Mul", largest, np.float64(FLAT)))


def spectral_peak(nodes: Nodes, regressor: Any, x: str, n_times: int) -> str:
    """Add a `SpectralPeakRegressor`: the heart rate (n, 1) of the highest peak, in double.

    Parameters
    ----------
    nodes : Nodes
        Where to add.
    regressor : SpectralPeakRegressor
        Fitted.
    x : str
        Windows (n, n_channels, n_times) or rows, float.
    n_times : int
        Times of a window.

    Returns
    -------
    str
        Heart rate in bpm.
    """
    # trend, taper and Fourier transform are linear: one product with what they make of unit samples
    bpm, spectrum = regressor._spectrum(np.eye(n_times))
    x = nodes.add("Reshape", x, ints(-1, int(regressor.n_channels_), n_times))
    ppg = nodes.add("Cast", nodes.add("Gather", x, np.int64(0), axis=1), to=DOUBLE)
    parts = (nodes.add("MatMul", ppg, part) for part in (spectrum.real, spectrum.imag))
    power = nodes.add("Add", *(nodes.add("Mul", part, part) for part in parts))
    return nodes.add("Gather", bpm, nodes.add("ArgMax", power, axis=1, keepdims=1), axis=0)
