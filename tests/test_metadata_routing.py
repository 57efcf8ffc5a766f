"""Subjects and weights flow from scikit-learn's tools to the regressors that ask for them."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.linear_model import Ridge
from sklearn.metrics import make_scorer, max_error
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_validate
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

from pulsehr import DistilledStudentRegressor, PPGWindower, PulseTeacherRegressor
from pulsehr.datasets import make_recordings
from pulsehr.metrics import get_scorer

SMALL = {
    "max_epochs": 2,
    "filters": (2, 3, 4),
    "batch_size": 16,
    "validation_fraction": 0.3,
    "random_state": 0,
    "verbose": 0,
}


@pytest.fixture(autouse=True)
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.fixture(scope="module")
def data():
    return make_recordings(n_subjects=8, duration=40, random_state=0)


class Watch(Callback):
    """Write down the labels of each training and each validation batch, fit by fit.

    The list belongs to the class, as scikit-learn clones the estimator and copies its callbacks.
    """

    fits: list[tuple[str, list, list]] = []  # noqa: RUF012 shared by purpose

    def __init__(self, who):
        self.who = who

    def on_train_begin(self, net, **kwargs):
        Watch.fits.append((self.who, [], []))

    def on_batch_begin(self, net, batch=None, training=False, **kwargs):
        Watch.fits[-1][1 if training else 2].extend(batch[1].tolist())


@pytest.fixture
def fits():
    Watch.fits.clear()
    return Watch.fits


def watched_pipeline():
    # without a seed of its own, as in the README
    unseeded = {**SMALL, "random_state": None}
    teacher = PulseTeacherRegressor(**unseeded, callbacks=[Watch("teacher")])
    student = DistilledStudentRegressor(teacher=teacher, **SMALL, callbacks=[Watch("student")])
    return make_pipeline(PPGWindower(), student)


def subjects_of(labels, data, y):
    """Name the subjects of labels, each of which belongs to one row."""
    of_label = dict(zip(np.float32(y).tolist(), data.groups, strict=True))
    return {str(of_label[label]) for label in labels}


@pytest.fixture(scope="module")
def y(data):
    """Labels that differ from row to row, so that they tell the row."""
    return data.y + np.arange(len(data.y)) / 1024


def run_cross_validate(pipe, data, y):
    cv = GroupKFold(2)
    cross_validate(pipe, data.X, y, params={"groups": data.groups}, cv=cv, error_score="raise")


def run_grid_search(pipe, data, y):
    search = GridSearchCV(
        pipe, {"distilledstudentregressor__lr": [1e-3]}, cv=GroupKFold(2), error_score="raise"
    )
    search.fit(data.X, y, groups=data.groups)


def run_cross_val_predict(pipe, data, y):
    cross_val_predict(pipe, data.X, y, params={"groups": data.groups}, cv=GroupKFold(2))


def run_pipeline(pipe, data, y):
    pipe.fit(data.X, y, groups=data.groups)


@pytest.mark.parametrize(
    ("run", "n_fits"),
    [(run_cross_validate, 2), (run_grid_search, 3), (run_cross_val_predict, 2), (run_pipeline, 1)],
)
def test_no_subject_of_the_validation_split_is_ever_in_a_training_batch(run, n_fits, data, y, fits):
    run(watched_pipeline(), data, y)
    assert [who for who, *_ in fits] == ["teacher", "student"] * n_fits
    for _, trained, validated in fits:
        learnt, held_out = subjects_of(trained, data, y), subjects_of(validated, data, y)
        assert held_out
        assert not learnt & held_out
    # nor does a student stop early by subjects that its teacher has learnt
    for (_, trained, _), (_, _, validated) in zip(fits[::2], fits[1::2], strict=True):
        assert not subjects_of(trained, data, y) & subjects_of(validated, data, y)


def test_without_routing_stretches_of_time_are_held_out(data, y, fits):
    # what concepts.md says: the splitter alone sees groups, and subjects validate and train
    with sklearn.config_context(enable_metadata_routing=False):
        cross_validate(watched_pipeline(), data.X, y, groups=data.groups, cv=GroupKFold(2))
    shared = [subjects_of(t, data, y) & subjects_of(v, data, y) for _, t, v in fits]
    assert all(shared)


def test_without_routing_a_step_is_told_by_its_name(data, y, fits):
    with sklearn.config_context(enable_metadata_routing=False):
        cross_validate(
            watched_pipeline(),
            data.X,
            y,
            groups=data.groups,
            params={"distilledstudentregressor__groups": data.groups},
            cv=GroupKFold(2),
        )
    for _, trained, validated in fits:
        assert not subjects_of(trained, data, y) & subjects_of(validated, data, y)


def test_groups_may_be_declined(data, y, fits):
    pipe = watched_pipeline()
    pipe[-1].set_fit_request(groups=False)
    pipe[-1].teacher.set_fit_request(groups=False)
    run_cross_validate(pipe, data, y)
    assert all(subjects_of(t, data, y) & subjects_of(v, data, y) for _, t, v in fits)


def test_weights_reach_student_and_teacher_that_ask_for_them(data, y, fits):
    pipe = watched_pipeline()
    pipe[-1].set_fit_request(sample_weight=True)
    pipe[-1].teacher.set_fit_request(sample_weight=True)
    weights = (np.arange(len(y)) % 3 > 0).astype(float)
    cross_validate(
        pipe,
        data.X,
        y,
        params={"groups": data.groups, "sample_weight": weights},
        cv=GroupKFold(2),
        scoring=make_scorer(max_error).set_score_request(sample_weight=False),
        error_score="raise",
    )
    without = set(np.float32(y[weights == 0]).tolist())
    for _, trained, validated in fits:
        assert trained
        assert not without & {*trained, *validated}


def test_weights_that_nobody_was_asked_about_are_an_error(data, y):
    windows = PPGWindower().fit_transform(data.X)
    student = DistilledStudentRegressor(teacher=PulseTeacherRegressor(**SMALL), **SMALL)
    with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
        student.fit(windows, y, sample_weight=np.ones(len(y)))
    with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
        make_pipeline(PPGWindower(), student).fit(data.X, y, sample_weight=np.ones(len(y)))


def test_teachers_that_know_no_subjects_teach_all_the_same(data, y):
    windows = PPGWindower().fit_transform(data.X)
    student = DistilledStudentRegressor(teacher=Ridge(), prediction_weight=1.0, **SMALL)
    student.fit(windows, y, groups=data.groups)
    expected = Ridge().fit(windows.reshape(len(y), -1), y)
    np.testing.assert_array_equal(student.teacher_.coef_, expected.coef_)


def test_a_teacher_in_a_pipeline_is_told_the_subjects(data, y, fits):
    teacher = make_pipeline(
        PPGWindower(), PulseTeacherRegressor(**SMALL, callbacks=[Watch("teacher")])
    )
    student = DistilledStudentRegressor(teacher=teacher, prediction_weight=1.0, **SMALL)
    make_pipeline(PPGWindower(), student).fit(data.X, y, groups=data.groups)
    ((_, trained, validated),) = fits
    assert not subjects_of(trained, data, y) & subjects_of(validated, data, y)


def test_requests_survive_a_clone_and_scorers_of_pulsehr_work_with_routing(data, y):
    pipe = watched_pipeline()
    pipe[-1].set_fit_request(groups=False)
    requests = clone(pipe)[-1].get_metadata_routing()._serialize()
    assert requests["$self_request"]["fit"]["groups"] is False
    assert requests["teacher"]["router"]["fit"]["groups"] is True
    scores = cross_validate(
        pipe,
        data.X,
        y,
        params={"groups": data.groups},
        cv=GroupKFold(2),
        scoring={name: get_scorer(name) for name in ("neg_subject_mean_absolute_error",)},
        error_score="raise",
    )
    assert (scores["test_neg_subject_mean_absolute_error"] < 0).all()
