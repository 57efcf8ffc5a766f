"""A network as plain data, run in float by numpy: what quantization starts from.

A tensor is ``(height, width, depth)``: rows are the channels of a window, width is time, depth
holds features. Seen so, a window ``(n_channels, n_times)`` is a tensor of depth 1 as it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.floating[Any]]
Shape = tuple[int, int, int]

#: Windows that run through a network at once, which bounds the memory of a run.
CHUNK = 64


@dataclass(frozen=True, eq=False)
class Conv:
    """Convolve over rows (no padding) and time (dilated, padded with zeros).

    Parameters
    ----------
    name : str
        Name of the layer in the trained network.
    weights : ndarray of shape (n_out, kernel_height, kernel_width, n_in)
        Taps over rows, time and features.
    bias : ndarray of shape (n_out,)
        Added to each output.
    dilation : int, default=1
        Time steps between taps.
    padding : int, default=0
        Zeros before and after the time steps.
    relu : bool, default=False
        Replace negative outputs by zero.
    stride : int, default=1
        Time steps from one output to the next.
    """

    name: str
    weights: FloatArray
    bias: FloatArray
    dilation: int = 1
    padding: int = 0
    relu: bool = False
    stride: int = 1

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of the output for an input of `shape`."""
        height, width, depth = shape
        n_out, kernel_height, kernel_width, n_in = self.weights.shape
        rows = height - kernel_height + 1
        free = width + 2 * self.padding - self.dilation * (kernel_width - 1) - 1
        times = free // self.stride + 1
        if depth != n_in or rows < 1 or times < 1:
            raise _misfit(self.name, f"kernel {self.weights.shape[1:]}", shape)
        return rows, times, n_out

    def n_macs(self, shape: Shape) -> int:
        """Count multiplications for an input of `shape`, those with padding too."""
        rows, times, _ = self.output_shape(shape)
        return rows * times * self.weights.size

    def run(self, x: FloatArray) -> FloatArray:
        """Map (n, height, width, depth) to (n, *output_shape)."""
        weights = self.weights.reshape(len(self.weights), -1)
        patches = gather_patches(x, self)
        return _activate(patches @ weights.T + self.bias, self.relu)


@dataclass(frozen=True, eq=False)
class MeanPool:
    """Average groups of time steps; a shorter last group divides by its own count.

    Parameters
    ----------
    name : str
        Name of the layer in the trained network.
    size : int
        Time steps in a group.
    """

    name: str
    size: int

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of the output for an input of `shape`."""
        return shape[0], -(-shape[1] // self.size), shape[2]

    def n_macs(self, shape: Shape) -> int:
        """Count multiplications: none."""
        return 0

    def run(self, x: FloatArray) -> FloatArray:
        """Map (n, height, width, depth) to (n, *output_shape)."""
        sums, counts = sum_groups(x, self.size)
        return sums / counts


@dataclass(frozen=True, eq=False)
class Dense:
    """Map the flattened input, row by row and step by step, to features.

    Parameters
    ----------
    name : str
        Name of the layer in the trained network.
    weights : ndarray of shape (n_out, n_in)
        One row per output, columns in the order of the tensor (height, width, depth).
    bias : ndarray of shape (n_out,)
        Added to each output.
    relu : bool, default=False
        Replace negative outputs by zero.
    """

    name: str
    weights: FloatArray
    bias: FloatArray
    relu: bool = False

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of the output for an input of `shape`."""
        if int(np.prod(shape)) != self.weights.shape[1]:
            raise _misfit(self.name, f"{self.weights.shape[1]} inputs", shape)
        return 1, 1, len(self.weights)

    def n_macs(self, shape: Shape) -> int:
        """Count multiplications."""
        return self.weights.size

    def run(self, x: FloatArray) -> FloatArray:
        """Map (n, height, width, depth) to (n, 1, 1, n_out)."""
        y = x.reshape(len(x), -1) @ self.weights.T + self.bias
        return _activate(y, self.relu)[:, np.newaxis, np.newaxis]


Layer = Conv | MeanPool | Dense


@dataclass(frozen=True, eq=False)
class Graph:
    """Layers in the order in which they run, each on the output of the one before.

    Parameters
    ----------
    input_shape : tuple of 2 int
        Channels and time steps of a window.
    layers : tuple of Conv, MeanPool or Dense
        The last one gives the heart rate in bpm and, with bounds, the binary logarithm of its
        standard deviation in bpm.
    log2_std_bounds : tuple of 2 float or None, default=None
        Between which that logarithm is kept; None: one output, no standard deviation.

    Raises
    ------
    ValueError
        If two layers share a name, do not fit together, or the end has not as many numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from pulsehr.firmware.graph import Dense, Graph
    >>> graph = Graph((1, 2), (Dense("out", np.array([[1.0, 2.0]]), np.array([60.0])),))
    >>> graph.run([[[3.0, 4.0]]])
    array([71.])
    """

    input_shape: tuple[int, int]
    layers: tuple[Layer, ...]
    log2_std_bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check that the layers fit together."""
        names = ["input", *(layer.name for layer in self.layers)]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"Graph: layer names must differ, got {name!r} twice")
        end = self.shapes[names[-1]]
        if end != (1, 1, self.n_outputs):
            numbers = "one number" if self.n_outputs == 1 else "two numbers"
            raise ValueError(f"Graph: the last layer must give {numbers}, got shape {end}")

    @property
    def n_outputs(self) -> int:
        """Numbers that the last layer gives."""
        return 1 if self.log2_std_bounds is None else 2

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shape of "input" and of every layer's output."""
        shape: Shape = (*self.input_shape, 1)
        shapes = {"input": shape}
        for layer in self.layers:
            shapes[layer.name] = shape = layer.output_shape(shape)
        return shapes

    def run(self, windows: ArrayLike) -> NDArray[np.float64]:
        """Estimate heart rates.

        Parameters
        ----------
        windows : array-like of shape (n_windows, n_channels, n_times)
            Normalised windows.

        Returns
        -------
        ndarray of shape (n_windows,)
            Heart rate in bpm, computed in double precision.
        """
        return self._last(windows)[:, 0]

    def run_with_std(self, windows: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Estimate heart rates and their standard deviations.

        Parameters
        ----------
        windows : array-like of shape (n_windows, n_channels, n_times)
            Normalised windows.

        Returns
        -------
        heart_rate, std : ndarray of shape (n_windows,)
            In bpm, computed in double precision.
        """
        assert self.log2_std_bounds is not None
        bpm, log2_std = self._last(windows).T
        return bpm, np.exp2(np.clip(log2_std, *self.log2_std_bounds))

    def _last(self, windows: ArrayLike) -> NDArray[np.float64]:
        """Return the outputs (n_windows, n_outputs) of the last layer."""
        windows = np.asarray(windows, dtype=np.float64)
        last: list[FloatArray] = [np.empty((0, self.n_outputs))]
        for start in range(0, len(windows), CHUNK):
            *_, (_, y) = self.outputs(windows[start : start + CHUNK])
            last.append(y.reshape(len(y), -1))
        return np.concatenate(last, dtype=np.float64)

    def outputs(self, windows: ArrayLike) -> Iterator[tuple[str, FloatArray]]:
        """Yield the name and the tensor of "input" and of every layer, in order.

        Parameters
        ----------
        windows : array-like of shape (n_windows, n_channels, n_times)
            Normalised windows.

        Yields
        ------
        name : str
            "input" or the name of a layer.
        tensor : ndarray of shape (n_windows, height, width, depth)
            Its output, after the ReLU if it has one.
        """
        x: FloatArray = np.asarray(windows, dtype=np.float64)[..., np.newaxis]
        if x.shape[1:3] != self.input_shape:
            raise ValueError(f"Graph: windows must be {self.input_shape}, got {x.shape[1:-1]}")
        yield "input", x
        for layer in self.layers:
            x = layer.run(x)
            yield layer.name, x


def measure_ranges(graph: Graph, windows: ArrayLike) -> dict[str, tuple[float, float]]:
    """Measure the smallest and largest value of every tensor.

    Parameters
    ----------
    graph : Graph
        The network.
    windows : array-like of shape (n_windows, n_channels, n_times)
        Normalised windows, those of training.

    Returns
    -------
    dict of str to tuple of 2 float
        Range of "input" and of every layer's output.
    """
    windows = np.asarray(windows)
    ranges: dict[str, tuple[float, float]] = {}
    for start in range(0, len(windows), CHUNK):
        for name, tensor in graph.outputs(windows[start : start + CHUNK]):
            low, high = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = min(low, float(tensor.min())), max(high, float(tensor.max()))
    return ranges


def gather_patches(x: NDArray[Any], conv: Conv) -> NDArray[Any]:
    """Lay the inputs of each output side by side: (n, rows, times, kernel_size * depth)."""
    _, kernel_height, kernel_width, _ = conv.weights.shape
    rows, times, _ = conv.output_shape((x.shape[1], x.shape[2], x.shape[3]))
    x = np.pad(x, ((0, 0), (0, 0), (conv.padding, conv.padding), (0, 0)))
    reach = (times - 1) * conv.stride + 1
    taps = [
        x[:, i : i + rows, j * conv.dilation : j * conv.dilation + reach : conv.stride]
        for i in range(kernel_height)
        for j in range(kernel_width)
    ]
    return np.concatenate(taps, axis=-1)


def sum_groups(x: NDArray[Any], size: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Sum groups of `size` time steps; also how many steps each sum has, (times, 1)."""
    starts = np.arange(0, x.shape[2], size)
    counts = np.minimum(size, x.shape[2] - starts)[:, np.newaxis]
    return np.add.reduceat(x, starts, axis=2), counts


def _activate(y: FloatArray, relu: bool) -> FloatArray:
    return np.maximum(y, 0) if relu else y


def _misfit(name: str, wanted: str, shape: Shape) -> ValueError:
    return ValueError(f"Graph: layer {name!r} with {wanted} does not fit an input of shape {shape}")
