"""Pipelines of a windower and a student as firmware: recordings in, heart rates out."""

from __future__ import annotations

import gzip
import pickle

import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from pulsehr import (
    DistilledStudentRegressor,
    PPGWindower,
    PulseTeacherRegressor,
    Recording,
    to_microcontroller,
)
from pulsehr.datasets import load_bami, load_ieee_spc, make_recordings
from pulsehr.tracking import causal_clip_readings


def small(**parameters):
    values = {"filters": (2, 3, 4), "max_epochs": 1, "random_state": 0, "verbose": 0}
    return DistilledStudentRegressor(**{**values, **parameters})


def fitted(windower, data, **parameters):
    return make_pipeline(windower, small(**parameters)).fit(data.X, data.y)


@pytest.fixture(scope="module")
def data():
    return make_recordings(n_subjects=2, duration=40, random_state=0)


@pytest.fixture(scope="module")
def model(data):
    return to_microcontroller(fitted(PPGWindower(), data), ppg_rate=64)


def only_ppg(recording):
    return Recording(
        ppg=np.asarray(recording.ppg), ppg_rate=recording.ppg_rate, subject=recording.subject
    )


def test_synthetic_sensors_have_the_rates_of_the_tests(data):
    assert (data.recordings[0].ppg_rate, data.recordings[0].acc_rate) == (64, 32)


@pytest.mark.parametrize("bandpass", [None, (0.5, 4.0)])
@pytest.mark.parametrize("normalize", ["window", "channel", None])
@pytest.mark.parametrize("clip", [False, True])
def test_c_equals_python_on_recordings(clip, normalize, bandpass, data, compiler):
    pipe = fitted(PPGWindower(normalize=normalize, bandpass=bandpass), data)
    model = to_microcontroller(pipe, ppg_rate=64, ppg_step=1e-3, clip=clip)
    readings = [reading for one in data.recordings for reading in one.readings(stride=1.0)]
    got = model.predict(readings)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(model.run_c(readings), got)
    # rows of any order, and more than once
    order = [*np.random.default_rng(0).permutation(len(readings)), 3, 3]
    shuffled = [readings[k] for k in order]
    np.testing.assert_array_equal(model.predict(shuffled), got[order])
    np.testing.assert_array_equal(model.run_c(shuffled), got[order])


def test_ppg_alone_is_enough(data, compiler):
    recordings = [only_ppg(recording) for recording in data.recordings]
    readings = [reading for one in recordings for reading in one.readings(stride=2.0)]
    pipe = make_pipeline(PPGWindower(), small()).fit(readings, np.linspace(60, 90, len(readings)))
    model = to_microcontroller(pipe, ppg_rate=64)
    np.testing.assert_array_equal(model.run_c(readings), model.predict(readings))
    assert model.samples(recordings[0])[1] is None


def test_clipping_is_that_of_the_tracker(data):
    pipe = fitted(PPGWindower(), data)
    readings = data.recordings[0].readings(stride=0.5)
    free, clipped = (
        to_microcontroller(pipe, ppg_rate=64, clip=clip).predict(readings) for clip in (False, True)
    )
    assert np.abs(clipped - causal_clip_readings(readings, free)).max() <= 2 / 256


def test_windows_go_as_they_did(model, data, compiler):
    windows = PPGWindower(normalize=None).fit_transform(data.X)
    got = model.predict(windows)
    np.testing.assert_array_equal(model.run_c(windows), got)
    # from samples on, the integers are nearly those of the windower
    readings = model.predict(data.X)
    assert np.abs(got - readings).mean() < 0.5


def test_flat_rows_and_steps_that_do_nothing_are_exported(data, compiler):
    pipe = make_pipeline(PPGWindower(flatten=True), "passthrough", None, small(n_channels=4))
    pipe.fit(data.X, data.y)
    model = to_microcontroller(pipe, ppg_rate=64)
    np.testing.assert_array_equal(model.run_c(data.X), model.predict(data.X))


def test_a_windower_that_reflects_is_exported_and_early_readings_are_refused(data):
    readings = data.recordings[0].readings(stride=2.0, window=4.0)
    pipe = make_pipeline(PPGWindower(padding="reflect"), small())
    model = to_microcontroller(pipe.fit(readings, np.linspace(60, 90, len(readings))), ppg_rate=64)
    assert len(model.predict(readings[2:])) == len(readings) - 2
    with pytest.raises(ValueError, match=r"instant 4 s .*has less than 8 s of past.*leave it out"):
        model.predict(readings)


def test_the_files_hold_the_front_and_say_how_windows_were_made(model, data):
    names = {"pulsehr_front.c", "pulsehr_front_tables.h"}
    assert names <= set(model.files)
    assert not [name for name in model.files if "stream" in name]
    assert f"PULSEHR_STATE_BYTES {model.state_bytes}" in " ".join(model.files["pulsehr.h"].split())
    pipe = fitted(PPGWindower(normalize="channel"), data)
    text = to_microcontroller(pipe, ppg_step=1.0).files["README.md"]
    for part in ("PPGWindower(", "window=8.0", "sampling_rate=32.0", "normalize='channel'"):
        assert part in text
    assert repr(pipe[0].mean_.tolist()) in text
    alone = to_microcontroller(pipe[-1]).files
    assert "without its PPGWindower" in alone["README.md"]
    assert not [name for name in alone if "front" in name]


def test_report_says_what_sensors_give_and_how_much_memory_a_stream_takes(model):
    report = model.report()
    assert "ppg: 64 Hz, any unit" in report
    assert "acc: 32 Hz, counts of 0.000244140625 g (4096 counts for 1 g)" in report
    assert "every 2 s, of the 8 s before (256 samples of each signal at 32 Hz)" in report
    assert f"State of a stream: {model.state_bytes:,} bytes" in report
    assert "not part of the C" not in report


def test_samples_are_what_the_model_is_pushed(model, data):
    recording = data.recordings[0]
    ppg, acc = model.samples(recording)
    assert (ppg.dtype, acc.dtype) == (np.int32, np.int16)
    assert (len(ppg), acc.shape) == (len(recording.ppg), (len(recording.acc), 3))
    np.testing.assert_allclose(acc / 4096, recording.acc, atol=0.5 / 4096 + 1e-6)
    # a recording of counts is read as it is
    again = Recording(
        ppg=ppg.astype(float), ppg_rate=64, acc=acc / 4096, acc_rate=32, subject="again"
    )
    np.testing.assert_array_equal(model.samples(again)[0], ppg)
    before = model.predict(recording.readings())
    np.testing.assert_array_equal(model.predict(again.readings()), before)


def test_the_model_keeps_its_front_when_the_pipeline_is_fitted_again(data):
    pipe = fitted(PPGWindower(), data)
    model = to_microcontroller(pipe, ppg_rate=64)
    before = model.predict(data.X)
    pipe.set_params(ppgwindower__window=6.0).fit(data.X, data.y)
    np.testing.assert_array_equal(model.predict(data.X), before)


def test_a_model_with_a_front_survives_a_pickle(model, data):
    again = pickle.loads(pickle.dumps(model))
    assert again.files == model.files
    np.testing.assert_array_equal(again.predict(data.X), model.predict(data.X))


def test_the_state_of_the_default_student_fits(data):
    model = to_microcontroller(fitted(PPGWindower(), data, filters=(16, 24, 32)), ppg_rate=64)
    assert model.state_bytes == model.arena_bytes + 2748
    assert model.state_bytes <= 9 * 1024


# ------------------------------------------------------------------------------ what is refused


def test_another_step_is_named(data):
    for step in (StandardScaler(), FunctionTransformer()):
        windower = PPGWindower(flatten=True)
        pipe = make_pipeline(windower, step, small(n_channels=4)).fit(data.X, data.y)
        name = type(step).__name__
        with pytest.raises(
            TypeError, match=rf"step '{name.lower()}' of the pipeline is a {name}, .*export the stu"
        ):
            to_microcontroller(pipe)


def test_two_windowers_are_refused(data):
    pipe = make_pipeline(PPGWindower(normalize=None), PPGWindower(), small()).fit(data.X, data.y)
    with pytest.raises(TypeError, match="step 'ppgwindower-2' of the pipeline is a second"):
        to_microcontroller(pipe)


def test_a_teacher_after_a_windower_is_refused(data):
    teacher = PulseTeacherRegressor(max_epochs=1, random_state=0, verbose=0)
    pipe = make_pipeline(PPGWindower(), teacher).fit(data.X, data.y)
    with pytest.raises(TypeError, match="PulseTeacherRegressor is not a student"):
        to_microcontroller(pipe)


def test_wrapped_pipelines_are_refused(data):
    pipe = make_pipeline(PPGWindower(), small())
    search = GridSearchCV(pipe, {"ppgwindower__window": [4.0]}, cv=2).fit(data.X, data.y)
    with pytest.raises(TypeError, match=r"GridSearchCV is not a student.*export best_estimator_"):
        to_microcontroller(search)
    to_microcontroller(search.best_estimator_)
    wrapped = make_pipeline(PPGWindower(), TransformedTargetRegressor(small()))
    with pytest.raises(TypeError, match="TransformedTargetRegressor is not a student"):
        to_microcontroller(wrapped.fit(data.X, data.y))


def test_an_unfitted_pipeline_is_refused():
    with pytest.raises(NotFittedError):
        to_microcontroller(make_pipeline(PPGWindower(), small()))


def test_rows_whose_channels_the_student_does_not_know_are_refused(data):
    pipe = make_pipeline(PPGWindower(flatten=True), small()).fit(data.X, data.y)
    with pytest.raises(ValueError, match=r"4 x 256 samples, but .* fitted on 1 x 1024"):
        to_microcontroller(pipe)


def test_a_recording_of_another_rate_is_refused(model):
    other = make_recordings(n_subjects=1, duration=20, ppg_rate=100, acc_rate=32, random_state=0)
    with pytest.raises(ValueError, match=r"takes ppg_rate=64 Hz, recording .* has 100 Hz"):
        model.predict(other.X)


# ------------------------------------------------------------------------------ real recordings


def wesad(folder, subject, seconds):
    """Read the start of a recording of the wrist device."""
    with gzip.open(folder / "wesad_e4" / subject / "BVP.csv.gz") as file:
        ppg = np.loadtxt(file, skiprows=2, max_rows=64 * seconds)
    with gzip.open(folder / "wesad_e4" / subject / "ACC.csv.gz") as file:
        acc = np.loadtxt(file, skiprows=2, max_rows=32 * seconds, delimiter=",")
    return Recording(ppg=ppg, ppg_rate=64, acc=acc / 64, acc_rate=32, subject=subject)


@pytest.mark.parametrize("bandpass", [None, (0.5, 4.0)])
@pytest.mark.parametrize("source", ["ieee", "bami", "wesad"])
def test_c_equals_python_on_real_recordings(source, bandpass, pulsehr_data, compiler):
    if source == "wesad":
        recording, rate = wesad(pulsehr_data, "S10", 600), 32
    elif source == "ieee":
        recording, rate = load_ieee_spc(pulsehr_data / "ieee_spc_2015").recordings[0], 25
    else:
        recording, rate = load_bami(pulsehr_data / "bami_gyro").recordings[0], 25
    readings = recording.readings(stride=2.0)
    pipe = make_pipeline(PPGWindower(sampling_rate=rate, bandpass=bandpass), small())
    pipe.fit(readings, np.linspace(60, 120, len(readings)))
    model = to_microcontroller(
        pipe, ppg_rate=recording.ppg_rate, acc_rate=recording.acc_rate, acc_step=1 / 2048
    )
    integers = model.predict(readings)
    np.testing.assert_array_equal(model.run_c(readings), integers)
    # from samples on, as near to float as the integers of the network are on float windows
    windows = pipe[:-1].transform(readings)
    network = to_microcontroller(pipe[-1]).predict(windows)
    float_bpm = pipe.predict(readings)
    far, far_network = (np.abs(bpm - float_bpm).mean() for bpm in (integers, network))
    assert far < far_network + 0.05
