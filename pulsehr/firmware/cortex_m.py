"""C cross-compiled for Arm Cortex-M cores, and run on them by QEMU."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as resource_files
from pathlib import Path

#: Debian packages that hold the tools.
PACKAGES = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "arm-none-eabi-nm": "binutils-arm-none-eabi",
    "arm-none-eabi-objdump": "binutils-arm-none-eabi",
    "arm-none-eabi-size": "binutils-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
}

#: Start-up, semihosting and linker script of an image; they come with exported models too.
SUPPORT = ("startup.c", "semihosting.c", "semihosting.h", "cortex_m.ld")

#: What every compilation has: unused functions and tables can be left out by the linker, and the
#: calls and stack of functions are written beside the objects.
FLAGS = ("-mthumb", "-std=c11", "-ffunction-sections", "-fdata-sections", "-fcallgraph-info=su")


@dataclass(frozen=True)
class Core:
    """A core, and the machine that QEMU has with it.

    Parameters
    ----------
    flags : tuple of str
        Choose the core, its floating-point unit and its vector unit.
    machine : str
        Name in QEMU.
    flash_start, ram_start : int
        Addresses.
    flash_bytes, ram_bytes : int
        Sizes.
    """

    flags: tuple[str, ...]
    machine: str
    flash_start: int = 0x00000000
    flash_bytes: int = 4 << 20
    ram_start: int = 0x20000000
    ram_bytes: int = 4 << 20


_FPV4 = ("-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")
_FPV5 = ("-mfpu=fpv5-d16", "-mfloat-abi=hard")

#: Cores by name: without DSP instructions (M3), with them (M4, M7, M33), and with Helium (M55).
CORES: dict[str, Core] = {
    "cortex-m3": Core(("-mcpu=cortex-m3",), "mps2-an385"),
    "cortex-m4": Core(("-mcpu=cortex-m4", *_FPV4), "mps2-an386"),
    "cortex-m7": Core(("-mcpu=cortex-m7", *_FPV5), "mps2-an500"),
    "cortex-m33": Core(
        ("-mcpu=cortex-m33", "-mfloat-abi=hard"),
        "mps2-an505",
        flash_start=0x10000000,
        ram_start=0x38000000,
    ),
    "cortex-m55": Core(
        ("-mcpu=cortex-m55", "-mfloat-abi=hard"),
        "mps3-an547",
        flash_bytes=512 << 10,
        ram_bytes=512 << 10,
    ),
}


@dataclass(frozen=True)
class Finished:
    """What a run under QEMU left.

    Parameters
    ----------
    stdout, stderr : str
        What the program printed, and what QEMU and its plug-ins did.
    status : int
        What `main` returned; 99 after a fault.
    """

    stdout: str
    stderr: str
    status: int


def find_core(name: str) -> Core:
    """Return a core by its name."""
    if name not in CORES:
        raise ValueError(f"core must be one of {sorted(CORES)}, got {name!r}")
    return CORES[name]


def find_tool(name: str) -> str:
    """Return a tool's name if it is installed; say how to get it if not."""
    if shutil.which(name) is None:
        raise RuntimeError(
            f"no {name} found: install it, on Debian by 'apt-get install "
            f"--no-install-recommends {PACKAGES[name]}'"
        )
    return name


def support_files() -> dict[str, str]:
    """Read the files of `SUPPORT`."""
    folder = resource_files("pulsehr.firmware") / "templates" / "qemu"
    return {name: (folder / name).read_text(encoding="utf-8") for name in SUPPORT}


def cross_compile(
    files: Mapping[str, str],
    folder: Path,
    core: str = "cortex-m4",
    optimize: str = "-O2",
    options: Sequence[str] = (),
    include_dirs: Iterable[Path] = (),
    sources: Iterable[Path] = (),
) -> list[Path]:
    """Compile C files into object files.

    Parameters
    ----------
    files : mapping of str to str
        Name and text of each file; those in .c are compiled.
    folder : Path
        Where files and objects are written.
    core : str, default="cortex-m4"
        A key of `CORES`.
    optimize : str, default="-O2"
        How to optimise.
    options : sequence of str, default=()
        Further options, such as ``-DNAME`` or ``-Werror``.
    include_dirs : iterable of Path, default=()
        Where the headers of libraries are; warnings in them are not given.
    sources : iterable of Path, default=()
        C files elsewhere, such as those of a library.

    Returns
    -------
    list of Path
        One object for each C file.

    Raises
    ------
    RuntimeError
        If the compiler is missing, or fails.
    """
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    units = [name for name in files if name.endswith(".c")]
    units += [str(Path(source).resolve()) for source in sources]
    objects = [folder / f"{Path(unit).stem}.o" for unit in units]
    doubles = sorted({path.stem for path in objects if objects.count(path) > 1})
    if doubles:
        raise ValueError(f"cross_compile: two C files have the name {doubles[0]}.c")
    includes = [f"-isystem{Path(path).resolve()}" for path in include_dirs]
    flags = [*find_core(core).flags, *FLAGS, optimize, *options]
    if units:
        call_tool(["arm-none-eabi-gcc", *flags, "-I.", *includes, "-c", *units], folder)
    return objects


def link_image(objects: Iterable[Path], folder: Path, core: str = "cortex-m4") -> Path:
    """Link objects, among them a `main`, with start-up code into an image that QEMU runs.

    Parameters
    ----------
    objects : iterable of Path
        From `cross_compile`, for the same core.
    folder : Path
        Where the image is written.
    core : str, default="cortex-m4"
        A key of `CORES`.

    Returns
    -------
    Path
        The image.

    Raises
    ------
    RuntimeError
        If the compiler is missing, or a symbol.
    """
    place = folder / "support"
    place.mkdir(exist_ok=True)
    support = cross_compile(support_files(), place, core)
    target = find_core(core)
    places = (
        f"-Wl,--defsym={name}={value:#x}"
        for name, value in (
            ("FLASH_START", target.flash_start),
            ("FLASH_BYTES", target.flash_bytes),
            ("RAM_START", target.ram_start),
            ("RAM_BYTES", target.ram_bytes),
        )
    )
    image = folder / "image.elf"
    script = place / "cortex_m.ld"
    options = ["-mthumb", "-nostartfiles", "-Wl,--gc-sections,--no-warn-rwx-segments", *places]
    inputs = [path.resolve() for path in (*objects, *support)]
    call_tool(
        [
            "arm-none-eabi-gcc",
            *target.flags,
            *options,
            f"-Wl,--script={script.resolve()}",
            *inputs,
            "-lm",
            "-o",
            image.name,
        ],
        folder,
    )
    return image


def run_image(
    image: Path, core: str = "cortex-m4", plugins: Sequence[str] = (), timeout: float = 300.0
) -> Finished:
    """Run an image under QEMU until it exits.

    Parameters
    ----------
    image : Path
        From `link_image`, for the same core.
    core : str, default="cortex-m4"
        A key of `CORES`.
    plugins : sequence of str, default=()
        Each a plug-in of QEMU with its arguments: ``/path/plugin.so,key=value``.
    timeout : float, default=300
        Seconds after which a run counts as hanging.

    Returns
    -------
    Finished
        Output and status.

    Raises
    ------
    RuntimeError
        If QEMU is missing, or the image does not end.
    """
    command = [find_tool("qemu-system-arm"), "-M", find_core(core).machine, "-nographic"]
    command += ["-serial", "null", "-monitor", "none"]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", str(image)]
    for plugin in plugins:
        command += ["-plugin", plugin]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{image.name} on {core} did not end within {timeout:g} s") from error
    return Finished(done.stdout, done.stderr, done.returncode)


def run_on(
    core: str,
    files: Mapping[str, str],
    main: str,
    optimize: str = "-O2",
    options: Sequence[str] = (),
    include_dirs: Iterable[Path] = (),
    sources: Iterable[Path] = (),
    plugins: Sequence[str] = (),
) -> Finished:
    """Compile C files with a main program for a core, and run it under QEMU.

    Parameters
    ----------
    core : str
        A key of `CORES`.
    files : mapping of str to str
        Name and text of each file.
    main : str
        Text of the program; it may include ``semihosting.h`` to print.
    optimize, options, include_dirs, sources
        As in `cross_compile`.
    plugins : sequence of str, default=()
        As in `run_image`.

    Returns
    -------
    Finished
        Output and status.

    Raises
    ------
    RuntimeError
        If a tool is missing or fails, or the program does not end.

    Examples
    --------
    >>> from pulsehr.firmware.cortex_m import run_on
    >>> run_on("cortex-m4", {}, "int main(void) { return 3; }").status  # doctest: +SKIP
    3
    """
    with tempfile.TemporaryDirectory(prefix="pulsehr-") as name:
        folder = Path(name)
        header = {"semihosting.h": support_files()["semihosting.h"]}
        objects = cross_compile(
            {**files, **header, "main.c": main},
            folder,
            core,
            optimize=optimize,
            options=options,
            include_dirs=include_dirs,
            sources=sources,
        )
        return run_image(link_image(objects, folder, core), core, plugins)


def call_tool(command: Sequence[str | Path], folder: Path) -> str:
    """Run a tool in a folder and return what it printed."""
    find_tool(str(command[0]))
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        words = shlex.join(str(word) for word in command)
        raise RuntimeError(f"{command[0]} failed:\n{words}\n{done.stderr}")
    return done.stdout
