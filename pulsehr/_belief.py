"""Belief propagation over heart rates: how probable each of a grid of them is, reading by reading.

From one reading to the next heart rate spreads as a Gaussian whose variance grows with time. A
reading is likely where a Laplace distribution around it is, or, with the probability `outliers`
(but for the first, at which all starts), says nothing. The idea is that of [1]_, the distributions
are not.

References
----------
.. [1] Bieri et al., BeliefPPG: Uncertainty-aware Heart Rate Estimation from PPG signals via Belief
   Propagation, UAI 2023.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: Heart rates of the grid, in bpm.
GRID = np.arange(30.0, 221.0)

#: Share of readings that say nothing.
OUTLIERS = 0.6

#: What of a belief goes anywhere, so that none dies out.
LEAK = 1e-6


def belief(
    times: FloatArray,
    bpm: FloatArray,
    noise: FloatArray,
    drift: float,
    lookahead: float = 0.0,
    outliers: float = OUTLIERS,
) -> tuple[FloatArray, FloatArray]:
    """Track the heart rates of one stretch of time, by what came before or within a fixed lag.

    Parameters
    ----------
    times : ndarray of shape (n_readings,)
        Instants in seconds, increasing.
    bpm : ndarray of shape (n_readings,)
        Heart rates.
    noise : ndarray of shape (n_readings,)
        Standard deviation of each in bpm.
    drift : float
        By how much the variance of heart rate grows, in bpm^2/s.
    lookahead : float, default=0.0
        Seconds after a reading whose readings count, too.
    outliers : float, default=OUTLIERS
        With which probability a reading says nothing.

    Returns
    -------
    median, std : ndarray of shape (n_readings,)
        Of the belief, in bpm.

    Examples
    --------
    >>> import numpy as np
    >>> bpm = np.array([70.0, 70.0, 70.0, 140.0, 70.0])
    >>> median, std = belief(2.0 * np.arange(5), bpm, np.full(5, 2.0), drift=2.0)
    >>> bool(median.max() < 72)
    True
    """
    likely = likelihood(bpm, noise, np.r_[0.0, np.full(len(bpm) - 1, outliers)])
    steps = np.diff(times)
    beliefs = np.empty_like(likely)
    beliefs[0] = likely[0] / likely[0].sum()
    for k, seconds in enumerate(steps):
        beliefs[k + 1] = step(beliefs[k], float(seconds), likely[k + 1], drift)
    if lookahead > 0:
        beliefs = _smoothed(times, beliefs, likely, drift, lookahead)
    return median(beliefs), spread(beliefs)


def step(before: FloatArray, seconds: float, likely: FloatArray, drift: float) -> FloatArray:
    """Return the belief (n_bins,) after a reading, of that after the one before."""
    ahead = (transition(seconds, drift) @ before) * likely
    return np.asarray(ahead / ahead.sum())


def likelihood(bpm: FloatArray, noise: FloatArray, outliers: FloatArray) -> FloatArray:
    """Compute how likely each reading makes each heart rate of the grid.

    Parameters
    ----------
    bpm, noise : ndarray of shape (n_readings,)
        Readings and their standard deviations, in bpm.
    outliers : ndarray of shape (n_readings,)
        With which probability each says nothing.

    Returns
    -------
    ndarray of shape (n_readings, n_bins)
        In 1/bpm.
    """
    scale = (noise / np.sqrt(2))[:, None]
    distance = np.abs(GRID - np.clip(bpm, GRID[0], GRID[-1])[:, None])
    laplace = np.exp(-distance / scale) / (2 * scale)
    share = outliers[:, None]
    # the least keeps a belief from dying out
    return np.asarray((1 - share) * laplace + share / (GRID[-1] - GRID[0]) + LEAK)


@lru_cache(maxsize=64)
def transition(seconds: float, drift: float) -> FloatArray:
    """Compute the probabilities by which heart rate goes from bin (column) to bin (row).

    Parameters
    ----------
    seconds : float
        From one reading to the next.
    drift : float
        Variance for each second, in bpm^2/s.

    Returns
    -------
    ndarray of shape (n_bins, n_bins)
        Columns sum to one.
    """
    # a Gaussian much narrower than a bin would stand still
    variance = max(drift * seconds, (GRID[1] - GRID[0]) ** 2 / 12)
    moved = np.exp(-((GRID[:, None] - GRID) ** 2) / (2 * variance))
    moved = (1 - LEAK) * moved / moved.sum(axis=0) + LEAK / len(GRID)
    moved.flags.writeable = False
    return np.asarray(moved)


def median(beliefs: FloatArray) -> FloatArray:
    """Interpolate the median of each row, a bin reaching half a step to either side.

    Parameters
    ----------
    beliefs : ndarray of shape (n_readings, n_bins)
        Rows sum to one.

    Returns
    -------
    ndarray of shape (n_readings,)
        In bpm.
    """
    below = np.cumsum(beliefs, axis=1)
    index = np.argmax(below >= 0.5, axis=1)[:, None]
    mass = np.take_along_axis(beliefs, index, 1)[:, 0]
    share = (0.5 - np.take_along_axis(below, index, 1)[:, 0]) / mass + 1
    step = GRID[1] - GRID[0]
    return np.asarray(GRID[index[:, 0]] + (share - 0.5) * step)


def spread(beliefs: FloatArray) -> FloatArray:
    """Return the standard deviation (n_readings,) in bpm of beliefs (n_readings, n_bins)."""
    # not as a product of matrices, which rounds by the number of rows
    mean = (beliefs * GRID).sum(axis=1)
    return np.sqrt(np.maximum((beliefs * GRID**2).sum(axis=1) - mean**2, 0.0))


def _smoothed(
    times: FloatArray,
    beliefs: FloatArray,
    likely: FloatArray,
    drift: float,
    lookahead: float,
) -> FloatArray:
    """Weigh each belief by how likely it makes the readings within its lag."""
    last = np.searchsorted(times, times + lookahead, side="right") - 1
    steps = np.diff(times)
    smooth = np.empty_like(beliefs)
    for k, end in enumerate(last):
        ahead = np.ones(len(GRID))
        for j in range(end, k, -1):
            ahead = (ahead * likely[j]) @ transition(float(steps[j - 1]), drift)
            ahead /= ahead.sum()
        smooth[k] = beliefs[k] * ahead
        smooth[k] /= smooth[k].sum()
    return smooth
