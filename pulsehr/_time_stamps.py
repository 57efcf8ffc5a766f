"""On which regular grid rows with time stamps lie, and where on it samples are missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Stamps of which 95 % are this near (in samples) to a regular grid are those of regular samples
#: with rounded stamps, and samples that near are not moved.
SNAP = 0.1

#: The same (in samples) where stamps are less regular: the rounding of floats.
EXACT = 1e-3

#: How far (in samples) the last stamp may be put off by rounding the rate.
ROUNDING = 0.01

#: Neighbours further apart than this (in samples) have lost samples between them.
LOST = 1.5

#: Length of the mean vector of phases that mean anything: stamps that drift have none.
MIN_RESULTANT = 0.5

#: After a pause this long (s) a device may have been restarted: its phase is no longer known.
PAUSE = 1.0

#: Sampling rates (Hz) of wrist sensors; others come from stamps in another unit than said.
RATE_RANGE = (5.0, 2000.0)

#: Share of steps that may be shorter than half a sample, and longer than `LOST`.
MAX_SHORT_SHARE, MAX_LONG_SHARE = 0.05, 0.2

#: Rows that are out of order and, sorted, nearer than this (in samples) are of two clocks: those of
#: one that was set back lie at most half a sample from the others.
HALF = 0.51

#: Samples of the grid per row: with more, a stamp is wrong or a table holds several recordings.
MAX_SPARSITY = 20

#: How far (relative) the rate by the stamps may be from the rate that was told.
MAX_RATE_DIFFERENCE = 0.02


@dataclass(frozen=True)
class Pace:
    """Say how a sensor's samples follow each other.

    Parameters
    ----------
    rate : float
        Rate of the grid in Hz: as told, or the roundest that the stamps allow.
    measured_rate : float
        Rate by the stamps in Hz.
    phase : float
        Instant in seconds of the grid point next to the first sample.
    jitter : float
        Distance in seconds from the grid that 95 % of the stamps keep.
    """

    rate: float
    measured_rate: float
    phase: float
    jitter: float

    @property
    def regular(self) -> bool:
        """Whether the samples are regular as far as the stamps tell."""
        return self.jitter * self.rate <= SNAP


@dataclass(frozen=True)
class Placed:
    """Hold samples on a regular grid.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_axes)
        NaN where samples are missing.
    n_interpolated, n_missing : int
        Grid points between two samples, and too far from any.
    """

    values: NDArray[np.float64]
    n_interpolated: int
    n_missing: int


@dataclass(frozen=True)
class Rows:
    """Hold the rows of a sensor in order of time, each once.

    Parameters
    ----------
    stamps : ndarray of shape (n_rows,)
        Seconds, increasing.
    values : ndarray of shape (n_rows, n_axes)
        The samples.
    n_doubled : int
        Rows left out because they said the same twice.
    """

    stamps: NDArray[np.float64]
    values: NDArray[np.float64]
    n_doubled: int


def sorted_rows(who: str, stamps: NDArray[np.float64], values: NDArray[np.float64]) -> Rows:
    """Return the rows that hold a sensor in order of time, each once.

    Parameters
    ----------
    who : str
        The sensor, for errors.
    stamps : ndarray of shape (n_rows,)
        Seconds, in any order.
    values : ndarray of shape (n_rows, n_axes)
        The samples, NaN in rows of another sensor.

    Returns
    -------
    Rows
        With stamps that increase.

    Raises
    ------
    ValueError
        If a stamp is missing, or has two samples, or the clock was set back.
    """
    held = ~np.isnan(values).any(axis=1)
    stamps, values = stamps[held], values[held]
    if not np.isfinite(stamps).all():
        raise ValueError(
            f"{who}: expected a time stamp in every row, got {int((~np.isfinite(stamps)).sum())} "
            f"without: drop those rows if they are not wanted"
        )
    in_order = bool(np.all(np.diff(stamps) >= 0))
    if not in_order:
        order = np.argsort(stamps, kind="stable")
        stamps, values = stamps[order], values[order]
    again = np.diff(stamps) <= 0
    differ = again & np.any(np.diff(values, axis=0) != 0, axis=1)
    if differ.any():
        raise ValueError(
            f"{who}: expected one sample per time stamp, got {int(differ.sum())} stamps "
            f"with several, the first {stamps[:-1][differ][0]:.6f} s after the start: are the "
            f"stamps rounded, or those of packets? Give full ones, or, with samples at a constant "
            f"rate and none lost, time=None and the rate"
        )
    once = np.concatenate([[True], ~again])[: len(stamps)]
    rows = Rows(stamps[once], values[once], int(again.sum()))
    steps = np.diff(rows.stamps)
    if not in_order and len(steps) and steps.min() <= HALF * np.median(steps):
        raise ValueError(
            f"{who}: expected time stamps in order, or of rows that were shuffled, got stamps out "
            f"of order that are {steps.min() * 1e3:.3g} ms apart when sorted: the clock was set "
            f"back (summer time?): give time stamps of one clock, or cut the table there"
        )
    return rows


def pace_of(who: str, stamps: NDArray[np.float64], rate: float | None) -> Pace:
    """Measure the rate and the phase of increasing time stamps.

    Parameters
    ----------
    who : str
        The sensor, for errors.
    stamps : ndarray of shape (n_samples,)
        Seconds, increasing.
    rate : float or None
        Rate in Hz if it is known.

    Returns
    -------
    Pace
        Of the grid.

    Raises
    ------
    ValueError
        If there are too few stamps, or none of the rates fits them.
    """
    if len(stamps) < 3:
        raise ValueError(f"{who}: expected at least 3 samples with time stamps, got {len(stamps)}")
    steps = np.diff(stamps)
    step = float(np.median(steps)) if rate is None else 1 / rate
    _check_steps(who, steps, step, rate)
    n_samples = (stamps[-1] - stamps[0]) / step
    if n_samples > MAX_SPARSITY * len(stamps):
        last = int(np.argmax(steps))
        raise ValueError(
            f"{who}: expected samples in at least {1 / MAX_SPARSITY:.0%} of the time, got "
            f"{len(stamps)} rows in {stamps[-1] - stamps[0]:.6g} s, with none for "
            f"{steps[last]:.6g} s after {stamps[last]:.6g} s: cut the table there, or mend the "
            f"time stamp"
        )
    near = steps[np.abs(steps / step - 1) < 0.5]
    typical = float(near.mean()) if len(near) else step
    samples = np.rint(steps / typical)
    _check_lost(who, steps, samples, rate)
    counts = np.concatenate([[0.0], np.cumsum(samples)])
    part = np.concatenate([[0], np.cumsum(steps > PAUSE)])
    measured_rate = 1 / _slope(counts, stamps, part)
    _check_rate(who, measured_rate, rate)
    if rate is None:
        rate = _roundest(measured_rate, (stamps[-1] - stamps[0]) * measured_rate)
    longest = part == np.argmax(np.bincount(part))
    offset = _phase((stamps - stamps[0])[longest] * rate)
    away = (stamps - stamps[0]) * rate - offset
    jitter = float(np.quantile(np.abs(away - np.rint(away)), 0.95)) / rate
    return Pace(rate, measured_rate, float(stamps[0] + offset / rate), jitter)


def place(
    stamps: NDArray[np.float64],
    values: NDArray[np.float64],
    instants: NDArray[np.float64],
    pace: Pace,
    max_gap: float | None,
) -> Placed:
    """Put samples on a regular grid, by the rules of `pulsehr.frames.read_frame`.

    Parameters
    ----------
    stamps : ndarray of shape (n_stamps,)
        Seconds, increasing.
    values : ndarray of shape (n_stamps, n_axes)
        The samples.
    instants : ndarray of shape (n_samples,)
        Seconds of the grid points.
    pace : Pace
        How the samples follow each other.
    max_gap : float or None
        Longest time in seconds between two samples that is interpolated; None for 1.5 samples.

    Returns
    -------
    Placed
        The samples on the grid.
    """
    rate, snap = pace.rate, SNAP if pace.regular else EXACT
    longest = LOST / rate if max_gap is None else max_gap
    after = np.searchsorted(stamps, instants)
    left, right = np.maximum(after - 1, 0), np.minimum(after, len(stamps) - 1)
    nearest = np.where(instants - stamps[left] <= stamps[right] - instants, left, right)
    distance = np.abs(stamps[nearest] - instants)
    # the first and the last sample are held for less than a sample
    at_edge = (left == right) & (distance * rate < 1 - snap)
    copied = (distance * rate <= snap) | at_edge
    step = stamps[right] - stamps[left]
    between = ~copied & (left != right) & (step <= longest * (1 + 1e-9))
    placed = np.full((len(instants), values.shape[1]), np.nan)
    placed[copied] = values[nearest[copied]]
    share = ((instants - stamps[left])[between] / step[between])[:, None]
    placed[between] = (1 - share) * values[left[between]] + share * values[right[between]]
    return Placed(placed, int(between.sum()), int((~copied & ~between).sum()))


def _check_steps(who: str, steps: NDArray[np.float64], step: float, rate: float | None) -> None:
    _check_range(who, 1 / step)
    short = float(np.mean(steps < 0.5 * step))
    if short > MAX_SHORT_SHARE:
        raise ValueError(
            f"{who}: expected time stamps about {step * 1e3:.4g} ms apart "
            f"({1 / step:.5g} Hz), got {short:.0%} of the steps shorter than half of that: are the "
            f"stamps those of packets, is the rate wrong, or was the clock set back? With samples "
            f"at a constant rate and none lost, take time=None and the rate"
        )


def _check_lost(
    who: str, steps: NDArray[np.float64], samples: NDArray[np.float64], rate: float | None
) -> None:
    """Raise if so many steps are of several samples that these may be rounded stamps."""
    long = float(np.mean(samples > 1))
    if rate is None and long > MAX_LONG_SHARE:
        raise ValueError(
            f"{who}: expected one sampling rate, got a median step of {np.median(steps) * 1e3:.4g} "
            f"ms but {long:.0%} of the steps longer than {LOST} of it: are the stamps those of "
            f"packets, or rounded too much? If that many samples were lost, give the rate"
        )


def _check_range(who: str, rate: float) -> None:
    low, high = RATE_RANGE
    if not low <= rate <= high:
        raise ValueError(
            f"{who}: expected a sampling rate of {low:g} to {high:g} Hz, got {rate:.5g} Hz by the "
            f"time stamps: is time_unit right?"
        )


def _check_rate(who: str, measured: float, rate: float | None) -> None:
    _check_range(who, measured)
    if rate is not None and abs(measured / rate - 1) > MAX_RATE_DIFFERENCE:
        raise ValueError(
            f"{who}: expected {rate:g} Hz as told, got {measured:.5g} Hz by the time stamps: "
            f"leave the rate out, and PPGWindower resamples from the true one"
        )


def _slope(
    counts: NDArray[np.float64], stamps: NDArray[np.float64], part: NDArray[np.int64]
) -> float:
    """Return the seconds per sample by least squares, each part with an offset of its own."""
    sizes = np.bincount(part)
    x = counts - (np.bincount(part, counts) / sizes)[part]
    y = stamps - (np.bincount(part, stamps) / sizes)[part]
    return float(x @ y / (x @ x))


def _roundest(rate: float, n_samples: float) -> float:
    """Return the rate with the fewest decimals that drifts by at most `ROUNDING` samples in all."""
    rounded = (round(rate, digits) for digits in range(9))
    return next((r for r in rounded if n_samples * abs(r / rate - 1) <= ROUNDING), rate)


def _phase(samples: NDArray[np.float64]) -> float:
    """Return the mean distance (in samples) from whole numbers, 0 if there is no such."""
    mean = np.exp(2j * np.pi * (samples % 1)).mean()
    return float(np.angle(mean) / (2 * np.pi)) if np.abs(mean) > MIN_RESULTANT else 0.0
