"""Where every tensor lies in the arena, and how many bytes of flash and RAM a network takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pulsehr.firmware.graph import MeanPool
from pulsehr.firmware.quantization import QuantizedGraph, QuantizedLayer
from pulsehr.firmware.schedule import Schedule, Segment, Stage, split

#: Every tensor starts at a multiple of this, which also the arena must.
ALIGNMENT = 4

#: Bytes that the 16-bit offsets in the tables of the C can address.
MAX_ARENA_BYTES = 2**16 - 1

#: Fewest time steps that a segment takes at a time: what is tried, the first of the best taken.
MIN_TILES = (16, 12, 8, 4)

#: Multiples of that which a segment may take at a time; more hardly spare anything.
MOST_TILES = 8

#: Bytes of inputs that the kernel with DSP instructions takes at a time.
VECTOR = 8

#: Bytes of the C record of a layer along time, of one of its outputs, of a segment and of a dense
#: layer where a pointer takes 4.
STAGE_BYTES, SCALE_BYTES, SEGMENT_BYTES, DENSE_BYTES = 24, 8, 20, 28


@dataclass(frozen=True)
class Block:
    """A stretch of the arena.

    Parameters
    ----------
    name : str
        The layer whose input, lines or scratch it holds.
    kind : {"input", "lines", "scratch"}
        "input": the whole input of a segment or dense layer; "lines": the steps of a layer's
        input that are held inside a segment; "scratch": what a layer's kernel works in.
    n_bytes : int
        Its size.
    first, last : int
        Steps of the schedule between which it is in use: 0 takes in a row, then come the
        segments and the dense layers.
    offset : int, default=0
        Its first byte in the arena.
    """

    name: str
    kind: str
    n_bytes: int
    first: int
    last: int
    offset: int = 0

    def meets(self, other: Block) -> bool:
        """Tell whether both are in use at the same time."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, eq=False)
class MemoryPlan:
    """In which order a network runs and where its tensors lie.

    Parameters
    ----------
    schedule : Schedule
        The order.
    blocks : tuple of Block
        The stretches of the arena.
    arena_bytes : int
        RAM that they need, without the samples and the stack.
    constant_bytes : int
        Constants in flash: weights (1 byte each), biases and multipliers (4), shifts (1) and
        the records of layers. Code is not counted.
    """

    schedule: Schedule
    blocks: tuple[Block, ...]
    arena_bytes: int
    constant_bytes: int

    def offset(self, name: str, kind: str) -> int:
        """First byte of a block in the arena."""
        return next(b.offset for b in self.blocks if (b.name, b.kind) == (name, kind))


#: Computes the bytes of scratch of a layer from the most outputs that a run of it gives.
Scratch = Callable[[Stage, int], int]


def portable_scratch(stage: Stage, n_outputs: int) -> int:
    """Bytes in which a kernel in C works: the inputs of four outputs, as int16."""
    if isinstance(stage.layer.layer, MeanPool):
        return 0
    n_bytes = _align(stage.kernel * stage.depth, VECTOR)
    # where steps have no multiple of `VECTOR` bytes, inputs are gathered first
    return 8 * n_bytes + (4 * n_bytes if stage.depth % VECTOR else 0)


def cmsis_nn_scratch(stage: Stage, n_outputs: int) -> int:
    """Bytes that CMSIS-NN needs besides, if it runs the convolutions.

    Four columns of inputs cover every path of its convolutions; multiplier, shift and bias of each
    output are handed to it as int32.
    """
    if isinstance(stage.layer.layer, MeanPool):
        return 0
    columns = 4 * _align(stage.kernel * stage.depth, 16)
    return max(portable_scratch(stage, n_outputs), columns + 12 * stage.n_outputs)


def plan_memory(graph: QuantizedGraph, scratch: Scratch = portable_scratch) -> MemoryPlan:
    """Choose the tiles of a network and place its tensors in the arena.

    Every segment takes as many time steps at a time as fit into what the largest segment needs
    with one of `MIN_TILES`, that with the smallest arena. The largest blocks are placed first,
    each at the lowest offset that no block in use at the same time covers.

    Parameters
    ----------
    graph : QuantizedGraph
        The network.
    scratch : callable, default=portable_scratch
        Bytes that the kernels of the target need.

    Returns
    -------
    MemoryPlan
        Order, offsets and sizes.

    Raises
    ------
    ValueError
        If the layers come in an order that firmware can't run, or the arena leaves 16 bits.
    """
    segments, dense = split(graph)
    n_rows = graph.input_shape[0]
    plans = []
    for least in MIN_TILES:
        tiled = _choose_tiles(segments, dense, n_rows, scratch, least)
        blocks = _place(_blocks(tiled, dense, n_rows, scratch))
        arena_bytes = _align(max(block.offset + block.n_bytes for block in blocks))
        plans.append((arena_bytes, tiled, blocks))
    arena_bytes, tiled, blocks = min(plans, key=lambda plan: plan[0])
    if arena_bytes > MAX_ARENA_BYTES:
        raise ValueError(
            f"plan_memory: the arena takes {arena_bytes} bytes, expected at most "
            f"{MAX_ARENA_BYTES}: choose a shorter window or fewer filters"
        )
    schedule = Schedule(tuple(tiled), tuple(dense), n_rows)
    constants = sum(constant_bytes(layer) for layer in graph.layers)
    return MemoryPlan(schedule, blocks, arena_bytes, constants + SEGMENT_BYTES * len(segments))


def constant_bytes(layer: QuantizedLayer) -> int:
    """Bytes of a layer's tables and record."""
    if layer.products is None:
        return STAGE_BYTES
    if layer.target.bits == 8:
        weights = layer.products.weights
        padding = -int(weights[0].size) % VECTOR  # after the last output
        return weights.size + padding + len(weights) * SCALE_BYTES + STAGE_BYTES
    return layer.products.n_bytes + DENSE_BYTES


def _choose_tiles(
    segments: Sequence[Segment],
    dense: Sequence[QuantizedLayer],
    n_rows: int,
    scratch: Scratch,
    least: int,
) -> list[Segment]:
    """Give each segment the largest tile that needs no more than the most that `least` does."""
    chosen = _tiled(segments, least)
    steps = range(len(segments))
    peak = max(_peak(chosen, dense, n_rows, scratch, index) for index in steps)
    for index, segment in enumerate(segments):
        for tile in (segment.width, *(least * k for k in range(MOST_TILES, 0, -1))):
            tiled = replace(segment, tile=min(tile, segment.width))
            tried = [*chosen[:index], tiled, *chosen[index + 1 :]]
            if _peak(tried, dense, n_rows, scratch, index) <= peak:
                chosen = tried
                break
    return chosen


def _tiled(segments: Sequence[Segment], tile: int) -> list[Segment]:
    return [replace(segment, tile=min(tile, segment.width)) for segment in segments]


def _peak(
    segments: Sequence[Segment],
    dense: Sequence[QuantizedLayer],
    n_rows: int,
    scratch: Scratch,
    index: int,
) -> int:
    """Bytes in use while segment `index` runs."""
    blocks = _blocks(segments, dense, n_rows, scratch)
    return sum(_align(b.n_bytes) for b in blocks if b.first <= index + 1 <= b.last)


def _blocks(
    segments: Sequence[Segment], dense: Sequence[QuantizedLayer], n_rows: int, scratch: Scratch
) -> list[Block]:
    blocks = []
    if not segments[0].per_row:  # a row waits for its samples to be laid between those of others
        blocks.append(Block("row", "input", segments[0].width, 0, 0))
    for step, segment in enumerate(segments, 1):
        first, *inner = segment.stages
        # what the rows are gathered in is written from the first row on
        gathers = not segment.per_row and (step == 1 or segments[step - 2].per_row)
        begin = 0 if gathers and n_rows > 1 else step - 1
        n_bytes = segment.input_steps * first.depth
        blocks.append(Block(first.name, "input", n_bytes, begin, step))
        lines = segment.lines()
        blocks += [Block(s.name, "lines", lines[s.name] * s.depth, step, step) for s in inner]
        most = segment.most_outputs()
        work = max(scratch(stage, most[stage.name]) for stage in segment.stages)
        if work:
            blocks.append(Block(first.name, "scratch", work, step, step))
    for step, layer in enumerate(dense, len(segments) + 1):
        n_bytes = int(np.prod(layer.source_shape)) * layer.source.n_bytes
        blocks.append(Block(layer.name, "input", n_bytes, step - 1, step))
    return blocks


def _place(blocks: list[Block]) -> tuple[Block, ...]:
    placed: dict[int, Block] = {}
    for index in sorted(range(len(blocks)), key=lambda k: (-blocks[k].n_bytes, k)):
        block = blocks[index]
        taken = sorted(
            (other.offset, other.offset + other.n_bytes)
            for other in placed.values()
            if other.meets(block)
        )
        placed[index] = replace(block, offset=_lowest_gap(taken, block.n_bytes))
    return tuple(placed[index] for index in range(len(blocks)))


def _lowest_gap(taken: list[tuple[int, int]], n_bytes: int) -> int:
    """Find the lowest aligned offset at which `n_bytes` fit between sorted intervals."""
    start = 0
    for low, high in taken:
        if start + n_bytes <= low:
            break
        start = max(start, _align(high))
    return start


def _align(offset: int, to: int = ALIGNMENT) -> int:
    return -(-offset // to) * to
