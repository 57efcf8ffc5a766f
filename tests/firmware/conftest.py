"""Random students, their integers, and the published one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import numpy as np
import pytest
import torch
from students import random_student, random_windows

from pulsehr.firmware.cmsis_nn import CmsisNN, find_cmsis_nn
from pulsehr.firmware.cortex_m import find_tool
from pulsehr.firmware.graph import Graph, measure_ranges
from pulsehr.firmware.lowering import lower
from pulsehr.firmware.quantization import QuantizedGraph, quantize
from pulsehr.networks import DistilledStudent


@pytest.fixture(scope="session")
def quantized_student() -> Callable[..., QuantizedGraph]:
    """Make a random student in integers."""

    def make(
        n_channels: int, n_times: int, filters: tuple[int, int, int] = (16, 24, 32)
    ) -> QuantizedGraph:
        shape = (n_channels, n_times)
        graph = lower(random_student(*shape, filters), shape)
        return quantize(graph, measure_ranges(graph, random_windows(50, shape, seed=1)))

    return make


@pytest.fixture(scope="session")
def published(reference: Path) -> SimpleNamespace:
    """Graph, windows and float results of the published student."""
    stored = np.load(reference / "published_student_S6.npz")
    network = DistilledStudent().eval()
    weights = {key: torch.from_numpy(stored[key]) for key in stored if "." in key}
    network.load_state_dict(weights)
    data = np.load(reference / "ppg_dalia_S6_stairs.npz")
    graph: Graph = lower(network, (4, 256))
    return SimpleNamespace(
        graph=graph,
        windows=data["normalised"],
        heart_rate=data["y"],
        expected_bpm=stored["expected_bpm"],
        expected_features=stored["expected_features"],
    )


@pytest.fixture(scope="session")
def arm_gcc(missing: Callable[[str], NoReturn]) -> str:
    """Name of the compiler for Cortex-M, whose tools for sizes come with it."""
    try:
        return find_tool("arm-none-eabi-gcc")
    except RuntimeError as error:
        missing(str(error))


@pytest.fixture(scope="session")
def qemu(arm_gcc: str, missing: Callable[[str], NoReturn]) -> str:
    """Name of the emulator of Cortex-M; what it runs can be compiled."""
    try:
        return find_tool("qemu-system-arm")
    except RuntimeError as error:
        missing(str(error))


@pytest.fixture(scope="session")
def cmsis_nn(missing: Callable[[str], NoReturn]) -> CmsisNN:
    """Headers and sources of CMSIS-NN."""
    try:
        return find_cmsis_nn()
    except RuntimeError as error:
        missing(f"{error}; or run 'make test', which fetches 4.0.0")


@pytest.fixture(scope="session")
def host_headers() -> Path:
    """Folder of an empty arm_acle.h, with which CMSIS-NN compiles on this machine."""
    return Path(__file__).parent / "host_headers"


@pytest.fixture(scope="session")
def tool(missing: Callable[[str], NoReturn]) -> Callable[[str], str]:
    """Return the name of a build tool if it is there."""

    def find(name: str) -> str:
        if shutil.which(name) is None:
            missing(f"there is no {name}: install it, on Debian by 'apt-get install {name}'")
        return name

    return find
