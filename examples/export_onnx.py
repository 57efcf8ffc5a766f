"""Train on synthetic recordings, write ONNX files in float and int8, and run them.

    python examples/export_onnx.py [folder]

Needs pip install "pulsehr[onnx]". The folder, default ``onnx``, is made if it is missing.
"""

from __future__ import annotations

import sys
import timeit
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from sklearn.pipeline import make_pipeline

from pulsehr import DistilledStudentRegressor, PPGWindower, to_microcontroller, to_onnx
from pulsehr.datasets import make_recordings


def main(folder: Path) -> None:
    """Write the files, and print how far ONNX Runtime is from `predict`."""
    data = make_recordings(n_subjects=4, duration=120, random_state=0)
    pipe = make_pipeline(
        PPGWindower(), DistilledStudentRegressor(max_epochs=5, random_state=0, verbose=0)
    )
    pipe.fit(data.X, data.y, distilledstudentregressor__groups=data.groups)
    integers = to_microcontroller(pipe)

    card = {"data": "synthetic recordings", "subjects": 4, "license": "BSD-3-Clause"}
    models = {
        "student.onnx": (to_onnx(pipe, model_card=card), pipe),
        "student_int8.onnx": (to_onnx(integers, model_card=card), integers),
        "student_qdq.onnx": (to_onnx(integers, model_card=card, exact=False), integers),
    }
    # cutting stays outside: the models take windows as measured, and normalise them
    windows = PPGWindower(normalize=None).fit_transform(data.X)
    folder.mkdir(parents=True, exist_ok=True)
    float_seconds = 0.0
    for name, (model, estimator) in models.items():
        onnx.save(model, folder / name)
        session = onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
        run = partial(session.run, None, {"X": windows})
        far = np.abs(run()[0][:, 0] - estimator.predict(windows)).max()
        size = (folder / name).stat().st_size
        seconds = min(timeit.repeat(run, number=3, repeat=7))
        float_seconds = float_seconds or seconds
        print(
            f"{name:18} {size:7,} bytes, at most {far:.6f} bpm from predict, "
            f"takes {seconds / float_seconds:.1f} times as long as float"
        )
    print("card:", session.get_modelmeta().custom_metadata_map)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "onnx"))
