"""The losses by which a network learns from labels, and a student from its teacher."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pulsehr._relations import RELATIONS, relations_in


def absolute_errors(output: tuple[Tensor, ...], bpm: Tensor) -> Tensor:
    """Return how far the network's heart rates are from others (n,), in bpm."""
    return (output[0] - bpm).abs()


def laplace_errors(output: tuple[Tensor, ...], bpm: Tensor) -> Tensor:
    """Return how unlikely heart rates (n,) are to a Laplace distribution around the network's.

    The negative logarithm of its density ``exp(-|error| / b) / (2 b)``, but for a constant; the
    network's third output is the logarithm of b.
    """
    log_scale = output[2]
    return absolute_errors(output, bpm) * torch.exp(-log_scale) + log_scale


#: What ``loss`` of the estimators may be: how each window's output is compared with a heart rate.
ERRORS: dict[str, Callable[[tuple[Tensor, ...], Tensor], Tensor]] = {
    "l1": absolute_errors,
    "laplace": laplace_errors,
}


class LabelLoss(nn.Module):
    """The mean over windows, each with its weight, of how far the network is from the labels.

    In evaluation always the mean absolute error in bpm, so that early stopping judges the heart
    rate.

    Parameters
    ----------
    loss : str, default="l1"
        A key of `ERRORS`, which training takes.
    """

    def __init__(self, loss: str = "l1") -> None:
        super().__init__()
        self.errors = ERRORS[loss]

    def forward(self, output: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Tensor:
        """Compare the network's output with the labels (n,); weights (n,) come second."""
        y, weights = targets[:2]
        errors = self.errors if self.training else absolute_errors
        return (weights * errors(output, y)).mean()


class DistillationLoss(nn.Module):
    """The paper's loss: labels and teacher by L1 in bpm, features by a relation.

    ``g * (b * L1(student, y) + (1 - b) * L1(student, teacher)) + (1 - g) * relation`` in
    training; in evaluation the mean absolute error against the labels alone, so that early
    stopping judges the heart rate. Each window counts with its weight. Relations between
    windows are those within the windows that come together: the parts of a batch.

    With ``loss="laplace"`` both L1 are the negative log-likelihood of a Laplace distribution, whose
    scale learns from the labels alone; the relation is divided by the scale, as the errors are.

    Parameters
    ----------
    label_weight : float
        The ``b`` of [1]_, from 0 to 1.
    prediction_weight : float
        The ``g`` of [1]_, from 0 to 1.
    relation : str
        A key of `RELATIONS`, or several with "+" between them, which add up.
    temperature : float
        Of the softmax.
    loss : str, default="l1"
        A key of `ERRORS`.

    References
    ----------
    .. [1] Kasnesis et al., Replacing Attention with Modality-wise Convolution for
       Energy-Efficient PPG-based Heart Rate Estimation using Knowledge Distillation, 2025.
    """

    def __init__(
        self,
        label_weight: float,
        prediction_weight: float,
        relation: str,
        temperature: float,
        loss: str = "l1",
    ) -> None:
        super().__init__()
        self.label_weight = label_weight
        self.prediction_weight = prediction_weight
        self.relations = [RELATIONS[name] for name in relations_in(relation)]
        self.temperature = temperature
        self.errors = ERRORS[loss]

    def forward(self, output: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Tensor:
        """Compare the network's output with what labels and teacher say.

        Targets are labels (n,), weights (n,), the teacher's bpm (n,) and features (n, 32), and
        whether these count (n,), 1 or 0: they do not where the window was altered to show another
        heart rate than the teacher saw.
        """
        y, weights, teacher_bpm, teacher_features, counts = targets
        if not self.training:
            return (weights * absolute_errors(output, y)).mean()
        b, g = self.label_weight, self.prediction_weight
        bpm, features, *log_scale = output
        as_given = (bpm, features, *(scale.detach() for scale in log_scale))
        prediction = b * self.errors(output, y) + (1 - b) * self.errors(as_given, teacher_bpm)
        shown = counts > 0
        relation = torch.zeros_like(bpm)
        for compare, worth in self.relations:
            found = compare(features[shown], teacher_features[shown], self.temperature)
            relation[shown] = relation[shown] + worth * found
        # in the unit of the errors
        for scale in as_given[2:]:
            relation = relation * torch.exp(-scale)
        return (weights * (g * prediction + (1 - g) * relation)).mean()
