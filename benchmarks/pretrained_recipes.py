"""The recipes of the pretrained models: windows, networks and training, in one place.

`train_pretrained.py` ships what they give; a benchmark that takes them from here measures
just that.
"""

from __future__ import annotations

from typing import Any

from sklearn.pipeline import Pipeline, make_pipeline

from pulsehr import DistilledStudentRegressor, PPGWindower, PulseTeacherRegressor

#: As many samples as the paper's windows, over twice the time.
WINDOW: dict[str, Any] = {
    "window": 16.0,
    "sampling_rate": 16.0,
    "bandpass": (0.4, 4.0),
    "padding": "reflect",
}

#: What teacher and student share.
TRAINING: dict[str, Any] = {
    "network": "interacting",
    "loss": "laplace",
    "lr_scheduler": "cosine",
    "batch_size": 32,
    "augmentation": {"rotate": 1.0},
    "verbose": 0,
}

TEACHER: dict[str, Any] = {**TRAINING, "dropout": 0.2, "lr": 1e-3, "max_epochs": 14}
STUDENT: dict[str, Any] = {**TRAINING, "max_epochs": 24}


def recipe(name: str, random_state: Any = 0) -> Pipeline:
    """Make the unfitted pipeline of a pretrained model.

    Parameters
    ----------
    name : {"teacher", "student"}
        The student learns from the labels alone: no teacher made it better (`docs/accuracy.md`).
    random_state : int, RandomState or None, default=0
        Seed.

    Returns
    -------
    Pipeline
        A `PPGWindower` and the regressor.

    Raises
    ------
    ValueError
        If there is no recipe of that name.
    """
    regressors = {
        "teacher": PulseTeacherRegressor(**TEACHER, random_state=random_state),
        "student": DistilledStudentRegressor(**STUDENT, random_state=random_state),
    }
    if name not in regressors:
        raise ValueError(f"recipe: name must be one of {sorted(regressors)}, got {name!r}")
    return make_pipeline(PPGWindower(**WINDOW), regressors[name])
