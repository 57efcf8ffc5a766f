"""Wrist PPG During Exercise (PhysioNet): people who walk, run and cycle."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsehr.datasets._annotations import annotated_beats
from pulsehr.datasets._dataset import HeartRateDataset, dataset_from_recordings
from pulsehr.datasets._ecg import (
    BeatLabels,
    check_recipe,
    warn_of_windows_without_label,
    window_labels,
)
from pulsehr.datasets._matlab import check_folder, find_files
from pulsehr.datasets._optional import optional_library, quiet_library
from pulsehr.recordings import Recording

WHO = "load_physionet_wrist"

#: The header of a record: subject and activity.
HEADER_FILES = re.compile(r"(s\d+)_(\w+)\.hea")

#: What the files are called, for errors.
FILE_NAMES = "s<k>_<activity>.hea with .dat and .atr"

#: The channels that are read.
PPG_CHANNEL = "wrist_ppg"
ACC_CHANNELS = {
    kind: [f"wrist_{kind}_accelerometer_{axis}" for axis in "xyz"]
    for kind in ("wide_range", "low_noise")
}

#: Standard gravity in m/s^2, and how far (g) the median length of the acceleration may be off.
GRAVITY, MEDIAN_RANGE = 9.80665, (0.5, 2.0)

#: Bytes of a sample by the storage format of WFDB, of those that are read.
SAMPLE_BYTES = {"80": 1.0, "212": 1.5, "16": 2.0, "61": 2.0, "160": 2.0, "24": 3.0, "32": 4.0}

#: Rates (Hz) beyond these are none of this data set, whose signals have 256.
RATE_RANGE = (50.0, 2000.0)

#: Larger files (bytes) are none of this data set, whose records last minutes; nor are several
#: signal files that are larger together.
MAX_BYTES = {".hea": 1 << 16, ".dat": 1 << 25, ".atr": 1 << 20}

#: A signal file lies beside its header: a plain name leads nowhere else.
PLAIN_NAME = re.compile(r"\w[\w.-]*")


def load_physionet_wrist(
    folder: str | os.PathLike[str], *, acc: str = "wide_range", labels: str = "mean_rate"
) -> HeartRateDataset:
    """Load Wrist PPG During Exercise [1]_ from its WFDB records.

    Needs ``wfdb`` (``pip install "pulsehr[data]"``).

    Parameters
    ----------
    folder : str or path-like
        The download or a part of it; searched with all folders in it for ``s1_walk.hea``
        with ``s1_walk.dat`` and ``s1_walk.atr``, ....
    acc : {"wide_range", "low_noise"}, default="wide_range"
        Which of the two accelerometers to keep. The low-noise one ends at 2 g, beyond
        which the wrist of a runner goes.
    labels : {"mean_rate", "mean_rr"}, default="mean_rate"
        What the heart rate of eight seconds is: the mean of the rates 60/RR, as in PPG-DaLiA,
        or 60 over the mean RR interval, as in IEEE SPC 2015.

    Returns
    -------
    HeartRateDataset
        One recording per record, one reading per label. Subjects are
        ``"physionet_wrist_s1"``, ...; activities ``"walk"``, ``"run"``,
        ``"low resistance bike"``, ``"high resistance bike"``.

    Raises
    ------
    ImportError
        If ``wfdb`` is not installed.
    FileNotFoundError
        If the folder, or a file that belongs to a header, is missing.
    ValueError
        If the folder holds no such records, or one is damaged or of another layout.

    Warns
    -----
    UserWarning
        If windows have no label: how many of which records, and why.

    Notes
    -----
    Signals have 256 Hz; ECG and gyroscope are not kept, the acceleration is turned from m/s^2
    into g. Beats come from the annotations (``.atr``); the label at t is made of those in
    [t - 8, t) as in `load_wesad`.

    The PPG is very poor: report errors on it apart from those on other data sets. Open Data
    Commons Attribution License; cite [1]_ and PhysioNet.

    References
    ----------
    .. [1] D. Jarchi, A. J. Casson, "Description of a database containing wrist PPG signals
       recorded during physical exercise with both accelerometer and gyroscope measures of
       motion", Data 2(1), 2017.

    Examples
    --------
    >>> from pulsehr.datasets import load_physionet_wrist
    >>> data = load_physionet_wrist("wrist-ppg-during-exercise")  # doctest: +SKIP
    """
    root = check_folder(WHO, folder)
    check_recipe(WHO, labels)
    if acc not in ACC_CHANNELS:
        raise ValueError(f"{WHO}: acc must be one of {list(ACC_CHANNELS)}, got {acc!r}")
    files = find_files(WHO, root, HEADER_FILES)
    if not files:
        raise ValueError(f"{WHO}: expected files {FILE_NAMES}, got none below {str(root)!r}")
    recordings, found = [], {}
    for path in files.values():
        recording, found[path.stem] = _read_recording(path, acc, labels)
        recordings.append(recording)
    warn_of_windows_without_label(WHO, found)
    return dataset_from_recordings(recordings)


def _read_recording(header: Path, acc: str, labels: str) -> tuple[Recording, BeatLabels]:
    signals, rate = _read_signals(header, [PPG_CHANNEL, *ACC_CHANNELS[acc]])
    beats = _read_beats(header, rate)
    found = window_labels(beats, len(signals) / rate, labels)
    match = HEADER_FILES.fullmatch(header.name)
    assert match is not None
    some = len(found.times) > 0
    recording = Recording(
        ppg=signals[:, 0],
        ppg_rate=rate,
        acc=signals[:, 1:],
        acc_rate=rate,
        heart_rate=found.heart_rate if some else None,
        heart_rate_times=found.times if some else None,
        activity=np.array([match[2].replace("_", " ")]),
        activity_times=np.zeros(1),
        subject=f"physionet_wrist_{match[1]}",
        name=f"physionet_wrist_{header.stem}",
    )
    return recording, found


def _read_signals(header: Path, channels: list[str]) -> tuple[NDArray[np.float64], float]:
    """Return PPG and acceleration (g), shape (n_samples, 4), and their rate (Hz)."""
    wfdb = optional_library(WHO, "wfdb")
    _check_size(header)
    try:
        with quiet_library():
            record = wfdb.rdheader(str(_record(header)))
    except Exception as error:  # it raises whatever the damaged byte leads to
        raise _unreadable(header, error) from error
    _check_header(header, record, channels)
    try:
        with quiet_library():
            signals = wfdb.rdrecord(str(_record(header)), channel_names=channels).p_signal
    except Exception as error:
        raise _unreadable(header.with_suffix(".dat"), error) from error
    acc = signals[:, 1:]
    if record.units[record.sig_name.index(channels[1])] != "g":
        acc /= GRAVITY
    low, high = MEDIAN_RANGE
    lengths = np.linalg.norm(acc, axis=1)
    known = np.isfinite(lengths)
    median = float(np.median(lengths[known])) if known.any() else 0.0
    if not low <= median <= high:
        raise ValueError(
            f"{WHO}: {header.name} must have an acceleration in m/s^2 with gravity in it, got a "
            f"median length of {median * GRAVITY:.3g}: is it the published record?"
        )
    return signals, float(record.fs)


def _check_header(header: Path, record: Any, channels: list[str]) -> None:
    """Raise unless a header tells of plain signal files beside it that are long enough."""
    names = getattr(record, "sig_name", None) or []
    missing = [channel for channel in channels if channel not in names]
    if missing or not hasattr(record, "file_name"):  # a record of several segments has none
        raise ValueError(f"{WHO}: {header.name} must have the channels {channels}, got {names}")
    low, high = RATE_RANGE
    if not (record.fs and low <= record.fs <= high and record.sig_len):
        raise ValueError(
            f"{WHO}: {header.name} must tell a rate, {low:g} to {high:g} Hz, and a number of "
            f"samples, got {record.fs} Hz and {record.sig_len}"
        )
    needed: dict[str, float] = {}
    for channel, file in enumerate(record.file_name):
        if not PLAIN_NAME.fullmatch(str(file)):
            raise ValueError(
                f"{WHO}: {header.name} must name signal files beside it, got {file!r}: it is not "
                f"the published header, nothing was read"
            )
        fmt, per_frame = record.fmt[channel], record.samps_per_frame[channel]
        shifts = {record.skew[channel], record.byte_offset[channel]}
        if fmt not in SAMPLE_BYTES or per_frame not in (None, 1) or not shifts <= {None, 0}:
            raise ValueError(
                f"{WHO}: {header.name} must store one sample at a time in one of the formats "
                f"{list(SAMPLE_BYTES)}, from the start on, got {per_frame} in format {fmt}"
            )
        needed[file] = needed.get(file, 0.0) + record.sig_len * SAMPLE_BYTES[fmt]
    if sum(needed.values()) > MAX_BYTES[".dat"]:
        raise ValueError(
            f"{WHO}: {header.name} must tell of signals of at most {MAX_BYTES['.dat']} bytes, got "
            f"{sum(needed.values()):.0f}"
        )
    for file, n_bytes in needed.items():
        size = _check_size(header.with_name(file))
        if size < int(n_bytes):
            raise ValueError(
                f"{WHO}: {file} must have the {int(n_bytes)} bytes that {header.name} tells of, "
                f"got {size}: is the download complete?"
            )


def _read_beats(header: Path, rate: float) -> NDArray[np.float64]:
    path = header.with_suffix(".atr")
    _check_size(path)
    try:
        return annotated_beats(path.read_bytes(), rate)
    except ValueError as error:
        raise _unreadable(path, error) from error


def _check_size(path: Path) -> int:
    """Return the size (bytes) of a file that is there and no larger than those of the data set."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{WHO}: expected {path.name}, of a record in {str(path.parent)!r}, got no such file"
        )
    size, most = path.stat().st_size, MAX_BYTES.get(path.suffix, MAX_BYTES[".dat"])
    if not 0 < size <= most:
        raise ValueError(f"{WHO}: {path.name} must have 1 to {most} bytes, got {size}")
    return size


def _record(header: Path) -> Path:
    """Name a record as wfdb wants it: absolute, so that it is never taken for an address."""
    return header.resolve().with_suffix("")


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{WHO}: {path.name} must be a file of a WFDB record, got one that cannot be read "
        f"({type(error).__name__}: {str(error)[:120]}): is the download complete?"
    )
