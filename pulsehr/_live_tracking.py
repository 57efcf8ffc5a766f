"""Track heart rates one after the other, each as `HeartRateTracker` would among those before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pulsehr import _belief, _kalman
from pulsehr.tracking import CLIP_LENGTH, SPREAD, HeartRateTracker, causal_clip


def _clip(before: Any, seconds: float, bpm: Any, noise: Any, drift: float) -> Any:
    """Remember the last ten heart rates, clipped."""
    known = bpm if before is None else np.r_[before[-CLIP_LENGTH:], bpm]
    clipped = causal_clip(known)
    return clipped, clipped[-1], noise[0]


def _filter(before: Any, seconds: float, bpm: Any, noise: Any, drift: float) -> Any:
    """Remember mean and variance."""
    if before is None:
        x, v = bpm[0], np.float64(_kalman.START_STD**2)
    else:
        x, v = _kalman.step(*before, seconds, bpm[0], noise[0], drift)
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
