"""Models whose C is attacked: a student alone, and every branch of the front end."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from fronts import front_of, tracker_of
from students import random_student, random_windows

from pulsehr.firmware.graph import measure_ranges
from pulsehr.firmware.lowering import lower
from pulsehr.firmware.microcontroller import MicrocontrollerModel
from pulsehr.firmware.quantization import QuantizedGraph, quantize

#: Debian packages of the tools that are no Arm compilers.
PACKAGES = {
    "gcc": "gcc libc6-dev",
    "g++": "g++",
    "clang-14": "clang-14 libclang-rt-14-dev",
    "clang++-14": "clang-14 libclang-rt-14-dev",
    "cppcheck": "cppcheck",
    "nm": "binutils",
}

#: Front ends by what they are made of: parameters of `front_of`; None is a student alone.
FRONTS: dict[str, dict[str, Any] | None] = {
    "student": None,
    "ppg": {"n_channels": 1},
    "acc": {"factors": (2, 2), "clip": True},
    "two rates": {"factors": (2, 1), "clip": True, "window": 1.0},
    "bandpass": {"factors": (3, 2), "bandpass": (0.5, 4.0), "normalize": "channel"},
    "bandpass of ppg": {"n_channels": 1, "factors": (2, 1), "bandpass": (0.5, 4.0), "clip": True},
    "kalman": {"n_channels": 1, "window": 1.0, "tracker": tracker_of()},
    "gaps": {"factors": (2, 2), "window": 1.0, "tracker": tracker_of("clip", max_gap=4.0)},
    "raw": {"normalize": None, "window": 0.5},
}

#: Those that feed a front end.
PIPELINES = [name for name, front in FRONTS.items() if front is not None]

#: Warnings that must not come.
WARNINGS = (
    "-Wall -Wextra -Wconversion -Wshadow -Wcast-qual -Wcast-align -Wstrict-prototypes "
    "-Wmissing-prototypes -Wundef -Werror -pedantic"
).split()

#: Faults that end a program.
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")


@cache
def student_graph(
    n_channels: int, n_times: int, filters: tuple[int, int, int] = (5, 8, 12)
) -> QuantizedGraph:
    """Quantize a random student with odd and even numbers of filters."""
    shape = (n_channels, n_times)
    graph = lower(random_student(*shape, filters), shape)
    return quantize(graph, measure_ranges(graph, random_windows(20, shape, seed=1)))


@cache
def emitted(name: str, target: str = "portable", prefix: str = "hr") -> MicrocontrollerModel:
    """Export one of `FRONTS` with a small student, or the student of the paper alone."""
    parameters = FRONTS[name]
    if parameters is None:
        graph = student_graph(4, 256, (16, 24, 32))
        return MicrocontrollerModel(graph, prefix=prefix, target=target)
    sketch = front_of(**parameters)
    graph = student_graph(sketch.n_channels, sketch.n_times)
    front = front_of(**parameters, input_format=graph.input_format)
    return MicrocontrollerModel(graph, prefix=prefix, target=target, front_end=front)


def require(missing: Callable[[str], NoReturn], *tools: str) -> None:
    """Skip without these tools, saying how to get them."""
    for tool in tools:
        if shutil.which(tool) is None:
            missing(f"there is no {tool}: apt-get install --no-install-recommends {PACKAGES[tool]}")


def write(files: Mapping[str, str], folder: Path) -> list[str]:
    """Write files and return the names of those that are compiled."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return sorted(name for name in files if name.endswith(".c"))


def call(command: Sequence[str | Path], folder: Path) -> str:
    """Run a tool that must succeed; return what it printed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def public_headers(model: MicrocontrollerModel) -> list[str]:
    """Name the headers that a firmware includes."""
    inner = ("_network.h", "_weights.h", "_kernels.h", "_front_tables.h", "_kalman.h")
    return sorted(
        name for name in model.sources if name.endswith(".h") and not name.endswith(inner)
    )
