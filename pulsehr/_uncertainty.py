"""How far a heart rate may be off: the standard deviation from what a network learnt of its errors.

A network with ``loss="laplace"`` gives the scale b (bpm) of a Laplace distribution around each
heart rate. On the rows that it learns from it errs less than elsewhere, so that b is then
multiplied by a factor that fits the errors on held-out rows: the mean of the absolute error over b,
which maximises their likelihood. The standard deviation of a Laplace distribution is the root of 2
times its scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pulsehr._inference import fitted_outputs, run_network
from pulsehr._validation import TrainingRows
from pulsehr.networks import STD_OF_LAPLACE

FloatArray = NDArray[np.float64]

#: Least factor on the scale, where a network meets its rows exactly.
LEAST_STD_SCALE = 2.0**-10


def std_scale(network: nn.Module, rows: TrainingRows, watched: NDArray[np.intp]) -> float | None:
    """Return the factor by which the scales of a network fit its errors on some rows.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode.
    rows : TrainingRows
        All rows of `fit`.
    watched : ndarray of int
        Those of them that count: held out, if there are such.

    Returns
    -------
    float or None
        The weighted mean of the absolute error over the scale; None if the network has no scales.
    """
    if n_outputs(network) == 1:
        return None
    bpm, _, log_scale = run_network(network, rows.windows, watched)
    relative = np.abs(bpm - rows.y[watched]) * np.exp(-log_scale)
    return max(float(np.average(relative, weights=rows.weights[watched])), LEAST_STD_SCALE)


def predicted(
    estimator: Any, X: Any, return_std: bool
) -> FloatArray | tuple[FloatArray, FloatArray]:
    """Return the heart rates (n_windows,) of a fitted estimator and, if wanted, their std (bpm).

    Raises
    ------
    ValueError
        If the std is wanted and the estimator was not fitted to give it.
    """
    bpm, _, *scales = fitted_outputs(estimator, X)
    if not return_std:
        return bpm
    if not scales:
        raise no_std(estimator)
    return bpm, STD_OF_LAPLACE * estimator.std_scale_ * np.exp(scales[0])


def no_std(estimator: Any) -> ValueError:
    """Return the error that says how an estimator comes to have a std."""
    return ValueError(
        f"{type(estimator).__name__}: return_std=True needs a network that learnt its errors, got "
        f"one fitted with loss='l1': fit it with loss='laplace'"
    )


def n_outputs(network: Any) -> int:
    """Count the outputs of a network beside its features: 2 if it gives scales."""
    return len(network.out.bias)
