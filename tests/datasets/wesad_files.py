"""Write files in the exact layout of WESAD, with an ECG whose beats are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from python2_pickles import write_python2_pickle


def simple_ecg(beats: np.ndarray, seconds: float) -> np.ndarray:
    """Return a 700 Hz ECG in mV: a P, R and T wave at each beat (s), with some noise."""
    t = np.arange(round(seconds * 700)) / 700
    ecg = 0.01 * np.random.default_rng(0).normal(size=len(t))
    for shift, height, width in ((-0.16, 0.12, 0.02), (0.0, 1.0, 0.01), (0.22, 0.25, 0.04)):
        for beat in beats:
            near = slice(*np.searchsorted(t, [beat + shift - 5 * width, beat + shift + 5 * width]))
            ecg[near] += height * np.exp(-0.5 * ((t[near] - beat - shift) / width) ** 2)
    return ecg


def subject_content(
    n: int, seconds: float = 60.0, beats: np.ndarray | None = None, **changes: Any
) -> dict[str, Any]:
    """Return what the pickle of subject n holds; changes by name: BVP, ACC, ECG, label, ...."""
    rng = np.random.default_rng(n)
    n_chest = round(seconds * 700)
    if beats is None:
        beats = np.arange(0.4, seconds - 0.3, 0.8)
    ecg = changes.pop("ECG", simple_ecg(beats, seconds)[:, None])
    counts = np.array([0, 0, 64]) + rng.integers(-5, 6, size=(round(seconds * 32), 3))
    bvp = 80 * np.sin(2 * np.pi * 1.25 * np.arange(round(seconds * 64)) / 64)[:, None]
    content: dict[str, Any] = {
        "signal": {
            "chest": {
                "ACC": rng.normal(size=(n_chest, 3)),
                "ECG": ecg,
                "EMG": rng.normal(size=(n_chest, 1)),
                "EDA": rng.normal(size=(n_chest, 1)),
                "Temp": rng.normal(size=(n_chest, 1)).astype(np.float32),
                "Resp": rng.normal(size=(n_chest, 1)),
            },
            "wrist": {
                "ACC": changes.pop("ACC", counts.astype(np.float64)),
                "BVP": changes.pop("BVP", bvp + rng.normal(size=bvp.shape)),
                "EDA": rng.normal(size=(round(seconds * 4), 1)),
                "TEMP": rng.normal(size=(round(seconds * 4), 1)),
            },
        },
        "label": np.repeat(np.arange(8), -(-n_chest // 8))[:n_chest].astype(np.int32),
        "subject": f"S{n}",
    }
    return content | changes


def write_subject(root: Path, n: int, seconds: float = 60.0, **changes: Any) -> Path:
    """Write ``WESAD/S<n>/S<n>.pkl``."""
    path = root / "WESAD" / f"S{n}" / f"S{n}.pkl"
    return write_python2_pickle(path, subject_content(n, seconds, **changes))
