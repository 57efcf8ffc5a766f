"""The forms beyond the paper's: their price, what they can learn, and how they are chosen."""

from __future__ import annotations

import copy

import pytest
import torch

from pulsehr import DistilledStudentRegressor, PulseTeacherRegressor
from pulsehr.firmware.lowering import lower
from pulsehr.forms import (
    STUDENTS,
    TEACHERS,
    InteractingNetwork,
    ScaledLinear,
    chosen,
)
from pulsehr.networks import DistilledStudent, PulseTeacher


def test_the_student_costs_no_more_than_the_papers():
    network = InteractingNetwork(n_outputs=2)
    assert sum(weights.numel() for weights in network.parameters()) <= 27_241
    graph = lower(network, (4, 256))
    sources = [graph.shapes[name] for name in ("input", *(layer.name for layer in graph.layers))]
    macs = sum(y.n_macs(x) for y, x in zip(graph.layers, sources[:-1], strict=True))
    assert macs <= 3_400_000


def test_channels_interact():
    torch.manual_seed(0)
    network = InteractingNetwork(4, 64, (4, 6, 8)).eval()
    a, b = torch.randn(2, 6, 4, 64)

    def swapped(*channels):
        windows = a.clone()
        windows[:, list(channels)] = b[:, list(channels)]
        return network(windows)[0]

    both, apart = swapped(0, 1) - swapped(), swapped(0) + swapped(1) - 2 * swapped()
    assert (both - apart).abs().max() > 1e-3


def test_a_gain_is_folded_into_weights_and_biases():
    torch.manual_seed(0)
    layer = ScaledLinear(3, (20.0, 1.0))
    weights, biases = layer.folded()
    assert torch.equal(weights[0], 20 * layer.weight[0])
    assert torch.equal(biases, layer.bias * torch.tensor([20.0, 1.0]))
    x = torch.randn(5, 3)
    torch.testing.assert_close(layer(x), x @ weights.T + biases)
    assert copy.deepcopy(layer).double()(x.double()).dtype == torch.float64


def test_forms_are_chosen_by_name():
    assert type(chosen(PulseTeacherRegressor(), TEACHERS)(1, 64, (2, 3, 4), 0.1)) is PulseTeacher
    student = DistilledStudentRegressor(network="interacting", loss="laplace")
    network = chosen(student, STUDENTS)(1, 64, (2, 3, 4), 0.1)
    assert type(network) is InteractingNetwork
    assert len(network.out.bias) == 2
    paper = chosen(DistilledStudentRegressor(), STUDENTS)(1, 64, (2, 3, 4), 0.1)
    assert type(paper) is DistilledStudent


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (
            PulseTeacherRegressor(network="big"),
            r"network must be one of \['interacting', 'paper'\]",
        ),
        (DistilledStudentRegressor(network=3), r"one of \['interacting', 'paper'\], got 3"),
        (
            DistilledStudentRegressor(loss="l2"),
            r"loss must be one of \['l1', 'laplace'\]",
        ),
    ],
)
def test_unknown_forms_and_losses_are_refused(estimator, message):
    with pytest.raises(ValueError, match=message):
        estimator.fit([[1.0, 2.0], [2.0, 1.0]], [60.0, 70.0])
