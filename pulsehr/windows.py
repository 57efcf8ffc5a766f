"""`PPGWindower`: readings, or windows cut elsewhere, into evenly sampled, normalised windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from pulsehr import _onnx_methods
from pulsehr._cutting import FLAT, Cutting, Normalization, channel_statistics
from pulsehr._lazy import BLOCK_WINDOWS, LazyWindows, lazy_windows
from pulsehr._rows import readings_in
from pulsehr._state import restored_state, stored_state
from pulsehr._validation import check_hyperparameters, check_windows, restored_on_error

__all__ = ["LazyWindows", "PPGWindower"]

NORMALIZATIONS = ("window", "channel", None)
PADDINGS = ("error", "reflect")
MISSING = ("error", "nan")

#: Names of the channels of a recording with acceleration.
CHANNELS = ("ppg", "acc_x", "acc_y", "acc_z")


def _gives_flat_rows(windower: PPGWindower) -> bool:
    if not windower.flatten:
        raise AttributeError("PPGWindower: 3-D windows have no feature names: set flatten=True")
    return True


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
    lazy : bool, default=False
        Return a `LazyWindows` of readings in place of an array: the same windows, cut when an
        estimator asks for some rows, for more rows than memory holds. Windows cut elsewhere
        are in memory anyway and stay arrays.
    antialias : bool, default=True
        Filter signals of other rates as they are resampled. False takes, for each instant of a
        window, the last sample at or before it: the decimation of [1]_, which sees nothing past
        the instant, but folds what is faster than half of `sampling_rate` onto the pulse.
    missing : {"error", "nan"}, default="error"
        What to do at an instant over a gap, where a sensor misses a sample of the window: raise,
        or return a row of NaN, which the regressors of pulsehr answer by NaN, with one
        `MissingSamplesWarning`. Reflected windows need no more than two samples after a gap.

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
        lazy: bool = False,
        antialias: bool = True,
        missing: str = "error",
    ) -> None:
        self.window = window
        self.sampling_rate = sampling_rate
        self.normalize = normalize
        self.bandpass = bandpass
        self.padding = padding
        self.flatten = flatten
        self.n_channels = n_channels
        self.lazy = lazy
        self.antialias = antialias
        self.missing = missing

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
            self._fit(X, keep=False)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit and transform, cutting the windows once.

        Parameters
        ----------
        X : list of Reading, or ndarray
            Training rows, as in `fit`.
        y : ignored
            Present for the API.

        Returns
        -------
        ndarray of shape (n_windows, n_channels, n_times), float32, or LazyWindows
            The windows; 2-D rows with ``flatten=True``.
        """
        with restored_on_error(self):
            return self._finish(self._fit(X, keep=not self.lazy))

    def transform(self, X: Any) -> Any:
        """Cut, resample and normalise the window of each row.

        Parameters
        ----------
        X : list of Reading, or ndarray
            Rows, as in `fit`.

        Returns
        -------
        ndarray of shape (n_windows, n_channels, n_times), float32, or LazyWindows
            The windows; 2-D rows with ``flatten=True``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If an instant has too little past or lies over a gap, or channels differ from those
            seen in `fit`.
        """
        check_is_fitted(self, ["n_channels_"] + ["scale_"] * (self.normalize == "channel"))
        self._check_parameters()
        rows = self._rows(X, reset=False)
        if rows.shape[1] != self.n_channels_:
            hint = ""
            if isinstance(rows, LazyWindows):
                lack = "lack" if rows.shape[1] == 1 else "have"
                hint = (
                    f": these recordings {lack} acceleration (acc, acc_rate), those of fit did "
                    f"not: take recordings like those of fit, or fit on such as these"
                )
            raise ValueError(
                f"PPGWindower: expected {self.n_channels_} channels as in fit, got "
                f"{rows.shape[1]}{hint}"
            )
        return self._finish(rows)

    def set_output(self, *, transform: str | None = None) -> PPGWindower:
        """Choose the container of the rows that `transform` returns.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None, default=None
            A data frame needs ``flatten=True``. None changes nothing.

        Returns
        -------
        PPGWindower
            Itself.

        Raises
        ------
        ValueError
            If 3-D windows are wanted as a data frame.
        """
        if transform in (None, "default") or self.flatten:
            return super().set_output(transform=transform) if self.flatten else self
        raise ValueError(
            f"PPGWindower: 3-D windows cannot be a data frame, got set_output(transform="
            f"{transform!r}): set flatten=True for 2-D rows"
        )

    @available_if(_gives_flat_rows)
    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Name the columns of 2-D rows; only with ``flatten=True``.

        Parameters
        ----------
        input_features : ignored
            Present for the API.

        Returns
        -------
        ndarray of str objects, shape (n_channels * n_times,)
            The channel and the number of the sample in the window: ``"ppg_0"``, ...,
            ``"acc_x_0"``, ...; without acceleration of three axes ``"channel1_0"``, ....

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(self, "n_channels_")
        n_times = round(self.window * self.sampling_rate)
        if hasattr(self, "n_features_in_"):
            n_times = self.n_features_in_ // self.n_channels_
        names = ["ppg", *(f"channel{k}" for k in range(1, self.n_channels_))]
        if self.n_channels_ == len(CHANNELS):
            names = list(CHANNELS)
        return np.array([f"{name}_{k}" for name in names for k in range(n_times)], dtype=object)

    def _fit(self, X: Any, keep: bool) -> LazyWindows | NDArray[np.float64]:
        """Learn from rows; return them, with `keep` as windows if they had to be cut."""
        self._check_parameters()
        for name in ("mean_", "scale_", "n_features_in_", "feature_names_in_"):
            self.__dict__.pop(name, None)  # of an earlier fit
        rows = self._rows(X, reset=True)
        if self.normalize == "channel":
            kept = np.empty(rows.shape) if keep else None
            mean, scale = channel_statistics(_blocks(rows, kept))
            flat = scale <= FLAT * np.abs(mean)
            if flat.any():
                raise ValueError(
                    f"PPGWindower: channel {int(np.argmax(flat))} is constant in all training "
                    f"windows, expected it to vary with normalize='channel'"
                )
            self.mean_, self.scale_ = mean, scale
            rows = rows if kept is None else kept
        self.n_channels_ = rows.shape[1]
        return rows

    def _rows(self, X: Any, reset: bool) -> LazyWindows | NDArray[np.float64]:
        """Return windows (n_windows, n_channels, n_times), band-passed, not yet normalised."""
        readings = readings_in(X)
        if readings is not None:
            return lazy_windows(readings, self._cutting())
        elsewhere = check_windows(
            self, X, n_channels=self.n_channels, reset=reset, missing=self.missing == "nan"
        )
        return self._cutting().bandpassed(np.asarray(elsewhere, dtype=np.float64))

    def _cutting(self) -> Cutting:
        return Cutting(
            self.window,
            self.sampling_rate,
            self.bandpass,
            self.padding,
            bool(self.antialias),
            self.missing,
        )

    def _finish(self, rows: LazyWindows | NDArray[np.float64]) -> Any:
        normalization = Normalization(self.normalize)
        if self.normalize == "channel":
            normalization = replace(normalization, mean=self.mean_, scale=self.scale_)
        if isinstance(rows, LazyWindows):
            windows = replace(rows, normalization=normalization)
            if self.lazy:
                return windows
            finished = np.asarray(windows)
        else:
            finished = normalization(rows).astype(np.float32)
        return finished.reshape(len(finished), -1) if self.flatten else finished

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
        for name, known in (
            ("normalize", NORMALIZATIONS),
            ("padding", PADDINGS),
            ("missing", MISSING),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"PPGWindower: {name} must be one of {known}, got {getattr(self, name)!r}"
                )
        if self.lazy and self.flatten:
            raise ValueError(
                "PPGWindower: lazy=True gives 3-D windows, got flatten=True: set lazy=False for "
                "2-D rows, or flatten=False for an estimator that takes 3-D windows"
            )
        if self.bandpass is not None:
            low, high = self._edges()
            if not 0 < low < high < self.sampling_rate / 2:
                raise ValueError(
                    f"PPGWindower: bandpass must satisfy 0 < low < high < "
                    f"{self.sampling_rate / 2:g} Hz, got {self.bandpass!r}"
                )

    onnx_parser = _onnx_methods.onnx_parser
    onnx_shape_calculator = _onnx_methods.onnx_shape_calculator
    onnx_converter = _onnx_methods.onnx_converter

    def __sklearn_tags__(self) -> Any:
        """Take 2-D and 3-D X without NaN."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Return plain data: arrays, numbers and texts."""
        return stored_state(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what this or an earlier version stored."""
        super().__setstate__(restored_state(self, state))


def _blocks(
    rows: LazyWindows | NDArray[np.float64], kept: NDArray[np.float64] | None
) -> Iterator[NDArray[np.float64]]:
    """Yield the windows of all rows, some at a time, and keep them where there is place."""
    if isinstance(rows, LazyWindows):
        pairs: Any = rows.raw_blocks()
    else:
        starts = range(0, len(rows), BLOCK_WINDOWS)
        pairs = ((slice(k, k + BLOCK_WINDOWS), rows[k : k + BLOCK_WINDOWS]) for k in starts)
    for index, block in pairs:
        if kept is not None:
            kept[index] = block
        yield block
