"""The accuracy benchmark splits by subject, fits once, and says in its tables what was measured."""

from __future__ import annotations

import csv
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from pulsehr import DistilledStudentRegressor, PPGWindower, PulseTeacherRegressor
from pulsehr.baselines import MotionAwareSpectralRegressor, SpectralPeakRegressor
from pulsehr.datasets import HeartRateDataset, dataset_from_recordings, make_recordings
from pulsehr.exceptions import InterruptedFitWarning

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

# E402: they are no package, and found only by the path of the line above
import accuracy  # noqa: E402
import accuracy_configurations  # noqa: E402
import accuracy_folds as folds  # noqa: E402
import accuracy_peers as peers  # noqa: E402
import accuracy_table as tables  # noqa: E402
import accuracy_variants as variants  # noqa: E402

SMALL = {"max_epochs": 1, "filters": (2, 3, 4), "batch_size": 16, "verbose": 0}


def small_teacher(settings):
    return make_pipeline(PPGWindower(), PulseTeacherRegressor(**SMALL, random_state=settings.seed))


def small_student(settings):
    student = DistilledStudentRegressor(**SMALL, random_state=settings.seed)
    return make_pipeline(PPGWindower(), student)


SMALL_CONFIGURATIONS = {
    "peak": folds.Configuration(lambda s: make_pipeline(PPGWindower(), SpectralPeakRegressor())),
    "taught": folds.Configuration(small_student, teacher="teacher"),
    "teacher": folds.Configuration(small_teacher),
    "student": folds.Configuration(small_student),
}


@pytest.fixture(scope="module")
def data():
    """Ten subjects, of whom five are of another set."""
    recordings = make_recordings(n_subjects=10, duration=40, random_state=0).recordings
    other = [replace(r, subject=f"other_{k}", name="") for k, r in enumerate(recordings[:5])]
    return dataset_from_recordings([*recordings[5:], *other])


@pytest.fixture
def bench(data, tmp_path):
    return folds.Bench(data, SMALL_CONFIGURATIONS, tmp_path)


def first_split(data):
    return next(folds.pooled_splits(data))


@pytest.mark.parametrize("name", folds.SPLITS)
def test_every_row_is_tested_once_by_what_never_saw_its_subject(data, name):
    splits = list(folds.SPLITS[name](data))
    tested = np.concatenate([split.test for split in splits])
    np.testing.assert_array_equal(np.sort(tested), np.arange(len(data.y)))
    for split in splits:
        assert not set(data.groups[split.train]) & set(data.groups[split.test])
    assert len({split.name for split in splits}) == len(splits)


def test_within_and_cross_keep_the_sets_apart(data):
    sets = folds.set_of(data.groups)
    for split in folds.within_splits(data):
        assert len(set(sets[split.train]) | set(sets[split.test])) == 1
    for split in folds.cross_splits(data):
        assert not set(sets[split.train]) & set(sets[split.test])


def test_thinning_keeps_every_second_reading_of_a_recording_in_time(data, tmp_path):
    shuffled = np.random.default_rng(0).permutation(len(data.y))
    parts = ([data.X[k] for k in shuffled], data.y[shuffled], data.groups[shuffled])
    mixed = HeartRateDataset(*parts, data.activity[shuffled], data.recordings)
    bench = folds.Bench(mixed, SMALL_CONFIGURATIONS, tmp_path, every=2)
    split = first_split(mixed)
    kept = bench.training_rows(split)
    for subject in set(mixed.groups[split.train]):
        instants = sorted(mixed.X[k].instant for k in split.train if mixed.groups[k] == subject)
        thinned = sorted(mixed.X[k].instant for k in kept if mixed.groups[k] == subject)
        assert thinned == instants[::2]


def finish(bench, name, settings=None, split=None, variant="as fitted"):
    task = accuracy.Task(name, settings or folds.Settings(), split or first_split(bench.data), [])
    return task.finished(bench, variant)


def test_a_finished_fold_is_neither_fitted_nor_predicted_again(bench, monkeypatch):
    before = finish(bench, "student")
    monkeypatch.setattr(folds.Bench, "_fit", None)
    monkeypatch.setattr(variants, "predicted", None)
    after = finish(bench, "student")
    np.testing.assert_array_equal(after.prediction.bpm, before.prediction.bpm)
    assert after[1:] == before[1:]
    assert after.best_epoch == 1
    assert sorted(path.suffix for path in bench.cache.iterdir()) == [".joblib", ".npz"]


def test_a_teacher_is_fitted_once_for_itself_and_its_students(bench):
    split = first_split(bench.data)
    finish(bench, "taught", split=split)
    teacher = bench.fitted("teacher", folds.Settings(), split)
    taught = bench.fitted("taught", folds.Settings(), split)
    windows = teacher[0].transform(bench.data.X[:3])
    inside = taught[-1].teacher_.predict(windows)
    np.testing.assert_array_equal(inside, teacher[-1].predict(windows))
    assert len(list(bench.cache.glob("teacher*.joblib"))) == 1


def test_a_teacher_of_other_windows_is_an_error(bench):
    def other(settings):
        return make_pipeline(PPGWindower(bandpass=(0.4, 4.0)), DistilledStudentRegressor(**SMALL))

    configurations = {**SMALL_CONFIGURATIONS, "taught": folds.Configuration(other, "teacher")}
    with pytest.raises(ValueError, match="must have the same steps before the network"):
        finish(replace(bench, configurations=configurations), "taught")


def test_the_name_in_the_cache_changes_with_all_that_the_result_depends_on(bench, data):
    split, other = list(folds.pooled_splits(data))[:2]
    settings = folds.Settings()

    def longer(settings):
        return small_student(settings).set_params(distilledstudentregressor__lr=0.1)

    def other_teacher(settings):
        return small_teacher(settings).set_params(pulseteacherregressor__lr=0.1)

    recipe = {**SMALL_CONFIGURATIONS, "student": folds.Configuration(longer)}
    taught = {**SMALL_CONFIGURATIONS, "teacher": folds.Configuration(other_teacher)}
    fewer = dataset_from_recordings(data.recordings[:-1])
    keys = [
        bench.key("student", settings, split),
        bench.key("teacher", settings, split),
        bench.key("taught", settings, split),
        bench.key("student", replace(settings, seed=1), split),
        bench.key("student", settings, other),
        replace(bench, every=2).key("student", settings, split),
        replace(bench, configurations=recipe).key("student", settings, split),
        replace(bench, configurations=taught).key("taught", settings, split),
        replace(bench, data=fewer).key("student", settings, split),
    ]
    assert len(set(keys)) == len(keys)
    assert bench.key("student", settings, split) == keys[0]


def test_what_has_no_seed_is_the_same_for_all(bench, data):
    seeds = (folds.Settings(seed=seed) for seed in (0, 1))
    assert len({bench.key("peak", settings, first_split(data)) for settings in seeds}) == 1


def test_a_fit_that_was_cut_short_is_not_kept(bench, monkeypatch):
    def interrupted(self, X, y, **metadata):
        warnings.warn("stopped", InterruptedFitWarning, stacklevel=2)
        return self

    monkeypatch.setattr(DistilledStudentRegressor, "fit", interrupted)
    with pytest.raises(InterruptedFitWarning, match="stopped"):
        finish(bench, "student")
    assert list(bench.cache.iterdir()) == []


def test_a_wave_holds_each_fold_once_and_teachers_come_first(bench, data):
    split = first_split(data)
    names = ["taught", "peak", "teacher"]
    asked = ["as fitted", "acceleration shuffled"]
    tasks = [
        accuracy.Task(name, folds.Settings(seed=seed), split, asked)
        for name in names
        for seed in (0, 1)
    ]
    planned = accuracy.waves(bench, tasks)
    assert [sorted(task.name for task in wave) for wave in planned] == [
        ["peak", "teacher", "teacher"],
        ["taught", "taught"],
    ]
    assert all(task.variants == asked for wave in planned for task in wave)
    finish(bench, "teacher")
    ((first,),) = accuracy.waves(bench, tasks[:1])
    assert first.name == "taught"


def test_a_run_on_two_processes_is_resumed_without_work(bench, data, capsys):
    splits = list(folds.cross_splits(data))
    asked = ["as fitted", "int8", "flat PPG"]
    tasks = [
        accuracy.Task(name, folds.Settings(), split, accuracy.variants_of(bench, name, asked))
        for name in ("peak", "taught")
        for split in splits
    ]
    assert accuracy.rows_of(bench, tasks) == []
    accuracy.run(bench, tasks, jobs=2)
    assert "1 of 6: " in capsys.readouterr().err
    accuracy.run(bench, tasks, jobs=2)
    assert capsys.readouterr().err == ""
    rows = accuracy.rows_of(bench, tasks)
    labels = ["peak", "peak, flat PPG", "taught", "taught, int8", "taught, flat PPG"]
    assert [row.label for row in rows] == labels
    assert all(np.isfinite(row.predictions[0].bpm).all() for row in rows)
    report = accuracy.report(bench, {"cross": rows}, {"cross": splits}, [("taught", "peak")])
    assert "| taught against peak |" in report


def test_what_is_left_takes_as_long_as_its_like():
    took = {"peak": [1.0, 3.0], "student": [100.0]}
    assert accuracy.seconds_left({"peak": 5, "student": 2}, took) == 5 * 2 + 2 * 100
    assert accuracy.seconds_left({"teacher": 3}, took) == pytest.approx(3 * 104 / 3)


def test_parameters_and_multiplications_are_those_of_the_paper():
    windows = np.random.default_rng(0).standard_normal((4, 4, 256))
    for regressor, parameters, macs in (
        (DistilledStudentRegressor(max_epochs=1, verbose=0), 27241, 3.38),
        (PulseTeacherRegressor(max_epochs=1, verbose=0), 131825, 26.3),
    ):
        size = folds.size(regressor.fit(windows, [60, 70, 80, 90]))
        assert size["n_parameters"] == parameters
        assert size["n_macs"] / 1e6 == pytest.approx(macs, rel=0.01)


def test_every_configuration_can_be_made_and_told_from_the_others():
    made = {}
    for name, configuration in accuracy_configurations.CONFIGURATIONS.items():
        pipe = configuration.make(folds.Settings())
        assert configuration.teacher in {None, *accuracy_configurations.CONFIGURATIONS}
        made[name] = repr(folds.described(pipe)), configuration.teacher, configuration.sources
    assert len(set(made.values())) == len(made)
    assert "0x" not in repr(made)


def test_the_listing_names_all(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["accuracy.py", "nowhere", "--list"])
    accuracy.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(accuracy_configurations.CONFIGURATIONS)
    assert any(line.startswith("student distilled taught by teacher: ") for line in lines)


# the variants


def case_of(bench, name):
    split, settings = first_split(bench.data), folds.Settings()
    pipe = bench.fitted(name, settings, split)
    plain = folds.Prediction(pipe.predict([bench.data.X[row] for row in split.test]))
    return variants.Case(bench, split, pipe, lambda: plain)


def test_shuffled_acceleration_leaves_what_looks_at_the_ppg_alone(bench):
    case = case_of(bench, "peak")
    shuffled = variants.with_shuffled_acceleration(case).bpm
    np.testing.assert_array_equal(shuffled, case.as_fitted().bpm)
    bench = replace(
        bench,
        configurations={
            "aware": folds.Configuration(
                lambda s: make_pipeline(PPGWindower(), MotionAwareSpectralRegressor())
            )
        },
    )
    case = case_of(bench, "aware")
    assert np.any(variants.with_shuffled_acceleration(case).bpm != case.as_fitted().bpm)


@pytest.mark.parametrize("kind", variants.DAMAGES)
def test_damage_lasts_for_six_seconds_in_thirty_and_is_the_same_again(kind):
    recording = make_recordings(n_subjects=1, duration=100, random_state=0).recordings[0]
    hurt = variants.damaged(recording, variants.DAMAGES[kind], [0, 1])
    differs = np.abs(np.asarray(hurt.ppg) - np.asarray(recording.ppg)) > 1e-3
    assert 0 < differs.sum() <= 3 * 6 * recording.ppg_rate
    for start in (0, 30, 60):
        hit = np.flatnonzero(differs[start * 64 : (start + 30) * 64])
        assert hit[-1] - hit[0] < 6 * recording.ppg_rate
    np.testing.assert_array_equal(hurt.acc, recording.acc)
    again = variants.damaged(recording, variants.DAMAGES[kind], [0, 1])
    np.testing.assert_array_equal(again.ppg, hurt.ppg)
    other = variants.damaged(recording, variants.DAMAGES[kind], [0, 2])
    assert np.any(np.asarray(other.ppg) != np.asarray(hurt.ppg))


@pytest.mark.parametrize("name", ["int8", "flat PPG", *variants.DAMAGES])
def test_a_variant_predicts_a_heart_rate_for_every_test_row(bench, name):
    case = case_of(bench, "student")
    found = variants.VARIANTS[name].predict(case)
    assert found.bpm.shape == (len(case.readings),)
    assert np.isfinite(found.bpm).all()
    assert found.std is None


def test_variants_are_for_those_they_fit():
    applies = {
        name: [v for v, variant in variants.VARIANTS.items() if variant.applies(make(None))]
        for name, make in {
            "peak": lambda s: make_pipeline(PPGWindower(), SpectralPeakRegressor()),
            "student": lambda s: make_pipeline(PPGWindower(), DistilledStudentRegressor()),
            "readings": lambda s: make_pipeline(peers.NeuroKitRegressor()),
        }.items()
    }
    assert applies["student"] == list(variants.VARIANTS)
    assert "int8" not in applies["peak"]
    assert "acceleration shuffled" in applies["peak"]
    assert not {"acceleration shuffled", "flat PPG"} & set(applies["readings"])


# the tables, with figures worked out by hand


@pytest.fixture
def four():
    """Two subjects of set a and one of b, two readings each, all at 100 bpm."""
    recording = make_recordings(n_subjects=1, duration=40, random_state=0).recordings[0]
    times = {"heart_rate": [100.0, 100.0], "heart_rate_times": [20.0, 22.0]}
    return dataset_from_recordings(
        [replace(recording, subject=name, name="", **times) for name in ("a_1", "a_2", "b_1")]
    )


def row_of(data, label, *errors, std=None, **counts):
    bpm = [data.y + np.array(seed, dtype=float) for seed in errors]
    std = None if std is None else np.array(std, dtype=float)
    return tables.Row(label, data, [folds.Prediction(seed, std) for seed in bpm], **counts)


def cells(table, label):
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {label} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_main_table_is_the_mean_over_subjects_and_the_spread_over_seeds(four):
    # subjects' errors 1, 3, 8 and 2, 4, 12: means 4 and 6, medians 3 and 4
    row = row_of(
        four, "two", [2, 0, 3, -3, 8, 8], [2, 2, 4, 4, -12, 12], n_parameters=27241, n_macs=3380000
    )
    main = tables.main_table(four, [row, row_of(four, "one", [2, 0, 3, -3, 8, 8])])
    expected = ["5.00 ± 1.41", "3.50 ± 0.71", "5.00 ± 1.41", "2.50 ± 0.71", "10.00 ± 2.83"]
    assert cells(main, "two") == [*expected, "66.7 %", "27,241", "3.38 M"]
    assert cells(main, "one") == ["4.00", "3.00", "4.00", "2.00", "8.00", "66.7 %", "", ""]


def test_what_a_tracker_gives_is_never_called_raw(four):
    rough = np.tile([0.0, 30.0], 3)
    row = replace(row_of(four, "tracked", rough), is_tracked=True)
    assert cells(tables.main_table(four, [row]), "tracked")[:3] == ["", "15.00", "15.00"]
    trackers = [name for name, variant in variants.VARIANTS.items() if variant.is_tracker]
    assert trackers == [name for name in variants.VARIANTS if name.startswith("tracker")]


def test_the_fold_table_is_the_mean_over_the_subjects_of_a_fold(four):
    splits = [folds.Split("x", np.arange(4, 6), np.arange(4))]
    table = tables.fold_table([row_of(four, "one", [2, 0, 3, -3, 8, 8])], splits)
    assert cells(table, "one") == ["2.00"]


def test_a_gain_is_that_of_the_same_seed_and_subject(four):
    # seeds' gains of subjects: 1, -1, 3 (mean 1) and 3, -1, 7 (mean 3); of bases 4 and 6
    base = row_of(four, "base", [2, 2, 2, 2, 8, 8], [4, 4, 2, 2, 12, 12])
    better = row_of(four, "better", [1, 1, 3, 3, 5, 5], [1, 1, 3, 3, 5, 5])
    table = tables.gain_table([base, better], [("better", "base"), ("missing", "base")])
    found = cells(table, "better against base")
    assert found == ["2.00 ± 1.41", "40 %", "-1.00 to 5.00", "2 of 3", "2.00 ± 1.41", "40 %"]
    assert len(table.splitlines()) == 3
    assert tables.gain_table([base], [("better", "base")]) == ""


def test_a_ratio_is_that_to_the_same_row_of_another_split(four):
    crossed = [row_of(four, "one", [3, 3, 3, 3, 8, 8]), row_of(four, "new", [1] * 6)]
    within = [row_of(four, "one", [2, 2, 2, 2, 4, 4])]
    table = tables.ratio_table(four, crossed, {"within": within})
    lines = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    assert lines[:2] == [
        ["one", "a", "3.00", "2.00", "1.50"],
        ["one", "b", "8.00", "4.00", "2.00"],
    ]
    assert lines[2][:3] == ["new", "a", "1.00"]


def test_laplace_errors_are_covered_as_often_as_said(four):
    rng = np.random.default_rng(0)
    y = rng.laplace(scale=4.0, size=20_000)
    std = np.full(len(y), 4 * np.sqrt(2))
    for probability in tables.INTERVALS:
        share = tables.coverage(y, np.zeros(len(y)), std, probability)
        assert share == pytest.approx(probability, abs=0.01)
    table = tables.coverage_table(four, [row_of(four, "sure", [0, 0, 0, 0, 9, 9], std=[1] * 6)])
    lines = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    assert lines[0] == ["sure", "all", "66.7", "66.7", "66.7"]
    assert lines[2] == ["sure", "b", "0.0", "0.0", "0.0"]


def test_abstention_keeps_the_readings_with_the_least_std(four):
    errors, std = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10]), np.arange(10)[::-1]
    assert tables.abstention(errors, std) == [5.5, 6.0, 6.5, 7.0, 8.0]
    rows = [row_of(four, "unsure", [1] * 6), row_of(four, "sure", [1] * 6, std=[1] * 6)]
    table = tables.abstention_table(four, rows)
    assert cells(table, "sure") == ["1.00"] * 5
    assert "unsure" not in table
    assert tables.abstention_table(four, rows[:1]) == ""


def test_errors_of_subjects_are_written_for_each_seed(four, tmp_path):
    row = row_of(four, "one", [2, 0, 3, -3, 8, 8], [1] * 6)
    path = tmp_path / "new" / "errors.csv"
    tables.write_errors(path, {"pooled": [row]}, [0, 7])
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 6
    found = [(line["seed"], line["subject"], float(line["raw"])) for line in lines]
    assert found[1:4] == [("0", "a_2", 3.0), ("0", "b_1", 8.0), ("7", "a_1", 1.0)]
    assert lines[0]["n_readings"] == "2"


# the other packages


def test_a_missing_package_says_how_to_get_it():
    with pytest.raises(peers.PeerMissingError, match="run 'make peers', or leave it out"):
        peers.peer("surely_not_installed")


def test_a_ridge_from_moments_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    features, y = rng.standard_normal((40, 5)) + 1, rng.standard_normal(40)
    halves = (slice(25), slice(25, None))
    first, second = (peers._Moments.of(features[half], y[half]) for half in halves)
    for alpha in (1, 100):
        ridge = Ridge(alpha).fit(features, y)
        coef, intercept = (first + second).ridge(alpha)
        np.testing.assert_allclose(coef, ridge.coef_, atol=1e-10)
        assert intercept == pytest.approx(ridge.intercept_)


def test_the_penalty_is_chosen_by_whole_subjects():
    # each subject has a level of its own that its features tell: of no use for another subject
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(6), 20)
    features = np.eye(6)[groups] + 0.01 * rng.standard_normal((120, 6))
    y = 100 + 20.0 * groups
    alpha, (coef, intercept) = peers._ridge(features, y, groups)
    assert alpha == max(peers.ALPHAS)
    ridge = Ridge(alpha).fit(features, y)
    np.testing.assert_allclose(features @ coef + intercept, ridge.predict(features), atol=1e-8)


def peak_finder():
    try:
        peers.peer("neurokit2")
    except peers.PeerMissingError as error:
        pytest.skip(str(error))
    return peers.NeuroKitRegressor()


def test_neurokit_counts_the_beats_of_a_clean_pulse(recording):
    X = recording.labelled_readings()
    found = peak_finder().fit(X, recording.heart_rate).predict(X)
    np.testing.assert_allclose(found, 72, atol=2)


def test_neurokit_gives_the_median_where_there_are_too_few_peaks(recording):
    short = peak_finder().set_params(window=1.0)
    X = recording.labelled_readings()
    found = short.fit(X, [50.0, 60.0, 70.0]).predict(X)
    np.testing.assert_array_equal(found, 60)
