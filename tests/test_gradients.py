"""Gradients of a batch in parts: those of the whole batch, and the same on any number of cores."""

from __future__ import annotations

import pytest
import torch

from pulsehr._gradients import PART, gradients, one_thread_a_part
from pulsehr.distillation import DistillationLoss, LabelLoss
from pulsehr.networks import DistilledStudent, PulseTeacher

NETWORKS = {"teacher": PulseTeacher, "student": DistilledStudent}


def batch(n_windows):
    generator = torch.Generator().manual_seed(0)
    windows = torch.randn(n_windows, 2, 40, generator=generator)
    y = 80 + 20 * torch.randn(n_windows, generator=generator)
    return windows, (y, 2 * torch.rand(n_windows, generator=generator))


@pytest.fixture
def threads():
    """Set the number of torch's threads, for the test alone."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("n_windows", [1, PART, PART + 1, 3 * PART - 5])
def test_parts_give_the_gradients_of_the_whole_batch(name, n_windows):
    torch.manual_seed(0)
    network = NETWORKS[name](2, 40, (4, 6, 8), dropout=0).train()
    windows, targets = batch(n_windows)
    expected = LabelLoss()(network(windows), targets)
    loss, found, _ = gradients(network, LabelLoss(), windows, targets)
    torch.testing.assert_close(loss, expected.detach())
    for values, wanted in zip(
        found, torch.autograd.grad(expected, list(network.parameters())), strict=True
    ):
        torch.testing.assert_close(values, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_the_same_bits_on_any_number_of_threads(name, threads):
    windows, targets = batch(5 * PART)
    found = []
    for count in (1, 2, 3):
        threads(count)
        torch.manual_seed(0)
        network = NETWORKS[name](2, 40, (8, 16, 32), dropout=0.5).train()
        with one_thread_a_part() as run:
            loss, values, _ = gradients(network, LabelLoss(), windows, targets, run)
        found.append(torch.cat([loss.view(1), *(value.flatten() for value in values)]))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_the_seed_of_torch_decides_what_is_dropped():
    network = DistilledStudent(2, 40, (4, 6, 8), dropout=0.5).train()
    losses = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        losses.append(float(gradients(network, LabelLoss(), *batch(PART))[0]))
    assert losses[0] == losses[1] != losses[2]


def test_each_part_drops_its_own_values():
    torch.manual_seed(0)
    network = DistilledStudent(2, 40, (4, 6, 8), dropout=0.5).train()
    outputs = []
    network.register_forward_hook(lambda module, args, output: outputs.append(output[0]))
    windows, targets = batch(PART)
    gradients(network, LabelLoss(), windows.repeat(2, 1, 1), [t.repeat(2) for t in targets])
    assert not torch.equal(*outputs)


def test_the_loss_of_a_distillation_is_that_of_the_batch():
    torch.manual_seed(0)
    network = DistilledStudent(2, 40, (4, 6, 8), dropout=0).train()
    windows, (y, weights) = batch(2 * PART + 3)
    targets = (y, weights, y + 1, torch.randn(len(y), 32), torch.ones(len(y)))
    criterion = DistillationLoss(0.5, 0.6, "softmax", 1.0)
    loss, *_ = gradients(network, criterion, windows, targets)
    torch.testing.assert_close(loss, criterion(network(windows), targets).detach())


def test_torch_has_its_threads_again_afterwards(threads):
    threads(2)
    with one_thread_a_part() as run:
        assert torch.get_num_threads() == 1
        assert list(run(lambda _: torch.get_num_threads(), range(4))) == [1] * 4
    assert torch.get_num_threads() == 2


def test_an_error_in_a_part_reaches_the_caller(threads):
    threads(2)
    windows, targets = batch(2 * PART)
    with (
        pytest.raises(RuntimeError, match="mat1 and mat2 shapes"),
        one_thread_a_part() as run,
    ):
        gradients(DistilledStudent(2, 400), LabelLoss(), windows, targets, run)
    assert torch.get_num_threads() == 2


def test_outputs_are_those_of_the_whole_batch():
    torch.manual_seed(0)
    network = DistilledStudent(2, 40, (4, 6, 8), dropout=0).train()
    windows, targets = batch(2 * PART + 3)
    *_, outputs = gradients(network, LabelLoss(), windows, targets)
    for found, expected in zip(outputs, network(windows), strict=True):
        torch.testing.assert_close(found, expected.detach())
        assert not found.requires_grad
