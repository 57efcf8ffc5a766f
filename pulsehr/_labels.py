"""Heart rates and activities with their times, as a recording has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsehr._signals import FloatArray, finite, read_only

#: Heart rates outside this range (bpm) are refused as labels.
HEART_RATE_RANGE = (20.0, 250.0)

#: Labels may lie this far (s) after the end of the signals: one window of a public data set.
MAX_LATE_LABEL = 8.0


def valid_series(who: str, field: str, values: Any, times: Any) -> tuple[Any, Any]:
    """Return values and their times (n,), of one length and in increasing order, or None twice.

    Parameters
    ----------
    who : str
        The recording, for errors.
    field : {"heart_rate", "activity"}
        What the values are; activities are text.
    values, times : array-like of shape (n,) or None
        Values, and seconds after the start.

    Returns
    -------
    values, times : ndarray of shape (n,) or None
        Read-only.

    Raises
    ------
    ValueError
        If one is not there, they are empty, not of one length or not finite, or times do not
        increase.
    """
    if (values is None) != (times is None):
        raise ValueError(f"{who}: {field} and {field}_times go together, got one without the other")
    if values is None:
        return None, None
    array: NDArray[Any] = (
        np.array(values, dtype=np.str_)
        if field == "activity"
        else finite(f"{who}: {field}", values)
    )
    when = finite(f"{who}: {field}_times", times)
    if array.ndim != 1 or array.shape != when.shape or len(array) == 0:
        raise ValueError(
            f"{who}: {field} and {field}_times must be 1-D, not empty and of equal length, "
            f"got shapes {array.shape} and {when.shape}"
        )
    if np.any(np.diff(when) <= 0):
        raise ValueError(f"{who}: {field}_times must increase")
    return read_only(array, values), read_only(when, times)


def check_heart_rate(who: str, heart_rate: FloatArray, times: FloatArray, duration: float) -> None:
    """Raise ValueError if labels (n_labels,) in bpm are no heart rates, or not of that time."""
    first, last = times[[0, -1]]
    if first < 0 or last > duration + MAX_LATE_LABEL:
        raise ValueError(
            f"{who}: heart_rate_times must lie within the {duration:g} s of the signals, got "
            f"{first:g} to {last:g}: are they seconds, and the rates in Hz?"
        )
    low, high = HEART_RATE_RANGE
    outside = (heart_rate < low) | (heart_rate > high)
    if outside.any():
        index = int(np.argmax(outside))
        raise ValueError(
            f"{who}: heart_rate must lie within {low:g} to {high:g} bpm, "
            f"got {heart_rate[index]:g} at index {index}"
        )
