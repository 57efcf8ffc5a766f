"""Front ends for the tests: windowers, sensor streams, and their C on a network that hashes."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from pulsehr.firmware.c_files import fill, rename
from pulsehr.firmware.c_source import OPERATORS
from pulsehr.firmware.c_text import defines
from pulsehr.firmware.front import FrontEnd, design_front
from pulsehr.firmware.front_gaps import missing_samples
from pulsehr.firmware.front_source import front_files, header_parts, state_bytes, stream_file
from pulsehr.firmware.quantization import Format

#: Every warning is an error.
FLAGS = (
    "-std=c11 -O2 -Wall -Wextra -Wconversion -Wshadow -Wcast-qual -Wstrict-prototypes "
    "-Wmissing-prototypes -Wundef -Werror -pedantic"
).split()

OK, READY, NULL, NOT_READY, LATE, AHEAD, NOT_STARTED, GAP = 0, 1, -1, -3, -4, -5, -6, -7

#: Bytes around memory that must not change.
GUARD = 64

#: A network whose heart rate is a hash of the window, so that no wrong sample hides.
STUB = """
#include "hr.h"
#include "hr_network.h"
#include <string.h>

int8_t *hr_network_input(void *arena)
{
    return (int8_t *)arena + 4;
}

void hr_network_row(void *arena, int32_t row)
{
    uint32_t hash = 17u;

    if (row > 0) {
        memcpy(&hash, arena, 4);
    }
    for (int32_t i = 0; i < HR_N_TIMES; ++i) {
        hash = hash * 31u + (uint32_t)(hr_network_input(arena)[i] + 200);
    }
    memcpy(arena, &hash, 4);
}

int32_t hr_network_result(void *arena)
{
    int32_t hash;

    memcpy(&hash, arena, 4);
    return hash;
}
"""


def windower(n_channels: int = 4, **parameters: Any) -> SimpleNamespace:
    """Stand for a fitted PPGWindower."""
    values = {"window": 3.3, "sampling_rate": 32.0, "normalize": "window", "bandpass": None}
    return SimpleNamespace(
        **{**values, "antialias": True, **parameters},
        n_channels_=n_channels,
        mean_=np.array([5000.0, 0.1, -0.2, 0.9])[:n_channels],
        scale_=np.array([1234.5, 0.2, 0.3, 0.25])[:n_channels],
    )


def front_of(
    n_channels: int = 4,
    input_format: Format | None = None,
    factors: tuple[int, int] = (1, 1),
    stride: float = 2.0,
    clip: bool = False,
    tracker: SimpleNamespace | None = None,
    **parameters: Any,
) -> FrontEnd:
    """Design the front end of sensors at multiples of the windower's rate."""
    source = windower(n_channels, **parameters)
    # without normalisation the input of a network has steps of many counts
    default = Format(8, 0.031, 5) if source.normalize else Format(8, 300.0, -3)
    return design_front(
        source,
        input_format or default,
        ppg_rate=source.sampling_rate * factors[0],
        acc_rate=source.sampling_rate * factors[1] if n_channels == 4 else None,
        ppg_step=0.7,
        stride=stride,
        clip=clip,
        tracker=tracker,
    )


def tracker_of(
    method: str = "kalman", max_gap: float = 10.0, drift: float = 2.5, noise: float | None = None
) -> SimpleNamespace:
    """Stand for a fitted HeartRateTracker."""
    return SimpleNamespace(method=method, max_gap=max_gap, drift_=drift, noise=noise)


class CompiledFront:
    """The C of a front end on the stub network, with a state between guard bytes."""

    def __init__(
        self, front: FrontEnd, folder: Path, compiler: str, flags: tuple[str, ...] = ()
    ) -> None:
        self.front = front
        arena_bytes = 4 + front.n_times
        fields = {"prefix": "hr", "upper": "HR", "n_times": "", "n_channels": ""}
        parts = header_parts(front, "hr", arena_bytes)
        header = (
            "#ifndef HR_H\n#define HR_H\n#include <stdint.h>\n"
            f"#define HR_N_CHANNELS {front.n_channels}\n#define HR_N_TIMES {front.n_times}\n"
            f"#define HR_INPUT_ZERO_POINT ({front.zero_point})\n"
            "#define HR_OK 0\n#define HR_ERROR_NULL (-1)\n"
            f"{defines([*parts.sizes, *parts.statuses])}{parts.api}#endif\n"
        )
        files = {
            **front_files(front, "hr"),
            "hr.h": header,
            "hr_network.h": fill("network.h", fields),
            **{f"hr{end}": rename(name, "hr") for name, end in OPERATORS.items()},
            "hr_stream.c": stream_file("hr"),
            "stub.c": STUB,
        }
        for name, text in files.items():
            (folder / name).write_text(text)
        sources = [name for name in files if name.endswith(".c")]
        command = [compiler, *FLAGS, *flags, "-fPIC", "-shared", "-o", "front.so", *sources]
        subprocess.run(command, cwd=folder, check=True)
        self.library = ctypes.CDLL(str(folder / "front.so"))
        self.memory = np.full(state_bytes(front, arena_bytes) + 2 * GUARD, 0xA5, dtype=np.uint8)
        self.state = ctypes.c_void_p(self.memory.ctypes.data + GUARD)

    def init(self) -> None:
        assert self.library.hr_init(self.state) == OK

    def push_ppg(self, ppg: int) -> int:
        return self.library.hr_push_ppg(self.state, ctypes.c_int32(int(ppg)))

    def push_acc(self, acc: Any) -> int:
        return self.library.hr_push_acc(self.state, *(ctypes.c_int16(int(a)) for a in acc))

    def skip(self, sensor: str, n: int) -> int:
        """Skip samples of "ppg", of "acc", or of "" for both."""
        function = f"hr_skip_{sensor}".rstrip("_")
        return getattr(self.library, function)(self.state, ctypes.c_int32(int(n)))

    def push(self, ppg: int, *acc: int) -> int:
        axes = (ctypes.c_int16(int(a)) for a in acc)
        return self.library.hr_push(self.state, ctypes.c_int32(int(ppg)), *axes)

    def heart_rate(self) -> int | tuple[int]:
        """Return the hash in a tuple, or the error."""
        bpm_q8 = ctypes.c_int32(0)
        status = self.library.hr_heart_rate(self.state, ctypes.byref(bpm_q8))
        return (bpm_q8.value,) if status == OK else status

    def stream(self, ppg: np.ndarray, acc: np.ndarray | None, ends: np.ndarray) -> np.ndarray:
        """Return hashes, masked where the C says that a window lies over a gap."""
        acc = np.zeros((0, 3), np.int16) if acc is None else acc
        ends = np.ascontiguousarray(ends, dtype=np.int32)
        hashes, statuses = np.zeros((2, len(ends)), dtype=np.int32)
        arrays = []
        for samples, kind in ((ppg, np.int32), (acc, np.int16)):
            missing = missing_samples(samples)
            arrays += [np.ascontiguousarray(np.ma.getdata(samples), dtype=kind), missing]
        places = [None if x is None else ctypes.c_void_p(x.ctypes.data) for x in arrays]
        of_ppg, of_acc, n_ends = (ctypes.c_int64(len(x)) for x in (ppg, acc, ends))
        results = (ctypes.c_void_p(x.ctypes.data) for x in (ends, hashes, statuses))
        at_ends, *outputs = results
        signals = (*places[:2], of_ppg, *places[2:], of_acc)
        assert self.library.hr_stream(self.state, *signals, at_ends, n_ends, *outputs) == OK
        self.check_guards()
        assert set(statuses) <= {OK, GAP}
        return np.ma.MaskedArray(hashes, statuses == GAP)

    def check_guards(self) -> None:
        assert (self.memory[:GUARD] == 0xA5).all()
        assert (self.memory[-GUARD:] == 0xA5).all()


def hashes_of(windows: np.ndarray) -> np.ndarray:
    """Hash windows as the stub does."""
    hashes = np.full(len(windows), 17, dtype=np.uint32)
    for sample in windows.reshape(len(windows), -1).T:
        hashes = hashes * np.uint32(31) + (sample.astype(np.int64) + 200).astype(np.uint32)
    return hashes.astype(np.int32)


def ppg_streams(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Streams of PPG counts at every extreme."""
    rng = np.random.default_rng(seed)
    top, bottom = 2**23 - 1, -(2**23)
    return {
        "noise of 24 bits": rng.integers(bottom, top, n),
        "beyond 24 bits": rng.integers(-(2**31), 2**31 - 1, n),
        "walk": np.cumsum(rng.integers(-3000, 3000, n)),
        "square wave of the rails": np.where(np.arange(n) // 7 % 2, top, bottom),
        "every other sample": np.where(np.arange(n) % 2, top, bottom),
        "one step": np.where(np.arange(n) < n // 2, top, bottom),
        "constant": np.full(n, 77),
        "constant at the rail": np.full(n, bottom),
        "two counts": rng.integers(0, 2, n),
        "rare spikes": np.where(np.arange(n) % 97, 1000, 1001),
    }


def acc_streams(n: int, seed: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [
        rng.integers(-(2**15), 2**15, (n, 3)),
        np.where((np.arange(n) // 5 % 2)[:, None] == 1, 2**15 - 1, -(2**15)) * np.ones(3, int),
        np.full((n, 3), [-(2**15), 0, 2**15 - 1]),
        np.cumsum(rng.integers(-9, 10, (n, 3)), axis=0),
    ]
