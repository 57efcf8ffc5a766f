"""What trains beside the first channel never holds a subject that tests, whatever its source."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

import pulsehr._training
from pulsehr import DistilledStudentRegressor, PPGWindower, PulseTeacherRegressor
from pulsehr._splitting import hold_out
from pulsehr.datasets import dataset_from_recordings, make_recordings

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

# E402: they are no package, and found only by the path of the line above
import accuracy_folds as folds  # noqa: E402
import accuracy_sources as more  # noqa: E402
from accuracy_configurations import CONFIGURATIONS  # noqa: E402
from train_pretrained import Source, played  # noqa: E402

SMALL = {"max_epochs": 1, "filters": (2, 3, 4), "batch_size": 64, "verbose": 0}


def renamed(recording, subject):
    return replace(recording, subject=subject, name="")


@pytest.fixture(scope="module")
def data():
    """Ten subjects, of whom five are of another set."""
    recordings = make_recordings(n_subjects=10, duration=40, random_state=0).recordings
    names = [f"one_{k}" for k in range(5)] + [f"other_{k}" for k in range(5)]
    pairs = zip(recordings, names, strict=True)
    return dataset_from_recordings([renamed(r, name) for r, name in pairs])


@pytest.fixture(scope="module")
def sources(data):
    """Their second channel, the first one played faster, people of nobody's set, and no labels."""
    twins = make_recordings(n_subjects=10, duration=40, random_state=1).recordings
    pairs = zip(twins, data.recordings, strict=True)
    second = dataset_from_recordings([renamed(r, own.subject) for r, own in pairs])
    faster = played(data, 1.25)
    made_up = make_recordings(n_subjects=2, duration=40, random_state=2)
    made_up = Source("synthetic", made_up.X, made_up.y, made_up.groups, labelled=False)
    first = more.own(data)
    shipped = [
        first,
        Source("second channel", second.X, second.y, second.groups, labelled=True),
        Source("faster", faster.X, faster.y, faster.groups, labelled=False),
        made_up,
    ]
    return {
        more.AS_SHIPPED: shipped,
        more.ALL_CHANNELS: shipped[:2],
        more.UNLABELLED: [first, more.unlabelled(made_up)],
    }


class SaysSeventy:
    def predict(self, X):
        return np.full(len(X), 70.0)


def student(settings):
    regressor = DistilledStudentRegressor(**SMALL, relation="none", random_state=settings.seed)
    return make_pipeline(PPGWindower(padding="reflect"), regressor)


def teacher(settings):
    regressor = PulseTeacherRegressor(**SMALL, random_state=settings.seed)
    return make_pipeline(PPGWindower(padding="reflect"), regressor)


def training(sources, data, split, seed=0):
    regressor = DistilledStudentRegressor(random_state=seed)
    return more.training(sources, data, split.train, regressor, SaysSeventy())


@pytest.mark.parametrize("kind", [more.AS_SHIPPED, more.ALL_CHANNELS, more.UNLABELLED])
@pytest.mark.parametrize("name", folds.SPLITS)
def test_no_source_trains_on_a_subject_that_does_not_train(data, sources, name, kind):
    for split in folds.SPLITS[name](data):
        ours = set(data.groups[split.train])
        rows = training(sources[kind], data, split)
        subjects = {reading.recording.subject for reading in rows.X}
        assert not subjects & set(data.groups[split.test])
        assert subjects & set(data.groups) == ours
        assert set(rows.groups) == ours
        assert len(rows.X) == len(rows.y) == len(rows.groups)


def test_all_that_there_is_of_a_training_subject_trains(data, sources):
    split = next(folds.pooled_splits(data))
    rows = training(sources[more.AS_SHIPPED], data, split)
    subject = data.groups[split.train[0]]
    mine = [reading for reading in rows.X if reading.recording.subject == subject]
    assert len({id(reading.recording) for reading in mine}) == 3
    assert sum(reading.recording.subject.startswith("synthetic") for reading in rows.X) > 0


@pytest.mark.parametrize("seed", range(5))
def test_only_measured_labels_of_whole_subjects_are_held_out(data, sources, seed):
    split = next(folds.pooled_splits(data))
    rows = training(sources[more.AS_SHIPPED], data, split, seed)
    rng = np.random.RandomState(seed)
    _, watched = hold_out(len(rows.y), rows.groups, 0.1, rng)
    measured = {(id(r), k) for s in sources[more.AS_SHIPPED] if s.labelled for k, r in _rows(s)}
    held_out = {rows.groups[k] for k in watched}
    for k in watched:
        assert (id(rows.X[k].recording), rows.X[k].instant) in measured
        assert rows.X[k].recording.subject in held_out


def _rows(source):
    return [(reading.instant, reading.recording) for reading in source.X]


def test_a_fit_holds_out_the_same_subjects_as_without_more_rows(
    data, sources, monkeypatch, tmp_path
):
    seen = []

    def noted(n_rows, groups, fraction, rng):
        learn, watch = hold_out(n_rows, groups, fraction, rng)
        seen.append(sorted(set(groups[watch])))
        return learn, watch

    monkeypatch.setattr(pulsehr._training, "hold_out", noted)
    configurations = {
        "plain": folds.Configuration(student),
        "more": folds.Configuration(student, sources=more.AS_SHIPPED),
    }
    bench = folds.Bench(data, configurations, tmp_path, sources=sources)
    split = next(folds.pooled_splits(data))
    for name in configurations:
        bench.fitted(name, folds.Settings(), split)
    assert seen[0] == seen[1]
    assert len(seen[0]) == 1


def test_the_teacher_of_the_fold_labels_what_has_no_label(data, sources, tmp_path):
    split = next(folds.pooled_splits(data))
    rows = training(sources[more.UNLABELLED], data, split)
    given = np.array([reading.recording.subject.startswith("synthetic") for reading in rows.X])
    assert given.any()
    np.testing.assert_array_equal(rows.y[given], 70.0)
    np.testing.assert_array_equal(rows.y[~given], data.y[split.train])
    configurations = {
        "teacher": folds.Configuration(teacher),
        "taught": folds.Configuration(student, "teacher", more.UNLABELLED),
    }
    bench = folds.Bench(data, configurations, tmp_path, sources=sources)
    fitted = bench.fitted("taught", folds.Settings(), split)
    assert np.isfinite(fitted.predict(data.X[:3])).all()


def test_the_name_in_the_cache_changes_with_the_sources_and_only_where_they_train(
    data, sources, tmp_path
):
    configurations = {
        "plain": folds.Configuration(student),
        "more": folds.Configuration(student, sources=more.AS_SHIPPED),
    }
    split = next(folds.pooled_splits(data))

    def key(name, sources):
        bench = folds.Bench(data, configurations, tmp_path, sources=sources)
        return bench.key(name, folds.Settings(), split)

    fewer = {**sources, more.AS_SHIPPED: sources[more.AS_SHIPPED][:-1]}
    assert key("plain", {}) == key("plain", fewer) == key("plain", sources)
    assert key("more", fewer) != key("more", sources)
    assert key("more", sources) == key("more", sources)


def test_configurations_name_sources_that_there_are(sources):
    named = {recipe.sources for recipe in CONFIGURATIONS.values()}
    assert named == {None, *sources}
