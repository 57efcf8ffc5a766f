"""Emitted C, compiled and run on this machine."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsehr.firmware.front_gaps import missing_samples
from pulsehr.firmware.front_source import stream_file

#: Compilers that are tried if the environment variable CC is not set.
COMPILERS = ("cc", "gcc", "clang")

FLAGS = ("-std=c11", "-O2", "-fPIC", "-shared")


class HostLibrary:
    """The C of a model as a library that is loaded into this process.

    Parameters
    ----------
    files : mapping of str to str
        Name and text of each C file.
    prefix : str
        Starts the names of the functions.
    arena_bytes : int
        Working memory of a prediction.
    state_bytes : int, default=0
        Memory of a stream; 0 if the files hold no front end.
    with_std : bool, default=False
        Whether the network tells standard deviations.

    Raises
    ------
    RuntimeError
        If there is no compiler, or it fails.
    """

    def __init__(
        self,
        files: Mapping[str, str],
        prefix: str,
        arena_bytes: int,
        state_bytes: int = 0,
        with_std: bool = False,
    ) -> None:
        if state_bytes > 0:
            files = {**files, f"{prefix}_stream.c": stream_file(prefix)}
        with tempfile.TemporaryDirectory(prefix="pulsehr-") as folder:
            library = ctypes.CDLL(str(compile_library(files, Path(folder))))
        self._predict = getattr(library, f"{prefix}_predict")
        self._predict.argtypes = [ctypes.c_void_p] * 3
        self._predict.restype = ctypes.c_int
        self._n_outputs = 1 + with_std
        if with_std:
            self._std = getattr(library, f"{prefix}_std")
            self._std.argtypes = [ctypes.c_void_p] * 2
            self._std.restype = ctypes.c_int
        self._arena_bytes = arena_bytes
        self._state_bytes = state_bytes
        if state_bytes > 0:
            self._stream = getattr(library, f"{prefix}_stream")
            pointer, size = ctypes.c_void_p, ctypes.c_int64
            signal = (pointer, pointer, size)
            self._stream.argtypes = [pointer, *signal, *signal, *(pointer, size), *(pointer,) * 2]
            self._stream.restype = ctypes.c_int

    def predict(self, windows: NDArray[np.int8]) -> NDArray[np.int32]:
        """Estimate heart rates.

        Parameters
        ----------
        windows : ndarray of int8, shape (n_windows, n_channels, n_times)
            Quantized windows.

        Returns
        -------
        ndarray of int32, shape (n_windows, 1 or 2)
            Heart rate and, if it is told, standard deviation in 1/256 bpm.
        """
        windows = np.ascontiguousarray(windows)
        arena = _memory(self._arena_bytes)
        outputs = np.empty((len(windows), self._n_outputs), dtype=np.int32)
        for window, values in zip(windows, outputs, strict=True):
            place = values.ctypes.data
            _check(self._predict(window.ctypes.data, arena.ctypes.data, place))
            if self._n_outputs == 2:
                _check(self._std(arena.ctypes.data, place + values.itemsize))
        return outputs

    def stream(
        self, ppg: NDArray[np.int32], acc: NDArray[np.int16] | None, ends: NDArray[np.int64]
    ) -> np.ma.MaskedArray[Any, np.dtype[np.int32]]:
        """Push a recording sample by sample, and estimate heart rates on the way.

        Parameters
        ----------
        ppg : ndarray or masked array of int32, shape (n_ppg_samples,)
            Counts of the PPG; masked samples are skipped.
        acc : ndarray or masked array of int16, shape (n_acc_samples, 3), or None
            Counts of the acceleration.
        ends : ndarray of int, shape (n_windows,)
            Samples of the windows' rate at the end of each window, increasing.

        Returns
        -------
        masked array of int32, shape (n_windows, 1 or 2)
            Heart rate and, if it is told, standard deviation in 1/256 bpm; masked where the C
            says that a window lies over a gap.
        """
        state = _memory(self._state_bytes)
        acc = np.zeros((0, 3), np.int16) if acc is None else acc
        rows = np.ascontiguousarray(ends, dtype=np.int32)
        outputs = np.zeros((self._n_outputs, len(rows)), dtype=np.int32)
        statuses = np.zeros(len(rows), dtype=np.int32)
        arrays: list[Any] = []
        for samples, kind in ((ppg, np.int32), (acc, np.int16)):
            missing = missing_samples(samples)
            arrays += [np.ascontiguousarray(np.ma.getdata(samples), dtype=kind), missing]
        places = [None if array is None else array.ctypes.data for array in arrays]
        _check(
            self._stream(
                state.ctypes.data,
                *(*places[:2], len(ppg)),
                *(*places[2:], len(acc)),
                *(rows.ctypes.data, len(rows)),
                *(outputs.ctypes.data, statuses.ctypes.data),
            )
        )
        return np.ma.MaskedArray(outputs.T, np.tile(statuses[:, None] != 0, self._n_outputs))


def _check(status: int) -> None:
    if status != 0:
        raise RuntimeError(f"the compiled C returned the status {status}")


def _memory(n_bytes: int) -> NDArray[np.int64]:
    """Return aligned memory; one for each call, as threads may share the library."""
    return np.empty(-(-n_bytes // 8), dtype=np.int64)


def compile_library(files: Mapping[str, str], folder: Path) -> Path:
    """Compile C files into a shared library.

    Parameters
    ----------
    files : mapping of str to str
        Name and text of each file.
    folder : Path
        Where files and library are written.

    Returns
    -------
    Path
        The library.

    Raises
    ------
    RuntimeError
        If there is no compiler, or it fails.
    """
    compiler = find_compiler()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    library = folder / "model.so"
    sources = [name for name in files if name.endswith(".c")]
    done = subprocess.run(
        [*compiler, *FLAGS, "-o", library.name, *sources],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(compiler)} could not compile the model:\n{done.stderr}")
    return library


def find_compiler() -> list[str]:
    """Return the command of the C compiler: that of CC, or the first of cc, gcc and clang."""
    chosen = os.environ.get("CC", "").strip()
    for candidate in [chosen] if chosen else COMPILERS:
        command = shlex.split(candidate)
        if shutil.which(command[0]):
            return command
    tried = f"CC={chosen!r}" if chosen else ", ".join(COMPILERS)
    raise RuntimeError(
        f"no C compiler found (tried {tried}): install one, such as gcc by "
        f"'apt-get install gcc' or the Xcode command line tools, or set CC; "
        f"predict needs none and gives the same results"
    )
