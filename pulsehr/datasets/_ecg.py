"""Heart rate from the beats of an ECG: where the beats are, and what a window of them says."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from pulsehr.datasets._optional import optional_library, quiet_library

FloatArray = NDArray[np.float64]

#: A label describes eight seconds, one every two, as in PPG-DaLiA and IEEE SPC 2015.
LABEL_WINDOW, LABEL_STRIDE = 8.0, 2.0

#: Intervals between beats outside these rates (bpm) are missed or false beats.
RATE_RANGE = (35.0, 220.0)

#: So are intervals that differ from the median of so many around them by more than these
#: factors, and those beside a short one: a missed beat doubles an interval, a false one splits it.
NEIGHBOURS, NEIGHBOUR_RANGE = 31, (0.6, 1.5)

#: Fewer plausible intervals in a window, or a smaller share of its time in them, give no label.
MIN_INTERVALS, MIN_COVER = 4, 0.75

#: Mid-points of intervals are compared with the borders of windows to this many seconds.
TOLERANCE = 1e-6

#: What a window's intervals (s) say, by the name of the recipe, in bpm.
RECIPES: Mapping[str, Callable[[FloatArray], float]] = {
    "mean_rate": lambda intervals: float(np.mean(60.0 / intervals)),
    "mean_rr": lambda intervals: float(60.0 / np.mean(intervals)),
}


@dataclass(frozen=True, eq=False)
class BeatLabels:
    """Hold the heart rate of windows, and how many windows have none.

    Parameters
    ----------
    times : ndarray of shape (n_labels,)
        End of each window in seconds.
    heart_rate : ndarray of shape (n_labels,)
        In bpm.
    n_few : int
        Windows without a label since fewer than four intervals lie in them.
    n_implausible : int
        Windows without a label since too much of them lies in implausible intervals.
    """

    times: FloatArray
    heart_rate: FloatArray
    n_few: int
    n_implausible: int

    @property
    def n_windows(self) -> int:
        """All windows, with and without a label."""
        return len(self.times) + self.n_few + self.n_implausible


def check_recipe(who: str, labels: str) -> None:
    """Raise ValueError for a recipe that is not known, before any file is read."""
    if labels not in RECIPES:
        raise ValueError(f"{who}: labels must be one of {list(RECIPES)}, got {labels!r}")


def window_labels(beats: FloatArray, duration: float, labels: str) -> BeatLabels:
    """Take the heart rate of eight seconds, every two seconds.

    Parameters
    ----------
    beats : ndarray of shape (n_beats,)
        Instant of each beat in seconds, increasing.
    duration : float
        Seconds of the recording.
    labels : {"mean_rate", "mean_rr"}
        The recipe: mean of 60/RR, or 60 over the mean RR.

    Returns
    -------
    BeatLabels
        The label at t is that of the intervals with their mid-point in [t - 8, t).
    """
    intervals = np.diff(beats)
    middles = beats[:-1] + intervals / 2
    plausible = plausible_intervals(intervals)
    ends = np.arange(LABEL_WINDOW, duration + TOLERANCE, LABEL_STRIDE)
    first = np.searchsorted(middles, ends - LABEL_WINDOW - TOLERANCE)
    last = np.searchsorted(middles, ends - TOLERANCE)
    within = [intervals[i:j][plausible[i:j]] for i, j in zip(first, last, strict=True)]
    few = (last - first) < MIN_INTERVALS
    enough = np.array([_enough(some) for some in within], dtype=bool)
    rates = [RECIPES[labels](some) for some in within if _enough(some)]
    return BeatLabels(
        times=ends[enough],
        heart_rate=np.array(rates, dtype=np.float64),
        n_few=int(few.sum()),
        n_implausible=int((~enough & ~few).sum()),
    )


def plausible_intervals(intervals: FloatArray) -> NDArray[np.bool_]:
    """Tell which intervals (s) between beats, shape (n,), have no missed or false beat in them."""
    if not len(intervals):
        return np.zeros(0, dtype=bool)
    (low, high), (shortest, longest) = RATE_RANGE, NEIGHBOUR_RANGE
    ratio = intervals / median_filter(intervals, NEIGHBOURS, mode="nearest")
    of_a_heart = (intervals >= 60 / high) & (intervals <= 60 / low)
    short = np.pad(ratio < shortest, 1)
    beside_short = short[:-2] | short[1:-1] | short[2:]  # the other part of what was split
    return np.asarray(of_a_heart & ~beside_short & (ratio <= longest))


def _enough(intervals: FloatArray) -> bool:
    return len(intervals) >= MIN_INTERVALS and intervals.sum() >= MIN_COVER * LABEL_WINDOW


def warn_of_windows_without_label(who: str, found: Mapping[str, BeatLabels]) -> None:
    """Say in one warning how many windows of which recordings have no label, and why.

    Parameters
    ----------
    who : str
        The loader.
    found : mapping of str to BeatLabels
        By the name of the recording.
    """
    n_few = sum(labels.n_few for labels in found.values())
    n_implausible = sum(labels.n_implausible for labels in found.values())
    n_windows = sum(labels.n_windows for labels in found.values())
    if not n_few + n_implausible:
        return
    each = ", ".join(
        f"{name} {labels.n_few + labels.n_implausible} of {labels.n_windows}"
        for name, labels in found.items()
        if labels.n_few + labels.n_implausible
    )
    warnings.warn(
        f"{who}: {n_few + n_implausible} of {n_windows} windows have no label: {n_few} with fewer "
        f"than {MIN_INTERVALS} intervals between beats, {n_implausible} with missed or false beats "
        f"({each})",
        stacklevel=3,
    )


def ecg_beats(who: str, name: str, ecg: Any, rate: float) -> FloatArray:
    """Find the R peaks of an ECG with NeuroKit2.

    Parameters
    ----------
    who, name : str
        The loader that asks and the file, for the error.
    ecg : array-like of shape (n_samples,)
        In any unit.
    rate : float
        Sampling rate in Hz.

    Returns
    -------
    ndarray of shape (n_beats,)
        In seconds, increasing.

    Raises
    ------
    ImportError
        If NeuroKit2 is not installed.
    ValueError
        If the ECG is not finite or constant, or no beats can be found.
    """
    neurokit2 = optional_library(who, "neurokit2")
    samples = np.asarray(ecg, dtype=np.float64).ravel()
    if not np.isfinite(samples).all() or np.ptp(samples) == 0:
        raise ValueError(f"{who}: {name} must hold an ECG that is finite and not constant")
    try:
        with quiet_library():
            clean = neurokit2.ecg_clean(samples, sampling_rate=rate)
            _, found = neurokit2.ecg_peaks(clean, sampling_rate=rate)
    except Exception as error:  # it raises whatever a signal without beats leads to
        raise ValueError(
            f"{who}: {name} must hold an ECG with beats, but NeuroKit2 finds none "
            f"({type(error).__name__}: {error})"
        ) from error
    return np.asarray(found["ECG_R_Peaks"], dtype=np.float64) / rate
