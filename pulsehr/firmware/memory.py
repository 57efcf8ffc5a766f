"""Where every tensor lies in the arena, and how many bytes of flash and RAM a network takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pulsehr.firmware.graph import Conv, Dense, MeanPool
from pulsehr.firmware.quantization import QuantizedGraph, QuantizedLayer

#: Every tensor starts at a multiple of this, which also the arena must.
ALIGNMENT = 4

#: Bytes that 32-bit offsets in C can address.
MAX_ARENA_BYTES = 2**31 - 1

#: Bytes of the record of a layer where int32 and pointers take 4.
RECORD_BYTES: dict[type, int] = {Conv: 72, MeanPool: 20, Dense: 40}


@dataclass(frozen=True)
class MemoryPlan:
    """Where tensors lie and what a network takes.

    Parameters
    ----------
    offsets : mapping of str to int
        First byte in the arena of each layer's output. The window itself and the heart rate
        lie with the caller.
    arena_bytes : int
        RAM that `offsets` need, without window and stack.
    flash_bytes : int
        Constants: weights (1 byte each), biases and multipliers (4), shifts (1) and a record of
        each layer's shape and tables. The code, about 2 kB, is not counted.
    """

    offsets: Mapping[str, int]
    arena_bytes: int
    flash_bytes: int

    def __reduce__(self) -> tuple[type[MemoryPlan], tuple[dict[str, int], int, int]]:
        """Pickle the offsets as a plain dict."""
        return MemoryPlan, (dict(self.offsets), self.arena_bytes, self.flash_bytes)

    def __post_init__(self) -> None:
        """Make the offsets read-only."""
        object.__setattr__(self, "offsets", MappingProxyType(dict(self.offsets)))


def plan_memory(graph: QuantizedGraph) -> MemoryPlan:
    """Place every tensor in the arena.

    The output of a layer lives until the next layer has run. The largest tensors are placed
    first, each at the lowest offset that no tensor alive at the same time covers.

    Parameters
    ----------
    graph : QuantizedGraph
        The network.

    Returns
    -------
    MemoryPlan
        Offsets and sizes.

    Raises
    ------
    ValueError
        If the arena leaves 32 bits.
    """
    inner = graph.layers[:-1]
    placed: dict[int, tuple[int, int]] = {}
    for index in sorted(range(len(inner)), key=lambda i: (-inner[i].target_bytes, i)):
        taken = sorted(placed[i] for i in (index - 1, index + 1) if i in placed)
        start = _lowest_gap(taken, inner[index].target_bytes)
        placed[index] = start, start + inner[index].target_bytes
    # at least one step, as C knows no empty array
    arena_bytes = _align(max((end for _, end in placed.values()), default=1))
    if arena_bytes > MAX_ARENA_BYTES:
        raise ValueError(f"plan_memory: the arena takes {arena_bytes} bytes, beyond 32 bits")
    offsets = {inner[index].name: start for index, (start, _) in sorted(placed.items())}
    return MemoryPlan(offsets, arena_bytes, sum(flash_bytes(layer) for layer in graph.layers))


def flash_bytes(layer: QuantizedLayer) -> int:
    """Bytes of a layer's constants."""
    tables = 0 if layer.products is None else layer.products.n_bytes
    return tables + RECORD_BYTES[type(layer.layer)]


def _lowest_gap(taken: list[tuple[int, int]], n_bytes: int) -> int:
    """Find the lowest aligned offset at which `n_bytes` fit between sorted intervals."""
    start = 0
    for low, high in taken:
        if start + n_bytes <= low:
            break
        start = max(start, _align(high))
    return start


def _align(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT
