"""Fuzz the emitted C with libFuzzer: ``make fuzz SECONDS=600``, or a few runs in the tests."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from emitted import PIPELINES, call, emitted, public_headers, write

from pulsehr.firmware.microcontroller import MicrocontrollerModel

HARNESS = Path(__file__).parent / "fuzz_calls.c"

#: The harness and the C are compiled alike: sanitized, and with counters of what was reached.
FLAGS = (
    "-std=c11 -g -O1 -Wall -Wextra -Werror -fno-sanitize-recover=all "
    "-fsanitize=fuzzer,address,undefined,integer-divide-by-zero"
).split()


def build_fuzzer(
    model: MicrocontrollerModel, folder: Path, files: Mapping[str, str] | None = None
) -> Path:
    """Compile the harness with a pipeline, or with other text of its files."""
    assert model.front_end is not None
    files = {
        **(files or model.sources),
        "headers.h": "".join(f'#include "{header}"\n' for header in public_headers(model)),
        "fuzz_calls.c": HARNESS.read_text(encoding="utf-8"),
    }
    folder.mkdir(parents=True, exist_ok=True)
    front = model.front_end
    have = {
        "CLIP": front.clip,
        "KALMAN": front.kalman is not None,
        "GAP": front.max_gap is not None,
    }
    options = [f"-DWITH_{name}" for name, used in have.items() if used]
    call(["clang-14", *FLAGS, *options, "-o", "fuzzer", *write(files, folder)], folder)
    return folder / "fuzzer"


def fuzz(fuzzer: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run it on what was found before; inputs that fail are written beside it."""
    corpus = fuzzer.parent / "corpus"
    corpus.mkdir(exist_ok=True)
    command = [
        str(fuzzer),
        *options,
        "-max_len=400",
        "-len_control=0",
        "-print_final_stats=1",
        str(corpus),
    ]
    return subprocess.run(command, cwd=fuzzer.parent, text=True, stderr=subprocess.PIPE)


def main() -> int:
    """Fuzz every pipeline for a share of the time; keep the inputs in build/fuzz."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"))
    arguments = parser.parse_args()
    status = 0
    for name in PIPELINES:
        fuzzer = build_fuzzer(emitted(name), (arguments.folder / name.replace(" ", "_")).resolve())
        done = fuzz(fuzzer, f"-max_total_time={arguments.seconds // len(PIPELINES)}")
        sys.stdout.write(f"{name}\n{done.stderr[-1500:]}\n")
        status = status or done.returncode
    return status


if __name__ == "__main__":
    sys.exit(main())
