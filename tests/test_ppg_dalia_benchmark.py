"""The published figures of PPG-DaLiA come out of files in the exact layout, end to end."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

for folder in ("benchmarks", "tests/datasets"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))

# E402: they are no packages, and found only by the path of the lines above
import ppg_dalia  # noqa: E402
from ppg_dalia_files import write_subject  # noqa: E402

from pulsehr.datasets import load_ppg_dalia  # noqa: E402
from pulsehr.exceptions import InterruptedFitWarning  # noqa: E402
from pulsehr.tracking import causal_clip  # noqa: E402

#: Of the published networks on the excerpt (bpm): raw, and clipped.
ERRORS = {"teacher": (12.65, 10.27), "student": (18.26, 18.76)}


@pytest.fixture(scope="module")
def excerpt(reference):
    with np.load(reference / "ppg_dalia_S6_stairs.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module", params=[0, 2])
def download(request, excerpt, tmp_path_factory):
    """``PPG_FieldStudy`` with a file of S6 whose wrist signals are those of the excerpt."""
    folder = tmp_path_factory.mktemp("download")
    windows = excerpt["X"].astype(np.float64)
    np.testing.assert_array_equal(windows[1:, :, :-64], windows[:-1, :, 64:])
    signals = np.concatenate([windows[0], *windows[1:, :, -64:]], axis=1)
    # without a filter every other sample is never seen: here they are nowhere near the others
    bvp = np.full((2 * signals.shape[1], 1), 1e4)
    bvp[::2, 0] = signals[0]
    seconds = signals.shape[1] / 32
    labels = excerpt["y"].astype(np.float64)
    write_subject(folder, 6, seconds, request.param, BVP=bvp, ACC=signals[1:].T, label=labels)
    return folder


@pytest.fixture(scope="module")
def weights(reference, excerpt, tmp_path_factory):
    """The published weights with the mean and standard deviation of their fold."""
    folder = tmp_path_factory.mktemp("weights")
    statistics = {key: excerpt[key] for key in ("channel_mean", "channel_std")}
    for name in ppg_dalia.REGRESSORS:
        with np.load(reference / f"published_{name}_S6.npz") as stored:
            np.savez(folder / f"published_{name}_S6.npz", **stored, **statistics)
    return folder


@pytest.mark.parametrize("name", ppg_dalia.REGRESSORS)
def test_published_weights_give_the_published_heart_rates_from_the_file(
    download, weights, reference, name
):
    data = load_ppg_dalia(download)
    layers = ppg_dalia.read_weights(weights / f"published_{name}_S6.npz")
    statistics = layers["channel_mean"], layers["channel_std"]
    bpm = ppg_dalia.published_pipeline(name, layers, statistics).predict(data.X)
    with np.load(reference / f"published_{name}_S6.npz") as stored:
        assert np.abs(bpm - stored["expected_bpm"]).max() < 1e-3
    found = [np.abs(h - data.y).mean() for h in (bpm, causal_clip(bpm))]
    np.testing.assert_allclose(found, ERRORS[name], atol=0.005)


def test_the_command_prints_the_errors_beside_the_published_ones(
    download, weights, tmp_path, capsys
):
    for _ in range(2):  # from the file, and from the cache
        arguments = [download, "--cache", tmp_path, "--published", weights]
        ppg_dalia.main([str(argument) for argument in arguments])
        printed = capsys.readouterr().out
        assert "HeartRateDataset(215 readings, 1 recordings, 1 subjects)" in printed
        assert "| ppg_dalia_S6 | 12.65 | 10.27 | 18.26 | 18.76 |" in printed
        assert "| mean of 1 subjects | 12.65 | 10.27 | 18.26 | 18.76 |" in printed
        assert "| published, mean of 15 | 4.44 | 4.03 | 4.90 | 4.49 |" in printed


def test_a_folder_without_weights_is_named(download, tmp_path):
    with pytest.raises(SystemExit, match=r"expected published_teacher_S<n>\.npz or .*, got none"):
        ppg_dalia.main([str(download), "--published", str(tmp_path)])


# On fifteen synthetic subjects --------------------------------------------------------------


@pytest.fixture(scope="module")
def field_study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("field_study")
    for n in range(1, 16):
        write_subject(folder, n, seconds=20)
    return folder


def test_statistics_of_a_fold_are_those_of_the_subjects_that_train(field_study):
    data = load_ppg_dalia(field_study)
    mean, scale = ppg_dalia.Statistics(data)("ppg_dalia_S14")
    training = [f"ppg_dalia_S{n}" for n in range(1, 13)]  # 13 and 15 validate
    rows = np.flatnonzero(np.isin(data.groups, training))
    windows = np.array([r.recording.ppg[: round(r.instant * 64)][-512::2] for r in data.X[rows]])
    assert mean[0] == pytest.approx(windows.mean(dtype=np.float64), abs=1e-6)
    assert scale[0] == pytest.approx(windows.std(dtype=np.float64), rel=1e-6)


def test_a_subject_who_is_not_there_is_told(field_study, tmp_path):
    command = [str(field_study), "--train", str(tmp_path), "--subjects", "S5", "S99"]
    with pytest.raises(SystemExit, match=r"expected some of .*S15.*, got \['ppg_dalia_S99'\]"):
        ppg_dalia.main(command)


def test_training_writes_weights_goes_on_where_it_stopped_and_prints_the_table(
    field_study, tmp_path, capsys, monkeypatch
):
    command = [str(field_study), "--train", str(tmp_path), "--epochs", "1", "--device", "cpu"]
    ppg_dalia.main([*command, "--subjects", "S5"])
    printed = capsys.readouterr().out
    assert "0 of 1 folds are finished" in printed
    assert "fold 1 of 1, which tests ppg_dalia_S5" in printed
    (line,) = re.findall(r"\| ppg_dalia_S5 \|.*", printed)

    # a finished fold is never trained again
    monkeypatch.setattr(ppg_dalia, "train_fold", None)
    ppg_dalia.main([*command, "--subjects", "S5"])
    printed = capsys.readouterr().out
    assert "1 of 1 folds are finished" in printed
    assert line in printed

    # what was written is of the published form
    (written,) = tmp_path.glob("*/published_student_S5.npz")
    ppg_dalia.main([str(field_study), "--published", str(written.parent)])
    assert line in capsys.readouterr().out


def test_a_fold_that_is_interrupted_counts_as_unfinished(
    field_study, tmp_path, capsys, monkeypatch
):
    class Interrupted(ppg_dalia.DistilledStudentRegressor):
        def fit(self, *args, **kwargs):
            warnings.warn("training was interrupted", InterruptedFitWarning, stacklevel=1)
            return self

    command = [str(field_study), "--train", str(tmp_path), "--epochs", "1", "--device", "cpu"]
    with monkeypatch.context() as patched:
        patched.setattr(ppg_dalia, "DistilledStudentRegressor", Interrupted)
        with pytest.raises(SystemExit, match="interrupted: call it again to go on"):
            ppg_dalia.main([*command, "--subjects", "S5"])
    assert not list(tmp_path.glob("*/published_student_S5.npz"))
    # the teacher was finished: it comes back from its checkpoint, and the student follows
    (teacher,) = tmp_path.glob("*/published_teacher_S5.npz")
    before = ppg_dalia.read_weights(teacher)
    ppg_dalia.main([*command, "--subjects", "S5"])
    assert list(tmp_path.glob("*/published_student_S5.npz"))
    for key, values in ppg_dalia.read_weights(teacher).items():
        np.testing.assert_array_equal(values, before[key])


def test_a_fold_is_trained_on_those_who_train_and_watches_those_who_validate(
    field_study, tmp_path, monkeypatch
):
    data = load_ppg_dalia(field_study)
    seen = []

    class Spy:
        network_ = None

        def __init__(self, *args, **parameters):
            self.parameters = parameters

        def fit(self, windows, y, groups):
            assert len(windows) == len(y) == len(groups)
            train, valid = next(self.parameters["validation_fraction"].split(y, groups=groups))
            seen.append([sorted(set(groups[part].tolist())) for part in (train, valid)])
            return self

    monkeypatch.setattr(ppg_dalia, "PulseTeacherRegressor", Spy)
    monkeypatch.setattr(ppg_dalia, "DistilledStudentRegressor", Spy)
    monkeypatch.setattr(ppg_dalia, "write_weights", lambda *args: None)
    options = ppg_dalia.parsed([".", "--train", "."])
    assert (options.epochs, options.batch_size) == (500, 256)
    rows, _ = ppg_dalia.folds(data)["ppg_dalia_S10"]
    ppg_dalia.train_fold(data, rows, tmp_path, "ppg_dalia_S10", options)
    validates = ["ppg_dalia_S11", "ppg_dalia_S12", "ppg_dalia_S9"]
    trains = sorted(set(data.groups.tolist()) - {"ppg_dalia_S10", *validates})
    assert seen == [[trains, validates]] * 2
