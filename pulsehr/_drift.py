"""How fast heart rate wanders, learnt from labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import assert_all_finite, check_consistent_length, column_or_1d

from pulsehr._rows import stretches

#: Seconds over which changes of the labels tell the drift. Labels are means of eight seconds, so
#: that changes over less than two of them are too small.
DRIFT_SECONDS = 16.0

#: Drift in bpm^2/s without labels that tell it, and the least, by which a filter still moves.
DRIFT, LEAST_DRIFT = 2.5, 0.1


def learnt_drift(X: Any, y: ArrayLike, max_gap: float) -> float:
    """Learn by how much the variance of heart rate grows with time.

    Parameters
    ----------
    X : sequence of Reading, length n_readings
        The rows.
    y : array-like of shape (n_readings,)
        Their heart rates in bpm.
    max_gap : float
        Seconds between readings over which no change is taken.

    Returns
    -------
    float
        In bpm^2/s: the mean square of changes over `DRIFT_SECONDS` or the next longer time, by
        that time. `DRIFT` if no two readings are so far apart.
    """
    heart_rate = column_or_1d(y, dtype=np.float64)
    assert_all_finite(heart_rate, estimator_name="HeartRateTracker", input_name="y")
    check_consistent_length(X, heart_rate)
    squares, seconds = 0.0, 0.0
    for stretch in stretches(X, max_gap):
        # a microsecond forgives the rounding of instants
        later = np.searchsorted(stretch.times, stretch.times + DRIFT_SECONDS - 1e-6)
        earlier = np.flatnonzero(later < len(stretch.times))
        values = heart_rate[stretch.first]
        squares += float(np.sum((values[later[earlier]] - values[earlier]) ** 2))
        seconds += float(np.sum(stretch.times[later[earlier]] - stretch.times[earlier]))
    return max(squares / seconds, LEAST_DRIFT) if seconds > 0 else DRIFT
