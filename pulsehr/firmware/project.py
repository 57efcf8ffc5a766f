"""What lies around the C in an exported folder: builds, examples, and pages for people."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pulsehr._version import __version__
from pulsehr.firmware.c_files import fill, provenance, with_note
from pulsehr.firmware.c_text import float_literal
from pulsehr.firmware.cmsis_nn import CORE_PLACES
from pulsehr.firmware.cortex_m import CORES, Core, support_files
from pulsehr.firmware.front import SLACK, FrontEnd
from pulsehr.firmware.front_source import has_common_push, unit_lines
from pulsehr.firmware.memory import ALIGNMENT
from pulsehr.firmware.quantization import QuantizedGraph
from pulsehr.firmware.self_test import N_WINDOWS, n_readings


@dataclass(frozen=True)
class Export:
    """What is exported, as far as builds, examples and pages speak of it.

    Parameters
    ----------
    graph : QuantizedGraph
        The network.
    front_end : FrontEnd or None
        What comes before it.
    made_by : str
        Steps that make windows in Python.
    prefix : str
        Starts every symbol and file name.
    target : str
        What the C is written for.
    functions : tuple of str
        What firmware calls.
    arena_bytes, state_bytes : int
        The caller's memory.
    sources : mapping of str to str
        Name and text of C files and headers.
    """

    graph: QuantizedGraph
    front_end: FrontEnd | None
    made_by: str
    prefix: str
    target: str
    functions: tuple[str, ...]
    arena_bytes: int
    state_bytes: int
    sources: Mapping[str, str]


def c_project(export: Export) -> dict[str, str]:
    """Lay out a folder for CMake, Make and Zephyr.

    Parameters
    ----------
    export : Export
        What is exported.

    Returns
    -------
    dict of str to str
        Path and text of each file.
    """
    fields = _fields(export)
    kind = "window" if export.front_end is None else "stream"
    hashed = {
        "CMakeLists.txt": "CMakeLists.txt",
        "Makefile": "Makefile",
        "zephyr/module.yml": "zephyr_module.yml",
        "zephyr/CMakeLists.txt": "zephyr_CMakeLists.txt",
        "zephyr/Kconfig": "zephyr_Kconfig",
    }
    fields["qemu_heart_rates"] = _part(f"qemu_{kind}.c", fields)
    commented = {
        "example/main.c": _part(f"example_{kind}.c", fields),
        "qemu/main.c": _part("qemu_main.c", fields),
        **{f"qemu/{name}": text for name, text in support_files().items()},
    }
    fields["files"] = _part("README_files.md", fields)
    return {
        **export.sources,
        **{path: _hashed(_part(name, fields), export.prefix) for path, name in hashed.items()},
        **{path: with_note(text, export.prefix) for path, text in commented.items()},
        "README.md": _page(f"README_{kind}.md", fields),
        "LICENSE": _part("LICENSE", fields),
    }


def arduino_library(export: Export) -> dict[str, str]:
    """Lay out a library of the Arduino IDE, of format 1.5.

    Parameters
    ----------
    export : Export
        What is exported.

    Returns
    -------
    dict of str to str
        Path and text of each file.
    """
    fields = _fields(export)
    kind = "window" if export.front_end is None else "stream"
    if export.front_end is not None and export.front_end.acc is not None:
        fields["arduino_read_acc"] = _part("arduino_acc.ino", fields)
    fields["files"] = _part("README_arduino.md", fields)
    example = f"{export.prefix}_example"
    sketch = _part(f"arduino_{kind}.ino", fields)
    return {
        **{f"src/{name}": text for name, text in export.sources.items()},
        f"examples/{example}/{example}.ino": with_note(sketch, export.prefix),
        "library.properties": _hashed(_part("library.properties", fields), export.prefix),
        "README.md": _page(f"README_{kind}.md", fields),
        "LICENSE": _part("LICENSE", fields),
    }


#: How a folder may be laid out.
LAYOUTS: dict[str, Callable[[Export], dict[str, str]]] = {
    "c": c_project,
    "arduino": arduino_library,
}


def _part(name: str, fields: Mapping[str, str]) -> str:
    return fill(f"project/{name}", fields)


def _page(name: str, fields: Mapping[str, str]) -> str:
    """Fill a page; what is left out leaves no gap."""
    return re.sub(r"\n{3,}", "\n\n", _part(name, fields))


def _hashed(text: str, prefix: str) -> str:
    return with_note(text, prefix, begin="# ", between="# ", end="")


def _fields(export: Export) -> dict[str, str]:
    """Compute what the templates are filled with."""
    prefix, upper = export.prefix, export.prefix.upper()
    code = sorted(name for name in export.sources if name.endswith(".c"))
    headers = sorted(name for name in export.sources if name.endswith(".h"))
    n_channels, n_times = export.graph.input_shape
    names = {"prefix": prefix, "upper": upper, "core_places": " ".join(CORE_PLACES)}
    with_cmsis_nn = export.target == "cmsis-nn"
    roots = " ".join(f"-Wl,--undefined={name}" for name in export.functions)
    return {
        **names,
        "provenance": provenance(prefix),
        "version": __version__,
        "what": "PPG and acceleration" if n_channels > 1 else "PPG",
        "n_channels": str(n_channels),
        "n_times": f"{n_times:,}",
        "input_bytes": str(n_channels * n_times),
        "arena_bytes": f"{export.arena_bytes:,} bytes",
        "state_bytes": f"{export.state_bytes:,}",
        "alignment": str(ALIGNMENT),
        "scale": float_literal(export.graph.input_format.scale).rstrip("f"),
        "zero_point": str(export.graph.input_format.zero_point),
        "front": export.made_by,
        "sources": " ".join(code),
        "headers": " ".join(headers),
        "cmake_sources": "\n".join(f"  {name}" for name in code),
        "cmake_cmsis_nn": _part("cmsis_nn.cmake", names) if with_cmsis_nn else "",
        "make_cmsis_nn": _part("cmsis_nn.mk", names) if with_cmsis_nn else "",
        "zephyr_sources": "\n".join(f"    ../{name}" for name in code),
        "kconfig_cmsis_nn": _KCONFIG_CMSIS_NN if with_cmsis_nn else "",
        "license": _LICENSE + (_LICENSE_CMSIS_NN if with_cmsis_nn else ""),
        "architectures": _ARCHITECTURES,
        "cmsis_row": _CMSIS_ROW.replace("@upper@", upper) if with_cmsis_nn else "",
        "cores": "\n".join(_core(name, core) for name, core in CORES.items()),
        "core_names": ", ".join(CORES),
        "size_roots": f"-Wl,-e,{export.functions[0]} {roots}",
        "bits": _BITS,
        "use_std": _use_std(export),
        **(_window_fields() if export.front_end is None else _stream_fields(export)),
    }


def _use_std(export: Export) -> str:
    """Show how the standard deviation is read, where a heart rate was estimated, as C."""
    if export.graph.n_outputs == 1:
        return ""
    memory, gap = ("arena", "    ") if export.front_end is None else ("&state", "        ")
    return (
        f"{gap}int32_t std_q8;\n\n"
        f"{gap}{export.prefix}_std({memory}, &std_q8);\n"
        f"{gap}/* its standard deviation = std_q8 / 256 bpm */\n"
    )


def _window_fields() -> dict[str, str]:
    return {
        "union_state": "",
        "paragraph": "Takes normalised windows; the caller owns all memory.",
    }


def _stream_fields(export: Export) -> dict[str, str]:
    front, prefix = export.front_end, export.prefix
    assert front is not None
    with_acc = front.acc is not None
    return {
        "union_state": f"    {prefix}_state state;\n",
        "first": f"{front.first_seconds:.2f}",
        "n_macs": f"{export.graph.n_macs:,}",
        "n_self_test": str(N_WINDOWS + n_readings(front)),
        "two_sensors": _two_sensors(front, prefix) if with_acc else "",
        "paragraph": "Takes samples of the sensors; the caller owns all memory.",
        "stride": f"{front.stride / front.sampling_rate:g}",
        "window": f"{front.n_times / front.sampling_rate:g}",
        "wiring": _wiring(front, prefix),
        "skip_calls": _skip_calls(front, prefix),
        "sensors": "".join(f"- {line}\n" for line in unit_lines(front)),
        "ppg_rate": f"{front.ppg.rate:g}",
        "example_acc": " ACC" if with_acc else "",
        "example_acc_note": _acc_note(front),
        **(_arduino_acc(front, prefix) if with_acc else dict.fromkeys(_ARDUINO_ACC, "")),
    }


def _wiring(front: FrontEnd, prefix: str) -> str:
    """Say which function takes which sample, as C."""
    rate = f"{front.ppg.rate:g} Hz, every {1e6 / front.ppg.rate:.9g} us"
    if front.acc is None:
        return f"/* at {rate} */\nestimate({prefix}_push(&state, ppg));"
    if has_common_push(front):
        return f"/* both at {rate} */\nestimate({prefix}_push(&state, ppg, acc_x, acc_y, acc_z));"
    acc = f"{front.acc.rate:g} Hz, every {1e6 / front.acc.rate:.9g} us"
    return (
        f"/* at {rate} */\n"
        f"estimate({prefix}_push_ppg(&state, ppg));\n\n"
        f"/* at {acc} */\n"
        f"estimate({prefix}_push_acc(&state, acc_x, acc_y, acc_z));"
    )


def _skip_calls(front: FrontEnd, prefix: str) -> str:
    """Show how lost samples are skipped, as C."""
    lost = {"": "n"} if has_common_push(front) else {"_ppg": "n_ppg", "_acc": "n_acc"}
    if front.ppg.lookahead == 0 and (front.acc is None or front.acc.lookahead == 0):
        return "\n".join(f"  estimate({prefix}_skip{end}(&state, {n}));" for end, n in lost.items())
    note = " /* by itself: a window before the gap may be complete now */"
    return "\n".join(
        f"  estimate({prefix}_skip{end}(&state, 1));{'' if end == '_acc' else note}\n"
        f"  estimate({prefix}_skip{end}(&state, {n} - 1));"
        for end, n in lost.items()
    )


def _two_sensors(front: FrontEnd, prefix: str) -> str:
    """Say how two sensors stay together."""
    assert front.acc is not None
    upper, row = prefix.upper(), 1e3 / front.sampling_rate
    more = front.ppg.factor - front.acc.factor
    first = f"the {'PPG' if more > 0 else 'acceleration'} first, " if more else ""
    return (
        f"- Drive both sensors from one clock, or repeat or drop a sample when they part by\n"
        f"  more than {row:.4g} ms.\n"
        f"- Empty FIFOs in turn, {first}at most {SLACK * row:.4g} ms at a time.\n"
        f"- `{upper}_ERROR_AHEAD`: keep the sample, or time is shifted; push the other sensor's,\n"
        f"  then try it again. If it stays, the other sensor's samples are lost: skip them.\n"
    )


def _acc_note(front: FrontEnd) -> str:
    if front.acc is None:
        return ""
    return f" * ACC: a file of counts x,y,z at {front.acc.rate:g} Hz, three on each line.\n"


_ARDUINO_ACC = ("arduino_acc", "arduino_times", "arduino_start", "arduino_read_acc")


def _arduino_acc(front: FrontEnd, prefix: str) -> dict[str, str]:
    assert front.acc is not None
    step = front.acc.step or 1.0
    return {
        "arduino_acc": ", an ADXL335\n * (0.33 V for 1 g, at half the supply of 3.3 V) on A1 to A3",
        "arduino_times": "static unsigned long accTime;\n\n"
        "/* counts of the converter (10 bits for 3.3 V) to those of the library */\n"
        "static int16_t acceleration(int pin) {\n"
        f"  const float countsOfOneG = {float_literal(1 / step)};\n"
        "  float counts = (analogRead(pin) - 512) / (0.33f / 3.3f * 1024) * countsOfOneG;\n"
        "  return (int16_t)constrain(counts, -32768.0f, 32767.0f);\n"
        "}\n",
        "arduino_start": "  accTime = ppgTime;\n",
    }


def _core(name: str, core: Core) -> str:
    memory = " ".join(
        f"-Wl,--defsym={symbol}={value:#x}"
        for symbol, value in (
            ("FLASH_START", core.flash_start),
            ("FLASH_BYTES", core.flash_bytes),
            ("RAM_START", core.ram_start),
            ("RAM_BYTES", core.ram_bytes),
        )
    )
    return (
        f"FLAGS_{name} := {' '.join(core.flags)}\n"
        f"MACHINE_{name} := {core.machine}\n"
        f"MEMORY_{name} := {memory}"
    )


_KCONFIG_CMSIS_NN = (
    "\timply CMSIS_NN if ARMV8_1_M_MVEI\n\timply CMSIS_NN_CONVOLUTION if ARMV8_1_M_MVEI\n"
)
_CMSIS_ROW = (
    "| `CMSIS_NN_DIR`, `CMSIS_CORE_DIR` | your copy of CMSIS-NN, needed on cores with Helium "
    "(`@upper@_CMSIS_NN=0`: never) |\n"
)
#: Arduino's names of 32-bit cores; those of 8 bits have too little RAM.
_ARCHITECTURES = (
    "samd,sam,mbed,mbed_nano,mbed_nicla,mbed_portenta,mbed_giga,mbed_opta,mbed_rp2040,rp2040,"
    "nrf52,renesas,renesas_uno,renesas_portenta,stm32,esp32,apollo3"
)
_LICENSE = "The code is BSD-3-Clause (`LICENSE`); the weights are yours."
_LICENSE_CMSIS_NN = " CMSIS-NN has its own license, Apache-2.0."
_BITS = (
    "Heart rates are the same integers on every compiler and core, and those of\n"
    "`MicrocontrollerModel.predict` in Python."
)
