"""The losses by which a network learns from labels, and a student from its teacher."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def softmax_relation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Compare features by the squared difference of their softmax.

    Parameters
    ----------
    student, teacher : Tensor of shape (n_windows, n_features)
        Features.
    temperature : float
        Divides the features before the softmax.

    Returns
    -------
    Tensor of shape (n_windows,)
        The mean squared difference of each window, at most ``2 / n_features``.
    """
    difference = torch.softmax(student / temperature, dim=1) - torch.softmax(
        teacher / temperature, dim=1
    )
    return difference.square().mean(dim=1)


#: How `DistilledStudentRegressor(relation=...)` compares features.
RELATIONS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"softmax": softmax_relation}


class LabelLoss(nn.Module):
    """The mean absolute error in bpm, each window with its weight."""

    def forward(self, output: tuple[Tensor, Tensor], targets: tuple[Tensor, ...]) -> Tensor:
        """Compare the network's bpm (n,) with the labels (n,); weights (n,) come second."""
        y, weights = targets[:2]
        return (weights * (output[0] - y).abs()).mean()


class DistillationLoss(nn.Module):
    """The paper's loss: labels and teacher by L1 in bpm, features by a relation.

    ``g * (b * L1(student, y) + (1 - b) * L1(student, teacher)) + (1 - g) * relation`` in
    training; in evaluation the mean absolute error against the labels alone, so that early
    stopping judges the heart rate. Each window counts with its weight.

    Parameters
    ----------
    label_weight : float
        The ``b`` of [1]_, from 0 to 1.
    prediction_weight : float
        The ``g`` of [1]_, from 0 to 1.
    relation : str
        A key of `RELATIONS`.
    temperature : float
        Of the relation.

    References
    ----------
    .. [1] Kasnesis et al., Replacing Attention with Modality-wise Convolution for
       Energy-Efficient PPG-based Heart Rate Estimation using Knowledge Distillation, 2025.
    """

    def __init__(
        self, label_weight: float, prediction_weight: float, relation: str, temperature: float
    ) -> None:
        super().__init__()
        self.label_weight = label_weight
        self.prediction_weight = prediction_weight
        self.relation = RELATIONS[relation]
        self.temperature = temperature

    def forward(self, output: tuple[Tensor, Tensor], targets: tuple[Tensor, ...]) -> Tensor:
        """Compare bpm (n,) and features (n, 32) with what labels and teacher say.

        Targets are labels (n,), weights (n,), the teacher's bpm (n,) and features (n, 32).
        """
        bpm, features = output
        y, weights, teacher_bpm, teacher_features = targets
        error = (bpm - y).abs()
        if not self.training:
            return (weights * error).mean()
        b, g = self.label_weight, self.prediction_weight
        prediction = b * error + (1 - b) * (bpm - teacher_bpm).abs()
        relation = self.relation(features, teacher_features, self.temperature)
        return (weights * (g * prediction + (1 - g) * relation)).mean()
