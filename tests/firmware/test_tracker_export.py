"""A `HeartRateTracker` as C: what it exports, and what it says of the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from pulsehr import DistilledStudentRegressor, HeartRateTracker, PPGWindower, to_microcontroller
from pulsehr.datasets import make_recordings


@pytest.fixture(scope="module")
def data():
    return make_recordings(n_subjects=2, duration=90, random_state=0)


def lively(data, **parameters):
    student = DistilledStudentRegressor(
        max_epochs=2, filters=(2, 3, 4), batch_size=16, random_state=0, verbose=0, **parameters
    )
    pipe = make_pipeline(PPGWindower(), student).fit(data.X, data.y)
    # so little training gives nearly a constant: let it jump about
    with torch.no_grad():
        student.network_.out.weight[0] *= 15 / pipe.predict(data.X).std()
    return pipe


@pytest.fixture(scope="module")
def pipe(data):
    return lively(data)


@pytest.fixture(scope="module")
def pipe_with_std(data):
    return lively(data, loss="laplace")


class AsEstimator(RegressorMixin, BaseEstimator):
    """The integers of a model, to be tracked in floating point."""

    def __init__(self, model):
        self.model = model

    def fit(self, X, y=None):
        return self

    def predict(self, X):
        return self.model.predict(X)


class WithStd(AsEstimator):
    def predict(self, X, return_std=False):
        return self.model.predict(X, return_std=return_std)


def tracker_of(pipe, data, **parameters):
    return HeartRateTracker(FrozenEstimator(pipe), **parameters).fit(data.X, data.y)


def spread_readings(data):
    """Half a second to twelve apart, some of them twice."""
    rng = np.random.default_rng(0)
    readings = [reading for one in data.recordings for reading in one.readings(stride=0.5)]
    kept = [r for r in readings if rng.random() < 0.3 and not 40 < r.instant < 52]
    return [kept[k] for k in [*rng.permutation(len(kept)), 3, 3]]


@pytest.mark.parametrize("method", ["clip", "kalman"])
def test_c_integers_and_tracker_agree(method, pipe, data, compiler):
    tracker = tracker_of(pipe, data, method=method)
    model = to_microcontroller(tracker, ppg_rate=64)
    readings = spread_readings(data)
    got = model.predict(readings)
    np.testing.assert_array_equal(model.run_c(readings), got)
    # the tracker on heart rates of the integers: the same but for the rounding of its arithmetic
    free = to_microcontroller(pipe, ppg_rate=64)
    again = HeartRateTracker(AsEstimator(free), method=method, drift=tracker.drift_).fit(readings)
    np.testing.assert_allclose(got, again.predict(readings), atol=0.05)
    assert np.abs(got - free.predict(readings)).max() > 0.5


@pytest.mark.parametrize("method", ["clip", "kalman"])
def test_c_integers_and_tracker_agree_with_stds(method, pipe_with_std, data, compiler):
    tracker = tracker_of(pipe_with_std, data, method=method)
    model = to_microcontroller(tracker, ppg_rate=64)
    assert model.front_end.kalman is None or model.front_end.kalman.by_std
    readings = spread_readings(data)
    got, std = model.predict(readings, return_std=True)
    for c, integers in zip(model.run_c(readings, return_std=True), (got, std), strict=True):
        np.testing.assert_array_equal(c, integers)
    free = to_microcontroller(pipe_with_std, ppg_rate=64)
    # those of each window by itself
    np.testing.assert_array_equal(std, free.predict(readings, return_std=True)[1])
    again = HeartRateTracker(WithStd(free), method=method, drift=tracker.drift_).fit(readings)
    np.testing.assert_allclose(got, again.predict(readings), atol=0.05)
    if method == "kalman":
        fixed = to_microcontroller(
            tracker_of(pipe_with_std, data, method=method, noise=5.0), ppg_rate=64
        )
        assert not fixed.front_end.kalman.by_std
        assert np.abs(fixed.predict(readings) - got).max() > 0.1


def test_a_tracker_that_clips_without_gaps_writes_the_c_of_clip(pipe, data):
    tracker = tracker_of(pipe, data, method="clip", max_gap=np.inf)
    assert to_microcontroller(tracker).files == to_microcontroller(pipe, clip=True).files


def test_a_fitted_tracker_exports_what_it_fitted(pipe, data):
    tracker = HeartRateTracker(pipe, method="kalman", noise=3.0, max_gap=20.0).fit(data.X, data.y)
    front = to_microcontroller(tracker, stride=1.0).front_end
    assert front.kalman.noise == 9 * 65536
    assert front.kalman.drift == round(tracker.drift_ / 32 * 2**24)
    assert (front.max_gap, front.stride, front.clip) == (640, 32, False)


def test_the_folder_says_that_heart_rates_are_filtered(pipe, data):
    header = to_microcontroller(tracker_of(pipe, data, method="kalman")).files["pulsehr.h"]
    assert "filtered over time, anew after 10 s without one" in header
    assert "filtered" not in to_microcontroller(pipe).files["pulsehr.h"]


@pytest.mark.parametrize(
    ("parameters", "got"),
    [
        ({"method": "belief"}, "method='belief' and lookahead=0"),
        ({"method": "kalman", "lookahead": 4.0}, "method='kalman' and lookahead=4"),
    ],
)
def test_what_has_no_counterpart_in_c_is_refused(parameters, got, pipe, data):
    with pytest.raises(ValueError, match=rf"must have method='clip' or 'kalman' and .*got {got}"):
        to_microcontroller(tracker_of(pipe, data, **parameters))


def test_clip_and_a_tracker_contradict(pipe, data):
    with pytest.raises(ValueError, match=r"clip must be False with a HeartRateTracker"):
        to_microcontroller(tracker_of(pipe, data, method="kalman"), clip=True)


def test_an_unfitted_tracker_is_refused(pipe):
    with pytest.raises(NotFittedError, match="HeartRateTracker"):
        to_microcontroller(HeartRateTracker(pipe))
