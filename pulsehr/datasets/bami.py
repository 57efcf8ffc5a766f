"""BAMI (Wonkwang University): wrist PPG of people who walk and run on a treadmill."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pulsehr.datasets._dataset import HeartRateDataset, dataset_from_recordings
from pulsehr.datasets._matlab import (
    NumericArray,
    check_folder,
    check_ppg_channel,
    find_files,
    read_arrays,
    select_ppg,
)
from pulsehr.recordings import HEART_RATE_RANGE, Recording

#: The files that hold signals and labels.
SIGNAL_FILES = re.compile(r"(Subject|BAMI1|BAMI2)_(\d+)\.mat")

#: What the files are called, for errors.
FILE_NAMES = "Subject_<k>.mat, BAMI1_<k>.mat, BAMI2_<k>.mat"

#: Sampling rate of PPG and acceleration in Hz (readme of the data set).
SAMPLING_RATE = 50.0

#: Count of zero acceleration (readme), and counts per g: found from gravity at rest.
ACC_ZERO, ACC_COUNTS_PER_G = 32768.0, 4100.0

#: The sensors count reflected light, which falls when the blood volume rises.
POLARITY = -1.0
N_PPG, N_ACC = 3, 3

#: A label describes eight seconds, one every two, as in the published siblings.
LABEL_WINDOW, LABEL_STRIDE = 8.0, 2.0

#: RR intervals outside (s) are missed or false beats; fewer in a window give no label.
RR_RANGE = (0.27, 1.5)
MIN_RR_INTERVALS = 3

#: Seconds by which the clock of the watch trails that of the ECG: found once for the set
#: from the PPG at all times, not to be fitted to a recording under test.
PPG_LAG = 2.5
PPG_LAG_OF_SUBJECT = {5: 11.5, 8: 5.0, 15: -3.0}

#: Files of BAMI-2 in which the first label is half the true rate.
HALVED_FIRST_LABEL = range(7, 13)

#: Protocol of Subject_<k>.mat (readme): start (s) and activity.
PROTOCOL = (
    (0.0, "rest"),
    (60.0, "walk"),
    (180.0, "run"),
    (360.0, "walk"),
    (480.0, "run"),
    (660.0, "walk"),
    (780.0, "rest"),
)


def load_bami(folder: str | os.PathLike[str], *, ppg_channel: int | str = 0) -> HeartRateDataset:
    """Load the BAMI data sets [1]_ [2]_ from their MATLAB files.

    Parameters
    ----------
    folder : str or path-like
        Where the files are; searched with all folders in it. ``Subject_<k>.mat`` (with
        gyroscope), ``BAMI1_<k>.mat`` and ``BAMI2_<k>.mat`` are read. ``BAMI1_<k>`` is
        ``Subject_<k>`` trimmed: if both are there, it is left out with a warning.
    ppg_channel : {0, 1, 2, "mean"}, default=0
        Which of the three green PPG sensors, 6 mm apart, to keep. The first has the smallest
        error on average; "mean" averages all after division by their standard deviation over
        the recording, so it suits studies but not a device that sees no future.

    Returns
    -------
    HeartRateDataset
        One recording per file, one reading per label. Subjects are ``"bami1_01"``, ... (also
        of ``Subject_<k>``) and ``"bami2_01"``, ....

    Raises
    ------
    FileNotFoundError
        If the folder is missing.
    ValueError
        If the folder holds none of the files, or one is damaged or of another layout.

    Warns
    -----
    UserWarning
        If ``BAMI1_<k>`` is left out because ``Subject_<k>`` is there.

    Notes
    -----
    PPG and acceleration have 50 Hz; the gyroscope is not kept. The sign of the PPG is turned
    so that it rises with the blood volume, as in the other data sets (checked on the fast
    edge of the pulse in the first channel of all ``Subject_<k>``).

    Labels of ``Subject_<k>`` are made from the ECG beats: the median RR interval of eight
    seconds, every two seconds, without intervals outside 0.27 to 1.5 s. The two clocks were
    started by hand, so the beats of 2.5 s earlier belong to a window (11.5 s in Subject_5,
    5.0 in Subject_8, -3.0 in Subject_15). Windows with fewer than three intervals, and labels
    outside 20 to 250 bpm, have no label: three readings at the start of Subject_5 in the
    published files. The siblings come with labels; the first of BAMI2_7 to BAMI2_12 is half
    the true rate and is left out. A label belongs to the end of its eight seconds. The heart
    rates that other authors' methods gave (``bpm_proposed``, ``bpmPPG``) are never read.

    The activities of ``Subject_<k>`` are the times of the protocol, the same for all and not
    measured (walking at 2.5 to 3 km/h, running at 6 to 7 km/h). Those of the trimmed siblings
    are empty, as where they were trimmed is not known.

    The data are copyrighted and free for academic research with citation.

    References
    ----------
    .. [1] H. Lee, H. Chung, J. Lee, "Motion artifact cancellation in wearable
       photoplethysmography using gyroscope", IEEE Sensors Journal 19(3), 2019.
    .. [2] H. Chung, H. Ko, H. Lee, J. Lee, "Deep learning for heart rate estimation from
       reflectance photoplethysmography with acceleration power spectrum and acceleration
       intensity", IEEE Access 8, 2020.

    Examples
    --------
    >>> from pulsehr.datasets import load_bami
    >>> data = load_bami("bami_gyro")  # doctest: +SKIP
    >>> data  # doctest: +SKIP
    HeartRateDataset(10005 readings, 24 recordings, 24 subjects)
    """
    who = "load_bami"
    root = check_folder(who, folder)
    check_ppg_channel(who, ppg_channel, N_PPG)
    files = find_files(who, root, SIGNAL_FILES)
    if not files:
        raise ValueError(f"{who}: expected files {FILE_NAMES}, got none below {str(root)!r}")
    whole = {_kind_and_number(name)[1] for name in files if name.startswith("Subject")}
    trimmed = [
        name for name in files if name.startswith("BAMI1") and _kind_and_number(name)[1] in whole
    ]
    if trimmed:
        warnings.warn(
            f"{who}: left out {', '.join(trimmed)}: trimmed copies of Subject_<k>.mat, which "
            f"are there too",
            stacklevel=2,
        )
    return dataset_from_recordings(
        [_read_recording(path, ppg_channel) for name, path in files.items() if name not in trimmed]
    )


def _kind_and_number(name: str) -> tuple[str, int]:
    match = SIGNAL_FILES.fullmatch(name)
    assert match is not None
    return match[1], int(match[2])


def _read_recording(path: Path, ppg_channel: int | str) -> Recording:
    kind, number = _kind_and_number(path.name)
    read = _read_beats if kind == "Subject" else _read_labels
    ppg, acc, labels = read(path, number)
    times = LABEL_WINDOW + LABEL_STRIDE * np.arange(len(labels))
    low, high = HEART_RATE_RANGE
    known = (labels >= low) & (labels <= high)
    if kind == "BAMI2" and number in HALVED_FIRST_LABEL:
        known[0] = False
    protocol = kind == "Subject"
    return Recording(
        ppg=POLARITY * select_ppg("load_bami", ppg, ppg_channel),
        ppg_rate=SAMPLING_RATE,
        acc=(acc.T - ACC_ZERO) / ACC_COUNTS_PER_G,
        acc_rate=SAMPLING_RATE,
        heart_rate=labels[known],
        heart_rate_times=times[known],
        activity=np.array([name for _, name in PROTOCOL]) if protocol else None,
        activity_times=np.array([start for start, _ in PROTOCOL]) if protocol else None,
        subject=f"bami{2 if kind == 'BAMI2' else 1}_{number:02d}",
        name=f"bami_{path.stem}",
    )


def _read_beats(path: Path, number: int) -> tuple[NumericArray, NumericArray, NumericArray]:
    """Read Subject_<k>.mat and make its labels from the ECG beats."""
    content = read_arrays(
        "load_bami",
        path,
        {"sigPPG": (N_PPG,), "sigAcc": (N_ACC,), "timeECG": None, "bpmECG": None},
    )
    beats, bpm = content["timeECG"], content["bpmECG"]
    if len(beats) != len(bpm):
        raise ValueError(
            f"load_bami: {path.name} must hold timeECG and bpmECG of equal length, got "
            f"{len(beats)} and {len(bpm)}"
        )
    duration = content["sigPPG"].shape[1] / SAMPLING_RATE
    ends = np.arange(LABEL_WINDOW, duration + 1e-6, LABEL_STRIDE)
    lag = PPG_LAG_OF_SUBJECT.get(number, PPG_LAG)
    return content["sigPPG"], content["sigAcc"], window_heart_rate(beats, bpm, ends - lag)


def _read_labels(path: Path, number: int) -> tuple[NumericArray, NumericArray, NumericArray]:
    """Read BAMI1_<k>.mat or BAMI2_<k>.mat, which come with labels."""
    content = read_arrays(
        "load_bami", path, {"rawPPG": (N_PPG,), "rawAcc": (N_ACC,), "bpm_ecg": None}
    )
    return content["rawPPG"], content["rawAcc"], content["bpm_ecg"].astype(np.float64)


def window_heart_rate(
    beats: NumericArray, bpm: NumericArray, ends: NumericArray
) -> NDArray[np.float64]:
    """Take the median heart rate of the beats in each window.

    Parameters
    ----------
    beats : ndarray of shape (n_beats,)
        Instant of each beat in seconds.
    bpm : ndarray of shape (n_beats,)
        60 / RR of the interval that ends with the beat.
    ends : ndarray of shape (n_windows,)
        End of each window of eight seconds.

    Returns
    -------
    ndarray of shape (n_windows,)
        In bpm; NaN where there are fewer than three plausible intervals.
    """
    shortest, longest = RR_RANGE
    plausible = np.isfinite(beats) & (bpm >= 60 / longest) & (bpm <= 60 / shortest)
    beats, rr = beats[plausible], 60 / bpm[plausible]
    first = np.searchsorted(beats, ends - LABEL_WINDOW, side="right")
    last = np.searchsorted(beats, ends, side="right")
    return np.array(
        [
            60 / np.median(rr[i:j]) if j - i >= MIN_RR_INTERVALS else np.nan
            for i, j in zip(first, last, strict=True)
        ]
    )
