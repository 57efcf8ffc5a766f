"""Cut windows of one recording, resampled and band-passed, and normalise windows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from pulsehr._gaps import TOLERANCE, Gap, SensorSignal
from pulsehr._resampling import resample_at, sample_before
from pulsehr._stored import StoredSignal
from pulsehr.recordings import Recording

#: Order of the Butterworth band-pass (two second-order sections).
BANDPASS_ORDER = 2

#: Seconds of past on which the causal band-pass settles, in periods of its lower edge.
SETTLING_PERIODS = 4.0

#: A window whose spread is under this share of its largest value is flat: float32 carries
#: seven digits, so that less is the rounding of our own sums.
FLAT = 1e-9


@dataclass(frozen=True)
class Cutting:
    """Say how windows are cut; the fields are the parameters of `PPGWindower`.

    Parameters
    ----------
    window : float
        Seconds.
    sampling_rate : float
        Of the windows, in Hz.
    bandpass : tuple of 2 float or None
        Edges in Hz.
    padding : {"error", "reflect"}
        At an instant with less than a window of past.
    antialias : bool, default=True
        Whether signals of other rates are filtered as they are resampled.
    missing : {"error", "nan"}, default="error"
        At an instant over a gap.
    """

    window: float
    sampling_rate: float
    bandpass: tuple[float, float] | None
    padding: str
    antialias: bool = True
    missing: str = "error"

    @property
    def n_times(self) -> int:
        """Samples of a window."""
        return round(self.window * self.sampling_rate)

    def check_instants(self, recording: Recording, instants: NDArray[np.float64]) -> None:
        """Raise ValueError for the first instant (n_windows,) at which there is no window."""
        half_sample = 0.5 / self.sampling_rate
        late = instants > recording.duration + half_sample
        shortest = self._shortest()
        early = instants < shortest - 1e-6
        for wrong, problem in (
            (late, f"lies after the end at {recording.duration:g} s"),
            (
                early,
                f"has less than {shortest:g} s of past, as a window of {self.window:g} s needs: "
                f"leave it out, or set padding='reflect'",
            ),
        ):
            if wrong.any():
                raise ValueError(
                    f"PPGWindower: instant {instants[np.argmax(wrong)]:g} s of recording "
                    f"{recording.name!r} {problem}"
                )

    def over_gap(
        self, recording: Recording, instants: NDArray[np.float64]
    ) -> NDArray[np.bool_] | None:
        """Tell which windows (n_windows,) lie over a gap; None for a recording without one."""
        signals = [signal for signal in recording.signals if len(signal.missing)]
        if not signals:
            return None
        over = [signal.over_gap(instants, self._span(signal)) for signal in signals]
        return np.asarray(np.any(over, axis=0))

    def gap_under(self, recording: Recording, instant: float) -> Gap:
        """Return a gap over which the window at an instant lies."""
        when = np.array([instant])
        return next(
            signal.gap_before(instant)
            for signal in recording.signals
            if signal.over_gap(when, self._span(signal))[0]
        )

    def cut(self, recording: Recording, instants: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return windows (n_windows, n_channels, n_times), band-passed, not normalised.

        Those over a gap are NaN.
        """
        over = self.over_gap(recording, instants)
        if over is None or not over.any():
            return self._cut(recording, instants)
        windows = np.full((len(instants), recording.n_channels, self.n_times), np.nan)
        if not over.all():
            windows[~over] = self._cut(recording, instants[~over])
        return windows

    def _cut(self, recording: Recording, instants: NDArray[np.float64]) -> NDArray[np.float64]:
        settling, signals = self._settling_samples(), recording.signals
        times = self._sample_times(signals, instants, settling + self.n_times)
        cut = np.empty((len(times), recording.n_channels, times.shape[1]))
        first = 0
        for signal in signals:
            last = first + (3 if signal.samples.ndim == 2 else 1)
            self._resample(signal, instants, times, cut[:, first:last])
            first = last
        # what is in memory was validated and cannot change
        on_disk = any(isinstance(signal.samples, StoredSignal) for signal in signals)
        if on_disk and not np.isfinite(cut).all():
            bad = instants[~np.isfinite(cut).all(axis=(1, 2))]
            raise ValueError(
                f"PPGWindower: recording {recording.name!r} has NaN or infinite samples on disk "
                f"before {bad[0]:g} s, expected what was checked when it was made: make it again"
            )
        return self.bandpassed(cut, settling)

    def _shortest(self) -> float:
        """Seconds of past that a window needs."""
        return 2 / self.sampling_rate if self.padding == "reflect" else self.window

    def _span(self, signal: SensorSignal) -> float:
        """Seconds before an instant in which no sample may be missing."""
        if self.padding != "reflect":
            return self.window
        # the first sample after a missing one is where a reflected past may begin
        return self._shortest() + 1 / signal.rate - 2 * TOLERANCE

    def _resample(
        self,
        signal: SensorSignal,
        instants: NDArray[np.float64],
        times: NDArray[np.float64],
        out: NDArray[np.float64],
    ) -> None:
        """Fill windows (n_windows, n_signals, n_times) with a signal, each of its stretch alone."""
        if not len(signal.missing):
            out[...] = np.moveaxis(self._at(signal, times, None), 2, 1)
            return
        firsts, stops = signal.stretch(instants)
        for first in np.unique(firsts):
            rows = firsts == first
            stretch = int(first), int(stops[rows][0])
            out[rows] = np.moveaxis(self._at(signal, times[rows], stretch), 2, 1)

    def _at(
        self, signal: SensorSignal, times: NDArray[np.float64], stretch: tuple[int, int] | None
    ) -> NDArray[np.floating]:
        if self.antialias:
            return resample_at(signal.samples, signal.rate, times, self.sampling_rate, stretch)
        return sample_before(signal.samples, signal.rate, times, stretch)

    def bandpassed(self, signals: NDArray[np.float64], settling: int = 0) -> NDArray[np.float64]:
        """Return signals (..., settling + n_times) without their first samples, filtered."""
        if self.bandpass is None:
            return signals
        sos = butter(BANDPASS_ORDER, self.bandpass, "bandpass", fs=self.sampling_rate, output="sos")
        # as if the first sample had lasted forever: what is constant does not pass
        filtered: NDArray[np.float64] = sosfilt(sos, signals - signals[..., :1], axis=-1)[
            ..., settling:
        ]
        filtered[_is_flat(signals[..., settling:])] = 0.0
        return filtered

    def _settling_samples(self) -> int:
        if self.bandpass is None:
            return 0
        return int(np.ceil(SETTLING_PERIODS / self.bandpass[0] * self.sampling_rate))

    def _sample_times(
        self, signals: tuple[SensorSignal, ...], instants: NDArray[np.float64], n_times: int
    ) -> NDArray[np.float64]:
        """Return when each sample was taken (n_windows, n_times), reflected at the start."""
        before = np.arange(n_times, 0, -1) / self.sampling_rate
        times = instants[:, None] - before
        if self.padding == "reflect":
            # a triangle wave between the start and the instant: never past the instant; of all
            # signals at the last of their starts, so that pulse and motion stay together
            starts = np.max([signal.stretch(instants)[0] / signal.rate for signal in signals], 0)
            start = starts[:, None]
            past = instants[:, None] - 1 / self.sampling_rate - start
            phase = np.mod(times - start, 2 * past)
            reflected = start + np.where(phase > past, 2 * past - phase, phase)
            times = np.where(times < start, reflected, times)
        return times


@dataclass(frozen=True, eq=False)
class Normalization:
    """Say how windows are normalised.

    Parameters
    ----------
    kind : {"window", "channel", None}
        As `PPGWindower` has it.
    mean, scale : ndarray of shape (n_channels,) or None
        For "channel".
    """

    kind: str | None = None
    mean: NDArray[np.float64] | None = None
    scale: NDArray[np.float64] | None = None

    def __call__(self, windows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return normalised windows (n_windows, n_channels, n_times)."""
        if self.kind == "window":
            return _normalize_window(windows)
        if self.mean is None or self.scale is None:
            return windows
        return (windows - self.mean[:, None]) / self.scale[:, None]


def channel_statistics(
    blocks: Iterable[NDArray[np.float64]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute mean and standard deviation of each channel in one pass ([1]_).

    Parameters
    ----------
    blocks : iterable of ndarray of shape (n_windows, n_channels, n_times)
        The windows, some at a time; those that are NaN throughout do not count.

    Returns
    -------
    mean, scale : ndarray of shape (n_channels,)
        Over all windows and times.

    References
    ----------
    .. [1] Chan, Golub, LeVeque, Updating Formulae and a Pairwise Algorithm for Computing
       Sample Variances, 1979, eq. 2.1.
    """
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    for every in blocks:
        missing = np.isnan(every[:, 0, 0])
        block = every[~missing] if missing.any() else every
        if len(block) == 0:
            continue
        n = block.shape[0] * block.shape[2]
        step = block.mean(axis=(0, 2)) - mean
        squares = squares + block.var(axis=(0, 2)) * n + step**2 * (count * n / (count + n))
        count += n
        mean = mean + step * (n / count)
    if count == 0:
        raise ValueError(
            "PPGWindower: all training rows lie over gaps, expected some that do not with "
            "normalize='channel'"
        )
    return mean, np.sqrt(squares / count)


def _normalize_window(windows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre every channel, and scale the PPG to unit standard deviation (flat: zeros)."""
    flat = _is_flat(windows[:, 0])
    windows = windows - windows.mean(axis=2, keepdims=True)
    scale = windows[:, 0].std(axis=1)
    windows[:, 0] /= np.where(flat, 1.0, scale)[:, None]
    windows[flat, 0] = 0.0
    return windows


def _is_flat(signals: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which signals (..., n_times) do not vary."""
    largest = np.abs(signals).max(axis=-1)
    return np.asarray(np.ptp(signals, axis=-1) <= FLAT * largest)
