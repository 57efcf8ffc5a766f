"""A pickle per subject, as PPG-DaLiA and WESAD have: find the files and check what they hold."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsehr.recordings import MAX_END_DIFFERENCE

#: The file of a subject lies in a folder of its own.
SUBJECT_FILES = "S*/S*.pkl"
SUBJECT_FILE = re.compile(r"S([1-9]\d*)\.pkl")


def find_subject_files(who: str, root: Path, folder: str) -> list[Path]:
    """Return the files of the subjects in folders named as in the download, wherever they are.

    Parameters
    ----------
    who : str
        The loader that asks, for the error.
    root : pathlib.Path
        Such a folder, or searched with all folders in it.
    folder : str
        Its name in the download.

    Returns
    -------
    list of pathlib.Path
        In the order of the subjects.
    """
    if root.resolve().name == folder:
        return subject_files(who, root.glob(SUBJECT_FILES))
    return subject_files(who, root.rglob(f"{folder}/{SUBJECT_FILES}"))


def subject_files(who: str, paths: Iterable[Path]) -> list[Path]:
    """Sort the files of subjects by their number; ValueError if one is there twice."""
    found: dict[int, Path] = {}
    for path in sorted(paths):
        match = SUBJECT_FILE.fullmatch(path.name)
        if match is None or path.parent.name != path.stem:
            continue
        number = int(match[1])
        if number in found:
            raise ValueError(
                f"{who}: expected each file once, got {path.name} in "
                f"{str(found[number].parent)!r} and {str(path.parent)!r}"
            )
        found[number] = path
    return [found[number] for number in sorted(found)]


def value_at(content: Any, place: str) -> Any:
    """Return what is at a place such as "signal/wrist/BVP" in dicts of dicts, or None."""
    for key in place.split("/"):
        content = content.get(key) if isinstance(content, dict) else None
    return content


def check_subject(who: str, path: Path, subject: Any) -> None:
    """Raise ValueError if a file says that it is of another subject than its name does."""
    if subject != path.stem:
        raise ValueError(
            f"{who}: {path.name} must be of subject {path.stem!r}, got one that says it is of "
            f"{str(subject)[:20]!r}: was it renamed?"
        )


def numeric_columns(
    who: str, path: Path, place: str, values: Any, columns: int, hint: str = ""
) -> NDArray[Any]:
    """Return a numeric array as (n, columns); ValueError with a hint if it is none."""
    numeric = isinstance(values, np.ndarray) and values.dtype.kind in "fiu" and values.size > 0
    if numeric and columns == 1 and values.ndim == 1:
        values = values[:, None]
    if not numeric or values.ndim != 2 or values.shape[1] != columns:
        got = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else "none"
        raise ValueError(
            f"{who}: {path.name} must hold a numeric {place!r} (n, {columns}), got {got}{hint}"
        )
    return np.asarray(values)


def ending_together(
    who: str,
    path: Path,
    signals: tuple[NDArray[Any], NDArray[Any]],
    rates: tuple[float, float],
    max_disagreement: float,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Cut the longer of PPG and acceleration to the end of the other, if they end far apart.

    Parameters
    ----------
    who : str
        The loader that asks, for error and warning.
    path : pathlib.Path
        The file.
    signals : tuple of two ndarray, (n_ppg_samples,) and (n_acc_samples, 3)
        PPG and acceleration.
    rates : tuple of two float
        Their rates in Hz.
    max_disagreement : float
        More than this share of the longer one too much is an error, less a warning.

    Returns
    -------
    tuple of two ndarray
        PPG and acceleration.
    """
    ends = [len(signal) / rate for signal, rate in zip(signals, rates, strict=True)]
    end = min(ends)
    if max(ends) - end <= MAX_END_DIFFERENCE:
        return signals
    if end < (1 - max_disagreement) * max(ends):
        raise ValueError(
            f"{who}: {path.name} must hold PPG at {rates[0]:g} Hz and acceleration at "
            f"{rates[1]:g} Hz of the same time, got {ends[0]:g} s and {ends[1]:g} s"
        )
    warnings.warn(
        f"{who}: {path.name}: PPG ends at {ends[0]:g} s, acceleration at {ends[1]:g} s: the rest "
        f"is left out",
        stacklevel=4,
    )
    ppg, acc = (signal[: int(end * rate)] for signal, rate in zip(signals, rates, strict=True))
    return ppg, acc
