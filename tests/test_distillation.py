"""The losses are the paper's, term by term."""

from __future__ import annotations

import pytest
import torch

from pulsehr._relations import RELATIONS
from pulsehr.distillation import DistillationLoss, LabelLoss

BPM, Y = torch.tensor([70.0, 80.0]), torch.tensor([72.0, 84.0])
TEACHER_BPM = torch.tensor([71.0, 80.0])
ONES = torch.ones(2)


def features(seed, n_windows=20):
    return torch.randn(n_windows, 32, generator=torch.Generator().manual_seed(seed))


def test_label_loss_is_the_mean_absolute_error():
    assert LabelLoss()((BPM, torch.zeros(2, 32)), (Y, ONES)) == 3.0


@pytest.mark.parametrize(
    ("label_weight", "prediction_weight", "expected"),
    [(1.0, 1.0, 3.0), (0.0, 1.0, 0.5), (0.5, 1.0, 1.75), (0.5, 2 / 3, 1.75 * 2 / 3 + 0.0625 / 3)],
)
def test_weights_of_labels_teacher_and_relation(label_weight, prediction_weight, expected):
    loss = DistillationLoss(label_weight, prediction_weight, "softmax", temperature=1.0)
    logs = torch.log(torch.tensor([[3.0, 1.0], [3.0, 1.0]]))
    targets = (Y, ONES, TEACHER_BPM, torch.zeros(2, 2), ONES)
    torch.testing.assert_close(loss((BPM, logs), targets), torch.tensor(expected))


def test_evaluation_judges_the_heart_rate_alone():
    loss = DistillationLoss(0.5, 2 / 3, "softmax", temperature=1.0).eval()
    assert loss((BPM, torch.ones(2, 2)), (Y, ONES, TEACHER_BPM, torch.zeros(2, 2), ONES)) == 3.0


def test_each_window_counts_with_its_weight():
    weights = torch.tensor([1.5, 0.5])
    assert LabelLoss()((BPM, torch.zeros(2, 32)), (Y, weights)) == (1.5 * 2 + 0.5 * 4) / 2
    loss = DistillationLoss(0.0, 1.0, "softmax", temperature=1.0)
    targets = (Y, weights, TEACHER_BPM, torch.zeros(2, 2), ONES)
    assert loss((BPM, torch.ones(2, 2)), targets) == 1.5 * 1 / 2


def test_relations_add_up_with_what_they_are_worth():
    student, teacher = features(0), features(1)
    bpm, ones = torch.full((20,), 80.0), torch.ones(20)
    loss = DistillationLoss(0.5, 0.0, "distance+feature", temperature=1.0)
    expected = sum(
        RELATIONS[name][1] * RELATIONS[name][0](student, teacher, 1.0).mean()
        for name in ("distance", "feature")
    )
    found = loss((bpm, student), (bpm, ones, bpm, teacher, ones))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", RELATIONS)
def test_features_of_altered_heart_rates_do_not_count(name):
    student, teacher = features(0), features(1)
    bpm, ones, counts = torch.full((20,), 80.0), torch.ones(20), torch.ones(20)
    counts[::2] = 0
    loss = DistillationLoss(0.5, 0.0, name, temperature=1.0)
    found = loss((bpm, student), (bpm, ones, bpm, teacher, counts))
    half = loss(
        (bpm[1::2], student[1::2]),
        (bpm[1::2], ones[1::2], bpm[1::2], teacher[1::2], counts[1::2]),
    )
    torch.testing.assert_close(found, half / 2)
    nothing = (bpm, ones, bpm, teacher, torch.zeros(20))
    assert loss((bpm, student), nothing) == 0


def test_the_relation_is_divided_by_the_scale_of_a_laplace_loss():
    student, teacher = features(0), features(1)
    bpm, ones = torch.full((20,), 80.0), torch.ones(20)
    targets = (bpm, ones, bpm, teacher, ones)
    plain = DistillationLoss(0.5, 0.0, "distance", 1.0)((bpm, student), targets)
    loss = DistillationLoss(0.5, 0.0, "distance", 1.0, "laplace")
    scale = torch.tensor(5.0)
    found = loss((bpm, student, scale.log().expand(20)), targets)
    torch.testing.assert_close(found, plain / scale)
