"""What of a fitted estimator goes into firmware: the student, and the windower before it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from pulsehr.tracking import HeartRateTracker
from pulsehr.windows import PPGWindower

#: Methods of a `HeartRateTracker` that C has.
EXPORTED_METHODS = ("clip", "kalman")


def without_tracker(estimator: Any) -> tuple[Any, Any]:
    """Take a fitted `HeartRateTracker` from what it tracks.

    Parameters
    ----------
    estimator : estimator
        A tracker, or anything else.

    Returns
    -------
    estimator : estimator
        What predicts each reading by itself.
    tracker : HeartRateTracker or None
        The tracker, if there is one.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    ValueError
        If what it does has no counterpart in C.
    """
    if not isinstance(estimator, HeartRateTracker):
        return estimator, None
    check_is_fitted(estimator)
    if estimator.method not in EXPORTED_METHODS or estimator.lookahead > 0:
        raise ValueError(
            f"to_microcontroller: HeartRateTracker must have method='clip' or 'kalman' and "
            f"lookahead=0, got method={estimator.method!r} and lookahead={estimator.lookahead:g}: "
            f"take one of these two, or export estimator_ and track the heart rates yourself"
        )
    inner = estimator.estimator_
    return (inner.estimator if isinstance(inner, FrozenEstimator) else inner), estimator


def split_estimator(estimator: Any) -> tuple[Any, PPGWindower | None, Any]:
    """Split a fitted estimator into what has a counterpart in C.

    Parameters
    ----------
    estimator : DistilledStudentRegressor or Pipeline
        A pipeline is a `PPGWindower`, or nothing, and then a student.

    Returns
    -------
    front : Pipeline or None
        A copy of the steps before the student, which stays when they are fitted again.
    windower : PPGWindower or None
        The one of them that does something.
    student : estimator
        Fitted.

    Raises
    ------
    NotFittedError
        If something is not fitted.
    TypeError
        If there is another step, or no student.
    """
    front, student = None, estimator
    if isinstance(estimator, Pipeline):
        student = estimator.steps[-1][1]
        front = copy.deepcopy(estimator[:-1]) if len(estimator.steps) > 1 else None
    _check_student(student)
    windower = None if front is None else _windower_of(front)
    if windower is not None:
        check_is_fitted(windower, "n_channels_")
        _check_shape(windower, student)
    return front, windower, student


def describe(front: Any) -> str:
    """Say which steps make windows, with their parameters and what they learnt by numbers.

    Parameters
    ----------
    front : Pipeline or None
        Fitted steps.

    Returns
    -------
    str
        One line.
    """
    if front is None:
        return "whoever fitted the student: it was exported without its PPGWindower"
    return " | ".join(_describe_step(step) for _, step in front.steps)


def _describe_step(step: Any) -> str:
    if not hasattr(step, "get_params"):
        return str(step)
    learnt = {name: getattr(step, name) for name in ("mean_", "scale_") if hasattr(step, name)}
    values = {
        **step.get_params(deep=False),
        **{name: np.asarray(value).tolist() for name, value in learnt.items()},
    }
    return f"{type(step).__name__}({', '.join(f'{k}={v!r}' for k, v in values.items())})"


def _check_student(student: Any) -> None:
    if not hasattr(student, "fit"):
        raise TypeError(
            f"to_microcontroller: expected a fitted student or a pipeline that ends in one, "
            f"got {student!r}"
        )
    check_is_fitted(student)
    missing = [
        attribute
        for attribute in ("network_", "ranges_", "n_channels_", "n_times_")
        if not hasattr(student, attribute)
    ]
    if missing:
        name = type(student).__name__
        raise TypeError(
            f"to_microcontroller: {name} is not a student (it has no {missing[0]}): fit a "
            f"DistilledStudentRegressor (a {name} can be its teacher) and export that; of a "
            f"search export best_estimator_"
        )


def _windower_of(front: Pipeline) -> PPGWindower | None:
    """Return the only step that does something, which must be a windower."""
    windower = None
    for name, step in front.steps:
        if step is None or step == "passthrough":
            continue
        is_windower = isinstance(step, PPGWindower)
        if not is_windower or windower is not None:
            what = "a second PPGWindower" if is_windower else f"a {type(step).__name__}"
            raise TypeError(
                f"to_microcontroller: step {name!r} of the pipeline is {what}, which has no "
                f"counterpart in C: fit a pipeline of one PPGWindower and a student, or export "
                f"the student alone and prepare its windows yourself"
            )
        windower = step
    return windower


def _check_shape(windower: PPGWindower, student: Any) -> None:
    """Refuse a student whose windows are not those of the windower."""
    shape = (windower.n_channels_, round(windower.window * windower.sampling_rate))
    fitted = (int(student.n_channels_), int(student.n_times_))
    if shape != fitted:
        raise ValueError(
            f"to_microcontroller: PPGWindower(window={windower.window:g}, sampling_rate="
            f"{windower.sampling_rate:g}) makes windows of {shape[0]} x {shape[1]} samples, but "
            f"the student was fitted on {fitted[0]} x {fitted[1]}: set the windower to the windows "
            f"it was given (and the student's n_channels, if it was given 2-D rows)"
        )
