"""Training as skorch users know it: optimizers, schedules, devices, more data, checkpoints."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import VotingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback, EpochScoring, Freezer, LRScheduler, ProgressBar

from pulsehr import (
    DistilledStudentRegressor,
    PPGWindower,
    PulseTeacherRegressor,
    _checkpoints,
    _net,
)
from pulsehr.exceptions import InterruptedFitWarning

SMALL = {"max_epochs": 4, "filters": (2, 3, 4), "batch_size": 16, "random_state": 0, "verbose": 0}
ESTIMATORS = {
    "teacher": PulseTeacherRegressor(**SMALL),
    "student": DistilledStudentRegressor(**SMALL),
    "distilled": DistilledStudentRegressor(teacher=PulseTeacherRegressor(**SMALL), **SMALL),
}
every_estimator = pytest.mark.parametrize(
    "estimator", list(ESTIMATORS.values()), ids=list(ESTIMATORS)
)


def make_rows():
    rng = np.random.default_rng(0)
    y = rng.uniform(50, 150, size=60)
    windows = rng.normal(scale=0.3, size=(60, 2, 64))
    windows[:, 0] += np.sin(2 * np.pi * y[:, None] / 60 * np.arange(64) / 8)
    return windows.astype(np.float32), y


@pytest.fixture(scope="module")
def rows():
    return make_rows()


def weights(estimator):
    return {name: value.numpy() for name, value in estimator.network_.state_dict().items()}


def assert_same_weights(one, other):
    for name, values in weights(one).items():
        np.testing.assert_array_equal(values, weights(other)[name], err_msg=name)


class StopAt(Callback):
    """Once armed, press Ctrl-C or kill the process in an epoch; write down the epochs that end."""

    armed = False
    epochs: list[int] = []  # noqa: RUF012 shared by purpose

    def __init__(self, epoch, number=signal.SIGINT):
        self.epoch, self.number = epoch, number

    def on_batch_begin(self, net, **kwargs):
        if StopAt.armed and net.history[-1, "epoch"] == self.epoch:
            os.kill(os.getpid(), self.number)

    def on_epoch_end(self, net, **kwargs):
        StopAt.epochs.append(net.history[-1, "epoch"])


@pytest.fixture
def armed():
    """Arm every `StopAt` until the function that is returned is called."""
    StopAt.armed = True
    yield lambda: setattr(StopAt, "armed", False)
    StopAt.armed = False


@pytest.mark.parametrize(
    "optimizer",
    ["adam", "adamw", "nadam", "rmsprop", "sgd", functools.partial(torch.optim.SGD, momentum=0.5)],
)
def test_optimizers_differ_only_in_their_steps(optimizer, rows):
    model = PulseTeacherRegressor(**SMALL, weight_decay=0.1, optimizer=optimizer).fit(*rows)
    default = PulseTeacherRegressor(**SMALL, weight_decay=0.1).fit(*rows)
    same = all((weights(model)[name] == w).all() for name, w in weights(default).items())
    assert same == (optimizer == "adam")


def test_a_cosine_schedule_ends_at_zero(rows):
    history = PulseTeacherRegressor(**SMALL, lr=1.0, lr_scheduler="cosine").fit(*rows).history_
    expected = (1 + np.cos(np.pi * np.arange(4) / 4)) / 2
    np.testing.assert_allclose([row["lr"] for row in history], expected)


def test_a_plateau_schedule_lowers_the_rate_when_nothing_gets_better(rows):
    parameters = {**SMALL, "max_epochs": 8, "optimizer": "sgd", "lr": 1e-30, "patience": 4}
    model = PulseTeacherRegressor(**parameters, lr_scheduler="plateau").fit(*rows)
    # without improvement since the first epoch, one bad epoch (patience // 4) is forgiven
    assert [row["lr"] for row in model.history_][:4] == pytest.approx([1e-30] * 3 + [1e-31])


@pytest.mark.parametrize(
    "schedule",
    [
        functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5),
        lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5),
    ],
)
def test_a_schedule_may_be_made_by_a_callable(schedule, rows):
    model = PulseTeacherRegressor(**SMALL, lr=0.8, lr_scheduler=schedule).fit(*rows)
    assert [row["lr"] for row in model.history_] == pytest.approx([0.8, 0.4, 0.2, 0.1])


@every_estimator
def test_history_is_a_plain_table(estimator, rows):
    history = clone(estimator).fit(*rows).history_
    for k, row in enumerate(history, 1):
        assert list(row) == ["epoch", "train_loss", "valid_loss", "lr", "dur"]
        assert [type(value) for value in row.values()] == [int, float, float, float, float]
        assert row["epoch"] == k


def test_auto_takes_a_gpu_if_there_is_one(rows):
    automatic = PulseTeacherRegressor(**SMALL, device="auto").fit(*rows)
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    kind = "mps" if torch.backends.mps.is_available() else kind
    assert next(automatic.network_.parameters()).device.type == kind
    assert automatic.predict(rows[0]).shape == (60,)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("device", "gpu", "device must be 'auto', 'cpu', or a 'cuda'.* that is there, got 'gpu'"),
        ("device", "cuda:99", "device must be .* that is there, got 'cuda:99'"),
        ("device", 0, "device must be .* that is there, got 0"),
        ("optimizer", "adan", r"optimizer must be one of \['adam', .*\] or a callable, got 'adan'"),
        ("lr_scheduler", "step", r"lr_scheduler must be one of .* callable or None, got 'step'"),
        ("verbose", -1, "verbose must be an integer >= 0, got -1"),
        ("callbacks", print, "callbacks must be a list of skorch callbacks or None, got <built-in"),
        ("checkpoint", 3, "checkpoint must be a folder or None, got 3"),
    ],
)
@every_estimator
def test_what_is_not_there_is_refused(estimator, name, value, message, rows):
    with pytest.raises(ValueError, match=f"{type(estimator).__name__}: {message}"):
        clone(estimator).set_params(**{name: value}).fit(*rows)


@every_estimator
def test_partial_fit_learns_from_what_comes_piece_by_piece(estimator, rows):
    windows, y = rows
    able = {"filters": (8, 8, 8), "lr": 2e-3, "dropout": 0.0}
    model = clone(estimator).set_params(**able)
    if getattr(model, "teacher", None) is not None:
        model.teacher.set_params(**able)
    pieces = [slice(k, None, 3) for k in range(3)]
    errors = []
    for _ in range(30):
        for piece in pieces:
            model.partial_fit(windows[piece], y[piece])
        errors.append(np.abs(model.predict(windows) - y).mean())
    assert errors[-1] < 0.8 * errors[0]
    assert [row["epoch"] for row in model.history_] == list(range(1, 91))
    assert model.best_epoch_ == 90
    assert model.n_windows_ == 20


def test_partial_fit_goes_on_with_the_moments_of_its_optimizer(rows):
    model = PulseTeacherRegressor(**SMALL, dropout=0.0).partial_fit(*rows).partial_fit(*rows)
    steps = {int(state["step"]) for state in model.optimizer_state_["moments"].values()}
    assert steps == {8}  # four batches a pass
    fitted = PulseTeacherRegressor(**SMALL).fit(*rows)
    assert fitted.optimizer_state_ is None


@every_estimator
def test_partial_fit_after_fit_starts_from_what_was_learnt(estimator, rows):
    model = clone(estimator).fit(*rows)
    before = model.predict(rows[0])
    model.set_params(lr=1e-12, dropout=0.0).partial_fit(*rows)
    np.testing.assert_allclose(model.predict(rows[0]), before, rtol=1e-5)
    assert len(model.history_) == 5


def test_partial_fit_widens_the_ranges_for_quantization(rows):
    windows, y = rows
    model = DistilledStudentRegressor(**SMALL).partial_fit(windows, y)
    model.partial_fit(3 * windows, y)
    assert model.ranges_["input"] == (3 * windows.min(), 3 * windows.max())
    model.partial_fit(windows, y)
    assert model.ranges_["input"] == (3 * windows.min(), 3 * windows.max())


def test_partial_fit_refuses_windows_of_another_shape(rows):
    windows, y = rows
    model = PulseTeacherRegressor(**SMALL).partial_fit(windows, y)
    with pytest.raises(ValueError, match="windows must have 2 channels of 64 times as in fit"):
        model.partial_fit(windows[:, :, :32], y)


def test_partial_fit_needs_a_teacher_that_is_fitted_or_learns_along(rows):
    windows, y = rows
    student = DistilledStudentRegressor(teacher=Ridge(), prediction_weight=1.0, **SMALL)
    with pytest.raises(TypeError, match="needs a teacher that is fitted or has partial_fit"):
        student.partial_fit(windows, y)


@every_estimator
def test_a_weight_of_zero_is_as_if_the_row_were_not_there(estimator, rows):
    windows, y = rows
    sample_weight = np.ones(60)
    sample_weight[10:25] = 0
    weighted = clone(estimator).fit(windows, y, sample_weight=sample_weight)
    without = clone(estimator).fit(windows[sample_weight > 0], y[sample_weight > 0])
    assert weighted.n_windows_ == 45
    assert_same_weights(weighted, without)


@every_estimator
def test_only_the_ratio_of_weights_counts(estimator, rows):
    ones = clone(estimator).fit(*rows, sample_weight=np.ones(60))
    fours = clone(estimator).fit(*rows, sample_weight=np.full(60, 4.0))
    assert_same_weights(ones, clone(estimator).fit(*rows))
    assert_same_weights(ones, fours)


@every_estimator
def test_heavy_rows_are_learnt_first(estimator, rows):
    windows, _ = rows
    two = np.where(np.arange(60) % 2, 60.0, 120.0)
    sample_weight = np.where(np.arange(60) % 2, 100.0, 1.0)
    model = clone(estimator).fit(windows, two, sample_weight=sample_weight)
    assert np.abs(model.predict(windows) - 60).max() < 10


@pytest.mark.parametrize(
    ("sample_weight", "message"),
    [
        (np.zeros(60), "[Ss]ample.weight.*zero"),
        (np.full(60, -1.0), "Negative values"),
        (np.ones(7), "sample_weight.shape"),
    ],
)
def test_bad_weights_are_refused(sample_weight, message, rows):
    with pytest.raises(ValueError, match=message):
        PulseTeacherRegressor(**SMALL).fit(*rows, sample_weight=sample_weight)


@every_estimator
@pytest.mark.parametrize("schedule", [None, "cosine", "plateau"])
def test_a_fit_interrupted_by_ctrl_c_goes_on_to_the_same_result(
    estimator, schedule, rows, tmp_path, armed
):
    model = clone(estimator).set_params(lr_scheduler=schedule)
    whole = clone(model).fit(*rows)
    model.set_params(checkpoint=tmp_path, callbacks=[StopAt(3)])
    with pytest.warns(InterruptedFitWarning):
        model.fit(*rows)
    armed()
    resumed = clone(model).fit(*rows)
    assert_same_weights(resumed, whole)
    assert resumed.best_epoch_ == whole.best_epoch_
    for again, once in zip(resumed.history_, whole.history_, strict=True):
        assert {**again, "dur": 0} == {**once, "dur": 0}


@every_estimator
def test_a_fit_that_was_killed_goes_on_to_the_same_result(estimator, rows, tmp_path):
    code = (
        "import signal, sys, torch; torch.set_num_threads(1)\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from test_training import ESTIMATORS, StopAt, make_rows\n"
        "model = ESTIMATORS[sys.argv[2]].set_params(checkpoint=sys.argv[3])\n"
        "StopAt.armed = True\n"
        "model.set_params(callbacks=[StopAt(3, signal.SIGKILL)]).fit(*make_rows())"
    )
    name = next(key for key, value in ESTIMATORS.items() if value is estimator)
    here = os.path.dirname(__file__)
    done = subprocess.run([sys.executable, "-c", code, here, name, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    stop = [StopAt(3, signal.SIGKILL)]
    model = clone(estimator).set_params(checkpoint=tmp_path, callbacks=stop)
    StopAt.epochs.clear()
    model.fit(*rows)
    assert StopAt.epochs == [3, 4]
    assert_same_weights(model, clone(estimator).fit(*rows))


@every_estimator
def test_a_fit_that_had_ended_comes_back_at_once(estimator, rows, tmp_path):
    model = clone(estimator).set_params(checkpoint=tmp_path, callbacks=[StopAt(9)])
    first = clone(model).fit(*rows)
    StopAt.epochs.clear()
    again = clone(model).fit(*rows)
    assert StopAt.epochs == []
    assert_same_weights(first, again)
    assert first.history_ == again.history_


def halving(optimizer):
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)


def named_alike(gamma):
    def schedule(optimizer):
        return torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=gamma)

    return schedule


#: Each makes another training of the one before.
CHANGES = [
    {"max_epochs": 5},
    {"batch_size": 15},
    {"lr": 1e-2},
    {"weight_decay": 0.5},
    {"patience": 3},
    {"validation_fraction": 0.3},
    {"dropout": 0.4},
    {"filters": (3, 3, 4)},
    {"random_state": 1},
    {"optimizer": "sgd"},
    {"optimizer": functools.partial(torch.optim.SGD, momentum=0.5)},
    {"optimizer": functools.partial(torch.optim.SGD, momentum=0.9)},
    {"lr_scheduler": "cosine"},
    {"lr_scheduler": halving},
    {"lr_scheduler": named_alike(0.3)},
    {"lr_scheduler": named_alike(0.2)},
    {"callbacks": [LRScheduler("StepLR", step_size=1)], "lr_scheduler": None},
    {"callbacks": [LRScheduler("StepLR", step_size=2)]},
    {"callbacks": [("lr_scheduler", LRScheduler("StepLR", step_size=1, gamma=0.3))]},
    {"label_weight": 0.2},
    {"prediction_weight": 0.2},
    {"temperature": 3.0},
    {"teacher__lr": 0.1},
]


def test_other_fits_have_other_checkpoints(rows, tmp_path):
    folder = tmp_path / "new" / "folder"
    teacher = PulseTeacherRegressor(**{**SMALL, "max_epochs": 2}).fit(*rows)
    model = DistilledStudentRegressor(teacher, **{**SMALL, "max_epochs": 2}, checkpoint=folder)
    model.set_params(teacher=clone(teacher)).fit(*rows)
    for n_changes, change in enumerate(CHANGES, 1):
        model.set_params(**change)
        files = set(folder.glob("Distilled*"))
        assert len(files) == n_changes
        kept = clone(model).fit(*rows)
        assert len(set(folder.glob("Distilled*")) - files) == 1, change
        assert_same_weights(kept, clone(model).set_params(checkpoint=None).fit(*rows))


@pytest.mark.parametrize("part", ["X", "y", "sample_weight", "groups"])
def test_other_rows_have_other_checkpoints(part, rows, tmp_path):
    windows, y = rows
    told = {"X": windows, "y": y, "sample_weight": np.ones(60), "groups": np.arange(60) // 10}
    model = DistilledStudentRegressor(**SMALL, checkpoint=tmp_path).fit(**told)
    told[part] = np.roll(told[part], 5, axis=0) if part != "sample_weight" else np.arange(1, 61)
    assert_same_weights(model.fit(**told), clone(model).set_params(checkpoint=None).fit(**told))
    assert len(list(tmp_path.iterdir())) == 2


def test_other_versions_have_other_checkpoints(rows, tmp_path, monkeypatch):
    model = PulseTeacherRegressor(**SMALL, checkpoint=tmp_path).fit(*rows)
    monkeypatch.setattr(_checkpoints, "__version__", "0.3.0")
    model.fit(*rows)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_disk_leaves_the_last_checkpoint_whole(rows, tmp_path, monkeypatch):
    whole = PulseTeacherRegressor(**SMALL).fit(*rows)
    model = clone(whole).set_params(checkpoint=tmp_path)
    save, calls = torch.save, []

    def fails_midway(state, file):
        save(state, file)
        calls.append(file)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fails_midway)
    with pytest.raises(OSError, match="No space left"):
        model.fit(*rows)
    assert len(list(tmp_path.iterdir())) == 1
    assert not hasattr(model, "network_")
    assert_same_weights(model.fit(*rows), whole)


def test_a_teacher_shares_the_folder_of_its_student(rows, tmp_path):
    student = clone(ESTIMATORS["distilled"]).set_params(checkpoint=tmp_path).fit(*rows)
    assert student.teacher_.checkpoint == tmp_path
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == [
        "DistilledStudentRegressor",
        "PulseTeacherRegressor",
    ]


def test_a_checkpoint_that_cannot_be_read_is_an_error_that_names_it(rows, tmp_path):
    model = PulseTeacherRegressor(**SMALL, checkpoint=tmp_path).fit(*rows)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(ValueError, match=rf"checkpoint '.*{file.name}' cannot be read .* delete"):
        model.fit(*rows)


def test_a_checkpoint_needs_a_seed(rows, tmp_path):
    model = PulseTeacherRegressor(**{**SMALL, "random_state": None}, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"checkpoint needs an integer .* got None"):
        model.fit(*rows)


@every_estimator
def test_a_fit_gives_the_same_bits_on_any_number_of_threads(estimator, rows):
    fitted = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            model = clone(estimator).set_params(batch_size=50).fit(*rows)
            fitted.append((model, model.predict(rows[0])))
    finally:
        torch.set_num_threads(1)
    (first, expected), *others = fitted
    for other, predicted in others:
        assert_same_weights(first, other)
        np.testing.assert_array_equal(predicted, expected)


@every_estimator
def test_callbacks_of_skorch_score_the_heart_rate(estimator, rows):
    scorings = [
        EpochScoring("neg_mean_absolute_error", name="mae", lower_is_better=False),
        EpochScoring("r2", name="train_r2", on_train=True),
        EpochScoring("neg_mean_absolute_error", name="cached", on_train=True),
    ]
    model = clone(estimator).set_params(callbacks=scorings).fit(*rows)
    for row in model.history_:
        assert row["mae"] == pytest.approx(-row["valid_loss"], rel=1e-5)
        assert list(row)[:5] == ["epoch", "train_loss", "valid_loss", "lr", "dur"]
        assert {"train_r2", "cached"} <= set(row)


def test_frozen_layers_do_not_learn(rows):
    start = PulseTeacherRegressor(**SMALL).fit(*rows)
    model = clone(start).set_params(callbacks=[Freezer("conv*")], warm_start=True)
    model.network_, model.n_channels_ = start.network_, 2
    model.fit(*rows)
    for name, values in weights(start).items():
        same = np.array_equal(values, weights(model)[name])
        assert same == name.startswith("conv") or np.ptp(values) == 0, name


def test_verbose_shows_a_bar_over_the_epochs(rows, monkeypatch):
    totals, steps = [], []

    class Bar:
        n = 0

        def __init__(self, total, **options):
            totals.append(total)

        def set_postfix(self, losses, refresh):
            assert set(losses) == {"train_loss", "valid_loss"}

        def update(self, n):
            self.n += n
            steps.append(self.n)

        def close(self):
            totals.append("closed")

    monkeypatch.setattr(_net, "tqdm", Bar)
    PulseTeacherRegressor(**{**SMALL, "verbose": 1}).fit(*rows)
    assert (totals, steps) == ([4, "closed"], [1, 2, 3, 4])
    PulseTeacherRegressor(**{**SMALL, "verbose": 0}, callbacks=[ProgressBar()]).fit(*rows)
    assert len(totals) == 2


def test_a_callback_may_fit_another_estimator(rows):
    class Nested(Callback):
        def on_train_end(self, net, **kwargs):
            self.error_ = np.abs(PulseTeacherRegressor(**SMALL).fit(*rows).predict(rows[0])).max()

    nested = Nested()
    PulseTeacherRegressor(**SMALL, callbacks=[nested]).fit(*rows)
    assert np.isfinite(nested.error_)


def test_a_callback_that_stops_at_once_is_an_error_that_says_so(rows):
    class Stop(Callback):
        def on_batch_begin(self, net, **kwargs):
            raise KeyboardInterrupt

    with pytest.raises(ValueError, match="a callback stopped the training in its first epoch"):
        PulseTeacherRegressor(**SMALL, callbacks=[Stop()]).fit(*rows)


@every_estimator
def test_interruptions_may_be_made_errors_and_the_estimator_is_fitted(estimator, rows, armed):
    model = clone(estimator).set_params(callbacks=[StopAt(3)])
    with pytest.raises(InterruptedFitWarning):  # warnings are errors in tests
        model.fit(*rows)
    assert model.best_epoch_ <= 2
    assert model.predict(rows[0]).shape == (60,)


def test_partial_fit_follows_parameters_that_change(rows):
    model = PulseTeacherRegressor(**SMALL, dropout=0.0).partial_fit(*rows)
    before = weights(model)
    model.set_params(lr=1e-12).partial_fit(*rows)
    assert [row["lr"] for row in model.history_] == [SMALL.get("lr", 5e-4), 1e-12]
    for name, values in weights(model).items():
        np.testing.assert_allclose(values, before[name], atol=1e-9)
    model.set_params(optimizer="sgd", lr=1e-3).partial_fit(*rows)
    assert model.optimizer_state_["optimizer"] == "SGD"
    model.set_params(optimizer="adam").partial_fit(*rows)
    assert {int(state["step"]) for state in model.optimizer_state_["moments"].values()} == {4}


def test_each_pass_takes_rows_in_another_order(rows):
    orders = []

    class Watch(Callback):
        def on_train_begin(self, net, **kwargs):
            orders.append([])

        def on_batch_begin(self, net, batch=None, training=False, **kwargs):
            orders[-1].extend(batch[1].tolist())

    model = PulseTeacherRegressor(**SMALL, callbacks=[Watch()])
    model.partial_fit(*rows).partial_fit(*rows)
    assert sorted(orders[0]) == sorted(orders[1])
    assert orders[0] != orders[1]


@every_estimator
def test_partial_fit_that_fails_leaves_everything_as_it_was(estimator, rows, armed):
    armed()
    model = clone(estimator).partial_fit(*rows)
    before = {name: value for name, value in vars(model).items() if name.endswith("_")}
    taught = weights(model.teacher_) if getattr(model, "teacher_", None) else {}
    StopAt.armed = True
    model.set_params(callbacks=[StopAt(1)])
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(*rows)
    assert {name: value for name, value in vars(model).items() if name.endswith("_")} == before
    for name, values in taught.items():
        np.testing.assert_array_equal(values, weights(model.teacher_)[name])


def test_held_out_rows_count_with_their_weights(rows):
    windows, y = rows
    groups = np.arange(60) // 20
    sample_weight = np.random.default_rng(0).uniform(0.1, 5, size=60)
    model = PulseTeacherRegressor(**{**SMALL, "max_epochs": 1}, validation_fraction=0.3)
    model.fit(windows, y, sample_weight=sample_weight, groups=groups)
    errors = np.abs(model.predict(windows) - y)
    expected = [
        np.average(errors[groups == group], weights=sample_weight[groups == group])
        for group in range(3)
    ]
    assert np.isclose(model.history_[0]["valid_loss"], expected, rtol=1e-5).sum() == 1


@pytest.mark.parametrize(
    "groups",
    [
        np.array(["a", None] * 30, dtype=object),
        np.array(["a", 1] * 30, dtype=object),
        np.array([1.0, np.nan] * 30),
    ],
)
def test_missing_or_mixed_subjects_are_refused(groups, rows):
    with pytest.raises(ValueError, match="PulseTeacherRegressor: groups must name the subject"):
        PulseTeacherRegressor(**SMALL).fit(*rows, groups=groups)


def test_memory_says_which_teachers_it_cannot_keep(rows, tmp_path):
    teacher = PulseTeacherRegressor(**SMALL, lr_scheduler=lambda optimizer: halving(optimizer))
    student = DistilledStudentRegressor(teacher, **SMALL, memory=tmp_path)
    with pytest.raises(ValueError, match="memory keeps teachers that can be pickled, got Pulse"):
        student.fit(*rows)


def make_search():
    return GridSearchCV(
        PulseTeacherRegressor(**{**SMALL, "random_state": None}), {"lr": [1e-3]}, cv=2
    )


@pytest.mark.parametrize(
    "teacher",
    [
        make_search(),
        TransformedTargetRegressor(PulseTeacherRegressor(**SMALL)),
        VotingRegressor([("one", PulseTeacherRegressor(**SMALL))]),
        make_pipeline(make_pipeline(PPGWindower()), PulseTeacherRegressor(**SMALL)),
        make_pipeline("passthrough", PulseTeacherRegressor(**SMALL)),
    ],
    ids=lambda teacher: type(teacher).__name__,
)
def test_teachers_inside_other_estimators_are_given_windows(teacher, rows):
    student = DistilledStudentRegressor(teacher, prediction_weight=1.0, **SMALL).fit(*rows)
    fitted = student.teacher_
    for name in ("best_estimator_", "regressor_", "named_estimators_", "steps"):
        fitted = getattr(fitted, name, fitted)
    fitted = fitted["one"] if isinstance(fitted, dict) else fitted
    fitted = fitted[-1][1] if isinstance(fitted, list) else fitted
    assert (fitted.n_channels_, fitted.n_times_) == (2, 64)


@pytest.mark.parametrize("inside", ["alone", "pipeline", "search"])
def test_a_seed_of_the_student_seeds_whatever_teaches_it(inside, rows, tmp_path):
    unseeded = PulseTeacherRegressor(**{**SMALL, "random_state": None})
    teacher = {
        "alone": unseeded,
        "pipeline": make_pipeline(PPGWindower(), unseeded),
        "search": make_search(),
    }[inside]
    student = DistilledStudentRegressor(teacher, prediction_weight=1.0, **SMALL)
    first, second = clone(student).fit(*rows), clone(student).fit(*rows)
    assert_same_weights(first, second)
    kept = clone(student).set_params(checkpoint=tmp_path).fit(*rows)
    assert_same_weights(first, kept)
    assert len(list(tmp_path.glob("Distilled*"))) == 1
    assert len(list(tmp_path.glob("Pulse*"))) >= 1


@every_estimator
def test_the_step_of_other_devices_learns_the_same(estimator, rows, monkeypatch):
    # whole batches, as on a GPU, which a test cannot count on
    model = clone(estimator).set_params(dropout=0.0)
    if getattr(model, "teacher", None) is not None:
        model.set_params(teacher__dropout=0.0)
    in_parts = clone(model).fit(*rows)
    monkeypatch.setattr(_net, "_on_cpu", lambda net: False)
    whole = clone(model).fit(*rows)
    np.testing.assert_allclose(whole.predict(rows[0]), in_parts.predict(rows[0]), rtol=1e-3)
    for one, other in zip(whole.history_, in_parts.history_, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-2)
        assert one["valid_loss"] == pytest.approx(other["valid_loss"], rel=1e-2)


def test_a_frozen_teacher_that_was_never_fitted_is_refused(rows):
    student = DistilledStudentRegressor(FrozenEstimator(PulseTeacherRegressor(**SMALL)), **SMALL)
    with pytest.raises(NotFittedError, match="PulseTeacherRegressor instance is not fitted"):
        student.fit(*rows)
