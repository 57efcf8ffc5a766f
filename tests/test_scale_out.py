"""Cross-validation on processes and on Dask: the same scores, and recordings cross once."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline

from pulsehr import DistilledStudentRegressor, PPGWindower, Reading, Recording
from pulsehr.datasets import make_recordings

N_SUBJECTS = 6


@pytest.fixture(scope="module")
def data():
    return make_recordings(n_subjects=N_SUBJECTS, duration=60, random_state=0)


@pytest.fixture(scope="module")
def stored_readings(data, tmp_path_factory):
    """The readings of the same recordings, with their signals in files."""
    folder = tmp_path_factory.mktemp("recordings")
    stored = {}
    for recording in data.recordings:
        signals = {"ppg": recording.ppg, "acc": recording.acc}
        for name, signal in signals.items():
            path = folder / f"{recording.name}_{name}.npy"
            np.save(path, signal)
            signals[name] = np.load(path, mmap_mode="r")
        stored[recording] = Recording(
            **signals, ppg_rate=recording.ppg_rate, acc_rate=recording.acc_rate, subject="S"
        )
    return [Reading(stored[row.recording], row.instant) for row in data.X]


@pytest.fixture(scope="module")
def dask_client(missing):
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        missing("there is no dask: pip install 'pulsehr[dask]'")
    workers = {"n_workers": 2, "processes": True, "threads_per_worker": 1}
    with LocalCluster(**workers, dashboard_address=None) as cluster, Client(cluster) as client:
        yield client


def scores(X, data, n_folds=3, lazy=False):
    """Errors (bpm) of each fold."""
    student = DistilledStudentRegressor(max_epochs=1, filters=(2, 3, 4), random_state=0, verbose=0)
    return cross_validate(
        make_pipeline(PPGWindower(lazy=lazy), student),
        X,
        data.y,
        groups=data.groups,
        cv=GroupKFold(n_folds),
        scoring="neg_mean_absolute_error",
        error_score="raise",
    )["test_score"]


@pytest.fixture(scope="module")
def sequential_scores(data):
    return scores(data.X, data)


@pytest.fixture
def processes():
    # the default of max_nbytes, 1M, is more than any of these signals
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1, max_nbytes="10K"):
        yield


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_processes_give_the_same_scores(data, stored_readings, place, sequential_scores, processes):
    X = data.X if place == "memory" else stored_readings
    parallel = scores(X, data, lazy=place == "disk")
    np.testing.assert_array_equal(parallel, sequential_scores)


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_dask_gives_the_same_scores(data, stored_readings, place, sequential_scores, dask_client):
    X = data.X if place == "memory" else stored_readings
    with joblib.parallel_config("dask"):
        parallel = scores(X, data, lazy=place == "disk")
    np.testing.assert_array_equal(parallel, sequential_scores)


@pytest.mark.parametrize("n_folds", [2, 6])
@pytest.mark.parametrize("kind", ["list of a data set", "object array"])
def test_recordings_cross_to_dask_once_however_many_tasks(
    data, dask_client, monkeypatch, n_folds, kind
):
    serialised = Counter()
    original = Recording.__reduce_ex__

    def counted(self, protocol):
        serialised[self.name] += 1
        return original(self, protocol)

    monkeypatch.setattr(Recording, "__reduce_ex__", counted)
    X = np.array(data.X, dtype=object) if kind == "object array" else data.X
    with joblib.parallel_config("dask"):
        scores(X, data, n_folds)
    assert serialised == {recording.name: 1 for recording in data.recordings}


def written_bytes():
    """Bytes that this process has written to pipes and files."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def test_recordings_cross_to_processes_once_however_many_tasks(missing, processes):
    if not Path("/proc/self/io").exists():
        missing("no /proc/self/io, which counts bytes written: run this test on Linux")
    rng = np.random.default_rng(0)
    recordings = [Recording(ppg=rng.normal(size=50_000), ppg_rate=64) for _ in range(N_SUBJECTS)]
    X = [row for recording in recordings for row in recording.readings(stride=60)]
    samples = sum(recording.ppg.nbytes for recording in recordings)
    written = []
    for n_tasks in (2, 12):
        before = written_bytes()
        lengths = joblib.Parallel()(joblib.delayed(len)(X) for _ in range(n_tasks))
        written.append(written_bytes() - before)
        assert lengths == [len(X)] * n_tasks
    assert samples < written[0] < 1.2 * samples
    # ten more tasks take the rows and not the samples
    assert abs(written[1] - written[0]) < 0.2 * samples


@pytest.mark.parametrize("hours", [1, 100])
def test_a_pickle_of_recordings_on_disk_does_not_grow_with_them(tmp_path, hours):
    path = tmp_path / "ppg.npy"
    ppg = np.lib.format.open_memmap(path, "w+", np.float32, (hours * 3600 * 8,))
    ppg[::2] = 1
    ppg.flush()
    recording = Recording(ppg=np.load(path, mmap_mode="r"), ppg_rate=8, subject="S1")
    instants = np.linspace(8, recording.duration, 1000)
    X = [Reading(recording, float(t)) for t in instants]
    one, thousand = len(pickle.dumps(X[:1])), len(pickle.dumps(X))
    assert one < 1500
    assert thousand < one + 1000 * 50
    lazy = PPGWindower(sampling_rate=8, lazy=True).fit_transform(X)
    assert len(pickle.dumps(lazy)) < one + 1000 * 16 + 1500
