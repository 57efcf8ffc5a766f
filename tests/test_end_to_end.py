"""From raw recordings to a heart rate computed by C, and the README's lines as written."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from sklearn.pipeline import make_pipeline
from skorch import NeuralNet

from pulsehr import DistilledStudentRegressor, PPGWindower, to_microcontroller
from pulsehr.datasets import load_ieee_spc, make_recordings

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def download(tmp_path):
    """Five short synthetic recordings in the layout of IEEE SPC 2015."""
    folder = tmp_path / "ieee_spc_2015"
    folder.mkdir()
    synthetic = make_recordings(
        n_subjects=5, duration=30, ppg_rate=125, acc_rate=125, random_state=0
    )
    for number, recording in enumerate(synthetic.recordings, 1):
        ecg, ppg = np.zeros_like(recording.ppg), recording.ppg
        name = f"DATA_{number:02d}_TYPE02"
        savemat(folder / f"{name}.mat", {"sig": np.vstack([ecg, ppg, ppg, recording.acc.T])})
        savemat(folder / f"{name}_BPMtrace.mat", {"BPM0": recording.heart_rate[:, None]})
    return folder


def test_c_equals_python_at_every_stride_of_a_real_recording(pulsehr_data, compiler):
    data = load_ieee_spc(pulsehr_data / "ieee_spc_2015")
    train = np.flatnonzero(np.isin(data.groups, ["ieee_spc_02", "ieee_spc_03", "ieee_spc_04"]))
    student = DistilledStudentRegressor(max_epochs=8, batch_size=8, random_state=0, verbose=0)
    pipe = make_pipeline(PPGWindower(sampling_rate=25), student)
    pipe.fit([data.X[k] for k in train], data.y[train])
    readings = data.recordings[0].readings(stride=2.0)
    model = to_microcontroller(pipe, ppg_rate=125, acc_rate=125)
    integers = model.predict(readings)
    assert len(integers) > 140
    np.testing.assert_array_equal(model.run_c(readings), integers)
    # it answers to its input, as the float student does
    predicted = pipe.predict(readings)
    assert predicted.std() > 1
    assert np.abs(integers - predicted).mean() < 0.2 * predicted.std()


def test_the_readme_runs_as_written(download, monkeypatch, compiler):
    """All but the number of epochs, and of processes, which could not be told of it."""
    own, code = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[:2]
    signals = {
        "ppg": np.sin(np.arange(64 * 20) / 8),
        "acc": np.random.default_rng(0).normal(size=(32 * 20, 3)),
    }
    exec(own, signals)
    assert len(signals["bpm"]) == len(signals["std"]) == len(signals["times"]) == 7
    assert "n_jobs=2" in code
    fit_loop = NeuralNet.fit_loop
    monkeypatch.setattr(NeuralNet, "fit_loop", lambda net, X, epochs: fit_loop(net, X, epochs=1))
    monkeypatch.chdir(download.parent)
    names: dict[str, object] = {}
    exec(code.replace("n_jobs=2", "n_jobs=1"), names)
    assert len(names["scores"]["test_score"]) == 5
    assert (download.parent / "firmware" / "pulsehr.c").exists()
