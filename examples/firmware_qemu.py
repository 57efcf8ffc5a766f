"""Fit a pipeline, export it, and run it as an image for a Cortex-M4 under QEMU.

    python examples/firmware_qemu.py [folder]

Needs make, arm-none-eabi-gcc and qemu-system-arm, and pip install "pulsehr[plot]" for the picture
of the memory plan. The folder, default ``build/firmware_qemu``, is made if it is missing.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.pipeline import make_pipeline

from pulsehr import DistilledStudentRegressor, PPGWindower, to_microcontroller
from pulsehr.datasets import make_recordings
from pulsehr.firmware.c_text import array
from pulsehr.firmware.cortex_m import find_tool
from pulsehr.plotting import MemoryPlanDisplay


def main(folder: Path, epochs: int = 8) -> bool:
    """Print the heart rates of a recording; return whether they are those of Python."""
    data = make_recordings(n_subjects=4, duration=120, random_state=0)
    pipe = make_pipeline(
        PPGWindower(),
        DistilledStudentRegressor(
            max_epochs=epochs, batch_size=16, lr=1e-3, random_state=0, verbose=0
        ),
    )
    held_out = data.groups == data.recordings[0].subject
    X = np.array(data.X, dtype=object)
    pipe.fit(X[~held_out], data.y[~held_out])

    recording = data.recordings[0]
    model = to_microcontroller(
        pipe, folder, prefix="hr", ppg_rate=recording.ppg_rate, acc_rate=recording.acc_rate
    )
    print(model.report())
    display = MemoryPlanDisplay.from_model(
        model, ax=Figure(figsize=(11, 7), layout="constrained").subplots()
    )
    display.figure_.savefig(folder / "memory_plan.png", dpi=120)

    ppg, acc = model.samples(recording)
    (folder / "recording.h").write_text(
        "#include <stdint.h>\n"
        + array(f"static const int32_t recording_ppg[{len(ppg)}]", ppg)
        # rows of three without braces of their own, which C allows
        + array(f"static const int16_t recording_acc[{len(acc)}][3]", acc),
        encoding="utf-8",
    )
    printed = run_on_qemu(folder)
    found = re.findall(r"^(\d+) ms (-?\d+) / 256", printed, re.MULTILINE)
    got = np.array([int(bpm_q8) / 256 for _, bpm_q8 in found])
    # one reading for each instant that the image printed
    readings = [recording.readings(stride=1e6, window=int(ms) / 1000)[0] for ms, _ in found]
    wanted = model.predict(readings)
    print(f"\n{'time (s)':>8} {'Cortex-M4 (bpm)':>16} {'Python (bpm)':>13} {'float (bpm)':>12}")
    for (ms, _), on_core, here, bpm in zip(found, got, wanted, pipe.predict(readings), strict=True):
        print(f"{int(ms) / 1000:>8.1f} {on_core:>16.4f} {here:>13.4f} {bpm:>12.4f}")
    equal = len(got) > 0 and np.array_equal(got, wanted)
    verdict = "equal, every bit" if equal else "DIFFERENT"
    print(f"{len(got)} heart rates, Cortex-M4 and Python: {verdict}")
    print(f"Firmware: {folder}; memory plan: {folder / 'memory_plan.png'}")
    return equal


def run_on_qemu(folder: Path) -> str:
    """Build the image by the Makefile of the export, with the recording in it, and run it."""
    for name in ("arm-none-eabi-gcc", "qemu-system-arm"):
        find_tool(name)
    command = ["make", "--no-print-directory", "-C", str(folder), "qemu", "RECORDING=recording.h"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"make qemu failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    try:
        sys.exit(not main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/firmware_qemu")))
    except RuntimeError as error:
        sys.exit(f"firmware_qemu: {error}")
