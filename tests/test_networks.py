"""The networks are the paper's: parameters, shapes, and the published predictions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pulsehr.networks import DistilledStudent, PulseTeacher

NETWORKS = {"teacher": PulseTeacher, "student": DistilledStudent}


@pytest.mark.parametrize(("name", "parameters"), [("teacher", 131_825), ("student", 27_241)])
def test_networks_have_as_many_parameters_as_the_papers(name, parameters):
    assert sum(weights.numel() for weights in NETWORKS[name]().parameters()) == parameters


@pytest.mark.parametrize("name", NETWORKS)
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
