"""How features of windows are compared with those of a teacher."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

#: Windows and features that differ by less than this share of what is usual count as alike.
_COINCIDENT = 1e-3

#: The square of a difference that is none: bounds gradients where all windows look alike.
_TINY = 1e-8


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


def distance_relation(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Compare the distances between windows, in their mean, by Huber's loss ([1]_).

    Shifted, turned, mirrored and scaled features are as good.

    Parameters
    ----------
    student, teacher : Tensor of shape (n_windows, n_features)
        Features, as many as each has.
    temperature : float, default=1.0
        Without effect.

    Returns
    -------
    Tensor of shape (n_windows,)
        The mean over the distances from each window; zero for a single one.

    References
    ----------
    .. [1] Park, Kim, Lu, Cho, Relational Knowledge Distillation, CVPR 2019.
    """
    losses = smooth_l1_loss(_distances(student), _distances(teacher), reduction="none")
    return losses.sum(1) / max(1, len(student) - 1)


def angle_relation(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Compare the cosines of the angles between windows by Huber's loss ([1]_).

    Shifted, turned, mirrored and scaled features are as good.

    Parameters
    ----------
    student, teacher : Tensor of shape (n_windows, n_features)
        Features, as many as each has.
    temperature : float, default=1.0
        Without effect.

    Returns
    -------
    Tensor of shape (n_windows,)
        The mean over the angles at each window; zero for fewer than three.

    References
    ----------
    .. [1] Park, Kim, Lu, Cho, Relational Knowledge Distillation, CVPR 2019.
    """
    n = len(student)
    losses = smooth_l1_loss(_cosines(student), _cosines(teacher), reduction="none")
    return losses.sum((1, 2)) / max(1, (n - 1) * (n - 2))


def feature_relation(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Compare features one by one, standardised over the windows, by their squared difference.

    Parameters
    ----------
    student, teacher : Tensor of shape (n_windows, n_features)
        Features, as many as the other's. One that is the same in all windows counts as zero.
    temperature : float, default=1.0
        Without effect.

    Returns
    -------
    Tensor of shape (n_windows,)
        The mean over features; its mean over windows is two less twice the correlation.
    """
    return (_standardised(student) - _standardised(teacher)).square().mean(1)


def no_relation(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return zero (n_windows,) for any features."""
    return student.new_zeros(len(student))


#: How `DistilledStudentRegressor(relation=...)` compares features, and how many bpm one is worth:
#: found by trial, such that each but the paper's is neither inert beside the errors in bpm nor
#: above them; the paper's, at most 0.06 bpm, stays as it was.
RELATIONS: dict[str, tuple[Callable[[Tensor, Tensor, float], Tensor], float]] = {
    "softmax": (softmax_relation, 1.0),
    "distance": (distance_relation, 25.0),
    "angle": (angle_relation, 10.0),
    "feature": (feature_relation, 1.5),
    "none": (no_relation, 0.0),
}


def relations_in(relation: object) -> list[str]:
    """Return the keys of `RELATIONS` in a sum of them such as "distance+angle".

    Raises
    ------
    ValueError
        If there is another one.
    """
    names = relation.split("+") if isinstance(relation, str) else []
    if not names or not RELATIONS.keys() >= {*names}:
        raise ValueError(
            f"relation must be one of {list(RELATIONS)} or a sum such as 'distance+angle', "
            f"got {relation!r}"
        )
    return names


def _distances(features: Tensor) -> Tensor:
    """Return the distances (n, n) between rows (n, n_features), divided by their mean."""
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    pairs = max(1, len(features) * (len(features) - 1))
    return distances / (distances.sum() / pairs).clamp_min(_TINY)


def _cosines(features: Tensor) -> Tensor:
    """Return, for each row (n, n_features), the cosines (n, n) between the ways to two others."""
    ways = features - features[:, None]
    squares = ways.square().sum(2, keepdim=True)
    # keeps the gradient of windows that (almost) coincide finite
    directions = ways / (squares + _COINCIDENT**2 * squares.detach().mean() + _TINY).sqrt()
    return directions @ directions.mT


def _standardised(features: Tensor) -> Tensor:
    """Return the columns of (n, n_features) with mean 0 and standard deviation 1."""
    centred = features - features.mean(0)
    variance = centred.square().mean(0)
    return centred / (variance + _COINCIDENT**2 * variance.detach().mean() + _TINY).sqrt()
