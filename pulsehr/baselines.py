"""What a learnt heart rate has to beat: the highest peak of the PPG's spectrum."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import detrend
from scipy.signal.windows import hann
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from pulsehr import _onnx_methods
from pulsehr._state import restored_state, stored_state
from pulsehr._validation import check_heart_rates, check_windows, restored_on_error

#: Windows whose spectra are computed at a time, which bounds the memory.
BATCH = 1024


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
            Heart rate in bpm.
        """
        check_is_fitted(self, "n_channels_")
        windows = check_windows(self, X, n_channels=self.n_channels_, reset=False)
        starts = range(0, len(windows), BATCH)
        return np.concatenate([self._peaks(windows[k : k + BATCH][:, 0]) for k in starts])

    def _peaks(self, ppg: NDArray[np.float32]) -> NDArray[np.float64]:
        bpm, spectrum = self._spectrum(ppg)
        return bpm[np.argmax(np.abs(spectrum), axis=1)]

    def _spectrum(self, ppg: Any) -> tuple[Any, Any]:
        """Return the heart rates compared (n_rates,) and the spectrum there (n, n_rates)."""
        n_times = ppg.shape[1]
        n_fft = max(n_times, round(60 * self.sampling_rate / self.resolution))
        spectrum = np.fft.rfft(detrend(ppg, axis=1) * hann(n_times), n_fft, axis=1)
        bpm = 60 * np.fft.rfftfreq(n_fft, 1 / self.sampling_rate)
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
