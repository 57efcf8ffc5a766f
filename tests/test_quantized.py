"""The integers of the firmware as an estimator."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_validate
from sklearn.pipeline import make_pipeline

from pulsehr import (
    DistilledStudentRegressor,
    PPGWindower,
    PulseTeacherRegressor,
    QuantizedStudentRegressor,
    to_microcontroller,
)
from pulsehr.datasets import make_recordings

SMALL = {"max_epochs": 2, "filters": (2, 3, 4), "batch_size": 16, "random_state": 0, "verbose": 0}


@pytest.fixture(scope="module")
def data():
    return make_recordings(n_subjects=4, duration=40, random_state=0)


@pytest.fixture(scope="module")
def rows(data):
    return PPGWindower().fit_transform(data.X), data.y


@pytest.fixture(scope="module")
def student(rows):
    return DistilledStudentRegressor(**SMALL).fit(*rows)


def test_an_unfitted_student_is_cloned_and_fitted(rows, student):
    unfitted = DistilledStudentRegressor(**SMALL)
    model = QuantizedStudentRegressor(unfitted).fit(*rows)
    assert not hasattr(unfitted, "network_")
    assert model.student_ is not unfitted
    assert model.ranges_ == student.ranges_
    np.testing.assert_array_equal(model.student_.predict(rows[0]), student.predict(rows[0]))


@pytest.mark.parametrize("frozen", [False, True])
def test_a_fitted_student_is_taken_as_it_is_and_needs_no_labels(frozen, rows, student):
    given = FrozenEstimator(student) if frozen else student
    model = QuantizedStudentRegressor(given).fit(rows[0])
    assert model.student_ is given
    assert model.network_ is student.network_
    assert model.ranges_ == student.ranges_


def test_a_fitted_student_learns_the_ranges_of_other_windows(rows, student):
    model = QuantizedStudentRegressor(student, percentile=100).fit(2 * rows[0])
    assert model.ranges_["input"] == (2 * rows[0].min(), 2 * rows[0].max())
    assert student.ranges_["input"][1] < rows[0].max()


def test_a_lower_percentile_clips(rows, student):
    model = QuantizedStudentRegressor(student, percentile=90).fit(rows[0])
    low, high = model.ranges_["input"]
    assert np.mean(rows[0] > high) == pytest.approx(0.1, abs=1e-4)
    assert np.mean(rows[0] < low) == pytest.approx(0.1, abs=1e-4)
    unfitted = QuantizedStudentRegressor(DistilledStudentRegressor(**SMALL), percentile=90)
    assert unfitted.fit(*rows).ranges_ == model.ranges_


def test_predictions_are_those_of_the_firmware(rows, student):
    for model in (student, QuantizedStudentRegressor(student, percentile=99).fit(rows[0])):
        exported = to_microcontroller(model)
        integers = QuantizedStudentRegressor(student).fit(rows[0]) if model is student else model
        np.testing.assert_array_equal(integers.predict(rows[0]), exported.predict(rows[0]))


def test_a_pipeline_of_integers_is_exported_with_its_ranges(data, rows, student):
    pipe = make_pipeline(PPGWindower(), QuantizedStudentRegressor(student, percentile=95))
    pipe.fit(data.X, data.y)
    alone = pipe[-1].to_microcontroller(prefix="hr")
    np.testing.assert_array_equal(alone.predict(rows[0]), pipe.predict(data.X))
    whole = to_microcontroller(pipe, prefix="hr", ppg_rate=64)
    assert whole.sources["hr_weights.c"] == alone.sources["hr_weights.c"]
    # the windower is in integers too: windows differ by a step here and there
    assert np.abs(whole.predict(data.X) - pipe.predict(data.X)).mean() < 0.1


def test_the_integers_of_a_fine_tuned_student_are_those_it_was_tuned_for(rows):
    tuned = DistilledStudentRegressor(**SMALL, quantization_epochs=1)
    model = QuantizedStudentRegressor(tuned).fit(*rows)
    assert model.ranges_ == model.student_.ranges_


def test_integers_are_cross_validated_by_subject(data):
    teacher = PulseTeacherRegressor(**SMALL)
    pipe = make_pipeline(
        PPGWindower(), QuantizedStudentRegressor(DistilledStudentRegressor(teacher, **SMALL))
    )
    predicted = cross_val_predict(pipe, data.X, data.y, groups=data.groups, cv=GroupKFold(2))
    assert predicted.shape == data.y.shape
    np.testing.assert_array_equal(predicted * 256 % 1, 0)


def test_a_search_reaches_the_student_and_the_percentile(data):
    pipe = make_pipeline(
        PPGWindower(), QuantizedStudentRegressor(DistilledStudentRegressor(**SMALL))
    )
    grid = {
        "quantizedstudentregressor__percentile": [99.9, 100],
        "quantizedstudentregressor__student__max_epochs": [1, 2],
    }
    search = GridSearchCV(pipe, grid, cv=2).fit(data.X, data.y)
    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_subjects_reach_the_student(data, rows):
    model = QuantizedStudentRegressor(DistilledStudentRegressor(**SMALL))
    model.fit(*rows, groups=data.groups)
    assert model.student_.n_subjects_ == 4
    assert clone(model).fit(*rows).student_.n_subjects_ is None


def test_weights_reach_the_student(rows):
    model = QuantizedStudentRegressor(DistilledStudentRegressor(**SMALL))
    weights = np.repeat([1.0, 0.0], [20, len(rows[1]) - 20])
    assert model.fit(*rows, sample_weight=weights).student_.n_windows_ == 20


def test_subjects_are_routed_to_the_student(data):
    with sklearn.config_context(enable_metadata_routing=True):
        model = QuantizedStudentRegressor(DistilledStudentRegressor(**SMALL))
        result = cross_validate(
            make_pipeline(PPGWindower(), model),
            data.X,
            data.y,
            params={"groups": data.groups},
            cv=GroupKFold(2),
            return_estimator=True,
        )
    assert [pipe[-1].student_.n_subjects_ for pipe in result["estimator"]] == [2, 2]


def test_weights_are_routed_if_both_ask_for_them(rows):
    weights = np.ones(len(rows[1]))
    with sklearn.config_context(enable_metadata_routing=True):
        student = DistilledStudentRegressor(**SMALL)
        model = QuantizedStudentRegressor(student).set_fit_request(sample_weight=True)
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            model.fit(*rows, sample_weight=weights)
        student.set_fit_request(sample_weight=True)
        model.fit(*rows, sample_weight=weights)


def test_the_default_student_is_that_of_the_defaults():
    assert QuantizedStudentRegressor().student is None
    X = np.random.default_rng(0).normal(size=(2, 1, 8))
    with pytest.raises(ValueError, match="requires y to be passed"):
        QuantizedStudentRegressor().fit(X)


@pytest.mark.parametrize("wrong", [PulseTeacherRegressor(), 3, FrozenEstimator(PPGWindower())])
def test_what_is_no_student_is_refused(wrong, rows):
    with pytest.raises(TypeError, match="student must be a DistilledStudentRegressor, frozen or"):
        QuantizedStudentRegressor(wrong).fit(*rows)


@pytest.mark.parametrize("percentile", [50, 100.1, np.nan, "99", None])
def test_a_percentile_out_of_range_is_refused(percentile, student, rows):
    with pytest.raises(ValueError, match="percentile must be a number above 50 to 100"):
        QuantizedStudentRegressor(student, percentile=percentile).fit(*rows)


def test_windows_of_another_shape_than_the_students_are_refused(rows, student):
    with pytest.raises(ValueError, match="DistilledStudentRegressor: windows must have 4 channels"):
        QuantizedStudentRegressor(student).fit(rows[0][:, :2])


def test_a_failed_fit_leaves_what_was_learnt(rows, student):
    model = QuantizedStudentRegressor(student).fit(rows[0])
    before = model.predict(rows[0])
    model.set_params(student=DistilledStudentRegressor(**SMALL))
    with pytest.raises(ValueError, match="requires y to be passed"):
        model.fit(rows[0])
    np.testing.assert_array_equal(model.predict(rows[0]), before)


def test_an_unfitted_one_cannot_be_exported(rows):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        to_microcontroller(QuantizedStudentRegressor())
    with pytest.raises(NotFittedError, match="not fitted yet"):
        QuantizedStudentRegressor().predict(rows[0])
