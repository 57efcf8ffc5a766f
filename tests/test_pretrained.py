"""Pretrained models give heart rates on arrival, and are estimators like all others."""

from __future__ import annotations

import copy
import gzip
import json
import pickle
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import skops.io
import torch
from scipy.signal import resample_poly
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted

from pulsehr import (
    DistilledStudentRegressor,
    PPGWindower,
    Reading,
    Recording,
    load_pretrained,
    to_microcontroller,
    to_onnx,
)
from pulsehr._plain_files import read_pipeline, write_pipeline
from pulsehr.datasets import make_recordings
from pulsehr.persistence import TRUSTED_TYPES
from pulsehr.pretrained import PRETRAINED

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

# E402: they are no package, and found only by the path of the line above
import pretrained_elsewhere  # noqa: E402
import pretrained_recipes  # noqa: E402
import resting_recordings  # noqa: E402
import train_pretrained  # noqa: E402
from accuracy_folds import described  # noqa: E402

WEIGHTS = files("pulsehr") / "weights"
MAX_BYTES = 2_000_000
SMALL = {"max_epochs": 2, "filters": (2, 3, 4), "verbose": 0}

every_model = pytest.mark.parametrize("name", list(PRETRAINED))


@pytest.fixture(scope="module")
def data():
    """Two synthetic subjects that no model was trained on."""
    return make_recordings(n_subjects=2, duration=90, random_state=0)


@pytest.fixture(scope="module")
def models():
    """Each model, to predict with only."""
    return {name: load_pretrained(name) for name in PRETRAINED}


@every_model
def test_a_recording_gets_heart_rates_with_their_std_from_the_eighth_second_on(data, models, name):
    readings = data.recordings[0].readings()
    assert readings[0].instant == 8.0
    bpm, std = models[name].predict(readings, return_std=True)
    assert bpm.shape == std.shape == (len(readings),)
    assert ((bpm > 30) & (bpm < 220)).all()
    assert (std > 0).all()


def test_the_integers_are_those_of_the_student_and_of_its_firmware(data, models):
    windows = models["student"][:-1].transform(data.X)
    firmware = to_microcontroller(models["student"][-1])
    integers, floats = (models[name].predict(data.X) for name in ("student-int8", "student"))
    np.testing.assert_array_equal(integers, firmware.predict(windows))
    assert np.median(np.abs(integers - floats)) < 1.0


def test_another_name_is_refused_with_those_that_are_there():
    with pytest.raises(ValueError, match=r"\['student', 'student-int8', 'teacher'\], got 'best'"):
        load_pretrained("best")


def test_the_files_are_small_arrays_and_text():
    sizes = [file.stat().st_size for file in WEIGHTS.iterdir()]
    assert sum(sizes) < MAX_BYTES
    for name in ("student", "teacher"):
        with np.load(WEIGHTS / f"{name}.npz", allow_pickle=False) as stored:
            kinds = {stored[key].dtype.kind for key in stored.files}
            text = json.loads(stored["text"].tobytes())
        assert kinds <= {"f", "i", "u"}
        assert set(text) == {"facts", "steps"}


def test_the_card_says_on_what_the_files_were_trained():
    facts = [read_pipeline(WEIGHTS / f"{name}.npz")[1] for name in ("student", "teacher")]
    assert facts[0] == facts[1]
    card = (WEIGHTS / "MODEL_CARD.md").read_text()
    assert train_pretrained.trained_on(facts[0]) in card


@pytest.mark.parametrize("name", ["student", "teacher"])
def test_the_files_hold_the_recipe_that_the_benchmark_measures(name):
    seed = read_pipeline(WEIGHTS / f"{name}.npz")[1]["seed"]
    assert described(load_pretrained(name)) == described(pretrained_recipes.recipe(name, seed))


def test_another_recipe_is_refused():
    with pytest.raises(ValueError, match=r"one of \['student', 'teacher'\], got 'nurse'"):
        pretrained_recipes.recipe("nurse")


@every_model
def test_a_clone_is_the_unfitted_recipe_and_learns_from_own_recordings(data, models, name):
    recipe = clone(models[name])
    with pytest.raises(NotFittedError):
        check_is_fitted(recipe)
    changes = {"max_epochs": 1, "filters": (2, 3, 4)}
    parameters = {n: changes.get(n.rpartition("__")[2]) for n in recipe.get_params()}
    recipe.set_params(**{n: value for n, value in parameters.items() if value is not None})
    scores = cross_val_score(
        recipe,
        data.X,
        data.y,
        groups=data.groups,
        cv=GroupKFold(2),
        scoring="neg_mean_absolute_error",
    )
    assert np.isfinite(scores).all()


@every_model
@pytest.mark.parametrize("copied", [lambda m: pickle.loads(pickle.dumps(m)), copy.deepcopy])
def test_copies_predict_the_same(data, models, name, copied):
    expected = models[name].predict(data.X[:5])
    np.testing.assert_array_equal(copied(models[name]).predict(data.X[:5]), expected)


@every_model
def test_skops_stores_it_with_the_documented_types_alone(data, models, name, tmp_path):
    skops.io.dump(models[name], tmp_path / "model.skops")
    again = skops.io.load(tmp_path / "model.skops", trusted=TRUSTED_TYPES)
    expected = models[name].predict(data.X[:5])
    np.testing.assert_array_equal(again.predict(data.X[:5]), expected)


@every_model
def test_a_frozen_one_stays_as_it_is(data, models, name):
    frozen = clone(FrozenEstimator(models[name])).fit(data.X, data.y + 50)
    expected = models[name].predict(data.X[:5])
    np.testing.assert_array_equal(frozen.predict(data.X[:5]), expected)


@pytest.mark.parametrize("name", ["student", "teacher"])
def test_it_learns_on_from_own_windows_without_changing_the_next_that_is_loaded(data, models, name):
    model = load_pretrained(name)
    windows = model[:-1].transform(data.X)
    before = model.predict(data.X)
    model[-1].partial_fit(windows, data.y)
    assert not np.array_equal(model.predict(data.X), before)
    np.testing.assert_array_equal(load_pretrained(name).predict(data.X), before)


def test_loading_leaves_the_generators_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 it is the test
    load_pretrained("student-int8")
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002 it is the test


@every_model
def test_sensors_of_other_rates_give_nearly_the_same_heart_rates(data, models, name):
    slow = data.recordings[0]
    acc = resample_poly(slow.acc, 25, 8, axis=0)
    fast = Recording(
        ppg=resample_poly(slow.ppg, 2, 1), ppg_rate=128, acc=acc, acc_rate=100, subject="fast"
    )
    instants = np.arange(20, 88, 4.0)
    expected, got = (
        models[name].predict([Reading(recording, t) for t in instants])
        for recording in (slow, fast)
    )
    assert np.median(np.abs(got - expected)) < 1.0


@every_model
def test_a_recording_without_acceleration_is_told_how_to_go_on(data, models, name):
    ppg_alone = replace(data.recordings[0], acc=None, acc_rate=None)
    with pytest.raises(ValueError, match=r"these recordings lack acceleration .+ fit on such"):
        models[name].predict(ppg_alone.readings())


@pytest.mark.parametrize("name", ["student", "teacher"])
def test_onnx_files_agree_with_predict(data, models, name):
    onnxruntime = pytest.importorskip("onnxruntime")
    windows = models[name][:-1].transform(data.X)
    session = onnxruntime.InferenceSession(to_onnx(models[name][-1]).SerializeToString())
    (bpm, *_) = session.run(None, {session.get_inputs()[0].name: windows})
    np.testing.assert_allclose(bpm.ravel(), models[name].predict(data.X), atol=1e-3)


@pytest.mark.parametrize("name", ["student", "student-int8"])
def test_firmware_takes_the_samples_of_the_sensors(data, models, name, compiler):
    X = [reading for reading in data.X if reading.instant >= 18]
    model = to_microcontroller(models[name], None, ppg_rate=64, acc_rate=32)
    np.testing.assert_array_equal(model.run_c(X), model.predict(X))
    assert np.median(np.abs(model.predict(X) - models[name].predict(X))) < 2


# files


def fitted(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 4, 32)).astype(np.float32), rng.uniform(50, 150, 40)
    student = DistilledStudentRegressor(**SMALL, random_state=0, loss="laplace")
    return make_pipeline(PPGWindower(normalize="channel"), student).fit(X, y), X


def test_what_is_written_is_read(tmp_path):
    pipe, X = fitted(tmp_path)
    write_pipeline(tmp_path / "pipe.npz", pipe, {"seed": 0})
    again, facts = read_pipeline(tmp_path / "pipe.npz")
    assert facts == {"seed": 0}
    assert repr(again) == repr(pipe)
    expected = pipe.predict(X, return_std=True)
    np.testing.assert_array_equal(again.predict(X, return_std=True), expected)
    assert again[-1].ranges_ == pipe[-1].ranges_
    assert again[-1].history_ == pipe[-1].history_


def test_the_same_model_gives_the_same_bytes(tmp_path):
    pipe, _ = fitted(tmp_path)
    for name in ("one", "other"):
        write_pipeline(tmp_path / name, pipe, {})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_what_is_no_plain_data_is_refused_and_leaves_the_file_as_it_was(tmp_path):
    pipe, _ = fitted(tmp_path)
    write_pipeline(tmp_path / "pipe.npz", pipe, {})
    before = (tmp_path / "pipe.npz").read_bytes()
    pipe[-1].set_params(optimizer=torch.optim.Adam)
    with pytest.raises(TypeError, match=r"plain data at 'distilled\w+/optimizer', got <class"):
        write_pipeline(tmp_path / "pipe.npz", pipe, {})
    assert [path.name for path in tmp_path.iterdir()] == ["pipe.npz"]
    assert (tmp_path / "pipe.npz").read_bytes() == before


def test_a_file_names_known_estimators_alone(tmp_path):
    steps = {"first": {"!estimator": "Popen", "state": {}}}
    text = json.dumps({"facts": {}, "steps": steps}).encode()
    np.savez(tmp_path / "pipe.npz", text=np.frombuffer(text, np.uint8))
    with pytest.raises(ValueError, match=r"expected one of \['Distilled.+, got 'Popen'"):
        read_pipeline(tmp_path / "pipe.npz")


def test_a_file_with_objects_is_not_run(tmp_path):
    np.savez(tmp_path / "pipe.npz", text=np.array([print], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_pipeline(tmp_path / "pipe.npz")


# training


@pytest.fixture
def tiny(monkeypatch):
    """Let the script load a few seconds of two subjects, and train networks of few filters."""

    def load(folder, ppg_channel):
        made = make_recordings(n_subjects=4, duration=40, random_state=ppg_channel)
        recordings = [replace(r, subject=f"{folder}_{r.subject}", name="") for r in made.recordings]
        return train_pretrained.dataset_from_recordings(recordings)

    sets = {
        "first set": (load, 2),
        "second set": (lambda f, ppg_channel: load("2", ppg_channel), 1),
    }
    monkeypatch.setattr(train_pretrained, "LABELLED", sets)
    monkeypatch.setattr(train_pretrained, "SYNTHETIC_DURATION", 40.0)
    monkeypatch.setattr(train_pretrained, "SPEEDS", (0.8,))
    for name in ("TEACHER", "STUDENT"):
        monkeypatch.setitem(getattr(pretrained_recipes, name), "filters", (2, 3, 4))


def test_recordings_that_are_played_faster_have_higher_heart_rates():
    data = make_recordings(n_subjects=1, duration=60, random_state=0)
    (slow,), (fast,) = data.recordings, train_pretrained.played(data, 1.25).recordings
    assert (fast.ppg_rate, fast.acc_rate) == (1.25 * slow.ppg_rate, 1.25 * slow.acc_rate)
    np.testing.assert_array_equal(fast.ppg, slow.ppg)
    np.testing.assert_allclose(fast.heart_rate, 1.25 * slow.heart_rate)
    np.testing.assert_allclose(fast.heart_rate_times, slow.heart_rate_times / 1.25)


def test_the_script_writes_what_the_recipe_fits_and_says_on_what(tiny, tmp_path, capsys):
    card = tmp_path / "MODEL_CARD.md"
    card.write_text("before\n<!-- training -->\nold\n<!-- /training -->\nafter\n")
    argv = ["1", "--output", str(tmp_path), "--epochs", "1", "--synthetic", "2", "--every", "2"]
    assert train_pretrained.main(argv) == 0
    printed = capsys.readouterr().out
    student, facts = read_pipeline(tmp_path / "student.npz")
    teacher, _ = read_pipeline(tmp_path / "teacher.npz")

    rows = {source["source"]: source["readings"] for source in facts["sources"]}
    first = {"first set, PPG 1": 36, "first set, PPG 2": 32}
    slower = {f"{name}, 0.8 times as fast": 12 for name in (*first, "second set, PPG 1")}
    assert rows == {**first, "second set, PPG 1": 36, "synthetic": 18, **slower}
    assert all(subject.startswith(("1_", "2_")) for subject in facts["held_out"])
    assert "| first set, PPG 2 | 32 | 4 | 4 | 0.0 |" in card.read_text()
    assert card.read_text().startswith("before\n<!-- training -->\n| source")
    assert card.read_text().endswith("<!-- /training -->\nafter\n")
    assert f"held out: {', '.join(facts['held_out'])}; seed 0" in printed

    parts = train_pretrained.sources(train_pretrained.parse(argv))
    X = [reading for part in parts for reading in part.X]
    y = np.concatenate([part.y for part in parts])
    groups = np.concatenate([part.groups for part in parts])
    for written in (teacher, student):
        fitted = clone(written).fit(X, y, **{f"{written.steps[-1][0]}__groups": groups})
        np.testing.assert_array_equal(written.predict(X), fitted.predict(X))

    held_out = [row for row, group in enumerate(groups) if group in facts["held_out"]]
    bpm, std = student.predict([X[row] for row in held_out], return_std=True)
    # the std is calibrated on just these
    assert np.mean(np.abs(bpm - y[held_out]) / std) == pytest.approx(1 / np.sqrt(2))


def test_a_seed_that_holds_out_rows_without_labels_is_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(pretrained_recipes.STUDENT, "validation_fraction", 0.85)
    argv = ["1", "--output", str(tmp_path), "--epochs", "1", "--synthetic", "2"]
    with pytest.raises(ValueError, match="seed must hold out labelled subjects alone, got 0"):
        train_pretrained.main(argv)
    assert list(tmp_path.iterdir()) == []


def test_channels_take_turns():
    data = make_recordings(n_subjects=2, duration=40, random_state=0)
    parts = [train_pretrained.thinned("", data, 3, first, True) for first in range(3)]
    instants = [
        sorted((reading.subject, reading.instant) for part in parts for reading in part.X),
        sorted((reading.subject, reading.instant) for reading in data.X),
    ]
    assert instants[0] == instants[1]


def resting(bpm, seconds=48):
    """Return a clean pulse with a second harmonic, and an acceleration of a wrist at rest."""
    rng = np.random.default_rng(0)
    t = np.arange(0, seconds, 1 / 64)
    pulse = np.sin(2 * np.pi * bpm / 60 * t) + 0.5 * np.sin(4 * np.pi * bpm / 60 * t + 1)
    return pulse, rng.normal([0, 0, 1], 0.01, size=(seconds * 32, 3))


def test_a_clean_pulse_at_rest_is_labelled_by_its_rate():
    ppg, acc = resting(72)
    rates = resting_recordings.clear_rates(ppg, 64, acc, 32)
    np.testing.assert_allclose(rates, [72, 72, 72], atol=0.5)


def test_what_moves_or_is_noisy_or_no_heart_rate_has_no_label():
    ppg, acc = resting(72)
    acc[520:600, 1] += 1.0  # in the second stretch
    ppg[2048:] += np.random.default_rng(0).normal(scale=20, size=1024)  # the third
    rates = resting_recordings.clear_rates(ppg, 64, acc, 32)
    np.testing.assert_array_equal(np.isfinite(rates), [True, False, False])
    fast, still = resting(200)
    assert np.isnan(resting_recordings.clear_rates(fast, 64, still, 32)).all()


def write_export(folder, ppg, acc):
    folder.mkdir(parents=True)
    content = {
        "BVP": ["1495437325.00", "64.000000", *(f"{100 * value:.2f}" for value in ppg)],
        "ACC": [
            ", ".join(["1495437325.000000"] * 3),
            ", ".join(["32.000000"] * 3),
            *(",".join(str(round(64 * value)) for value in row) for row in acc),
        ],
    }
    for name, lines in content.items():
        with gzip.open(folder / f"{name}.csv.gz", "wt") as file:
            file.write("\n".join(lines) + "\n")


def test_exports_are_read_and_labelled_at_the_end_of_each_clear_stretch(tmp_path):
    ppg, acc = resting(90)
    write_export(tmp_path / "E4" / "S2", ppg, acc[:-64])  # the acceleration ends 2 s earlier
    write_export(tmp_path / "E4" / "S3", np.random.default_rng(0).normal(size=len(ppg)), acc)
    write_export(tmp_path / "E4" / "S4", ppg[:640], acc[:320])  # shorter than a stretch
    with pytest.warns(UserWarning, match="lasts 48.00 s but acceleration 46.00 s"):
        (recording,) = resting_recordings.load_resting(tmp_path)
    assert recording.subject == "S2"
    assert recording.duration == 46
    assert (recording.ppg_rate, recording.acc_rate) == (64, 32)
    np.testing.assert_allclose(recording.acc[0], acc[0], atol=0.01)
    np.testing.assert_array_equal(recording.heart_rate_times, [16, 32])
    np.testing.assert_allclose(recording.heart_rate, [90, 90], atol=0.5)


def test_a_folder_without_exports_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"expected BVP\.csv .+ below"):
        resting_recordings.load_resting(tmp_path)


def test_windows_are_put_together_to_the_recording_they_were_cut_from():
    signals = np.random.default_rng(0).normal(size=(4, 14 * 32))
    X = np.stack([signals[:, start : start + 256] for start in range(0, 6 * 32 + 1, 64)])
    recording = pretrained_elsewhere.recording_of(X, np.arange(60.0, 64.0))
    np.testing.assert_array_equal(recording.ppg, np.float32(signals[0]))
    np.testing.assert_array_equal(recording.acc, np.float32(signals[1:].T))
    assert recording.heart_rate_times.tolist() == [8, 10, 12, 14]
    with pytest.raises(ValueError, match="windows must follow each other every 2 s, got others"):
        pretrained_elsewhere.recording_of(X[::-1], np.arange(60.0, 64.0))
