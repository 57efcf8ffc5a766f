"""Count the instructions that C takes on a Cortex-M core under QEMU: exact, repeatable.

Cycles are estimated along the way from the published tables of the Cortex-M4: those of other cores
differ.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

from pulsehr.firmware.cortex_m import Finished, run_image
from pulsehr.firmware.host import find_compiler

PLUGIN = Path(__file__).with_suffix(".c")

#: Place these around what is counted: ``count_begin(); ...; count_end();``.
MARKERS = """
__attribute__((noinline)) void count_begin(void) { __asm__ volatile("" ::: "memory"); }
__attribute__((noinline)) void count_end(void) { __asm__ volatile("" ::: "memory"); }
"""


class Count(NamedTuple):
    """What a function took: instructions exactly, cycles by the tables of the Cortex-M4."""

    instructions: int
    cycles: int


#: By function, of one run from `count_begin` to `count_end`.
Counts = dict[str, Count]


def build_plugin(folder: Path) -> Path:
    """Compile the plug-in of QEMU for this machine."""
    plugin = folder.resolve() / "instruction_count.so"
    command = [*find_compiler(), "-std=gnu11", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra"]
    subprocess.run([*command, "-Werror", "-o", str(plugin), str(PLUGIN)], check=True)
    return plugin


def count_instructions(image: Path, core: str, plugin: Path) -> tuple[Finished, list[Counts]]:
    """Run an image; return how it ended and the counts of each region, in order."""
    output = image.with_suffix(".counts")
    finished = run_image(image, core, [f"{plugin},output={output}"])
    regions: list[Counts] = []
    for line in output.read_text(encoding="utf-8").splitlines():
        _, region, instructions, cycles, function = line.split()
        while len(regions) <= int(region):
            regions.append({})
        regions[int(region)][function] = Count(int(instructions), int(cycles))
    return finished, regions
