"""Measure what crosses to worker processes, and how fast rows come from disk.

    python benchmarks/scale.py

Bytes: eight synthetic recordings of 300 s. Rates: four recordings of 30 minutes in memory, as
`numpy.memmap` and as zarr, timed in turns on one thread; each figure is the seconds a window takes
divided by that of cutting windows in order of time from memory. Dask and zarr are left out where
they are not installed.
"""

from __future__ import annotations

import argparse
import copyreg
import pickle
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from sklearn.base import clone

from pulsehr import (
    DistilledStudentRegressor,
    PPGWindower,
    PulseTeacherRegressor,
    Reading,
    Recording,
)
from pulsehr.datasets import make_recordings

SEED = 0
BATCH = 256


def written_bytes() -> int:
    """Return what this process has written to pipes and files."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def print_bytes() -> None:
    """Print what a row takes, and what crosses to workers for some numbers of tasks."""
    data = make_recordings(n_subjects=8, duration=300, random_state=SEED)
    samples = sum(recording.ppg.nbytes + recording.acc.nbytes for recording in data.recordings)
    tracemalloc.start()
    many = [Reading(data.recordings[0], k / 1000) for k in range(100_000)]
    per_reading = tracemalloc.get_traced_memory()[0] / len(many)
    tracemalloc.stop()
    one, all_of_them = len(pickle.dumps(many[:1])), len(pickle.dumps(many))
    lazy = PPGWindower(padding="reflect", lazy=True).fit_transform(many[100:])
    lazy_bytes = lazy.which.nbytes + lazy.instants.nbytes
    pickled = (all_of_them - one) / len(many)
    print(f"A reading: {per_reading:.0f} bytes of memory, {pickled:.0f} bytes pickled;")
    print(f"a row of LazyWindows: {lazy_bytes / len(lazy):.0f} bytes.\n")
    print(f"8 recordings, {samples / 1e6:.2f} MB of samples, {len(data.X)} rows; MB written by the")
    print("client for so many tasks:\n\n| tasks | loky | loky, max_nbytes='10K' |\n|---|---|---|")
    for n_tasks in (2, 8, 32):
        cells = []
        for options in ({}, {"max_nbytes": "10K"}):
            with joblib.parallel_config("loky", n_jobs=2, **options):
                # starts the workers, which import what readings need
                joblib.Parallel()(joblib.delayed(len)(data.X[:1]) for _ in range(4))
                before = written_bytes()
                joblib.Parallel(batch_size=1)(joblib.delayed(len)(data.X) for _ in range(n_tasks))
                cells.append(f"{(written_bytes() - before) / 1e6:.2f}")
        print(f"| {n_tasks} | {' | '.join(cells)} |")
    print_dask(data)


def print_dask(data: Any) -> None:
    """Print how often the client serialises a recording for Dask."""
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        return
    count = [0]

    def counted(recording: Recording) -> Any:
        count[0] += 1
        return recording.__reduce_ex__(4)

    copyreg.pickle(Recording, counted)
    print("\nTimes that the client serialises each recording for Dask:")
    print("\n| tasks | plain list | data.X |\n|---|---|---|")
    workers = {"n_workers": 2, "processes": True, "threads_per_worker": 1}
    with LocalCluster(**workers, dashboard_address=None) as cluster, Client(cluster):
        for n_tasks in (2, 8, 32):
            cells = []
            for X in (list(data.X), data.X):
                count[0] = 0
                with joblib.parallel_config("dask"):
                    joblib.Parallel(batch_size=1)(joblib.delayed(len)(X) for _ in range(n_tasks))
                cells.append(f"{count[0] / len(data.recordings):g}")
            print(f"| {n_tasks} | {' | '.join(cells)} |")
    copyreg.dispatch_table.pop(Recording)


def stored(folder: Path, recording: Recording, store: str) -> Recording:
    """Write the signals of a recording to files, and open them there."""
    signals = {}
    for name in ("ppg", "acc"):
        signal, path = getattr(recording, name), folder / f"{recording.name}_{name}"
        if store == "memmap":
            np.save(path.with_suffix(".npy"), signal)
            signals[name] = np.load(path.with_suffix(".npy"), mmap_mode="r")
        else:
            import zarr

            chunks = (1 << 14, *signal.shape[1:])
            array = zarr.create_array(
                str(path), shape=signal.shape, dtype=signal.dtype, chunks=chunks
            )
            array[...] = signal
            signals[name] = zarr.open_array(str(path), mode="r")
    return Recording(
        **signals, ppg_rate=recording.ppg_rate, acc_rate=recording.acc_rate, name=recording.name
    )


def cut(windows: Any, order: Any) -> None:
    """Cut all rows of lazy windows in some order, a batch at a time."""
    for start in range(0, len(order), BATCH):
        windows[order[start : start + BATCH]]


def print_rates(repeats: int) -> None:
    """Print seconds per window as ratios."""
    data = make_recordings(n_subjects=4, duration=1800, random_state=SEED)
    X, y = data.X, data.y
    in_order = np.arange(len(X))
    shuffled = np.random.default_rng(SEED).permutation(len(X))
    stores = ["memory", "memmap"]
    try:
        import zarr  # noqa: F401 whether it is there

        stores.append("zarr")
    except ImportError:
        pass
    functions: dict[str, Callable[[], Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        for store in stores:
            moved = {
                recording: recording if store == "memory" else stored(Path(name), recording, store)
                for recording in data.recordings
            }
            if store != "memory":
                one = len(pickle.dumps(next(iter(moved.values()))))
                print(f"A recording of two signals in {store}: {one} bytes pickled.")
            windower = PPGWindower(lazy=True)
            windows = windower.fit_transform([Reading(moved[r.recording], r.instant) for r in X])
            for words, order in (("in order", in_order), ("in random order", shuffled)):
                functions[f"cut {words}, {store}"] = lambda w=windows, o=order: cut(w, o)
        eager = PPGWindower().fit_transform(X)
        options = {"max_epochs": 1, "validation_fraction": 0, "random_state": SEED, "verbose": 0}
        for words, estimator in (
            ("student", DistilledStudentRegressor(**options)),
            ("teacher", PulseTeacherRegressor(**options)),
        ):
            fitted = clone(estimator).fit(eager[:BATCH], y[:BATCH])
            functions[f"predict, {words}"] = lambda m=fitted: m.predict(eager)
            functions[f"one epoch, {words}"] = lambda m=estimator: clone(m).fit(eager, y)
        seconds: dict[str, list[float]] = {key: [] for key in functions}
        for _ in range(repeats):
            for key, function in functions.items():
                start = time.perf_counter()
                function()
                seconds[key].append(time.perf_counter() - start)
    medians = {key: statistics.median(times) for key, times in seconds.items()}
    unit = medians["cut in order, memory"]
    print(f"\n4 recordings of 1800 s, {len(X)} windows of 8 s every 2 s, batches of {BATCH}:\n")
    print("| step | time a window, to cutting in order from memory |\n|---|---|")
    for key, median in medians.items():
        print(f"| {key} | {median / unit:.1f} |")


def main() -> None:
    """Print bytes and rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if sys.platform == "linux":
        print_bytes()
    print_rates(options.repeats)


if __name__ == "__main__":
    main()
