"""Predict readings as they come, each as a pipeline or a tracker would among those before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from pulsehr import _belief, _kalman
from pulsehr._routing import predict_with_std, predicts_std
from pulsehr.recordings import Reading
from pulsehr.tracking import CLIP_LENGTH, SPREAD, HeartRateTracker, causal_clip
from pulsehr.windows import PPGWindower


def _clip(before: Any, seconds: float, bpm: Any, noise: Any, drift: float) -> Any:
    """Remember the last ten heart rates, clipped."""
    known = bpm if before is None else np.r_[before[-CLIP_LENGTH:], bpm]
    clipped = causal_clip(known)
    return clipped, clipped[-1], noise[0]


def _filter(before: Any, seconds: float, bpm: Any, noise: Any, drift: float) -> Any:
    """Remember mean and variance."""
    x, v = bpm[0], _kalman.START_STD**2
    if before is not None:
        x, v = _kalman.step(before[0], before[1], seconds, x, noise[0], drift)
    return (x, v), x, np.sqrt(v)


def _believe(before: Any, seconds: float, bpm: Any, noise: Any, drift: float) -> Any:
    """Remember how probable each heart rate is."""
    first = before is None
    likely = _belief.likelihood(bpm, noise, np.array([0.0 if first else _belief.OUTLIERS]))[0]
    now = likely / likely.sum() if first else _belief.step(before, seconds, likely, drift)
    return now, _belief.median(now[None])[0], _belief.spread(now[None])[0]


#: By method: ``step(before, seconds, bpm, noise, drift)`` of what is remembered (None: nothing),
#: the seconds since, and arrays (1,) gives what to remember, the heart rate and its std.
STEPS: dict[str, Callable[..., tuple[Any, Any, Any]]] = {
    "clip": _clip,
    "kalman": _filter,
    "belief": _believe,
}


class LiveTracker:
    """Remember of a recording what the next reading needs.

    Parameters
    ----------
    tracker : HeartRateTracker
        Fitted, without `lookahead`.
    """

    def __init__(self, tracker: HeartRateTracker) -> None:
        self.tracker = tracker
        self._instant = -np.inf
        self._before: Any = None

    def __call__(self, instant: float, bpm: float, std: float) -> tuple[float, float]:
        """Return the heart rate and std of the next reading, by what the estimator says of it."""
        if np.isnan(bpm):
            return bpm, np.nan  # as if it were not there
        seconds = instant - self._instant
        # a microsecond forgives the rounding of instants
        before = self._before if seconds <= self.tracker.max_gap + 1e-6 else None
        self._before, tracked, spread = STEPS[self.tracker.method](
            before, seconds, np.array([bpm]), np.array([std]), self.tracker.drift_
        )
        self._instant = instant
        return float(tracked), float(SPREAD[self.tracker.method] * spread)


class LiveEstimator:
    """Answer the readings of one recording, some at a time.

    Parameters
    ----------
    pipe : Pipeline, HeartRateTracker or search
        Fitted; begins with a `PPGWindower`.
    """

    def __init__(self, pipe: Any) -> None:
        self._pipe, tracker, self.windower = _opened(pipe)
        self._tracker = None if tracker is None else LiveTracker(tracker)
        self._with_std = _gives_std(self._pipe if tracker is None else tracker)

    def __call__(self, readings: list[Reading]) -> Iterator[tuple[float, float, float | None]]:
        """Yield instant, heart rate and std (None: nobody knows) of the next readings."""
        if self._tracker is not None:
            bpm, std = self._tracker.tracker._untracked(readings, self._with_std)
        elif self._with_std:
            bpm, std = predict_with_std(self._pipe, readings)
        else:
            bpm, std = self._pipe.predict(readings), np.full(len(readings), np.nan)
        for reading, *values in zip(readings, bpm, std, strict=True):
            heart_rate, spread = map(float, values)
            if self._tracker is not None:
                heart_rate, spread = self._tracker(reading.instant, heart_rate, spread)
            yield reading.instant, heart_rate, spread if self._with_std else None


def _opened(pipe: Any) -> tuple[Any, HeartRateTracker | None, PPGWindower]:
    """Return the pipeline inside trackers and searches, the tracker, and the windower."""
    tracker = None
    while not isinstance(pipe, Pipeline):
        if isinstance(pipe, HeartRateTracker) and tracker is None:
            check_is_fitted(pipe)
            tracker, pipe = pipe, pipe.estimator_
        elif isinstance(pipe, FrozenEstimator):
            pipe = pipe.estimator
        elif hasattr(pipe, "best_estimator_"):
            pipe = pipe.best_estimator_
        else:
            raise TypeError(
                f"HeartRateStream: pipe must be a pipeline that begins with a PPGWindower, or a "
                f"fitted HeartRateTracker or search around one, got {type(pipe).__name__}"
            )
    windower = pipe.steps[0][1]
    if not isinstance(windower, PPGWindower):
        raise TypeError(
            f"HeartRateStream: pipe must begin with a PPGWindower, which takes readings, got "
            f"{type(windower).__name__}"
        )
    check_is_fitted(pipe)
    check_is_fitted(windower)
    if tracker is not None and tracker.lookahead > 0:
        raise ValueError(
            f"HeartRateStream: the tracker looks {tracker.lookahead:g} s ahead, expected "
            f"lookahead=0: set it so, as what comes later is not there yet"
        )
    return pipe, tracker, windower


def _gives_std(estimator: Any) -> bool:
    if not isinstance(estimator, HeartRateTracker):
        return predicts_std(estimator)
    told = estimator.method != "clip" or estimator.noise is not None
    return told or predicts_std(estimator.estimator_)
