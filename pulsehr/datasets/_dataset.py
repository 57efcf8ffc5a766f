"""What every loader returns: rows ready for scikit-learn, and the recordings behind them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pulsehr.exceptions import MissingSamplesWarning
from pulsehr.recordings import Reading, ReadingList, Recording


@dataclass(frozen=True, eq=False)
class HeartRateDataset:
    """Hold labelled readings as scikit-learn wants them.

    Parameters
    ----------
    X : list of Reading, length n_readings
        Where a heart rate is wanted.
    y : ndarray of shape (n_readings,)
        The heart rate in bpm.
    groups : ndarray of str, shape (n_readings,)
        The subject of each reading, for `GroupKFold`.
    activity : ndarray of str, shape (n_readings,)
        What the subject was doing; empty where unknown.
    recordings : list of Recording
        The recordings that the readings point into.
    """

    X: list[Reading]
    y: NDArray[np.float64]
    groups: NDArray[np.str_]
    activity: NDArray[np.str_]
    recordings: list[Recording]

    def __repr__(self) -> str:
        """Count readings, recordings and subjects."""
        return (
            f"HeartRateDataset({len(self.X)} readings, {len(self.recordings)} recordings, "
            f"{len(set(self.groups.tolist()))} subjects)"
        )

    def __add__(self, other: HeartRateDataset) -> HeartRateDataset:
        """Pool two data sets; their subjects must have different names."""
        shared = {r.subject for r in self.recordings} & {r.subject for r in other.recordings}
        if shared:
            raise ValueError(
                f"HeartRateDataset: pooled data sets must not share subjects, got {sorted(shared)}"
            )
        return dataset_from_recordings([*self.recordings, *other.recordings])


def dataset_from_recordings(recordings: Sequence[Recording]) -> HeartRateDataset:
    """Collect the labelled readings of recordings.

    Parameters
    ----------
    recordings : sequence of Recording
        Recordings with labels.

    Returns
    -------
    HeartRateDataset
        One row per label that has eight seconds of past without a gap.

    Raises
    ------
    ValueError
        If there are no recordings, or one has no label with eight seconds of past.

    Warns
    -----
    MissingSamplesWarning
        If labels are left out, as samples are missing in their eight seconds.
    """
    if len(recordings) == 0:
        raise ValueError("dataset_from_recordings: expected at least one recording, got none")
    readings = [_labelled_readings(recording) for recording in recordings]
    X = ReadingList(reading for of_recording in readings for reading in of_recording)
    _warn_of_gaps(recordings, X)
    # whole recordings at once: a reading by itself takes longer than its samples take to load
    instants = [np.array([reading.instant for reading in of_one]) for of_one in readings]
    pairs = list(zip(recordings, instants, strict=True))
    return HeartRateDataset(
        X=X,
        y=np.concatenate([_labels_at(recording, times) for recording, times in pairs]),
        groups=np.array([reading.subject for reading in X], dtype=np.str_),
        activity=np.concatenate([recording.activity_at(times) for recording, times in pairs]),
        recordings=list(recordings),
    )


def _labels_at(recording: Recording, instants: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the labels (bpm) at instants (s) of labels."""
    times, labels = recording.heart_rate_times, recording.heart_rate
    assert times is not None and labels is not None  # noqa: PT018 one fact: there are labels
    return np.asarray(labels[np.searchsorted(times, instants - 1e-6)], dtype=np.float64)


def _labelled_readings(recording: Recording) -> list[Reading]:
    readings = recording.labelled_readings()
    if not readings:
        gaps = " that is not over gaps" if recording.labelled_readings(gaps="keep") else ""
        raise ValueError(
            f"dataset_from_recordings: {recording!r} must have labels with eight seconds of past "
            f"before its end, got none{gaps}"
        )
    return readings


def _warn_of_gaps(recordings: Sequence[Recording], X: Sequence[Reading]) -> None:
    if not any(recording.gaps for recording in recordings):
        return
    every = [len(r.labelled_readings(gaps="keep")) for r in recordings]
    left_out = [
        n - len(r.labelled_readings()) if r.gaps else 0
        for n, r in zip(every, recordings, strict=True)
    ]
    if not any(left_out):
        return
    of_each = [f"{n} of {r.name!r}" for n, r in zip(left_out, recordings, strict=True) if n]
    warnings.warn(
        f"dataset_from_recordings: {sum(left_out)} of {sum(every)} labels lie over gaps of the "
        f"signals and were left out ({', '.join(of_each)})",
        MissingSamplesWarning,
        stacklevel=3,
    )
