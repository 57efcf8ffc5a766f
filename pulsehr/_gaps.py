"""Where samples of a signal are missing, and which samples are the past of an instant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Seconds that forgive the rounding of instants and of the times of samples.
TOLERANCE = 1e-6

#: Runs of missing samples (n_gaps, 2), in order: the first that is missing, the first after it.
Runs = NDArray[np.int64]

#: What a signal without a gap has.
NO_RUNS: Runs = np.empty((0, 2), np.int64)


@dataclass(frozen=True, slots=True)
class Gap:
    """Say where samples of a signal are missing: from `start` until just before `end`.

    Parameters
    ----------
    signal : {"ppg", "acc"}
        Which signal.
    start, end : float
        When the first missing sample and the first after it were due, in seconds.

    Examples
    --------
    >>> import numpy as np
    >>> from pulsehr import Recording
    >>> ppg = np.sin(np.arange(640) / 5)
    >>> ppg[320:352] = np.nan
    >>> Recording(ppg=ppg, ppg_rate=32).gaps
    (Gap(signal='ppg', start=10.0, end=11.0),)
    """

    signal: str
    start: float
    end: float

    def __str__(self) -> str:
        """Say signal and seconds."""
        return f"{self.signal} from {self.start:g} to {self.end:g} s"


@dataclass(frozen=True, eq=False)
class SensorSignal:
    """What a sensor measured, and where it did not.

    The end of a gap is like the start of a recording and the start of a gap like its end: what
    lies beyond is never looked at. A *stretch* is what lies between two gaps.

    Parameters
    ----------
    name : {"ppg", "acc"}
        Which signal.
    samples : ndarray or StoredSignal of shape (n_samples,) or (n_samples, 3)
        NaN where one is missing.
    rate : float
        In Hz; sample ``k`` was taken ``k / rate`` seconds after the start.
    missing : ndarray of int, shape (n_gaps, 2)
        The runs of missing samples.
    """

    name: str
    samples: Any
    rate: float
    missing: Runs

    @property
    def gaps(self) -> list[Gap]:
        """The runs of missing samples in seconds."""
        return [Gap(self.name, float(a), float(b)) for a, b in self.missing / self.rate]

    def over_gap(self, instants: NDArray[np.float64], span: float) -> NDArray[np.bool_]:
        """Tell before which instants (n_instants,) a sample is missing.

        Parameters
        ----------
        instants : ndarray of shape (n_instants,)
            In seconds.
        span : float
            Seconds before the instant that are looked at, and the last sample before it anyway.

        Returns
        -------
        ndarray of bool, shape (n_instants,)
            True where one is.
        """
        if not len(self.missing):
            return np.zeros(instants.shape, np.bool_)
        number = self._gap_before(instants)
        last_missing = (self.missing[number, 1] - 1) / self.rate
        since = instants - max(span, 1 / self.rate) - TOLERANCE
        return np.asarray((number >= 0) & (last_missing >= since))

    def stretch(self, instants: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Find the stretch before each instant.

        Parameters
        ----------
        instants : ndarray of shape (n_instants,)
            In seconds, none of them just after a missing sample.

        Returns
        -------
        first, stop : ndarray of int, shape (n_instants,)
            Its first sample, and the first after it.
        """
        number = self._gap_before(instants)
        ends = np.r_[0, self.missing[:, 1]]
        starts = np.r_[self.missing[:, 0], len(self.samples)]
        return ends[number + 1], starts[number + 1]

    def gap_before(self, instant: float) -> Gap:
        """Return the last gap that begins before an instant, in seconds."""
        number = int(self._gap_before(np.array([instant]))[0])
        start, end = (self.missing[number] / self.rate).tolist()
        return Gap(self.name, start, end)

    def _gap_before(self, instants: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return the number of the last gap that begins before each instant, -1 for none."""
        starts = self.missing[:, 0] / self.rate
        return np.searchsorted(starts, instants - TOLERANCE, side="left") - 1


def runs_of(missing: NDArray[np.bool_], start: int = 0) -> Runs:
    """Find the runs of True.

    Parameters
    ----------
    missing : ndarray of bool, shape (n_samples,)
        Which samples are missing.
    start : int, default=0
        Number of the first of them.

    Returns
    -------
    ndarray of int, shape (n_gaps, 2)
        The runs.
    """
    edges = np.flatnonzero(np.diff(missing, prepend=False, append=False))
    return edges.reshape(-1, 2).astype(np.int64) + start


def joined(runs: Sequence[Runs]) -> Runs:
    """Join the runs of successive blocks, of which one may end where the next begins."""
    every = np.concatenate([NO_RUNS, *runs])
    if len(every) == 0:
        return NO_RUNS
    apart = every[1:, 0] != every[:-1, 1]
    return np.stack([every[np.r_[True, apart], 0], every[np.r_[apart, True], 1]], axis=1)
