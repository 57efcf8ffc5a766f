"""How near the firmware is to the pipeline from samples on: rows of windows, and heart rates.

    PULSEHR_DATA=folder python benchmarks/firmware_front.py

Fits students for a few epochs, which suffices, as what is compared is not their accuracy. Every
column but the first two is a share of int8 samples, or a mean absolute difference in bpm from
`predict` of the pipeline in floating point.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import make_pipeline

from pulsehr import DistilledStudentRegressor, PPGWindower, to_microcontroller
from pulsehr.datasets import load_bami, load_ieee_spc
from pulsehr.firmware.front_integer import front_windows
from pulsehr.firmware.front_samples import window_ends
from pulsehr.firmware.integer import quantize_windows

N_TRAIN, N_TEST = 4, 3

#: Parameters of the windower, and of the export beside the rates.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "window": ({}, {}),
    "window, band-pass": ({"bandpass": (0.5, 4.0)}, {}),
    "channel": ({"normalize": "channel"}, {"ppg_step": 2.0**-6}),
    "none": ({"normalize": None}, {"ppg_step": 2.0**-6}),
}


def compare(data: Any, windower: dict[str, Any], export: dict[str, Any]) -> list[str]:
    """Return the columns of one line."""
    recordings = data.recordings[:N_TRAIN], data.recordings[N_TRAIN : N_TRAIN + N_TEST]
    train = [reading for one in recordings[0] for reading in one.labelled_readings()]
    student = DistilledStudentRegressor(max_epochs=8, batch_size=16, random_state=0, verbose=0)
    pipe = make_pipeline(PPGWindower(sampling_rate=25, **windower), student)
    pipe.fit(train, np.array([reading.heart_rate for reading in train]))
    first = recordings[1][0]
    model = to_microcontroller(pipe, ppg_rate=first.ppg_rate, acc_rate=first.acc_rate, **export)

    readings = [reading for one in recordings[1] for reading in one.readings(stride=2.0)]
    predicted = pipe.predict(readings)
    integers = model.predict(readings)
    windows = pipe[:-1].transform(readings)
    network = to_microcontroller(pipe[-1]).predict(windows)
    rows = np.concatenate([_rows(model, one) for one in recordings[1]])
    steps = np.abs(rows - quantize_windows(windows, model.graph.input_format).astype(int))
    return [
        f"{len(readings)}",
        f"{'yes' if np.array_equal(model.run_c(readings), integers) else 'NO'}",
        f"{100 * (steps == 0).mean():.2f} %",
        f"{100 * (steps <= 1).mean():.3f} %",
        f"{np.abs(integers - predicted).mean():.3f}",
        f"{np.abs(network - predicted).mean():.3f}",
    ]


def _rows(model: Any, recording: Any) -> Any:
    front = model.front_end
    instants = np.array([reading.instant for reading in recording.readings(stride=2.0)])
    ends = window_ends(front, recording, instants)
    return front_windows(front, *model.samples(recording), ends).astype(int)


def main() -> None:
    """Print one line for each data set and windower."""
    torch.set_num_threads(1)
    folder = Path(os.environ["PULSEHR_DATA"])
    loaded = {
        "IEEE SPC, 125 to 25 Hz": load_ieee_spc(folder / "ieee_spc_2015"),
        "BAMI, 50 to 25 Hz": load_bami(folder / "bami_gyro"),
    }
    head = ("n", "C = Python", "equal", "one step", "samples on", "float windows")
    print(f"{'':44}" + "".join(f"{name:>14}" for name in head))
    for source, data in loaded.items():
        for case, (windower, export) in CASES.items():
            columns = compare(data, windower, export)
            print(f"{f'{source}: {case}':44}" + "".join(f"{text:>14}" for text in columns))


if __name__ == "__main__":
    main()
