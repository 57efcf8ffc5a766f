"""What may train beside the first PPG channel: other channels, other recordings, no labels.

Subjects that test never train: not by another of their channels, nor played at another speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import train_pretrained
from numpy.typing import NDArray
from train_pretrained import Source

from pulsehr._rows import group_by_recording
from pulsehr._splitting import hold_out
from pulsehr._validation import generator
from pulsehr.datasets import HeartRateDataset

#: Seconds between readings without labels: windows of 16 s do not overlap.
STRIDE = 16.0

#: What `load_sources` gives.
AS_SHIPPED, ALL_CHANNELS, UNLABELLED = "as shipped", "all channels", "unlabelled"


class Training(NamedTuple):
    """Rows that train: readings, heart rates (n_rows,) in bpm, and groups (n_rows,)."""

    X: list[Any]
    y: NDArray[np.float64]
    groups: NDArray[np.str_]


def load_sources(
    folder: Path, resting: Path, data: HeartRateDataset
) -> dict[str, Sequence[Source]]:
    """Load all that may train beside `data`.

    Parameters
    ----------
    folder : Path
        With IEEE SPC 2015 and BAMI.
    resting : Path
        With E4 exports without labels.
    data : HeartRateDataset
        The labelled readings of the benchmark.

    Returns
    -------
    dict of str to list of Source
        "as shipped": all that trains the models that come with the package, with the same seed;
        "all channels": of these the labelled recordings alone, at their own speed;
        "unlabelled": `data`, and a reading in 16 s of all E4 recordings, whose heart rate is NaN.
    """
    options = [str(folder), "--resting", str(resting)]
    shipped = train_pretrained.sources(train_pretrained.parse(options))
    return {
        AS_SHIPPED: shipped,
        ALL_CHANNELS: [source for source in shipped if source.labelled],
        UNLABELLED: [own(data), unlabelled(shipped[-1])],
    }


def own(data: HeartRateDataset) -> Source:
    """Return the rows of the benchmark itself."""
    return Source("first channel", data.X, data.y, data.groups, labelled=True)


def unlabelled(source: Source) -> Source:
    """Return readings of the recordings of a source, at rest or not, without heart rates."""
    recordings = [recording for recording, _ in group_by_recording(source.X)]
    X = [reading for one in recordings for reading in one.readings(STRIDE, window=STRIDE)]
    subjects = np.array([reading.recording.subject for reading in X])
    return Source(UNLABELLED, X, np.full(len(X), np.nan), subjects, labelled=False)


def training(
    sources: Sequence[Source], data: HeartRateDataset, train: Any, regressor: Any, teacher: Any
) -> Training:
    """Collect the rows that train in a fold.

    Parameters
    ----------
    sources : sequence of Source
        All there is. Rows of subjects of `data` train if the subject does.
    data : HeartRateDataset
        The labelled readings of the benchmark.
    train : ndarray of int
        Rows of `data` that train.
    regressor : PulseTeacherRegressor or DistilledStudentRegressor
        Whose early stopping must not watch rows without measured labels.
    teacher : Pipeline or None
        Fitted on the same fold: gives the heart rates that are missing.

    Returns
    -------
    Training
        Groups are subjects; what has no measured label is of one that is never held out.
    """
    ours = np.unique(data.groups[train])
    X, y, groups = [], [], []
    watchable = [s.subjects[np.isin(s.subjects, ours)] for s in sources if s.labelled]
    never_watched = _not_held_out(np.unique(np.concatenate(watchable)), regressor)
    for source in sources:
        kept = np.isin(source.subjects, ours) | ~np.isin(source.subjects, data.groups)
        X += [source.X[row] for row in np.flatnonzero(kept)]
        y.append(source.y[kept])
        groups.append(
            source.subjects[kept] if source.labelled else np.full(kept.sum(), never_watched)
        )
    bpm = np.concatenate(y)
    missing = np.isnan(bpm)
    if missing.any():
        bpm[missing] = teacher.predict([X[row] for row in np.flatnonzero(missing)])
    return Training(X, bpm, np.concatenate(groups))


def _not_held_out(subjects: NDArray[np.str_], regressor: Any) -> str:
    """Return the first subject that `fit` will not hold out."""
    rng = generator(regressor.random_state)
    kept, _ = hold_out(len(subjects), subjects, regressor.validation_fraction, rng)
    return str(subjects[kept.min()])
