"""The forms of teacher and student by name: the paper's, and others that learn more at their price.

Which one an estimator builds is its parameter ``network``; whether it has a second output, the
logarithm of the scale of a Laplace distribution around the heart rate, follows from ``loss``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from pulsehr.networks import (
    N_FEATURES,
    DistilledStudent,
    PulseTeacher,
    RectifiedConv2d,
    SharedConvolutions,
    split_outputs,
)

#: A step of the last layer's weights moves the heart rate by this many bpm, and the log-scale by 1.
#: Adam steps alike in all weights: in bpm itself they would have far to go.
GAINS = (20.0, 1.0)

#: Width across the modalities per filter of the last block: with the student's filters, what two
#: outputs and a whole number of words leave of the paper's 27,241 parameters.
JOINED_WIDTH = 7 / 8


class RectifiedLinear(nn.Linear):
    """A linear layer and the ReLU after it, initialised as `RectifiedConv2d` is."""

    def reset_parameters(self) -> None:
        """Draw weights with a variance of two over the number of inputs."""
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map and rectify."""
        return torch.relu_(super().forward(x))


class ScaledLinear(nn.Linear):
    """A linear layer whose weights and biases count by a fixed gain of their output.

    Parameters
    ----------
    n_in : int
        Inputs.
    gains : sequence of float, length n_out
        One of each output; stored with the weights.
    """

    gain: Tensor

    def __init__(self, n_in: int, gains: Sequence[float]) -> None:
        super().__init__(n_in, len(gains))
        self.register_buffer("gain", torch.tensor(gains))

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weights (n_out, n_in) and biases (n_out,) of a plain layer that does the same."""
        return self.weight * self.gain[:, None], self.bias * self.gain

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, n_in) to (n, n_out)."""
        return linear(x, *self.folded())


class InteractingNetwork(SharedConvolutions):
    """The paper's student with a ReLU where the modalities meet, and another on the features.

    With more filters it is the better teacher too.

    In the paper's form all is linear after the shared convolutions: the heart rate is a sum of one
    term for each modality, and motion cannot say which part of the PPG to trust.

    Parameters
    ----------
    n_channels, n_times : int
        Shape of a window.
    filters : tuple of 3 int
        Output channels of the blocks.
    dropout : float
        Dropout after each pool.
    n_outputs : {1, 2}
        1: the heart rate. 2: also the logarithm of the scale.
    """

    form = "interacting"

    def __init__(
        self,
        n_channels: int = 4,
        n_times: int = 256,
        filters: tuple[int, int, int] = (16, 24, 32),
        dropout: float = 0.1,
        n_outputs: int = 1,
    ) -> None:
        super().__init__(filters, 3, (2, 3, 4), (4, 4, 2), dropout)
        width = max(1, int(JOINED_WIDTH * filters[-1]))
        self.conv4 = RectifiedConv2d(filters[-1], width, kernel_size=(n_channels, 1))
        self.dense = RectifiedLinear(width * self.n_pooled(n_times), N_FEATURES)
        self.out = ScaledLinear(N_FEATURES, GAINS[:n_outputs])

    def head(self, maps: Tensor) -> tuple[Tensor, ...]:
        """Return what `forward` does of maps (n, filters[2], n_channels, n_pooled)."""
        features = self.dense(self.conv4(maps).flatten(1))
        return split_outputs(self.out(features), features)


Teacher = type[PulseTeacher] | type[InteractingNetwork]
Student = type[DistilledStudent] | type[InteractingNetwork]

#: What ``network`` of `PulseTeacherRegressor` may be.
TEACHERS: dict[str, Teacher] = {form.form: form for form in (PulseTeacher, InteractingNetwork)}

#: What ``network`` of `DistilledStudentRegressor` may be.
STUDENTS: dict[str, Student] = {form.form: form for form in (DistilledStudent, InteractingNetwork)}

#: Outputs of the network that a loss needs.
N_OUTPUTS = {"l1": 1, "laplace": 2}


def chosen(
    estimator: Any, forms: Mapping[str, Teacher] | Mapping[str, Student]
) -> Callable[..., nn.Module]:
    """Return what builds the network of an estimator, by its ``network`` and ``loss``.

    Parameters
    ----------
    estimator : PulseTeacherRegressor or DistilledStudentRegressor
        Holds the parameters; read only.
    forms : mapping of str to type
        `TEACHERS` or `STUDENTS`.

    Returns
    -------
    callable
        Takes n_channels, n_times, filters and dropout.

    Raises
    ------
    ValueError
        If there is no form or no loss of that name.
    """
    for name, known in (("network", forms), ("loss", N_OUTPUTS)):
        value = getattr(estimator, name)
        if not isinstance(value, str) or value not in known:
            raise ValueError(
                f"{type(estimator).__name__}: {name} must be one of {sorted(known)}, got {value!r}"
            )
    return partial(forms[estimator.network], n_outputs=N_OUTPUTS[estimator.loss])
