"""Which known data sets lie below a folder: load them all."""

from __future__ import annotations

import os
from functools import reduce
from operator import add

from pulsehr.datasets import bami, ieee_spc
from pulsehr.datasets._dataset import HeartRateDataset
from pulsehr.datasets._matlab import check_folder, find_files

#: A loader with the names of its files, by the name of the data set.
LOADERS = {
    "IEEE SPC 2015": (ieee_spc.load_ieee_spc, ieee_spc.SIGNAL_FILES, ieee_spc.FILE_NAMES),
    "BAMI": (bami.load_bami, bami.SIGNAL_FILES, bami.FILE_NAMES),
}


def load_folder(folder: str | os.PathLike[str]) -> HeartRateDataset:
    """Load and pool every known data set below a folder.

    Parameters
    ----------
    folder : str or path-like
        Searched with all folders in it for the files of `load_ieee_spc` and `load_bami`.

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
    loaders = [
        loader
        for loader, signal_files, _ in LOADERS.values()
        if find_files("load_folder", root, signal_files)
    ]
    if not loaders:
        known = "; ".join(f"{name}: {files}" for name, (_, _, files) in LOADERS.items())
        raise ValueError(
            f"load_folder: expected files of a known data set ({known}), got none below "
            f"{str(root)!r}"
        )
    return reduce(add, [loader(root) for loader in loaders])
