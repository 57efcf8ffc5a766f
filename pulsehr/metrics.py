"""Errors in bpm, per subject and activity."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_consistent_length


def group_mean_absolute_errors(
    y_true: ArrayLike, y_pred: ArrayLike, groups: ArrayLike
) -> dict[str, float]:
    """Compute the mean absolute error of each subject (or activity).

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_readings,)
        Labels and estimates in bpm.
    groups : array-like of shape (n_readings,)
        Subject or activity of each reading.

    Returns
    -------
    dict of str to float
        Mean absolute error in bpm, in sorted order of the groups.

    Raises
    ------
    ValueError
        If lengths differ or there are no rows.

    Examples
    --------
    >>> from pulsehr.metrics import group_mean_absolute_errors
    >>> group_mean_absolute_errors([60, 70, 80], [61, 73, 80], ["a", "a", "b"])
    {'a': 2.0, 'b': 0.0}
    """
    errors, groups = _errors(y_true, y_pred), np.asarray(groups)
    check_consistent_length(errors, groups)
    return {str(group): float(errors[groups == group].mean()) for group in np.unique(groups)}


def subject_mean_absolute_error(y_true: ArrayLike, y_pred: ArrayLike, groups: ArrayLike) -> float:
    """Average the mean absolute errors of the subjects, each counting the same.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_readings,)
        Labels and estimates in bpm.
    groups : array-like of shape (n_readings,)
        Subject of each reading.

    Returns
    -------
    float
        Mean of subjects' mean absolute error in bpm.

    Examples
    --------
    >>> from pulsehr.metrics import subject_mean_absolute_error
    >>> subject_mean_absolute_error([60, 70, 80], [61, 73, 80], ["a", "a", "b"])
    1.0
    """
    return float(np.mean(list(group_mean_absolute_errors(y_true, y_pred, groups).values())))


def _errors(y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.float64]:
    check_consistent_length(y_true, y_pred)
    errors = np.abs(np.asarray(y_true, dtype=np.float64) - np.asarray(y_pred, dtype=np.float64))
    if errors.ndim != 1 or len(errors) == 0:
        raise ValueError(f"metrics: expected 1-D, non-empty heart rates, got shape {errors.shape}")
    return errors
