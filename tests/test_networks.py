"""The networks are the paper's: parameters, shapes, and the published predictions."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from pulsehr.forms import InteractingNetwork
from pulsehr.networks import (
    LOG_SCALE_BOUNDS,
    DistilledStudent,
    PulseTeacher,
    attend,
    sparse_dropout,
)

PAPERS = {"teacher": PulseTeacher, "student": DistilledStudent}
NETWORKS = {**PAPERS, "interacting": InteractingNetwork}


@pytest.mark.parametrize(("name", "parameters"), [("teacher", 131_825), ("student", 27_241)])
def test_networks_have_as_many_parameters_as_the_papers(name, parameters):
    assert sum(weights.numel() for weights in NETWORKS[name]().parameters()) == parameters


@pytest.mark.parametrize("name", PAPERS)
def test_published_weights_give_the_published_heart_rates(name, reference):
    published = np.load(reference / f"published_{name}_S6.npz")
    windows = torch.from_numpy(np.load(reference / "ppg_dalia_S6_stairs.npz")["normalised"])
    network = NETWORKS[name]().eval()
    expected_bpm, expected_features = published["expected_bpm"], published["expected_features"]
    network.load_state_dict(
        {key: torch.from_numpy(published[key]) for key in published if "expected" not in key}
    )
    with torch.no_grad():
        bpm, features = network(windows)
    assert np.abs(bpm.numpy() - expected_bpm).max() < 1e-3
    error = np.abs(features.numpy() - expected_features)
    assert (error / np.abs(expected_features).max()).max() < 1e-2


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("n_channels", "n_times"), [(1, 256), (4, 256), (2, 100), (4, 17), (3, 1)])
def test_networks_take_any_window(name, n_channels, n_times):
    network = NETWORKS[name](n_channels, n_times, (2, 3, 4))
    bpm, features = network(torch.zeros(5, n_channels, n_times))
    assert bpm.shape == (5,)
    assert features.shape == (5, 32)


def test_one_channel_attends_to_itself():
    torch.manual_seed(0)
    network = PulseTeacher(1, 64, (2, 3, 4)).eval()
    windows = torch.randn(3, 1, 64)
    # the same as a second channel that repeats the first
    torch.testing.assert_close(network(windows), network(windows.repeat(1, 2, 1)))


def test_the_students_channels_never_interact():
    torch.manual_seed(0)
    network = DistilledStudent(4, 64, (2, 3, 4)).eval()
    a, b = torch.randn(2, 6, 4, 64)

    def swapped(*channels):
        windows = a.clone()
        windows[:, list(channels)] = b[:, list(channels)]
        return network(windows)[0]

    # after the shared stack all is linear: effects of channels add, the known weakness of this form
    both = swapped(0, 1) - swapped()
    torch.testing.assert_close(both, swapped(0) + swapped(1) - 2 * swapped(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_forward_is_convolve_and_then_head(name):
    torch.manual_seed(0)
    network = NETWORKS[name](2, 40, (2, 3, 4)).eval()
    windows = torch.randn(5, 2, 40)
    maps = network.convolve(windows)
    assert maps.shape == (5, 4, 2, network.n_pooled(40))
    for found, expected in zip(network.head(maps), network(windows), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_head_runs_in_double_precision_on_maps_of_single_precision(name):
    torch.manual_seed(0)
    network = NETWORKS[name](2, 40, (2, 3, 4)).eval()
    windows = torch.randn(5, 2, 40)
    bpm, _ = network(windows)
    exact, features = copy.deepcopy(network).double().head(network.convolve(windows).double())
    assert exact.dtype == features.dtype == torch.float64
    torch.testing.assert_close(exact.float(), bpm, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(4, 256), (1, 10), (4, 250)])
def test_a_window_gives_the_same_maps_alone_as_among_others(name, shape):
    torch.manual_seed(0)
    network = NETWORKS[name](*shape).eval()
    windows = torch.randn(9, *shape)
    with torch.no_grad():
        together = network.convolve(windows)
        for size in (1, 2, 4):
            parts = torch.cat([network.convolve(part) for part in windows.split(size)])
            assert torch.equal(parts, together), size


@pytest.mark.parametrize("n_times", [1, 16])
def test_a_teacher_of_windows_that_pool_to_one_step_still_sees_them(n_times):
    torch.manual_seed(0)
    network = PulseTeacher(4, n_times, (2, 3, 4)).eval()
    assert isinstance(network.layer_norm, nn.Identity)
    bpm, _ = network(torch.randn(6, 4, n_times))
    assert len(bpm.unique()) == 6


def test_a_teacher_of_longer_windows_has_the_papers_norm():
    assert isinstance(PulseTeacher(4, 17).layer_norm, nn.LayerNorm)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("n_channels", "n_times"), [(4, 256), (1, 33), (2, 1)])
def test_training_and_evaluation_are_the_same_function(name, n_channels, n_times):
    torch.manual_seed(0)
    network = NETWORKS[name](n_channels, n_times, (4, 6, 8), dropout=0)
    windows = torch.randn(6, n_channels, n_times)
    weights = list(network.parameters())
    found, expected = [], []
    for results, training in ((found, True), (expected, False)):
        bpm, features = network.train(training)(windows)
        loss = bpm.square().mean() + features.square().mean()
        results += [bpm, features, *torch.autograd.grad(loss, weights)]
    for values, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(values, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("others", [7, 21])
def test_attention_in_training_is_that_of_the_module(others):
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(6, 2, batch_first=True).double()
    nn.init.normal_(attention.in_proj_bias)
    query = torch.randn(3, 7, 6, dtype=torch.float64)
    keys = torch.randn(3, others, 6, dtype=torch.float64)
    expected, _ = attention(query, keys, keys, need_weights=False)
    torch.testing.assert_close(attend(attention, query, keys), expected)


def test_gradients_of_attention_are_those_of_finite_differences():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(4, 2, batch_first=True).double()
    query = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    keys = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *tokens: attend(attention, *tokens), (query, keys))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(p):
    ones = torch.ones(50, 8, 4, 125)
    maps = sparse_dropout(ones, p, torch.Generator().manual_seed(0))
    kept = maps != 0
    # 200,000 values: the share is within five standard deviations
    assert abs(float(kept.double().mean()) - (1 - p)) < 5 * (p * (1 - p) / ones.numel()) ** 0.5
    torch.testing.assert_close(
        maps[kept], torch.full_like(maps[kept], 1 / (1 - p)), rtol=1e-4, atol=0
    )


def test_dropout_treats_filters_channels_and_times_alike():
    maps = sparse_dropout(torch.ones(500, 5, 3, 7), 0.3, torch.Generator().manual_seed(0)) != 0
    for axes in ((0, 2, 3), (0, 1, 3), (0, 1, 2)):
        shares = maps.double().mean(axes)
        assert (shares - 0.7).abs().max() < 0.02


def test_dropout_passes_the_gradient_of_what_it_kept():
    maps = torch.ones(3, 2, 4, 5, requires_grad=True)
    dropped = sparse_dropout(maps, 0.5, torch.Generator().manual_seed(0))
    dropped.sum().backward()
    assert torch.equal(maps.grad, dropped.detach())


def test_dropout_repeats_with_its_generator_and_else_with_the_seed_of_torch():
    maps = torch.ones(2, 4, 4, 8)
    by_generator = [sparse_dropout(maps, 0.5, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*by_generator)
    by_seed = []
    for _ in range(2):
        torch.manual_seed(3)
        by_seed.append(sparse_dropout(maps, 0.5))
    assert torch.equal(*by_seed)
    assert not torch.equal(by_seed[0], sparse_dropout(maps, 0.5))


@pytest.mark.parametrize("p", [0.0, 0.999999])
def test_extreme_dropout_gives_finite_values(p):
    maps = sparse_dropout(torch.ones(2, 4, 4, 8), p, torch.Generator().manual_seed(0))
    assert torch.isfinite(maps).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_two_outputs_gives_a_bounded_log_scale_too(name):
    network = NETWORKS[name](2, 40, (2, 3, 4), n_outputs=2)
    bpm, features, log_scale = network(1e6 * torch.randn(5, 2, 40))
    assert bpm.shape == log_scale.shape == (5,)
    assert features.shape == (5, 32)
    low, high = LOG_SCALE_BOUNDS
    assert low <= log_scale.min() <= log_scale.max() <= high


@pytest.mark.parametrize("name", NETWORKS)
def test_dropout_is_off_in_evaluation(name):
    torch.manual_seed(0)
    network = NETWORKS[name](2, 40, (2, 3, 4), dropout=0.5)
    windows = torch.randn(4, 2, 40)
    assert torch.equal(network.eval()(windows)[0], network(windows)[0])
    assert not torch.equal(network.train()(windows)[0], network(windows)[0])


@pytest.mark.parametrize("name", PAPERS)
def test_the_names_of_the_weights_are_those_of_published_checkpoints(name, reference):
    published = np.load(reference / f"published_{name}_S6.npz")
    expected = {key: published[key].shape for key in published if "expected" not in key}
    assert {k: tuple(v.shape) for k, v in NETWORKS[name]().state_dict().items()} == expected
