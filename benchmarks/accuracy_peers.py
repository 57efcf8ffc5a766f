"""Other packages' heart rates as scikit-learn regressors; `make peers` fetches the packages."""

from __future__ import annotations

import sys
import warnings
from functools import reduce
from importlib import import_module
from operator import add
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import GroupKFold

from pulsehr._rows import group_by_recording
from pulsehr.metrics import subject_mean_absolute_error

PEERS = Path(__file__).resolve().parents[1] / "build" / "peers"

# here, as a pickle of a fitted regressor imports them too; last, so that the environment's own
# packages win
if str(PEERS) not in sys.path:
    sys.path.append(str(PEERS))

#: Penalties that are tried, for features of unit variance.
ALPHAS = (1e1, 1e2, 1e3, 1e4, 1e5, 1e6)

#: Folds of the training subjects by which the penalty is chosen.
N_INNER = 3

#: A window in which fewer peaks are found gives no rate.
MIN_PEAKS = 3


class PeerMissingError(ImportError):
    """A package that is compared is not installed."""


def peer(module: str) -> Any:
    """Import a module of build/peers, or of wherever else it is installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(module)
    except ImportError as error:
        raise PeerMissingError(
            f"accuracy: {module} is not installed ({error}): run 'make peers', or leave it out by "
            f"--configurations"
        ) from error


class MiniRocketRegressor(RegressorMixin, BaseEstimator):
    """Regress heart rate on aeon's MiniRocket features by least squares with an L2 penalty.

    The penalty with the least mean of subjects' errors in folds of the training subjects.

    Parameters
    ----------
    n_kernels : int
        Features, rounded down to a multiple of 84. The package's 10,000 would take 100 times as
        long to solve for.
    random_state : int or None
        Seed of the kernels.
    """

    def __init__(self, n_kernels: int = 2016, random_state: int | None = None) -> None:
        self.n_kernels = n_kernels
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Any) -> MiniRocketRegressor:
        """Learn kernels, penalty and weights of windows (n_windows, n_channels, n_times)."""
        rocket = peer("aeon.transformations.collection.convolution_based").MiniRocket
        self.rocket_ = rocket(n_kernels=self.n_kernels, random_state=self.random_state)
        features = self.rocket_.fit_transform(np.asarray(X, np.float32)).astype(np.float64)
        self.mean_, self.scale_ = features.mean(axis=0), features.std(axis=0)
        self.scale_[self.scale_ == 0] = 1.0
        features = (features - self.mean_) / self.scale_
        y = np.asarray(y, np.float64)
        self.alpha_, (self.coef_, self.intercept_) = _ridge(features, y, np.asarray(groups))
        self.n_parameters_ = 2 * len(self.coef_) + 1  # and a bias for each kernel
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return heart rates (n_windows,) in bpm."""
        features = self.rocket_.transform(np.asarray(X, np.float32))
        predicted: NDArray[np.float64] = (features - self.mean_) / self.scale_ @ self.coef_
        return predicted + self.intercept_


class _Moments(NamedTuple):
    """What least squares need of some rows; moments of rows together are their sum."""

    n: int
    x: Any
    y: float
    xx: Any
    xy: Any

    def __add__(self, other: Any) -> _Moments:
        return _Moments(*(a + b for a, b in zip(self, other, strict=True)))

    @classmethod
    def of(cls, x: Any, y: Any) -> _Moments:
        return cls(len(y), x.sum(axis=0), float(y.sum()), x.T @ x, x.T @ y)

    def ridge(self, alpha: float) -> tuple[Any, float]:
        """Return weights and intercept, which is not penalised."""
        mean, level = self.x / self.n, self.y / self.n
        penalised = self.xx - np.outer(self.x, mean)
        penalised[np.diag_indices_from(penalised)] += alpha
        moment = self.xy - self.x * level
        coef = scipy.linalg.solve(penalised, moment, assume_a="pos", overwrite_a=True)
        return coef, level - float(mean @ coef)


def _ridge(features: Any, y: Any, groups: Any) -> tuple[float, tuple[Any, float]]:
    """Choose the penalty in folds of subjects; return it, and weights and intercept of all rows."""
    folds = [test for _, test in GroupKFold(N_INNER).split(features, groups=groups)]
    moments = [_Moments.of(features[test], y[test]) for test in folds]
    errors = np.zeros(len(ALPHAS))
    for number, test in enumerate(folds):
        others = reduce(add, moments[:number] + moments[number + 1 :])
        for k, alpha in enumerate(ALPHAS):
            coef, intercept = others.ridge(alpha)
            predicted = features[test] @ coef + intercept
            errors[k] += subject_mean_absolute_error(y[test], predicted, groups[test])
    alpha = float(ALPHAS[int(np.argmin(errors))])
    return alpha, reduce(add, moments).ridge(alpha)


class NeuroKitRegressor(RegressorMixin, BaseEstimator):
    """Take the rate of the peaks that NeuroKit2 finds in the seconds before each reading.

    Rows are readings. The package filters a recording as a whole, forwards and backwards, so this
    is an offline method. The rate is that of the median interval; with fewer than three peaks
    it is the median heart rate of the training rows.

    Parameters
    ----------
    window : float
        Seconds before a reading whose peaks count.
    """

    def __init__(self, window: float = 8.0) -> None:
        self.window = window

    def fit(self, X: Any, y: Any) -> NeuroKitRegressor:
        """Note the median heart rate."""
        peer("neurokit2")
        self.median_ = float(np.median(y))
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return the heart rate of readings (n_readings,) in bpm."""
        predicted = np.full(len(X), self.median_)
        for recording, rows in group_by_recording(X):
            peaks = _peaks(recording) / recording.ppg_rate
            for row in rows:
                instant = X[row].instant
                inside = peaks[(peaks >= instant - self.window) & (peaks < instant)]
                if len(inside) >= MIN_PEAKS:
                    predicted[row] = 60 / np.median(np.diff(inside))
        return predicted


def _peaks(recording: Any) -> NDArray[Any]:
    """Find the samples of the peaks of a recording's PPG."""
    neurokit = peer("neurokit2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rate = recording.ppg_rate
        cleaned = neurokit.ppg_clean(np.asarray(recording.ppg, np.float64), sampling_rate=rate)
        found = neurokit.ppg_findpeaks(cleaned, sampling_rate=rate)
    return np.asarray(found["PPG_Peaks"])
