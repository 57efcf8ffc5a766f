"""How much flash, RAM and stack C takes on a Cortex-M core: measured, not estimated."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pulsehr.firmware.cortex_m import call_tool, cross_compile, find_core

#: Bytes that functions of the C library and of the compiler's runtime may push: an upper bound,
#: read from the machine code of newlib 3.3 and libgcc 12 for the cores of `cortex_m`.
RUNTIME_STACK_BYTES = {
    "memcpy": 16,
    "memmove": 16,
    "memset": 16,
    "__aeabi_ldivmod": 64,
    "__aeabi_uldivmod": 64,
}

#: How the compiler's call graph names a call by pointer.
INDIRECT = "__indirect_call"


@dataclass(frozen=True)
class Footprint:
    """What linked code takes.

    Parameters
    ----------
    flash_bytes : int
        Code, constants and the first values of variables, with what they need of the C library.
    ram_bytes : int
        Variables that live as long as the program; neither stack nor heap.
    symbols : mapping of str to int
        Bytes of each function and table, the largest first.
    """

    flash_bytes: int
    ram_bytes: int
    symbols: Mapping[str, int]


def measured_footprint(
    files: Mapping[str, str],
    roots: Sequence[str],
    core: str = "cortex-m4",
    optimize: str = "-O2",
    options: Sequence[str] = (),
    include_dirs: Iterable[Path] = (),
    sources: Iterable[Path] = (),
) -> Footprint:
    """Compile, link, and measure what the functions `roots` need.

    Parameters
    ----------
    files : mapping of str to str
        Name and text of each file.
    roots : sequence of str
        The functions that a firmware calls; what these do not reach is not counted.
    core, optimize, options, include_dirs, sources
        As in `cross_compile`.

    Returns
    -------
    Footprint
        Sizes.

    Raises
    ------
    RuntimeError
        If a tool is missing or fails, or a symbol is missing.
    """
    with tempfile.TemporaryDirectory(prefix="pulsehr-") as name:
        folder = Path(name)
        objects = cross_compile(
            files, folder, core, optimize, options, include_dirs=include_dirs, sources=sources
        )
        return link_footprint(objects, roots, folder, core)


def link_footprint(
    objects: Iterable[Path], roots: Sequence[str], folder: Path, core: str = "cortex-m4"
) -> Footprint:
    """Link objects from `cross_compile` and measure what the functions `roots` need."""
    if not roots:
        raise ValueError("link_footprint: roots must name a function, got none")
    needed = [f"-Wl,--undefined={root},--require-defined={root}" for root in roots]
    linked = folder / "footprint.elf"
    options = ["-nostartfiles", "-Wl,--gc-sections,--no-warn-rwx-segments", f"-Wl,-e,{roots[0]}"]
    options.append("--specs=nano.specs")  # the C library that firmware is usually linked with
    flags = [*find_core(core).flags, "-mthumb"]
    inputs = [Path(path).resolve() for path in objects]
    call_tool(
        ["arm-none-eabi-gcc", *flags, *options, *needed, *inputs, "-lm", "-o", linked.name], folder
    )
    # Berkeley format: a line of titles, then text (with constants), data, bss
    sizes = call_tool(["arm-none-eabi-size", linked.name], folder).splitlines()[1].split()
    text, data, bss = (int(size) for size in sizes[:3])
    names = call_tool(
        ["arm-none-eabi-nm", "--print-size", "--size-sort", "--reverse-sort", linked.name], folder
    )
    symbols = {}
    kinds = set()
    for line in names.splitlines():
        _, size, kind, name = line.split()
        symbols[name] = int(size, 16)
        kinds.add(kind.lower())
    # without a variable, the linker may still align the end of its section
    return Footprint(text + data, data + bss if kinds & set("bdgs") else 0, symbols)


def stack_bytes(objects: Iterable[Path], root: str) -> int:
    """Bound the stack of a function, and of all that it calls.

    Parameters
    ----------
    objects : iterable of Path
        From `cross_compile`, which left the compiler's call graphs beside them.
    root : str
        The function.

    Returns
    -------
    int
        Bytes of the deepest chain of calls; interrupts come on top.

    Raises
    ------
    RuntimeError
        If there is no bound: recursion, a call by pointer, an array of variable length, or a
        function of which nothing is known.
    """
    frames, calls = _read_call_graphs(objects)
    known: dict[str, int] = {}

    def deepest(function: str, path: tuple[str, ...]) -> int:
        if function in path:
            raise RuntimeError(f"stack_bytes: {' -> '.join([*path, function])} is recursive")
        if function not in known:
            own = _frame(function, frames, path)
            callees = calls.get(function, ())
            known[function] = own + max(
                (deepest(callee, (*path, function)) for callee in callees), default=0
            )
        return known[function]

    return deepest(root, ())


def _frame(function: str, frames: Mapping[str, tuple[int, str]], path: tuple[str, ...]) -> int:
    """Bytes that a function itself takes."""
    if function in frames:
        own, kind = frames[function]
        if kind != "static":
            raise RuntimeError(f"stack_bytes: the stack of {function} varies ({kind})")
        return own
    if function in RUNTIME_STACK_BYTES:
        return RUNTIME_STACK_BYTES[function]
    caller = path[-1] if path else "nobody"
    if function == INDIRECT:
        raise RuntimeError(f"stack_bytes: {caller} calls by pointer")
    raise RuntimeError(f"stack_bytes: nothing is known of {function}, called by {caller}")


def _read_call_graphs(
    objects: Iterable[Path],
) -> tuple[dict[str, tuple[int, str]], dict[str, list[str]]]:
    """Read the frame of each function, (bytes, kind), and whom it calls."""
    frames: dict[str, tuple[int, str]] = {}
    calls: dict[str, list[str]] = {}
    for path in objects:
        text = path.with_suffix(".ci").read_text(encoding="utf-8")
        pushed = _pushed_arguments(Path(path))
        for title, n_bytes, kind in re.findall(
            r'^node: \{ title: "([^"]+)" label: "[^"]*?(\d+) bytes \(([^)]*)\)', text, re.M
        ):
            frames[title] = int(n_bytes) + pushed.get(title.rpartition(":")[2], 0), kind
        for source, target in re.findall(
            r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', text, re.M
        ):
            calls.setdefault(source, []).append(target)
    return frames, calls


def _pushed_arguments(path: Path) -> dict[str, int]:
    """Read from machine code what the compiler leaves out of the frame of a function.

    A structure that is passed partly in registers is put together on the stack by the callee,
    before it pushes registers: at most 16 bytes.
    """
    code = call_tool(
        ["arm-none-eabi-objdump", "--disassemble", "--no-show-raw-insn", path.resolve()],
        path.resolve().parent,
    )
    pushed = {}
    for name, body in re.findall(r"^[0-9a-f]+ <([^>]+)>:\n((?:[^\n]+\n)*)", code, re.M):
        before = re.split(r"\t(?:push|stmdb\s+sp!|str[^\n]*\[sp, #-)", body)[0]
        sizes = [int(size) for size in re.findall(r"\tsub(?:\.?w)?\s+sp, (?:sp, )?#(\d+)", before)]
        if before != body or sum(sizes) <= 16:
            pushed[name] = sum(sizes)
    return pushed
