"""Cross-validate teacher and student by subject, try the pretrained one, write firmware.

    python examples/demo.py                  synthetic recordings of 12 subjects
    python examples/demo.py --data FOLDER    real ones: IEEE SPC 2015, BAMI, or both

Prints the error of each held-out subject, also that of the student that comes with the package,
draws the heart rate of one of them, writes the student as C, and compares what that C computes with
what Python computes, bit for bit.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from matplotlib.figure import Figure
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from tqdm import tqdm

from pulsehr import (
    DistilledStudentRegressor,
    PPGWindower,
    PulseTeacherRegressor,
    load_pretrained,
    to_microcontroller,
)
from pulsehr.baselines import SpectralPeakRegressor
from pulsehr.datasets import load_folder, make_recordings
from pulsehr.firmware.host import find_compiler
from pulsehr.metrics import group_mean_absolute_errors
from pulsehr.plotting import HeartRateDisplay

N_FOLDS = 3
N_READINGS = 3600
# about four minutes on two cores: enough for the student, few for the teacher
EPOCHS = {"teacher": 16, "student": 10}
# few readings: small batches take more steps in the same time than the default of 256
TRAINING = {
    "batch_size": 16,
    "lr": 1e-3,
    "dropout": 0.1,
    "validation_fraction": 0.25,
    "random_state": 0,
    "verbose": 0,
}

FITTED = ["FFT peak", "teacher", "student alone", "student distilled", "int8 student"]
COLUMNS = [*FITTED, "pretrained"]

PRETRAINED = {
    "synthetic": "pretrained: load_pretrained('student') as it comes, not fitted on these,\n"
    "but it learnt from other synthetic recordings, too.",
    "real": "pretrained: as it comes, but LEARNT from IEEE SPC 2015 and BAMI: no estimate of its\n"
    "error on other people, which docs/pretrained.md gives.",
}


def main(argv=None):
    """Run the demo; return 0, or 1 if C and Python disagree."""
    options = parse(argv)
    start = time.monotonic()
    try:
        X, y, groups = load(options)
    except (OSError, ValueError) as error:
        sys.exit(f"demo: {error}")
    folds = list(GroupKFold(N_FOLDS).split(X, y, groups))

    models = fit_folds(X, y, groups, folds, quick=options.quick)
    predicted = {name: np.empty(len(y)) for name in COLUMNS}
    for (_, test), fold_models in zip(folds, models, strict=True):
        for name in FITTED:
            predicted[name][test] = fold_models[name].predict(X[test])
    predicted["pretrained"] = load_pretrained("student").predict(X)
    errors = {name: group_mean_absolute_errors(y, predicted[name], groups) for name in COLUMNS}
    print_table(errors)
    print(PRETRAINED["real" if options.data else "synthetic"])

    # the subject in the middle: neither the best nor the worst
    by_error = sorted(errors["student distilled"], key=errors["student distilled"].get)
    subject = by_error[len(by_error) // 2]
    k = next(k for k, (_, test) in enumerate(folds) if subject in groups[test])
    draw(subject, X[groups == subject][0].recording, models[k], options.out)
    equal = export(models[k]["student distilled"], X[folds[k][1]], options.out / "firmware")

    print(f"\nDone in {(time.monotonic() - start) / 60:.1f} minutes. For research only: these are")
    print("errors of this data, and nothing here is meant to judge anyone's health.")
    return 0 if equal else 1


def parse(argv):
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder of real recordings (default: synthetic ones)")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder to write to")
    parser.add_argument("--quick", action="store_true", help="try everything, learn nothing")
    return parser.parse_args(argv)


def load(options):
    """Return readings, heart rates and subjects, as one row each."""
    if options.data:
        data = load_folder(options.data)
    elif options.quick:
        data = make_recordings(n_subjects=4, duration=60, random_state=0)
    else:
        data = make_recordings(n_subjects=12, duration=1200, random_state=0)
    X = np.array(data.X, dtype=object)
    # windows overlap by three quarters, so evenly thinned readings still see most of the data
    n_kept = min(len(X), 100 if options.quick else N_READINGS)
    keep = np.linspace(0, len(X) - 1, n_kept).round().astype(int)
    print(f"{data}: {n_kept} of {len(X)} readings kept, evenly, to be quick.")
    if options.data:
        print("The figures of docs/accuracy.md use all readings and train longer.")
    return X[keep], data.y[keep], data.groups[keep]


def fit_folds(X, y, groups, folds, quick):
    """Fit all models of each fold, in two processes; return a dict of models per fold."""
    epochs = {"teacher": 1, "student": 1} if quick else EPOCHS
    tasks = [
        delayed(timed)(fit, k, X[train], y[train], groups[train], epochs)
        for fit in (fit_teacher_and_student, fit_student_alone)  # the longer one first
        for k, (train, _) in enumerate(folds)
    ]
    models = [{} for _ in folds]
    results = Parallel(n_jobs=2, return_as="generator_unordered")(tasks)
    # the bar shows on a terminal only, the lines everywhere
    for k, fitted, seconds in tqdm(results, total=len(tasks), desc="fits", disable=None):
        tqdm.write(f"fold {k + 1} of {len(folds)}: {' and '.join(fitted)}, {seconds:.0f} s")
        models[k].update(fitted)
    for fold_models, (train, _) in zip(models, folds, strict=True):
        peak = make_pipeline(windower(X), SpectralPeakRegressor())
        fold_models["FFT peak"] = peak.fit(X[train], y[train])
        fold_models["int8 student"] = firmware(fold_models["student distilled"], X)
    return models


def timed(fit, k, X, y, groups, epochs):
    """Fit with one thread, as the other process has the other core."""
    torch.set_num_threads(1)
    start = time.monotonic()
    return k, fit(X, y, groups, epochs), time.monotonic() - start


def windower(X):
    """Make the first step of every pipeline: eight seconds, band-passed to pulse frequencies."""
    # a whole fraction of the sensors' rates, as a microcontroller wants it
    sampling_rate = next((rate for rate in (32, 25) if X[0].recording.ppg_rate % rate == 0), 32)
    return PPGWindower(window=8.0, sampling_rate=sampling_rate, bandpass=(0.4, 4.0))


def firmware(student, X, folder=None):
    """Write a pipeline as C for sensors like those of the readings."""
    recording = X[0].recording
    rates = {"ppg_rate": recording.ppg_rate, "acc_rate": recording.acc_rate}
    return to_microcontroller(student, folder, **rates)


def fit_student_alone(X, y, groups, epochs):
    """Fit a student that learns from the labels alone."""
    student = DistilledStudentRegressor(max_epochs=epochs["student"], **TRAINING)
    pipe = make_pipeline(windower(X), student)
    # with the subjects known, early stopping watches whole held-out subjects
    pipe.fit(X, y, distilledstudentregressor__groups=groups)
    return {"student alone": pipe}


def fit_teacher_and_student(X, y, groups, epochs):
    """Fit a teacher, then a student that learns from it too."""
    teacher = PulseTeacherRegressor(max_epochs=epochs["teacher"], **TRAINING)
    teacher = make_pipeline(windower(X), teacher)
    teacher.fit(X, y, pulseteacherregressor__groups=groups)
    student = DistilledStudentRegressor(
        teacher=FrozenEstimator(teacher[-1]), max_epochs=epochs["student"], **TRAINING
    )
    distilled = make_pipeline(windower(X), student)
    distilled.fit(X, y, distilledstudentregressor__groups=groups)
    return {"teacher": teacher, "student distilled": distilled}


def print_table(errors):
    """Print the error of each held-out subject, and the mean of the subjects."""
    print("\nMean absolute error (bpm) of each subject, held out")
    print(f"{'':<16}" + "".join(f"{name:>19}" for name in COLUMNS))
    for subject in errors["FFT peak"]:
        print_row(subject, [errors[name][subject] for name in COLUMNS])
    print_row("mean", [np.mean(list(errors[name].values())) for name in COLUMNS])
    print("A few minutes are little training; see docs/accuracy.md for more.")


def print_row(name, values):
    """Print one line of the table."""
    print(f"{name:<16}" + "".join(f"{value:>19.2f}" for value in values))


def draw(subject, recording, models, out):
    """Draw every heart rate of a recording that the models have not seen."""
    X = recording.labelled_readings()
    names = ["FFT peak", "teacher", "int8 student"]
    ax = Figure(figsize=(11, 5), layout="constrained").subplots()
    display = HeartRateDisplay.from_predictions(
        X, {name: models[name].predict(X) for name in names}, ax=ax
    )
    out.mkdir(parents=True, exist_ok=True)
    display.figure_.savefig(out / "heart_rate.png", dpi=120)
    print(f"\nPicture of {subject}, held out: {out / 'heart_rate.png'}")


def export(student, X, folder):
    """Write the firmware; return whether its C gives on X what Python's integers give."""
    model = firmware(student, X, folder)
    ram = model.state_bytes or model.arena_bytes
    print(
        f"Firmware: {folder}, {model.constant_bytes:,} bytes weights and tables, {ram:,} bytes RAM"
    )
    try:
        find_compiler()
    except RuntimeError as error:
        print(f"C not compared with Python: {error}")
        return True
    equal = np.array_equal(model.run_c(X), model.predict(X))
    verdict = "equal, every bit" if equal else "DIFFERENT"
    print(f"C and Python on {len(X)} held-out readings: {verdict}")
    return equal


if __name__ == "__main__":
    sys.exit(main())
