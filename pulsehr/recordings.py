"""What was measured (`Recording`), and where in it a heart rate is wanted (`Reading`)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pulsehr._gaps import NO_RUNS, Gap, Runs, SensorSignal
from pulsehr._labels import HEART_RATE_RANGE as HEART_RATE_RANGE
from pulsehr._labels import check_heart_rate, valid_series
from pulsehr._reading_list import ReadingList as ReadingList
from pulsehr._signals import FloatArray, Signal, valid_signal

#: PPG and acceleration may end this far apart (s) and still belong together.
MAX_END_DIFFERENCE = 1.0

#: A wrist feels about 1 g; a median length beyond this (g) is most likely another unit.
MAX_MEDIAN_ACC = 4.0

#: What can be done with readings over a gap.
GAPS = ("skip", "keep")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Recording:
    """Hold one wrist recording: PPG and acceleration, each at its own rate.

    Sample ``k`` of a signal was taken ``k / rate`` seconds after the start. The arrays are
    validated once, copied only if they have to be converted, and read-only afterwards. Two
    recordings are equal only if they are the same object.

    NaN stands for a sample that is missing, in the acceleration on any axis for all three: a gap.
    What lies on its other side is never looked at; `docs/gaps.md` says what follows of that.

    Signals on disk stay there: a `numpy.memmap` opened with mode "r" and a zarr array (or what
    else has shape, type and slices, and no memory of its own) are checked block by block and
    read by the slice, of any numeric type. `ppg` and `acc` are then no arrays: slices of them
    are, and ``numpy.asarray`` reads them whole. A pickle holds their place, not their
    samples. A `numpy.memmap` of another mode, through which somebody may write, is copied.

    Parameters
    ----------
    ppg : array-like of shape (n_ppg_samples,)
        The PPG, in any unit and polarity; kept as float32.
    ppg_rate : float
        Sampling rate of the PPG in Hz.
    acc : array-like of shape (n_acc_samples, 3) or (3, n_acc_samples), default=None
        Acceleration in g, kept as ``(n_acc_samples, 3)``; None for a device without.
    acc_rate : float, default=None
        Sampling rate of the acceleration in Hz; wanted exactly if `acc` is given.
    heart_rate : array-like of shape (n_labels,), default=None
        Labels in bpm, 20 to 250: the mean heart rate of the seconds that end at
        `heart_rate_times` (eight seconds in all public data sets).
    heart_rate_times : array-like of shape (n_labels,), default=None
        Instant of each label, in seconds after the start, increasing.
    activity : array-like of shape (n_activities,), default=None
        Name of each activity in its order in time.
    activity_times : array-like of shape (n_activities,), default=None
        Second at which each activity starts, increasing; it lasts until the next.
    subject : str, default=""
        Who was measured: rows of one subject never cross a split.
    name : str, default=""
        How errors and tables call the recording; empty takes `subject`.

    Raises
    ------
    ValueError
        If a signal is empty, constant, of the wrong shape, infinite or NaN throughout, a rate is
        not positive, a label lies outside 20 to 250 bpm, or lengths do not fit together.
    TypeError
        If a signal is not numeric.

    Warns
    -----
    UserWarning
        If the acceleration does not look as if it were in g.

    Examples
    --------
    >>> import numpy as np
    >>> from pulsehr import Recording
    >>> ppg = np.sin(2 * np.pi * 1.2 * np.arange(0, 60, 1 / 64))
    >>> recording = Recording(ppg=ppg, ppg_rate=64, subject="S1")
    >>> recording
    Recording('S1': 60.0 s, PPG 64 Hz, no acceleration, no labels)
    >>> len(recording.readings(stride=2.0))
    27
    """

    ppg: Signal
    ppg_rate: float
    acc: Signal | None = None
    acc_rate: float | None = None
    heart_rate: FloatArray | None = None
    heart_rate_times: FloatArray | None = None
    activity: NDArray[np.str_] | None = None
    activity_times: FloatArray | None = None
    subject: str = ""
    name: str = ""
    _missing: tuple[Runs, ...] = field(default=(NO_RUNS, NO_RUNS), init=False)

    @classmethod
    def from_frame(cls, frame: Any, **columns: Any) -> Recording:
        """Make a recording of a table with time stamps, or of rows at a constant rate.

        Parameters
        ----------
        frame : DataFrame or mapping or structured array
            One row per sample.
        **columns
            Names of columns, units, rates and further fields: see
            `pulsehr.frames.read_frame`, which also reports what was done.

        Returns
        -------
        Recording
            Samples on a regular grid, NaN where samples are missing.

        Examples
        --------
        >>> import numpy as np
        >>> from pulsehr import Recording
        >>> table = {"time": np.arange(1280) / 64, "ppg": np.sin(np.arange(1280) / 8)}
        >>> Recording.from_frame(table, acc=None, subject="S1")
        Recording('S1': 20.0 s, PPG 64 Hz, no acceleration, no labels)
        """
        from pulsehr.frames import read_frame  # which makes recordings

        return read_frame(frame, **columns)[0]

    def __post_init__(self) -> None:
        """Validate every field once and make the arrays read-only."""
        self._set("subject", str(self.subject))
        self._set("name", str(self.name) or self.subject or "unnamed")
        ppg, ppg_missing, _ = valid_signal(self._who("ppg"), self.ppg, ndim=1)
        acc_missing = NO_RUNS
        self._set("ppg", ppg)
        self._set("ppg_rate", self._rate("ppg_rate", self.ppg_rate))
        if (self.acc is None) != (self.acc_rate is None):
            raise self._error("acc and acc_rate go together, got one without the other")
        if self.acc is not None:
            acc, acc_missing, some = valid_signal(self._who("acc"), self.acc, ndim=2)
            self._set("acc", acc)
            self._set("acc_rate", self._rate("acc_rate", self.acc_rate))
            self._warn_of_units(some)
        self._set("_missing", (ppg_missing, acc_missing))
        self._check_ends()
        self._set_series("heart_rate")
        self._check_heart_rate()
        self._set_series("activity")

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore from a pickle with the arrays read-only again."""
        for value in state.values():
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
        self.__dict__.update(state)

    def __repr__(self) -> str:
        """Say name, duration, rates and how many labels there are."""
        acc = "no acceleration" if self.acc is None else f"ACC {self.acc_rate:g} Hz"
        labels = "no labels" if self.heart_rate is None else f"{len(self.heart_rate)} labels"
        n_gaps = sum(map(len, self._missing))
        gaps = f", {n_gaps} gap{'s' * (n_gaps != 1)}" if n_gaps else ""
        return (
            f"Recording({self.name!r}: {self.duration:.1f} s, PPG {self.ppg_rate:g} Hz, "
            f"{acc}, {labels}{gaps})"
        )

    @property
    def duration(self) -> float:
        """Seconds that all signals cover."""
        ppg_end = len(self.ppg) / self.ppg_rate
        if self.acc is None or self.acc_rate is None:
            return ppg_end
        return min(ppg_end, len(self.acc) / self.acc_rate)

    @property
    def n_channels(self) -> int:
        """1 (PPG alone) or 4 (PPG and acceleration)."""
        return 1 if self.acc is None else 4

    @property
    def signals(self) -> tuple[SensorSignal, ...]:
        """The signal of each sensor, with its rate and what is missing of it."""
        ppg = SensorSignal("ppg", self.ppg, self.ppg_rate, self._missing[0])
        if self.acc is None or self.acc_rate is None:
            return (ppg,)
        return ppg, SensorSignal("acc", self.acc, self.acc_rate, self._missing[1])

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """Where samples are missing, in order of time."""
        every = [gap for signal in self.signals for gap in signal.gaps]
        return tuple(sorted(every, key=lambda gap: gap.start))

    def over_gap(self, instants: ArrayLike, *, window: float = 8.0) -> NDArray[np.bool_]:
        """Tell which instants have a gap in the `window` before them.

        Parameters
        ----------
        instants : array-like of shape (n_instants,)
            Seconds after the start.
        window : float, default=8.0
            Seconds before each that are looked at.

        Returns
        -------
        ndarray of bool, shape (n_instants,)
            Whether any sensor misses a sample at a time from ``instant - window`` until just
            before ``instant``.
        """
        window = self._positive("window", window)
        when = np.asarray(instants, dtype=np.float64)
        over = [signal.over_gap(when, window) for signal in self.signals]
        return np.asarray(np.any(over, axis=0))

    def readings(
        self, stride: float = 2.0, *, window: float = 8.0, gaps: str = "skip"
    ) -> list[Reading]:
        """List a reading every `stride` seconds.

        Parameters
        ----------
        stride : float, default=2.0
            Seconds between readings.
        window : float, default=8.0
            Instant of the first reading in seconds: the past that a reading needs.
        gaps : {"skip", "keep"}, default="skip"
            "skip" leaves out readings over a gap, which miss a sample of that past (`over_gap`),
            and leaves the others where they are. "keep" lists them, too.

        Returns
        -------
        list of Reading
            At ``window``, ``window + stride``, ... up to the end of the recording.

        Raises
        ------
        ValueError
            If the recording is shorter than `window`, or `gaps` is not known.
        """
        stride = self._positive("stride", stride)
        window = self._positive("window", window)
        if self.duration < window:
            raise self._error(f"lasts {self.duration:.2f} s, shorter than a window of {window:g} s")
        # half a microsecond forgives the rounding of duration = n_samples / rate
        n_readings = int(np.floor((self.duration - window) / stride + 5e-7)) + 1
        instants = window + stride * np.arange(n_readings)
        return self._readings_at(instants, window, gaps)

    def labelled_readings(self, *, window: float = 8.0, gaps: str = "skip") -> list[Reading]:
        """List a reading at the instant of every label with a `window` of past.

        Parameters
        ----------
        window : float, default=8.0
            Labels earlier than this (s) are left out.
        gaps : {"skip", "keep"}, default="skip"
            Whether labels over a gap are left out, as in `readings`.

        Returns
        -------
        list of Reading
            Each has its label in `Reading.heart_rate`.

        Raises
        ------
        ValueError
            If the recording has no labels, or `gaps` is not known.
        """
        if self.heart_rate_times is None:
            raise self._error("has no heart_rate labels")
        window = self._positive("window", window)
        times = self.heart_rate_times
        usable = (times >= window - 1e-6) & (times <= self.duration + 1e-6)
        return self._readings_at(times[usable], window, gaps)

    def activity_at(self, instants: ArrayLike) -> NDArray[np.str_]:
        """Name the activity at each instant.

        Parameters
        ----------
        instants : array-like of shape (n_instants,)
            Seconds after the start.

        Returns
        -------
        ndarray of str, shape (n_instants,)
            Empty strings where no activity is known.
        """
        instants = np.asarray(instants, dtype=float)
        if self.activity is None or self.activity_times is None:
            return np.full(instants.shape, "", dtype=np.str_)
        index = np.searchsorted(self.activity_times, instants, side="right") - 1
        return np.where(index >= 0, self.activity[np.maximum(index, 0)], "")

    def _readings_at(self, instants: FloatArray, window: float, gaps: str) -> list[Reading]:
        if gaps not in GAPS:
            raise self._error(f"gaps must be one of {GAPS}, got {gaps!r}")
        if gaps == "skip":
            instants = instants[~self.over_gap(instants, window=window)]
        return ReadingList(Reading(self, float(t)) for t in instants)

    def _set(self, field: str, value: object) -> None:
        object.__setattr__(self, field, value)

    def _who(self, field: str) -> str:
        return f"Recording {self.name!r}: {field}"

    def _error(self, message: str) -> ValueError:
        return ValueError(f"Recording {self.name!r}: {message}")

    def _positive(self, field: str, value: Any) -> float:
        if not is_number(value):
            raise TypeError(f"Recording {self.name!r}: {field} must be a number, got {value!r}")
        if not (np.isfinite(value) and value > 0):
            raise self._error(f"{field} must be > 0, got {value}")
        return float(value)

    def _rate(self, field: str, value: float | None) -> float:
        return self._positive(f"{field} (Hz)", value)

    def _warn_of_units(self, some: NDArray[np.float32]) -> None:
        median = float(np.median(np.linalg.norm(some, axis=1)))
        if median > MAX_MEDIAN_ACC:
            warnings.warn(
                f"Recording {self.name!r}: acc has a median length of {median:.3g}, expected about "
                f"1 g at a wrist: divide m/s^2 by 9.81, and counts by the counts per g, or tell "
                f"from_frame their acc_unit",
                stacklevel=4,
            )

    def _check_ends(self) -> None:
        if self.acc is None or self.acc_rate is None:
            return
        ppg_end, acc_end = len(self.ppg) / self.ppg_rate, len(self.acc) / self.acc_rate
        if abs(ppg_end - acc_end) > MAX_END_DIFFERENCE:
            raise self._error(
                f"ppg lasts {ppg_end:.2f} s but acc {acc_end:.2f} s: check ppg_rate and "
                f"acc_rate, or cut both to the seconds they share"
            )

    def _set_series(self, field: str) -> None:
        times = f"{field}_times"
        values, when = valid_series(
            f"Recording {self.name!r}", field, getattr(self, field), getattr(self, times)
        )
        self._set(field, values)
        self._set(times, when)

    def _check_heart_rate(self) -> None:
        if self.heart_rate is not None and self.heart_rate_times is not None:
            who = f"Recording {self.name!r}"
            check_heart_rate(who, self.heart_rate, self.heart_rate_times, self.duration)


@dataclass(frozen=True, slots=True)
class Reading:
    """Say where a heart rate is wanted: a recording and an instant in it.

    A reading holds no samples, so window length, sampling rate and filter stay
    hyper-parameters. Lists of readings, and object arrays of them, are X everywhere in
    scikit-learn; a pickled list holds each recording once.

    Parameters
    ----------
    recording : Recording
        Where the samples are.
    instant : float
        Seconds after the start of the recording; windows end here.

    Examples
    --------
    >>> import numpy as np
    >>> from pulsehr import Reading, Recording
    >>> recording = Recording(ppg=np.sin(np.arange(640) / 5), ppg_rate=32, subject="S1")
    >>> Reading(recording, 8.0)
    Reading('S1' at 8 s)
    """

    recording: Recording
    instant: float

    def __post_init__(self) -> None:
        """Check the types; whether the instant has enough past depends on the window."""
        if not isinstance(self.recording, Recording):
            raise TypeError(
                f"Reading: recording must be a Recording, got {type(self.recording).__name__}"
            )
        if not is_number(self.instant):
            raise TypeError(f"Reading: instant must be a number, got {self.instant!r}")
        if not np.isfinite(self.instant):
            raise ValueError(f"Reading: instant must be finite, got {self.instant}")

    def __repr__(self) -> str:
        """Name recording and instant."""
        return f"Reading({self.recording.name!r} at {self.instant:g} s)"

    @property
    def subject(self) -> str:
        """Who was measured."""
        return self.recording.subject

    @property
    def heart_rate(self) -> float | None:
        """Label at this instant in bpm, None if there is none."""
        times, labels = self.recording.heart_rate_times, self.recording.heart_rate
        if times is None or labels is None:
            return None
        index = int(np.searchsorted(times, self.instant - 1e-6))
        if index == len(times) or abs(times[index] - self.instant) > 1e-6:
            return None
        return float(labels[index])


def is_number(value: object) -> bool:
    """Tell whether a value is a real number, not a truth value and not text."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
