"""WESAD: wrist PPG of people at rest, under stress and amused, with heart rates from their ECG."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from pulsehr.datasets._cache import Arrays, through_cache
from pulsehr.datasets._dataset import HeartRateDataset, dataset_from_recordings
from pulsehr.datasets._ecg import (
    BeatLabels,
    check_recipe,
    ecg_beats,
    warn_of_windows_without_label,
    window_labels,
)
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

WHO = "load_wesad"

#: The folder of the download; each subject has a folder of its own in it.
FOLDER = "WESAD"

#: What the files are called, for errors.
FILE_NAMES = f"{FOLDER}/S<k>/S<k>.pkl"

#: Sampling rates in Hz: of PPG and acceleration, and of ECG and protocol (readme).
PPG_RATE, ACC_RATE, CHEST_RATE = 64.0, 32.0, 700.0

#: Counts of the accelerometer per g (readme).
COUNTS_PER_G = 64.0

#: States of the protocol by their number; the last three are to be ignored (readme).
STATES = (
    "transient",
    "baseline",
    "stress",
    "amusement",
    "meditation",
    "undefined",
    "undefined",
    "undefined",
)

#: What is read of a file. The other chest signals stay where they are.
PLACES = {
    "ppg": "signal/wrist/BVP",
    "acc": "signal/wrist/ACC",
    "ecg": "signal/chest/ECG",
    "states": "label",
    "subject": "subject",
}

#: Signals of one subject whose durations differ by more than this share are of another file.
MAX_DISAGREEMENT = 0.1


def load_wesad(
    folder: str | os.PathLike[str],
    *,
    labels: str = "mean_rate",
    cache: str | os.PathLike[str] | None = None,
) -> HeartRateDataset:
    """Load WESAD [1]_ from the files of the UCI Machine Learning Repository.

    The data set has no heart rates: they are made from the chest ECG, whose beats NeuroKit2
    finds (``pip install "pulsehr[data]"``).

    Parameters
    ----------
    folder : str or path-like
        ``WESAD``, or a folder that holds it: the files are ``S<k>/S<k>.pkl`` in it.
    labels : {"mean_rate", "mean_rr"}, default="mean_rate"
        What the heart rate of eight seconds is: the mean of the rates 60/RR, as in PPG-DaLiA
        [2]_, or 60 over the mean RR interval, as in IEEE SPC 2015.
    cache : str or path-like, default=None
        Folder for small files of what was read and of the beats that were found, one per
        subject, from which the next load comes, for both kinds of `labels`. They count only
        while they are whole and the large files have not changed. If it cannot be written, a
        warning says so and nothing is lost but time.

    Returns
    -------
    HeartRateDataset
        One recording per subject, one reading per label. Subjects are ``"wesad_S2"``, ...;
        activities are the states of the protocol: ``"baseline"``, ``"stress"``,
        ``"amusement"``, ``"meditation"``, ``"transient"`` between them, and ``"undefined"`` for
        those that the authors ask to ignore.

    Raises
    ------
    ImportError
        If NeuroKit2 is wanted and not installed.
    FileNotFoundError
        If the folder is missing.
    ValueError
        If it holds none of the files, or one is damaged, of another layout, of another subject
        than its name says, or asks for anything but arrays and plain containers.

    Warns
    -----
    UserWarning
        If windows have no label: how many of which subjects, and why. If signals do not end
        together and some are left out, or if the cache is damaged or cannot be written.

    Notes
    -----
    PPG is the BVP of the Empatica E4 at 64 Hz, acceleration is at 32 Hz and turned from 1/64 g
    into g. The label at t is the heart rate of the RR intervals with their mid-point in
    [t - 8, t), every two seconds. Left out are intervals outside 35 to 220 bpm, and those of a
    missed or a false beat: longer than 1.5 times the median of the 31 around, shorter than 0.6
    times, or beside one so short. Windows with fewer than four intervals left, or with less
    than three quarters of their time in such, have no label.

    The files are pickles, which are programs: they are read by a machine that knows arrays and
    plain containers and refuses all else by name, before any of it is run. Chest signals
    but the ECG stay in the file.

    The authors give the data for academic research and other non-commercial use and ask to be
    cited.

    References
    ----------
    .. [1] P. Schmidt, A. Reiss, R. Duerichen, C. Marberger, K. Van Laerhoven, "Introducing WESAD,
       a multimodal dataset for wearable stress and affect detection", ICMI 2018.
    .. [2] A. Reiss, I. Indlekofer, P. Schmidt, K. Van Laerhoven, "Deep PPG: Large-Scale Heart
       Rate Estimation with Convolutional Neural Networks", Sensors 19(14), 2019.

    Examples
    --------
    >>> from pulsehr.datasets import load_wesad
    >>> data = load_wesad("WESAD", cache="cache")  # doctest: +SKIP
    """
    root = check_folder(WHO, folder)
    check_recipe(WHO, labels)
    files = find_subjects(root) or subject_files(WHO, root.glob(SUBJECT_FILES))
    if not files:
        raise ValueError(f"{WHO}: expected files {FILE_NAMES}, got none in {str(root)!r}")
    recordings, found = [], {}
    for path in files:
        recording, found[path.stem] = _recording(path, labels, cache)
        recordings.append(recording)
    warn_of_windows_without_label(WHO, found)
    return dataset_from_recordings(recordings)


def find_subjects(root: Path) -> list[Path]:
    """Return the files of the subjects in folders named as in the download, wherever they are."""
    return find_subject_files(WHO, root, FOLDER)


def _recording(
    path: Path, labels: str, cache: str | os.PathLike[str] | None
) -> tuple[Recording, BeatLabels]:
    arrays = through_cache(WHO, cache, f"wesad_{path.stem}", path, _read)
    ppg, acc = ending_together(
        WHO, path, (arrays["ppg"], arrays["acc"]), (PPG_RATE, ACC_RATE), MAX_DISAGREEMENT
    )
    duration = min(len(ppg) / PPG_RATE, len(acc) / ACC_RATE)
    chest = float(arrays["chest_duration"])
    if abs(chest - duration) > MAX_DISAGREEMENT * duration:
        raise ValueError(
            f"{WHO}: {path.name} must hold wrist and chest signals (at {CHEST_RATE:g} Hz) of the "
            f"same time, got {duration:g} s and {chest:g} s"
        )
    found = window_labels(arrays["beats"], duration, labels)
    some = len(found.times) > 0
    recording = Recording(
        ppg=ppg,
        ppg_rate=PPG_RATE,
        acc=acc,
        acc_rate=ACC_RATE,
        heart_rate=found.heart_rate if some else None,
        heart_rate_times=found.times if some else None,
        activity=np.array(STATES)[arrays["states"]],
        activity_times=arrays["state_times"],
        subject=f"wesad_{path.stem}",
    )
    return recording, found


def _read(path: Path) -> Arrays:
    """Read the wrist signals and states from the pickle of a subject; find the beats of the ECG."""
    content = read_pickle(WHO, path, PLACES.values())
    found = {name: value_at(content, place) for name, place in PLACES.items()}
    check_subject(WHO, path, found["subject"])
    for name, columns in (("ppg", 1), ("acc", 3), ("ecg", 1), ("states", 1)):
        found[name] = numeric_columns(WHO, path, PLACES[name], found[name], columns)
    states = found["states"][:, 0]
    if not np.isin(states, np.arange(len(STATES))).all():
        raise ValueError(f"{WHO}: {path.name} must hold states 0 to {len(STATES) - 1}, got others")
    starts = np.flatnonzero(np.diff(states.astype(np.int8), prepend=np.int8(-1)))
    return {
        "ppg": found["ppg"][:, 0].astype(np.float32),
        "acc": found["acc"].astype(np.float32) / np.float32(COUNTS_PER_G),
        "beats": ecg_beats(WHO, path.name, found["ecg"], CHEST_RATE),
        "chest_duration": np.array(len(found["ecg"]) / CHEST_RATE),
        "states": states[starts].astype(np.int8),
        "state_times": starts / CHEST_RATE,
    }
