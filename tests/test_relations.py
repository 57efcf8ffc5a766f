"""Relations between features, worked out by hand, and what they do not depend on."""

from __future__ import annotations

import pytest
import torch

from pulsehr._relations import (
    RELATIONS,
    angle_relation,
    distance_relation,
    feature_relation,
    relations_in,
    softmax_relation,
)

BETWEEN_WINDOWS = pytest.mark.parametrize("relation", [distance_relation, angle_relation])


def features(seed, n_windows=20):
    return torch.randn(n_windows, 32, generator=torch.Generator().manual_seed(seed))


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


def test_distances_by_hand():
    # distances 3, 4, 5, of mean 4, against 1, 1, 2, of mean 4/3
    student = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    teacher = torch.tensor([[1.0, 0.0], [0.0, 0.0], [2.0, 0.0]])
    # pairs 01: 3/4 and 3/4; 02: 1 and 3/4; 12: 5/4 and 6/4; half the square is lost of each
    lost = torch.tensor([[0, 0, 1], [0, 0, 1], [1, 1, 0]]) / 32
    torch.testing.assert_close(distance_relation(student, teacher), lost.sum(1) / 2)


def test_angles_by_hand():
    # a right angle at the first window and twice 45 degrees, against three in a row
    student = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    teacher = torch.tensor([[1.0, 0.0], [0.0, 0.0], [2.0, 0.0]])
    # cosines 0, √½, √½ against -1, 1, 1
    lost = torch.tensor([1.0, 1 - 0.5**0.5, 1 - 0.5**0.5]).square() / 2
    torch.testing.assert_close(angle_relation(student, teacher), lost, rtol=1e-4, atol=1e-5)


def test_features_by_hand():
    # the first agrees whatever its scale; of the second -1, 1 against 1, -1 is left
    student = torch.tensor([[0.0, 1.0], [10.0, 3.0]])
    teacher = torch.tensor([[-0.1, 5.0], [0.1, 1.0]])
    found = feature_relation(student, teacher)
    torch.testing.assert_close(found, torch.tensor([2.0, 2.0]), rtol=1e-4, atol=1e-5)


def test_the_mean_of_the_feature_relation_tells_the_correlation():
    student, teacher = features(0), features(1)
    correlations = torch.stack(
        [torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(student.T, teacher.T, strict=True)]
    )
    expected = 2 - 2 * correlations.mean()
    torch.testing.assert_close(feature_relation(student, teacher).mean(), expected)


@BETWEEN_WINDOWS
def test_relations_between_windows_ignore_rotation_scale_and_offset(relation):
    student, teacher = features(0), features(1)
    rotation, _ = torch.linalg.qr(features(2, 32))
    turned = 7 * student @ rotation + 3
    torch.testing.assert_close(relation(turned, student), torch.zeros(20), atol=1e-6, rtol=0)
    torch.testing.assert_close(relation(turned, teacher), relation(student, teacher))
    assert relation(student, teacher).min() > 1e-3


def test_the_feature_relation_ignores_scale_and_offset_of_each_feature():
    student = features(0)
    scaled = student * torch.linspace(0.5, 5, 32) - 3
    torch.testing.assert_close(
        feature_relation(scaled, student), torch.zeros(20), atol=1e-5, rtol=0
    )
    assert feature_relation(-student, student).mean() == pytest.approx(4, rel=1e-3)


@pytest.mark.parametrize("name", RELATIONS)
@pytest.mark.parametrize("n_windows", [0, 1, 2, 3, 64])
@pytest.mark.parametrize("kind", ["different", "some alike", "all alike"])
def test_relations_and_their_gradients_are_finite(name, n_windows, kind):
    student, teacher = features(0, n_windows), features(1, n_windows)
    if kind == "some alike":
        student[1:3] = student[:1]
        student[:, 5] = 0.0
    elif kind == "all alike":
        student = torch.zeros_like(student)
    student.requires_grad_()
    relation, _ = RELATIONS[name]
    values = relation(student, teacher, 1.0)
    assert values.shape == (n_windows,)
    assert torch.isfinite(values).all()
    if name != "none":
        (gradient,) = torch.autograd.grad(values.sum(), student)
        assert torch.isfinite(gradient).all()
        assert torch.all(gradient.abs() < 1e5)


@pytest.mark.parametrize("name", ["distance", "angle", "feature"])
def test_features_come_nearer_to_those_of_the_teacher(name):
    relation, _ = RELATIONS[name]
    student, teacher = features(0).requires_grad_(), features(1)
    optimizer = torch.optim.Adam([student], lr=0.05)
    losses = []
    for _ in range(50):
        optimizer.zero_grad()
        loss = relation(student, teacher, 1.0).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4


def test_sums_of_relations_have_names():
    assert relations_in("distance+angle") == ["distance", "angle"]
    with pytest.raises(ValueError, match=r"relation must be one of \['softmax', .* got 'distant'"):
        relations_in("distant")
