"""Rows of X that are readings: tell them from windows, and sort them by recording."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsehr.recordings import Reading, Recording


def readings_in(X: Any) -> Any:
    """Return X as a sequence of rows if it holds readings, None if it holds none.

    Parameters
    ----------
    X : list, tuple, object array or pandas Series of Reading, or anything else
        What a user passes as X.

    Returns
    -------
    sequence or None
        The rows; `group_by_recording` checks each of them.

    Raises
    ------
    TypeError
        If X is one reading or one recording.
    """
    if isinstance(X, (Reading, Recording)):
        hint = "[reading]" if isinstance(X, Reading) else "recording.readings()"
        raise TypeError(f"X must be a list of Reading, got one {type(X).__name__}: pass {hint}")
    if hasattr(X, "to_numpy"):
        X = X.to_numpy()
    if isinstance(X, np.ndarray):
        X = X.ravel() if X.dtype == object else ()
    if not isinstance(X, (list, tuple, np.ndarray)):
        return None
    return X if any(isinstance(row, (Reading, Recording)) for row in X) else None


def group_by_recording(X: Sequence[Reading]) -> list[tuple[Recording, NDArray[np.intp]]]:
    """List each recording with the rows that read it, in order of first appearance.

    Parameters
    ----------
    X : sequence of Reading
        The rows.

    Returns
    -------
    list of (Recording, ndarray of int)
        The rows of each recording.

    Raises
    ------
    TypeError
        If a row is not a reading.
    """
    rows: dict[int, list[int]] = {}
    recordings: dict[int, Recording] = {}
    for row, reading in enumerate(X):
        if not isinstance(reading, Reading):
            hint = ": pass recording.readings()" if isinstance(reading, Recording) else ""
            raise TypeError(f"row {row} of X must be a Reading, got {type(reading).__name__}{hint}")
        recordings.setdefault(id(reading.recording), reading.recording)
        rows.setdefault(id(reading.recording), []).append(row)
    return [(recordings[key], np.array(index)) for key, index in rows.items()]
