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
from sklearn.linear_model import Ridge
from skorch.callbacks import Callback

from pulsehr import DistilledStudentRegressor, PulseTeacherRegressor
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
    """Press Ctrl-C, or kill the process, at the start of an epoch."""

    def __init__(self, epoch, number=signal.SIGINT):
        self.epoch, self.number = epoch, number

    def on_batch_begin(self, net, **kwargs):
        if net.history[-1, "epoch"] == self.epoch:
            os.kill(os.getpid(), self.number)


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
    steps = {int(state["step"]) for state in model.optimizer_state_["state"].values()}
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
    estimator, schedule, rows, tmp_path
):
    model = clone(estimator).set_params(lr_scheduler=schedule)
    whole = clone(model).fit(*rows)
    model.set_params(checkpoint=tmp_path, callbacks=[StopAt(3)])
    with pytest.warns(InterruptedFitWarning):
        model.fit(*rows)
    resumed = clone(model).set_params(callbacks=None).fit(*rows)
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
        "model.set_params(callbacks=[StopAt(3, signal.SIGKILL)]).fit(*make_rows())"
    )
    name = next(key for key, value in ESTIMATORS.items() if value is estimator)
    here = os.path.dirname(__file__)
    done = subprocess.run([sys.executable, "-c", code, here, name, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    seen = []

    class Watch(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append(net.history[-1, "epoch"])

    model = clone(estimator).set_params(checkpoint=tmp_path, callbacks=[Watch()])
    assert_same_weights(model.fit(*rows), clone(estimator).fit(*rows))
    assert seen == [3, 4]


@every_estimator
def test_a_fit_that_had_ended_comes_back_at_once(estimator, rows, tmp_path):
    model = clone(estimator).set_params(checkpoint=tmp_path)
    first = clone(model).fit(*rows)
    never = [StopAt(epoch) for epoch in range(1, 9)]
    again = clone(model).set_params(callbacks=never).fit(*rows)
    assert_same_weights(first, again)
    assert first.history_ == again.history_


def test_other_fits_have_other_checkpoints(rows, tmp_path):
    windows, y = rows
    model = DistilledStudentRegressor(**SMALL, checkpoint=tmp_path / "new" / "folder")
    model.fit(windows, y)
    for change, X in (({"lr": 0.1}, windows), ({}, windows[:50]), ({"random_state": 1}, windows)):
        other = clone(model).set_params(**change).fit(X, y[: len(X)])
        plain = clone(model).set_params(**change, checkpoint=None).fit(X, y[: len(X)])
        assert_same_weights(other, plain)
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 4


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
