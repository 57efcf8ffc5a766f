"""From a folder of CSV files to a mean absolute error, cross-validated by subject.

    python examples/own_recordings.py [FOLDER] [--offset SECONDS] [--figure FILE.png]

FOLDER holds a table per recording, `<subject>_<activity>.csv` with the columns time, ppg, acc_x,
acc_y, acc_z (g; a cell may be empty), and beside it the log of a belt,
`<subject>_<activity>_belt.csv` with time and heart_rate (bpm). Times are dates such as
2026-01-31T12:00:00.015625Z. Other columns, units, or a file for each sensor: change `read_folder`,
as docs/own_recordings.md says. Without FOLDER, synthetic ones are written first: they show how, not
how well. That takes a minute or two.

Needs pandas: pip install "pulsehr[data]"; for the figure "pulsehr[plot]".
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from pulsehr import (
    DistilledStudentRegressor,
    PPGWindower,
    PulseTeacherRegressor,
    load_pretrained,
)
from pulsehr.baselines import MotionAwareSpectralRegressor
from pulsehr.datasets import dataset_from_recordings, make_recordings
from pulsehr.frames import read_frame
from pulsehr.metrics import group_mean_absolute_errors
from pulsehr.plotting import HeartRateDisplay
from pulsehr.reference import estimate_lag, with_reference

#: Enough to see it learn in a minute; docs/accuracy.md says what a real training takes.
BRIEF = {"batch_size": 32, "lr": 2e-3, "verbose": 0}

#: Columns of the tables.
SAMPLES, BELT = ("time", "ppg", "acc_x", "acc_y", "acc_z"), ("time", "heart_rate")


def main(folder=None, offset=0.0, figure=None, n_subjects=6, duration=120, epochs=8):
    """Read the folder, cross-validate, print the errors in bpm and return those of the student."""
    if folder is None:
        with tempfile.TemporaryDirectory() as made:
            write_synthetic(Path(made), n_subjects, duration)
            return main(made, offset, figure, epochs=epochs)
    data = dataset_from_recordings(read_folder(Path(folder), offset))
    print(data)
    if len(set(data.groups)) < 2:
        raise SystemExit("to cross-validate by subject, recordings of two subjects are wanted")
    teacher = PulseTeacherRegressor(max_epochs=epochs, random_state=0, **BRIEF)
    student = DistilledStudentRegressor(teacher, max_epochs=2 * epochs, random_state=0, **BRIEF)
    subjects = GroupKFold(min(3, len(set(data.groups))))
    predicted = {}
    for name, regressor in {"spectrum": MotionAwareSpectralRegressor(), "student": student}.items():
        print(f"{name}: {subjects.n_splits} folds ...", flush=True)
        pipe = make_pipeline(PPGWindower(), regressor)
        predicted[name] = cross_val_predict(pipe, data.X, data.y, groups=data.groups, cv=subjects)
    # has not seen these people; but it has learnt from synthetic ones made alike
    predicted["pretrained"] = load_pretrained("student").predict(data.X)
    errors = {
        name: group_mean_absolute_errors(data.y, bpm, data.groups)
        for name, bpm in predicted.items()
    }
    print(f"{'mean absolute error (bpm)':<26}", *(f"{name:>10}" for name in errors))
    for subject in errors["student"]:
        print(f"{subject:<26}", *(f"{error[subject]:10.2f}" for error in errors.values()))
    means = {name: float(np.mean(list(error.values()))) for name, error in errors.items()}
    print(f"{'mean of the subjects':<26}", *(f"{mean:10.2f}" for mean in means.values()))
    if figure is not None:
        shown = np.array([reading.recording is data.recordings[-1] for reading in data.X])
        series = {name: bpm[shown] for name, bpm in predicted.items()}
        HeartRateDisplay.from_predictions(data.X[shown], series).figure_.savefig(figure)
    return means["student"]


def read_folder(folder, offset):
    """Read every recording with its belt, and say what had to be mended and how clocks agree."""
    recordings, lags = [], []
    for file in sorted(folder.glob("*.csv")):
        if file.stem.endswith("_belt"):
            continue
        subject, _, activity = file.stem.partition("_")
        frame = _read(file, SAMPLES)
        belt = _read(file.with_name(f"{file.stem}_belt.csv"), BELT)
        recording, report = read_frame(
            frame, subject=subject, name=file.stem, activity=[activity], activity_times=[0]
        )
        seconds = (belt["time"].dt.tz_convert(None) - report.start).dt.total_seconds()
        # reported, not applied: to fit it to each recording would move labels towards the PPG
        lags.append(estimate_lag(recording, seconds, belt["heart_rate"], max_lag=10).lag)
        recordings.append(with_reference(recording, seconds, belt["heart_rate"], offset=offset))
        print(f"{recordings[-1]!r}, {report.ppg.n_missing} PPG samples missing")
    if not recordings:
        raise SystemExit(f"expected <subject>_<activity>.csv, got none in {folder}")
    print(
        f"belts: offset {offset:+.2f} s taken; the PPG suggests {np.median(lags):+.2f} s (median)"
    )
    return recordings


def _read(file, columns):
    if not file.exists():
        raise SystemExit(f"{file} is missing: the log of a belt belongs beside each recording")
    frame = pd.read_csv(file)
    if not set(columns) <= set(frame.columns):
        raise SystemExit(
            f"{file}: expected the columns {', '.join(columns)}, got {', '.join(frame.columns)}: "
            f"rename them, or change read_folder in this example (see docs/own_recordings.md)"
        )
    frame["time"] = pd.to_datetime(frame["time"], format="ISO8601", utc=True)
    return frame


def write_synthetic(folder, n_subjects, duration):
    """Write recordings as a logger would: sensors in one table, some rows lost, a belt beside."""
    start = pd.Timestamp("2026-01-31T12:00:00Z")
    for activity in ("rest", "walk"):
        made = make_recordings(n_subjects, duration, activities=[activity], random_state=0)
        for recording in made.recordings:
            name = f"s{recording.subject[-2:]}_{activity}"
            seconds = np.arange(len(recording.ppg)) / recording.ppg_rate
            table = pd.DataFrame({"time": _dates(start, seconds), "ppg": recording.ppg})
            for axis, values in zip("xyz", np.asarray(recording.acc).T, strict=True):
                table[f"acc_{axis}"] = np.nan
                table.loc[::2, f"acc_{axis}"] = values  # at half the rate of the PPG
            if name == "s00_walk":
                table = table.drop(index=range(3000, 3200))
            table.to_csv(folder / f"{name}.csv", index=False)
            # a label is a mean of eight seconds: about the heart rate in their middle
            seconds = np.arange(0.0, duration)
            bpm = np.interp(seconds + 4, recording.heart_rate_times, recording.heart_rate)
            belt = pd.DataFrame({"time": _dates(start, seconds), "heart_rate": bpm.round()})
            belt.to_csv(folder / f"{name}_belt.csv", index=False)


def _dates(start, seconds):
    stamps = start + pd.to_timedelta(seconds, unit="s")
    return stamps.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--offset", type=float, default=0.0)
    parser.add_argument("--figure")
    arguments = parser.parse_args()
    main(arguments.folder, arguments.offset, arguments.figure)
