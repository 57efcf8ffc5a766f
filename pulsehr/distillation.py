"""The losses by which a network learns from labels, and a student from its teacher."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss


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
    Tensor of shape ()
        The mean squared difference, at most ``2 / n_features``.
    """
    return mse_loss(
        torch.softmax(student / temperature, dim=1), torch.softmax(teacher / temperature, dim=1)
    )


#: How `DistilledStudentRegressor(relation=...)` compares features.
RELATIONS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"softmax": softmax_relation}


class LabelLoss(nn.Module):
    """The mean absolute error in bpm."""

    def forward(self, output: tuple[Tensor, Tensor], targets: tuple[Tensor, ...]) -> Tensor:
        """Compare the network's bpm (n,) with the labels (n,)."""
        return l1_loss(output[0], targets[0])


class DistillationLoss(nn.Module):
    """The paper's loss: labels and teacher by L1 in bpm, features by a relation.

    ``g * (b * L1(student, y) + (1 - b) * L1(student, teacher)) + (1 - g) * relation`` in
    training; in evaluation the mean absolute error against the labels alone, so that early
    stopping judges the heart rate.

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
        """Compare bpm (n,) and features (n, 32) with labels, teacher's bpm and features."""
        bpm, features = output
        y, teacher_bpm, teacher_features = targets
        if not self.training:
            return l1_loss(bpm, y)
        b, g = self.label_weight, self.prediction_weight
        prediction = b * l1_loss(bpm, y) + (1 - b) * l1_loss(bpm, teacher_bpm)
        relation = self.relation(features, teacher_features, self.temperature)
        return g * prediction + (1 - g) * relation
