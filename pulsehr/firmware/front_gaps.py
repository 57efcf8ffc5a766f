"""Missing samples: which stretch a row belongs to, and which rows and windows lie over a gap.

Row k of a sensor of factor F is taken at sample ``k * F`` and stands for the samples from there to
the next row: it is missing if any of them is. A stretch is a run of samples none of which is
missing. What is computed at a row sees its stretch alone, of which the first and the last sample
are held, as those of a recording are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsehr.firmware.front import FrontEnd
from pulsehr.firmware.front_filters import Sensor


@dataclass(frozen=True, eq=False)
class Rows:
    """Where the rows of one sensor lie among its samples.

    Parameters
    ----------
    first, last : ndarray of int, shape (n_rows,)
        Samples at which the stretch of each row begins and ends; -1 if its own is missing.
    missing : ndarray of bool, shape (n_rows,)
        Whether any sample of a row is missing.
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    missing: NDArray[np.bool_]


def missing_samples(samples: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Tell which samples are missing.

    Parameters
    ----------
    samples : ndarray or masked array of shape (n_samples,) or (n_samples, 3)
        A sample of which any axis is masked is missing.

    Returns
    -------
    ndarray of bool, shape (n_samples,), or None
        None if none is.
    """
    if not np.ma.is_masked(samples):
        return None
    mask = np.ma.getmaskarray(samples)
    return np.asarray(mask.reshape(len(mask), -1).any(axis=1))


def rows_of(sensor: Sensor, missing: NDArray[np.bool_], n_rows: int) -> Rows:
    """Find the stretch of each row.

    Parameters
    ----------
    sensor : Sensor
        Factor and look-ahead.
    missing : ndarray of bool, shape (n_samples,)
        Which samples are missing. After the end it is as at the last.
    n_rows : int
        Rows wanted.

    Returns
    -------
    Rows
        Their stretches.
    """
    n_samples = n_rows * sensor.factor + sensor.lookahead
    index = np.arange(n_samples)
    held = missing[np.minimum(index, len(missing) - 1)]
    first = np.maximum.accumulate(np.where(held, index + 1, 0))
    last = np.minimum.accumulate(np.where(held, index - 1, n_samples - 1)[::-1])[::-1]
    at = np.arange(n_rows) * sensor.factor
    own = held[at]
    return Rows(
        first=np.where(own, -1, first[at]),
        last=np.where(own, -1, last[at]),
        missing=np.asarray(held[: n_rows * sensor.factor].reshape(n_rows, -1).any(axis=1)),
    )


def over_gap(
    front: FrontEnd, ppg: NDArray[Any], acc: NDArray[Any] | None, ends: NDArray[Any]
) -> NDArray[np.bool_]:
    """Tell which windows lie over a gap of either sensor.

    Parameters
    ----------
    front : FrontEnd
        The constants.
    ppg, acc : ndarray or masked array
        Counts, as `pulsehr.firmware.front_integer.front_windows` takes them.
    ends : ndarray of int, shape (n_windows,)
        Rows before the end of each window.

    Returns
    -------
    ndarray of bool, shape (n_windows,)
        Whether a row of the window is missing.
    """
    over = np.zeros(len(ends), dtype=bool)
    for sensor, samples in ((front.ppg, ppg), (front.acc, acc)):
        missing = None if samples is None else missing_samples(samples)
        if sensor is None or missing is None:
            continue
        before = np.r_[0, np.cumsum(rows_of(sensor, missing, int(np.max(ends))).missing)]
        over |= before[ends] > before[np.asarray(ends) - front.n_times]
    return over
