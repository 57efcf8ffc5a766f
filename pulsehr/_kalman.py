"""A Kalman filter of heart rate as a random walk, which readings far off hardly move.

With the drift ``q`` (bpm^2/s) and the noise ``r`` (bpm) of a reading, ``dt`` seconds after the one
before, variance ``V`` and mean ``x`` become::

    V += q * dt
    S = max(V + r**2, (reading - x)**2 / gate**2)
    x += V / S * (reading - x)
    V -= V / S * V

The first in the maximum is the usual variance of an innovation. The second inflates the noise of a
reading that lies more than `gate` standard deviations off [1]_: the further off, the less it moves
the mean. A rate that stays there is followed all the same, as the variance grows meanwhile.

References
----------
.. [1] Chang, Robust Kalman filtering based on Mahalanobis distance as outlier judging criterion,
   Journal of Geodesy 88, 2014.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: Standard deviations of the innovation beyond which a reading is inflated.
GATE = 1.2

#: Standard deviation of the heart rate (bpm) after the first reading, which may be far off itself.
START_STD = 20.0

#: Largest standard deviation of the heart rate (bpm), after many inflated readings.
MAX_STD = 64.0


def kalman(
    times: FloatArray,
    bpm: FloatArray,
    noise: FloatArray,
    drift: float,
    lookahead: float = 0.0,
    gate: float = GATE,
) -> tuple[FloatArray, FloatArray]:
    """Filter the heart rates of one stretch of time, or smooth them over a fixed lag.

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
    gate : float, default=GATE
        Standard deviations of the innovation beyond which a reading is inflated.

    Returns
    -------
    mean, std : ndarray of shape (n_readings,)
        Of the heart rate, in bpm.

    Examples
    --------
    >>> import numpy as np
    >>> bpm = np.array([70.0, 70.0, 70.0, 140.0, 70.0])
    >>> mean, std = kalman(2.0 * np.arange(5), bpm, np.full(5, 2.0), drift=2.0)
    >>> bool(mean.max() < 73)
    True
    """
    mean, variance = np.empty_like(bpm), np.empty_like(bpm)
    x, v = bpm[0], START_STD**2
    mean[0], variance[0] = x, v
    for k in range(1, len(bpm)):
        x, v = step(x, v, times[k] - times[k - 1], bpm[k], noise[k], drift, gate)
        mean[k], variance[k] = x, v
    if lookahead > 0:
        mean, variance = _smoothed(times, mean, variance, drift, lookahead)
    return mean, np.sqrt(variance)


def step(
    x: float, v: float, seconds: float, bpm: float, noise: float, drift: float, gate: float = GATE
) -> tuple[float, float]:
    """Return mean (bpm) and variance (bpm^2) after a reading, of those after the one before."""
    v = min(v + drift * seconds, MAX_STD**2)
    innovation = bpm - x
    gain = v / max(v + noise**2, (innovation / gate) ** 2)
    return x + gain * innovation, v - gain * v


def _smoothed(
    times: FloatArray, mean: FloatArray, variance: FloatArray, drift: float, lookahead: float
) -> tuple[FloatArray, FloatArray]:
    """Go back from the last reading within the lag of each (Rauch, Tung and Striebel)."""
    grown = np.minimum(variance[:-1] + drift * np.diff(times), MAX_STD**2)
    gain = variance[:-1] / grown
    last = np.searchsorted(times, times + lookahead, side="right") - 1
    smooth, spread = mean.copy(), variance.copy()
    for k, end in enumerate(last):
        x, v = mean[end], variance[end]
        for j in range(end - 1, k - 1, -1):
            x = mean[j] + gain[j] * (x - mean[j])
            v = variance[j] + gain[j] ** 2 * (v - grown[j])
        smooth[k], spread[k] = x, v
    return smooth, spread
