"""The model that users hold."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from students import random_student, random_windows

from pulsehr.firmware.export import to_microcontroller
from pulsehr.firmware.graph import measure_ranges
from pulsehr.firmware.lowering import lower

SHAPE = (2, 50)


class Student(BaseEstimator):
    """What the export needs of a fitted student."""

    def fit(self, X, y=None):
        windows = np.asarray(X).reshape(-1, *SHAPE)
        self.n_channels_, self.n_times_ = SHAPE
        self.network_ = random_student(*SHAPE, (4, 3, 5))
        self.ranges_ = measure_ranges(lower(self.network_, SHAPE), windows)
        return self

    def predict(self, X):
        return lower(self.network_, SHAPE).run(np.asarray(X).reshape(-1, *SHAPE))


@pytest.fixture(scope="module")
def windows():
    return random_windows(60, SHAPE)


@pytest.fixture(scope="module")
def student(windows):
    return Student().fit(windows)


@pytest.fixture(scope="module")
def model(student):
    return to_microcontroller(student)


def test_predict_is_close_to_the_student(student, model, windows):
    got = model.predict(windows)
    assert got.dtype == np.float64
    assert np.abs(got - student.predict(windows)).mean() < 0.3
    np.testing.assert_array_equal(got * 256, np.round(got * 256))


@pytest.mark.parametrize("flat", [False, True])
def test_windows_that_are_nan_throughout_are_answered_by_nan(model, windows, compiler, flat):
    some = windows[:6].copy()
    some[[1, 4]] = np.nan
    some = some.reshape(6, -1) if flat else some
    got = model.predict(some)
    assert np.flatnonzero(np.isnan(got)).tolist() == [1, 4]
    np.testing.assert_array_equal(got[[0, 2, 3, 5]], model.predict(windows[[0, 2, 3, 5]]))
    np.testing.assert_array_equal(model.run_c(some), got)
    assert np.isnan(model.predict(some[[1, 4]])).all()


def test_run_c_equals_predict(model, windows, compiler):
    np.testing.assert_array_equal(model.run_c(windows), model.predict(windows))


def test_c_is_compiled_once(model, windows, compiler, monkeypatch):
    model.run_c(windows[:1])
    monkeypatch.setenv("CC", "no-such-compiler")
    np.testing.assert_array_equal(model.run_c(windows), model.predict(windows))


def test_two_models_run_side_by_side(windows, student, compiler):
    first = to_microcontroller(student)
    second = Student().fit(windows)
    second.network_.out.bias.data += 10
    second = to_microcontroller(second)
    difference = second.run_c(windows) - first.run_c(windows)
    assert difference == pytest.approx(10, abs=0.01)


def test_no_compiler_is_one_clear_error(student, windows, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    fresh = to_microcontroller(student)
    with pytest.raises(RuntimeError, match="no C compiler found"):
        fresh.run_c(windows)
    fresh.predict(windows)


def test_rows_are_windows(model, windows):
    rows = windows.reshape(len(windows), -1)
    np.testing.assert_array_equal(model.predict(rows), model.predict(windows))
    np.testing.assert_array_equal(model.predict(rows.tolist()), model.predict(windows))


def test_x_is_not_changed(model, windows):
    before = windows.copy()
    model.predict(windows)
    np.testing.assert_array_equal(windows, before)


def test_windows_may_lie_in_any_order_in_memory(model, windows, compiler):
    fortran = np.asfortranarray(windows)
    np.testing.assert_array_equal(model.predict(fortran), model.predict(windows))
    np.testing.assert_array_equal(model.run_c(fortran), model.predict(windows))


@pytest.mark.parametrize("shape", [(3, 50, 2), (3, 2, 49), (3, 99), (3, 2, 50, 1)])
def test_other_shapes_are_refused(model, shape):
    with pytest.raises(ValueError, match="X must hold windows of 2 channels and 50 times"):
        model.predict(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_refused(model, value):
    windows = np.zeros((1, *SHAPE))
    windows[0, 1, 3] = value
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        model.predict(windows)


def test_no_rows_are_refused(model):
    with pytest.raises(ValueError, match="0 sample"):
        model.predict(np.zeros((0, *SHAPE)))


def test_a_pipeline_of_one_step_has_no_front(student, windows):
    pipe = make_pipeline(student)
    assert to_microcontroller(pipe).front is None


def test_a_model_survives_a_pickle(student, windows, compiler):
    model = to_microcontroller(make_pipeline("passthrough", student).fit(windows))
    before = model.run_c(windows)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(windows), before)
    np.testing.assert_array_equal(again.run_c(windows), before)
    assert again.files == model.files


def test_the_same_student_gives_the_same_files(student):
    assert to_microcontroller(student).files == to_microcontroller(student).files


def test_write_makes_the_folder_and_leaves_nothing_else(student, tmp_path):
    folder = tmp_path / "deep" / "firmware"
    model = to_microcontroller(student, folder, prefix="hr")
    written = {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert written == model.files


def test_write_replaces_its_files_and_leaves_others(model, tmp_path):
    model.write(tmp_path)
    old = model.files["pulsehr.h"].splitlines()[0]
    (tmp_path / "pulsehr.h").write_text(old)
    (tmp_path / "mine.c").write_text("mine")
    model.write(str(tmp_path))
    assert (tmp_path / "pulsehr.h").read_text() == model.files["pulsehr.h"]
    assert (tmp_path / "mine.c").read_text() == "mine"
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == len(model.files) + 1


def test_write_refuses_a_file(model, tmp_path):
    path = tmp_path / "firmware"
    path.write_text("mine")
    with pytest.raises(NotADirectoryError, match="folder must not be a file"):
        model.write(path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("mine", ["int mine;", "/* Written by pulsehr 0.1.0 with prefix hr: */"])
def test_write_leaves_files_of_others_as_they_are(mine, model, tmp_path):
    (tmp_path / "pulsehr.c").write_text(mine)
    with pytest.raises(FileExistsError, match=r"pulsehr\.c' was .*prefix .*left as it is"):
        model.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pulsehr.c"]
    assert (tmp_path / "pulsehr.c").read_text() == mine


def test_two_models_whose_files_clash_are_refused(student, tmp_path):
    to_microcontroller(student, tmp_path, prefix="hr")
    with pytest.raises(FileExistsError, match="written with prefix 'hr', not 'hr_weights'"):
        to_microcontroller(student, tmp_path, prefix="hr_weights")


def test_a_failed_write_leaves_no_temporary_file(model, tmp_path, monkeypatch):
    def full(source, target):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space left"):
        model.write(tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_macs_of_the_paper_student(quantized_student):
    total = sum(y.layer.n_macs(y.source_shape) for y in quantized_student(4, 256).layers)
    assert total == 3_383_328


def test_repr_says_the_sizes(model):
    assert repr(model) == (
        f"MicrocontrollerModel(2 x 50 window, {model.constant_bytes} bytes of constants, "
        f"{model.arena_bytes} bytes arena)"
    )


@pytest.mark.parametrize("make", [Student, lambda: make_pipeline(None, Student())])
def test_an_unfitted_student_is_refused(make):
    with pytest.raises(NotFittedError):
        to_microcontroller(make())


def test_another_estimator_is_refused(windows):
    ridge = Ridge().fit(windows.reshape(len(windows), -1), np.zeros(len(windows)))
    with pytest.raises(TypeError, match=r"Ridge is not a student.*DistilledStudentRegressor"):
        to_microcontroller(ridge)


@pytest.mark.parametrize("thing", [None, "student", SimpleNamespace(network_=1)])
def test_no_estimator_is_refused(thing):
    with pytest.raises(TypeError, match="expected a fitted student or a pipeline"):
        to_microcontroller(thing)


def test_sensors_of_a_student_alone_are_refused(student):
    for parameters in ({"ppg_rate": 64}, {"clip": True}, {"ppg_step": 1.0}):
        with pytest.raises(ValueError, match=r"need a PPGWindower, and the student comes alone"):
            to_microcontroller(student, **parameters)


def test_readings_need_a_windower(model, recording):
    for ask in (model.predict, model.run_c):
        with pytest.raises(ValueError, match="need a PPGWindower, and the student was exported"):
            ask(recording.readings())
    with pytest.raises(ValueError, match="need a PPGWindower"):
        model.samples(recording)
    assert model.state_bytes == 0


def test_an_unknown_target_is_refused(student):
    with pytest.raises(ValueError, match=r"target must be one of .*'portable'\], got 'abacus'"):
        to_microcontroller(student, target="abacus")


def test_a_wrong_prefix_writes_nothing(student, tmp_path):
    with pytest.raises(ValueError, match="prefix must start C identifiers"):
        to_microcontroller(student, tmp_path, prefix="heart-rate")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
