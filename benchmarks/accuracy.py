"""Measure heart-rate errors on real recordings, cross-validated by subject.

    python benchmarks/accuracy.py FOLDER
    python benchmarks/accuracy.py FOLDER --study normalization

Pools the labelled data sets below FOLDER and makes five folds by subject. Each configuration is
fitted on four folds, where early stopping watches held-out subjects, and predicts the fifth.
A fitted pipeline is kept in the cache and not fitted again: the run can be stopped and
resumed at any time, and a second study takes what the first one left. Other recordings or settings
have other names in the cache; after a change of the code, empty it.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline

from pulsehr import (
    DistilledStudentRegressor,
    PPGWindower,
    PulseTeacherRegressor,
    to_microcontroller,
)
from pulsehr.baselines import SpectralPeakRegressor
from pulsehr.datasets import HeartRateDataset, load_folder
from pulsehr.metrics import group_mean_absolute_errors
from pulsehr.tracking import causal_clip_readings

N_FOLDS = 5
BANDPASS = (0.4, 4.0)


class Fold:
    """One fold: its rows, the options of the run, and fitted pipelines in the cache."""

    def __init__(self, data: HeartRateDataset, number: int, options: argparse.Namespace) -> None:
        self.data, self.number, self.options = data, number, options
        splits = list(GroupKFold(N_FOLDS).split(data.X, data.y, data.groups))
        self.train, self.test = splits[number]

    def fitted(self, name: str) -> Pipeline:
        """Return the pipeline of a configuration, from the cache or fitted now."""
        o = self.options
        settings = f"{o.epochs}-{o.teacher_epochs}-{o.batch_size}-{o.seed}"
        key = f"{name.replace(' ', '_')}-{settings}-{o.recordings}-fold{self.number}"
        path = o.cache / f"{key}.joblib"
        if not path.exists():
            torch.set_num_threads(1)
            start = time.monotonic()
            pipe = CONFIGURATIONS[name](self)
            temporary = path.with_suffix(f".{os.getpid()}")
            joblib.dump(pipe, temporary)
            temporary.rename(path)
            best = getattr(pipe[-1], "best_epoch_", "-")
            seconds = time.monotonic() - start
            print(f"{path.stem}: {seconds:.0f} s, best epoch {best}", flush=True)
        return joblib.load(path)

    def fit(self, regressor: Any, **windower: Any) -> Pipeline:
        """Fit windower and regressor on the training rows, the regressor knowing the subjects."""
        pipe = make_pipeline(PPGWindower(**windower), regressor)
        subjects = {}
        if not isinstance(regressor, SpectralPeakRegressor):
            subjects = {f"{pipe.steps[-1][0]}__groups": self.data.groups[self.train]}
        return pipe.fit(
            [self.data.X[row] for row in self.train], self.data.y[self.train], **subjects
        )

    def teacher(self) -> PulseTeacherRegressor:
        """Build the paper's teacher."""
        o = self.options
        return PulseTeacherRegressor(
            max_epochs=o.teacher_epochs, batch_size=o.batch_size, random_state=o.seed, verbose=0
        )

    def student(self, teacher: Any = None) -> DistilledStudentRegressor:
        """Build the paper's student."""
        o = self.options
        return DistilledStudentRegressor(
            teacher=teacher,
            max_epochs=o.epochs,
            batch_size=o.batch_size,
            random_state=o.seed,
            verbose=0,
        )


CONFIGURATIONS: dict[str, Callable[[Fold], Pipeline]] = {
    "FFT peak": lambda fold: fold.fit(SpectralPeakRegressor(), bandpass=BANDPASS),
    "teacher": lambda fold: fold.fit(fold.teacher()),
    "student": lambda fold: fold.fit(fold.student()),
    "student channel": lambda fold: fold.fit(fold.student(), normalize="channel"),
    "student band-pass": lambda fold: fold.fit(fold.student(), bandpass=BANDPASS),
    # the teacher of the same fold, so no test subject leaks
    "student distilled": lambda fold: fold.fit(
        fold.student(FrozenEstimator(fold.fitted("teacher")[-1]))
    ),
}


def as_fitted(fold: Fold, name: str, X: list[Any]) -> Any:
    """Predict with a configuration as it is."""
    return fold.fitted(name).predict(X)


def as_int8(fold: Fold, name: str, X: list[Any]) -> Any:
    """Predict with the integers of the quantized student."""
    pipe = fold.fitted(name)
    return to_microcontroller(pipe[-1]).predict(pipe[:-1].transform(X))


def with_shuffled_acceleration(fold: Fold, name: str, X: list[Any]) -> Any:
    """Predict with the acceleration of each window taken from another test window."""
    pipe = fold.fitted(name)
    windows = pipe[:-1].transform(X)
    other = np.random.default_rng(fold.options.seed).permutation(len(windows))
    windows[:, 1:] = windows[other, 1:]
    return pipe[-1].predict(windows)


Predict = Callable[[Fold, str, list[Any]], Any]

#: The rows of each study: what is fitted, and how it predicts.
STUDIES: dict[str, dict[str, tuple[str, Predict]]] = {
    "accuracy": {
        "FFT peak": ("FFT peak", as_fitted),
        "teacher": ("teacher", as_fitted),
        "student without distillation": ("student", as_fitted),
        "student distilled": ("student distilled", as_fitted),
        "student distilled, int8": ("student distilled", as_int8),
        "teacher, acceleration shuffled": ("teacher", with_shuffled_acceleration),
        "student distilled, acceleration shuffled": (
            "student distilled",
            with_shuffled_acceleration,
        ),
    },
    "normalization": {
        "window": ("student", as_fitted),
        "window, band-pass": ("student band-pass", as_fitted),
        "channel": ("student channel", as_fitted),
    },
}


def predict_all(data: HeartRateDataset, folds: list[Fold], label: str) -> NDArray[np.float64]:
    """Predict every reading by the fold that has not seen its subject."""
    name, predict = STUDIES[folds[0].options.study][label]
    predicted = np.empty(len(data.y))
    for fold in folds:
        predicted[fold.test] = predict(fold, name, [data.X[row] for row in fold.test])
    return predicted


def table(data: HeartRateDataset, folds: list[Fold], rows: dict[str, NDArray[np.float64]]) -> str:
    """Return a Markdown table of errors in bpm, each the mean over subjects but for the median."""
    sets = sorted({subject.rsplit("_", 1)[0] for subject in data.groups})
    per_set = [np.char.startswith(data.groups, f"{name}_") for name in sets]
    lines = [["", "raw", "median", "post-processed", *sets, "folds"]]
    lines.append(["---"] * len(lines[0]))
    for label, predicted in rows.items():

        def error(values: Any, chosen: Any = slice(None), average: Any = np.mean) -> str:
            errors = group_mean_absolute_errors(data.y[chosen], values[chosen], data.groups[chosen])
            return f"{average(list(errors.values())):.2f}"

        cells = [
            label,
            error(predicted),
            error(predicted, average=np.median),
            error(causal_clip_readings(data.X, predicted)),
            *(error(predicted, chosen) for chosen in per_set),
            " ".join(error(predicted, fold.test) for fold in folds),
        ]
        lines.append(cells)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def worst_subjects(data: HeartRateDataset, predicted: NDArray[np.float64]) -> str:
    """Name the five subjects with the largest errors."""
    errors = group_mean_absolute_errors(data.y, predicted, data.groups)
    worst = sorted(errors, key=errors.__getitem__, reverse=True)[:5]
    return ", ".join(f"{subject} {errors[subject]:.1f}" for subject in worst)


def main() -> None:
    """Fit what is missing in the cache on all cores, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="folder with the data sets")
    parser.add_argument("--study", choices=sorted(STUDIES), default="accuracy")
    parser.add_argument("--epochs", type=int, default=40, help="of the student")
    parser.add_argument("--teacher-epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path("build/accuracy"))
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    data = load_folder(options.folder)
    # a fold of other recordings may have been fitted on subjects that are tested here
    options.recordings = joblib.hash(data.recordings)[:8]
    folds = [Fold(data, number, options) for number in range(N_FOLDS)]
    names = list(dict.fromkeys(name for name, _ in STUDIES[options.study].values()))
    Parallel(n_jobs=options.jobs)(delayed(fold.fitted)(name) for name in names for fold in folds)
    print(
        f"\nMean of subjects' mean absolute error in bpm. {data}, {N_FOLDS} folds by subject, "
        f"windows of 8 s at each label, {options.epochs} epochs (teacher "
        f"{options.teacher_epochs}), batches of {options.batch_size}, seed {options.seed}.\n"
    )
    rows = {label: predict_all(data, folds, label) for label in STUDIES[options.study]}
    print(table(data, folds, rows))
    print("\nLargest errors of subjects, raw:\n")
    for label, predicted in rows.items():
        print(f"- {label}: {worst_subjects(data, predicted)}")


if __name__ == "__main__":
    main()
