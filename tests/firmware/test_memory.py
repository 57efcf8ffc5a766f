"""Tensors that live together do not overlap."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from students import SHAPES

from pulsehr.firmware.graph import Dense, Graph
from pulsehr.firmware.memory import ALIGNMENT, flash_bytes, plan_memory
from pulsehr.firmware.quantization import quantize


@pytest.mark.parametrize("shape", SHAPES)
def test_neighbours_do_not_overlap_and_all_fit(shape, quantized_student):
    graph = quantized_student(*shape)
    plan = plan_memory(graph)
    places = [
        (plan.offsets[layer.name], plan.offsets[layer.name] + layer.target_bytes)
        for layer in graph.layers[:-1]
    ]
    for (start, end), (next_start, next_end) in itertools.pairwise(places):
        assert end <= next_start or next_end <= start
    assert all(start % ALIGNMENT == 0 and end <= plan.arena_bytes for start, end in places)


@pytest.mark.parametrize("shape", SHAPES)
def test_arena_is_the_largest_pair_of_neighbours(shape, quantized_student):
    graph = quantized_student(*shape)
    sizes = [-(-layer.target_bytes // ALIGNMENT) * ALIGNMENT for layer in graph.layers[:-1]]
    assert plan_memory(graph).arena_bytes == max(map(sum, itertools.pairwise(sizes)))


def test_paper_student_takes_these_bytes(quantized_student):
    plan = plan_memory(quantized_student(4, 256))
    assert plan.arena_bytes == 2 * 16 * 4 * 256
    n_outputs = 3 * (16 + 24 + 32) + 32 + 32 + 1
    n_weights = 27_241 - n_outputs
    records = 10 * 72 + 3 * 20 + 2 * 40
    assert plan.flash_bytes == n_weights + n_outputs * (4 + 4 + 1) + records


def test_flash_is_the_sum_of_the_layers(quantized_student):
    graph = quantized_student(2, 100)
    assert plan_memory(graph).flash_bytes == sum(flash_bytes(layer) for layer in graph.layers)


def test_arena_is_never_empty():
    graph = Graph((1, 1), (Dense("out", np.ones((1, 1)), np.zeros(1)),))
    plan = plan_memory(quantize(graph, {"input": (0.0, 1.0)}))
    assert (dict(plan.offsets), plan.arena_bytes) == ({}, ALIGNMENT)


def test_plan_survives_a_pickle(quantized_student):
    plan = plan_memory(quantized_student(1, 16))
    assert pickle.loads(pickle.dumps(plan)) == plan
