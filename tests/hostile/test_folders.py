"""Folders in which names of files are those of pipes, of folders or of links in a circle."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pulsehr.datasets import load_bami, load_empatica, load_ieee_spc, load_ppg_dalia

LOADERS = {
    load_bami: ["Subject_1.mat"],
    load_ieee_spc: ["DATA_01_TYPE01.mat"],
    load_ppg_dalia: ["PPG_FieldStudy/S1/S1.pkl"],
    load_empatica: ["BVP.csv", "ACC.csv"],
}


@pytest.fixture(autouse=True)
def a_minute():
    """Opening a pipe waits for ever."""

    def over(number, frame):
        raise AssertionError("a loader waits")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def circle(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, circle])
@pytest.mark.parametrize("load", LOADERS, ids=lambda load: load.__name__)
def test_what_is_no_file_is_passed_over(load, make, tmp_path):
    for name in LOADERS[load]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        make(tmp_path / name)
    (tmp_path / "again").symlink_to(tmp_path)
    with pytest.raises(ValueError, match=rf"{load.__name__}: expected .* got n"):
        load(tmp_path)
