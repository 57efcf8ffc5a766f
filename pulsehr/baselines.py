"""What a learnt heart rate has to beat: peaks of the PPG's spectrum, freed of motion or not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import detrend
from scipy.signal.windows import hann
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from pulsehr import _onnx_methods
from pulsehr._missing_rows import answered
from pulsehr._state import restored_state, stored_state
from pulsehr._validation import (
    check_heart_rates,
    check_hyperparameters,
    check_windows,
    restored_on_error,
)

#: Windows whose spectra are computed at a time, which bounds the memory.
BATCH = 1024

#: Keeps a division by the spectrum of a flat window finite.
TINY = 1e-300


class SpectralPeakRegressor(RegressorMixin, BaseEstimator):
    """Take the frequency of the highest spectral peak of the PPG as the heart rate.

    Each window is freed of its linear trend, tapered by a Hann window and zero-padded to a
    resolution of `resolution` bpm. Acceleration is not used and nothing is learnt.

    Parameters
    ----------
    sampling_rate : float, default=32.0
        Rate of the windows in Hz.
    low, high : float, default=40.0, 210.0
        Heart rates in bpm between which the peak is sought.
    resolution : float, default=0.5
        Distance of the frequencies compared, in bpm.
    n_channels : int, default=1
        Channels of 2-D rows, which hold one channel after the other; 3-D X tells by itself.

    Attributes
    ----------
    n_channels_ : int
        Channels seen in `fit`.

    Examples
    --------
    >>> import numpy as np
    >>> from pulsehr.baselines import SpectralPeakRegressor
    >>> window = np.sin(2 * np.pi * 1.5 * np.arange(256) / 32)[None, None]
    >>> SpectralPeakRegressor().fit(window, [90]).predict(window)
    array([90.])
    """

    def __init__(
        self,
        sampling_rate: float = 32.0,
        low: float = 40.0,
        high: float = 210.0,
        resolution: float = 0.5,
        n_channels: int = 1,
    ) -> None:
        self.sampling_rate = sampling_rate
        self.low = low
        self.high = high
        self.resolution = resolution
        self.n_channels = n_channels

    def fit(self, X: Any, y: Any) -> SpectralPeakRegressor:
        """Note the shape of the windows; heart rates are validated, not used.

        Parameters
        ----------
        X : array-like of shape (n_windows, n_channels, n_times) or \
                (n_windows, n_channels * n_times)
            Windows.
        y : array-like of shape (n_windows,)
            Heart rate in bpm.

        Returns
        -------
        SpectralPeakRegressor
            Itself.
        """
        with restored_on_error(self):
            windows = check_windows(self, X, n_channels=self.n_channels, reset=True)
            check_heart_rates(self, windows, y)
            self.n_channels_ = windows.shape[1]
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Find the peak of each window.

        Parameters
        ----------
        X : array-like of shape (n_windows, n_channels, n_times) or \
                (n_windows, n_channels * n_times)
            Windows.

        Returns
        -------
        ndarray of shape (n_windows,)
            Heart rate in bpm; NaN for rows that are NaN throughout.
        """
        check_is_fitted(self, "n_channels_")
        windows = check_windows(self, X, n_channels=self.n_channels_, reset=False, missing=True)
        return answered(self._all_peaks, windows)[0]

    def _all_peaks(self, windows: Any) -> NDArray[np.float64]:
        starts = range(0, len(windows), BATCH)
        return np.concatenate([self._peaks(windows[k : k + BATCH][:, 0]) for k in starts])

    def _peaks(self, ppg: NDArray[np.float32]) -> NDArray[np.float64]:
        bpm, spectrum = self._spectrum(ppg)
        return bpm[np.argmax(np.abs(spectrum), axis=1)]

    def _spectrum(self, ppg: Any) -> tuple[Any, Any]:
        """Return the heart rates compared (n_rates,) and the spectrum there (n, n_rates)."""
        bpm, spectrum = _tapered_spectrum(ppg, self.sampling_rate, self.resolution)
        sought = (bpm >= self.low) & (bpm <= self.high)
        return bpm[sought], spectrum[:, sought]

    onnx_parser = _onnx_methods.onnx_parser
    onnx_shape_calculator = _onnx_methods.onnx_shape_calculator
    onnx_converter = _onnx_methods.onnx_converter

    def __sklearn_tags__(self) -> Any:
        """Take 2-D and 3-D X without NaN; learn nothing."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.regressor_tags.poor_score = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Return plain data: numbers and texts."""
        return stored_state(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what this or an earlier version stored."""
        super().__setstate__(restored_state(self, state))


class MotionAwareSpectralRegressor(RegressorMixin, BaseEstimator):
    """Take the highest peak of the PPG's spectrum after attenuating what also moves the wrist.

    A Wiener filter with the spectrum of the acceleration as that of the noise, as in WFPV ([1]_),
    and a sum over the pulse and its first harmonic, as a rhythm of the pulse has both; SpaMa
    ([2]_) compares the same two spectra peak by peak. Each window stands for itself: nothing
    is remembered of those before, and nothing is learnt. Without acceleration no frequency is
    attenuated.

    With the amplitude of the PPG ``p(f)``, its largest value within `low` and `high` being 1, and
    the power of the acceleration ``a(f)``, summed over its axes and divided by its largest value
    plus that of a sine of amplitude `rest`, the heart rate is the ``f`` with the largest
    ``s(f) + harmonic * min(s(f), s(2 f))``, where ``s = p * p**2 / (p**2 + attenuation * a)``.

    Parameters
    ----------
    sampling_rate : float, default=32.0
        Rate of the windows in Hz.
    low, high : float, default=40.0, 210.0
        Heart rates in bpm between which the peak is sought.
    resolution : float, default=0.5
        Distance of the frequencies compared, in bpm.
    attenuation : float, default=10.0
        How much larger than the pulse an artefact may be, as power. Chosen, as `harmonic`, on
        recordings of `pulsehr.datasets.make_recordings` alone; 30 did as well there.
    harmonic : float, default=0.5
        Weight of the first harmonic, which counts as far as it is not larger than the pulse.
    rest : float, default=0.02
        Acceleration in g of which motion is worth attenuating; far smaller ones are noise of the
        sensor, whose spectrum says nothing about the PPG.
    n_channels : int, default=1
        Channels of 2-D rows, which hold one channel after the other; 3-D X tells by itself.

    Attributes
    ----------
    n_channels_ : int
        Channels seen in `fit`.

    References
    ----------
    .. [1] Temko, Accurate Heart Rate Monitoring During Physical Exercises Using PPG, IEEE
       Transactions on Biomedical Engineering 64(9), 2017.
    .. [2] Salehizadeh et al., A Novel Time-Varying Spectral Filtering Algorithm for
       Reconstruction of Motion Artifact Corrupted Heart Rate Signals During Intense Physical
       Activities Using a Wearable Photoplethysmogram Sensor, Sensors 16(1), 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from pulsehr.baselines import MotionAwareSpectralRegressor
    >>> times = np.arange(256) / 32
    >>> pulse, step = np.sin(2 * np.pi * 1.5 * times), np.sin(2 * np.pi * 2.5 * times)
    >>> window = np.stack([pulse + 1.2 * step, step, step, step])[None]
    >>> MotionAwareSpectralRegressor().fit(window, [90]).predict(window)
    array([90.])
    """

    def __init__(
        self,
        sampling_rate: float = 32.0,
        low: float = 40.0,
        high: float = 210.0,
        resolution: float = 0.5,
        attenuation: float = 10.0,
        harmonic: float = 0.5,
        rest: float = 0.02,
        n_channels: int = 1,
    ) -> None:
        self.sampling_rate = sampling_rate
        self.low = low
        self.high = high
        self.resolution = resolution
        self.attenuation = attenuation
        self.harmonic = harmonic
        self.rest = rest
        self.n_channels = n_channels

    def fit(self, X: Any, y: Any) -> MotionAwareSpectralRegressor:
        """Note the shape of the windows; heart rates are validated, not used.

        Parameters
        ----------
        X : array-like of shape (n_windows, n_channels, n_times) or \
                (n_windows, n_channels * n_times)
            Windows, the acceleration in g.
        y : array-like of shape (n_windows,)
            Heart rate in bpm.

        Returns
        -------
        MotionAwareSpectralRegressor
            Itself.

        Raises
        ------
        ValueError
            If a parameter or X or y is out of its range.
        """
        self._check_parameters()
        with restored_on_error(self):
            windows = check_windows(self, X, n_channels=self.n_channels, reset=True)
            check_heart_rates(self, windows, y)
            self.n_channels_ = windows.shape[1]
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Find the peak of each window.

        Parameters
        ----------
        X : array-like of shape (n_windows, n_channels, n_times) or \
                (n_windows, n_channels * n_times)
            Windows, the acceleration in g.

        Returns
        -------
        ndarray of shape (n_windows,)
            Heart rate in bpm; NaN for rows that are NaN throughout.
        """
        check_is_fitted(self, "n_channels_")
        windows = check_windows(self, X, n_channels=self.n_channels_, reset=False, missing=True)
        return answered(self._all_peaks, windows)[0]

    def _all_peaks(self, windows: Any) -> NDArray[np.float64]:
        starts = range(0, len(windows), BATCH)
        return np.concatenate([self._peaks(np.asarray(windows[k : k + BATCH])) for k in starts])

    def _peaks(self, windows: NDArray[np.float32]) -> NDArray[np.float64]:
        bpm, spectra = _tapered_spectrum(windows, self.sampling_rate, self.resolution)
        sought = np.flatnonzero((bpm >= self.low) & (bpm <= self.high))
        amplitude = np.abs(spectra[:, 0])
        amplitude /= _largest(amplitude[:, sought])
        motion = np.square(np.abs(spectra[:, 1:])).sum(axis=1)
        # the spectrum of a sine of amplitude 1 has half the sum of the taper as its peak
        at_rest = (self.rest * hann(windows.shape[2]).sum() / 2) ** 2
        motion /= _largest(motion[:, sought]) + at_rest
        power = np.square(amplitude)
        cleaned = amplitude * power / np.maximum(power + self.attenuation * motion, TINY)
        # beyond the Nyquist frequency there is no harmonic
        padded = np.pad(cleaned, ((0, 0), (0, len(bpm))))
        pulse, harmonic = padded[:, sought], padded[:, 2 * sought]
        return bpm[sought][np.argmax(pulse + self.harmonic * np.minimum(pulse, harmonic), axis=1)]

    def _check_parameters(self) -> None:
        check_hyperparameters(self)
        name = type(self).__name__
        for parameter in ("resolution", "rest"):
            if not getattr(self, parameter) > 0:
                raise ValueError(f"{name}: {parameter} must be > 0, got {getattr(self, parameter)}")
        for parameter in ("attenuation", "harmonic"):
            if not getattr(self, parameter) >= 0:
                raise ValueError(
                    f"{name}: {parameter} must be >= 0, got {getattr(self, parameter)}"
                )
        if not 0 < self.low < self.high <= 30 * self.sampling_rate:
            raise ValueError(
                f"{name}: expected 0 < low < high <= {30 * self.sampling_rate:g} bpm (half the "
                f"sampling rate), got low={self.low}, high={self.high}"
            )

    def __sklearn_tags__(self) -> Any:
        """Take 2-D and 3-D X without NaN; learn nothing."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.regressor_tags.poor_score = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Return plain data: numbers and texts."""
        return stored_state(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what this or an earlier version stored."""
        super().__setstate__(restored_state(self, state))


def _tapered_spectrum(windows: Any, sampling_rate: float, resolution: float) -> tuple[Any, Any]:
    """Return the frequencies in bpm (n_rates,) and the spectrum there (..., n_rates)."""
    n_times = windows.shape[-1]
    n_fft = max(n_times, round(60 * sampling_rate / resolution))
    spectrum = np.fft.rfft(detrend(windows, axis=-1) * hann(n_times), n_fft, axis=-1)
    return 60 * np.fft.rfftfreq(n_fft, 1 / sampling_rate), spectrum


def _largest(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest value of each row (n, 1), where it is zero a tiny one."""
    return np.maximum(rows.max(axis=1, keepdims=True), TINY)
