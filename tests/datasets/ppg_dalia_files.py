"""Write files in the exact layout of PPG-DaLiA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from python2_pickles import write_python2_pickle


def subject_content(n: int, seconds: float = 60.0, **changes: Any) -> dict[str, Any]:
    """Return what the pickle of subject n holds; changes by name: BVP, ACC, label, ...."""
    rng = np.random.default_rng(n)

    def noise(rate: float, columns: int) -> np.ndarray:
        return rng.normal(size=(round(seconds * rate), columns)).round(2)

    pulse = 80 * np.sin(2 * np.pi * 1.2 * np.arange(round(seconds * 64)) / 64)[:, None]
    n_labels = int((seconds - 8) // 2) + 1
    activity = np.repeat(np.arange(9.0), -(-round(seconds * 4) // 9))[: round(seconds * 4)]
    gravity = np.array([0.0, 0.0, 1.0])
    content: dict[str, Any] = {
        "rpeaks": np.arange(300, round(seconds * 700), 583),
        "signal": {
            "chest": {
                "ACC": noise(700, 3),
                "ECG": noise(700, 1),
                "EMG": np.zeros((1, 1)),
                "EDA": np.zeros((1, 1)),
                "Temp": np.zeros((1, 1)),
                "Resp": noise(700, 1),
            },
            "wrist": {
                "ACC": changes.pop("ACC", (gravity + noise(32, 3) / 8).round(6)),
                "BVP": changes.pop("BVP", pulse + noise(64, 1)),
                "EDA": noise(4, 1),
                "TEMP": noise(4, 1),
            },
        },
        "label": 70.0 + np.arange(n_labels) % 600 / 10,
        "activity": activity[:, None],
        "questionnaire": {
            "WEIGHT": 78.0,
            "Gender": " m",
            "AGE": 34,
            "HEIGHT": 182.0,
            "SKIN": 3,
            "SPORT": 6,
        },
        "subject": f"S{n}",
    }
    return content | changes


def write_subject(
    root: Path, n: int, seconds: float = 60.0, protocol: int = 2, **changes: Any
) -> Path:
    """Write ``PPG_FieldStudy/S<n>/S<n>.pkl``."""
    path = root / "PPG_FieldStudy" / f"S{n}" / f"S{n}.pkl"
    return write_python2_pickle(path, subject_content(n, seconds, **changes), protocol)
