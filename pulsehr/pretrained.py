"""`load_pretrained`: models that work without a training, and that tell how they were trained."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.resources import files
from typing import Any

from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline

from pulsehr._plain_files import read_pipeline
from pulsehr.quantized import QuantizedStudentRegressor

__all__ = ["load_pretrained"]

#: Where the files are, in the package; their names are those of the models.
WEIGHTS = files("pulsehr") / "weights"


def load_pretrained(name: str = "student") -> Pipeline:
    """Load a model that was trained on public recordings of people on treadmills and at rest.

    For research only. On what it was trained, how wrong it is and what it is not made for stands
    in its card, ``docs/pretrained.md``.

    Parameters
    ----------
    name : {"student", "student-int8", "teacher"}, default="student"
        "student": the small network, for a computer and for `to_microcontroller`. "student-int8":
        the same in the integers of the firmware. "teacher": the large network.

    Returns
    -------
    Pipeline
        A `PPGWindower` and the fitted regressor: readings in, bpm out. It needs recordings with
        acceleration. `sklearn.base.clone` gives it unfitted, with all hyper-parameters, to be
        cross-validated or trained on other recordings. Each call loads another copy.

    Raises
    ------
    ValueError
        If there is no model of that name.

    Examples
    --------
    >>> from pulsehr import load_pretrained
    >>> from pulsehr.datasets import make_recordings
    >>> recording = make_recordings(n_subjects=1, duration=60, random_state=0).recordings[0]
    >>> model = load_pretrained("student")
    >>> bpm = model.predict(recording.readings(stride=2.0))
    >>> bpm.shape
    (27,)
    """
    if not isinstance(name, str) or name not in PRETRAINED:
        raise ValueError(f"load_pretrained: name must be one of {sorted(PRETRAINED)}, got {name!r}")
    return PRETRAINED[name]()


def _as_written(name: str) -> Pipeline:
    with (WEIGHTS / f"{name}.npz").open("rb") as file:
        return read_pipeline(file)[0]


def _integers() -> Pipeline:
    *steps, student = _as_written("student").named_steps.values()
    integers = QuantizedStudentRegressor(clone(student))
    learnt = ("n_channels_", "n_times_", "n_features_in_", "ranges_")
    fitted: dict[str, Any] = {name: getattr(student, name) for name in learnt}
    integers.__setstate__({**integers.__getstate__(), **fitted, "student_": student})
    return make_pipeline(*steps, integers)


PRETRAINED: dict[str, Callable[[], Pipeline]] = {
    "student": partial(_as_written, "student"),
    "student-int8": _integers,
    "teacher": partial(_as_written, "teacher"),
}
