"""What was read from a large file once, in a small file that is read in its place next time."""

from __future__ import annotations

import hashlib
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsehr._version import __version__
from pulsehr._writing import written_at_once

Arrays = dict[str, NDArray[Any]]

#: Pieces of the source that are compared, and bytes of each: the whole of a file of 1 MiB.
PIECES, PIECE_BYTES = 64, 1 << 14

#: The member that says what the others were read from.
FINGERPRINT = "fingerprint"


def through_cache(
    who: str,
    cache: str | os.PathLike[str] | None,
    name: str,
    source: Path,
    read: Callable[[Path], Mapping[str, NDArray[Any]]],
) -> Arrays:
    """Return what `read` makes of a source, from the cache if that was read before.

    A file in the cache counts if it is whole, this version of pulsehr wrote it, and the source is
    the one that it was read from: of the same size, time of change, and bytes in 64 pieces from
    beginning to end. It is
    written under another name and then renamed, so that a crash, a full disk or another process
    never leaves half of one. Nothing in it is ever run.

    Parameters
    ----------
    who : str
        The loader that asks, for warnings.
    cache : str, path-like or None
        A folder, made if it is missing; None for no cache.
    name : str
        Name of the file in it. Another way to read the source has another name.
    source : pathlib.Path
        The large file.
    read : callable
        Maps the source to arrays by name.

    Returns
    -------
    dict of str to ndarray
        The arrays.

    Warns
    -----
    UserWarning
        If the file in the cache is damaged or cannot be written; the source is read all the same.
    """
    if cache is None:
        return dict(read(source))
    path = Path(cache) / f"{name}.npz"
    fingerprint = np.frombuffer(_fingerprint(source), np.uint8)
    stored = _stored(who, path)
    if stored is not None:
        of_source = stored.pop(FINGERPRINT, None)
        if of_source is not None and np.array_equal(of_source, fingerprint):
            return stored
    arrays = dict(read(source))
    _write(who, path, {**arrays, FINGERPRINT: fingerprint})
    return arrays


def _fingerprint(source: Path) -> bytes:
    """Digest this version, and size, time of change and pieces of a file."""
    status = source.stat()
    told = f"{__version__} {status.st_size} {status.st_mtime_ns}"
    digest = hashlib.blake2b(told.encode(), digest_size=32)
    with source.open("rb") as stream:
        for k in range(PIECES):
            start = k * max(status.st_size - PIECE_BYTES, 0) // (PIECES - 1)
            stream.seek(start)
            digest.update(stream.read(PIECE_BYTES))
    return digest.digest()


def _stored(who: str, path: Path) -> Arrays | None:
    """Return the arrays of a file in the cache; None if there is none, or not a whole one."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        size = sum(member.file_size for member in members)
        if size > path.stat().st_size or any(m.compress_type for m in members):
            raise ValueError("it is compressed")
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # whatever the damaged byte leads to; checksums find every one
        warnings.warn(
            f"{who}: {path.name} in the cache is damaged ({type(error).__name__}: {error}): the "
            f"data set is read again",
            stacklevel=2,
        )
        return None


def _write(who: str, path: Path, arrays: Arrays) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_at_once(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
    except OSError as error:
        warnings.warn(
            f"{who}: {path.name} could not be written to the cache {str(path.parent)!r} "
            f"({error.strerror or error}): the next load takes as long as this one",
            stacklevel=2,
        )
