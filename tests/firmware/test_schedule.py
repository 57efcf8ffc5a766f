"""How a network is cut into segments, and how many steps its layers hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from networks import random_network

from pulsehr.firmware.graph import Conv, Dense, Graph, MeanPool, measure_ranges
from pulsehr.firmware.quantization import QuantizedGraph, quantize
from pulsehr.firmware.schedule import MAX_STAGES, split


def quantized(n_rows: int, n_times: int, *layers: Conv | MeanPool) -> QuantizedGraph:
    shape = (n_rows, n_times, 1)
    for layer in layers:
        shape = layer.output_shape(shape)
    dense = Dense("dense", np.ones((2, int(np.prod(shape)))), np.zeros(2))
    out = Dense("out", np.ones((1, 2)), np.zeros(1))
    graph = Graph((n_rows, n_times), (*layers, dense, out))
    windows = np.random.default_rng(0).normal(size=(5, n_rows, n_times))
    return quantize(graph, measure_ranges(graph, windows))


def conv(name: str, n_out: int, n_in: int, width: int = 3, height: int = 1, **geometry) -> Conv:
    weights = np.random.default_rng(1).normal(size=(n_out, height, width, n_in))
    return Conv(name, weights, np.zeros(n_out), **geometry)


def test_the_paper_student_has_three_segments_for_each_row_and_one_for_all(quantized_student):
    segments, dense = split(quantized_student(4, 256))
    assert [segment.name for segment in segments] == [
        "conv11 to pool1",
        "conv21 to pool2",
        "conv31 to pool3",
        "conv4",
    ]
    assert [segment.per_row for segment in segments] == [True, True, True, False]
    assert [segment.stages[0].depth for segment in segments] == [1, 16, 24, 4 * 32]
    assert [layer.name for layer in dense] == ["dense", "out"]


def test_steps_held_by_hand():
    graph = quantized(1, 8, conv("a", 2, 1, padding=1), conv("b", 2, 2, dilation=2, padding=2))
    (segment,), _ = split(graph)
    tiled = replace(segment, tile=4)
    # a: 1 + 4 held gives 3; then 2 left + 4 + 1 of padding gives 5. b: 2 + 3 gives 1 and keeps 4;
    # then 4 + 5 + 2 of padding gives 7
    assert [(stage.name, held, n) for stage, held, n in tiled.passes()] == [
        ("a", 5, 3),
        ("b", 5, 1),
        ("a", 7, 5),
        ("b", 11, 7),
    ]
    assert tiled.lines() == {"b": 11}
    assert tiled.most_outputs() == {"a": 5, "b": 7}


def test_the_last_group_of_a_pool_may_be_short():
    graph = quantized(1, 7, conv("a", 2, 1, padding=1), MeanPool("pool", 4))
    (segment,), _ = split(graph)
    passes = list(replace(segment, tile=4).passes())
    assert [n for stage, _, n in passes if stage.name == "pool"] == [0, 2]


@pytest.mark.parametrize("tile", [1, 2, 3, 5, 8, 100])
@pytest.mark.parametrize("seed", range(30))
def test_any_tile_gives_all_outputs(seed, tile):
    segments, _ = split(random_network(seed))
    for segment in segments:
        total = dict.fromkeys((stage.name for stage in segment.stages), 0)
        for stage, _, n in replace(segment, tile=tile).passes():
            total[stage.name] += n
        for stage in segment.stages:
            assert total[stage.name] == stage.layer.target_shape[1]


def test_many_layers_without_a_pool_are_cut():
    layers = [conv("a", 2, 1, padding=1)]
    layers += [conv(f"b{k}", 2, 2, padding=1) for k in range(MAX_STAGES)]
    segments, _ = split(quantized(1, 8, *layers))
    assert [len(segment.stages) for segment in segments] == [MAX_STAGES, 1]


def test_rows_that_never_meet_are_refused():
    with pytest.raises(ValueError, match=r"lets the 2 rows meet; expected a convolution"):
        split(quantized(2, 8, conv("a", 2, 1, padding=1)))


def test_a_kernel_over_some_rows_is_refused():
    graph = quantized(3, 8, conv("a", 2, 1, height=2), conv("b", 2, 2, height=2))
    with pytest.raises(ValueError, match=r"kernel of layer 'a' spans 2 of 3 rows, expected 1 or"):
        split(graph)


def test_rows_may_meet_at_once():
    (segment,), _ = split(quantized(2, 8, conv("a", 2, 1, height=2)))
    assert not segment.per_row
    assert segment.stages[0].depth == 2


def test_steps_that_are_skipped_are_refused():
    with pytest.raises(ValueError, match=r"layer 'a' has stride 4, beyond the 3 time steps"):
        split(quantized(1, 9, conv("a", 2, 1, stride=4)))


def test_a_network_without_convolution_is_refused():
    with pytest.raises(ValueError, match="the first layer 'dense' is dense"):
        split(quantized(1, 8))
