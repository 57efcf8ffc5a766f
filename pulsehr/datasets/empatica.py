"""Empatica E4: what the device exports, as a recording."""

from __future__ import annotations

import gzip
import io
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from numpy.typing import NDArray

from pulsehr.recordings import MAX_END_DIFFERENCE, Recording

WHO = "load_empatica"

#: The files of an export that are read; the last may be missing.
PPG_FILE, ACC_FILE, TAGS_FILE = "BVP.csv", "ACC.csv", "tags.csv"

#: Counts of the accelerometer per g (``info.txt`` of every export).
COUNTS_PER_G = 64.0

#: The device stores 60 h: more numbers (97 h of acceleration) or bytes are no export of it.
MAX_NUMBERS, MAX_BYTES = 1 << 25, 1 << 28

#: Rates (Hz) and starts (s since 1970) beyond these are none.
MAX_RATE, MAX_START = 1000.0, 1e11

#: Bytes that are read at a time; a line is never that long.
BLOCK_BYTES = 1 << 20

#: Clocks of two sensors that differ by less (s) are one.
SAME_INSTANT = 1e-3

#: What reading damaged bytes raises, of gzip and zip.
DAMAGED = (
    OSError,
    EOFError,
    zlib.error,
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
)

#: How files in a zip may be compressed: of other methods, `zipfile` unpacks a block whole,
#: however large it becomes.
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

#: Opens a file of an export.
Opener = Callable[[], IO[bytes]]


@dataclass(frozen=True, eq=False)
class Samples:
    """Hold one sensor: samples of shape (n_samples, n_axes), rate (Hz), start (s, UTC)."""

    values: NDArray[np.float32]
    rate: float
    start: float


def load_empatica(
    folder_or_zip: str | os.PathLike[str], *, subject: str | None = None
) -> Recording:
    """Load the export of one session of an Empatica E4.

    Parameters
    ----------
    folder_or_zip : str or path-like
        The zip file as it comes from the manufacturer, or a folder with ``BVP.csv``,
        ``ACC.csv`` and, if a button was pressed, ``tags.csv``, each also as ``.csv.gz``. They
        may lie deeper in it; one session is wanted.
    subject : str, default=None
        Who was measured; None takes the name of the zip file, or of the folder that holds
        ``BVP.csv``.

    Returns
    -------
    Recording
        PPG (usually 64 Hz) and acceleration (32 Hz) in g, without labels. From the k-th press
        of the button on, the activity is ``"tag k"``, and before it empty.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or file.
    ValueError
        If it holds no session or several, or a file is damaged or too large to be of an E4.

    Warns
    -----
    UserWarning
        If the sensors do not start or end together: what only one of them measured is left
        out.

    Notes
    -----
    Time runs from the later of the two starts, as the first lines of ``BVP.csv`` and ``ACC.csv``
    tell them (seconds since 1970): take it from the times of a belt for `with_reference`. A
    zip file is never unpacked to disk, and at most 256 MiB are read of a file, however it is
    compressed.

    ``HR.csv`` and ``IBI.csv`` are not read: they are the device's own estimates from the
    same PPG and never a truth.

    Examples
    --------
    >>> from pulsehr.datasets import load_empatica
    >>> recording = load_empatica("1495437325_A00204.zip", subject="S2")  # doctest: +SKIP
    >>> readings = recording.readings(stride=2.0)  # doctest: +SKIP
    """
    path = Path(folder_or_zip)
    if not path.exists():
        raise FileNotFoundError(f"{WHO}: folder_or_zip must exist, got {os.fspath(path)!r}")
    if path.is_dir():
        session, files = _one_session(path, _in_folder(path))
        return _recording(files, subject or Path(path, session).resolve().name)
    if not path.is_file():
        raise ValueError(f"{WHO}: folder_or_zip must be a folder or a zip file, got {str(path)!r}")
    if _table_name(PurePosixPath(path.name)):
        raise ValueError(
            f"{WHO}: folder_or_zip must be a zip file or the folder of {path.name}, got the file "
            f"{str(path)!r}"
        )
    with _damage_named(path.name), zipfile.ZipFile(path) as archive:
        _, files = _one_session(path, _in_zip(path, archive))
        return _recording(files, subject or path.stem)


def _in_folder(root: Path) -> Iterator[tuple[PurePosixPath, Opener]]:
    for path in sorted(root.rglob("*.csv*")):
        if not path.is_file():  # opening a pipe would wait
            continue
        yield PurePosixPath(path.relative_to(root).as_posix()), _opener_of_file(path)


def _opener_of_file(path: Path) -> Opener:
    return lambda: path.open("rb")


def _in_zip(path: Path, archive: zipfile.ZipFile) -> Iterator[tuple[PurePosixPath, Opener]]:
    for info in archive.infolist():
        name = PurePosixPath(info.filename.replace("\\", "/"))
        if _table_name(name) and (name.is_absolute() or ".." in name.parts):
            raise ValueError(
                f"{WHO}: {path.name} must hold files within itself, got {info.filename!r}: it "
                f"does not come from an E4"
            )
        if _table_name(name) and info.compress_type not in COMPRESSIONS:
            raise ValueError(
                f"{WHO}: {path.name} must hold files as they are or deflated, got "
                f"{info.filename!r} compressed otherwise: pack it anew"
            )
        yield name, _opener_of_member(archive, info)


def _opener_of_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Opener:
    return lambda: archive.open(info)


def _table_name(path: PurePosixPath) -> str:
    """Name of the table that a file holds, empty if it is none of the export's."""
    name = path.name.removesuffix(".gz")
    return name if name in (PPG_FILE, ACC_FILE, TAGS_FILE) else ""


def _one_session(
    path: Path, found: Iterator[tuple[PurePosixPath, Opener]]
) -> tuple[PurePosixPath, dict[str, tuple[str, Opener]]]:
    """Return the place of the only session, and (file, opener) of each of its tables."""
    sessions: dict[PurePosixPath, dict[str, tuple[str, Opener]]] = {}
    for place, opener in found:
        table = _table_name(place)
        if not table:
            continue
        files = sessions.setdefault(place.parent, {})
        if table in files:
            raise ValueError(
                f"{WHO}: expected each file once, got {files[table][0]} and {place} in "
                f"{str(path)!r}"
            )
        files[table] = (str(place), opener)
    whole = {
        place: files for place, files in sessions.items() if {PPG_FILE, ACC_FILE} <= set(files)
    }
    if not whole:
        names = sorted(name for files in sessions.values() for name, _ in files.values())
        raise ValueError(
            f"{WHO}: expected {PPG_FILE} and {ACC_FILE} of an Empatica E4 in {str(path)!r}, got "
            f"{names or 'neither'}"
        )
    if len(whole) > 1:
        raise ValueError(
            f"{WHO}: expected one session, got {len(whole)} in {str(path)!r}: "
            f"{', '.join(sorted(map(str, whole)))}: load them one by one"
        )
    return next(iter(whole.items()))


def _recording(files: Mapping[str, tuple[str, Opener]], subject: str) -> Recording:
    ppg = _read_samples(*files[PPG_FILE], n_axes=1)
    acc = _read_samples(*files[ACC_FILE], n_axes=3)
    start = max(ppg.start, acc.start)
    ppg, acc = _from(start, ppg, subject), _from(start, acc, subject)
    ppg, acc = _same_end(ppg, acc, subject)
    names, times = [], np.zeros(0)
    if TAGS_FILE in files:
        tags = _read_tags(*files[TAGS_FILE]) - start
        within = (tags >= 0) & (tags < len(ppg.values) / ppg.rate)
        times, names = tags[within], [f"tag {k + 1}" for k in np.flatnonzero(within)]
    return Recording(
        ppg=ppg.values[:, 0],
        ppg_rate=ppg.rate,
        acc=acc.values / COUNTS_PER_G,
        acc_rate=acc.rate,
        activity=np.array(names) if names else None,
        activity_times=times if names else None,
        subject=subject,
    )


def _from(start: float, samples: Samples, subject: str) -> Samples:
    """Leave out what was measured before `start`, to the nearest sample."""
    late = (start - samples.start) * samples.rate
    n_cut = round(late)
    if n_cut >= len(samples.values):
        raise ValueError(
            f"{WHO}: PPG and acceleration of {subject!r} must overlap in time, but one starts "
            f"after the end of the other: are the files of one session?"
        )
    if late / samples.rate > SAME_INSTANT:
        warnings.warn(
            f"{WHO}: the sensors of {subject!r} start {late / samples.rate:.3f} s apart: left out "
            f"what only one of them measured; the samples are aligned to "
            f"{abs(late - n_cut) / samples.rate:.3f} s",
            stacklevel=4,
        )
    return Samples(samples.values[n_cut:], samples.rate, start)


def _same_end(ppg: Samples, acc: Samples, subject: str) -> tuple[Samples, Samples]:
    """Leave out what only one sensor measured at the end."""
    ends = [len(samples.values) / samples.rate for samples in (ppg, acc)]
    if abs(ends[0] - ends[1]) > MAX_END_DIFFERENCE:
        warnings.warn(
            f"{WHO}: PPG of {subject!r} lasts {ends[0]:.2f} s but acceleration {ends[1]:.2f} s: "
            f"left out what only one of them measured",
            stacklevel=4,
        )
        ppg, acc = (
            Samples(each.values[: int(min(ends) * each.rate + 1e-6)], each.rate, each.start)
            for each in (ppg, acc)
        )
    return ppg, acc


def _read_samples(name: str, opener: Opener, *, n_axes: int) -> Samples:
    """Read a table whose first line is the start (s, UTC) and second the rate (Hz)."""
    table = _read_table(name, opener, n_axes)
    header, values = table[:2], table[2:]
    if len(values) == 0:
        raise ValueError(
            f"{WHO}: {name} must hold a start, a rate and samples, got {len(table)} lines: is the "
            f"download complete?"
        )
    limits = [[MAX_START], [MAX_RATE]]
    if (header != header[:, :1]).any() or not ((header > 0) & (header <= limits)).all():
        raise ValueError(
            f"{WHO}: {name} must start with a line of the start (s since 1970) and one of the "
            f"rate (Hz), got {header.tolist()}"
        )
    with np.errstate(over="ignore"):  # the recording refuses what is infinite
        samples = values.astype(np.float32)
    return Samples(samples, rate=float(header[1, 0]), start=float(header[0, 0]))


def _read_tags(name: str, opener: Opener) -> NDArray[np.float64]:
    """Read the instants (s, UTC) at which the button was pressed, in order, each once."""
    tags = _read_table(name, opener, 1)[:, 0]
    if not np.isfinite(tags).all():
        raise ValueError(f"{WHO}: {name} must hold finite instants, got {tags.tolist()[:9]}")
    return np.unique(tags)


def _read_table(name: str, opener: Opener, n_columns: int) -> NDArray[np.float64]:
    """Read lines of `n_columns` numbers, block by block and never more than the limits."""
    blocks = [np.zeros((0, n_columns))]
    with _damage_named(name), opener() as file:
        # a GzipFile reads bytes like any other, which its type does not say
        content: IO[bytes] = gzip.open(file) if name.endswith(".gz") else file  # type: ignore[assignment]
        n_numbers, n_bytes, rest = 0, 0, b""
        while block := content.read(BLOCK_BYTES):
            n_bytes += len(block)
            whole, newline, rest = (rest + block).rpartition(b"\n")
            if not newline and len(rest) >= BLOCK_BYTES:
                raise _not_numbers(name, n_columns, "a line without an end")
            blocks.append(_numbers(name, whole, n_columns))
            n_numbers += blocks[-1].size
            if n_numbers > MAX_NUMBERS or n_bytes > MAX_BYTES:
                raise ValueError(
                    f"{WHO}: {name} must be of an E4, at most {MAX_BYTES >> 20} MiB and "
                    f"{MAX_NUMBERS} numbers, got more"
                )
        blocks.append(_numbers(name, rest, n_columns))
    return np.concatenate(blocks)


def _numbers(name: str, text: bytes, n_columns: int) -> NDArray[np.float64]:
    if not text.strip():
        return np.zeros((0, n_columns))
    try:
        values = np.loadtxt(
            io.StringIO(text.decode("ascii")), delimiter=",", ndmin=2, comments=None
        )
    except ValueError as error:  # also of bytes that are no text
        raise _not_numbers(name, n_columns, str(error)) from error
    if values.shape[1] != n_columns:
        raise _not_numbers(name, n_columns, f"{values.shape[1]} in a line")
    return values


def _not_numbers(name: str, n_columns: int, got: str) -> ValueError:
    columns = "a number" if n_columns == 1 else f"{n_columns} numbers with commas between them"
    return ValueError(
        f"{WHO}: {name} must be text with {columns} in each line, got {got}: is the download "
        f"complete, and as the device's site gave it?"
    )


@contextmanager
def _damage_named(name: str) -> Iterator[None]:
    """Name the file in the error of what cannot be read."""
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except DAMAGED as error:
        raise ValueError(
            f"{WHO}: {name} must be a CSV file or a zip of some, but cannot be read "
            f"({type(error).__name__}: {error}): is the download complete?"
        ) from error
