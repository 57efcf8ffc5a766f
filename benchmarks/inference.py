"""Compare the speed of prediction: torch, ONNX Runtime in floats and integers, and the C.

    python benchmarks/inference.py --threads 1

A teacher and a student, hardly trained (the time does not depend on the weights), predict synthetic
windows of 4 channels and 256 times, all at once and a single one. They take turns in one process,
and the least time of the turns counts: what else the machine does can only add.

The C is a single thread on this machine, without the instructions that the target may have.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pulsehr import DistilledStudentRegressor, PulseTeacherRegressor, to_microcontroller
from pulsehr.firmware.host import HostLibrary
from pulsehr.firmware.integer import quantize_windows
from pulsehr.onnx_export import to_onnx

SEED = 0

#: Predicts windows (n, 4, 256).
Predictor = Callable[[NDArray[np.float32]], Any]


def session(model: Any, threads: int) -> Predictor:
    """Load an ONNX model into ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    loaded = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    name = loaded.get_inputs()[0].name
    return lambda windows: loaded.run(None, {name: windows})


def module(network: torch.nn.Module) -> Predictor:
    """Run a torch module without an estimator."""

    def predict(windows: NDArray[np.float32]) -> Any:
        with torch.inference_mode():
            return network(torch.from_numpy(windows))

    return predict


def contenders(windows: NDArray[np.float32], threads: int) -> dict[str, Predictor]:
    """Return who predicts, by the words of the table."""
    y = np.random.default_rng(SEED).uniform(50, 150, len(windows))
    predictors: dict[str, Predictor] = {}
    for name, kind in (("teacher", PulseTeacherRegressor), ("student", DistilledStudentRegressor)):
        estimator = kind(max_epochs=1, random_state=SEED, verbose=0).fit(windows[:64], y[:64])
        predictors[f"{name}: predict"] = estimator.predict
        predictors[f"{name}: bare torch module"] = module(estimator.network_)
        predictors[f"{name}: ONNX Runtime"] = session(to_onnx(estimator, windows[:1]), threads)
    model = to_microcontroller(estimator)
    library = HostLibrary(model.sources, model.prefix, model.arena_bytes)
    predictors["student, int8: ONNX Runtime, exact"] = session(to_onnx(model), threads)
    predictors["student, int8: ONNX Runtime, standard"] = session(
        to_onnx(model, exact=False), threads
    )
    predictors["student, int8: C, run_c"] = model.run_c
    predictors["student, int8: C, without validation"] = lambda windows: library.predict(
        quantize_windows(windows, model.graph.input_format)
    )
    predictors["student, int8: numpy, predict"] = model.predict
    return predictors


def least_seconds(
    predictors: dict[str, Predictor], windows: NDArray[np.float32], repeats: int, calls: int
) -> dict[str, float]:
    """Time predictors in turns of several calls; the first turn is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in predictors}
    for turn in range(repeats + 1):
        for name, predict in predictors.items():
            start = time.perf_counter()
            for _ in range(calls):
                predict(windows)
            if turn:
                seconds[name].append((time.perf_counter() - start) / calls)
    return {name: min(times) for name, times in seconds.items()}


def main() -> None:
    """Print windows per second and milliseconds for one window."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--windows", type=int, default=512)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    windows = np.random.default_rng(SEED).standard_normal(
        (options.windows, 4, 256), dtype=np.float32
    )
    predictors = contenders(windows, options.threads)
    many = least_seconds(predictors, windows, options.repeats, calls=1)
    one = least_seconds(predictors, windows[:1].copy(), options.repeats, calls=20)
    student = many["student: predict"], one["student: predict"]
    print(
        f"{options.windows} synthetic windows of 4 channels and 256 times, seed {SEED}; "
        f"{options.threads} thread(s); least of {options.repeats} turns. "
        f"Ratios: times as fast as predict of the student."
    )
    print("| | windows/s | ratio | one window (ms) | ratio |")
    print("|---|---|---|---|---|")
    for name in predictors:
        print(
            f"| {name} | {options.windows / many[name]:,.0f} | {student[0] / many[name]:.2f} "
            f"| {1e3 * one[name]:.2f} | {student[1] / one[name]:.2f} |"
        )


if __name__ == "__main__":
    main()
