"""Tensors that are in use together do not overlap."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from networks import random_network
from students import SHAPES

from pulsehr.firmware.memory import (
    ALIGNMENT,
    DENSE_BYTES,
    SCALE_BYTES,
    SEGMENT_BYTES,
    STAGE_BYTES,
    MemoryPlan,
    cmsis_nn_scratch,
    plan_memory,
    portable_scratch,
)


def check(plan: MemoryPlan) -> None:
    for one, other in itertools.combinations(plan.blocks, 2):
        apart = (
            one.offset + one.n_bytes <= other.offset or other.offset + other.n_bytes <= one.offset
        )
        assert apart or not one.meets(other), (one, other)
    for block in plan.blocks:
        assert block.offset % ALIGNMENT == 0
        assert block.offset + block.n_bytes <= plan.arena_bytes


@pytest.mark.parametrize("scratch", [portable_scratch, cmsis_nn_scratch])
@pytest.mark.parametrize("shape", SHAPES)
def test_blocks_in_use_together_do_not_overlap(shape, scratch, quantized_student):
    check(plan_memory(quantized_student(*shape), scratch))


@pytest.mark.parametrize("seed", range(50))
def test_blocks_of_random_networks_do_not_overlap(seed):
    check(plan_memory(random_network(seed), cmsis_nn_scratch))


def test_paper_student_takes_these_bytes(quantized_student):
    plan = plan_memory(quantized_student(4, 256))
    assert plan.arena_bytes <= 5632  # all four rows at once would take 32768
    n_outputs = 3 * (16 + 24 + 32) + 32 + 32 + 1
    n_weights = 27_241 - n_outputs
    records = 13 * STAGE_BYTES + 4 * SEGMENT_BYTES + 2 * DENSE_BYTES
    scales = (n_outputs - 33) * SCALE_BYTES + 33 * (4 + 4 + 1)
    padding = 8 - 3  # the kernel reads eight bytes of each output of three taps
    assert plan.constant_bytes == n_weights + padding + scales + records


def test_the_rows_are_gathered_where_nothing_else_is_while_they_run(quantized_student):
    plan = plan_memory(quantized_student(4, 256))
    gathered = next(block for block in plan.blocks if block.name == "conv4")
    assert (gathered.kind, gathered.n_bytes) == ("input", 4 * 8 * 32)
    assert gathered.first == 0


def test_an_arena_beyond_16_bits_is_refused(quantized_student):
    graph = quantized_student(1, 70_000, (1, 1, 1))
    with pytest.raises(ValueError, match=r"arena takes \d+ bytes.*choose a shorter window"):
        plan_memory(graph)


def test_plan_survives_a_pickle(quantized_student):
    plan = plan_memory(quantized_student(1, 16))
    again = pickle.loads(pickle.dumps(plan))
    assert again.blocks == plan.blocks
    assert again.arena_bytes == plan.arena_bytes


def test_a_plan_depends_on_the_network_alone(quantized_student):
    graph = quantized_student(2, 100)
    assert plan_memory(graph).blocks == plan_memory(graph).blocks
    assert np.all([block.n_bytes > 0 for block in plan_memory(graph).blocks])
