"""`PPGWindower`: readings, or windows cut elsewhere, into evenly sampled, normalised windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from pulsehr._resampling import resample_at
from pulsehr._rows import group_by_recording, readings_in
from pulsehr._validation import check_hyperparameters, check_windows, restored_on_error
from pulsehr.recordings import FloatArray, Recording

#: Order of the Butterworth band-pass (two second-order sections).
BANDPASS_ORDER = 2

#: Seconds of past on which the causal band-pass settles, in periods of its lower edge.
SETTLING_PERIODS = 4.0

#: A window whose spread is under this share of its largest value is flat: float32 carries
#: seven digits, so that less is the rounding of our own sums.
FLAT = 1e-9

NORMALIZATIONS = ("window", "channel", None)
PADDINGS = ("error", "reflect")


class PPGWindower(TransformerMixin, BaseEstimator):
    """Cut the window that ends at each reading, resample and normalise it.

    One row in, one row out. A window holds the `window` seconds before the instant of its
    reading, channel 0 the PPG and channels 1 to 3 the acceleration x, y, z in g. The last sample
    lies ``1 / sampling_rate`` seconds before the instant. Signals of other
    rates are resampled with an anti-aliasing filter that looks at most five samples of the
    slower rate (0.16 s for the default of 32 Hz) past the instant, and never past the
    end of the recording.

    Windows that were cut elsewhere are taken as 3-D arrays, or as 2-D rows with `n_channels`;
    they keep their rows and their rate and are only band-passed and normalised.

    Parameters
    ----------
    window : float, default=8.0
        Length in seconds.
    sampling_rate : float, default=32.0
        Rate of the windows in Hz, also that of windows cut elsewhere.
    normalize : {"window", "channel", None}, default="window"
        "window": the PPG to zero mean and unit standard deviation in each window, the
        acceleration minus its mean in each window, still in g; gain and offset of the sensor
        drop out, which lets one model serve many devices. A flat PPG window becomes zeros.
        "channel": one mean and standard deviation per channel, learnt in `fit` from the
        training windows, as in [1]_; for one device. None: as measured.
    bandpass : tuple of 2 float, default=None
        Lower and upper edge in Hz of a causal Butterworth band-pass of all channels, settled
        on the four periods of its lower edge before the window (where there are).
    padding : {"error", "reflect"}, default="error"
        What to do at an instant with less than a window of past: raise, or reflect the past
        there is, so that a grid search over longer windows keeps its rows.
    flatten : bool, default=False
        Return 2-D rows, for estimators that know no 3-D X.
    n_channels : int, default=1
        Channels of 2-D rows, which hold one channel after the other.

    Attributes
    ----------
    n_channels_ : int
        Channels of the windows seen in `fit`.
    mean_, scale_ : ndarray of shape (n_channels,)
        What "channel" subtracts and divides by; only with ``normalize="channel"``.
    n_features_in_ : int
        Features of 2-D rows, if `fit` saw such.

    References
    ----------
    .. [1] Kasnesis et al., Replacing Attention with Modality-wise Convolution for
       Energy-Efficient PPG-based Heart Rate Estimation using Knowledge Distillation, 2025.

    Examples
    --------
    >>> from pulsehr import PPGWindower
    >>> from pulsehr.datasets import make_recordings
    >>> data = make_recordings(n_subjects=1, duration=60, random_state=0)
    >>> PPGWindower().fit_transform(data.X).shape
    (27, 4, 256)
    """

    def __init__(
        self,
        window: float = 8.0,
        sampling_rate: float = 32.0,
        normalize: str | None = "window",
        bandpass: tuple[float, float] | None = None,
        padding: str = "error",
        flatten: bool = False,
        n_channels: int = 1,
    ) -> None:
        self.window = window
        self.sampling_rate = sampling_rate
        self.normalize = normalize
        self.bandpass = bandpass
        self.padding = padding
        self.flatten = flatten
        self.n_channels = n_channels

    def fit(self, X: Any, y: Any = None) -> PPGWindower:
        """Learn the number of channels and, with "channel", their mean and scale.

        Parameters
        ----------
        X : list of Reading, or ndarray of shape (n_windows, n_channels, n_times) or \
                (n_windows, n_channels * n_times)
            Training rows.
        y : ignored
            Present for the API.

        Returns
        -------
        PPGWindower
            Itself.

        Raises
        ------
        ValueError
            If a parameter or a row is out of its range.
        TypeError
            If X is neither readings nor numbers.
        """
        with restored_on_error(self):
            self._fit(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> NDArray[np.float32]:
        """Fit and transform, cutting the windows once.

        Parameters
        ----------
        X : list of Reading, or ndarray
            Training rows, as in `fit`.
        y : ignored
            Present for the API.

        Returns
        -------
        ndarray of shape (n_windows, n_channels, n_times), float32
            The windows; 2-D rows with ``flatten=True``.
        """
        with restored_on_error(self):
            return self._finish(self._fit(X))

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Cut, resample and normalise the window of each row.

        Parameters
        ----------
        X : list of Reading, or ndarray
            Rows, as in `fit`.

        Returns
        -------
        ndarray of shape (n_windows, n_channels, n_times), float32
            The windows; 2-D rows with ``flatten=True``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If an instant has too little past, or channels differ from those seen in `fit`.
        """
        check_is_fitted(self, ["n_channels_"] + ["scale_"] * (self.normalize == "channel"))
        self._check_parameters()
        windows = self._cut(X, reset=False)
        if windows.shape[1] != self.n_channels_:
            raise ValueError(
                f"PPGWindower: expected {self.n_channels_} channels as in fit, "
                f"got {windows.shape[1]}"
            )
        return self._finish(windows)

    def _fit(self, X: Any) -> NDArray[np.float64]:
        self._check_parameters()
        for name in ("mean_", "scale_", "n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)  # of an earlier fit
        windows = self._cut(X, reset=True)
        if self.normalize == "channel":
            mean = windows.mean(axis=(0, 2))
            scale = windows.std(axis=(0, 2))
            flat = scale <= FLAT * np.abs(mean)
            if flat.any():
                raise ValueError(
                    f"PPGWindower: channel {int(np.argmax(flat))} is constant in all training "
                    f"windows, expected it to vary with normalize='channel'"
                )
            self.mean_, self.scale_ = mean, scale
        self.n_channels_ = windows.shape[1]
        return windows

    def _finish(self, windows: NDArray[np.float64]) -> NDArray[np.float32]:
        if self.normalize == "window":
            windows = _normalize_window(windows)
        elif self.normalize == "channel":
            windows = (windows - self.mean_[:, None]) / self.scale_[:, None]
        finished = windows.astype(np.float32)
        return finished.reshape(len(windows), -1) if self.flatten else finished

    def _cut(self, X: Any, reset: bool) -> NDArray[np.float64]:
        """Return windows (n_windows, n_channels, n_times), band-passed, not yet normalised."""
        readings = readings_in(X)
        if readings is None:
            elsewhere = check_windows(self, X, n_channels=self.n_channels, reset=reset)
            return self._bandpassed(elsewhere.astype(np.float64), 0)
        groups = group_by_recording(readings)
        channels = _common_channels([recording for recording, _ in groups])
        settling = self._settling_samples()
        n_times = round(self.window * self.sampling_rate)
        windows = np.empty((len(readings), channels, n_times), dtype=np.float64)
        for recording, rows in groups:
            instants = np.array([readings[row].instant for row in rows])
            self._check_instants(recording, instants)
            times = self._sample_times(instants, settling + n_times)
            cut = np.concatenate(
                [
                    resample_at(*signals, times, self.sampling_rate)
                    for signals in _signals(recording)
                ],
                axis=2,
            )
            windows[rows] = self._bandpassed(np.moveaxis(cut, 2, 1), settling)
        return windows

    def _sample_times(self, instants: NDArray[np.float64], n_times: int) -> NDArray[np.float64]:
        """Return when each sample was taken (n_windows, n_times), reflected at the start."""
        before = np.arange(n_times, 0, -1) / self.sampling_rate
        times = instants[:, None] - before
        if self.padding == "reflect":
            # a triangle wave between the start and the instant: never past the instant
            last = instants[:, None] - 1 / self.sampling_rate
            phase = np.mod(times, 2 * last)
            reflected = np.where(phase > last, 2 * last - phase, phase)
            times = np.where(times < 0, reflected, times)
        return times

    def _bandpassed(self, signals: NDArray[np.float64], settling: int) -> NDArray[np.float64]:
        if self.bandpass is None:
            return signals
        sos = butter(BANDPASS_ORDER, self.bandpass, "bandpass", fs=self.sampling_rate, output="sos")
        # as if the first sample had lasted forever: what is constant does not pass
        filtered = sosfilt(sos, signals - signals[..., :1], axis=-1)[..., settling:]
        filtered[_is_flat(signals[..., settling:])] = 0.0
        return filtered

    def _settling_samples(self) -> int:
        if self.bandpass is None:
            return 0
        return int(np.ceil(SETTLING_PERIODS / self.bandpass[0] * self.sampling_rate))

    def _check_instants(self, recording: Recording, instants: NDArray[np.float64]) -> None:
        half_sample = 0.5 / self.sampling_rate
        late = instants > recording.duration + half_sample
        shortest = 2 / self.sampling_rate if self.padding == "reflect" else self.window
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

    def _edges(self) -> tuple[float, float]:
        """Return the edges of the band-pass, which must be two numbers."""
        try:
            low, high = map(float, self.bandpass or ())
        except (TypeError, ValueError):
            raise ValueError(
                f"PPGWindower: bandpass must be (low, high) in Hz or None, got {self.bandpass!r}"
            ) from None
        return low, high

    def _check_parameters(self) -> None:
        check_hyperparameters(self)
        if round(self.window * self.sampling_rate) < 2:
            raise ValueError(
                f"PPGWindower: window must hold two samples or more, got {self.window:g} s at "
                f"{self.sampling_rate:g} Hz"
            )
        for name, known in (("normalize", NORMALIZATIONS), ("padding", PADDINGS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"PPGWindower: {name} must be one of {known}, got {getattr(self, name)!r}"
                )
        if self.bandpass is not None:
            low, high = self._edges()
            if not 0 < low < high < self.sampling_rate / 2:
                raise ValueError(
                    f"PPGWindower: bandpass must satisfy 0 < low < high < "
                    f"{self.sampling_rate / 2:g} Hz, got {self.bandpass!r}"
                )

    def onnx_parser(self) -> Any:
        """Return what tells skl2onnx the outputs."""
        from pulsehr import _onnx_hooks

        return _onnx_hooks.parser_of(self)

    def onnx_shape_calculator(self) -> Any:
        """Return what tells skl2onnx the shape of the output."""
        from pulsehr import _onnx_hooks

        return _onnx_hooks.calculate_shapes

    def onnx_converter(self) -> Any:
        """Return what writes the ONNX nodes, see `pulsehr.to_onnx`."""
        from pulsehr import _onnx_hooks

        return _onnx_hooks.convert

    def __sklearn_tags__(self) -> Any:
        """Take 2-D and 3-D X without NaN."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _signals(recording: Recording) -> Iterator[tuple[FloatArray, float]]:
    """Yield the signals (n_samples, n_signals) of each sensor with their rate in Hz."""
    yield recording.ppg[:, np.newaxis], recording.ppg_rate
    if recording.acc is not None and recording.acc_rate is not None:
        yield recording.acc, recording.acc_rate


def _common_channels(recordings: list[Recording]) -> int:
    first = recordings[0]
    for other in recordings:
        if other.n_channels != first.n_channels:
            without, with_acc = (first, other) if first.acc is None else (other, first)
            raise ValueError(
                f"PPGWindower: recordings must all have acceleration or all lack it, got "
                f"{with_acc.name!r} with and {without.name!r} without"
            )
    return first.n_channels


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
