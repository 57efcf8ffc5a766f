"""Hundreds of changed files of all readers; `make fuzz SECONDS=600` tries more of them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "fuzz_readers.py"


def test_no_changed_file_breaks_a_reader(tmp_path, missing):
    if importlib.util.find_spec("atheris") is None:
        missing("there is no atheris: pip install 'pulsehr[fuzz]' (Linux)")
    command = [sys.executable, str(SCRIPT), "--runs", "600", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Done 600 runs" in done.stderr
