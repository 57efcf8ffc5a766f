"""In which order the layers run, and how much of each tensor is kept at a time.

Up to the convolution that lets the rows (the channels of a window) meet, all rows run through
the same weights, so the firmware takes one row after the other. Along a row, the layers up to and
with a pool make a *segment*: it takes a tile of time steps through all its layers before the
next tile, and every layer keeps only those steps of its input (its *lines*) that later
outputs still need [1]_. Only between segments is a row held whole.

References
----------
.. [1] Alwani, Chen, Ferdman and Milder, Fused-Layer CNN Accelerators, MICRO 2016.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pulsehr.firmware.graph import Conv, Dense, MeanPool
from pulsehr.firmware.quantization import QuantizedGraph, QuantizedLayer

#: Most layers of a segment, for which the C keeps counters.
MAX_STAGES = 8


@dataclass(frozen=True, eq=False)
class Stage:
    """A layer of a segment, seen as a stream of time steps.

    Parameters
    ----------
    layer : QuantizedLayer
        A convolution along time, or a pool.
    depth : int
        Values of a time step of its input: features, of all rows once these have met.
    """

    layer: QuantizedLayer
    depth: int

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self.layer.name

    @property
    def n_outputs(self) -> int:
        """Values of a time step of its output."""
        return self.layer.target_shape[2]

    @property
    def kernel(self) -> int:
        """Taps along time."""
        layer = self.layer.layer
        return layer.size if isinstance(layer, MeanPool) else int(_conv(layer).weights.shape[2])

    @property
    def dilation(self) -> int:
        """Time steps between taps."""
        layer = self.layer.layer
        return 1 if isinstance(layer, MeanPool) else _conv(layer).dilation

    @property
    def stride(self) -> int:
        """Time steps between outputs."""
        layer = self.layer.layer
        return layer.size if isinstance(layer, MeanPool) else _conv(layer).stride

    @property
    def padding(self) -> int:
        """Steps of zeros before and after the input."""
        layer = self.layer.layer
        return 0 if isinstance(layer, MeanPool) else _conv(layer).padding

    @property
    def reach(self) -> int:
        """Time steps that one output looks at, from the first to the last."""
        return (self.kernel - 1) * self.dilation + 1

    def n_ready(self, held: int, last: bool) -> int:
        """Count the outputs that `held` steps give; the last group of a pool may be short."""
        if isinstance(self.layer.layer, MeanPool) and last:
            return -(-held // self.stride)
        return max(0, (held - self.reach) // self.stride + 1)


@dataclass(frozen=True, eq=False)
class Segment:
    """Layers that a row runs through tile by tile.

    Parameters
    ----------
    stages : tuple of Stage
        In order.
    width : int
        Time steps of the input.
    tile : int
        Time steps of the input that are taken at a time.
    per_row : bool
        Whether it runs once for each row; else once, on the rows together.
    """

    stages: tuple[Stage, ...]
    width: int
    tile: int
    per_row: bool

    @property
    def name(self) -> str:
        """Names of its first and last layer."""
        return " to ".join(dict.fromkeys((self.stages[0].name, self.stages[-1].name)))

    @property
    def input_steps(self) -> int:
        """Time steps of the whole input with its padding."""
        return self.width + 2 * self.stages[0].padding

    def passes(self) -> Iterator[tuple[Stage, int, int]]:
        """Yield each run of a layer: the layer, how many steps it holds, and its outputs.

        Firmware runs the same loop (`segment` in the kernels).
        """
        held = [stage.padding for stage in self.stages]
        for start in range(0, self.width, self.tile):
            n = min(self.tile, self.width - start)
            last = start + n == self.width
            for index, stage in enumerate(self.stages):
                held[index] += n + (stage.padding if last else 0)
                n = stage.n_ready(held[index], last)
                yield stage, held[index], n
                held[index] -= min(n * stage.stride, held[index])

    def lines(self) -> dict[str, int]:
        """Most time steps that each layer after the first holds at once."""
        most: dict[str, int] = {stage.name: stage.padding for stage in self.stages[1:]}
        for stage, held, _ in self.passes():
            if stage.name in most:
                most[stage.name] = max(most[stage.name], held)
        return most

    def most_outputs(self) -> dict[str, int]:
        """Most outputs that a run of each layer gives."""
        most: dict[str, int] = {}
        for stage, _, n in self.passes():
            most[stage.name] = max(most.get(stage.name, 0), n)
        return most


@dataclass(frozen=True, eq=False)
class Schedule:
    """The order of a network: segments, then dense layers.

    Parameters
    ----------
    segments : tuple of Segment
        Those that run for each row first.
    dense : tuple of QuantizedLayer
        The layers after them.
    n_rows : int
        Channels of a window.
    """

    segments: tuple[Segment, ...]
    dense: tuple[QuantizedLayer, ...]
    n_rows: int

    @property
    def row_segments(self) -> tuple[Segment, ...]:
        """Those that run for each row."""
        return tuple(segment for segment in self.segments if segment.per_row)

    @property
    def step_names(self) -> list[str]:
        """Names of the steps in order: taking in a row, the segments, the dense layers."""
        return ["row in", *(s.name for s in self.segments), *(y.name for y in self.dense)]


def split(graph: QuantizedGraph) -> tuple[list[Segment], list[QuantizedLayer]]:
    """Split a network into segments, each of one tile, and its dense layers.

    Parameters
    ----------
    graph : QuantizedGraph
        Convolutions and pools along rows; one convolution over all rows, if there are several;
        convolutions and pools again; dense layers.

    Returns
    -------
    segments : list of Segment
        In order.
    dense : list of QuantizedLayer
        In order.

    Raises
    ------
    ValueError
        If the layers come in another order.
    """
    dense = [layer for layer in graph.layers if isinstance(layer.layer, Dense)]
    streamed = list(graph.layers[: len(graph.layers) - len(dense)])
    if not streamed:
        raise ValueError(
            f"firmware: the first layer {graph.layers[0].name!r} is dense, expected a convolution"
        )
    for layer in streamed:
        _check_stream(layer)
    together = _index_of_join(streamed)
    segments = [
        Segment(
            tuple(Stage(layer, layer.source_shape[0] * layer.source_shape[2]) for layer in part)
            if not per_row
            else tuple(Stage(layer, layer.source_shape[2]) for layer in part),
            width=part[0].source_shape[1],
            tile=part[0].source_shape[1],
            per_row=per_row,
        )
        for layers, per_row in ((streamed[:together], True), (streamed[together:], False))
        for part in _up_to_pools(layers)
    ]
    return segments, dense


def _up_to_pools(layers: list[QuantizedLayer]) -> Iterator[list[QuantizedLayer]]:
    part: list[QuantizedLayer] = []
    for layer in layers:
        part.append(layer)
        if isinstance(layer.layer, MeanPool) or len(part) == MAX_STAGES or layer is layers[-1]:
            yield part
            part = []


def _index_of_join(layers: list[QuantizedLayer]) -> int:
    """Index of the layer from which on rows are together."""
    n_rows = layers[0].source_shape[0]
    if n_rows == 1:
        return len(layers)
    for index, layer in enumerate(layers):
        if layer.target_shape[0] == 1:
            return index
    raise ValueError(
        f"firmware: no layer of {[layer.name for layer in layers]} lets the {n_rows} rows meet; "
        f"expected a convolution with kernel height {n_rows} before the dense layers"
    )


def _check_stream(layer: QuantizedLayer) -> None:
    if isinstance(layer.layer, Dense):
        raise ValueError(f"firmware: layer {layer.name!r} is dense, before one that is not")
    if layer.target.bits != 8:
        raise ValueError(
            f"firmware: layer {layer.name!r}: no operator {type(layer.layer).__name__} from "
            f"{layer.source.bits} to {layer.target.bits} bits; before the last dense layer must "
            f"come another"
        )
    if isinstance(layer.layer, MeanPool):
        return
    height = layer.layer.weights.shape[1]
    if height not in (1, layer.source_shape[0]):
        raise ValueError(
            f"firmware: the kernel of layer {layer.name!r} spans {height} of "
            f"{layer.source_shape[0]} rows, expected 1 or all of them"
        )
    reach = (layer.layer.weights.shape[2] - 1) * layer.layer.dilation + 1
    if layer.layer.stride > reach:
        raise ValueError(
            f"firmware: layer {layer.name!r} has stride {layer.layer.stride}, beyond the "
            f"{reach} time steps that its kernel spans: choose a smaller stride"
        )


def _conv(layer: Conv | MeanPool | Dense) -> Conv:
    assert isinstance(layer, Conv)
    return layer
