"""Errors in bpm, per subject and activity, and scorers for scikit-learn's model selection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn.metrics
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_consistent_length

from pulsehr._rows import readings_in
from pulsehr.tracking import causal_clip_readings

#: A heart rate this close (bpm) to the label counts as right.
CLOSE = 5.0


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


def share_within(y_true: ArrayLike, y_pred: ArrayLike, limit: float = CLOSE) -> float:
    """Compute the share of heart rates that are close to their labels.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_readings,)
        Labels and estimates in bpm.
    limit : float, default=5.0
        The largest error in bpm that counts as close.

    Returns
    -------
    float
        From 0 to 1.

    Examples
    --------
    >>> from pulsehr.metrics import share_within
    >>> share_within([60, 70, 80, 90], [61, 75, 86, 60])
    0.5
    """
    return float((_errors(y_true, y_pred) <= limit).mean())


def get_scorer(name: str) -> Callable[[Any, Any, Any], float]:
    """Return a scorer by name, for the `scoring` of scikit-learn's functions.

    Greater is better, so that errors are negative. "neg_subject_mean_absolute_error" is minus the
    mean of the subjects' mean absolute errors, "neg_post_processed_mean_absolute_error" the same
    after `pulsehr.tracking.causal_clip` of each recording, both in bpm, and
    "share_within_5_bpm" the share of rows with an error of at most 5 bpm. The first
    two take readings as X, which say subject and time.

    Parameters
    ----------
    name : str
        One of `SCORERS`, or a name that scikit-learn itself knows.

    Returns
    -------
    callable
        ``scorer(estimator, X, y)``.

    Raises
    ------
    ValueError
        If there is no scorer of that name.

    Examples
    --------
    >>> from sklearn.dummy import DummyRegressor
    >>> from pulsehr.datasets import make_recordings
    >>> from pulsehr.metrics import get_scorer
    >>> data = make_recordings(n_subjects=2, duration=60, random_state=0)
    >>> median = DummyRegressor(strategy="median").fit(data.X, data.y)
    >>> get_scorer("neg_subject_mean_absolute_error")(median, data.X, data.y) < 0
    True
    """
    if name in SCORERS:
        return SCORERS[name]
    if name in sklearn.metrics.get_scorer_names():
        return sklearn.metrics.get_scorer(name)
    raise ValueError(
        f"get_scorer: name must be one of {sorted(SCORERS)} or of "
        f"sklearn.metrics.get_scorer_names(), got {name!r}"
    )


def _neg_subject_mean_absolute_error(estimator: Any, X: Any, y: Any) -> float:
    subjects = _subjects(_readings(X))
    return -subject_mean_absolute_error(y, estimator.predict(X), subjects)


def _neg_post_processed_mean_absolute_error(estimator: Any, X: Any, y: Any) -> float:
    readings = list(_readings(X))
    subjects = _subjects(readings)
    clipped = causal_clip_readings(readings, estimator.predict(X))
    return -subject_mean_absolute_error(y, clipped, subjects)


def _share_within_5_bpm(estimator: Any, X: Any, y: Any) -> float:
    return share_within(y, estimator.predict(X))


def _subjects(readings: Any) -> list[str]:
    """Name the subject of each reading; a recording without subject counts by itself."""
    return [r.subject or f"recording {id(r.recording)}" for r in readings]


def _readings(X: Any) -> Any:
    readings = readings_in(X)
    if readings is None:
        raise TypeError(
            f"scorer: X must hold readings, which say subject and time, got {type(X).__name__}: "
            f"for windows take sklearn.metrics.make_scorer(subject_mean_absolute_error, "
            f"greater_is_better=False).set_score_request(groups=True), with metadata routing on"
        )
    return readings


#: Scorers by name, see `get_scorer`.
SCORERS: dict[str, Callable[[Any, Any, Any], float]] = {
    "neg_subject_mean_absolute_error": _neg_subject_mean_absolute_error,
    "neg_post_processed_mean_absolute_error": _neg_post_processed_mean_absolute_error,
    "share_within_5_bpm": _share_within_5_bpm,
}


def _errors(y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.float64]:
    check_consistent_length(y_true, y_pred)
    errors = np.abs(np.asarray(y_true, dtype=np.float64) - np.asarray(y_pred, dtype=np.float64))
    if errors.ndim != 1 or len(errors) == 0:
        raise ValueError(f"metrics: expected 1-D, non-empty heart rates, got shape {errors.shape}")
    unknown = np.isnan(errors)
    if unknown.any():
        raise ValueError(
            f"metrics: expected heart rates, got NaN in {int(unknown.sum())} of {len(errors)} "
            f"rows, the first row {int(np.argmax(unknown))}: leave out readings over gaps, as "
            f"recording.readings() does"
        )
    return errors
