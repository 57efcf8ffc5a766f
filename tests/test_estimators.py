"""Teacher and student fit, predict, teach and fail as scikit-learn users expect."""

from __future__ import annotations

import pickle
import signal
from threading import Thread

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    cross_val_predict,
    cross_val_score,
    learning_curve,
)
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback, EarlyStopping

from pulsehr import DistilledStudentRegressor, PPGWindower, PulseTeacherRegressor
from pulsehr.baselines import SpectralPeakRegressor
from pulsehr.datasets import make_recordings
from pulsehr.exceptions import InterruptedFitWarning

SMALL = {"max_epochs": 3, "filters": (2, 3, 4), "batch_size": 16, "random_state": 0, "verbose": 0}
ESTIMATORS = {
    "teacher": PulseTeacherRegressor(**SMALL),
    "student": DistilledStudentRegressor(**SMALL),
    "distilled": DistilledStudentRegressor(teacher=PulseTeacherRegressor(**SMALL), **SMALL),
}
every_estimator = pytest.mark.parametrize(
    "estimator", list(ESTIMATORS.values()), ids=list(ESTIMATORS)
)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    y = rng.uniform(50, 150, size=60)
    times = np.arange(64) / 8
    windows = rng.normal(scale=0.3, size=(60, 4, 64))
    windows[:, 0] += np.sin(2 * np.pi * y[:, None] / 60 * times)
    return windows.astype(np.float32), y, np.repeat(list("abcdef"), 10)


@pytest.fixture(scope="module")
def data():
    return make_recordings(n_subjects=3, duration=40, random_state=0)


class InterruptAt(Callback):
    """Press Ctrl-C in the middle of an epoch, as a terminal does."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_batch_begin(self, net, **kwargs):
        if net.history[-1, "epoch"] == self.epoch:
            signal.raise_signal(signal.SIGINT)


def weights(estimator):
    return {name: value.numpy() for name, value in estimator.network_.state_dict().items()}


@every_estimator
def test_fit_learns_and_predicts_float64(estimator, rows):
    windows, y, groups = rows
    fitted = clone(estimator).fit(windows, y, groups=groups)
    predicted = fitted.predict(windows)
    assert predicted.dtype == np.float64
    assert predicted.shape == (60,)
    assert fitted.transform(windows).shape == (60, 32)
    assert len(fitted.history_) == 3
    assert 1 <= fitted.best_epoch_ <= 3
    assert (fitted.n_channels_, fitted.n_times_, fitted.n_features_in_) == (4, 64, 256)


@pytest.mark.parametrize("estimator", [PulseTeacherRegressor, DistilledStudentRegressor])
def test_training_learns_a_heart_rate(estimator):
    rng = np.random.default_rng(0)
    y = rng.uniform(50, 150, size=200)
    windows = np.sin(2 * np.pi * y[:, None] / 60 * np.arange(128) / 16)[:, None]
    model = estimator(
        max_epochs=30, batch_size=8, dropout=0.0, lr=2e-3, filters=(16, 16, 16), random_state=0
    )
    error = np.abs(model.fit(windows[:150], y[:150]).predict(windows[150:]) - y[150:]).mean()
    constant = np.abs(np.median(y[:150]) - y[150:]).mean()
    assert error < constant / 3


@every_estimator
def test_one_seed_gives_one_result_and_leaves_global_generators(estimator, rows):
    windows, y, groups = rows
    numpy_state, torch_state = np.random.get_state()[1], torch.get_rng_state()  # noqa: NPY002 it is the test
    first = weights(clone(estimator).fit(windows, y, groups=groups))
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002 it is the test
    assert torch.equal(torch.get_rng_state(), torch_state)
    torch.manual_seed(7)
    second = weights(clone(estimator).fit(windows, y, groups=groups))
    other = weights(clone(estimator).set_params(random_state=1).fit(windows, y, groups=groups))
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])
    assert any((values != other[name]).any() for name, values in first.items())


@every_estimator
def test_flat_rows_are_the_same_windows(estimator, rows):
    windows, y, _ = rows
    flat = windows.reshape(60, -1)
    fitted = clone(estimator).fit(windows, y)
    np.testing.assert_array_equal(fitted.predict(flat), fitted.predict(windows))
    from_flat = clone(estimator).set_params(n_channels=4).fit(flat, y)
    np.testing.assert_array_equal(from_flat.predict(flat), fitted.predict(windows))


@every_estimator
def test_windows_of_ppg_alone_work(estimator, rows):
    windows, y, groups = rows
    fitted = clone(estimator).fit(windows[:, :1], y, groups=groups)
    assert fitted.predict(windows[:, :1]).shape == (60,)
    with pytest.raises(ValueError, match="must have 1 channels of 64 times as in fit, got 4"):
        fitted.predict(windows)


@every_estimator
def test_pickle_predicts_the_same(estimator, rows):
    windows, y, _ = rows
    fitted = clone(estimator).fit(windows, y)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(windows), fitted.predict(windows))


def test_best_weights_are_kept(rows):
    windows, y, groups = rows
    model = PulseTeacherRegressor(**{**SMALL, "max_epochs": 12, "lr": 0.05})
    model.fit(windows, y, groups=groups)
    losses = [epoch["valid_loss"] for epoch in model.history_]
    assert model.best_epoch_ == 1 + int(np.argmin(losses))
    assert model.best_epoch_ < 12  # so that best and last differ
    again = clone(model).set_params(max_epochs=model.best_epoch_).fit(windows, y, groups=groups)
    for name, values in weights(model).items():
        np.testing.assert_array_equal(values, weights(again)[name])


def test_patience_ends_training_early(rows):
    windows, y, groups = rows
    model = PulseTeacherRegressor(**{**SMALL, "max_epochs": 200, "lr": 1.0, "patience": 2})
    assert len(model.fit(windows, y, groups=groups).history_) < 50


def test_early_stopping_watches_held_out_subjects(rows):
    windows, y, groups = rows
    seen = []

    class Watch(Callback):
        def on_batch_begin(self, net, batch=None, training=False, **kwargs):
            if training:
                seen.extend(batch[1].tolist())

    PulseTeacherRegressor(**SMALL, validation_fraction=0.3, callbacks=[Watch()]).fit(
        windows, y, groups=groups
    )
    was_seen = np.isin(np.float32(y), seen)
    share_seen = [was_seen[groups == group].mean() for group in "abcdef"]
    assert sorted(share_seen) == [0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("warm_start", [True, False])
def test_warm_start_continues_from_the_last_weights(warm_start, rows):
    windows, y, _ = rows
    model = PulseTeacherRegressor(**SMALL, warm_start=warm_start).fit(windows, y)
    before = weights(model)
    model.set_params(random_state=1, lr=1e-12).fit(windows, y)
    same = all(np.allclose(values, before[name]) for name, values in weights(model).items())
    assert same == warm_start


def test_unfitted_teacher_is_cloned_and_fitted(rows):
    windows, y, groups = rows
    teacher = PulseTeacherRegressor(**SMALL)
    student = DistilledStudentRegressor(teacher=teacher, **SMALL).fit(windows, y, groups=groups)
    assert not hasattr(teacher, "network_")
    assert student.teacher is teacher
    expected = clone(teacher).fit(windows, y, groups=groups)
    np.testing.assert_array_equal(student.teacher_.predict(windows), expected.predict(windows))


def test_fitted_and_frozen_teachers_teach_as_they_are(rows):
    windows, y, _ = rows
    teacher = PulseTeacherRegressor(**SMALL).fit(windows, y)
    by_fitted = DistilledStudentRegressor(teacher=teacher, **SMALL).fit(windows, y)
    assert by_fitted.teacher_ is teacher
    frozen = FrozenEstimator(teacher)
    by_frozen = clone(DistilledStudentRegressor(teacher=frozen, **SMALL)).fit(windows, y)
    assert by_frozen.teacher_.estimator is teacher
    np.testing.assert_array_equal(by_frozen.predict(windows), by_fitted.predict(windows))
    alone = DistilledStudentRegressor(**SMALL).fit(windows, y)
    assert (alone.predict(windows) != by_fitted.predict(windows)).any()
    assert alone.teacher_ is None


def test_a_teacher_without_features_teaches_by_its_heart_rates(rows):
    windows, y, _ = rows
    teacher = SpectralPeakRegressor(sampling_rate=16)  # twice the true heart rate
    student = DistilledStudentRegressor(teacher=teacher, prediction_weight=1.0, **SMALL)
    alone = DistilledStudentRegressor(**SMALL).fit(windows, y)
    assert (student.fit(windows, y).predict(windows) != alone.predict(windows)).any()


def test_cross_validation_of_the_student_never_shows_test_rows_to_the_teacher(rows):
    windows, y, groups = rows
    seen = []

    class Spy(PulseTeacherRegressor):
        def fit(self, X, y, groups=None):
            seen.append(set(y.tolist()))
            return super().fit(X, y, groups=groups)

    fitted_before = Spy(**SMALL).fit(windows, y)
    seen.clear()
    student = DistilledStudentRegressor(teacher=fitted_before, **SMALL)
    folds = list(GroupKFold(3).split(windows, y, groups))
    cross_val_score(student, windows, y, cv=folds)
    assert [rows_seen & set(y[test]) for rows_seen, (_, test) in zip(seen, folds, strict=True)] == [
        set()
    ] * 3


def test_ranges_cover_every_layer(rows):
    windows, y, _ = rows
    model = DistilledStudentRegressor(**SMALL).fit(windows, y)
    assert list(model.ranges_) == [
        *("input", "conv11", "conv12", "conv13", "pool1", "conv21", "conv22", "conv23", "pool2"),
        *("conv31", "conv32", "conv33", "pool3", "conv4", "dense", "out"),
    ]
    assert model.ranges_["input"] == (windows.min(), windows.max())
    assert model.ranges_["conv11"][0] >= 0
    low, high = model.ranges_["out"]
    predicted = model.predict(windows)
    np.testing.assert_allclose([low, high], [predicted.min(), predicted.max()], rtol=1e-6)


@every_estimator
def test_readings_go_through_scikit_learn(estimator, data):
    pipe = make_pipeline(PPGWindower(), clone(estimator).set_params(max_epochs=1))
    cv = GroupKFold(3)
    lists = cross_val_score(pipe, data.X, data.y, groups=data.groups, cv=cv, error_score="raise")
    X = np.array(data.X, dtype=object)
    arrays = cross_val_score(
        pipe, X, data.y, groups=data.groups, cv=cv, n_jobs=2, error_score="raise"
    )
    # workers may run torch on another number of threads, which rounds differently
    np.testing.assert_allclose(lists, arrays, rtol=1e-4)


def test_grid_search_over_the_window_keeps_rows(data):
    pipe = make_pipeline(PPGWindower(padding="reflect"), DistilledStudentRegressor(**SMALL))
    grid = {"ppgwindower__window": [6.0, 8.0, 10.0]}
    search = GridSearchCV(pipe, grid, cv=GroupKFold(3), error_score="raise")
    search.fit(data.X, data.y, groups=data.groups)
    assert search.predict(data.X).shape == data.y.shape


def test_cross_val_predict_and_learning_curve_take_readings(data):
    pipe = make_pipeline(PPGWindower(flatten=True), Ridge())
    predicted = cross_val_predict(pipe, data.X, data.y, groups=data.groups, cv=GroupKFold(3))
    assert predicted.shape == data.y.shape
    sizes, *_ = learning_curve(
        pipe, data.X, data.y, groups=data.groups, cv=GroupKFold(3), train_sizes=[0.5, 1.0]
    )
    assert len(sizes) == 2


@every_estimator
def test_ctrl_c_after_an_epoch_keeps_the_best_weights_and_says_so(estimator, rows):
    windows, y, groups = rows
    model = clone(estimator).set_params(callbacks=[InterruptAt(3)])
    with pytest.warns(InterruptedFitWarning, match=r"interrupted in epoch 3; fitted with the best"):
        model.fit(windows, y, groups=groups)
    reference = clone(estimator).set_params(max_epochs=2).fit(windows, y, groups=groups)
    for name, values in weights(reference).items():
        np.testing.assert_array_equal(weights(model)[name], values)


@every_estimator
def test_ctrl_c_in_the_first_epoch_leaves_the_estimator_untouched(estimator, rows):
    windows, y, groups = rows
    model = clone(estimator).set_params(callbacks=[InterruptAt(1)])
    with pytest.raises(KeyboardInterrupt):
        model.fit(windows, y, groups=groups)
    assert not [name for name in vars(model) if name.endswith("_")]
    fitted = clone(estimator).fit(windows, y, groups=groups)
    before = dict(vars(fitted))
    fitted.set_params(callbacks=[InterruptAt(1)])
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(windows[:, :1], y, groups=groups)
    assert vars(fitted) == {**before, "callbacks": fitted.callbacks}


@every_estimator
def test_a_callback_may_stop_the_training_without_a_word(estimator, rows):
    windows, y, groups = rows
    never_better = EarlyStopping(patience=2, threshold=1e9, threshold_mode="abs")
    model = clone(estimator).set_params(max_epochs=20, callbacks=[never_better])
    if getattr(model, "teacher", None) is not None:
        model.set_params(teacher__max_epochs=20, teacher__callbacks=[clone(never_better)])
    model.fit(windows, y, groups=groups)
    assert len(model.history_) < 20


def test_ctrl_c_while_the_teacher_learns_leaves_the_student_untouched(rows):
    windows, y, _ = rows
    teacher = PulseTeacherRegressor(**SMALL, callbacks=[InterruptAt(2)])
    student = DistilledStudentRegressor(teacher=teacher, **SMALL)
    with pytest.raises(KeyboardInterrupt):
        student.fit(windows, y)
    assert not [name for name in vars(student) if name.endswith("_")]


@every_estimator
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"X": np.full((60, 4, 64), np.nan)}, ValueError, "contains NaN"),
        ({"y": np.full(60, np.inf)}, ValueError, "contains infinity"),
        ({"y": np.ones(59)}, ValueError, "inconsistent numbers of samples"),
        ({"y": None}, ValueError, "requires y to be passed"),
        ({"groups": np.ones(7)}, ValueError, "inconsistent numbers of samples"),
        ({"X": []}, ValueError, "X must hold at least one row, got none"),
        ({"X": np.zeros((60, 1, 1, 1))}, ValueError, "dim"),
    ],
)
def test_bad_rows_are_refused_and_nothing_is_half_fitted(estimator, change, error, message, rows):
    windows, y, groups = rows
    model = clone(estimator)
    with pytest.raises(error, match=message):
        model.fit(**{"X": windows, "y": y, "groups": groups, **change})
    assert not [name for name in vars(model) if name.endswith("_")]


@every_estimator
@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("max_epochs", 0, "an integer >= 1"),
        ("batch_size", 2.5, "an integer >= 1"),
        ("lr", -1.0, "a number > 0"),
        ("dropout", 1.0, "a number from 0 to below 1"),
        ("validation_fraction", -0.1, "a number from 0 to below 1"),
        ("filters", (8, 16), "three integers >= 1"),
        ("n_channels", 0, "an integer >= 1"),
    ],
)
def test_bad_hyperparameters_are_refused(estimator, name, value, expected, rows):
    model = clone(estimator).set_params(**{name: value})
    with pytest.raises(ValueError, match=f"{type(model).__name__}: {name} must be {expected}"):
        model.fit(*rows[:2])


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        (
            {"relation": "cosine"},
            ValueError,
            r"relation must be one of \['softmax', .* got 'cosine'",
        ),
        ({"relation": "angle+"}, ValueError, r"relation must be .* a sum such .* got 'angle\+'"),
        ({"relation": None}, ValueError, "relation must be .* got None"),
        (
            {"lessons": "twice"},
            ValueError,
            r"lessons must be one of \['once', 'anew'\], got 'twice'",
        ),
        ({"label_weight": 1.5}, ValueError, "label_weight must be a number from 0 to 1, got 1.5"),
        ({"temperature": 0}, ValueError, "temperature must be a number > 0, got 0"),
        ({"teacher": "PULSE"}, TypeError, "teacher must be a regressor or None, got 'PULSE'"),
        ({"teacher": DummyRegressor()}, TypeError, "teacher must have transform to give 32"),
    ],
)
def test_bad_teaching_is_refused(parameters, error, message, rows):
    windows, y, _ = rows
    with pytest.raises(error, match=f"DistilledStudentRegressor: {message}"):
        DistilledStudentRegressor(**{**SMALL, **parameters}).fit(windows.reshape(60, -1), y)


@every_estimator
def test_readings_without_a_windower_are_refused(estimator, data):
    with pytest.raises(TypeError, match="X must hold windows, got readings: put a PPGWindower"):
        clone(estimator).fit(data.X, data.y)


@every_estimator
def test_predict_before_fit_is_refused(estimator, rows):
    with pytest.raises(NotFittedError):
        clone(estimator).predict(rows[0])


@every_estimator
def test_diverging_training_is_an_error(estimator, rows):
    windows, y, _ = rows
    model = clone(estimator).set_params(lr=1e30)
    with pytest.raises(ValueError, match=r"never a finite number in 3 epochs: lower lr=1e[+]30"):
        model.fit(windows, y)
    assert not hasattr(model, "network_")


@every_estimator
def test_no_seed_leaves_numpys_generator_alone(estimator, rows):
    before = np.random.get_state()[2]  # noqa: NPY002 it is the test
    clone(estimator).set_params(random_state=None, max_epochs=1).fit(*rows[:2])
    assert np.random.get_state()[2] == before  # noqa: NPY002 it is the test


@every_estimator
def test_threads_that_fit_at_once_do_not_change_each_other(estimator, rows):
    windows, y, _ = rows
    models = [clone(estimator) for _ in range(3)]
    threads = [Thread(target=model.fit, args=(windows, y)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model in models[1:]:
        np.testing.assert_array_equal(model.predict(windows), models[0].predict(windows))


@every_estimator
def test_windows_may_be_read_only_and_lie_in_any_order(estimator, rows):
    windows, y, _ = rows
    expected = clone(estimator).fit(windows, y).predict(windows)
    backwards = windows[:, :, ::-1].copy()[:, :, ::-1]
    backwards.flags.writeable = False
    fitted = clone(estimator).fit(backwards, y)
    np.testing.assert_array_equal(fitted.predict(backwards), expected)


def test_warm_start_with_another_shape_is_refused(rows):
    windows, y, _ = rows
    model = DistilledStudentRegressor(**SMALL, warm_start=True).fit(windows, y)
    with pytest.raises(ValueError, match="needs windows, filters, network and loss of the last"):
        model.fit(windows[:, :, :32], y)


def test_a_split_that_leaves_no_subject_to_train_on_is_refused(rows):
    windows, y, _ = rows
    model = PulseTeacherRegressor(**SMALL, validation_fraction=0.6)
    with pytest.raises(ValueError, match=r"validation_fraction=0.6 leaves none of 2 subjects"):
        model.fit(windows, y, groups=np.repeat(["a", "b"], 30))


def test_verbose_shows_progress(rows, capsys):
    windows, y, _ = rows
    PulseTeacherRegressor(**{**SMALL, "verbose": 2}).fit(windows, y)
    assert "valid_loss" in capsys.readouterr().out
    PulseTeacherRegressor(**SMALL).fit(windows, y)
    assert capsys.readouterr() == ("", "")


@every_estimator
def test_threads_that_predict_at_once_do_not_change_each_other(estimator, rows):
    windows, y, _ = rows
    model = clone(estimator).fit(windows, y)
    many = np.concatenate([windows] * 4)
    expected = model.predict(many)
    found = [[]] * 4

    def predict(k):
        found[k] = [model.predict(many) for _ in range(5)]

    threads = [Thread(target=predict, args=(k,)) for k in range(4)]
    torch.set_num_threads(2)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert [len(some) for some in found] == [5] * 4
    np.testing.assert_array_equal(np.array(found), np.broadcast_to(expected, (4, 5, len(many))))
