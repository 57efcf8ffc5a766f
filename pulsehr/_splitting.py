"""Which training rows are held out for early stopping: whole subjects, or stretches of time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit

#: Rows dropped on both sides of a held-out stretch: windows of 8 s every 2 s share samples with
#: three neighbours.
GAP = 3

#: A held-out stretch has at least this many rows (if the fraction allows), and there are at
#: most so many of them.
STRETCH = 20
MAX_STRETCHES = 8


def hold_out(
    n_rows: int, groups: Any, fraction: Any, rng: np.random.RandomState
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Divide rows into those that train and those that validate.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    groups : array-like of shape (n_rows,) or None
        Subject of each row. With two or more of them, whole subjects validate; otherwise
        stretches of consecutive rows do, at a distance from the training rows.
    fraction : float or cross-validation splitter
        Share of the subjects, or of the rows, that validates; 0 for none. Of a splitter the first
        split.
    rng : RandomState
        Draws subjects or stretches.

    Returns
    -------
    train, valid : ndarray of int
        Rows; `valid` is empty with a fraction of 0 or too few rows to divide.
    """
    everything = np.arange(n_rows)
    if hasattr(fraction, "split"):
        return first_split("validation_fraction", fraction, n_rows, groups)
    if fraction == 0:
        return everything, everything[:0]
    if groups is not None and len(np.unique(groups)) > 1:
        splitter = GroupShuffleSplit(n_splits=1, test_size=fraction, random_state=rng)
        if fraction * len(np.unique(groups)) > len(np.unique(groups)) - 1:
            raise ValueError(
                f"validation_fraction={fraction:g} leaves none of {len(np.unique(groups))} "
                f"subjects to train on: lower it"
            )
        train, valid = next(splitter.split(everything, groups=groups))
        return train, valid
    return _hold_out_stretches(n_rows, fraction, rng)


def first_split(
    who: str, splitter: Any, n_rows: int, groups: Any
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Divide rows by the first split of a cross-validation splitter.

    Parameters
    ----------
    who : str
        Who asks, for the error.
    splitter : cross-validation splitter
        Of scikit-learn, or one like these.
    n_rows : int
        Number of rows.
    groups : array-like of shape (n_rows,) or None
        Subject of each row.

    Returns
    -------
    train, valid : ndarray of int
        Rows.

    Raises
    ------
    ValueError
        If either is empty, or a row is in both.
    """
    train, valid = next(iter(splitter.split(np.arange(n_rows), groups=groups)))
    if len(train) == 0 or len(valid) == 0 or np.intersect1d(train, valid).size:
        raise ValueError(
            f"{who}: the first split of {splitter!r} must have rows that train and others that "
            f"validate, got {len(train)} and {len(valid)} of {n_rows}, "
            f"{np.intersect1d(train, valid).size} of them in both"
        )
    return train, valid


def _hold_out_stretches(
    n_rows: int, fraction: float, rng: np.random.RandomState
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    everything = np.arange(n_rows)
    wanted = int(n_rows * fraction)
    if wanted == 0:
        return everything, everything[:0]
    n_stretches = int(np.clip(wanted // STRETCH, 1, MAX_STRETCHES))
    length = wanted // n_stretches
    starts = length * rng.choice(n_rows // length, size=n_stretches, replace=False)
    distance = np.min(
        [np.maximum(start - everything, everything - (start + length - 1)) for start in starts],
        axis=0,
    )
    train, valid = everything[distance > GAP], everything[distance <= 0]
    # with few rows the distance may cost more than half of them: then all of them train
    return (train, valid) if 2 * len(train) >= n_rows else (everything, everything[:0])
