"""Files that are written in one step: who reads one sees the old content or the new, whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident


@contextmanager
def written_at_once(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary file beside `path`, which takes its place once it is written.

    Parameters
    ----------
    path : str or path-like
        What is there stays as it is if writing fails, is interrupted or killed, or if the power
        goes. Of a process that is killed the temporary file, whose name starts with a dot, stays.

    Yields
    ------
    pathlib.Path
        What to write, and to close before the end of the block.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{get_ident()}")
    try:
        yield temporary
        _reach_the_disk(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _reach_the_disk(path: Path) -> None:
    """Wait for it, as a name may otherwise reach the disk before the content does."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
