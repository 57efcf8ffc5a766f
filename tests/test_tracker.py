"""`HeartRateTracker` inside scikit-learn: rows, recordings, time, and what it passes on."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    cross_val_predict,
    cross_validate,
    train_test_split,
)
from sklearn.pipeline import make_pipeline

from pulsehr import (
    DistilledStudentRegressor,
    HeartRateTracker,
    PPGWindower,
    QuantizedStudentRegressor,
    Reading,
    Recording,
)
from pulsehr._drift import DRIFT, LEAST_DRIFT, learnt_drift
from pulsehr.baselines import SpectralPeakRegressor
from pulsehr.datasets import make_recordings
from pulsehr.persistence import TRUSTED_TYPES
from pulsehr.tracking import METHODS, NOISE, causal_clip, causal_clip_readings

RNG = np.random.default_rng(0)


class Listed(RegressorMixin, BaseEstimator):
    """Predict what a list says of each instant, and count the rows it was asked for."""

    def __init__(self, values=(), std=None):
        self.values = values
        self.std = std

    def fit(self, X, y=None, groups=None):
        self.fitted_ = True
        self.groups_ = groups
        return self

    def predict(self, X):
        return np.array([self.values[round(reading.instant)] for reading in X], dtype=float)


class WithStd(Listed):
    """The same with a std, as Gaussian processes and our networks have it."""

    def predict(self, X, return_std=False):
        bpm = super().predict(X)
        return (bpm, np.array([self.std[round(r.instant)] for r in X])) if return_std else bpm


def recording(seconds=200, subject="a"):
    return Recording(ppg=RNG.normal(size=seconds * 16), ppg_rate=16, subject=subject)


def jumpy(n=201, seed=0):
    rng = np.random.default_rng(seed)
    return 80 + np.cumsum(rng.normal(size=n)) + 40 * (rng.random(n) < 0.2)


def tracker_of(values, method="kalman", std=None, **parameters):
    estimator = Listed(values) if std is None else WithStd(values, std)
    return HeartRateTracker(estimator, method=method, **parameters).fit(recording().readings())


@pytest.fixture(scope="module")
def data():
    return make_recordings(n_subjects=4, duration=60, random_state=0)


@pytest.fixture
def pipe():
    return make_pipeline(PPGWindower(), SpectralPeakRegressor())


# ------------------------------------------------------------------------------ rows and time


@pytest.mark.parametrize("method", METHODS)
def test_rows_in_any_order_come_back_in_their_order(method):
    X = [Reading(r, 8.0 + 2 * k) for r in (recording(), recording()) for k in range(60)]
    tracker = tracker_of(jumpy(), method)
    order = RNG.permutation(len(X))
    together = tracker.predict(X)
    np.testing.assert_array_equal(tracker.predict([X[k] for k in order]), together[order])
    np.testing.assert_array_equal(tracker.predict(np.array(X, dtype=object)), together)


@pytest.mark.parametrize("method", METHODS)
def test_recordings_are_tracked_apart(method):
    X = [recording().readings() for _ in range(2)]
    tracker = tracker_of(jumpy(), method)
    apart = np.concatenate([tracker.predict(rows) for rows in X])
    np.testing.assert_array_equal(tracker.predict(X[0] + X[1]), apart)


@pytest.mark.parametrize("method", METHODS)
def test_a_gap_starts_anew_and_a_shorter_one_does_not(method):
    r, values = recording(), jumpy()
    early, late = ([Reading(r, float(t)) for t in ts] for ts in (range(8, 40), range(52, 90)))
    tracker = tracker_of(values, method, max_gap=13.0)
    together = tracker.predict(early + late)
    assert (together != np.r_[tracker.predict(early), tracker.predict(late)]).any()
    tracker.set_params(max_gap=np.inf)
    np.testing.assert_array_equal(tracker.predict(early + late), together)
    tracker.set_params(max_gap=12.9)
    apart = np.r_[tracker.predict(early), tracker.predict(late)]
    np.testing.assert_array_equal(tracker.predict(early + late), apart)


def test_readings_as_far_apart_as_the_longest_gap_go_together():
    r, values = recording(), jumpy()
    # 2.2 s apart, but for rounding
    X = r.readings(stride=2.2)
    tracker = tracker_of(values, max_gap=2.2)
    np.testing.assert_array_equal(tracker.predict(X), tracker_of(values, max_gap=np.inf).predict(X))


@pytest.mark.parametrize("method", METHODS)
def test_the_same_instant_twice_counts_once(method):
    X = recording().readings()
    tracker = tracker_of(jumpy(), method)
    once = tracker.predict(X)
    twice = tracker.predict([*X, *X[5:50]])
    np.testing.assert_array_equal(twice, np.r_[once, once[5:50]])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("lookahead", [0.0, 1.0, 7.0])
@pytest.mark.parametrize("method", METHODS)
def test_the_future_beyond_the_lookahead_changes_nothing(method, lookahead, seed):
    if method == "clip" and lookahead:
        return
    rng = np.random.default_rng(seed)
    r, values = recording(), jumpy(seed=seed)
    instants = np.sort(rng.choice(np.arange(8, 195), 90, replace=False))
    X = [Reading(r, float(t)) for t in instants]
    now = int(rng.integers(30, 150))
    changed = values.copy()
    changed[now + int(lookahead) + 1 :] = rng.uniform(-50, 400, len(changed))[
        now + int(lookahead) + 1 :
    ]
    before, after = (
        tracker_of(v, method, std=np.linspace(1, 9, 201), lookahead=lookahead, drift=2.0)
        for v in (values, changed)
    )
    known = instants <= now
    for got, wanted in zip(
        after.predict(X, return_std=True), before.predict(X, return_std=True), strict=True
    ):
        np.testing.assert_array_equal(got[known], wanted[known])
    # and rows that are not there do not matter
    np.testing.assert_array_equal(
        before.predict([x for x in X if x.instant <= now + lookahead])[: known.sum()],
        before.predict(X)[known],
    )


@pytest.mark.parametrize("method", ["kalman", "belief"])
def test_a_lookahead_of_nothing_and_one_of_everything_bracket(method):
    X = recording().readings()
    truth = 80 + 15 * np.sin(np.arange(201) / 15)
    noisy = truth + 6 * np.random.default_rng(0).normal(size=201)
    errors = [
        np.abs(
            tracker_of(noisy, method, lookahead=lag, noise=6.0, drift=2.0).predict(X)
            - truth[[round(x.instant) for x in X]]
        ).mean()
        for lag in (0.0, 4.0, 20.0)
    ]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("method", ["kalman", "belief"])
def test_more_time_between_readings_means_more_trust_in_the_next(method):
    values = np.full(201, 80.0)
    values[100:] = 84.0
    r = recording()
    (soon, late) = (
        tracker_of(values, method, drift=1.0, noise=4.0).predict(
            [*(Reading(r, float(t)) for t in range(60, 100 - gap)), Reading(r, 100.0)]
        )[-1]
        for gap in (0, 8)
    )
    assert 80 < soon < late < 84


@pytest.mark.parametrize("method", METHODS)
def test_one_reading_stays_what_it_is(method):
    got = tracker_of(np.full(201, 93.25), method).predict(recording().readings()[:1])
    assert got == pytest.approx([93.25], abs=0.05)


def test_clip_is_the_one_of_the_paper():
    X, values = recording().readings(), jumpy()
    raw = Listed(values).predict(X)
    clipped = tracker_of(values, "clip").predict(X)
    np.testing.assert_array_equal(clipped, causal_clip(raw))
    np.testing.assert_array_equal(clipped, causal_clip_readings(X, raw))
    assert (clipped != raw).any()


@pytest.mark.parametrize("method", ["kalman", "belief"])
def test_outliers_move_a_tracker_less_than_a_clip(method):
    X, values = recording().readings(), np.full(201, 80.0)
    values[100:110] = 160.0
    clipped, tracked = (tracker_of(values, m).predict(X) for m in ("clip", method))
    assert np.abs(tracked - 80).max() < np.abs(clipped - 80).max() / 3


@pytest.mark.parametrize("method", METHODS)
def test_a_rate_that_stays_elsewhere_is_followed_in_the_end(method):
    values = np.full(1001, 80.0)
    values[500:] = 150.0
    got = tracker_of(values, method).predict(recording(1000).readings())
    assert got[-1] == pytest.approx(150, abs=1)


# ------------------------------------------------------------------------------ uncertainty


@pytest.mark.parametrize("method", ["kalman", "belief"])
def test_an_uncertain_reading_counts_less(method):
    X, values = recording().readings(), np.full(201, 80.0)
    values[100] = 86.0
    sure, unsure = (
        tracker_of(values, method, std=np.where(np.arange(201) == 100, s, 3.0)).predict(X)[46]
        for s in (3.0, 30.0)
    )
    assert sure > unsure + 0.1
    assert unsure == pytest.approx(80, abs=0.7)


def test_noise_takes_the_place_of_what_the_estimator_predicts():
    X, values = recording().readings(), jumpy()
    given = tracker_of(values, std=np.full(201, 25.0), noise=3.0).predict(X)
    np.testing.assert_array_equal(given, tracker_of(values, noise=3.0).predict(X))
    own = tracker_of(values, std=np.full(201, 25.0)).predict(X)
    assert (own != given).any()


def test_without_a_std_the_noise_is_that_of_the_method():
    X, values = recording().readings(), jumpy()
    for method, noise in NOISE.items():
        given = tracker_of(values, method, noise=noise).predict(X)
        np.testing.assert_array_equal(tracker_of(values, method).predict(X), given)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("integers", [False, True])
def test_a_network_without_a_std_is_tracked_with_the_noise_of_the_method(method, integers, data):
    network = DistilledStudentRegressor(filters=(2, 2, 2), max_epochs=1, verbose=0, random_state=0)
    network = QuantizedStudentRegressor(network) if integers else network
    tracker = HeartRateTracker(make_pipeline(PPGWindower(), network), method)
    got = tracker.fit(data.X, data.y).predict(data.X)
    tracker.set_params(noise=NOISE.get(method))
    np.testing.assert_array_equal(tracker.predict(data.X), got)


def test_clip_returns_the_std_of_the_estimator_or_says_that_there_is_none():
    X, values = recording().readings(), jumpy()
    std = np.linspace(1, 9, 201)
    bpm, got = tracker_of(values, "clip", std=std).predict(X, return_std=True)
    np.testing.assert_array_equal(got, WithStd(values, std).predict(X, return_std=True)[1])
    np.testing.assert_array_equal(bpm, tracker_of(values, "clip").predict(X))
    with pytest.raises(ValueError, match=r"return_std with method='clip' needs an estimator"):
        tracker_of(values, "clip").predict(X, return_std=True)


@pytest.mark.parametrize("method", ["kalman", "belief"])
def test_std_grows_over_outliers(method):
    X, values = recording().readings(), np.full(201, 80.0)
    values[100:120] = np.linspace(120, 180, 20)
    _, std = tracker_of(values, method).predict(X, return_std=True)
    assert std[52] > std[45]
    assert (std > 0).all()


# ------------------------------------------------------------------------------ drift


def test_drift_is_learnt_from_changes_over_time_within_recordings():
    # 16 s on, the label is 8 bpm higher: 64 / 16 = 4 bpm^2/s
    X = [Reading(r, 8.0 + 2 * k) for r in (recording(), recording()) for k in range(40)]
    y = np.r_[60 + np.arange(40.0), 160 - np.arange(40.0)]
    order = RNG.permutation(80)
    assert learnt_drift([X[k] for k in order], y[order], 10.0) == pytest.approx(4.0)
    # and over gaps nothing is learnt
    assert learnt_drift(X[::8], y[::8], 10.0) == DRIFT
    assert learnt_drift(X, np.full(80, 70.0), 10.0) == LEAST_DRIFT


def test_drift_may_be_set_and_needs_no_labels():
    X = recording().readings()
    assert HeartRateTracker(Listed(jumpy()), "kalman", drift=7.5).fit(X).drift_ == 7.5
    assert HeartRateTracker(Listed(jumpy()), "kalman").fit(X).drift_ == DRIFT
    assert HeartRateTracker(Listed(jumpy()), "kalman").fit(X, np.arange(97) + 60).drift_ == 4.0


def test_labels_that_are_missing_are_refused():
    X, y = recording().readings(), np.full(97, 70.0)
    y[3] = np.nan
    with pytest.raises(ValueError, match=r"y contains NaN"):
        HeartRateTracker(FrozenEstimator(Listed(jumpy()).fit(X)), "kalman").fit(X, y)


def test_no_readings_are_refused():
    with pytest.raises(ValueError, match="X must hold at least one reading, got none"):
        tracker_of(jumpy()).predict([])


# ------------------------------------------------------------------------------ scikit-learn


@pytest.mark.parametrize("method", METHODS)
def test_it_goes_through_the_tools_of_model_selection(method, data, pipe):
    tracker = HeartRateTracker(pipe, method=method)
    cv = {"groups": data.groups, "cv": GroupKFold(2)}
    scores = cross_validate(
        tracker, data.X, data.y, scoring="neg_mean_absolute_error", error_score="raise", **cv
    )
    predicted = cross_val_predict(tracker, data.X, data.y, **cv)
    assert -scores["test_score"].mean() == pytest.approx(
        np.abs(predicted - data.y).mean(), rel=0.05
    )
    search = GridSearchCV(
        tracker,
        {"estimator__ppgwindower__window": [6.0, 8.0], "max_gap": [5.0, 10.0]},
        cv=GroupKFold(2),
        error_score="raise",
    ).fit(data.X, data.y, groups=data.groups)
    assert search.predict(data.X).shape == data.y.shape


def test_clone_pickle_and_split(data, pipe):
    tracker = HeartRateTracker(pipe, method="kalman", max_gap=20.0)
    train, test, y_train, _ = train_test_split(data.X, data.y, random_state=0)
    bpm = tracker.fit(train, y_train).predict(test)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(tracker)).predict(test), bpm)
    again = clone(tracker)
    assert again.get_params()["max_gap"] == 20.0
    assert not hasattr(again, "estimator_")
    np.testing.assert_array_equal(again.fit(train, y_train).predict(test), bpm)
    with pytest.raises(NotFittedError, match="HeartRateTracker"):
        clone(tracker).predict(test)


def test_skops_reads_it_again(data, pipe, tmp_path):
    skops_io = pytest.importorskip("skops.io", reason="pip install pulsehr[skops]")
    tracker = HeartRateTracker(pipe, method="belief").fit(data.X, data.y)
    skops_io.dump(tracker, tmp_path / "tracker.skops")
    again = skops_io.load(tmp_path / "tracker.skops", trusted=TRUSTED_TYPES)
    np.testing.assert_array_equal(again.predict(data.X), tracker.predict(data.X))


def test_a_frozen_estimator_is_not_fitted_again(data, pipe):
    pipe.fit(data.X, data.y)
    mean = pipe[-1]
    tracker = HeartRateTracker(FrozenEstimator(pipe), method="kalman").fit(data.X[:9])
    assert tracker.estimator_.estimator[-1] is mean
    std = WithStd(jumpy(), np.full(201, 2.0)).fit(None)
    frozen = HeartRateTracker(FrozenEstimator(make_pipeline(std)), "kalman").fit(data.X)
    plain = HeartRateTracker(std, "kalman").fit(data.X)
    np.testing.assert_array_equal(frozen.predict(data.X), plain.predict(data.X))


def test_fit_parameters_reach_the_estimator():
    X, groups = recording().readings(), np.zeros(97)
    tracker = HeartRateTracker(make_pipeline(Listed(jumpy())))
    assert tracker.fit(X, listed__groups=groups).estimator_[-1].groups_ is groups


def test_routed_metadata_reaches_the_estimator():
    X, y, groups = recording().readings(), np.full(97, 70.0), np.arange(97) % 4
    with sklearn.config_context(enable_metadata_routing=True):
        asking = make_pipeline(WithStd(jumpy(), np.ones(201)).set_fit_request(groups=True))
        tracker = HeartRateTracker(asking, "kalman")
        np.testing.assert_array_equal(
            tracker.fit(X, y, groups=groups).estimator_[-1].groups_, groups
        )
        assert tracker.predict(X, return_std=True)[1].shape == (97,)
        scores = cross_validate(
            tracker, X, y, cv=GroupKFold(2), params={"groups": groups}, return_estimator=True
        )
        assert len(set(scores["estimator"][0].estimator_[-1].groups_)) == 2
        with pytest.raises(UnsetMetadataPassedError, match=r"\[groups\] are passed"):
            HeartRateTracker(make_pipeline(Listed(jumpy()))).fit(X, y, groups=groups)


def test_parameters_and_rows_are_left_as_they_are(data, pipe):
    X, y = list(data.X), data.y.copy()
    tracker = HeartRateTracker(pipe, method="kalman").fit(X, y)
    tracker.predict(X)
    assert tracker.estimator is pipe
    assert not hasattr(pipe[-1], "n_features_in_")
    np.testing.assert_array_equal(y, data.y)


def test_a_failed_fit_leaves_an_earlier_one(data, pipe):
    tracker = HeartRateTracker(pipe, method="kalman").fit(data.X, data.y)
    bpm = tracker.predict(data.X)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        tracker.fit(data.X, data.y[:-1])
    np.testing.assert_array_equal(tracker.predict(data.X), bpm)


# ------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("what", ["fit", "predict"])
def test_windows_are_refused(what):
    tracker = tracker_of(jumpy())
    with pytest.raises(TypeError, match=r"HeartRateTracker: X must hold readings, .* got ndarray"):
        getattr(tracker, what)(np.zeros((3, 4, 256)))
    with pytest.raises(TypeError, match=r"got one Recording: pass recording.readings\(\)"):
        getattr(tracker, what)(recording())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"method": "viterbi"}, r"method must be one of \['belief', 'clip', 'kalman'\], got 'vit"),
        ({"method": ["clip"]}, r"method must be one of .*, got \['clip'\]"),
        ({"lookahead": -1.0}, r"lookahead must be finite and >= 0, got -1.0"),
        ({"lookahead": np.inf, "method": "kalman"}, r"lookahead must be finite and >= 0, got inf"),
        ({"lookahead": 2.0}, r"lookahead must be 0 with method='clip', .* got 2.0: take method"),
        ({"max_gap": 0.0}, r"max_gap must be > 0, got 0.0"),
        ({"max_gap": None}, r"max_gap must be > 0, got None"),
        ({"drift": 0.0}, r"drift must be finite and > 0 or None, got 0.0"),
        ({"noise": "loud"}, r"noise must be finite and > 0 or None, got 'loud'"),
    ],
)
def test_parameters_are_checked_by_name(parameters, message):
    with pytest.raises(ValueError, match=f"HeartRateTracker: {message}"):
        HeartRateTracker(Listed(jumpy()), **parameters).fit(recording().readings())
