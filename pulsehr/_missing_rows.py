"""Rows of X whose reading lies over a gap: windows that are NaN throughout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsehr._lazy import LazyWindows


def check_missing_rows(name: str, windows: Any, allowed: bool) -> None:
    """Raise if a value is NaN, unless all of its row are and that is allowed.

    Parameters
    ----------
    name : str
        Who asks.
    windows : ndarray or LazyWindows of shape (n_windows, n_channels, n_times)
        Not infinite.
    allowed : bool
        Whether rows may be NaN throughout.

    Raises
    ------
    ValueError
        That says which row it is.
    """
    if isinstance(windows, LazyWindows):
        missing, partly = windows.missing, np.zeros(len(windows), np.bool_)
    elif np.isfinite(np.sum(windows, dtype=np.float64)):
        return
    else:
        nan = np.isnan(windows).reshape(len(windows), -1)
        missing = nan.all(axis=1)
        partly = nan.any(axis=1) & ~missing
    if partly.any():
        raise ValueError(
            f"{name}: Input X contains NaN in row {int(np.argmax(partly))}, expected rows of "
            f"numbers, or rows that are NaN throughout, which `predict` answers by NaN"
        )
    if missing.any() and not allowed:
        raise ValueError(
            f"{name}: Input X contains NaN throughout {int(missing.sum())} of {len(missing)} rows, "
            f"the first row {int(np.argmax(missing))}, as of readings over a gap, which `predict` "
            f"alone can answer: leave them out, as recording.readings() does"
        )


def answered(run: Callable[[Any], Any], windows: Any, n_outputs: int = 1) -> NDArray[np.float64]:
    """Run on the rows that hold samples, and answer the others by NaN.

    Parameters
    ----------
    run : callable
        Takes windows, gives an array of shape (n_windows,) or (n_windows, n_outputs).
    windows : ndarray or LazyWindows of shape (n_windows, n_channels, n_times)
        Some rows may be NaN throughout.
    n_outputs : int, default=1
        Values of each row.

    Returns
    -------
    ndarray of shape (n_outputs, n_windows), float64
        The values.
    """
    lazy = isinstance(windows, LazyWindows)
    missing = windows.missing if lazy else np.isnan(windows[:, 0, 0])
    outputs = np.full((len(windows), n_outputs), np.nan)
    if not missing.all():
        some = windows
        if missing.any():
            some = windows.take(~missing) if lazy else windows[~missing]
        outputs[~missing] = run(some).reshape(-1, n_outputs)
    return np.ascontiguousarray(outputs.T)
