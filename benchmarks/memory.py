"""Measure how much memory recordings on disk take: 10, 100 and 1,000 hours.

    python benchmarks/memory.py
    python benchmarks/memory.py --hours 10 100 --rows 2048

Ten recordings of each size (PPG at 64 Hz, acceleration at 32 Hz, float32) are written to a
temporary folder in chunks, one synthetic hour repeated with fresh noise, and deleted at the end:
2.3 GB for 1,000 hours. The rows are spread evenly over all of them, in random order. Each figure
is the peak resident memory of a process of its own, which opens and checks all recordings first.
"""

# This process stays small, for a child starts with the peak of its parent: the heavy
# libraries are imported by the children alone.
from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

N_RECORDINGS = 10
PPG_RATE, ACC_RATE = 64, 32
SEED = 0

#: Samples of a zarr chunk: four minutes of PPG.
ZARR_CHUNK = 1 << 14

#: Rows that `predict` and the loop over lazy windows take at a time.
ROWS_AT_A_TIME = 512


def build(folder: Path, hours: int, store: str) -> None:
    """Write the recordings, one hour at a time."""
    import numpy as np

    from pulsehr.datasets import make_recordings

    rng = np.random.default_rng(SEED)
    hour = make_recordings(1, 3600, ppg_rate=PPG_RATE, acc_rate=ACC_RATE, random_state=SEED)
    [recording] = hour.recordings
    np.save(folder / "heart_rate.npy", np.stack([recording.heart_rate_times, recording.heart_rate]))
    per_recording = hours // N_RECORDINGS
    for number in range(N_RECORDINGS):
        for name, signal, noise in (("ppg", recording.ppg, 3.0), ("acc", recording.acc, 0.01)):
            shape = (per_recording * len(signal), *signal.shape[1:])
            target = _create(folder, f"{name}{number}", shape, store)
            for k in range(per_recording):
                noisy = signal + noise * rng.standard_normal(signal.shape, dtype=np.float32)
                target[k * len(signal) : (k + 1) * len(signal)] = noisy
            if store == "npy":
                target.flush()


def _create(folder: Path, name: str, shape: tuple[int, ...], store: str) -> Any:
    import numpy as np

    if store == "npy":
        return np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, shape)
    import zarr

    chunks = (min(ZARR_CHUNK, shape[0]), *shape[1:])
    return zarr.create_array(str(folder / f"{name}.zarr"), shape=shape, dtype="f4", chunks=chunks)


def open_recordings(folder: Path, store: str) -> list[Any]:
    """Open the recordings without reading them into memory."""
    import numpy as np

    from pulsehr import Recording

    def signal(name: str) -> Any:
        if store == "npy":
            return np.load(folder / f"{name}.npy", mmap_mode="r")
        import zarr

        return zarr.open_array(str(folder / f"{name}.zarr"), mode="r")

    return [
        Recording(
            ppg=signal(f"ppg{number}"),
            ppg_rate=PPG_RATE,
            acc=signal(f"acc{number}"),
            acc_rate=ACC_RATE,
            subject=f"S{number}",
        )
        for number in range(N_RECORDINGS)
    ]


def rows(folder: Path, recordings: list[Any], n_rows: int) -> tuple[list[Any], Any]:
    """Spread readings over the recordings, in random order; return them with their labels."""
    import numpy as np

    from pulsehr import Reading

    times, labels = np.load(folder / "heart_rate.npy")
    rng = np.random.default_rng(SEED)
    X, y = [], []
    for k in rng.permutation(n_rows):
        recording = recordings[k % len(recordings)]
        n_hours = round(recording.duration / 3600)
        hour, label = rng.integers(n_hours), rng.integers(len(times))
        X.append(Reading(recording, float(3600 * hour + times[label])))
        y.append(labels[label])
    return X, np.array(y)


def student() -> Any:
    """Make a student of the default size that trains for one epoch."""
    from pulsehr import DistilledStudentRegressor

    return DistilledStudentRegressor(
        max_epochs=1, validation_fraction=0, random_state=SEED, verbose=0
    )


def run(phase: str, folder: Path, store: str, n_rows: int) -> None:
    """Do one phase in this process, and print the peak of its resident memory in MB."""
    import joblib
    import torch
    from sklearn.pipeline import make_pipeline

    from pulsehr import PPGWindower
    from pulsehr.datasets import make_recordings

    torch.set_num_threads(1)
    if phase == "model":
        data = make_recordings(n_subjects=1, duration=120, random_state=SEED)
        joblib.dump(make_pipeline(PPGWindower(), student()).fit(data.X, data.y), folder / "model")
        return
    if phase != "base":
        X, y = rows(folder, open_recordings(folder, store), n_rows)
    if phase == "cut":
        windows = PPGWindower(lazy=True).fit_transform(X)
        for start in range(0, len(windows), ROWS_AT_A_TIME):
            windows[start : start + ROWS_AT_A_TIME]
    elif phase == "predict":
        model = joblib.load(folder / "model")
        for start in range(0, len(X), ROWS_AT_A_TIME):
            model.predict(X[start : start + ROWS_AT_A_TIME])
    elif phase == "train":
        make_pipeline(PPGWindower(lazy=True), student()).fit(X, y)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak / (1e6 if sys.platform == "darwin" else 1e6 / 1024))


PHASES = ("base", "open", "cut", "predict", "train")


def child(phase: str, folder: str, store: str, number: int) -> str:
    """Run one phase in a process of its own."""
    command = [sys.executable, __file__, "--child", phase, folder, store, str(number)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def main() -> None:
    """Print a table of peaks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--zarr-hours", type=int, nargs="*", default=[10], help="also as zarr")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if any(hours < N_RECORDINGS or hours % N_RECORDINGS for hours in options.hours):
        parser.error(f"--hours must be multiples of {N_RECORDINGS}, got {options.hours}")
    if options.child:
        phase, folder, store, number = options.child
        if phase == "build":
            build(Path(folder), int(number), store)
        else:
            run(phase, Path(folder), store, int(number))
        return
    print(
        f"{N_RECORDINGS} recordings of equal length: a synthetic hour (seed {SEED}) with fresh "
        f"noise, PPG {PPG_RATE} Hz, ACC {ACC_RATE} Hz; peak resident memory in MB"
    )
    print(f"| hours | stored as | MB on disk | rows | {' | '.join(PHASES)} |")
    print("|" + "---|" * (4 + len(PHASES)))
    sizes = [(hours, "npy") for hours in options.hours]
    for hours, store in sizes + [(hours, "zarr") for hours in options.zarr_hours]:
        with tempfile.TemporaryDirectory(prefix="pulsehr_memory_") as folder:
            child("build", folder, store, hours)
            child("model", folder, store, 0)
            on_disk = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
            peaks = [float(child(phase, folder, store, options.rows)) for phase in PHASES]
            cells = " | ".join(f"{peak:.0f}" for peak in peaks)
            name = "memmap" if store == "npy" else store
            print(f"| {hours:,} | {name} | {on_disk / 1e6:,.0f} | {options.rows:,} | {cells} |")


if __name__ == "__main__":
    main()
