"""PPG-DaLiA: wrist PPG of fifteen people in daily life, with the heart rate of their ECG."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsehr.datasets._cache import Arrays, through_cache
from pulsehr.datasets._dataset import HeartRateDataset, dataset_from_recordings
from pulsehr.datasets._matlab import check_folder
from pulsehr.datasets._subject_files import (
    SUBJECT_FILES,
    check_subject,
    ending_together,
    find_subject_files,
    numeric_columns,
    subject_files,
    value_at,
)
from pulsehr.datasets._unpickling import read_pickle
from pulsehr.recordings import Recording

WHO = "load_ppg_dalia"

#: The folder of the download; each subject has a folder of its own in it.
FOLDER = "PPG_FieldStudy"

#: What the files are called, for errors.
FILE_NAMES = f"{FOLDER}/S<k>/S<k>.pkl"

#: Sampling rates in Hz (readme of the data set).
PPG_RATE, ACC_RATE, ACTIVITY_RATE = 64.0, 32.0, 4.0

#: Label k is the mean heart rate of seconds [2k, 2k + 8].
LABEL_WINDOW, LABEL_STRIDE = 8.0, 2.0

#: Activities by their number (readme).
ACTIVITIES = (
    "transient",
    "sitting",
    "stairs",
    "table soccer",
    "cycling",
    "driving",
    "lunch",
    "walking",
    "working",
)

#: What is read of a file, by the name in the cache. Chest signals stay where they are.
PLACES = {
    "ppg": "signal/wrist/BVP",
    "acc": "signal/wrist/ACC",
    "labels": "label",
    "activity": "activity",
    "subject": "subject",
}

#: A recording that was cut short by a fault of the hardware (readme).
CUT_SHORT = "S6"

#: More than this share of labels without signals, or of signals without labels, is another file.
MAX_DISAGREEMENT = 0.1

#: What a file without activities most likely is.
NO_ACTIVITY = ": WESAD, which has no activities, is read by load_wesad"


def load_ppg_dalia(
    folder: str | os.PathLike[str], *, cache: str | os.PathLike[str] | None = None
) -> HeartRateDataset:
    """Load PPG-DaLiA [1]_ from the files of the UCI Machine Learning Repository.

    Parameters
    ----------
    folder : str or path-like
        ``PPG_FieldStudy``, or a folder that holds it: the files are ``S<k>/S<k>.pkl`` in it.
    cache : str or path-like, default=None
        Folder for small files of what was read, one per subject, from which the next load comes.
        They count only while they are whole and the large files have not changed. If it cannot
        be written, a warning says so and nothing is lost but time.

    Returns
    -------
    HeartRateDataset
        One recording per subject, one reading per label. Subjects are ``"ppg_dalia_S1"``, ....

    Raises
    ------
    FileNotFoundError
        If the folder is missing.
    ValueError
        If it holds none of the files, or one is damaged, of another layout, of another subject
        than its name says, or asks for anything but arrays and plain containers.

    Warns
    -----
    UserWarning
        If labels, activities or signals of a subject do not end together and some are left out,
        or if the cache is damaged or cannot be written.

    Notes
    -----
    PPG is the BVP of the Empatica E4 at 64 Hz, acceleration is in g at 32 Hz. Label k, the mean
    heart rate by the chest ECG from second 2k to 2k + 8, belongs to the end of its eight seconds.
    Activities are those of the protocol, at 4 Hz; "transient" is the time between them.

    The files are pickles, which are programs: they are read by a machine that knows arrays and
    plain containers and refuses all else by name, before any of it is run. Chest signals and
    whatever else is not used stay in the file: memory is that of the wrist signals of one
    subject and what is kept of those before.

    The data are licensed under CC BY 4.0.

    References
    ----------
    .. [1] A. Reiss, I. Indlekofer, P. Schmidt, K. Van Laerhoven, "Deep PPG: Large-Scale Heart
       Rate Estimation with Convolutional Neural Networks", Sensors 19(14), 2019.

    Examples
    --------
    >>> from pulsehr.datasets import load_ppg_dalia
    >>> data = load_ppg_dalia("PPG_FieldStudy", cache="cache")  # doctest: +SKIP
    >>> data  # doctest: +SKIP
    HeartRateDataset(64697 readings, 15 recordings, 15 subjects)
    """
    root = check_folder(WHO, folder)
    files = find_subjects(root) or subject_files(WHO, root.glob(SUBJECT_FILES))
    if not files:
        raise ValueError(f"{WHO}: expected files {FILE_NAMES}, got none in {str(root)!r}")
    return dataset_from_recordings([_recording(path, cache) for path in files])


def find_subjects(root: Path) -> list[Path]:
    """Return the files of the subjects in folders named as in the download, wherever they are."""
    return find_subject_files(WHO, root, FOLDER)


def _recording(path: Path, cache: str | os.PathLike[str] | None) -> Recording:
    arrays = through_cache(WHO, cache, f"ppg_dalia_{path.stem}", path, _read)
    ppg, acc = ending_together(
        WHO, path, (arrays["ppg"], arrays["acc"]), (PPG_RATE, ACC_RATE), MAX_DISAGREEMENT
    )
    duration = min(len(ppg) / PPG_RATE, len(acc) / ACC_RATE)
    labels = _within(path, arrays["labels"], duration)
    codes = arrays["activity"]
    if abs(len(codes) / ACTIVITY_RATE - duration) > LABEL_WINDOW:
        _warn(
            path,
            f"activities end at {len(codes) / ACTIVITY_RATE:g} s and signals at {duration:g} s: "
            f"the last activity counts to the end",
        )
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    return Recording(
        ppg=ppg,
        ppg_rate=PPG_RATE,
        acc=acc,
        acc_rate=ACC_RATE,
        heart_rate=labels,
        heart_rate_times=LABEL_WINDOW + LABEL_STRIDE * np.arange(len(labels)),
        activity=np.array(ACTIVITIES)[codes[starts]],
        activity_times=starts / ACTIVITY_RATE,
        subject=f"ppg_dalia_{path.stem}",
    )


def _read(path: Path) -> Arrays:
    """Read the arrays of a recording from the pickle of a subject."""
    content = read_pickle(WHO, path, PLACES.values())
    found = {name: value_at(content, place) for name, place in PLACES.items()}
    check_subject(WHO, path, found["subject"])
    for name, columns in (("ppg", 1), ("acc", 3), ("labels", 1), ("activity", 1)):
        hint = NO_ACTIVITY if name == "activity" and found[name] is None else ""
        found[name] = numeric_columns(WHO, path, PLACES[name], found[name], columns, hint)
    codes = found["activity"][:, 0]
    if not np.isin(codes, np.arange(len(ACTIVITIES))).all():
        raise ValueError(
            f"{WHO}: {path.name} must hold activities 0 to {len(ACTIVITIES) - 1}, got others"
        )
    return {
        "ppg": found["ppg"][:, 0].astype(np.float32),
        "acc": found["acc"].astype(np.float32),
        "labels": found["labels"][:, 0].astype(np.float64),
        "activity": codes.astype(np.int8),
    }


def _within(path: Path, labels: NDArray[Any], duration: float) -> NDArray[Any]:
    """Return the labels whose eight seconds lie within the signals."""
    expected = int(np.floor((duration - LABEL_WINDOW) / LABEL_STRIDE + 1e-6)) + 1
    surplus = len(labels) - expected
    cut_short = path.stem == CUT_SHORT and surplus > 0
    if expected < 1 or (abs(surplus) > MAX_DISAGREEMENT * expected + 1 and not cut_short):
        raise ValueError(
            f"{WHO}: {path.name} must hold a label every {LABEL_STRIDE:g} s, {max(expected, 0)} "
            f"for its {duration:g} s of signals, got {len(labels)}"
        )
    if surplus > 0:
        _warn(path, f"{surplus} labels lie after the end of the signals and are left out")
    elif surplus < 0:
        _warn(path, f"the last {-surplus} windows of the signals have no label and no reading")
    return labels[:expected]


def _warn(path: Path, message: str) -> None:
    warnings.warn(f"{WHO}: {path.name}: {message}", stacklevel=4)
