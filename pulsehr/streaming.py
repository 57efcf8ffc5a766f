"""`HeartRateStream`: heart rates while the sensors still measure."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pulsehr._cutting import Cutting
from pulsehr._gaps import NO_RUNS
from pulsehr._inference import BATCH
from pulsehr._live_samples import LiveSamples
from pulsehr._live_tracking import LiveEstimator
from pulsehr._resampling import HALF_WIDTH
from pulsehr._signals import _numbers
from pulsehr.recordings import MAX_END_DIFFERENCE, Reading, Recording, is_number

__all__ = ["HeartRate", "HeartRateStream"]

#: Samples by which positions may be rounded.
ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class HeartRate:
    """Say what the heart rate was at an instant.

    Parameters
    ----------
    instant : float
        Seconds after the start of the stream.
    heart_rate : float
        In bpm.
    std : float or None
        How far it may be off, in bpm; None if the pipeline does not say.
    """

    instant: float
    heart_rate: float
    std: float | None


class HeartRateStream:
    """Take samples as they come, and give a heart rate every `stride` seconds.

    The heart rates are, to the bit, those of ``pipe.predict(recording.readings(stride))`` of the
    recording that the stream is in the end, however its samples come: in packets of any size, each
    sensor at its own rate, late, twice or in another order. Each is given as soon as the samples
    that it depends on are settled: there, or missing for good.

    A sample that is NaN is missing, and so is one that did not come although samples more than
    `max_delay` seconds after it, of any sensor, were there before a push. Readings over such gaps
    are left out, as `Recording.readings` does. Memory holds the window, the seconds on which a
    band-pass settles and `max_delay`, no more, unless `keep` is set.

    Threads may share a stream: one call waits for the other.

    Parameters
    ----------
    pipe : Pipeline, HeartRateTracker or search
        Fitted. A pipeline that begins with a `PPGWindower`, by itself, as the best of a search, or
        inside a `HeartRateTracker` without `lookahead`.
    ppg_rate : float
        Sampling rate of the PPG in Hz.
    acc_rate : float, default=None
        Sampling rate of the acceleration in Hz; wanted exactly if `pipe` was fitted with it.
    stride, window : float, default=2.0, 8.0
        Seconds between heart rates, and instant of the first: as in `Recording.readings`.
    max_delay : float, default=5.0
        Seconds that a sample may come after later ones. What is missing for longer is given up:
        it delays heart rates by as much. ``numpy.inf`` waits for ever.
    keep : bool, default=False
        Keep all samples, for `recording`.
    name : str, default="live"
        How errors and the recording call it.

    Attributes
    ----------
    n_dropped : int
        Samples that were left, as they had come before or came too late.

    Warns
    -----
    UserWarning
        If samples come too late, or the acceleration does not look as if it were in g.

    Examples
    --------
    >>> from pulsehr import HeartRateStream, load_pretrained
    >>> from pulsehr.datasets import make_recordings
    >>> recording = make_recordings(n_subjects=1, duration=14, random_state=0).recordings[0]
    >>> with HeartRateStream(load_pretrained(), ppg_rate=64, acc_rate=32) as stream:
    ...     for second in range(14):
    ...         ppg = recording.ppg[64 * second : 64 * (second + 1)]
    ...         acc = recording.acc[32 * second : 32 * (second + 1)]
    ...         for reading in stream.push(ppg=ppg, acc=acc):
    ...             print(reading.instant, 30 < reading.heart_rate < 220)
    8.0 True
    10.0 True
    12.0 True
    >>> [reading.instant for reading in stream.finish()]
    [14.0]
    """

    def __init__(
        self,
        pipe: Any,
        ppg_rate: float,
        acc_rate: float | None = None,
        stride: float = 2.0,
        *,
        window: float = 8.0,
        max_delay: float = 5.0,
        keep: bool = False,
        name: str = "live",
    ) -> None:
        self.pipe = pipe
        self._estimator = LiveEstimator(pipe)
        windower = self._estimator.windower
        self.stride = _positive("stride", stride)
        self.max_delay = _positive("max_delay", max_delay, infinite=True)
        self.keep = keep
        self.name = str(name)
        self.window = _positive("window", window)
        self.n_dropped = 0
        ppg = LiveSamples("ppg", _positive("ppg_rate", ppg_rate), ())
        self._sensors = {"ppg": ppg}
        if (acc_rate is not None) != (windower.n_channels_ > 1):
            raise ValueError(
                f"HeartRateStream: the pipeline was fitted on {windower.n_channels_} channels, "
                f"expected acc_rate exactly with acceleration (4 channels), got {acc_rate!r}"
            )
        if acc_rate is not None:
            self._sensors["acc"] = LiveSamples("acc", _positive("acc_rate", acc_rate), (3,))
        self._cutting: Cutting = windower._cutting()
        if self._cutting.padding == "error" and self.window < self._cutting.window:
            raise ValueError(
                f"HeartRateStream: window must be at least the {self._cutting.window:g} s of the "
                f"pipeline's windows, got {self.window:g}: pass window={self._cutting.window:g}"
            )
        self._n_done = 0  # readings that were given or left out
        self._unchecked = True  # the unit of the acceleration
        self._ready: list[HeartRate] = []  # what an interrupted push could not return
        self._last: list[HeartRate] | None = None
        self._lock = RLock()

    def push(
        self,
        ppg: ArrayLike | None = None,
        acc: ArrayLike | None = None,
        ppg_start: int | None = None,
        acc_start: int | None = None,
    ) -> list[HeartRate]:
        """Take samples, and give the heart rates for which all is there now.

        A call that refuses its arguments takes nothing. One that the pipeline, or Ctrl-C, ends has
        taken its samples: the next, of further samples or none, gives the heart rates. Either way
        the stream goes on.

        Parameters
        ----------
        ppg : array-like of shape (n_samples,), default=None
            The PPG in any unit and polarity, of any number of samples.
        acc : array-like of shape (n_samples, 3), default=None
            Acceleration in g.
        ppg_start, acc_start : int, default=None
            Number of the first sample, 0 for the first of the stream: says what is late, missing
            or there twice. None: they follow on the newest of that sensor.

        Returns
        -------
        list of HeartRate
            In order of time; mostly none or one.

        Raises
        ------
        ValueError
            If samples are infinite or of another shape, a number is negative or far ahead, or
            `finish` was called.
        TypeError
            If samples are not numeric, or a number is not whole.
        """
        with self._lock:
            if self._last is not None:
                raise ValueError(
                    f"HeartRateStream {self.name!r}: push after finish(): begin another stream"
                )
            packets = [
                self._packet(field, samples, start)
                for field, samples, start in (("ppg", ppg, ppg_start), ("acc", acc, acc_start))
                if samples is not None or start is not None
            ]
            for sensor, start, samples in packets:
                self._warn_if_late(sensor, start, start + len(samples))
            before = max(sensor.received / sensor.rate for sensor in self._sensors.values())
            for sensor, start, samples in packets:
                self.n_dropped += sensor.place(start, samples)
            if np.isfinite(self.max_delay):
                for sensor in self._sensors.values():
                    sensor.give_up(int(np.floor((before - self.max_delay) * sensor.rate)))
            return self._answer(self._n_settled())

    def finish(self) -> list[HeartRate]:
        """End the stream, and give the last heart rates as at the end of a recording.

        What is due is missing for good; a sensor that ended more than a second before the other
        misses the rest.

        Returns
        -------
        list of HeartRate
            Those that were waiting for later samples; the same again if called again.
        """
        with self._lock:
            if self._last is None:
                sensors = self._sensors.values()
                ends = [sensor.received / sensor.rate for sensor in sensors]
                for sensor in sensors:
                    sensor.give_up(sensor.received)
                    if max(ends) - sensor.front / sensor.rate > MAX_END_DIFFERENCE:
                        sensor.give_up(int(np.floor(max(ends) * sensor.rate)))
                self._last = self._answer(self._n_in_recording())
            return list(self._last)

    def recording(self) -> Recording:
        """Return the finished recording.

        Returns
        -------
        Recording
            With NaN where samples are missing.

        Raises
        ------
        ValueError
            If the stream does not `keep` its samples, is not finished, or is no valid recording:
            constant, or without a sample.
        """
        with self._lock:
            if not self.keep or self._last is None:
                raise ValueError(
                    f"HeartRateStream {self.name!r}: recording() needs keep=True and finish() "
                    f"before, got keep={self.keep!r}{' and no finish()' * (self._last is None)}"
                )
            signals = {name: sensor[:].copy() for name, sensor in self._sensors.items()}
            rates = {f"{name}_rate": sensor.rate for name, sensor in self._sensors.items()}
            arguments: dict[str, Any] = {**signals, **rates, "name": self.name}
            return Recording(**arguments)

    def __enter__(self) -> HeartRateStream:
        """Return itself."""
        return self

    def __exit__(self, kind: Any, *error: Any) -> None:
        """Finish; `finish` then gives the last heart rates."""
        if kind is None:
            self.finish()

    def _packet(
        self, field: str, values: Any, start: Any
    ) -> tuple[LiveSamples, int, NDArray[np.float32]]:
        """Return valid samples, whose they are and the number of the first."""
        who = f"HeartRateStream: {field}"
        sensor = self._sensors.get(field)
        if sensor is None:
            raise ValueError(f"{who} came, but the stream has no acc_rate: leave {field} out")
        if values is None:
            raise ValueError(f"{who}_start came without {field}: pass both")
        samples: Any = _numbers(who, values, np.float32)
        if samples.ndim != 1 + len(sensor.axes) or samples.shape[1:] != sensor.axes:
            wanted = "(n_samples, 3) in g" if sensor.axes else "(n_samples,)"
            raise ValueError(f"{who} must have shape {wanted}, got {samples.shape}")
        if np.isinf(samples).any():
            first = int(np.argwhere(np.isinf(samples))[0][0])
            raise ValueError(
                f"{who} must be finite, or NaN where a sample is missing, got an infinite value "
                f"at index {first} of the packet"
            )
        if start is None:
            return sensor, sensor.received, samples
        if not isinstance(start, (int, np.integer)) or isinstance(start, bool):
            raise TypeError(f"{who}_start must be a whole number, got {start!r}")
        if start < 0:
            raise ValueError(f"{who}_start must be >= 0, got {start}")
        sensor.check_start(int(start))
        return sensor, int(start), samples

    def _warn_if_late(self, sensor: LiveSamples, start: int, stop: int) -> None:
        late = sensor.too_late(start, stop)
        if late:
            warnings.warn(
                f"HeartRateStream {self.name!r}: {late} samples of {sensor.name} came more than "
                f"max_delay={self.max_delay:g} s late and are dropped: set a longer max_delay, or "
                f"say {sensor.name}_start if they are not late",
                stacklevel=3,
            )

    def _n_settled(self) -> int:
        """Count the readings whose samples are all settled."""
        n = self._n_done
        while all(
            sensor.front >= self._needed(sensor, self.window + self.stride * n)
            for sensor in self._sensors.values()
        ):
            n += 1
        return n

    def _n_in_recording(self) -> int:
        """Count the readings of the recording, if it ended here."""
        recording = self._so_far()
        if recording.duration < self.window:
            return 0
        return len(recording.readings(self.stride, window=self.window, gaps="keep"))

    def _needed(self, sensor: LiveSamples, instant: float) -> int:
        """Return one after the last sample that a window looks at, or that is due before it."""
        cutting = self._cutting
        position = (instant - 1 / cutting.sampling_rate) * sensor.rate
        ahead = _taps_ahead(sensor.rate, cutting.sampling_rate) if cutting.antialias else 0
        return max(
            int(np.floor(position + ROUNDING)) + ahead + 1,
            int(np.ceil(instant * sensor.rate - ROUNDING)),
        )

    def _forget(self) -> None:
        """Let go of what lies before the window, and its settling, of the next reading."""
        cutting = self._cutting
        seen = (cutting.n_times + cutting._settling_samples()) / cutting.sampling_rate
        past = max(seen, self.window)  # in which no sample may be missing
        start = self.window + self.stride * self._n_done - past
        for sensor in self._sensors.values():
            taps = _taps_ahead(sensor.rate, cutting.sampling_rate)
            sensor.forget(int(np.floor(start * sensor.rate)) - taps)

    def _answer(self, stop: int) -> list[HeartRate]:
        """Give the heart rates of the readings that are not done before number `stop`."""
        while self._n_done < stop:
            last = min(stop, self._n_done + BATCH)
            instants = self.window + self.stride * np.arange(self._n_done, last)
            self._ready += self._predicted(instants)
            self._n_done = last
        if not self.keep:
            self._forget()
        given, self._ready = self._ready, []
        return given

    def _predicted(self, instants: NDArray[np.floating]) -> list[HeartRate]:
        recording = self._so_far()
        instants = instants[~recording.over_gap(instants, window=self.window)]
        if len(instants) == 0:
            return []
        self._check_units(recording)
        readings = [Reading(recording, float(instant)) for instant in instants]
        return [HeartRate(*answer) for answer in self._estimator(readings)]

    def _so_far(self) -> Recording:
        """Return what is settled as a recording, whose samples were checked as they came."""
        recording = object.__new__(Recording)
        ppg, acc = self._sensors["ppg"], self._sensors.get("acc")
        recording.__setstate__(
            {
                "ppg": ppg.signal.samples,
                "ppg_rate": ppg.rate,
                "acc": acc and acc.signal.samples,
                "acc_rate": acc and acc.rate,
                "name": self.name,
                "_missing": (ppg.missing, acc.missing if acc else NO_RUNS),
            }
        )
        return recording

    def _check_units(self, recording: Recording) -> None:
        """Warn once, at the first heart rate, by the acceleration that is there."""
        unchecked, self._unchecked = self._unchecked, False
        if unchecked and "acc" in self._sensors:
            acc = self._sensors["acc"].held
            recording._warn_of_units(acc[~np.isnan(acc).any(axis=1)])


def _taps_ahead(rate: float, target_rate: float) -> int:
    """Return how many samples after a position the anti-aliasing filter looks at."""
    return int(HALF_WIDTH / min(1.0, target_rate / rate)) + 1


def _positive(name: str, value: Any, infinite: bool = False) -> float:
    if not is_number(value):
        raise TypeError(f"HeartRateStream: {name} must be a number, got {value!r}")
    if not value > 0 or (np.isinf(value) and not infinite):
        raise ValueError(f"HeartRateStream: {name} must be > 0, got {value}")
    return float(value)
