"""Random small networks in integers, as awkward as quantization can make them."""

from __future__ import annotations

from functools import cache

import numpy as np

from pulsehr.firmware.graph import Conv, Dense, Graph, Layer, MeanPool, Shape, measure_ranges
from pulsehr.firmware.integer import run
from pulsehr.firmware.quantization import QuantizedGraph, quantize

#: Windows of a network that are compared.
N_WINDOWS = 5


@cache
def random_network(seed: int) -> QuantizedGraph:
    """Draw a network that can be quantized and tells most of its windows apart."""
    rng = np.random.default_rng(seed)
    while True:
        try:
            graph = _draw(rng)
        except ValueError:  # sums beyond 32 bits: an output much finer than its weights
            continue
        if len(set(run(graph, random_windows_of(graph, seed)).tolist())) > 2:
            return graph


def random_windows_of(graph: QuantizedGraph, seed: int) -> np.ndarray:
    """Windows at both rails, alternating, and at random."""
    n_rows, n_times = graph.input_shape
    rng = np.random.default_rng(seed)
    windows = rng.integers(-128, 128, (N_WINDOWS, n_rows, n_times)).astype(np.int8)
    windows[0], windows[1] = -128, 127
    windows[2] = np.where(np.arange(n_times) % 2, 127, -128)
    return windows


def _draw(rng: np.random.Generator) -> QuantizedGraph:
    """Draw shapes, dilations, paddings, strides, pools, zero points and saturating weights."""
    n_rows, n_times = int(rng.integers(1, 5)), int(rng.integers(12, 60))
    layers: list[Layer] = []
    shape: Shape = (n_rows, n_times, 1)

    def add(layer: Layer) -> None:
        nonlocal shape
        layers.append(layer)
        shape = layer.output_shape(shape)

    def convolve(height: int = 1) -> None:
        width = min(int(rng.integers(1, 6)), shape[1])
        most = (shape[1] - 1) // max(width - 1, 1)
        dilation = min(int(rng.integers(1, 5)), max(most, 1))
        reach = (width - 1) * dilation + 1
        n_out = int(rng.choice([1, 2, 3, 4, 7, 8, 16]))
        weights = rng.normal(size=(n_out, height, width, shape[2])) / np.sqrt(width * shape[2])
        if rng.random() < 0.2:  # one weight of each output dwarfs the others
            weights[..., 0] *= 1000
        if rng.random() < 0.2:  # a dead output
            weights[0] *= rng.choice([0.0, 1e-12])
        add(
            Conv(
                f"conv{len(layers)}",
                weights.astype(np.float32),
                rng.normal(size=n_out).astype(np.float32),
                dilation=dilation,
                padding=int(rng.integers(0, reach + 2)),
                relu=bool(rng.random() < 0.6),
                stride=int(rng.integers(1, min(reach, 3) + 1)),
            )
        )

    meets_at_once = n_rows > 1 and rng.random() < 0.2
    if meets_at_once:
        convolve(height=n_rows)
    else:
        convolve()
    for _ in range(int(rng.integers(0, 4))):
        if rng.random() < 0.3:
            add(MeanPool(f"pool{len(layers)}", int(rng.integers(1, 6))))
        else:
            convolve()
    if n_rows > 1 and not meets_at_once:
        convolve(height=n_rows)
    if rng.random() < 0.3:
        convolve()
    n_inputs = int(np.prod(shape))
    n_features = int(rng.integers(1, 9))
    dense = rng.normal(size=(n_features, n_inputs)) / np.sqrt(n_inputs)
    layers.append(Dense("dense", dense.astype(np.float32), np.zeros(n_features, np.float32)))
    windows = rng.normal(size=(20, n_rows, n_times))
    out = np.ones((1, n_features), np.float32)
    graph = Graph((n_rows, n_times), (*layers, Dense("out", out, np.zeros(1, np.float32))))
    low, high = measure_ranges(graph, windows)["dense"]
    out = 30 * rng.normal(size=out.shape) / max(-low, high, 1e-6)
    layers.append(Dense("out", out.astype(np.float32), np.array([90.0], np.float32)))
    graph = Graph((n_rows, n_times), tuple(layers))
    return quantize(graph, _awkward(measure_ranges(graph, windows), rng))


def _awkward(
    ranges: dict[str, tuple[float, float]], rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """Make ranges narrow, so that outputs saturate, or one-sided: zero points at both ends."""
    changed = dict(ranges)
    for name, (low, high) in ranges.items():
        kind = rng.integers(0, 8)
        if kind == 0:
            changed[name] = low / 8, high / 8
        elif kind == 1 and low < 0 < high:
            changed[name] = 0.0, high
        elif kind == 2 and low < 0:
            changed[name] = low, 0.0
        elif kind == 3:  # a zero point inside, with or without a ReLU
            changed[name] = -abs(high) / 3, abs(high)
    return changed
