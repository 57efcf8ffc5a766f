"""Files written into a folder, without harm to what else is there."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from pulsehr._writing import written_at_once


def write_files(files: Mapping[str, str], folder: str | os.PathLike[str], prefix: str) -> None:
    """Write the files of an export: all texts first, then all names, that of the header last.

    A full disk leaves an earlier export as it was. A process that is killed leaves it, or the
    new one, or one without the header, which no compiler takes. What an earlier export with the
    same prefix left and this one has not is removed, as builds that take all C of a folder would
    take it.

    Parameters
    ----------
    files : mapping of str to str
        Path in the folder and text of each file.
    folder : path-like
        Made if it is missing; other files in it are left alone.
    prefix : str
        That of the export.

    Raises
    ------
    NotADirectoryError
        If `folder` is a file.
    FileExistsError
        If a file of that name is not an earlier export with the same prefix.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"write: folder must not be a file, got {str(folder)!r}")
    for name in files:
        _check_is_ours(folder / name, prefix)
    header = folder / f"{prefix}.h"
    names = sorted(files, key=lambda name: folder / name == header)
    with ExitStack() as stack:
        # entered last, in place first: the header, without which no build succeeds, comes last
        temporaries = {
            stack.enter_context(_place(folder / name)): files[name] for name in reversed(names)
        }
        for temporary, text in temporaries.items():
            temporary.write_text(text, encoding="utf-8", newline="\n")
        header.unlink(missing_ok=True)
        kept = {*(folder / name for name in files), *temporaries}
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path not in kept and _written_with(path) == prefix:
                path.unlink()


def _place(path: Path) -> AbstractContextManager[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return written_at_once(path)


def _written_with(path: Path) -> str | None:
    """Return the prefix of the export that wrote a file; None if none did."""
    with path.open("rb") as file:
        start = file.read(400).decode("utf-8", errors="replace")
    written = re.search(r"Written by pulsehr \S+ with prefix (\w+)", start)
    return None if written is None else written[1]


def _check_is_ours(path: Path, prefix: str) -> None:
    """Refuse to write over what is not an earlier export of this prefix."""
    if not path.exists():
        return
    written = _written_with(path) if path.is_file() else None
    if written is not None and written != prefix:
        raise FileExistsError(
            f"write: {str(path)!r} was written with prefix {written!r}, not {prefix!r}, and is "
            f"left as it is: give each model a folder of its own (one firmware may hold several)"
        )
    if written is None:
        raise FileExistsError(
            f"write: {str(path)!r} was not written with prefix {prefix!r}, and is left as it "
            f"is: choose another folder or prefix"
        )
