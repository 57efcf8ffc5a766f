"""The standard deviation of a heart rate: loss, calibration, persistence."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from pulsehr import (
    DistilledStudentRegressor,
    PulseTeacherRegressor,
    QuantizedStudentRegressor,
    to_microcontroller,
)
from pulsehr._splitting import hold_out
from pulsehr._uncertainty import std_scale
from pulsehr._validation import TrainingRows
from pulsehr.distillation import DistillationLoss, LabelLoss
from pulsehr.firmware.lowering import lower
from pulsehr.networks import LOG_SCALE_BOUNDS
from pulsehr.persistence import TRUSTED_TYPES

SMALL = {
    "max_epochs": 3,
    "filters": (2, 3, 4),
    "batch_size": 16,
    "random_state": 0,
    "verbose": 0,
    "loss": "laplace",
}
ESTIMATORS = {
    "teacher": PulseTeacherRegressor(**SMALL),
    "wide teacher": PulseTeacherRegressor(**SMALL, network="interacting"),
    "student": DistilledStudentRegressor(**SMALL),
    "interacting": DistilledStudentRegressor(**SMALL, network="interacting"),
    "distilled": DistilledStudentRegressor(
        PulseTeacherRegressor(**SMALL, network="interacting"), **SMALL, network="interacting"
    ),
}
every_estimator = pytest.mark.parametrize(
    "estimator", list(ESTIMATORS.values()), ids=list(ESTIMATORS)
)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    y = rng.uniform(50, 150, size=90)
    windows = rng.normal(scale=0.3, size=(90, 4, 64))
    windows[:, 0] += np.sin(2 * np.pi * y[:, None] / 60 * np.arange(64) / 8)
    return windows.astype(np.float32), y, np.repeat(list("abcdef"), 15)


def test_the_loss_is_the_likelihood_of_a_laplace_distribution():
    output = (torch.tensor([70.0]), torch.zeros(1, 32), torch.log(torch.tensor([4.0])))
    y, one = torch.tensor([76.0]), torch.ones(1)
    density = torch.distributions.Laplace(70.0, 4.0)
    expected = -density.log_prob(y) - np.log(2)
    torch.testing.assert_close(LabelLoss("laplace")(output, (y, one)), expected[0])
    # judged by the heart rate alone
    assert LabelLoss("laplace").eval()(output, (y, one)) == 6


def test_the_scale_learns_from_labels_and_not_from_the_teacher():
    log_scale = torch.tensor([1.0], requires_grad=True)
    output = (torch.tensor([70.0]), torch.zeros(1, 32), log_scale)
    heart_rates, ones = (torch.tensor([76.0]), torch.tensor([75.0])), torch.ones(1)
    targets = (heart_rates[0], ones, heart_rates[1], torch.zeros(1, 32), ones)
    found = []
    for weight in (0.0, 0.5, 1.0):
        loss = DistillationLoss(weight, 1.0, "softmax", 1.0, "laplace")(output, targets)
        found.append(float(torch.autograd.grad(loss, log_scale, allow_unused=True)[0] or 0))
    # the derivative of |e| / b + log b by log b is 1 - |e| / b
    alone = 1 - 6 / np.e
    np.testing.assert_allclose(found, [0, alone / 2, alone], rtol=1e-6)


@every_estimator
def test_predict_gives_a_positive_std_beside_the_same_heart_rate(estimator, rows):
    windows, y, groups = rows
    fitted = clone(estimator).fit(windows, y, groups=groups)
    bpm, std = fitted.predict(windows, return_std=True)
    assert std.dtype == np.float64
    assert std.shape == (90,)
    assert std.min() > 0
    np.testing.assert_array_equal(bpm, fitted.predict(windows))
    assert fitted.transform(windows).shape == (90, 32)


@every_estimator
def test_one_window_gives_what_it_gives_among_others(estimator, rows):
    windows, y, _ = rows
    fitted = clone(estimator).fit(windows, y)
    together = fitted.predict(windows, return_std=True)
    alone = [fitted.predict(windows[k : k + 1], return_std=True) for k in range(8)]
    for found, expected in zip(zip(*alone, strict=True), together, strict=True):
        np.testing.assert_allclose(np.concatenate(found), expected[:8], rtol=1e-12)


@every_estimator
def test_a_stored_estimator_gives_the_same_std(estimator, rows):
    windows, y, _ = rows
    fitted = clone(estimator).fit(windows, y)
    restored = pickle.loads(pickle.dumps(fitted))
    assert restored.std_scale_ == fitted.std_scale_
    for found, expected in zip(
        restored.predict(windows, return_std=True),
        fitted.predict(windows, return_std=True),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


def test_what_was_fitted_is_stored_though_parameters_changed(rows):
    windows, y, _ = rows
    fitted = clone(ESTIMATORS["interacting"]).fit(windows, y)
    fitted.set_params(network="paper", loss="l1")
    restored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(restored.predict(windows), fitted.predict(windows))


def test_the_factor_makes_the_scales_fit_the_held_out_subjects(rows):
    windows, y, groups = rows
    fitted = clone(ESTIMATORS["interacting"]).set_params(validation_fraction=0.3)
    fitted.fit(windows, y, groups=groups)
    _, watched = hold_out(90, groups, 0.3, np.random.RandomState(0))
    assert len(set(groups[watched])) == 2
    bpm, std = fitted.predict(windows[watched], return_std=True)
    # of a Laplace distribution the mean absolute error is the std over the root of 2
    relative = np.abs(bpm - y[watched]) / (std / np.sqrt(2))
    assert relative.mean() == pytest.approx(1, rel=1e-9)


def test_the_factor_counts_rows_with_their_weights():
    class Constant(torch.nn.Module):
        """Says 70 bpm and a scale of 1 of every window."""

        stack = ()

        def __init__(self):
            super().__init__()
            self.out = torch.nn.Linear(1, 2)

        def convolve(self, windows):
            return windows

        def head(self, maps):
            n = torch.zeros(len(maps), dtype=maps.dtype)
            return n + 70, n[:, None], n

    rows = TrainingRows(
        np.zeros((3, 1, 4), dtype=np.float32), np.array([72.0, 76, 99]), np.array([3.0, 1, 1]), None
    )
    assert std_scale(Constant(), rows, np.array([0, 1])) == (3 * 2 + 6) / 4


def test_without_held_out_rows_those_that_train_are_taken(rows):
    windows, y, _ = rows
    fitted = clone(ESTIMATORS["student"]).set_params(validation_fraction=0).fit(windows, y)
    bpm, std = fitted.predict(windows, return_std=True)
    assert (np.abs(bpm - y) / (std / np.sqrt(2))).mean() == pytest.approx(1, rel=1e-9)


@every_estimator
def test_training_goes_on_from_what_was_learnt(estimator, rows):
    windows, y, _ = rows
    further = clone(estimator).partial_fit(windows, y).partial_fit(windows, y)
    assert len(further.history_) == 2
    factor = clone(estimator).fit(windows, y).std_scale_
    assert clone(estimator).fit(windows, y).partial_fit(windows[:4], y[:4]).std_scale_ == factor
    assert further.predict(windows, return_std=True)[1].min() > 0
    warm = clone(estimator).set_params(warm_start=True).fit(windows, y)
    learnt = warm.predict(windows)
    warm.set_params(lr=1e-12).fit(windows, y)
    np.testing.assert_allclose(warm.predict(windows), learnt, rtol=0, atol=1e-3)


@pytest.mark.parametrize("change", [{"network": "paper"}, {"loss": "l1"}])
def test_going_on_in_another_form_is_refused(change, rows):
    windows, y, _ = rows
    fitted = clone(ESTIMATORS["interacting"]).set_params(warm_start=True).fit(windows, y)
    with pytest.raises(ValueError, match="needs windows, filters, network and loss of the last"):
        fitted.set_params(**change).fit(windows, y)


@pytest.mark.parametrize("estimator", [PulseTeacherRegressor, DistilledStudentRegressor])
def test_a_network_without_scales_says_how_to_get_them(estimator, rows):
    windows, y, _ = rows
    settings = {**SMALL, "loss": "l1"}
    fitted = estimator(**settings).fit(windows, y)
    assert fitted.std_scale_ is None
    with pytest.raises(ValueError, match=r"return_std=True needs .*fit it with loss='laplace'"):
        fitted.predict(windows, return_std=True)
    with pytest.raises(NotFittedError):
        estimator(**settings).predict(windows, return_std=True)


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("name", ["wide teacher", "student", "integers"])
def test_a_pipeline_passes_the_question_on(name, routing, rows):
    windows, y, _ = rows
    integers = QuantizedStudentRegressor(ESTIMATORS["student"])
    estimator = integers if name == "integers" else ESTIMATORS[name]
    with sklearn.config_context(enable_metadata_routing=routing):
        pipe = make_pipeline(FunctionTransformer(), clone(estimator)).fit(windows, y)
        bpm, std = pipe.predict(windows, return_std=True)
        np.testing.assert_array_equal(pipe.predict(windows), bpm)
    assert bpm.shape == std.shape


def test_integers_give_the_std_of_the_firmware(rows):
    windows, y, _ = rows
    student = clone(ESTIMATORS["interacting"]).fit(windows, y)
    integers = QuantizedStudentRegressor(FrozenEstimator(student)).fit(windows)
    bpm, std = integers.predict(windows, return_std=True)
    model = to_microcontroller(integers)
    for found, expected in zip((bpm, std), model.predict(windows, return_std=True), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(std, student.predict(windows, return_std=True)[1], rtol=0.05)
    assert (std * 256 % 1 == 0).all()


def test_integers_of_a_student_without_scales_have_none(rows):
    windows, y, _ = rows
    student = DistilledStudentRegressor(**{**SMALL, "loss": "l1"})
    integers = QuantizedStudentRegressor(student).fit(windows, y)
    with pytest.raises(ValueError, match=r"QuantizedStudentRegressor: return_std=True needs"):
        integers.predict(windows, return_std=True)


def test_a_skops_file_holds_the_std(rows):
    skops_io = pytest.importorskip("skops.io", reason='pip install "pulsehr[skops]"')
    windows, y, _ = rows
    fitted = clone(ESTIMATORS["interacting"]).fit(windows, y)
    restored = skops_io.loads(skops_io.dumps(fitted), trusted=TRUSTED_TYPES)
    np.testing.assert_array_equal(
        restored.predict(windows, return_std=True), fitted.predict(windows, return_std=True)
    )


@pytest.mark.parametrize("name", ["student", "interacting"])
def test_the_graph_gives_the_same_std(name, rows):
    windows, y, _ = rows
    fitted = clone(ESTIMATORS[name]).fit(windows, y)
    # half of the scales beyond their upper bound
    with torch.no_grad():
        log_scale = fitted.network_(torch.from_numpy(windows))[2]
        fitted.network_.out.bias[1] += LOG_SCALE_BOUNDS[1] - log_scale.median()
    graph = lower(fitted.network_, (4, 64), fitted.std_scale_)
    found, expected = graph.run_with_std(windows), fitted.predict(windows, return_std=True)
    assert 40 <= np.isclose(expected[1], expected[1].max(), rtol=1e-9).sum() <= 50
    np.testing.assert_allclose(found[0], expected[0], atol=1e-4)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-4)


def test_a_label_far_outside_takes_a_bounded_step():
    seen = []

    def optimizer(parameters, lr, weight_decay):
        made = torch.optim.SGD(parameters, lr)
        made.register_step_post_hook(
            lambda opt, *_: seen.append(
                float(sum(p.grad.square().sum() for g in opt.param_groups for p in g["params"]))
            )
        )
        return made

    windows = np.random.default_rng(0).normal(size=(40, 1, 64)).astype(np.float32)
    y = np.full(40, 70.0)
    y[::10] = 1e6
    settings = {**SMALL, "lr": 1e-6, "optimizer": optimizer}
    DistilledStudentRegressor(**settings).fit(windows, y)
    assert max(seen) == pytest.approx(20.0**2, rel=1e-3)
