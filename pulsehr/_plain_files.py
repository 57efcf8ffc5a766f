"""Fitted pipelines as one file of plain arrays, which is read without running anything of it."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from pulsehr._version import __version__
from pulsehr._writing import written_at_once
from pulsehr.student import DistilledStudentRegressor
from pulsehr.teacher import PulseTeacherRegressor
from pulsehr.windows import PPGWindower

#: What a file may name: nothing else is ever made of its content.
ESTIMATORS: dict[str, Any] = {
    kind.__name__: kind for kind in (PPGWindower, PulseTeacherRegressor, DistilledStudentRegressor)
}

#: Keys of what JSON has no form of. Attributes cannot have such names.
ARRAY, TUPLE, ESTIMATOR = "!array", "!tuple", "!estimator"

#: The member of the file that holds the text.
TEXT = "text"

#: What a file may hold: sixty times the largest of the shipped ones.
MAX_BYTES = 1 << 26

Arrays = dict[str, NDArray[Any]]


def write_pipeline(path: str | os.PathLike[str], pipe: Pipeline, facts: Mapping[str, Any]) -> None:
    """Write a fitted pipeline and what is to be known of it, in one step.

    Parameters
    ----------
    path : str or path-like
        The file, an archive of numpy; one that is there stays as it was if anything fails.
    pipe : Pipeline
        Of steps out of `ESTIMATORS`, whose parameters are numbers, texts, tuples of these, ...
    facts : mapping of str to numbers, texts, lists and mappings of these
        Such as on what it was trained.

    Raises
    ------
    TypeError
        If a parameter or an attribute is no plain data.
    """
    arrays: Arrays = {}
    steps = {name: _encoded(step, name, arrays) for name, step in pipe.steps}
    text = json.dumps({"facts": dict(facts), "steps": steps}, indent=1)
    arrays[TEXT] = np.frombuffer(text.encode(), np.uint8)
    with written_at_once(path) as temporary:
        with temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)


def read_pipeline(file: str | os.PathLike[str] | IO[bytes]) -> tuple[Pipeline, dict[str, Any]]:
    """Read what `write_pipeline` wrote.

    Parameters
    ----------
    file : str, path-like or binary file
        The archive.

    Returns
    -------
    pipe : Pipeline
        Fitted.
    facts : dict
        What was written with it.

    Raises
    ------
    ValueError
        If the file is damaged, or holds anything but plain data, or an unknown estimator.
    """
    try:
        arrays = _arrays(file)
        content = json.loads(arrays[TEXT].tobytes())
        steps = [(name, _decoded(step, arrays)) for name, step in content["steps"].items()]
        return Pipeline(steps), content["facts"]
    except OSError:
        raise
    except Exception as error:  # a damaged file may hold anything in any place
        name = getattr(file, "name", "it") if hasattr(file, "read") else os.fspath(file)
        raise ValueError(
            f"read_pipeline: expected a file that write_pipeline wrote, but {name!r} cannot be "
            f"read ({type(error).__name__}: {error})"
        ) from error


def _arrays(file: str | os.PathLike[str] | IO[bytes]) -> Arrays:
    """Read the arrays of an archive that says it is small: no more is ever inflated."""
    with zipfile.ZipFile(file) as archive:
        n_bytes = sum(member.file_size for member in archive.infolist())
        if n_bytes > MAX_BYTES:
            raise ValueError(f"its content is of {n_bytes} bytes, more than {MAX_BYTES}")
        names = [member.removesuffix(".npy") for member in archive.namelist()]
        arrays = {}
        for name in names:
            with archive.open(f"{name}.npy") as member:
                arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
        return arrays


def _encoded(value: Any, place: str, arrays: Arrays) -> Any:
    """Return a value as JSON has it, its arrays put aside under the place where they belong."""
    if isinstance(value, np.ndarray):
        arrays[place] = value
        return {ARRAY: place}
    if isinstance(value, BaseEstimator) and type(value).__name__ in ESTIMATORS:
        state: Any = value.__getstate__()
        return {ESTIMATOR: type(value).__name__, "state": _encoded(state, place, arrays)}
    if isinstance(value, Mapping):
        return {key: _encoded(part, f"{place}/{key}", arrays) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [_encoded(part, f"{place}/{k}", arrays) for k, part in enumerate(value)]
        return {TUPLE: parts} if isinstance(value, tuple) else parts
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"write_pipeline: expected plain data at {place!r}, got {value!r}")


def _decoded(value: Any, arrays: Arrays) -> Any:
    """Return what `_encoded` made JSON of."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_decoded(part, arrays) for part in value]
    if not isinstance(value, Mapping):
        return value
    if ARRAY in value:
        return arrays[value[ARRAY]]
    if TUPLE in value:
        return tuple(_decoded(part, arrays) for part in value[TUPLE])
    if ESTIMATOR in value:
        return _estimator(value[ESTIMATOR], _decoded(value["state"], arrays))
    return {key: _decoded(part, arrays) for key, part in value.items()}


def _estimator(name: str, state: dict[str, Any]) -> Any:
    if name not in ESTIMATORS:
        raise ValueError(f"read_pipeline: expected one of {sorted(ESTIMATORS)}, got {name!r}")
    kind = ESTIMATORS[name]
    estimator = kind.__new__(kind)
    # tests hold the estimates of shipped files to what they were: no warning of the version
    estimator.__setstate__({**state, "_pulsehr_version": __version__})
    return estimator
