"""What the heart rate was by another device: its log as labels, and how far its clock is off."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.pipeline import make_pipeline

from pulsehr._signals import finite
from pulsehr.baselines import MotionAwareSpectralRegressor
from pulsehr.datasets._ecg import plausible_intervals
from pulsehr.exceptions import RepairedDataWarning
from pulsehr.recordings import HEART_RATE_RANGE, Recording, is_number
from pulsehr.windows import PPGWindower

FloatArray: TypeAlias = NDArray[np.float64]

#: RR intervals (s) outside are missed or false beats, as in the public data sets.
RR_RANGE = (0.27, 1.5)

#: Share of labels that holes in the log may cost without a warning.
MAX_QUIET_SHARE = 0.01

#: Lags that are compared are so far apart (s), and errors beyond a limit (bpm) count as it:
#: a PPG that is locked to the cadence says nothing of the lag.
LAG_STEP, ERROR_LIMIT = 0.25, 10.0

#: Readings so far apart (s) are compared; stretches so long (s) are drawn for the interval.
READING_STRIDE, BLOCK = 1.0, 30.0

#: How often stretches are drawn, and the quantiles that are reported.
N_DRAWS, INTERVAL = 500, (0.05, 0.95)

#: Fewest readings of which a lag can be told.
MIN_READINGS = 60


@dataclass(frozen=True, eq=False)
class LagEstimate:
    """Say by how much the clock of a reference is off, and how well that is known.

    Parameters
    ----------
    lag : float
        Seconds to add to the times of the reference: the `offset` of `with_reference` that
        fits the PPG best.
    interval : tuple of 2 float
        Where 90 % of the lags lie that other stretches of the recording give (bootstrap).
    error, error_at_zero : float
        Mean absolute difference in bpm between the reference and the heart rate that the PPG
        shows, at `lag` and at 0.
    correlation, correlation_at_zero : float
        Their correlation.
    n_readings : int
        Readings that were compared.
    lags, errors : ndarray of shape (n_lags,)
        All lags tried in seconds, and the mean difference in bpm at each, where more than
        10 bpm count as 10.
    """

    lag: float
    interval: tuple[float, float]
    error: float
    error_at_zero: float
    correlation: float
    correlation_at_zero: float
    n_readings: int
    lags: FloatArray
    errors: FloatArray

    def __str__(self) -> str:
        """Report lag, interval and what it rests on."""
        low, high = self.interval
        edge = np.abs([self.lag, low, high]).max() > np.abs(self.lags).max() - LAG_STEP / 2
        return (
            f"lag {self.lag:+.2f} s (90 % of the draws between {low:+.2f} and {high:+.2f} s"
            f"{', which reaches the last one tried: raise max_lag' if edge else ''}): "
            f"{self.error:.1f} bpm between reference and PPG, correlation {self.correlation:.2f}; "
            f"without a lag {self.error_at_zero:.1f} bpm and {self.correlation_at_zero:.2f}; "
            f"{self.n_readings} readings. Nothing was shifted. A lag that is fitted to a recording "
            f"under test leaks its PPG into its labels: take one offset for all recordings of a "
            f"set-up, from training subjects"
        )


def with_reference(
    recording: Recording,
    times: ArrayLike,
    heart_rate: ArrayLike | None = None,
    *,
    rr: ArrayLike | None = None,
    offset: float = 0.0,
    window: float = 8.0,
    stride: float = 2.0,
    max_gap: float = 3.0,
) -> Recording:
    """Label a recording by the log of another device, such as a chest belt.

    Parameters
    ----------
    recording : Recording
        Without labels.
    times : array-like of shape (n_entries,)
        Time of each entry of the log in seconds after the start of the recording, by the
        clock of the log, increasing: for RR intervals the beat that ends the interval.
    heart_rate : array-like of shape (n_entries,), default=None
        Heart rate in bpm, as belts log it once a second.
    rr : array-like of shape (n_entries,), default=None
        RR intervals in seconds, in place of `heart_rate`.
    offset : float, default=0.0
        Seconds to add to `times` to have those of the recording; 0.0 believes that both clocks
        agree. `estimate_lag` estimates it; nothing else does, and nothing shifts by itself.
    window : float, default=8.0
        Seconds that a label describes; they end at the label's time.
    stride : float, default=2.0
        Seconds between labels, the first at `window`.
    max_gap : float, default=3.0
        A label whose window has a longer time (s) without an entry, its ends included, is
        left out.

    Returns
    -------
    Recording
        The same with labels: the mean of the heart rates in each window, or 60 by the mean of
        the RR intervals whose middle lies in it.

    Raises
    ------
    ValueError
        If the recording has labels, the log is neither of the two, its times do not increase,
        its values are no heart rates or intervals, or no window is covered.

    Warns
    -----
    RepairedDataWarning
        If entries are no heart rate (20 to 250 bpm; belts without contact log 0) or no
        interval (0.27 to 1.5 s, and neither a missed nor a false beat by those around, as
        `pulsehr.datasets.load_wesad` tells them) and count as not there, or holes in the log
        cost more than 1 % of the labels.

    Examples
    --------
    >>> import numpy as np
    >>> from pulsehr import Recording
    >>> from pulsehr.reference import with_reference
    >>> recording = Recording(ppg=np.sin(np.arange(1920) / 5), ppg_rate=64, subject="S1")
    >>> seconds = np.arange(30)
    >>> labelled = with_reference(recording, seconds, 70 + seconds, offset=0.0)
    >>> labelled.heart_rate_times[:3], labelled.heart_rate[:3]
    (array([ 8., 10., 12.]), array([74.5, 76.5, 78.5]))
    """
    who = f"with_reference: {recording.name!r}"
    for name, value in {"window": window, "stride": stride, "max_gap": max_gap}.items():
        _check_positive(who, name, value)
    if not (is_number(offset) and np.isfinite(offset)):
        raise ValueError(f"{who}: offset must be a finite number of seconds, got {offset!r}")
    if recording.heart_rate is not None:
        raise ValueError(
            f"{who}: the recording must have no labels, got {len(recording.heart_rate)}: to "
            f"replace them, dataclasses.replace(recording, heart_rate=None, heart_rate_times=None)"
        )
    log = _Log.of(who, times, heart_rate, rr)
    n_labels = int(np.floor((recording.duration - window) / stride + 5e-7)) + 1
    ends = window + stride * np.arange(max(0, n_labels))
    labels = log.means(np.asarray(ends - offset, dtype=np.float64), window, max_gap)
    known = ~np.isnan(labels)
    if not known.any():
        raise ValueError(
            f"{who}: expected a log that covers a window of {window:g} s, got entries at "
            f"{log.times[0] + offset:.1f} to {log.times[-1] + offset:.1f} s (with offset) for a "
            f"recording of {recording.duration:.1f} s: are times seconds after its start, and both "
            f"clocks of one time zone?"
        )
    told = []
    if log.n_implausible:
        told.append(f"{log.n_implausible} entries of the log are implausible and were left out")
    lost = int((~known).sum())
    if lost > MAX_QUIET_SHARE * len(ends):
        told.append(
            f"{lost} of {len(ends)} windows have no label, as the log has none for {max_gap:g} s"
        )
    if told:
        warnings.warn(f"{who}: {'; '.join(told)}", RepairedDataWarning, stacklevel=2)
    return dataclasses.replace(recording, heart_rate=labels[known], heart_rate_times=ends[known])


def estimate_lag(
    recording: Recording,
    times: ArrayLike,
    heart_rate: ArrayLike | None = None,
    *,
    rr: ArrayLike | None = None,
    max_lag: float = 20.0,
    window: float = 8.0,
    max_gap: float = 3.0,
    estimator: Any = None,
    random_state: int = 0,
) -> LagEstimate:
    """Estimate by how much the clock of a reference is off; nothing is shifted by it.

    The heart rate that the PPG shows in windows that end every second is compared with that
    of the log for every lag, as `with_reference` averages it. The best lag has the smallest mean
    difference, where more than 10 bpm count as 10. How well it is known is told by drawing
    stretches of 30 s with replacement. **A lag fitted to a recording under test is a leak**: it
    moves the labels towards the PPG.

    Parameters
    ----------
    recording : Recording
        Its labels, if any, are not looked at.
    times, heart_rate, rr : array-like of shape (n_entries,)
        The log, as in `with_reference`.
    max_lag : float, default=20.0
        Lags from minus to plus this many seconds are compared, every quarter of a second.
    window : float, default=8.0
        Seconds of a reading.
    max_gap : float, default=3.0
        Longest time in seconds without an entry, as in `with_reference`.
    estimator : estimator, default=None
        Fitted; predicts heart rates of readings. None takes `MotionAwareSpectralRegressor`,
        which has learnt nothing.
    random_state : int, default=0
        Seed of the draws.

    Returns
    -------
    LagEstimate
        Lag, interval, and the agreement with and without. ``print`` it.

    Raises
    ------
    ValueError
        If the log is invalid, or fewer than 60 readings can be compared at all lags.

    Notes
    -----
    A lag shows only where the heart rate changes; at rest the interval is wide. What a belt
    takes to average and send its heart rate counts as lag too, rightly so. The first and the last
    `max_lag` seconds of the log cannot be compared at all lags and are left out. A log with one
    entry every two seconds tells no lag better than to a second.

    Examples
    --------
    >>> from pulsehr.datasets import make_recordings
    >>> from pulsehr.reference import estimate_lag
    >>> recording = make_recordings(1, 300, motion=0, random_state=1).recordings[0]
    >>> belt = recording.heart_rate_times - 4 - 3  # middle of each label; its clock 3 s late
    >>> estimate = estimate_lag(recording, belt, recording.heart_rate)
    >>> abs(estimate.lag - 3) < 1
    True
    """
    who = f"estimate_lag: {recording.name!r}"
    for name, value in {"window": window, "max_lag": max_lag, "max_gap": max_gap}.items():
        _check_positive(who, name, value)
    log = _Log.of(who, times, heart_rate, rr)
    readings = recording.readings(READING_STRIDE, window=window)
    instants = np.array([reading.instant for reading in readings])
    n_steps = int(np.floor(max_lag / LAG_STEP + 1e-9))
    lags: FloatArray = np.arange(-n_steps, n_steps + 1, dtype=np.float64) * LAG_STEP
    truth = np.array([log.means(instants - lag, window, max_gap) for lag in lags])
    seen = np.asarray((estimator or _spectral(readings[:1], window)).predict(readings), dtype=float)
    usable = np.isfinite(truth).all(axis=0) & np.isfinite(seen)
    if usable.sum() < MIN_READINGS:
        _check_apart(who, log, recording)
        raise ValueError(
            f"{who}: expected at least {MIN_READINGS} readings that the log covers at all lags up "
            f"to {max_lag:g} s, got {int(usable.sum())}: lower max_lag, or take a longer recording"
        )
    truth, seen, instants = truth[:, usable], seen[usable], instants[usable]
    away = np.abs(truth - seen)
    counted = np.minimum(away, ERROR_LIMIT)
    errors = counted.mean(axis=1)
    best = int(np.argmin(errors))
    draws = lags[_drawn_minima(counted, instants, random_state)]
    low, high = np.quantile(draws, INTERVAL)
    return LagEstimate(
        lag=float(lags[best]),
        interval=(float(low), float(high)),
        error=float(away[best].mean()),
        error_at_zero=float(away[n_steps].mean()),
        correlation=_correlation(truth[best], seen),
        correlation_at_zero=_correlation(truth[n_steps], seen),
        n_readings=int(usable.sum()),
        lags=lags,
        errors=errors,
    )


@dataclass(frozen=True)
class _Log:
    """The entries of a log that count: when, and seconds per beat or beats per minute."""

    times: FloatArray
    values: FloatArray
    rr: bool
    n_implausible: int

    @classmethod
    def of(
        cls, who: str, times: ArrayLike, heart_rate: ArrayLike | None, rr: ArrayLike | None
    ) -> _Log:
        if (heart_rate is None) == (rr is None):
            raise ValueError(f"{who}: expected either heart_rate or rr, got both or neither")
        name, given = ("heart_rate", heart_rate) if rr is None else ("rr", rr)
        when, values = finite(f"{who}: times", times), finite(f"{who}: {name}", given)
        if when.ndim != 1 or when.shape != values.shape or len(when) == 0:
            raise ValueError(
                f"{who}: times and {name} must be 1-D, not empty and of equal length, got shapes "
                f"{when.shape} and {values.shape}"
            )
        if np.any(np.diff(when) <= 0):
            index = int(np.argmax(np.diff(when) <= 0))
            raise ValueError(
                f"{who}: times must increase, got {when[index]:g} before {when[index + 1]:g} s at "
                f"index {index}: sort the log, and drop what it says twice"
            )
        low, high = HEART_RATE_RANGE if rr is None else RR_RANGE
        plausible = (values >= low) & (values <= high)
        if plausible.mean() < 0.5:
            unit = "bpm" if rr is None else "seconds (belts count ms or 1/1024 s)"
            raise ValueError(
                f"{who}: {name} must lie within {low:g} to {high:g}, got a median of "
                f"{np.median(values):g}: is it in {unit}?"
            )
        if rr is not None:
            plausible &= plausible_intervals(values)
            if not plausible.any():
                raise ValueError(
                    f"{who}: rr must be intervals between successive beats, got none beside which "
                    f"there is no missed or false beat: is an interval missing every other time?"
                )
        when, values = when[plausible], values[plausible]
        if rr is not None:
            when = when - values / 2
            order = np.argsort(when, kind="stable")
            when, values = when[order], values[order]
        return cls(when, values, rr is not None, int((~plausible).sum()))

    def means(self, ends: FloatArray, window: float, max_gap: float) -> FloatArray:
        """Average in ``(end - window, end]``, NaN where `max_gap` seconds have no entry."""
        # a microsecond forgives the rounding of times and offset
        first = np.searchsorted(self.times, ends - window + 1e-6, side="right")
        last = np.searchsorted(self.times, ends + 1e-6, side="right")
        some = last > first
        i, j = np.where(some, first, 0), np.where(some, last, 1)
        holes = np.concatenate([[0], np.cumsum(np.diff(self.times) > max_gap)])
        covered = (
            some
            & (self.times[i] - (ends - window) <= max_gap)
            & (ends - self.times[j - 1] <= max_gap)
            & (holes[j - 1] == holes[i])
        )
        sums = np.concatenate([[0.0], np.cumsum(self.values)])
        mean = (sums[j] - sums[i]) / (j - i)
        return np.where(covered, 60 / mean if self.rr else mean, np.nan)


def _check_apart(who: str, log: _Log, recording: Recording) -> None:
    """Refuse a log of another time, such as one in milliseconds or since 1970."""
    if not np.any((log.times >= 0) & (log.times <= recording.duration)):
        raise ValueError(
            f"{who}: expected entries of the log within 0 to {recording.duration:.1f} s, got "
            f"{log.times[0]:.1f} to {log.times[-1]:.1f} s: are times seconds after its start, "
            f"and both clocks of one time zone?"
        )


def _spectral(readings: Any, window: float) -> Any:
    pipe = make_pipeline(PPGWindower(window=window, lazy=True), MotionAwareSpectralRegressor())
    return pipe.fit(readings, [60.0])  # which learns nothing


def _drawn_minima(errors: FloatArray, instants: FloatArray, random_state: int) -> NDArray[np.intp]:
    """Return the best lag's index (n_draws,) for stretches drawn with replacement."""
    _, block = np.unique(instants // BLOCK, return_inverse=True)
    n_blocks = int(block.max()) + 1
    sums = np.stack([np.bincount(block, row, minlength=n_blocks) for row in errors])
    sizes = np.bincount(block, minlength=n_blocks)
    rng = np.random.default_rng(random_state)
    weights = rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=N_DRAWS).T
    drawn: NDArray[np.intp] = np.argmin(sums @ weights / (sizes @ weights), axis=0)
    return drawn


def _correlation(one: FloatArray, other: FloatArray) -> float:
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def _check_positive(who: str, name: str, value: Any) -> None:
    if not (is_number(value) and np.isfinite(value) and value > 0):
        raise ValueError(f"{who}: {name} must be > 0 s, got {value!r}")
