"""The losses are the paper's, term by term."""

from __future__ import annotations

import pytest
import torch

from pulsehr.distillation import DistillationLoss, LabelLoss, softmax_relation

BPM, Y = torch.tensor([70.0, 80.0]), torch.tensor([72.0, 84.0])
TEACHER_BPM = torch.tensor([71.0, 80.0])
ONES = torch.ones(2)


def test_label_loss_is_the_mean_absolute_error():
    assert LabelLoss()((BPM, torch.zeros(2, 32)), (Y, ONES)) == 3.0


def test_softmax_relation_by_hand():
    # softmax([log 3, 0]) = [3/4, 1/4] against [1/2, 1/2]: mean of 1/16 and 1/16
    student = torch.log(torch.tensor([[3.0, 1.0]]))
    torch.testing.assert_close(
        softmax_relation(student, torch.zeros(1, 2), 1.0), torch.tensor([1 / 16])
    )
    # temperature 2: softmax([log 9, 0] / 2) is the same
    torch.testing.assert_close(
        softmax_relation(2 * student, torch.zeros(1, 2), 2.0), torch.tensor([1 / 16])
    )


@pytest.mark.parametrize(
    ("label_weight", "prediction_weight", "expected"),
    [(1.0, 1.0, 3.0), (0.0, 1.0, 0.5), (0.5, 1.0, 1.75), (0.5, 2 / 3, 1.75 * 2 / 3 + 0.0625 / 3)],
)
def test_weights_of_labels_teacher_and_relation(label_weight, prediction_weight, expected):
    loss = DistillationLoss(label_weight, prediction_weight, "softmax", temperature=1.0)
    features = torch.log(torch.tensor([[3.0, 1.0], [3.0, 1.0]]))
    targets = (Y, ONES, TEACHER_BPM, torch.zeros(2, 2))
    torch.testing.assert_close(loss((BPM, features), targets), torch.tensor(expected))


def test_evaluation_judges_the_heart_rate_alone():
    loss = DistillationLoss(0.5, 2 / 3, "softmax", temperature=1.0).eval()
    assert loss((BPM, torch.ones(2, 2)), (Y, ONES, TEACHER_BPM, torch.zeros(2, 2))) == 3.0


def test_each_window_counts_with_its_weight():
    weights = torch.tensor([1.5, 0.5])
    assert LabelLoss()((BPM, torch.zeros(2, 32)), (Y, weights)) == (1.5 * 2 + 0.5 * 4) / 2
    loss = DistillationLoss(0.0, 1.0, "softmax", temperature=1.0)
    targets = (Y, weights, TEACHER_BPM, torch.zeros(2, 2))
    assert loss((BPM, torch.ones(2, 2)), targets) == 1.5 * 1 / 2
