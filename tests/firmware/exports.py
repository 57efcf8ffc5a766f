"""Models of every kind for the tests of the exported folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from fronts import windower

from pulsehr.firmware.front import design_front
from pulsehr.firmware.microcontroller import MicrocontrollerModel
from pulsehr.firmware.quantization import QuantizedGraph

#: Parameters of front ends: each way of normalising, with and without each option.
FRONTS: dict[str, dict[str, Any]] = {
    "paper": {"ppg_rate": 64.0},
    "ppg alone": {"n_channels": 1, "ppg_rate": 96.0, "bandpass": (0.5, 4.0)},
    "one rate": {"normalize": "channel", "clip": True, "stride": 1.0},
    "everything": {
        "ppg_rate": 96.0,
        "acc_rate": 128.0,
        "bandpass": (0.5, 4.0),
        "clip": True,
    },
    "as measured": {"normalize": None, "acc_rate": 64.0},
}

#: What compilers must not warn of in what is exported.
STRICT = (
    "-std=c11 -O2 -Wall -Wextra -Wconversion -Wshadow -Wcast-qual -Wstrict-prototypes "
    "-Wmissing-prototypes -Wundef -Werror -pedantic"
).split()


def exported(
    graph: QuantizedGraph,
    front: dict[str, Any] | None = None,
    prefix: str = "hr",
    **parameters: Any,
) -> MicrocontrollerModel:
    """Export a network with a front end made by `FRONTS`, or alone."""
    if front is None:
        return MicrocontrollerModel(graph, prefix, **parameters)
    values = dict(front)
    source = {name: values.pop(name) for name in ("normalize", "bandpass") if name in values}
    n_channels, n_times = graph.input_shape
    assert n_channels == values.pop("n_channels", 4)
    step = {"window": None, "channel": 30.0, None: 1e-3}[source.get("normalize", "window")]
    front_end = design_front(
        windower(n_channels, window=n_times / 32, **source),
        graph.input_format,
        ppg_step=step,
        **values,
    )
    return MicrocontrollerModel(graph, prefix, front_end=front_end, **parameters)


def call(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a tool in a folder; what it prints is for the test to judge."""
    # without what a make that runs the tests hands on to a make below it
    drop = ("CMSIS", "MAKE", "MFLAGS")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
    return subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**clean, **environment},
    )
