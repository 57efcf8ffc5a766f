"""What scikit-learn's checks show for 2-D rows holds for 3-D windows and for readings."""

from __future__ import annotations

import io
import pickle

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import make_pipeline

from pulsehr import (
    DistilledStudentRegressor,
    PPGWindower,
    PulseTeacherRegressor,
    QuantizedStudentRegressor,
    Recording,
)
from pulsehr.baselines import MotionAwareSpectralRegressor, SpectralPeakRegressor
from pulsehr.datasets import make_recordings

SMALL = {"max_epochs": 1, "filters": (2, 3, 4), "batch_size": 16, "random_state": 0, "verbose": 0}
REGRESSORS = {
    "teacher": PulseTeacherRegressor(**SMALL),
    "student": DistilledStudentRegressor(**SMALL),
    "distilled": DistilledStudentRegressor(teacher=PulseTeacherRegressor(**SMALL), **SMALL),
    "FFT peak": SpectralPeakRegressor(),
    "motion-aware": MotionAwareSpectralRegressor(),
    "quantized": QuantizedStudentRegressor(
        DistilledStudentRegressor(**SMALL, quantization_epochs=1)
    ),
}
FORMS = ["windows", "readings"]
every_case = pytest.mark.parametrize(
    "case",
    [(name, form) for form in FORMS for name in REGRESSORS],
    ids=lambda case: " of ".join(case),
)


@pytest.fixture(scope="module")
def data():
    return make_recordings(n_subjects=2, duration=60, random_state=0)


@pytest.fixture(scope="module")
def rows(data):
    """X in each form, and a copy that shows whether it was changed."""
    windows = PPGWindower().fit_transform(data.X)
    return {"windows": windows, "readings": np.array(data.X, dtype=object)}


def made(case):
    name, form = case
    regressor = clone(REGRESSORS[name])
    return regressor if form == "windows" else make_pipeline(PPGWindower(), regressor)


def outputs(model, X):
    """Return what each method gives."""
    methods = [name for name in ("predict", "transform") if hasattr(model, name)]
    return {name: np.asarray(getattr(model, name)(X)) for name in methods}


def assert_same(one, other, rows=slice(None)):
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values[rows], other[name])


@every_case
def test_clones_and_copies_do_the_same(case, rows, data):
    X = rows[case[1]]
    model = made(case).fit(X, data.y)
    expected = outputs(model, X)
    again = clone(model)
    unfitted = again[-1] if case[1] == "readings" else again
    assert not [name for name in vars(unfitted) if name.endswith("_")]
    assert_same(outputs(again.fit(X, data.y), X), expected)
    assert_same(outputs(pickle.loads(pickle.dumps(model)), X), expected)
    file = io.BytesIO()
    joblib.dump(model, file)
    assert_same(outputs(joblib.load(file), X), expected)


@every_case
def test_fitting_again_gives_the_same(case, rows, data):
    X = rows[case[1]]
    model = made(case).fit(X, data.y)
    expected = outputs(model, X)
    assert_same(outputs(model.fit(X, data.y), X), expected)


@every_case
def test_rows_do_not_depend_on_their_neighbours_or_order(case, rows, data):
    X = rows[case[1]]
    model = made(case).fit(X, data.y)
    expected = outputs(model, X)
    order = np.random.default_rng(0).permutation(len(X)).tolist()
    for chosen in (order, [0], [3, 4], list(range(7)), [5, 5, 1]):
        for name, values in outputs(model, X[chosen]).items():
            # float64 sums may round differently, float32 ones (1e-7) may not
            np.testing.assert_allclose(values, expected[name][chosen], rtol=1e-11, atol=1e-11)


@every_case
def test_neither_rows_nor_labels_are_changed(case, rows, data):
    X, y = rows[case[1]].copy(), data.y.copy()
    samples = [(r.ppg.copy(), r.acc.copy()) for r in data.recordings]
    outputs(made(case).fit(X, y), X)
    np.testing.assert_array_equal(X, rows[case[1]])
    np.testing.assert_array_equal(y, data.y)
    for recording, (ppg, acc) in zip(data.recordings, samples, strict=True):
        np.testing.assert_array_equal(recording.ppg, ppg)
        np.testing.assert_array_equal(recording.acc, acc)


@every_case
def test_parameters_are_not_changed_by_fit(case, rows, data):
    model = made(case)
    before = {k: v for k, v in model.get_params().items() if not isinstance(v, BaseEstimator)}
    model.fit(rows[case[1]], data.y)
    after = {k: v for k, v in model.get_params().items() if not isinstance(v, BaseEstimator)}
    assert {k: after[k] for k in before if k != "steps"} == {
        k: v for k, v in before.items() if k != "steps"
    }


@pytest.mark.parametrize("name", ["teacher", "student", "distilled"])
def test_parameters_set_after_construction_change_the_network(name, rows, data):
    model = clone(REGRESSORS[name]).fit(rows["windows"], data.y)
    model.set_params(filters=(3, 4, 5), dropout=0.25).fit(rows["windows"], data.y)
    assert [len(model.network_.get_submodule(f"conv{k}1").weight) for k in (1, 2, 3)] == [3, 4, 5]
    assert model.network_.dropout.p == 0.25
    constructed = type(model)(**model.get_params(deep=False)).fit(rows["windows"], data.y)
    assert_same(outputs(constructed, rows["windows"]), outputs(model, rows["windows"]))


def test_parameters_of_the_teacher_are_reached_through_the_student(rows, data):
    student = clone(REGRESSORS["distilled"]).set_params(teacher__filters=(5, 5, 5))
    student.fit(rows["windows"], data.y)
    assert len(student.teacher_.network_.conv11.weight) == 5


@pytest.mark.parametrize("name", REGRESSORS)
def test_windows_of_another_shape_are_refused(name, rows, data):
    windows = rows["windows"]
    model = clone(REGRESSORS[name]).fit(windows, data.y)
    assert model.n_features_in_ == 4 * 256
    for wrong in (windows[:, :, :128], windows[:, :1]):
        with pytest.raises(ValueError, match="windows must have 4 channels of 256 times as in fit"):
            model.predict(wrong)
    with pytest.raises(ValueError, match=r"X has 512 features, but .* is expecting 1024"):
        model.predict(windows.reshape(len(windows), -1)[:, :512])


@pytest.mark.parametrize("name", REGRESSORS)
def test_readings_without_acceleration_are_refused_by_what_learnt_with_it(name, rows, data):
    pipe = make_pipeline(PPGWindower(), clone(REGRESSORS[name])).fit(rows["readings"], data.y)
    without = Recording(ppg=data.recordings[0].ppg, ppg_rate=data.recordings[0].ppg_rate)
    with pytest.raises(ValueError, match="expected 4 channels as in fit, got 1"):
        pipe.predict(without.readings())
