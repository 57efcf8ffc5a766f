"""`MicrocontrollerModel`: a fitted student as C files, and its exact results on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_array

from pulsehr._missing_rows import check_missing_rows
from pulsehr._rows import group_by_recording, readings_in
from pulsehr._uncertainty import no_std
from pulsehr.firmware.c_source import TARGETS, network_files
from pulsehr.firmware.c_text import check_prefix
from pulsehr.firmware.exportable import describe
from pulsehr.firmware.folder import write_files
from pulsehr.firmware.front import FrontEnd
from pulsehr.firmware.front_gaps import over_gap
from pulsehr.firmware.front_integer import front_windows, tracked
from pulsehr.firmware.front_samples import sensor_counts, window_ends
from pulsehr.firmware.front_source import front_files, header_parts, state_bytes, stream_functions
from pulsehr.firmware.host import HostLibrary
from pulsehr.firmware.integer import quantize_windows, run_outputs
from pulsehr.firmware.memory import plan_memory
from pulsehr.firmware.model_footprint import ModelFootprint, measure
from pulsehr.firmware.project import LAYOUTS, Export
from pulsehr.firmware.quantization import BPM_STEPS, QuantizedGraph
from pulsehr.firmware.report import Parts, write_report
from pulsehr.firmware.self_test import self_test_files
from pulsehr.recordings import Recording


class MicrocontrollerModel:
    """A student, and the windower before it, as integer C.

    Made by `to_microcontroller`. `predict` computes in Python what the C computes; `run_c`
    compiles the C and runs it on this machine.

    Parameters
    ----------
    graph : QuantizedGraph
        The network in integers.
    prefix : str, default="pulsehr"
        Starts every symbol and file name of the C.
    target : {"portable", "cmsis-nn"}, default="portable"
        What the C is written for.
    front : Pipeline or None, default=None
        Fitted steps that turn X into normalised windows.
    front_end : FrontEnd or None, default=None
        The same in integers, from the samples of the sensors on.
    layout : {"c", "arduino"}, default="c"
        For CMake, Make and Zephyr, or a library of the Arduino IDE.

    Attributes
    ----------
    files : dict of str to str
        Path and text of each file that `write` writes.
    sources : dict of str to str
        Name and text of the C files and headers among them: the library.
    functions : tuple of str
        What firmware calls.
    plan : MemoryPlan
        Where tensors lie.

    Examples
    --------
    >>> import numpy as np
    >>> from pulsehr.firmware.graph import Conv, Dense, Graph
    >>> from pulsehr.firmware.microcontroller import MicrocontrollerModel
    >>> from pulsehr.firmware.quantization import quantize
    >>> conv = Conv("conv", np.ones((1, 1, 1, 1)), np.zeros(1))
    >>> dense = Dense("dense", np.array([[1.0, 0.5]]), np.array([0.0]))
    >>> out = Dense("out", np.array([[10.0]]), np.array([60.0]))
    >>> ranges = {"input": (-1.0, 1.0), "conv": (-1.0, 1.0), "dense": (-1.5, 1.5)}
    >>> model = MicrocontrollerModel(quantize(Graph((1, 2), (conv, dense, out)), ranges))
    >>> model.predict(np.array([[[1.0, 1.0]]])).round()
    array([75.])
    """

    def __init__(
        self,
        graph: QuantizedGraph,
        prefix: str = "pulsehr",
        target: str = "portable",
        front: Any = None,
        front_end: FrontEnd | None = None,
        layout: str = "c",
    ) -> None:
        check_prefix(prefix)
        for name, value, known in (("target", target, TARGETS), ("layout", layout, LAYOUTS)):
            if value not in known:
                raise ValueError(f"{name} must be one of {sorted(known)}, got {value!r}")
        self.graph = graph
        self.prefix = prefix
        self.target = target
        self.front = front
        self.front_end = front_end
        self.plan = plan_memory(graph, TARGETS[target].scratch)
        self.layout = layout
        self.functions: tuple[str, ...] = (f"{prefix}_predict",)
        stream = None
        if front_end is not None:
            self.functions = tuple(stream_functions(front_end, prefix))
            stream = header_parts(front_end, prefix, self.arena_bytes)
        if graph.n_outputs == 2:
            self.functions += (f"{prefix}_std",)
        self.sources = {
            **network_files(graph, self.plan, prefix, TARGETS[target], stream),
            **({} if front_end is None else front_files(front_end, prefix)),
            **self_test_files(graph, front_end, prefix, self.arena_bytes, self.state_bytes),
        }
        self.files = LAYOUTS[layout](
            Export(
                graph=graph,
                front_end=front_end,
                made_by=describe(front),
                prefix=prefix,
                target=target,
                functions=self.functions,
                arena_bytes=self.arena_bytes,
                state_bytes=self.state_bytes,
                sources=self.sources,
            )
        )
        self._library: HostLibrary | None = None
        self._footprint: ModelFootprint | None = None

    def __repr__(self) -> str:
        """Say shape and sizes."""
        n_channels, n_times = self.graph.input_shape
        return (
            f"MicrocontrollerModel({n_channels} x {n_times} window, "
            f"{self.constant_bytes} bytes of constants, {self.arena_bytes} bytes arena)"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the compiled C, which belongs to this process."""
        return {**self.__dict__, "_library": None}

    @property
    def constant_bytes(self) -> int:
        """Bytes of weights and tables of the network in flash, without code."""
        return self.plan.constant_bytes

    @property
    def footprint(self) -> ModelFootprint:
        """Flash, memory and stack, measured once from the objects built for a Cortex-M4 at -O2.

        Raises a RuntimeError that says how to get the compiler if it is missing.
        """
        if self._footprint is None:
            has_state = self.front_end is not None
            self._footprint = measure(self.sources, self.prefix, self.functions, has_state)
        return self._footprint

    @property
    def flash_bytes(self) -> int:
        """Bytes of flash on a Cortex-M4: weights, tables and code, as `footprint` measures them.

        Of a pipeline, what init, push and heart_rate need, without skip, which no firmware has to
        call; of a student alone, predict.
        """
        return self.footprint.flash_bytes

    @property
    def arena_bytes(self) -> int:
        """Bytes of working memory, without the window and the stack."""
        return self.plan.arena_bytes

    @property
    def state_bytes(self) -> int:
        """Bytes of RAM of a stream, with the arena, without the stack; 0 without a front end."""
        if self.front_end is None:
            return 0
        return state_bytes(self.front_end, self.arena_bytes)

    def samples(self, recording: Recording) -> tuple[NDArray[np.int32], NDArray[np.int16] | None]:
        """Turn a recording into what sensors would have given the C.

        Parameters
        ----------
        recording : Recording
            At the rates of the sensors.

        Returns
        -------
        ppg : ndarray of int32, shape (n_ppg_samples,)
            For each push of the PPG; a masked array if some are missing, which are skipped.
        acc : ndarray of int16, shape (n_acc_samples, 3), or None
            For each push of the acceleration, the same.

        Raises
        ------
        ValueError
            If the recording has other rates or channels, or the model has no front end.
        """
        return sensor_counts(self._front_end(), recording)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Estimate heart rates with the integers of the C.

        Parameters
        ----------
        X : readings or array-like
            Readings, of a pipeline with a windower: what the C gives at their instants when their
            recording is pushed from its start, missing samples are skipped, and its last is
            pushed again where a filter looks past the end. If heart rates are clipped or
            filtered, then by those of the other readings of the recording, in order of time, that
            lie over no gap. Or windows (n, n_channels, n_times), rows (n, n_channels * n_times):
            the windower normalises them in floating point, as a student alone takes them, and
            they are neither.

        return_std : bool, default=False
            Whether to give standard deviations; of windows by themselves, also where heart rates
            are clipped or filtered. Needs a student fitted with ``loss="laplace"``.

        Returns
        -------
        heart_rate : ndarray of shape (n_windows,)
            In bpm, a multiple of 1/256; NaN for readings over a gap, of which the C says so, and
            for windows that are NaN throughout.
        std : ndarray of shape (n_windows,)
            Its standard deviation, the same; with ``return_std=True`` only.

        Raises
        ------
        ValueError
            If there is no std to return, windows have the wrong shape or some NaN, a reading
            has too little past, or its recording has other rates or channels.
        """
        return self._answers(X, return_std, self._run_windows, self._run_integers)

    def run_c(self, X: Any, return_std: bool = False) -> Any:
        """Estimate heart rates by the C, compiled for this machine.

        The compiler is that of the environment variable CC, or cc, gcc or clang. It runs once
        per model.

        Parameters
        ----------
        X : readings or array-like
            As in `predict`.
        return_std : bool, default=False
            As in `predict`.

        Returns
        -------
        heart_rate, std : ndarray of shape (n_windows,)
            Equal to those of `predict`.

        Raises
        ------
        RuntimeError
            If there is no C compiler, or it fails.
        """
        return self._answers(
            X,
            return_std,
            lambda windows: self._compiled().predict(windows),
            lambda *samples: self._compiled().stream(*samples),
        )

    def report(self) -> str:
        """Tabulate what the model takes, in flash and in RAM.

        Returns
        -------
        str
            Layers with multiplications and bytes, the blocks of the arena, the state of a stream,
            flash and stack (measured, if there is a compiler for Cortex-M), and whether all that
            fits some boards.
        """
        footprint, reason = None, ""
        try:
            footprint = self.footprint
        except RuntimeError as error:
            reason = str(error)
        return write_report(
            Parts(self.graph, self.plan, self.front_end, self.state_bytes, footprint, reason)
        )

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write the files: those of an earlier export are replaced by all of them or by none.

        Parameters
        ----------
        folder : path-like
            Made if it is missing; other files in it are left alone.

        Raises
        ------
        NotADirectoryError
            If `folder` is a file.
        FileExistsError
            If a file of that name is not an earlier export with the same prefix.
        """
        write_files(self.files, folder, self.prefix)

    def _front_end(self) -> FrontEnd:
        if self.front_end is None:
            raise ValueError(
                "MicrocontrollerModel: readings and recordings need a PPGWindower, and the student "
                "was exported alone: export the pipeline, or pass windows"
            )
        return self.front_end

    def _answers(
        self,
        X: Any,
        return_std: bool,
        run_windows: Callable[..., Any],
        run_stream: Callable[..., Any],
    ) -> Any:
        """Return heart rates and, if wanted, standard deviations in bpm, of windows or readings."""
        if return_std and self.graph.n_outputs == 1:
            raise no_std(self)
        readings = readings_in(X)
        if readings is None:
            outputs = self._on_windows(X, run_windows)
        else:
            outputs = self._on_streams(readings, run_stream)
        bpm, *std = np.ascontiguousarray(np.ma.filled(outputs.T / BPM_STEPS, np.nan))
        return (bpm, *std) if return_std else bpm

    def _run_windows(self, windows: NDArray[np.int8]) -> NDArray[np.int32]:
        return run_outputs(self.graph, windows)

    def _on_windows(self, X: Any, run_windows: Callable[..., Any]) -> Any:
        """Run on the windows that hold samples; mask those that are NaN throughout."""
        windows = self._windows(X)
        missing = np.isnan(windows).all(axis=(1, 2))
        outputs = np.ma.zeros((len(windows), self.graph.n_outputs), dtype=np.int32)
        outputs[missing] = np.ma.masked
        if not missing.all():
            quantized = quantize_windows(windows[~missing], self.graph.input_format)
            outputs[~missing] = run_windows(quantized)
        return outputs

    def _on_streams(self, readings: Any, run_stream: Callable[..., Any]) -> Any:
        """Run ``run_stream(ppg, acc, ends)`` on each recording; ends increase; mask gaps."""
        front = self._front_end()
        outputs = np.ma.zeros((len(readings), self.graph.n_outputs), dtype=np.int32)
        for recording, rows in group_by_recording(readings):
            instants = np.array([readings[row].instant for row in rows])
            ppg, acc = sensor_counts(front, recording)
            ends, which = np.unique(window_ends(front, recording, instants), return_inverse=True)
            outputs[rows] = run_stream(ppg, acc, ends)[which]
        return outputs

    def _run_integers(self, ppg: Any, acc: Any, ends: Any) -> Any:
        front = self._front_end()
        over = over_gap(front, ppg, acc, ends)
        masked = np.tile(over[:, None], self.graph.n_outputs)
        outputs = np.ma.MaskedArray(np.zeros(masked.shape, np.int32), masked)
        if not over.all():
            ends = ends[~over]
            found = run_outputs(self.graph, front_windows(front, ppg, acc, ends))
            found[:, 0] = tracked(front, found, ends)
            outputs.data[~over] = found
        return outputs

    def _compiled(self) -> HostLibrary:
        if self._library is None:
            self._library = HostLibrary(
                self.sources,
                self.prefix,
                self.arena_bytes,
                self.state_bytes,
                with_std=self.graph.n_outputs == 2,
            )
        return self._library

    def _windows(self, X: Any) -> NDArray[Any]:
        """Validate windows, of which some may be NaN throughout, and normalise them."""
        shape = self.graph.input_shape
        if self.front is not None:
            X = self.front.transform(X)
        X = check_array(
            X, dtype="numeric", ensure_all_finite="allow-nan", allow_nd=True, input_name="X"
        )
        check_missing_rows("MicrocontrollerModel", X, True)
        if X.shape[1:] not in (shape, (shape[0] * shape[1],)):
            raise ValueError(
                f"MicrocontrollerModel: X must hold windows of {shape[0]} channels and {shape[1]} "
                f"times, (n, {shape[0]}, {shape[1]}) or (n, {shape[0] * shape[1]}), got {X.shape}"
            )
        windows: NDArray[Any] = X.reshape(-1, *shape)
        return windows
