"""Use the order in time of heart rates."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_consistent_length, column_or_1d

from pulsehr._rows import group_by_recording
from pulsehr.recordings import Reading

#: The paper's post-processing: how many values are averaged, and how far one may leave the mean.
CLIP_LENGTH = 10
CLIP_SHARE = 0.1


def causal_clip(heart_rate: ArrayLike) -> NDArray[np.float64]:
    """Keep each heart rate within 10 % of the mean of the ten before it ([1]_).

    Strictly causal: the mean is that of values that were themselves clipped. The first ten
    stay as they are.

    Parameters
    ----------
    heart_rate : array-like of shape (n_readings,)
        Heart rates in bpm of one recording, in order of time.

    Returns
    -------
    ndarray of shape (n_readings,)
        The clipped heart rates.

    References
    ----------
    .. [1] Kasnesis et al., Replacing Attention with Modality-wise Convolution for
       Energy-Efficient PPG-based Heart Rate Estimation using Knowledge Distillation, 2025.

    Examples
    --------
    >>> from pulsehr.tracking import causal_clip
    >>> causal_clip([100.0] * 10 + [150.0])[-1].round(6)
    np.float64(110.0)
    """
    clipped = column_or_1d(heart_rate, dtype=np.float64).copy()
    for k in range(CLIP_LENGTH, len(clipped)):
        mean = clipped[k - CLIP_LENGTH : k].mean()
        clipped[k] = np.clip(clipped[k], (1 - CLIP_SHARE) * mean, (1 + CLIP_SHARE) * mean)
    return clipped


def causal_clip_readings(X: list[Reading], heart_rate: ArrayLike) -> NDArray[np.float64]:
    """Apply `causal_clip` to each recording, in order of time, whatever the order of rows.

    Parameters
    ----------
    X : list of Reading, length n_readings
        The rows.
    heart_rate : array-like of shape (n_readings,)
        Their heart rates in bpm.

    Returns
    -------
    ndarray of shape (n_readings,)
        The clipped heart rates, in the order of the rows.

    Raises
    ------
    ValueError
        If there are not as many heart rates as readings.
    """
    values = column_or_1d(heart_rate, dtype=np.float64).copy()
    check_consistent_length(X, values)
    for _, rows in group_by_recording(X):
        in_time = rows[np.argsort([X[row].instant for row in rows], kind="stable")]
        values[in_time] = causal_clip(values[in_time])
    return values
