"""torch = Graph."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from students import SHAPES, random_student, random_windows
from torch import nn

from pulsehr.firmware.lowering import lower
from pulsehr.networks import DistilledStudent, PulseTeacher


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("filters", [(16, 24, 32), (3, 1, 5)])
def test_graph_equals_torch(shape, filters):
    network = random_student(*shape, filters)
    windows = random_windows(20, shape)
    with torch.no_grad():
        expected, features = network(torch.from_numpy(windows))
    graph = lower(network, shape)
    np.testing.assert_allclose(graph.run(windows), expected.numpy(), rtol=1e-5, atol=1e-4)
    tensors = dict(graph.outputs(windows))
    np.testing.assert_allclose(
        tensors["dense"].reshape(20, -1), features.numpy(), rtol=1e-5, atol=1e-4
    )


def test_every_layer_equals_torch():
    network = random_student(2, 50)
    windows = random_windows(3, (2, 50))
    expected: dict[str, np.ndarray] = {}
    for name, module in network.named_children():
        module.register_forward_hook(
            lambda _, __, y, name=name: expected.__setitem__(name, y.numpy().copy())
        )
    with torch.no_grad():
        network(torch.from_numpy(windows))
    for name, tensor in lower(network, (2, 50)).outputs(windows):
        if name in expected and tensor.shape[1:3] != (1, 1):
            features_first = tensor.transpose(0, 3, 1, 2)
            np.testing.assert_allclose(features_first, expected[name], rtol=1e-5, atol=1e-5)


def test_published_weights_give_the_published_heart_rates(published):
    np.testing.assert_allclose(
        published.graph.run(published.windows), published.expected_bpm, atol=1e-3
    )


def test_layers_keep_their_names():
    names = [layer.name for layer in lower(random_student(4, 256), (4, 256)).layers]
    block = ("conv{}1", "conv{}2", "conv{}3", "pool{}")
    blocks = [name.format(number) for number in (1, 2, 3) for name in block]
    assert names == [*blocks, "conv4", "dense", "out"]


def test_a_network_in_training_mode_lowers_without_dropout():
    network = random_student(1, 16)
    windows = random_windows(5, (1, 16))
    expected = lower(network, (1, 16)).run(windows)
    np.testing.assert_array_equal(lower(network.train(), (1, 16)).run(windows), expected)


def test_missing_bias_is_zero():
    network = random_student(1, 16)
    network.out.bias = None
    assert lower(network, (1, 16)).layers[-1].bias.tolist() == [0]


def test_graph_does_not_follow_the_network():
    network = random_student(1, 16)
    graph = lower(network, (1, 16))
    before = graph.run(random_windows(2, (1, 16)))
    with torch.no_grad():
        for values in network.parameters():
            values.zero_()
    np.testing.assert_array_equal(graph.run(random_windows(2, (1, 16))), before)


def test_a_teacher_is_refused():
    with pytest.raises(TypeError, match=r"PulseTeacher cannot become firmware.*distil a student"):
        lower(PulseTeacher(), (4, 256))


def test_an_unknown_layer_is_named():
    network = DistilledStudent()
    network.norm = nn.LayerNorm(3)
    with pytest.raises(TypeError, match="layer 'norm' of type LayerNorm cannot become firmware"):
        lower(network, (4, 256))


def test_another_window_length_is_refused():
    with pytest.raises(ValueError, match="layer 'dense' takes 256 inputs"):
        lower(DistilledStudent(), (4, 100))


def test_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="layer 'dense' takes 256 inputs"):
        lower(DistilledStudent(), (5, 256))
