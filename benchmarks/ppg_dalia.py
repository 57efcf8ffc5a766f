"""Reproduce the published table of PPG-DaLiA, from published weights or by training.

    python benchmarks/ppg_dalia.py FOLDER --cache CACHE --published WEIGHTS
    python benchmarks/ppg_dalia.py FOLDER --cache CACHE --train RESULTS

FOLDER holds `PPG_FieldStudy` as downloaded. Each subject is tested once: the rest of its group
validates, the others train; PPG is decimated to 32 Hz without a filter; one mean and standard
deviation per channel is learnt from the windows that train. Heart rates are judged as they are
predicted, and after the causal clip of each recording; the mean is that of the subjects' errors.

WEIGHTS holds `published_teacher_S<n>.npz` and `published_student_S<n>.npz` of the fold that tests
subject n: arrays under the names of the layers, and, if they are known, `channel_mean` and
`channel_std` of the windows that trained. If not, they are computed, which needs all 15 subjects.

--train writes such files below RESULTS, in a folder named by what they depend on, and then judges
them. A finished fold is never trained again, and one that was interrupted goes on after its last
epoch: the run can be stopped by Ctrl-C or killed, and called again.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline

from pulsehr import DistilledStudentRegressor, PPGWindower, PulseTeacherRegressor
from pulsehr._writing import written_at_once
from pulsehr.datasets import HeartRateDataset, load_ppg_dalia
from pulsehr.exceptions import InterruptedFitWarning
from pulsehr.model_selection import FitWithoutValidation, LeaveOneSubjectOut
from pulsehr.tracking import causal_clip_readings

#: What the paper reports: mean of the subjects' mean absolute errors in bpm, raw and clipped.
PUBLISHED = {"teacher": (4.44, 4.03), "student": (4.90, 4.49)}

REGRESSORS = {"teacher": PulseTeacherRegressor, "student": DistilledStudentRegressor}

#: Windows of the paper: PPG and acceleration, 8 s at 32 Hz.
N_CHANNELS, N_TIMES = 4, 256

#: What a file of weights holds beside the layers.
STATISTICS = ("channel_mean", "channel_std")
EXPECTED = ("expected_bpm", "expected_features")

CV = LeaveOneSubjectOut()


def windower() -> PPGWindower:
    """Return what cuts windows as the paper does."""
    return PPGWindower(normalize="channel", antialias=False)


def weights_file(folder: Path, name: str, subject: str) -> Path:
    """Return the file of weights of the fold that tests a subject."""
    return folder / f"published_{name}_{subject.removeprefix('ppg_dalia_')}.npz"


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file of weights by name."""
    with np.load(path, allow_pickle=False) as stored:
        return {key: stored[key] for key in stored if key not in EXPECTED}


def write_weights(path: Path, regressor: Any, fitted: PPGWindower) -> None:
    """Write the weights of a fitted regressor as the published ones, in one step."""
    arrays = {key: values.cpu().numpy() for key, values in regressor.network_.state_dict().items()}
    statistics = dict(zip(STATISTICS, (fitted.mean_, fitted.scale_), strict=True))
    with written_at_once(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays, **statistics)


def fitted(estimator: Any, **learnt: Any) -> Any:
    """Return an estimator as if it had learnt attributes in `fit`."""
    estimator.__setstate__({**estimator.__getstate__(), **learnt})
    return estimator


def published_pipeline(
    name: str, weights: Mapping[str, np.ndarray], statistics: tuple[np.ndarray, np.ndarray]
) -> Pipeline:
    """Return the fitted pipeline of weights, and mean and scale (n_channels,) of the fold."""
    layers = {key: values for key, values in weights.items() if key not in STATISTICS}
    mean, scale = (np.asarray(values, dtype=np.float64) for values in statistics)
    cut = fitted(windower(), mean_=mean, scale_=scale, n_channels_=N_CHANNELS)
    shape = {
        "n_channels_": N_CHANNELS,
        "n_times_": N_TIMES,
        "n_features_in_": N_CHANNELS * N_TIMES,
    }
    regressor = fitted(REGRESSORS[name](), weights_=layers, form_="paper", **shape)
    return make_pipeline(cut, regressor)


class Statistics:
    """Mean and scale of the windows that train, of each fold, computed when first asked for."""

    def __init__(self, data: HeartRateDataset) -> None:
        self.data, self.known = data, {}

    def __call__(self, subject: str) -> tuple[np.ndarray, np.ndarray]:
        """Return those of the fold that tests a subject."""
        if subject not in self.known:
            rows, _ = folds(self.data)[subject]
            learnt = FitWithoutValidation(windower(), CV.validation).fit(self.data.X[rows])
            self.known[subject] = learnt.transformer_.mean_, learnt.transformer_.scale_
        return self.known[subject]


def folds(data: HeartRateDataset) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return rows that are not tested, and those that are, by the subject that is tested."""
    return {
        str(data.groups[test[0]]): (rows, test)
        for rows, test in CV.split(data.X, groups=data.groups)
    }


def errors(
    data: HeartRateDataset, subject: str, weights: Mapping[str, np.ndarray], name: str, of_fold: Any
) -> tuple[float, float]:
    """Return the mean absolute error of a subject in bpm, raw and clipped."""
    known = all(key in weights for key in STATISTICS)
    statistics = tuple(weights[key] for key in STATISTICS) if known else of_fold(subject)
    rows = np.flatnonzero(data.groups == subject)
    X, y = data.X[rows], data.y[rows]
    bpm = published_pipeline(name, weights, statistics).predict(X)
    return tuple(float(np.abs(h - y).mean()) for h in (bpm, causal_clip_readings(X, bpm)))


def judged(
    data: HeartRateDataset, folder: Path, subjects: list[str]
) -> Iterator[tuple[str, str, float, float]]:
    """Yield subject, network, and both errors of each file of weights that is there."""
    of_fold = Statistics(data)
    for subject in subjects:
        for name in REGRESSORS:
            path = weights_file(folder, name, subject)
            if path.exists():
                yield (subject, name, *errors(data, subject, read_weights(path), name, of_fold))


def table(rows: list[tuple[str, str, float, float]]) -> str:
    """Return the errors by subject and network, and their means beside those published."""
    found = {(subject, name): pair for subject, name, *pair in rows}
    subjects = list(dict.fromkeys(subject for subject, *_ in rows))
    names = [name for name in REGRESSORS if any(name == other for _, other, *_ in rows)]

    def line(title: str, values: Callable[[str], Any]) -> str:
        cells = [f"{v:.2f}" if v is not None else "" for n in names for v in values(n)]
        return f"| {title} | {' | '.join(cells)} |"

    head = " | ".join(f"{name}, raw | {name}, clipped" for name in names)
    lines = [f"| subject | {head} |", "|---|" + "---|" * (2 * len(names))]
    lines += [line(s, lambda n, s=s: found.get((s, n), (None, None))) for s in subjects]

    def mean(name: str) -> Any:
        pairs = [pair for (_, other), pair in found.items() if other == name]
        return np.mean(pairs, axis=0)

    counts = [sum(other == name for _, other in found) for name in names]
    lines.append(line(f"mean of {'/'.join(map(str, dict.fromkeys(counts)))} subjects", mean))
    lines.append(line("published, mean of 15", PUBLISHED.__getitem__))
    return "\n".join(lines)


def settings_folder(results: Path, data: HeartRateDataset, options: argparse.Namespace) -> Path:
    """Return the folder of what the settings and the data give."""
    told = joblib.hash([data.y, data.groups, [len(r.ppg) for r in data.recordings]])[:8]
    name = f"seed{options.seed}-epochs{options.epochs}-batch{options.batch_size}-data{told}"
    return results / name


def train_fold(
    data: HeartRateDataset, rows: np.ndarray, folder: Path, subject: str, options: Any
) -> None:
    """Train teacher and student of a fold as the paper does, and write their weights."""
    X, y, groups = data.X[rows], data.y[rows], data.groups[rows]
    cut = FitWithoutValidation(windower(), CV.validation).fit(X)
    windows = cut.transform(X)
    common = {
        "max_epochs": options.epochs,
        "batch_size": options.batch_size,
        "validation_fraction": CV.validation,
        "random_state": options.seed,
        "device": options.device,
        "checkpoint": folder / "checkpoints",
    }
    # what Ctrl-C left is no finished fold: it goes on from its checkpoint next time
    warnings.simplefilter("error", InterruptedFitWarning)
    # the student is taught by the teacher of its own fold, which comes back if it was finished
    teacher = PulseTeacherRegressor(**common).fit(windows, y, groups=groups)
    write_weights(weights_file(folder, "teacher", subject), teacher, cut.transformer_)
    student = DistilledStudentRegressor(teacher, **common).fit(windows, y, groups=groups)
    write_weights(weights_file(folder, "student", subject), student, cut.transformer_)


def train(data: HeartRateDataset, folder: Path, subjects: list[str], options: Any) -> None:
    """Train the folds that are not finished, and say how long each took."""
    folder.mkdir(parents=True, exist_ok=True)
    left = [s for s in subjects if not weights_file(folder, "student", s).exists()]
    print(f"{len(subjects) - len(left)} of {len(subjects)} folds are finished in {folder}")
    for number, subject in enumerate(left, 1):
        start = time.monotonic()
        train_fold(data, folds(data)[subject][0], folder, subject, options)
        hours = (time.monotonic() - start) / 3600
        print(
            f"fold {number} of {len(left)}, which tests {subject}: {hours:.2f} h; "
            f"{hours * (len(left) - number):.1f} h to go",
            flush=True,
        )


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path, help="folder for what was read of the files")
    parser.add_argument("--published", type=Path, metavar="WEIGHTS")
    parser.add_argument("--train", type=Path, metavar="RESULTS")
    parser.add_argument("--subjects", nargs="+", metavar="S1", help="test these alone")
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    if (options.published is None) == (options.train is None):
        parser.error("give either --published or --train")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    options = parsed(arguments)
    data = load_ppg_dalia(options.folder, cache=options.cache)
    print(f"{data}; the paper has 64697 readings")
    subjects = [recording.subject for recording in data.recordings]
    if options.subjects:
        there = subjects
        subjects = [f"ppg_dalia_{name}" for name in options.subjects]
        if missing := sorted(set(subjects) - set(there)):
            raise SystemExit(f"--subjects: expected some of {there}, got {missing}")
    if options.train is not None:
        folder = settings_folder(options.train, data, options)
        try:
            train(data, folder, subjects, options)
        except (KeyboardInterrupt, InterruptedFitWarning):
            raise SystemExit("interrupted: call it again to go on") from None
    else:
        folder = options.published
    rows = list(judged(data, folder, subjects))
    if not rows:
        names = [weights_file(folder, name, "S<n>").name for name in REGRESSORS]
        raise SystemExit(f"expected {' or '.join(names)} in {folder}, got none")
    print(f"\nMean absolute errors in bpm\n\n{table(rows)}")


if __name__ == "__main__":
    main()
