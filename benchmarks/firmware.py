"""Count what one window costs on Cortex-M cores, beside what other exporters need.

    make peers && python benchmarks/firmware.py

Instructions, flash and RAM. The paper's student and a small network go through each exporter,
through gcc, and run under QEMU with a plug-in that counts instructions: the same number on every
run. Each result is compared with what the exporter's own Python says (emx: with torch). What an
exporter does not take is said in its row. The heap is what malloc of newlib asks for.

Instructions are not cycles.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from firmware_exporters import CannotExportError, Export, exporters
from firmware_networks import Network, paper_student, small_network
from instruction_count import MARKERS, Counts, build_plugin, count_instructions

from pulsehr.firmware.cortex_m import cross_compile, link_image, support_files
from pulsehr.firmware.cortex_m_footprint import link_footprint

MAIN = Path(__file__).with_name("firmware_main.c")


@dataclass(frozen=True)
class Cost:
    """What one window costs.

    Parameters
    ----------
    counts : dict of str to int
        Instructions by function.
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
        return sum(self.counts.values())

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
        raise RuntimeError(f"status {finished.status}: {finished.stdout}{finished.stderr}")
    results, stack, heap = np.array([line.split() for line in finished.stdout.splitlines()], int).T
    worst = int(np.max(np.abs(results - export.expected)))
    if worst > export.tolerance:
        raise RuntimeError(f"computed {results}, expected {export.expected}")
    return Cost(
        max(regions, key=lambda counts: sum(counts.values())),
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


def row(name: str, cost: Cost, n_macs: int) -> str:
    """Write a line of the table."""
    sizes = (cost.flash_bytes, cost.ram_bytes, cost.static_bytes, cost.stack_bytes)
    numbers = (*sizes, cost.heap_bytes, cost.window_bytes)
    per_mac = cost.instructions / n_macs
    return " | ".join(
        [f"| {name}", f"{cost.instructions:,}", f"{per_mac:.2f}", *(f"{n:,}" for n in numbers), ""]
    ).rstrip()


def print_tables(
    networks: list[Network], cores: list[str], only: str, n_functions: int, folder: Path
) -> None:
    """Measure every exporter on every core and print a table for each network and core."""
    plugin = build_plugin(folder)
    for network in networks:
        for core in cores:
            print(f"\n**{network.name}, {core}**: {network.n_macs:,} MACs of one window\n")
            print(
                "| | instructions | per MAC | flash (B) | RAM (B) | arena, static | stack | heap "
                "| window |\n|---|---|---|---|---|---|---|---|---|"
            )
            for name, (export, optimize) in exporters(folder).items():
                if not re.search(only, name):
                    continue
                try:
                    cost = measure(export(network, core), core, optimize, plugin)
                except CannotExportError as error:
                    print(f"| {name} | {error} | | | | | | | |", flush=True)
                    continue
                print(row(name, cost, network.n_macs), flush=True)
                largest = sorted(cost.counts.items(), key=lambda item: -item[1])
                for function, count in largest[:n_functions]:
                    print(f"| - {function} | {count:,} | | | | | | | |")
        if network.note:
            print(f"\n{network.note}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--published", type=Path, help="folder of the paper's published weights")
    parser.add_argument("--cores", nargs="+", default=["cortex-m4", "cortex-m7", "cortex-m55"])
    parser.add_argument("--networks", nargs="+", default=["student", "small"])
    parser.add_argument("--only", default="", help="regular expression of exporters")
    parser.add_argument(
        "--functions", type=int, default=0, help="instructions of so many functions"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = {"student": lambda: paper_student(options.published), "small": small_network}
    networks = [known[name]() for name in options.networks]
    with tempfile.TemporaryDirectory(prefix="pulsehr-") as folder:
        print_tables(networks, options.cores, options.only, options.functions, Path(folder))


if __name__ == "__main__":
    main()
