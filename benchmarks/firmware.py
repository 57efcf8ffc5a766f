"""Count what one window costs on Cortex-M cores, beside what other exporters need.

    make peers && python benchmarks/firmware.py

Instructions, flash and RAM. The paper's student and a small network go through each exporter,
through gcc, and run under QEMU with a plug-in that counts instructions: the same number on every
run. Each result is compared with what the exporter's own Python says (emx: with torch). What an
exporter does not take is said in its row. The heap is what malloc of newlib asks for.

Instructions are not cycles. For the Cortex-M4 the plug-in adds up cycles from the tables of its
Technical Reference Manual, for memory without wait states; milliseconds and millijoules of an
nRF52840 are estimates from these, not measurements.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from firmware_exporters import CannotExportError, Export, exporters
from firmware_networks import Network, paper_student, small_network
from instruction_count import MARKERS, Counts, build_plugin, count_instructions

from pulsehr.firmware.cortex_m import cross_compile, link_image, support_files
from pulsehr.firmware.cortex_m_footprint import link_footprint

#: The nRF52840, a Cortex-M4 in wearables: clock, and current of the CPU at 3 V with the DC/DC
#: converter while it runs from flash with its cache (its Product Specification, key features).
CLOCK_HZ = 64e6
AMPERE_PER_HZ = 52e-12
VOLT = 3.0

MAIN = Path(__file__).with_name("firmware_main.c")


class WrongResultError(Exception):
    """The C does not run to its end, or computes something else than Python."""


@dataclass(frozen=True)
class Cost:
    """What one window costs.

    Parameters
    ----------
    counts : dict of str to Count
        Instructions and cycles by function, of the window that took most.
    flash_bytes : int
        Code and constants.
    static_bytes, stack_bytes, heap_bytes, window_bytes : int
        RAM: variables and arena, deepest stack, heap, and the window itself.
    """

    counts: Counts
    flash_bytes: int
    static_bytes: int
    stack_bytes: int
    heap_bytes: int
    window_bytes: int

    @property
    def instructions(self) -> int:
        """Of all functions."""
        return sum(count.instructions for count in self.counts.values())

    @property
    def cycles(self) -> int:
        """Of all functions, if the core is a Cortex-M4."""
        return sum(count.cycles for count in self.counts.values())

    @property
    def ram_bytes(self) -> int:
        """All RAM."""
        return self.static_bytes + self.stack_bytes + self.heap_bytes + self.window_bytes


def measure(export: Export, core: str, optimize: str, plugin: Path) -> Cost:
    """Compile an export, run it on its windows and check what it computes."""
    with tempfile.TemporaryDirectory(prefix="pulsehr-") as name:
        folder = Path(name)
        files = {
            **export.files,
            "infer.c": export.infer,
            "measuring_main.c": MAIN.read_text(encoding="utf-8"),
            "markers.c": MARKERS,
            "windows.h": windows_text(export.windows),
            "semihosting.h": support_files()["semihosting.h"],
        }
        objects = cross_compile(
            files,
            folder,
            core,
            optimize,
            export.options,
            include_dirs=export.include_dirs,
            sources=export.sources,
        )
        footprint = link_footprint(objects, ["infer"], folder, core)
        finished, regions = count_instructions(link_image(objects, folder, core), core, plugin)
    if finished.status != 0:
        said = (
            finished.stdout.strip()
            or f"crashes, as when the stack leaves the RAM ({finished.status})"
        )
        raise WrongResultError(f"does not run: {said.splitlines()[-1]}")
    results, stack, heap = np.array([line.split() for line in finished.stdout.splitlines()], int).T
    worst = int(np.max(np.abs(results - export.expected)))
    if worst > export.tolerance:
        raise WrongResultError(f"wrong: computed {results}, expected {export.expected}")
    return Cost(
        max(regions, key=lambda counts: sum(count.instructions for count in counts.values())),
        footprint.flash_bytes,
        footprint.ram_bytes,
        int(stack.max()),
        int(heap.max()),
        export.windows[0].nbytes,
    )


def windows_text(windows: np.ndarray) -> str:
    """Write windows as C bytes, aligned for any type."""
    data = np.ascontiguousarray(windows).view(np.uint8).reshape(-1)
    return (
        f"enum {{ N_WINDOWS = {len(windows)}, WINDOW_BYTES = {windows[0].nbytes} }};\n"
        f"static const _Alignas(16) uint8_t windows[] = {{{','.join(map(str, data))}}};\n"
    )


#: Columns of a table from a cost and the MACs of the network.
COLUMNS: dict[str, Callable[[Cost, int], str]] = {
    "instructions": lambda cost, n_macs: f"{cost.instructions:,}",
    "per MAC": lambda cost, n_macs: f"{cost.instructions / n_macs:.2f}",
    "flash (B)": lambda cost, n_macs: f"{cost.flash_bytes:,}",
    "RAM (B)": lambda cost, n_macs: f"{cost.ram_bytes:,}",
    "static": lambda cost, n_macs: f"{cost.static_bytes:,}",
    "stack": lambda cost, n_macs: f"{cost.stack_bytes:,}",
    "heap": lambda cost, n_macs: f"{cost.heap_bytes:,}",
    "window": lambda cost, n_macs: f"{cost.window_bytes:,}",
}

#: More of them for a Cortex-M4, whose cycles are estimated.
ESTIMATES: dict[str, Callable[[Cost, int], str]] = {
    "estimate: ms": lambda cost, n_macs: f"{1e3 * cost.cycles / CLOCK_HZ:.0f}",
    "mJ": lambda cost, n_macs: f"{1e3 * cost.cycles * AMPERE_PER_HZ * VOLT:.2f}",
}


def print_table(
    network: Network, core: str, folder: Path, plugin: Path, only: str, n_functions: int
) -> None:
    """Measure the exporters whose name matches `only` on a core, and print a line for each."""
    columns = COLUMNS | (ESTIMATES if core == "cortex-m4" else {})
    print(f"\n**{network.name}, {core}**: {network.n_macs:,} MACs of one window\n")
    print(f"| | {' | '.join(columns)} |\n|{'---|' * (1 + len(columns))}")
    for name, (export, optimize) in exporters(folder).items():
        if not re.search(only, name):
            continue
        try:
            cost = measure(export(network, core), core, optimize, plugin)
        except (CannotExportError, WrongResultError) as error:
            print(f"| {name} | {error} |{' |' * (len(columns) - 1)}", flush=True)
            continue
        fields = [write(cost, network.n_macs) for write in columns.values()]
        print(f"| {name} | {' | '.join(fields)} |", flush=True)
        largest = sorted(cost.counts.items(), key=lambda item: -item[1].instructions)
        for function, count in largest[:n_functions]:
            print(f"| - {function} | {count.instructions:,} |{' |' * (len(columns) - 1)}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--published", type=Path, help="folder of the paper's published weights")
    parser.add_argument("--cores", nargs="+", default=["cortex-m4", "cortex-m7", "cortex-m55"])
    networks = ["student", "small"]
    parser.add_argument("--networks", nargs="+", choices=networks, default=networks)
    parser.add_argument("--only", default="", help="regular expression of exporters")
    parser.add_argument(
        "--functions", type=int, default=0, help="instructions of so many functions"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = {"student": lambda: paper_student(options.published), "small": small_network}
    with tempfile.TemporaryDirectory(prefix="pulsehr-") as name:
        folder = Path(name)
        plugin = build_plugin(folder)
        for network in (known[name]() for name in options.networks):
            for core in options.cores:
                print_table(network, core, folder, plugin, options.only, options.functions)
            if network.note:
                print(f"\n{network.note}")


if __name__ == "__main__":
    main()
