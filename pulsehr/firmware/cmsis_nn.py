"""The user's CMSIS-NN: where its headers and sources are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

#: Environment variables that name the folders.
NN_FOLDER = "CMSIS_NN_DIR"
CORE_FOLDER = "CMSIS_CORE_DIR"

#: CMSIS-Core as seen from CMSIS-NN: side by side, in CMSIS 6, in CMSIS 5, and by the headers.
CORE_PLACES = ("../cmsis_core", "../CMSIS_6/CMSIS/Core", "../Core", "../CMSIS/Core", ".")


@dataclass(frozen=True)
class CmsisNN:
    """Headers and sources of CMSIS-NN.

    Parameters
    ----------
    include_dirs : tuple of Path
        Headers of CMSIS-NN, then those of CMSIS-Core.
    sources : tuple of Path
        All C files.
    """

    include_dirs: tuple[Path, Path]
    sources: tuple[Path, ...]


def find_cmsis_nn() -> CmsisNN:
    """Find CMSIS-NN in the folder that the environment variable CMSIS_NN_DIR names.

    The folder holds ``Include/arm_nnfunctions.h`` and ``Source``, as in the releases of Arm.
    CMSIS-Core, whose ``Include/cmsis_compiler.h`` it needs, is that of CMSIS_CORE_DIR, or lies
    where CMSIS 5 or 6 has it, or beside as ``cmsis_core``.

    Returns
    -------
    CmsisNN
        Headers and sources.

    Raises
    ------
    RuntimeError
        If one of the two is not there.
    """
    name = os.environ.get(NN_FOLDER, "").strip()
    if not name:
        raise RuntimeError(
            f"CMSIS-NN not found: set {NN_FOLDER} to your copy of "
            f"https://github.com/ARM-software/CMSIS-NN"
        )
    folder = Path(name)
    if not (folder / "Include" / "arm_nnfunctions.h").is_file():
        raise RuntimeError(
            f"CMSIS-NN not found: {NN_FOLDER}={name!r} has no Include/arm_nnfunctions.h"
        )
    chosen = os.environ.get(CORE_FOLDER, "").strip()
    candidates = [Path(chosen)] if chosen else [folder / place for place in CORE_PLACES]
    for core in candidates:
        if (core / "Include" / "cmsis_compiler.h").is_file():
            includes = (folder / "Include").resolve(), (core / "Include").resolve()
            return CmsisNN(includes, tuple(sorted((folder / "Source").resolve().rglob("*.c"))))
    raise RuntimeError(
        f"CMSIS-Core not found (tried {', '.join(map(str, candidates))}): set {CORE_FOLDER} to the "
        f"folder with Include/cmsis_compiler.h, such as CMSIS/Core of "
        f"https://github.com/ARM-software/CMSIS_6"
    )
