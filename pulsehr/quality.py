"""How good the PPG under a reading is, and what of a recording had better count as missing."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsehr._gaps import TOLERANCE, runs_of
from pulsehr._rows import group_by_recording, readings_in
from pulsehr.recordings import Recording, is_number

__all__ = ["SignalQuality", "mark_missing", "signal_quality"]

#: Samples in a row at the least or largest value of a PPG by which that is a rail. Two in a row
#: are there without one in 7 of 37 recordings of public data sets, three in none (docs/gaps.md).
RAIL_RUN = 3

#: Fewer pulse waves than this make no template that they could be compared with.
LEAST_PULSES = 4


@dataclass(frozen=True, eq=False)
class SignalQuality:
    """Hold what is known of the PPG under each reading, of shape (n_readings,) each.

    Parameters
    ----------
    missing : ndarray
        Share of the samples of the window that are missing.
    at_rail : ndarray
        Share that is at a rail of the converter.
    flat : ndarray
        Share in stretches that do not vary.
    pulse : ndarray or None
        How alike the pulse waves are: the mean of their correlations with their mean, 1 at most.
        NaN over gaps and where fewer than four pulse waves were found; None if it was not wanted.
    """

    missing: NDArray[np.float64]
    at_rail: NDArray[np.float64]
    flat: NDArray[np.float64]
    pulse: NDArray[np.float64] | None


def signal_quality(
    X: Any,
    *,
    window: float = 8.0,
    pulse: bool = False,
    rails: tuple[float, float] | None = None,
    flat: float = 0.5,
    tolerance: float = 0.0,
) -> SignalQuality:
    """Judge the PPG in the window before each reading, at the rate of its sensor.

    Parameters
    ----------
    X : list of Reading, length n_readings
        The rows. The PPG of one recording at a time is held in memory.
    window : float, default=8.0
        Seconds before each reading.
    pulse : bool, default=False
        Whether NeuroKit2 [1]_ compares the pulse waves of a window with their mean, which needs
        the extra `data` and takes hundreds of times as long as the rest.
    rails : tuple of 2 float, default=None
        Least and largest value of the converter, in units of the PPG, between which a sample is
        not at a rail. None: the least or largest value of a recording, if the PPG stays there for
        three samples or more.
    flat : float, default=0.5
        Seconds without a change from which the PPG is flat.
    tolerance : float, default=0.0
        Difference of successive samples, in units of the PPG, up to which there is no change.

    Returns
    -------
    SignalQuality
        In the order of the rows.

    Raises
    ------
    ValueError
        If a parameter is out of its range.
    TypeError
        If X holds no readings.
    ImportError
        If NeuroKit2 is wanted and not installed.

    References
    ----------
    .. [1] Makowski et al., NeuroKit2: A Python toolbox for neurophysiological signal processing,
       Behavior Research Methods 53, 2021; `ppg_quality` follows Orphanidou et al., IEEE Journal
       of Biomedical and Health Informatics 19(3), 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from pulsehr import Recording
    >>> from pulsehr.quality import signal_quality
    >>> ppg = np.clip(np.sin(np.arange(640) / 5), -0.9, 1)
    >>> readings = Recording(ppg=ppg, ppg_rate=32).readings(stride=4.0)
    >>> signal_quality(readings).at_rail.round(2).tolist()
    [0.14, 0.14, 0.14, 0.14]
    """
    readings = readings_in(X)
    if readings is None:
        raise TypeError(
            f"signal_quality: X must hold readings, got {type(X).__name__}: pass "
            f"recording.readings(), also with gaps='keep'"
        )
    _check_positive("signal_quality", window=window, flat=flat)
    compare = _pulse_comparison() if pulse else None
    missing, at_rail, still = shares = np.empty((3, len(readings)))
    alike = np.full(len(readings), np.nan)
    for recording, rows in group_by_recording(readings):
        ppg, rate = np.asarray(recording.ppg), recording.ppg_rate
        stop = np.array([readings[row].instant for row in rows])
        first, stop = (
            np.clip(np.ceil((seconds - TOLERANCE) * rate).astype(np.int64), 0, len(ppg))
            for seconds in (stop - window, stop)
        )
        marks = (np.isnan(ppg), _at_rail(ppg, rails), _flat(ppg, rate, flat, tolerance))
        for share, mark in zip(shares, marks, strict=True):
            count = np.r_[0, np.cumsum(mark)]
            share[rows] = (count[stop] - count[first]) / np.maximum(stop - first, 1)
        if compare is not None:
            alike[rows] = [
                compare(ppg[a:b].astype(np.float64), rate) for a, b in zip(first, stop, strict=True)
            ]
    return SignalQuality(missing, at_rail, still, None if compare is None else alike)


def mark_missing(
    recording: Recording,
    *,
    rails: tuple[float, float] | None = None,
    flat: float | None = 0.5,
    tolerance: float = 0.0,
) -> Recording:
    """Return a recording without the samples of the PPG that say nothing: they become a gap.

    Samples at a rail and stretches that do not vary, as a sensor without contact gives, are set
    to NaN, so that `Recording.readings` leaves out the readings over them. What was marked stands
    in the `gaps` of the result.

    Parameters
    ----------
    recording : Recording
        Stays as it is. A PPG on disk is read into memory.
    rails, flat, tolerance
        As in `signal_quality`; ``flat=None`` marks no flat stretch, and ``rails=(-inf, inf)`` no
        rail.

    Returns
    -------
    Recording
        The same one if there is nothing to mark.

    Raises
    ------
    ValueError
        If a parameter is out of its range, or nothing remains.

    Examples
    --------
    >>> import numpy as np
    >>> from pulsehr import Recording
    >>> from pulsehr.quality import mark_missing
    >>> ppg = np.sin(np.arange(640) / 5)
    >>> ppg[320:352] = ppg[320]
    >>> mark_missing(Recording(ppg=ppg, ppg_rate=32)).gaps
    (Gap(signal='ppg', start=10.0, end=11.0),)
    """
    if not isinstance(recording, Recording):
        raise TypeError(f"mark_missing: expected a Recording, got {type(recording).__name__}")
    ppg = np.asarray(recording.ppg)
    useless = _at_rail(ppg, rails)
    if flat is not None:
        _check_positive("mark_missing", flat=flat)
        useless |= _flat(ppg, recording.ppg_rate, flat, tolerance)
    if not useless.any():
        return recording
    return replace(recording, ppg=np.where(useless, np.float32(np.nan), ppg))


def _at_rail(ppg: NDArray[np.float32], rails: tuple[float, float] | None) -> NDArray[np.bool_]:
    """Tell which samples (n_samples,) are at a rail: the one given, or one that they tell of."""
    if rails is not None:
        low, high = rails
        if not low < high:
            raise ValueError(f"rails must be (low, high) with low < high, got {rails!r}")
        return np.asarray((ppg <= low) | (ppg >= high))
    at_rail = np.zeros(len(ppg), np.bool_)
    for extreme in (np.nanmin(ppg), np.nanmax(ppg)):
        there = ppg == extreme
        if _long_runs(there, RAIL_RUN).any():
            at_rail |= there
    return at_rail


def _flat(
    ppg: NDArray[np.float32], rate: float, seconds: float, tolerance: float
) -> NDArray[np.bool_]:
    """Tell which samples (n_samples,) lie in stretches that do not vary for so long."""
    same = np.abs(np.diff(ppg)) <= tolerance
    # n equal steps are n + 1 equal samples
    steps = _long_runs(same, max(1, int(np.ceil(seconds * rate - TOLERANCE)) - 1))
    return np.r_[False, steps] | np.r_[steps, False]


def _long_runs(true: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    """Keep the runs of True that are at least so long."""
    runs = runs_of(true)
    starts, stops = runs[runs[:, 1] - runs[:, 0] >= length].T
    change = np.zeros(len(true) + 1, np.int8)
    change[starts], change[stops] = 1, -1
    return np.asarray(np.cumsum(change[:-1], dtype=np.int8) > 0)


def _pulse_comparison() -> Callable[[NDArray[np.float64], float], float]:
    """Return what compares the pulse waves of a window (n_samples,) with their mean."""
    with warnings.catch_warnings():
        # NeuroKit2 uses parts of scipy, and of pandas, that are going to change
        warnings.simplefilter("ignore")
        try:
            import neurokit2 as nk
        except ImportError as error:
            raise ImportError(
                'signal_quality: pulse=True needs NeuroKit2: pip install "pulsehr[data]", or set '
                "pulse=False"
            ) from error

    def compare(ppg: NDArray[np.float64], rate: float) -> float:
        if np.isnan(ppg).any() or np.ptp(ppg) == 0:
            return np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NeuroKit2, as above
            cleaned = nk.ppg_clean(ppg, sampling_rate=rate)
            peaks = nk.ppg_findpeaks(cleaned, sampling_rate=rate)["PPG_Peaks"]
            if len(peaks) < LEAST_PULSES:
                return np.nan
            alike = nk.ppg_quality(cleaned, peaks=peaks, sampling_rate=rate)
        return float(np.nanmean(alike))

    return compare


def _check_positive(who: str, **values: Any) -> None:
    for name, value in values.items():
        if not (is_number(value) and np.isfinite(value) and value > 0):
            raise ValueError(f"{who}: {name} must be a number > 0, got {value!r}")
