"""Measure how far ONNX Runtime is from `predict`, in float and in both forms of int8.

    python benchmarks/onnx_agreement.py
    python benchmarks/onnx_agreement.py --published FOLDER

Networks of the paper's size: trained for five epochs on synthetic recordings of eight subjects, on
the windows of four others; and nearly untrained ones whose last layer is scaled up until they
spread, which enlarges every rounding, on normal numbers. With FOLDER, which holds
`published_student_S6.npz` and `ppg_dalia_S6_stairs.npz`, also the student that the paper published,
on real windows. Seed 0; a step is 1/256 bpm.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from pulsehr import (
    DistilledStudentRegressor,
    PPGWindower,
    PulseTeacherRegressor,
    to_microcontroller,
    to_onnx,
)
from pulsehr._inference import layer_ranges
from pulsehr.datasets import make_recordings

SEED = 0

#: Standard deviation (bpm) of the heart rates of a random network.
SPREAD = 20.0


def ran(model: Any, windows: Any) -> Any:
    """Run a model in ONNX Runtime; return bpm (n_windows,)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {"X": windows})[0][:, 0]


def random_windows(n_windows: int, shape: tuple[int, int]) -> Any:
    """Return normal numbers (n_windows, *shape), float32."""
    rng = np.random.default_rng(SEED)
    return rng.standard_normal((n_windows, *shape), dtype=np.float32)


def trained(kind: Any) -> tuple[Any, Any]:
    """Return a network that has learnt, and windows of subjects that it has not seen."""
    data, others = (
        make_recordings(n_subjects, duration=300, random_state=SEED + n_subjects)
        for n_subjects in (8, 4)
    )
    model = kind(max_epochs=5, batch_size=16, lr=1e-3, random_state=SEED, verbose=0)
    windows = PPGWindower().fit_transform(data.X)
    return model.fit(windows, data.y), PPGWindower().fit_transform(others.X)


def scaled(kind: Any, shape: tuple[int, int]) -> Any:
    """Return a network with nearly the weights that it drew, and heart rates that differ."""
    windows, y = random_windows(64, shape), np.random.default_rng(SEED).uniform(50, 150, 64)
    model = kind(max_epochs=1, random_state=SEED, verbose=0).fit(windows, y)
    with torch.no_grad():
        model.network_.out.weight.mul_(SPREAD / model.predict(windows).std())
    return with_ranges(model, windows)


def with_ranges(model: Any, windows: Any) -> Any:
    """Measure the ranges of a student's tensors anew, by which it is quantized."""
    if hasattr(model, "ranges_"):
        model.ranges_ = layer_ranges(model.network_, windows, percentile=100)
    return model


def print_row(name: str, found: Any, expected: Any) -> None:
    """Print the largest and the mean difference."""
    far = np.abs(found - expected)
    print(f"| {name} | {len(far):,} | {far.max():.1e} | {far.mean():.1e} | {far.max() * 256:.2f} |")


def print_integers(name: str, student: Any, windows: Any) -> None:
    """Print both int8 forms against the integers, and all against float."""
    integers = to_microcontroller(student)
    expected, exact = integers.predict(windows), ran(to_onnx(integers), windows)
    standard = ran(to_onnx(integers, exact=False), windows)
    print_row(f"{name}, int8 exact against integers", exact, expected)
    print_row(f"{name}, int8 standard against integers", standard, expected)
    print_row(f"{name}, integers against float", expected, student.predict(windows))
    print_row(f"{name}, int8 standard against float", standard, student.predict(windows))


def published_student(folder: Path) -> tuple[Any, Any]:
    """Return the published student as an estimator, and real windows (n, 4, 256)."""
    stored = np.load(folder / "published_student_S6.npz")
    windows = np.load(folder / "ppg_dalia_S6_stairs.npz")["normalised"]
    student = scaled(DistilledStudentRegressor, (4, 256))
    weights = {name: torch.from_numpy(stored[name]) for name in stored if "." in name}
    student.network_.load_state_dict(weights)
    return with_ranges(student, windows), windows


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--published", type=Path, help="folder of the published weights")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| what | windows | largest (bpm) | mean (bpm) | largest (steps) |\n|---|---|---|---|---|"
    )
    for kind in (PulseTeacherRegressor, DistilledStudentRegressor):
        model, windows = trained(kind)
        print_row(f"{kind.__name__}, float", ran(to_onnx(model), windows), model.predict(windows))
    print_integers("student", model, windows)
    for shape in ((4, 256), (1, 256), (4, 250)):
        for kind in (PulseTeacherRegressor, DistilledStudentRegressor):
            model, windows = scaled(kind, shape), random_windows(500, shape)
            words = f"untrained {kind.__name__} {shape[0]} x {shape[1]}, scaled, float"
            print_row(words, ran(to_onnx(model), windows), model.predict(windows))
    print_integers("untrained student, scaled", model, random_windows(4000, shape))
    if options.published:
        student, windows = published_student(options.published)
        found = ran(to_onnx(student), windows)
        print_row("published student, float", found, student.predict(windows))
        print_integers("published student", student, windows)


if __name__ == "__main__":
    main()
