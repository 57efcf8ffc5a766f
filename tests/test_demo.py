"""The demo runs from recordings to firmware and reports what it promises."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

DEMO = Path(__file__).parents[1] / "examples" / "demo.py"
COLUMNS = [
    "FFT peak",
    "teacher",
    "student alone",
    "student distilled",
    "int8 student",
    "pretrained",
]
SUBJECTS = [f"synthetic_{index:02d}" for index in range(4)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Run the demo once, not as a terminal; return its folder and what it printed."""
    out = tmp_path_factory.mktemp("demo")
    command = [sys.executable, str(DEMO), "--quick", "--out", str(out / "build")]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return out, done.stdout


@pytest.fixture
def export(monkeypatch, tmp_path):
    """Call the demo's `export` with a model of which only the C is given."""
    spec = spec_from_file_location("demo", DEMO)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)

    def call(run_c):
        model = SimpleNamespace(
            constant_bytes=1, state_bytes=1, predict=lambda X: np.array([60.0, 72.0]), run_c=run_c
        )
        monkeypatch.setattr(module, "firmware", lambda student, X, folder: model)
        return module.export(student=None, X=[0, 1], folder=tmp_path)

    return call


def test_each_fold_prints_a_line_when_it_is_fitted(demo):
    lines = re.findall(r"^fold (\d) of 3: (.+), \d+ s$", demo[1], flags=re.MULTILINE)
    fits = ["student alone", "teacher and student distilled"]
    assert sorted(lines) == [(fold, fit) for fold in "123" for fit in fits]


def test_table_has_an_error_of_every_model_for_every_subject(demo):
    lines = demo[1].splitlines()
    head = next(k for k, line in enumerate(lines) if "FFT peak" in line)
    assert re.split(r"\s{2,}", lines[head].strip()) == COLUMNS
    rows = [line.split() for line in lines[head + 1 : head + 2 + len(SUBJECTS)]]
    assert [row[0] for row in rows] == [*SUBJECTS, "mean"]
    errors = [[float(value) for value in row[1:]] for row in rows]
    assert [len(row) for row in errors] == [len(COLUMNS)] * len(rows)
    means = [sum(column) / len(SUBJECTS) for column in zip(*errors[:-1], strict=True)]
    assert errors[-1] == pytest.approx(means, abs=0.011)


def test_the_pretrained_student_is_told_from_those_that_were_fitted(demo):
    assert "pretrained: load_pretrained('student') as it comes, not fitted" in demo[1]


def test_picture_is_written(demo):
    assert (demo[0] / "build" / "heart_rate.png").read_bytes().startswith(b"\x89PNG")


def test_firmware_is_written_and_its_size_told(demo):
    written = {path.name for path in (demo[0] / "build" / "firmware").iterdir()}
    assert {"README.md", "pulsehr.c", "pulsehr.h", "pulsehr_weights.c"} <= written
    assert re.search(
        r"^Firmware: .+ [\d,]+ bytes weights and tables, [\d,]+ bytes RAM$", demo[1], re.MULTILINE
    )


def test_c_computes_what_python_computes(demo, compiler):
    assert re.search(r"^C and Python on \d+ .+: equal, every bit$", demo[1], re.MULTILINE)


def test_a_difference_between_c_and_python_is_told(export, compiler, capsys):
    assert not export(run_c=lambda X: np.array([60.0, 72.00390625]))
    assert "C and Python on 2 held-out readings: DIFFERENT" in capsys.readouterr().out


def test_without_a_compiler_the_demo_goes_on(export, monkeypatch, capsys):
    monkeypatch.setenv("CC", "no-such-compiler")
    assert export(run_c=None)
    assert "C not compared with Python: no C compiler found" in capsys.readouterr().out


def test_nothing_is_claimed_for_health(demo):
    assert "For research only" in demo[1]
