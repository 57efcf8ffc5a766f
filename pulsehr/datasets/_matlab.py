"""Which MATLAB files of a data set lie below a folder, and do they hold what they should."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pulsehr.datasets._mat_file import Variable, read_variables

#: Row counts that an array may have, None for a vector of any length.
Rows: TypeAlias = tuple[int, ...] | None

NumericArray: TypeAlias = NDArray[Any]


def check_folder(who: str, folder: str | os.PathLike[str]) -> Path:
    """Return `folder` as a path, after checking that it is a folder.

    Parameters
    ----------
    who : str
        The loader that asks, for the error.
    folder : str or path-like
        Where the data set lies.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    FileNotFoundError
        If there is nothing of that name.
    NotADirectoryError
        If it is a file.
    """
    path = Path(folder)
    if not path.exists():
        raise FileNotFoundError(f"{who}: folder must exist, got {os.fspath(folder)!r}")
    if not path.is_dir():
        raise NotADirectoryError(f"{who}: folder must be a folder, got the file {str(path)!r}")
    return path


def find_files(who: str, folder: Path, pattern: re.Pattern[str]) -> dict[str, Path]:
    """Find the files below a folder whose name is matched by a pattern.

    Parameters
    ----------
    who : str
        The loader that asks, for the error.
    folder : pathlib.Path
        Searched with all folders in it.
    pattern : re.Pattern
        Matches the whole file name.

    Returns
    -------
    dict of str to pathlib.Path
        File name to path, in the order of the numbers in the names.

    Raises
    ------
    ValueError
        If one file name lies in two places: its readings would count twice.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if not (pattern.fullmatch(path.name) and path.is_file()):  # opening a pipe would wait
            continue
        if path.name in found:
            raise ValueError(
                f"{who}: expected each file once, got {path.name} in "
                f"{str(found[path.name].parent)!r} and {str(path.parent)!r}"
            )
        found[path.name] = path
    return dict(sorted(found.items(), key=lambda item: _number_order(item[0])))


def read_arrays(who: str, path: Path, expected: Mapping[str, Rows]) -> dict[str, NumericArray]:
    """Read named numeric arrays from a MATLAB file.

    Parameters
    ----------
    who : str
        The loader that asks, for the error.
    path : pathlib.Path
        The file, MATLAB version 5 to 7.2.
    expected : mapping of str to tuple of int or None
        Name to the number of rows that a ``(n_rows, n_samples)`` array may have, or to None
        for a vector.

    Returns
    -------
    dict of str to ndarray
        The arrays, vectors as 1-D.

    Raises
    ------
    ValueError
        If the file is damaged, of another kind, or does not hold the arrays.
    """
    with path.open("rb") as stream:
        try:
            content = read_variables(stream, list(expected))
        except NotImplementedError as error:
            raise ValueError(
                f"{who}: {path.name} must be a MATLAB file up to version 7.2, got version 7.3 "
                f"(HDF5): save it again in MATLAB with save(..., '-v7')"
            ) from error
        except (ValueError, zlib.error) as error:
            raise ValueError(
                f"{who}: {path.name} must be a MATLAB file, got one that cannot be "
                f"read ({error}): is the download complete?"
            ) from error
    arrays = {}
    for name, rows in expected.items():
        values = content[name].values if name in content else None
        if values is None or not _fits(values.shape, rows):
            raise ValueError(
                f"{who}: {path.name} must hold {_describe(expected)}, got {_summary(content)}"
            )
        arrays[name] = values.ravel() if rows is None else values
    return arrays


def _number_order(name: str) -> list[tuple[int, str]]:
    """Sort key by which Subject_2 comes before Subject_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _fits(shape: tuple[int, ...], rows: Rows) -> bool:
    if len(shape) != 2 or 0 in shape:
        return False
    return 1 in shape if rows is None else shape[0] in rows


def _describe(expected: Mapping[str, Rows]) -> str:
    shapes = {
        name: "(n, 1)" if rows is None else f"({' or '.join(map(str, rows))}, n)"
        for name, rows in expected.items()
    }
    return ", ".join(f"numeric {name!r} {shape}" for name, shape in shapes.items())


def _summary(content: Mapping[str, Variable]) -> str:
    shapes = [f"{name!r} {found.kind} {found.shape}" for name, found in content.items()]
    return ", ".join(shapes) or "none of them"


def select_ppg(who: str, ppg: NumericArray, ppg_channel: int | str) -> NumericArray:
    """Take one PPG of several, or their mean.

    Parameters
    ----------
    who : str
        The loader that asks, for the error.
    ppg : ndarray of shape (n_ppg, n_samples)
        All PPG channels.
    ppg_channel : int or "mean"
        Index of the channel; ``"mean"`` averages the channels, each divided by its standard
        deviation over the recording.

    Returns
    -------
    ndarray of shape (n_samples,)
        The PPG.

    Raises
    ------
    ValueError
        If there is no such channel.
    """
    check_ppg_channel(who, ppg_channel, len(ppg))
    if ppg_channel != "mean":
        return np.asarray(ppg[int(ppg_channel)], dtype=np.float64)
    deviation = ppg.std(axis=1, dtype=np.float64, keepdims=True)
    return np.asarray(np.mean(ppg / np.where(deviation > 0, deviation, 1.0), axis=0))


def check_ppg_channel(who: str, ppg_channel: int | str, n_ppg: int) -> None:
    """Check the choice of a PPG channel before any file is read.

    Parameters
    ----------
    who : str
        The loader that asks, for the error.
    ppg_channel : int or "mean"
        The choice.
    n_ppg : int
        How many channels the data set has.

    Raises
    ------
    ValueError
        If there is no such channel.
    """
    choices: Sequence[int | str] = [*range(n_ppg), "mean"]
    if isinstance(ppg_channel, bool) or ppg_channel not in choices:
        names = ", ".join(str(channel) for channel in range(n_ppg))
        raise ValueError(f"{who}: ppg_channel must be {names} or 'mean', got {ppg_channel!r}")
