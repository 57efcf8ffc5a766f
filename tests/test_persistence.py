"""Fitted estimators are stored as plain data, and read back by this and by later versions."""

from __future__ import annotations

import copy
import json
import pickle
import pickletools
import subprocess
import sys
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
import skops.io
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import pulsehr
from pulsehr import (
    DistilledStudentRegressor,
    PPGWindower,
    PulseTeacherRegressor,
    QuantizedStudentRegressor,
)
from pulsehr.baselines import MotionAwareSpectralRegressor, SpectralPeakRegressor
from pulsehr.exceptions import VersionWarning
from pulsehr.persistence import TRUSTED_TYPES

DATA = Path(__file__).parent / "data"
SMALL = {"max_epochs": 2, "filters": (2, 3, 4), "random_state": 0, "verbose": 0}

#: What the fixtures in tests/data predicted when version 0.1.0 wrote them: windows are the first
#: three of `windows()`.
PREDICTED_BY_0_1_0 = {
    "teacher": [117.15165710449219, 117.04210662841797, 117.14344787597656],
    "student": [116.9974594116211, 116.99542236328125, 116.99597930908203],
}


def windows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2, 32)).astype(np.float32).round(2)
    return X, rng.uniform(50, 150, 40).round()


def pipelines():
    student = DistilledStudentRegressor(teacher=PulseTeacherRegressor(**SMALL), **SMALL)
    return {
        "teacher": make_pipeline(PPGWindower(), PulseTeacherRegressor(**SMALL)),
        "student": make_pipeline(PPGWindower(normalize="channel"), student),
        "with plain steps": make_pipeline(
            PPGWindower(flatten=True),
            StandardScaler(),
            DistilledStudentRegressor(**SMALL, n_channels=2),
        ),
        "FFT peak": make_pipeline(PPGWindower(), SpectralPeakRegressor()),
        "motion-aware": make_pipeline(PPGWindower(), MotionAwareSpectralRegressor()),
        "integers": make_pipeline(
            PPGWindower(), QuantizedStudentRegressor(DistilledStudentRegressor(**SMALL))
        ),
    }


@pytest.fixture(scope="module", params=list(pipelines()))
def fitted(request):
    return pipelines()[request.param].fit(*windows())


def test_skops_reads_what_it_wrote_with_the_documented_types_alone(fitted, tmp_path):
    X, _ = windows()
    skops.io.dump(fitted, tmp_path / "pipe.skops")
    untrusted = skops.io.get_untrusted_types(file=tmp_path / "pipe.skops")
    assert set(untrusted) <= set(TRUSTED_TYPES)
    again = skops.io.load(tmp_path / "pipe.skops", trusted=TRUSTED_TYPES)
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))


def test_skops_files_hold_weights_as_arrays(tmp_path):
    X, y = windows()
    skops.io.dump(PulseTeacherRegressor(**SMALL).fit(X, y), tmp_path / "teacher.skops")
    with zipfile.ZipFile(tmp_path / "teacher.skops") as file:
        names = file.namelist()
        schema = json.loads(file.read("schema.json"))
    assert all(name.endswith((".npy", "schema.json")) for name in names)
    assert "torch" not in json.dumps({k: v for k, v in schema.items() if k != "protocol"})


@pytest.mark.parametrize("copied", [pickle.dumps, copy.deepcopy])
def test_copies_predict_the_same_and_hold_no_torch_object(fitted, copied):
    X, _ = windows()
    again = copied(fitted)
    if isinstance(again, bytes):
        modules = {str(arg).split()[0] for _, arg, _ in pickletools.genops(again) if arg}
        assert not any(name.split(".")[0] == "torch" for name in modules)
        again = pickle.loads(again)
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))


def test_joblib_files_predict_the_same(fitted, tmp_path):
    X, _ = windows()
    joblib.dump(fitted, tmp_path / "pipe.joblib")
    np.testing.assert_array_equal(
        joblib.load(tmp_path / "pipe.joblib").predict(X), fitted.predict(X)
    )


def test_a_new_process_predicts_the_same(tmp_path):
    X, y = windows()
    pipe = pipelines()["student"].fit(X, y)
    joblib.dump(pipe, tmp_path / "pipe.joblib")
    np.save(tmp_path / "X.npy", X)
    code = (
        "import joblib, numpy, sys, torch; torch.set_num_threads(1)\n"
        "pipe = joblib.load(sys.argv[1]); X = numpy.load(sys.argv[2])\n"
        "numpy.save(sys.argv[3], pipe.predict(X))"
    )
    files = [str(tmp_path / name) for name in ("pipe.joblib", "X.npy", "y.npy")]
    subprocess.run([sys.executable, "-c", code, *files], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), pipe.predict(X))


def test_restoring_leaves_the_generator_of_torch_alone(fitted):
    stored = pickle.dumps(fitted)
    before = torch.get_rng_state()
    pickle.loads(stored)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_restored_estimator_learns_on(tmp_path):
    X, y = windows()
    once = PulseTeacherRegressor(**SMALL).partial_fit(X, y)
    again = pickle.loads(pickle.dumps(once))
    np.testing.assert_array_equal(
        once.partial_fit(X, y).predict(X), again.partial_fit(X, y).predict(X)
    )


def test_filters_changed_after_the_fit_do_not_change_what_is_restored():
    X, y = windows()
    model = PulseTeacherRegressor(**SMALL).fit(X, y)
    model.set_params(filters=(5, 6, 7))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_pickles_of_the_previous_release_load_with_a_warning(name):
    X, y = windows()
    stored = (DATA / f"{name}-0.1.0.pickle").read_bytes()
    with pytest.warns(VersionWarning) as caught:
        pipe = make_pipeline(*pickle.loads(stored))
    text = str(caught[-1].message)
    assert "stored by pulsehr 0.1.0" in text
    assert f"read by {pulsehr.__version__}" in text
    np.testing.assert_allclose(pipe.predict(X[:3]), PREDICTED_BY_0_1_0[name], atol=1e-4)
    # what that version did not have yet has its default
    assert pipe[-1].get_params()["optimizer"] == "adam"
    assert repr(pipe)
    pipe[-1].partial_fit(pipe[0].transform(X), y)


def test_a_form_of_network_that_is_not_known_says_who_knows_it():
    X, y = windows()
    state = PulseTeacherRegressor(**SMALL).fit(X, y).__getstate__()
    teacher = PulseTeacherRegressor()
    with pytest.raises(ValueError, match=r"one of \['interacting', 'paper'\], got 'later': read"):
        teacher.__setstate__({**state, "form_": "later"})


def test_this_version_reads_its_own_files_without_a_warning(fitted):
    pickle.loads(pickle.dumps(fitted))  # warnings are errors in tests
