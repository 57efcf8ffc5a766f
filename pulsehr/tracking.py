"""Use the order in time of heart rates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import get_config
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from pulsehr._belief import belief
from pulsehr._drift import DRIFT, learnt_drift
from pulsehr._kalman import kalman
from pulsehr._routing import predict_with_std, predicts_std
from pulsehr._rows import readings_in, stretches
from pulsehr._validation import restored_on_error
from pulsehr.recordings import Reading, is_number

#: The paper's post-processing: how many values are averaged, and how far one may leave the mean.
CLIP_LENGTH = 10
CLIP_SHARE = 0.1

#: Standard deviation in bpm of a reading, by method, where the estimator predicts none; chosen on
#: the subjects of the benchmark, predicted by models that had not seen them: docs/tracking.md.
NOISE = {"kalman": 2.8, "belief": 5.0}

#: By what the standard deviations are multiplied that an estimator predicts, chosen likewise.
SHARE = {"kalman": 0.5, "belief": 1.0}

#: How far heart rates are off for each of a filter's own standard deviations, which take errors of
#: successive readings, whose windows overlap, for independent; measured likewise.
SPREAD = {"clip": 1.0, "kalman": 2.1, "belief": 1.6}


def causal_clip(heart_rate: ArrayLike) -> NDArray[np.float64]:
    """Keep each heart rate within 10 % of the mean of the ten before it ([1]_).

    Strictly causal: the mean is that of values that were themselves clipped. The first ten
    stay as they are. NaN stays NaN and counts as if it were not there.

    Parameters
    ----------
    heart_rate : array-like of shape (n_readings,)
        Heart rates in bpm of one recording, in order of time.

    Returns
    -------
    ndarray of shape (n_readings,)
        The clipped heart rates.

    References
    ----------
    .. [1] Kasnesis et al., Replacing Attention with Modality-wise Convolution for
       Energy-Efficient PPG-based Heart Rate Estimation using Knowledge Distillation, 2025.

    Examples
    --------
    >>> from pulsehr.tracking import causal_clip
    >>> causal_clip([100.0] * 10 + [150.0])[-1].round(6)
    np.float64(110.0)
    """
    values = column_or_1d(heart_rate, dtype=np.float64).copy()
    clipped = values[~np.isnan(values)]
    for k in range(CLIP_LENGTH, len(clipped)):
        mean = clipped[k - CLIP_LENGTH : k].mean()
        clipped[k] = np.clip(clipped[k], (1 - CLIP_SHARE) * mean, (1 + CLIP_SHARE) * mean)
    values[~np.isnan(values)] = clipped
    return values


def causal_clip_readings(X: list[Reading], heart_rate: ArrayLike) -> NDArray[np.float64]:
    """Apply `causal_clip` to each recording, in order of time, whatever the order of rows.

    Parameters
    ----------
    X : list of Reading, length n_readings
        The rows; those of the same instant count once.
    heart_rate : array-like of shape (n_readings,)
        Their heart rates in bpm.

    Returns
    -------
    ndarray of shape (n_readings,)
        The clipped heart rates, in the order of the rows.

    Raises
    ------
    ValueError
        If there are not as many heart rates as readings.
    """
    values = column_or_1d(heart_rate, dtype=np.float64).copy()
    check_consistent_length(X, values)
    for stretch in stretches(X, np.inf):
        values[stretch.rows] = causal_clip(values[stretch.first])[stretch.which]
    return values


def _clip(
    times: Any, bpm: Any, noise: Any, drift: float, lookahead: float
) -> tuple[NDArray[np.float64], Any]:
    """Clip as the paper does, which tells nothing new of the std."""
    return causal_clip(bpm), noise


#: How a stretch of readings is tracked: ``method(times, bpm, std, drift, lookahead)`` gives heart
#: rates and their stds.
METHODS: dict[str, Callable[..., tuple[Any, Any]]] = {
    "clip": _clip,
    "kalman": kalman,
    "belief": belief,
}


class HeartRateTracker(MetaEstimatorMixin, RegressorMixin, BaseEstimator):
    """Predict heart rates by those before them: an estimator of readings, and a filter over time.

    Rows are readings, in any order and of any recordings. The estimator predicts each by
    itself; within a recording these heart rates are then filtered in order of time. Unless
    `lookahead` is set, what comes after a reading changes nothing. A reading over a gap, which the
    estimator answers by NaN, stays NaN and counts as one that is not there.

    Parameters
    ----------
    estimator : estimator
        Takes readings: a pipeline that begins with a `PPGWindower`. It is cloned and fitted; one
        in ``sklearn.frozen.FrozenEstimator`` stays as it is.
    method : {"clip", "kalman", "belief"}, default="clip"
        "clip" keeps each heart rate within 10 % of the mean of the ten before, as the paper does
        (`causal_clip`). "kalman" is a Kalman filter of a random walk, which heart rates far off
        hardly move. "belief" keeps how probable each heart rate from 30 to 220 bpm is, and takes
        the median.
    lookahead : float, default=0.0
        Seconds after a reading whose readings may be used, by which it comes later on a device;
        "clip" has none.
    max_gap : float, default=10.0
        Seconds without a reading after which a filter starts anew; ``numpy.inf`` for never.
    drift : float or None, default=None
        By how much the variance of heart rate grows with time, in bpm^2/s. None: learnt from
        the changes of the labels.
    noise : float or None, default=None
        Standard deviation of the estimator's heart rates, in bpm. None: what it predicts
        (``return_std``) times `SHARE` or, if it does not, `NOISE` of the method.

    Attributes
    ----------
    estimator_ : estimator
        The fitted one.
    drift_ : float
        The drift, in bpm^2/s.

    See Also
    --------
    causal_clip_readings : The same as "clip" for heart rates that are there already.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from pulsehr import HeartRateTracker, PPGWindower
    >>> from pulsehr.baselines import SpectralPeakRegressor
    >>> from pulsehr.datasets import make_recordings
    >>> data = make_recordings(n_subjects=2, duration=60, random_state=0)
    >>> pipe = make_pipeline(PPGWindower(), SpectralPeakRegressor())
    >>> tracker = HeartRateTracker(pipe, method="kalman").fit(data.X, data.y)
    >>> tracker.predict(data.X).shape == data.y.shape
    True
    """

    def __init__(
        self,
        estimator: Any,
        method: str = "clip",
        lookahead: float = 0.0,
        max_gap: float = 10.0,
        drift: float | None = None,
        noise: float | None = None,
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.lookahead = lookahead
        self.max_gap = max_gap
        self.drift = drift
        self.noise = noise

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> HeartRateTracker:
        """Fit a clone of the estimator, and learn the drift.

        Parameters
        ----------
        X : list of Reading, length n_readings
            The rows.
        y : array-like of shape (n_readings,), default=None
            Heart rate in bpm; a frozen estimator needs none.
        **fit_params : dict
            For the `fit` of the estimator: as its pipeline names them
            (``distilledstudentregressor__groups=groups``), or as metadata routing does.

        Returns
        -------
        HeartRateTracker
            Itself.

        Raises
        ------
        ValueError
            If a parameter is out of its range, X is empty, X and y differ in length, or a label
            is not finite.
        TypeError
            If X holds no readings.
        """
        _check_parameters(self)
        readings = _checked_readings(X)
        routed = fit_params
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, "fit", **fit_params)["estimator"]["fit"]
        with restored_on_error(self):
            self.estimator_ = clone(self.estimator).fit(X, y, **routed)
            self.drift_ = self.drift if self.drift is not None else DRIFT
            if self.drift is None and y is not None:
                self.drift_ = learnt_drift(readings, y, self.max_gap)
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Estimate heart rates, each with the help of those before it among the rows.

        Parameters
        ----------
        X : list of Reading, length n_readings
            The rows, in any order; those of the same instant count once.
        return_std : bool, default=False
            Whether to return standard deviations, too: of "clip" those of the estimator,
            which must predict them.

        Returns
        -------
        bpm : ndarray of shape (n_readings,)
            Heart rates.
        std : ndarray of shape (n_readings,)
            Their standard deviations in bpm, if wanted.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X is empty, or a standard deviation is wanted that nobody knows.
        TypeError
            If X holds no readings.
        """
        check_is_fitted(self)
        _check_parameters(self)
        readings = _checked_readings(X)
        bpm, std = self._untracked(X, return_std)
        there = np.flatnonzero(~np.isnan(bpm))
        std[np.isnan(bpm)] = np.nan
        for stretch in stretches([readings[row] for row in there], self.max_gap):
            first, rows = there[stretch.first], there[stretch.rows]
            tracked, spread = METHODS[self.method](
                stretch.times, bpm[first], std[first], self.drift_, self.lookahead
            )
            bpm[rows] = tracked[stretch.which]
            std[rows] = SPREAD[self.method] * spread[stretch.which]
        return (bpm, std) if return_std else bpm

    def get_metadata_routing(self) -> MetadataRouter:
        """Say which metadata `fit` passes on.

        Returns
        -------
        MetadataRouter
            As scikit-learn's guide on metadata routing describes it.
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        router = MetadataRouter(owner=type(self).__name__).add_self_request(self)
        return router.add(estimator=self.estimator, method_mapping=mapping)

    def _untracked(self, X: Any, return_std: bool) -> tuple[Any, Any]:
        """Predict each row by itself, with its std, or what stands for it."""
        asked = self.noise is None and predicts_std(self.estimator_)
        if asked and (return_std or self.method != "clip"):
            bpm, std = predict_with_std(self.estimator_, X)
            share = SHARE.get(self.method, 1.0)
            return np.array(bpm, dtype=np.float64), share * np.asarray(std, dtype=np.float64)
        bpm = np.array(self.estimator_.predict(X), dtype=np.float64)
        noise = NOISE.get(self.method) if self.noise is None else self.noise
        if return_std and noise is None:
            raise ValueError(
                "HeartRateTracker: return_std with method='clip' needs an estimator that "
                "predicts with return_std (loss='laplace'), or noise=... in bpm: set one of them, "
                "or take method='kalman'"
            )
        return bpm, np.full(len(bpm), noise or np.nan)


def _checked_readings(X: Any) -> Any:
    readings = readings_in(X)
    if readings is None and hasattr(X, "__len__") and len(X) == 0:
        raise ValueError("HeartRateTracker: X must hold at least one reading, got none")
    if readings is None:
        raise TypeError(
            f"HeartRateTracker: X must hold readings, which say recording and instant, got "
            f"{type(X).__name__}: pass recording.readings(), and put the PPGWindower into the "
            f"estimator, as in HeartRateTracker(make_pipeline(PPGWindower(), ...))"
        )
    return readings


def _check_parameters(tracker: HeartRateTracker) -> None:
    if not isinstance(tracker.method, str) or tracker.method not in METHODS:
        raise ValueError(
            f"HeartRateTracker: method must be one of {sorted(METHODS)}, got {tracker.method!r}"
        )
    for name, least, optional in (
        ("lookahead", None, False),
        ("max_gap", 0.0, False),
        ("drift", 0.0, True),
        ("noise", 0.0, True),
    ):
        value = getattr(tracker, name)
        if optional and value is None:
            continue
        good = is_number(value) and (value >= 0 if least is None else value > least)
        if not good or (name != "max_gap" and not np.isfinite(value)):
            raise ValueError(
                f"HeartRateTracker: {name} must be {'' if name == 'max_gap' else 'finite and '}"
                f"{'>=' if least is None else '>'} 0"
                f"{' or None' if optional else ''}, got {value!r}"
            )
    if tracker.method == "clip" and tracker.lookahead > 0:
        raise ValueError(
            f"HeartRateTracker: lookahead must be 0 with method='clip', which looks back alone, "
            f"got {tracker.lookahead!r}: take method='kalman' or 'belief'"
        )
