"""Fixtures shared by all tests: real data where present, threads, small recordings."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from hypothesis import settings

from pulsehr import Recording

#: Importing it instruments the package.
collect_ignore = ["fuzz_readers.py"]

torch.set_num_threads(1)

# the same examples in every run: what fails, fails for whoever tries it next
settings.register_profile("pulsehr", derandomize=True, deadline=None, database=None)
settings.load_profile("pulsehr")

# a run in the background inherits that Ctrl-C is ignored, which tests press
signal.signal(signal.SIGINT, signal.default_int_handler)


def _required(reason: str) -> NoReturn:
    """Skip for a missing optional part, or fail where everything is required."""
    if os.environ.get("PULSEHR_REQUIRE_ALL") == "1":
        pytest.fail(f"PULSEHR_REQUIRE_ALL=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def missing() -> Callable[[str], NoReturn]:
    """Skip for a tool that is not there, saying how to get it, or fail where all are required."""
    return _required


@pytest.fixture(scope="session")
def pulsehr_data() -> Path:
    """Folder of the real data sets."""
    folder = os.environ.get("PULSEHR_DATA")
    if not folder or not Path(folder).is_dir():
        _required("no real recordings: set PULSEHR_DATA to the folder that holds them")
    return Path(str(folder))


@pytest.fixture(scope="session")
def reference(pulsehr_data: Path) -> Path:
    """Folder of the published weights, beside the real data sets."""
    folder = pulsehr_data.parent / "reference"
    if not folder.is_dir():
        _required(f"no published weights: expected the folder 'reference' beside {pulsehr_data}")
    return folder


@pytest.fixture(scope="session")
def compiler() -> str:
    """Name of a C compiler."""
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return name
    return _required("there is no C compiler: install one, such as gcc, to run the emitted C")


@pytest.fixture
def lockable() -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder, and what makes it and all in it such that the user of the tests may only read."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory(prefix="pulsehr-") as name:
        folder = Path(name)
        folder.chmod(0o755)

        def lock() -> None:
            for path in [folder, *folder.rglob("*")]:
                path.chmod(0o555 if path.is_dir() else 0o444)
            if root:  # who may anything: the user "nobody" in its place
                os.seteuid(65534)

        yield folder, lock
        if root:
            os.seteuid(0)
        for path in [folder, *folder.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)


@pytest.fixture
def recording() -> Recording:
    """A minute of a 72 bpm pulse with noise and acceleration, labelled every two seconds."""
    rng = np.random.default_rng(0)
    seconds = np.arange(0, 60, 1 / 64)
    times = np.arange(8.0, 60.1, 2.0)
    return Recording(
        ppg=100 * np.sin(2 * np.pi * 1.2 * seconds) + rng.normal(size=len(seconds)) + 5000,
        ppg_rate=64,
        acc=rng.normal(loc=[0, 0, 1], scale=0.1, size=(60 * 32, 3)),
        acc_rate=32,
        heart_rate=np.full(len(times), 72.0),
        heart_rate_times=times,
        activity=["rest", "walk"],
        activity_times=[0, 30],
        subject="S1",
    )
