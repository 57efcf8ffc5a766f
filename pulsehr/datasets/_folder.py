"""Which known data sets lie below a folder: load them all."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial, reduce
from operator import add
from pathlib import Path

from pulsehr.datasets import bami, ieee_spc, physionet_wrist, ppg_dalia, wesad
from pulsehr.datasets._dataset import HeartRateDataset
from pulsehr.datasets._matlab import check_folder, find_files


def _files(pattern: re.Pattern[str], root: Path) -> list[Path]:
    return list(find_files("load_folder", root, pattern).values())


#: A loader, what finds its files below a folder, and their names, by the name of the data set.
LOADERS: dict[str, tuple[Callable[..., HeartRateDataset], Callable[[Path], list[Path]], str]] = {
    "IEEE SPC 2015": (
        ieee_spc.load_ieee_spc,
        partial(_files, ieee_spc.SIGNAL_FILES),
        ieee_spc.FILE_NAMES,
    ),
    "BAMI": (bami.load_bami, partial(_files, bami.SIGNAL_FILES), bami.FILE_NAMES),
    "PPG-DaLiA": (ppg_dalia.load_ppg_dalia, ppg_dalia.find_subjects, ppg_dalia.FILE_NAMES),
    "WESAD": (wesad.load_wesad, wesad.find_subjects, wesad.FILE_NAMES),
    "Wrist PPG During Exercise": (
        physionet_wrist.load_physionet_wrist,
        partial(_files, physionet_wrist.HEADER_FILES),
        physionet_wrist.FILE_NAMES,
    ),
}


def load_folder(folder: str | os.PathLike[str]) -> HeartRateDataset:
    """Load and pool every known data set below a folder.

    Parameters
    ----------
    folder : str or path-like
        Searched with all folders in it for the files of `load_ieee_spc`, `load_bami`,
        `load_ppg_dalia`, `load_wesad` and `load_physionet_wrist`.

    Returns
    -------
    HeartRateDataset
        The readings of all data sets found.

    Raises
    ------
    FileNotFoundError
        If the folder is missing.
    ValueError
        If it holds no known data set.

    Examples
    --------
    >>> from pulsehr.datasets import load_folder
    >>> load_folder("downloads")  # doctest: +SKIP
    HeartRateDataset(11880 readings, 37 recordings, 37 subjects)
    """
    root = check_folder("load_folder", folder)
    loaders = [loader for loader, found, _ in LOADERS.values() if found(root)]
    if not loaders:
        known = "; ".join(f"{name}: {files}" for name, (_, _, files) in LOADERS.items())
        raise ValueError(
            f"load_folder: expected files of a known data set ({known}), got none below "
            f"{str(root)!r}"
        )
    return reduce(add, [loader(root) for loader in loaders])
