"""Compare the speed of `PPGWindower` with cutting windows in a plain loop.

    python benchmarks/windowing.py

Both give the same windows: the loop resamples with the same filter and normalises, one reading at a
time. Timed in turns on one thread; the
ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from pulsehr import PPGWindower, Reading
from pulsehr._resampling import resample_at
from pulsehr.datasets import make_recordings


def cut_in_a_loop(X: list[Reading]) -> Any:
    """Cut, resample and normalise one window at a time."""
    windows = []
    for reading in X:
        recording = reading.recording
        times = reading.instant - np.arange(256, 0, -1) / 32
        ppg = resample_at(recording.ppg[:, None], recording.ppg_rate, times, 32)
        acc = resample_at(recording.acc, recording.acc_rate, times, 32)
        window = np.concatenate([ppg, acc], axis=1).T
        window -= window.mean(axis=1, keepdims=True)
        window[0] /= window[0].std()
        windows.append(window)
    return np.float32(windows)


def median_seconds(functions: list[Callable[[], Any]], repeats: int) -> list[float]:
    """Time functions in turns, so that a change in the machine's speed meets all of them."""
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, times in zip(functions, seconds, strict=True):
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]


def main() -> None:
    """Print windows per second at three strides."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    data = make_recordings(n_subjects=8, duration=300, ppg_rate=125, acc_rate=125, random_state=0)
    print("8 synthetic recordings of 300 s, PPG and ACC at 125 Hz, seed 0; windows of 8 s at 32 Hz")
    print("| stride (s) | windows | loop (windows/s) | PPGWindower (windows/s) | ratio |")
    print("|---|---|---|---|---|")
    for stride in (8.0, 2.0, 0.5):
        X = [reading for r in data.recordings for reading in r.readings(stride)]
        windower = PPGWindower().fit(X)
        np.testing.assert_allclose(windower.transform(X), cut_in_a_loop(X), atol=1e-5)
        loop, ours = median_seconds(
            [lambda X=X: cut_in_a_loop(X), lambda X=X, w=windower: w.transform(X)],
            options.repeats,
        )
        n = len(X)
        print(f"| {stride:g} | {n} | {n / loop:,.0f} | {n / ours:,.0f} | {loop / ours:.1f} |")


if __name__ == "__main__":
    main()
