"""Ways to predict with a fitted pipeline: as it is, in integers, from bad input, with a tracker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from accuracy_folds import Bench, Prediction, Split
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from pulsehr import (
    DistilledStudentRegressor,
    PPGWindower,
    Reading,
    Recording,
    to_microcontroller,
    tracking,
)

#: Seed of what is shuffled or damaged: the same for every configuration and every seed of a fit.
DAMAGE_SEED = 0

#: Damage lasts so many seconds, at a random time in each period of so many seconds.
EPISODE, PERIOD = 6.0, 30.0

#: Band (Hz) in which the size of the pulse is measured.
PULSE_BAND = (0.4, 4.0)

#: The size of the damage, in standard deviations of the pulse.
NOISE, STEP, HISS, RAIL = 3.0, 10.0, 0.05, 0.3


@dataclass(frozen=True, eq=False)
class Case:
    """A fitted pipeline, the fold whose test rows it predicts, and how it predicts them."""

    bench: Bench
    split: Split
    pipe: Pipeline
    as_fitted: Callable[[], Prediction]

    @property
    def readings(self) -> list[Reading]:
        """The test rows."""
        return [self.bench.data.X[row] for row in self.split.test]


def predicted(estimator: Any, X: Any) -> Prediction:
    """Predict heart rates, with their std where the estimator has one."""
    regressor = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if getattr(regressor, "loss", "l1") == "laplace":
        return Prediction(*estimator.predict(X, return_std=True))
    return Prediction(estimator.predict(X))


def as_fitted(case: Case) -> Prediction:
    """Predict with the pipeline as it is."""
    return predicted(case.pipe, case.readings)


def as_int8(case: Case) -> Prediction:
    """Predict with the integers of the firmware."""
    windows = case.pipe[:-1].transform(case.readings)
    model = to_microcontroller(case.pipe[-1])
    if getattr(case.pipe[-1], "loss", "l1") == "laplace":
        return Prediction(*model.predict(windows, return_std=True))
    return Prediction(model.predict(windows))


def with_shuffled_acceleration(case: Case) -> Prediction:
    """Predict with the acceleration of each window taken from another test window."""
    windows = np.array(case.pipe[:-1].transform(case.readings))
    other = np.random.default_rng(DAMAGE_SEED).permutation(len(windows))
    windows[:, 1:] = windows[other, 1:]
    return predicted(case.pipe[-1], windows)


def with_flat_ppg(case: Case) -> Prediction:
    """Predict from windows whose PPG is zero throughout: what the acceleration alone tells."""
    windows = np.array(case.pipe[:-1].transform(case.readings))
    windows[:, 0] = 0
    return predicted(case.pipe[-1], windows)


Damage = Callable[[NDArray[np.float64], float, np.random.Generator], NDArray[np.float64]]


def contact_lost(ppg: Any, pulse: float, rng: np.random.Generator) -> Any:
    """Return a level off the signal's, with a hiss: light that never went through skin."""
    level = ppg.mean() + rng.choice([-1, 1]) * STEP * pulse
    return level + HISS * pulse * rng.standard_normal(len(ppg))


def noisy(ppg: Any, pulse: float, rng: np.random.Generator) -> Any:
    """Add white noise larger than the pulse."""
    return ppg + NOISE * pulse * rng.standard_normal(len(ppg))


def saturated(ppg: Any, pulse: float, rng: np.random.Generator) -> Any:
    """Cut the signal near its mean, as a converter does at its rails."""
    return np.clip(ppg, ppg.mean() - RAIL * pulse, ppg.mean() + RAIL * pulse)


DAMAGES: dict[str, Damage] = {
    "contact lost": contact_lost,
    "noise": noisy,
    "saturation": saturated,
}


def damaged(recording: Recording, damage: Damage, seed: Any) -> Recording:
    """Damage the PPG of a recording for a fifth of the time.

    Parameters
    ----------
    recording : Recording
        Whose PPG is copied.
    damage : callable
        Returns what is left of some seconds of PPG, given the size of the pulse.
    seed : int or sequence of int
        Of the times and of the damage.

    Returns
    -------
    Recording
        The same but for six seconds in each thirty.
    """
    rng, rate = np.random.default_rng(seed), recording.ppg_rate
    ppg = np.array(recording.ppg, dtype=np.float64)
    pulse = float(sosfiltfilt(butter(2, PULSE_BAND, "bandpass", fs=rate, output="sos"), ppg).std())
    for start in np.arange(0, recording.duration - PERIOD, PERIOD):
        first = round((start + rng.uniform(0, PERIOD - EPISODE)) * rate)
        hit = slice(first, first + round(EPISODE * rate))
        ppg[hit] = damage(ppg[hit], pulse, rng)
    return replace(recording, ppg=ppg)


def from_bad_input(case: Case, kind: str) -> Prediction:
    """Predict from recordings that are damaged for a fifth of the time."""
    copies = {
        id(recording): damaged(recording, DAMAGES[kind], [DAMAGE_SEED, number])
        for number, recording in enumerate(case.bench.data.recordings)
        if any(reading.recording is recording for reading in case.readings)
    }
    hit = [replace(reading, recording=copies[id(reading.recording)]) for reading in case.readings]
    return predicted(case.pipe, hit)


class Remembered(RegressorMixin, BaseEstimator):
    """Give for a reading the heart rate that was predicted before."""

    def __init__(self, known: dict[tuple[int, float], float]) -> None:
        self.known = known

    def fit(self, X: Any, y: Any) -> Remembered:
        """Learn nothing."""
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Look up the heart rates of readings."""
        return np.array([self.known[id(row.recording), row.instant] for row in X])

    def __sklearn_is_fitted__(self) -> bool:
        """Everything is known."""
        return True


class RememberedWithStd(Remembered):
    """Give for a reading the heart rate and the std that were predicted before."""

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Look up the heart rates of readings, and their std."""
        found = np.array([self.known[id(row.recording), row.instant] for row in X])
        return (found[:, 0], found[:, 1]) if return_std else found[:, 0]


def tracked(case: Case, **parameters: Any) -> Prediction:
    """Let a tracker that has seen the labels of the training rows go over the predictions."""
    raw, data = case.as_fitted(), case.bench.data
    keys = [(id(reading.recording), reading.instant) for reading in case.readings]
    if raw.std is None:
        remembered = Remembered(dict(zip(keys, raw.bpm, strict=True)))
    else:
        pairs = zip(raw.bpm, raw.std, strict=True)
        remembered = RememberedWithStd(dict(zip(keys, pairs, strict=True)))
    tracker = tracking.HeartRateTracker(FrozenEstimator(remembered), **parameters)
    train = case.split.train
    tracker.fit([data.X[row] for row in train], data.y[train])
    if raw.std is None:
        return Prediction(tracker.predict(case.readings))
    return Prediction(*tracker.predict(case.readings, return_std=True))


def _is_any(pipe: Pipeline) -> bool:
    return True


def _has_windows(pipe: Pipeline) -> bool:
    return isinstance(pipe[0], PPGWindower)


def _takes_acceleration(pipe: Pipeline) -> bool:
    # a step between takes the acceleration away
    return _has_windows(pipe) and len(pipe) == 2


def _is_exported(pipe: Pipeline) -> bool:
    return _takes_acceleration(pipe) and isinstance(pipe[-1], DistilledStudentRegressor)


@dataclass(frozen=True)
class Variant:
    """A way to predict, and which pipelines it is for."""

    predict: Callable[[Case], Prediction]
    applies: Callable[[Pipeline], bool] = _is_any

    @property
    def is_tracker(self) -> bool:
        """Tell whether the heart rates are post-processed."""
        return getattr(self.predict, "func", None) is tracked


#: What most rows of the tables are.
AS_FITTED = "as fitted"

VARIANTS: dict[str, Variant] = {
    AS_FITTED: Variant(as_fitted),
    "int8": Variant(as_int8, _is_exported),
    "acceleration shuffled": Variant(with_shuffled_acceleration, _takes_acceleration),
    "flat PPG": Variant(with_flat_ppg, _has_windows),
    **{kind: Variant(partial(from_bad_input, kind=kind)) for kind in DAMAGES},
    "tracker clip": Variant(partial(tracked, method="clip")),
    "tracker Kalman": Variant(partial(tracked, method="kalman")),
    "tracker belief": Variant(partial(tracked, method="belief")),
    "tracker Kalman, 8 s later": Variant(partial(tracked, method="kalman", lookahead=8.0)),
    "tracker belief, 8 s later": Variant(partial(tracked, method="belief", lookahead=8.0)),
}
