"""How a student comes by its teacher, and what the teacher says of each window."""

from __future__ import annotations

import copy
import os
import pickle
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_memory
from torch import nn

from pulsehr._relations import relations_in
from pulsehr._routing import is_fitted, passed_on
from pulsehr._validation import TrainingRows
from pulsehr.distillation import DistillationLoss, LabelLoss
from pulsehr.exceptions import InterruptedFitWarning
from pulsehr.networks import N_FEATURES

#: What `lessons` of a student may be.
LESSONS = ("once", "anew")


def check_teaching(student: Any) -> None:
    """Raise ValueError or TypeError if relation, lessons, teacher or memory are none."""
    if student.lessons not in LESSONS:
        raise ValueError(
            f"DistilledStudentRegressor: lessons must be one of {list(LESSONS)}, "
            f"got {student.lessons!r}"
        )
    try:
        relations_in(student.relation)
    except ValueError as error:
        raise ValueError(f"DistilledStudentRegressor: {error}") from None
    if student.teacher is not None and not hasattr(student.teacher, "predict"):
        raise TypeError(
            f"DistilledStudentRegressor: teacher must be a regressor or None, "
            f"got {student.teacher!r}"
        )
    if _compares_features(student) and not hasattr(student.teacher, "transform"):
        raise TypeError(
            f"DistilledStudentRegressor: teacher must have transform to give {N_FEATURES} "
            f"features, got {student.teacher!r}: take another, or set relation='none'"
        )
    _memory(student)


def criterion(student: Any) -> nn.Module:
    """Return the loss of a student."""
    if student.teacher is None:
        return LabelLoss(student.loss)
    return DistillationLoss(
        student.label_weight,
        student.prediction_weight,
        student.relation,
        student.temperature,
        student.loss,
    )


def fitted_teacher(student: Any, rows: TrainingRows, metadata: dict[str, Any], seed: int) -> Any:
    """Return the teacher if it is fitted, else a clone fitted on the rows, or one kept before."""
    if student.teacher is None or is_fitted(student.teacher):
        return student.teacher
    teacher = _own_copy(student, seed)
    taken = passed_on(student, "teacher", "fit", metadata)
    X = _as_taken(teacher, rows.windows)
    try:
        return _memory(student).cache(_fit)(teacher, X, rows.y, taken)
    except pickle.PicklingError as error:
        raise ValueError(
            f"DistilledStudentRegressor: memory keeps teachers that can be pickled, got "
            f"{teacher!r} ({error}): name its functions, or set memory=None"
        ) from error


def teacher_further(student: Any, rows: TrainingRows, metadata: dict[str, Any], seed: int) -> Any:
    """Return the teacher if it is fitted, else its clone after one more pass over the rows."""
    if student.teacher is None or is_fitted(student.teacher):
        return student.teacher
    if not hasattr(student.teacher, "partial_fit"):
        raise TypeError(
            f"DistilledStudentRegressor: partial_fit needs a teacher that is fitted or has "
            f"partial_fit, got {student.teacher!r}"
        )
    # a copy: if the student's pass fails, its teacher is not a pass ahead
    teacher = copy.deepcopy(getattr(student, "teacher_", None)) or _own_copy(student, seed)
    taken = passed_on(student, "teacher", "partial_fit", metadata)
    return teacher.partial_fit(_as_taken(teacher, rows.windows), rows.y, **taken)


def lessons(student: Any, windows: Any) -> list[NDArray[np.float64]]:
    """Return the teacher's heart rates (n,), features (n, 32), and that these count (n,)."""
    if student.teacher_ is None:
        return []
    X = _as_taken(student.teacher_, windows)
    features = np.zeros((len(windows), N_FEATURES))
    if _compares_features(student):
        features = np.asarray(student.teacher_.transform(X))
    if features.shape != (len(windows), N_FEATURES):
        raise ValueError(
            f"DistilledStudentRegressor: the teacher's transform must give {N_FEATURES} features "
            f"a row, got shape {features.shape}"
        )
    return [np.asarray(student.teacher_.predict(X)), features, np.ones(len(windows))]


def teaching(student: Any) -> Callable[[Any], list[NDArray[np.float64]]] | None:
    """Return what gives the lessons of altered windows, if they are given anew."""
    if student.teacher_ is None or student.lessons == "once":
        return None
    return partial(lessons, student)


def _as_taken(teacher: Any, windows: Any) -> Any:
    """Return windows as the teacher takes X: as they are, or as 2-D rows."""
    if get_tags(_first_to_see(teacher)).input_tags.three_d_array:
        return windows
    return np.asarray(windows).reshape(len(windows), -1)


def _first_to_see(estimator: Any) -> Any:
    """Return the estimator that is given X, inside pipelines, searches and ensembles."""
    if isinstance(estimator, Pipeline):
        steps = [step for _, step in estimator.steps if step not in (None, "passthrough")]
        return _first_to_see(steps[0]) if steps else estimator
    for name in ("estimator", "regressor"):
        if hasattr(getattr(estimator, name, None), "fit"):
            return _first_to_see(getattr(estimator, name))
    members = getattr(estimator, "estimators", None)
    return _first_to_see(members[0][1]) if members else estimator


def _memory(student: Any) -> Any:
    location = student.memory
    return check_memory(os.fspath(location) if isinstance(location, os.PathLike) else location)


def _compares_features(student: Any) -> bool:
    wanted = student.prediction_weight < 1 and {*relations_in(student.relation)} != {"none"}
    return wanted and student.teacher is not None


def _own_copy(student: Any, seed: int) -> Any:
    """Clone the teacher; what it leaves open of seed and checkpoint is the student's.

    With the same seed, both hold out the same rows for early stopping.
    """
    teacher = clone(student.teacher)
    parameters = teacher.get_params()
    # also what is open in estimators inside it, as in "pulseteacherregressor__random_state"
    open_ones = {
        name: name.rpartition("__")[2] for name, value in parameters.items() if value is None
    }
    given = {"random_state": seed, "checkpoint": student.checkpoint}
    teacher.set_params(**{n: given[last] for n, last in open_ones.items() if last in given})
    return teacher


def _fit(teacher: Any, windows: Any, y: NDArray[np.float64], metadata: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error", InterruptedFitWarning)
        try:
            return teacher.fit(windows, y, **metadata)
        except InterruptedFitWarning:
            raise KeyboardInterrupt from None
