"""Rows of X that are readings: tell them from windows, and sort them by recording and time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsehr.recordings import Reading, Recording


@dataclass(frozen=True, eq=False)
class Stretch:
    """Readings of one recording without a gap, in order of time.

    Parameters
    ----------
    times : ndarray of float, shape (n_instants,)
        Instants in seconds, increasing.
    first : ndarray of int, shape (n_instants,)
        The first row of each instant.
    rows : ndarray of int, shape (n_rows,)
        All rows, more than instants if some are there twice.
    which : ndarray of int, shape (n_rows,)
        Number of the instant of each.
    """

    times: NDArray[np.float64]
    first: NDArray[np.intp]
    rows: NDArray[np.intp]
    which: NDArray[np.intp]


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


def stretches(X: Sequence[Reading], max_gap: float) -> Iterator[Stretch]:
    """Cut readings into stretches of time without a gap, each of one recording.

    Parameters
    ----------
    X : sequence of Reading
        The rows, in any order.
    max_gap : float
        Seconds between readings beyond which another stretch begins.

    Yields
    ------
    Stretch
        One after the other; together they have all rows.
    """
    for _, rows in group_by_recording(X):
        instants = np.array([X[row].instant for row in rows])
        times, first, which = np.unique(instants, return_index=True, return_inverse=True)
        # a microsecond forgives the rounding of instants
        starts = np.r_[0, np.flatnonzero(np.diff(times) > max_gap + 1e-6) + 1]
        for start, end in zip(starts, [*starts[1:], len(times)], strict=True):
            inside = (which >= start) & (which < end)
            yield Stretch(
                times[start:end], rows[first[start:end]], rows[inside], which[inside] - start
            )
