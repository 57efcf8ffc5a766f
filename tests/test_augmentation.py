"""Altered batches: what changes, what stays, and that a seed decides it."""

from __future__ import annotations

import os
import pickle
import signal
from typing import ClassVar

import numpy as np
import pytest
import skops.io
import torch
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold
from skorch.callbacks import Callback, EpochScoring

from pulsehr import DistilledStudentRegressor, PulseTeacherRegressor, _augmentation
from pulsehr._augmentation import (
    ARTEFACT_TAPS,
    AUGMENTATIONS,
    augmented,
    cadence,
    contact,
    gain,
    noise,
    polarity,
    rotate,
    stretch,
)
from pulsehr.distillation import DistillationLoss
from pulsehr.exceptions import InterruptedFitWarning
from pulsehr.persistence import TRUSTED_TYPES

FULL = dict.fromkeys(AUGMENTATIONS, 1.0)
SMALL = {"max_epochs": 3, "filters": (2, 3, 4), "batch_size": 16, "random_state": 0, "verbose": 0}
ESTIMATORS = [
    PulseTeacherRegressor(**SMALL),
    DistilledStudentRegressor(PulseTeacherRegressor(**SMALL), **SMALL),
]
every_estimator = pytest.mark.parametrize(
    "estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(n_windows=200, n_channels=4, n_times=128):
    """Windows as `PPGWindower` normalises them, and heart rates."""
    windows = torch.randn(n_windows, n_channels, n_times, generator=seeded(1))
    windows -= windows.mean(2, keepdim=True)
    windows[:, 0] /= windows[:, 0].std(1, correction=0, keepdim=True)
    return windows, 40 + 160 * torch.rand(n_windows, generator=seeded(2))


def assert_ppg_is_normalised(windows):
    n = len(windows)
    torch.testing.assert_close(windows[:, 0].mean(1), torch.zeros(n), atol=1e-5, rtol=0)
    torch.testing.assert_close(windows[:, 0].std(1, correction=0), torch.ones(n))


def rows(n_channels=4):
    rng = np.random.default_rng(0)
    y = rng.uniform(50, 150, size=60)
    windows = rng.normal(scale=0.3, size=(60, n_channels, 64))
    windows[:, 0] += np.sin(2 * np.pi * y[:, None] / 60 * np.arange(64) / 8)
    return windows.astype(np.float32), y


def test_stretch_moves_the_pulse_and_the_label_alike():
    # 8 Hz for 2 s; zero crossings tell the frequency, but for some where the past is reflected
    times = torch.arange(256) / 128
    windows = torch.sin(2 * torch.pi * 8 * times).repeat(100, 1, 1)
    altered, heart_rate = stretch(windows, torch.full((100,), 100.0), 0.3, seeded())
    crossings = (altered[:, 0, 1:] * altered[:, 0, :-1] < 0).sum(1)
    factor = heart_rate / 100
    assert torch.all((crossings - 2 * 8 * 2 * factor).abs() <= 3)
    assert factor.min() < 0.8
    assert factor.max() > 1.25
    assert torch.all((factor >= 1 / 1.3 - 1e-6) & (factor <= 1.3 + 1e-6))


def test_stretch_keeps_the_end_and_reflects_the_past(monkeypatch):
    monkeypatch.setattr(_augmentation, "UNSTRETCHED", 0.0)
    monkeypatch.setattr(torch, "rand", lambda *size, generator: torch.ones(size))
    # twice as fast, joined and decimated: samples 4, 2, 0 before the last, then back again
    windows = torch.tensor([[[0.0, 0, 0, 0, 0], [0.0, 1, 2, 3, 4]]])
    altered, heart_rate = stretch(windows, torch.tensor([60.0]), 1.0, seeded())
    torch.testing.assert_close(heart_rate, torch.tensor([120.0]))
    # the channels keep their mean, here 2
    torch.testing.assert_close(altered[0, 1], torch.tensor([4.0, 2, 0, 2, 4]) + 2 - 12 / 5)


def test_samples_between_others_lie_on_the_parabola_through_them():
    # cubic convolution is exact up to the second power, away from the ends
    times = torch.arange(8.0)
    places = torch.tensor([[1.25, 2.0, 3.5, 5.75]])
    found = _augmentation._at((times**2).view(1, 1, -1), places)
    torch.testing.assert_close(found[0], places**2)


def test_stretch_leaves_a_third_of_the_windows_as_they_are():
    windows, heart_rate = batch(1000)
    altered, new = stretch(windows, heart_rate, 0.3, seeded())
    same = (altered == windows).all((1, 2))
    assert torch.equal(same, new == heart_rate)
    assert 0.25 < same.float().mean() < 0.35


def test_stretched_heart_rates_stay_from_30_to_220_bpm():
    windows, _ = batch(400)
    heart_rate = torch.tensor([31.0, 120, 219, 25]).repeat(100)
    _, new = stretch(windows, heart_rate, 1.0, seeded())
    low, middle, high, outside = new.view(100, 4).T
    assert new[new != 25].min() >= 30 - 1e-4
    assert new.max() <= 220 + 1e-4
    assert low.max() > 60
    assert high.min() < 115
    assert middle.std() > 30
    assert torch.all(outside == 25)


def test_rotations_keep_lengths_angles_and_hands():
    windows, heart_rate = batch()
    altered, new = rotate(windows, heart_rate, 1.0, seeded())
    assert torch.equal(new, heart_rate)
    assert torch.equal(altered[:, 0], windows[:, 0])
    acc, turned = windows[:, 1:], altered[:, 1:]
    assert not torch.isclose(acc, turned).all(2).any()
    torch.testing.assert_close(turned.mT @ turned, acc.mT @ acc, rtol=1e-4, atol=1e-4)
    hands = [torch.linalg.det(values[:, :, :3]) for values in (acc, turned)]
    torch.testing.assert_close(*hands, rtol=1e-3, atol=1e-3)


def test_rotations_point_everywhere():
    windows = torch.zeros(4000, 4, 1)
    windows[:, 3] = 1.0
    turned = rotate(windows, torch.zeros(4000), 1.0, seeded())[0][:, 1:, 0]
    # uniform on the sphere: mean 0 and variance 1/3 along each axis (Archimedes)
    torch.testing.assert_close(turned.mean(0), torch.zeros(3), atol=0.03, rtol=0)
    torch.testing.assert_close(turned.square().mean(0), torch.full((3,), 1 / 3), atol=0.02, rtol=0)


@pytest.mark.parametrize("n_channels", [1, 2, 3, 5])
def test_rotation_needs_three_axes(n_channels):
    windows, heart_rate = batch(10, n_channels)
    assert torch.equal(rotate(windows, heart_rate, 1.0, seeded())[0], windows)


def test_gain_scales_the_acceleration_of_a_window_by_one_factor():
    windows, heart_rate = batch(2000)
    altered, _ = gain(windows, heart_rate, 0.5, seeded())
    assert torch.equal(altered[:, 0], windows[:, 0])
    factors = (altered[:, 1:] / windows[:, 1:]).flatten(1)
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors))
    assert abs(float(factors[:, 0].log().mean())) < 0.05
    assert float(factors[:, 0].log().std()) == pytest.approx(0.5, rel=0.05)


def test_polarity_mirrors_the_ppg_about_its_mean():
    windows, heart_rate = batch()
    windows[:, 0] += 3
    altered, _ = polarity(windows, heart_rate, 1.0, seeded())
    mean = windows[:, 0].mean(1, keepdim=True)
    torch.testing.assert_close(altered[:, 0] - mean, mean - windows[:, 0])
    assert torch.equal(altered[:, 1:], windows[:, 1:])


def test_noise_is_white_and_of_the_ppg_alone():
    windows = torch.zeros(500, 2, 400)
    windows[:, 0] = torch.sin(2 * torch.pi * torch.arange(400) / 40) * 2**0.5
    altered, _ = noise(windows, torch.zeros(500), 1.0, seeded())
    assert torch.equal(altered[:, 1:], windows[:, 1:])
    # sinusoid and noise share the power: 1 / (1 + level²), level uniform from 0 to 1
    share = (altered[:, 0] * windows[:, 0]).mean(1).square()
    assert float(share.mean()) == pytest.approx(np.pi / 4, rel=0.02)


def test_contact_is_lost_for_one_part_of_the_window():
    windows, heart_rate = batch()
    altered, _ = contact(windows, heart_rate, 1.0, seeded())
    flat = altered[:, 0, 1:] == altered[:, 0, :-1]
    # k samples in a row are k - 1 pairs
    lengths = flat.sum(1) + 1
    assert torch.all((lengths >= 128 / 16 - 1) & (lengths <= 128 / 3 + 1))
    assert torch.all((flat[:, 1:] & ~flat[:, :-1]).sum(1) + flat[:, 0] == 1)
    assert torch.equal(altered[:, 1:], windows[:, 1:])


def test_cadence_adds_the_motion_of_another_window_and_its_artefact():
    windows, heart_rate = batch(50)
    windows[:, 1:] += 1.0  # gravity is not added
    altered, _ = cadence(windows, heart_rate, 1.0, seeded())
    motion = (windows[:, 1:] - 1).roll(1, 0)
    torch.testing.assert_close(altered[:, 1:], windows[:, 1:] + motion, atol=1e-5, rtol=1e-5)
    # the PPG is its former self and a filter of the motion: nothing else is left
    delayed = torch.nn.functional.pad(motion, (ARTEFACT_TAPS - 1, 0), mode="replicate")
    delayed = delayed.unfold(2, 128, 1).flatten(1, 2)
    causes = torch.cat([windows[:, :1], delayed, torch.ones(50, 1, 128)], 1).mT.double()
    solved = torch.linalg.lstsq(causes, altered[:, 0, :, None].double()).solution
    torch.testing.assert_close((causes @ solved)[:, :, 0].float(), altered[:, 0])
    shares = solved[:, 0, 0]
    assert 0.4 < shares.min() < 0.7
    assert 0.9 < shares.max() < 1.05


def test_the_artefact_of_a_motion_is_as_strong_as_the_motion():
    windows, heart_rate = batch(100)
    windows[1::2, 1:] *= 1e-3  # at rest: windows 0, 2, ... hardly change
    altered, _ = cadence(windows, heart_rate, 1.0, seeded())
    change = (altered[:, 0] - windows[:, 0]).square().mean(1).sqrt()
    assert change[::2].max() < 0.01
    assert change[1::2].mean() > 0.3


@pytest.mark.parametrize("name", ["cadence", "rotate", "contact", "polarity"])
def test_shares_of_windows_are_altered(name):
    windows, heart_rate = batch(1000)
    alter, _ = AUGMENTATIONS[name]
    altered, new = alter(windows, heart_rate, 0.2, seeded())
    assert torch.equal(new, heart_rate)
    changed = ~torch.isclose(altered, windows, atol=1e-5).all(2).all(1)
    assert 0.15 < changed.float().mean() < 0.25


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_ppg_stays_normalised_and_nothing_is_changed_in_place(name):
    windows, heart_rate = batch()
    before = windows.clone()
    altered, _ = AUGMENTATIONS[name][0](windows, heart_rate, 1.0, seeded())
    assert torch.equal(windows, before)
    assert_ppg_is_normalised(altered)
    assert altered.dtype == torch.float32
    assert altered.shape == windows.shape


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("shape", [(1, 4, 128), (3, 1, 128), (3, 4, 1), (3, 2, 5)])
def test_flat_windows_of_any_shape_stay_finite(name, shape):
    heart_rate = torch.full(shape[:1], 80.0)
    altered, _ = AUGMENTATIONS[name][0](torch.zeros(shape), heart_rate, 1.0, seeded())
    assert altered.shape == shape
    assert torch.all(altered == 0)


def test_lessons_follow_the_heart_rate_or_do_not_count():
    windows, y = batch()
    n = len(y)
    targets = (y, torch.ones(n), y + 2, torch.ones(n, 32), torch.ones(n))
    _, (new, weights, bpm, features, counts) = augmented(windows, targets, FULL, seeded())
    torch.testing.assert_close(bpm / new, (y + 2) / y)
    assert torch.equal(counts == 1, new == y)
    assert set(counts.tolist()) == {0.0, 1.0}
    assert torch.equal(weights, targets[1])
    assert torch.equal(features, targets[3])


def test_a_strength_of_zero_is_none():
    windows, y = batch(20)
    altered, (new, _) = augmented(windows, (y, y), dict.fromkeys(FULL, 0.0), seeded())
    assert altered is windows
    assert new is y


def test_the_order_of_the_dict_does_not_matter():
    windows, y = batch(20)
    backwards = dict(reversed(FULL.items()))
    one, other = (augmented(windows, (y, y), each, seeded())[0] for each in (FULL, backwards))
    assert torch.equal(one, other)


@every_estimator
def test_the_seed_decides_and_the_number_of_threads_does_not(estimator):
    X, y = rows()
    model = clone(estimator).set_params(augmentation=FULL, batch_size=50)
    predicted = []
    try:
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            predicted.append(clone(model).fit(X, y).predict(X))
    finally:
        torch.set_num_threads(1)
    np.testing.assert_array_equal(predicted[0], predicted[1])
    np.testing.assert_array_equal(predicted[0], predicted[2])
    other = clone(model).set_params(random_state=1).fit(X, y).predict(X)
    assert np.abs(other - predicted[0]).max() > 0


@every_estimator
def test_held_out_windows_stay_as_they_are(estimator, monkeypatch):
    seen = []

    def noted(windows, *others):
        seen.append(len(windows))
        return augmented(windows, *others)

    monkeypatch.setattr("pulsehr._net.augmented", noted)
    X, y = rows()
    augmentation = {"noise": 0.1}
    model = clone(estimator).set_params(augmentation=augmentation, validation_fraction=0.25)
    model.set_params(max_epochs=2).fit(X, y, groups=np.arange(60) % 4)
    model.predict(X)
    assert sum(seen) == 2 * 45


@every_estimator
def test_training_windows_are_altered_anew_in_every_epoch(estimator, monkeypatch):
    seen = []

    def noted(*told):
        seen.append(augmented(*told))
        return seen[-1]

    monkeypatch.setattr("pulsehr._net.augmented", noted)
    X, y = rows()
    model = clone(estimator).set_params(augmentation={"gain": 1.0}, batch_size=60, max_epochs=2)
    model.fit(X, y)
    (first, targets), (second, others) = seen
    one, other = (values[0].argsort() for values in (targets, others))
    assert torch.equal(first[one][:, 0], second[other][:, 0])
    assert not torch.equal(first[one][:, 1], second[other][:, 1])


@every_estimator
def test_partial_fit_alters_too(estimator):
    X, y = rows()
    plain, altered = (
        clone(estimator).set_params(augmentation=each).partial_fit(X, y).predict(X)
        for each in (None, {"stretch": 1.0})
    )
    assert np.abs(plain - altered).max() > 0


@every_estimator
def test_augmentations_are_searched_like_any_parameter(estimator):
    X, y = rows()
    choices = [None, {"rotate": 1.0}, {"stretch": 0.3, "noise": 0.1}]
    search = GridSearchCV(estimator, {"augmentation": choices}, cv=KFold(2)).fit(X, y)
    assert search.best_params_["augmentation"] in choices
    scores = search.cv_results_["mean_test_score"]
    assert len(set(scores)) == 3


@every_estimator
@pytest.mark.parametrize(
    "augmentation",
    [{"strech": 0.3}, {"stretch": 1.1}, {"noise": -1}, {"rotate": True}, {"gain": "much"}, "all"],
)
def test_unknown_names_and_strengths_are_refused(estimator, augmentation):
    X, y = rows()
    model = clone(estimator).set_params(augmentation=augmentation)
    expected = (
        rf"{type(model).__name__}: augmentation must be None or a dict of 'stretch' \(a number "
        r"from 0 to 1\), .*'gain' \(a number >= 0\).*'polarity' .*, got "
    )
    with pytest.raises(ValueError, match=expected):
        model.fit(X, y)


def test_fine_tuning_for_integers_sees_windows_as_they_are(monkeypatch):
    seen = []
    monkeypatch.setattr("pulsehr._net.augmented", lambda *told: seen.append(told) or told[:2])
    student = DistilledStudentRegressor(**SMALL, augmentation={"stretch": 0.3})
    X, y = rows()
    student.set_params(batch_size=60, quantization_epochs=2).fit(X, y)
    assert len(student.quantization_history_) == 2
    assert len(seen) == student.max_epochs


class HalfThePower(RegressorMixin, BaseEstimator):
    """A teacher that notes what it is asked and gives a figure of the windows."""

    asked: ClassVar[list] = []

    def fit(self, X, y):
        self.fitted_ = True
        return self

    def predict(self, X):
        self.asked.append(X.copy())
        return 60 + 30 * X[:, 0].std(1) + 10 * X[:, 1].std(1)

    def transform(self, X):
        return np.repeat(self.predict(X)[:, None], 32, 1)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(("lessons", "times"), [("once", 1), ("anew", 3)])
def test_a_teacher_is_asked_about_altered_windows_if_lessons_come_anew(method, lessons, times):
    HalfThePower.asked.clear()
    X, y = rows()
    student = DistilledStudentRegressor(
        FrozenEstimator(HalfThePower().fit(X, y)),
        **{**SMALL, "batch_size": 30, "max_epochs": 1},
        validation_fraction=0,
        relation="none",
        augmentation={"gain": 1.0},
        lessons=lessons,
    )
    getattr(student, method)(X, y)
    first, *others = HalfThePower.asked
    assert 1 + len(others) == times
    np.testing.assert_array_equal(first, X)
    for altered in others:
        assert altered.shape == (30, 4, 64)
        assert set(map(tuple, altered[:, 0])) < set(map(tuple, X[:, 0]))
        assert not set(map(tuple, altered[:, 1])) & set(map(tuple, X[:, 1]))


def test_lessons_given_anew_are_those_of_the_altered_windows(monkeypatch):
    seen = []

    class Noted(DistillationLoss):
        def forward(self, output, targets):
            seen.append(targets)
            return super().forward(output, targets)

    monkeypatch.setattr("pulsehr._teaching.DistillationLoss", Noted)
    HalfThePower.asked.clear()
    X, y = rows()
    student = DistilledStudentRegressor(
        FrozenEstimator(HalfThePower().fit(X, y)),
        **{**SMALL, "batch_size": 60, "max_epochs": 1},
        validation_fraction=0,
        relation="distance",
        augmentation={"stretch": 1.0, "gain": 1.0},
        lessons="anew",
    ).fit(X, y)
    altered = HalfThePower.asked[-1]
    ((_, _, bpm, features, counts),) = seen
    expected = torch.from_numpy(student.teacher_.predict(altered)).float()
    torch.testing.assert_close(bpm, expected)
    torch.testing.assert_close(features, expected[:, None].expand(-1, 32))
    assert torch.all(counts == 1)


def test_lessons_anew_give_the_same_bits_on_any_number_of_threads():
    X, y = (np.concatenate([each, each]) for each in rows())
    model = clone(ESTIMATORS[1]).set_params(augmentation=FULL, lessons="anew", batch_size=100)
    predicted = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            predicted.append(clone(model).fit(X, y).predict(X))
    finally:
        torch.set_num_threads(1)
    np.testing.assert_array_equal(*predicted)


class PressCtrlC(Callback):
    """Once armed, press Ctrl-C in the third epoch."""

    armed = False

    def on_batch_begin(self, net, **kwargs):
        if PressCtrlC.armed and net.history[-1, "epoch"] == 3:
            os.kill(os.getpid(), signal.SIGINT)


@every_estimator
def test_an_interrupted_fit_goes_on_with_the_same_alterations(estimator, monkeypatch, tmp_path):
    X, y = rows()
    model = clone(estimator).set_params(
        augmentation=FULL, max_epochs=4, callbacks=[PressCtrlC()], checkpoint=tmp_path / "whole"
    )
    expected = clone(model).fit(X, y).predict(X)
    model.set_params(checkpoint=tmp_path / "interrupted")
    monkeypatch.setattr(PressCtrlC, "armed", True)
    with pytest.warns(InterruptedFitWarning, match="interrupted in epoch 3"):
        clone(model).fit(X, y)
    monkeypatch.setattr(PressCtrlC, "armed", False)
    resumed = clone(model).fit(X, y)
    assert len(resumed.history_) == 4
    np.testing.assert_array_equal(resumed.predict(X), expected)


@every_estimator
def test_a_stored_estimator_knows_how_it_was_augmented(estimator):
    X, y = rows()
    fitted = clone(estimator).set_params(augmentation={"stretch": 0.3}).fit(X, y)
    for read in (
        pickle.loads(pickle.dumps(fitted)),
        skops.io.loads(skops.io.dumps(fitted), trusted=TRUSTED_TYPES),
    ):
        assert read.augmentation == {"stretch": 0.3}
        np.testing.assert_array_equal(read.predict(X), fitted.predict(X))


@every_estimator
def test_scores_of_callbacks_are_of_the_altered_labels(estimator):
    X, y = rows()
    score = EpochScoring("neg_mean_absolute_error", name="mae", on_train=True)
    model = clone(estimator).set_params(
        augmentation={"stretch": 1.0}, callbacks=[score], validation_fraction=0
    )
    if isinstance(model, DistilledStudentRegressor):
        model.set_params(teacher=None)
    for row in model.fit(X, y).history_:
        assert -row["mae"] == pytest.approx(row["train_loss"], rel=1e-5)
