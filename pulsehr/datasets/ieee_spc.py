"""IEEE Signal Processing Cup 2015 (TROIKA): wrist PPG of people who run on a treadmill."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from pulsehr.datasets._dataset import HeartRateDataset, dataset_from_recordings
from pulsehr.datasets._matlab import (
    check_folder,
    check_ppg_channel,
    find_files,
    read_arrays,
    select_ppg,
)
from pulsehr.recordings import HEART_RATE_RANGE, Recording

#: The files that hold signals; the labels lie in files beside them.
SIGNAL_FILES = re.compile(r"DATA_(\d+)_TYPE(\d+)\.mat|(?:DATA|TEST)_(S\d+)_T\d+\.mat")

#: What the files are called, for errors.
FILE_NAMES = "DATA_<xx>_TYPE<yy>.mat, DATA_S<xx>_T<yy>.mat, TEST_S<xx>_T<yy>.mat"

#: Sampling rate of all signals in Hz [1].
SAMPLING_RATE = 125.0

#: Label i is the mean heart rate of the seconds 2 i to 2 i + 8 (readme of the data set).
LABEL_WINDOW, LABEL_STRIDE = 8.0, 2.0

#: ECG (not in the test files), PPG 1 and 2, acceleration x, y, z.
N_PPG, N_ACC = 2, 3
ROWS_WITH_ECG, ROWS_WITHOUT_ECG = 6, 5

#: Protocol of the training files, the same for both types (readme): start (s) and activity.
PROTOCOL = (
    (0.0, "rest"),
    (30.0, "slow run"),
    (90.0, "fast run"),
    (150.0, "slow run"),
    (210.0, "fast run"),
    (270.0, "rest"),
)


def load_ieee_spc(
    folder: str | os.PathLike[str], *, ppg_channel: int | str = 0
) -> HeartRateDataset:
    """Load the IEEE SPC 2015 data set [1]_ from its MATLAB files.

    Parameters
    ----------
    folder : str or path-like
        The unpacked download or a part of it; searched with all folders in it. Training
        files (``DATA_01_TYPE01.mat`` with ``DATA_01_TYPE01_BPMtrace.mat``,
        ``DATA_S04_T01.mat`` with ``BPM_S04_T01.mat``) and test files (``TEST_S01_T01.mat``
        with ``True_S01_T01.mat``) are read.
    ppg_channel : {0, 1, "mean"}, default=0
        Which of the two green PPG sensors, 2 cm apart, to keep. The first is the better one
        in most recordings; "mean" averages both after division by their standard deviation
        over the recording, so it suits studies but not a device that sees no future.

    Returns
    -------
    HeartRateDataset
        One recording per file, one reading per label. Subjects are ``"ieee_spc_01"`` to
        ``"ieee_spc_12"`` for the training files and ``"ieee_spc_S01"``, ... for the others.

    Raises
    ------
    FileNotFoundError
        If the folder, or the label file of a recording, is missing.
    ValueError
        If the folder holds none of the files, or one is damaged or of another layout.

    Notes
    -----
    All signals have 125 Hz; the ECG is not kept. A label belongs to the end of its eight
    seconds; labels outside 20 to 250 bpm are left out. The activities of the training files are
    the times of the protocol, the same for all and not measured: "slow run" is 8 km/h (TYPE01)
    or 6 km/h (TYPE02), "fast run" 15 or 12 km/h. The protocol of the other files is not known
    to this loader and their activity is empty. Samples at the rail of the converter (-1024) are
    kept as they are.

    The data are copyrighted and free for academic research with citation.

    References
    ----------
    .. [1] Z. Zhang, Z. Pi, B. Liu, "TROIKA: A general framework for heart rate monitoring
       using wrist-type photoplethysmographic signals during intensive physical exercise",
       IEEE Transactions on Biomedical Engineering 62(2), 522-531, 2015.

    Examples
    --------
    >>> from pulsehr.datasets import load_ieee_spc
    >>> data = load_ieee_spc("ieee_spc_2015")  # doctest: +SKIP
    >>> data  # doctest: +SKIP
    HeartRateDataset(1875 readings, 13 recordings, 13 subjects)
    """
    who = "load_ieee_spc"
    root = check_folder(who, folder)
    check_ppg_channel(who, ppg_channel, N_PPG)
    files = find_files(who, root, SIGNAL_FILES)
    if not files:
        raise ValueError(f"{who}: expected files {FILE_NAMES}, got none below {str(root)!r}")
    return dataset_from_recordings(
        [_read_recording(path, root, ppg_channel) for path in files.values()]
    )


def _read_recording(path: Path, root: Path, ppg_channel: int | str) -> Recording:
    who = "load_ieee_spc"
    sig = read_arrays(who, path, {"sig": (ROWS_WITH_ECG, ROWS_WITHOUT_ECG)})["sig"]
    signals = sig[len(sig) - N_PPG - N_ACC :]
    labels = read_arrays(who, _label_file(path, root), {"BPM0": None})["BPM0"]
    times = LABEL_WINDOW + LABEL_STRIDE * np.arange(len(labels))
    low, high = HEART_RATE_RANGE
    known = (labels >= low) & (labels <= high)
    match = SIGNAL_FILES.fullmatch(path.name)
    assert match is not None
    training = match[1] is not None
    return Recording(
        ppg=select_ppg(who, signals[:N_PPG], ppg_channel),
        ppg_rate=SAMPLING_RATE,
        acc=signals[N_PPG:].T,
        acc_rate=SAMPLING_RATE,
        heart_rate=labels[known],
        heart_rate_times=times[known],
        activity=np.array([name for _, name in PROTOCOL]) if training else None,
        activity_times=np.array([start for start, _ in PROTOCOL]) if training else None,
        subject=f"ieee_spc_{match[1] or match[3]}",
        name=f"ieee_spc_{path.stem}",
    )


def _label_file(path: Path, root: Path) -> Path:
    """Find the labels of a signal file: beside it, or in another folder of the download."""
    name = path.stem
    if "TYPE" in name:
        name = f"{name}_BPMtrace.mat"
    elif name.startswith("DATA"):
        name = f"{name.replace('DATA', 'BPM')}.mat"
    else:
        name = f"{name.replace('TEST', 'True')}.mat"
    beside = path.with_name(name)
    elsewhere = filter(Path.is_file, sorted(root.rglob(name)))
    found = beside if beside.is_file() else next(elsewhere, None)
    if found is None:
        raise FileNotFoundError(
            f"load_ieee_spc: {path.name} must come with its labels {name}, got none below "
            f"{str(root)!r}"
        )
    return found
