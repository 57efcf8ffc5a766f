"""`MicrocontrollerModel`: a fitted student as C files, and its exact results on this machine."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_array, check_is_fitted

from pulsehr.firmware.c_source import portable_files
from pulsehr.firmware.c_text import check_prefix
from pulsehr.firmware.host import HostLibrary
from pulsehr.firmware.integer import quantize_windows, run
from pulsehr.firmware.memory import MemoryPlan, flash_bytes, plan_memory
from pulsehr.firmware.quantization import BPM_STEPS, QuantizedGraph

#: What writes the C of each target.
TARGETS: dict[str, Callable[[QuantizedGraph, MemoryPlan, str, str], dict[str, str]]] = {
    "portable": portable_files,
}


class MicrocontrollerModel:
    """A student as integer C.

    Made by `to_microcontroller`. `predict` computes in Python what the C computes; `run_c`
    compiles the C and runs it on this machine. The steps of a pipeline before the student are
    not part of the C; they run in Python here, so that X is the pipeline's.

    Parameters
    ----------
    graph : QuantizedGraph
        The network in integers.
    prefix : str, default="pulsehr"
        Starts every symbol and file name of the C.
    target : {"portable"}, default="portable"
        What the C is written for.
    front : Pipeline or None, default=None
        Fitted steps that turn X into normalised windows.

    Attributes
    ----------
    files : dict of str to str
        Name and text of each file.
    plan : MemoryPlan
        Where tensors lie.

    Examples
    --------
    >>> import numpy as np
    >>> from pulsehr.firmware.graph import Dense, Graph
    >>> from pulsehr.firmware.microcontroller import MicrocontrollerModel
    >>> from pulsehr.firmware.quantization import quantize
    >>> dense = Dense("dense", np.array([[1.0, 0.5]]), np.array([0.0]))
    >>> out = Dense("out", np.array([[10.0]]), np.array([60.0]))
    >>> ranges = {"input": (-1.0, 1.0), "dense": (-1.5, 1.5)}
    >>> model = MicrocontrollerModel(quantize(Graph((1, 2), (dense, out)), ranges))
    >>> model.predict(np.array([[[1.0, 1.0]]])).round()
    array([75.])
    """

    def __init__(
        self,
        graph: QuantizedGraph,
        prefix: str = "pulsehr",
        target: str = "portable",
        front: Any = None,
    ) -> None:
        check_prefix(prefix)
        if target not in TARGETS:
            raise ValueError(f"target must be one of {sorted(TARGETS)}, got {target!r}")
        self.graph = graph
        self.prefix = prefix
        self.target = target
        self.front = front
        self.plan = plan_memory(graph)
        self.files = TARGETS[target](graph, self.plan, prefix, _describe(front))
        self._library: HostLibrary | None = None

    def __repr__(self) -> str:
        """Say shape and sizes."""
        n_channels, n_times = self.graph.input_shape
        return (
            f"MicrocontrollerModel({n_channels} x {n_times} window, "
            f"{self.flash_bytes} bytes flash, {self.arena_bytes} bytes arena)"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the compiled C, which belongs to this process."""
        return {**self.__dict__, "_library": None}

    @property
    def flash_bytes(self) -> int:
        """Bytes of constants in flash; the code, about 2 kB, is not counted."""
        return self.plan.flash_bytes

    @property
    def arena_bytes(self) -> int:
        """Bytes of working memory, without the window and the stack."""
        return self.plan.arena_bytes

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Estimate heart rates with the integers of the C.

        Parameters
        ----------
        X : readings or array-like
            What the exported estimator takes: for a pipeline whatever its first step does, for
            a student windows (n, n_channels, n_times) or rows (n, n_channels * n_times).

        Returns
        -------
        ndarray of shape (n_windows,)
            Heart rate in bpm, a multiple of 1/256.

        Raises
        ------
        ValueError
            If windows have the wrong shape or are not finite.
        """
        return run(self.graph, self._quantized(X)) / BPM_STEPS

    def run_c(self, X: Any) -> NDArray[np.float64]:
        """Estimate heart rates by the C, compiled for this machine.

        The compiler is that of the environment variable CC, or cc, gcc or clang. It runs once
        per model.

        Parameters
        ----------
        X : readings or array-like
            As in `predict`.

        Returns
        -------
        ndarray of shape (n_windows,)
            Heart rate in bpm, equal to that of `predict`.

        Raises
        ------
        RuntimeError
            If there is no C compiler, or it fails.
        """
        windows = self._quantized(X)
        if self._library is None:
            self._library = HostLibrary(self.files, self.prefix, self.arena_bytes)
        return self._library.predict(windows) / BPM_STEPS

    def report(self) -> str:
        """Tabulate the layers: output shape, multiplications and bytes.

        Returns
        -------
        str
            A table and the sums.
        """
        shapes = [f"{h} x {w} x {d}" for h, w, d in (ly.target_shape for ly in self.graph.layers)]
        macs = [layer.layer.n_macs(layer.source_shape) for layer in self.graph.layers]
        lines = [f"{'layer':<8} {'output':>14} {'MACs':>10} {'flash (B)':>10} {'tensor (B)':>10}"]
        for layer, shape, n_macs in zip(self.graph.layers, shapes, macs, strict=True):
            lines.append(
                f"{layer.name:<8} {shape:>14} {n_macs:>10,} {flash_bytes(layer):>10,} "
                f"{layer.target_bytes:>10,}"
            )
        n_channels, n_times = self.graph.input_shape
        lines += [
            f"{'total':<8} {'':>14} {sum(macs):>10,} {self.flash_bytes:>10,}",
            "",
            f"input: a normalised window of {n_channels} x {n_times} int8; cutting, resampling,",
            "filtering and normalising are not part of the C",
            f"arena: {self.arena_bytes:,} bytes of RAM; flash: constants, beside 2 kB of code",
        ]
        return "\n".join(lines)

    def write(self, folder: str | os.PathLike[str]) -> None:
        """Write the files, each in one step: a reader sees the old or the new text.

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
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"write: folder must not be a file, got {str(folder)!r}")
        folder.mkdir(parents=True, exist_ok=True)
        for name in self.files:
            _check_is_ours(folder / name, self.prefix)
        for name, text in self.files.items():
            _write_at_once(folder / name, text)

    def _quantized(self, X: Any) -> NDArray[np.int8]:
        """Validate X and turn it into int8 windows."""
        shape = self.graph.input_shape
        if self.front is not None:
            X = self.front.transform(X)
        X = check_array(X, dtype="numeric", allow_nd=True, input_name="X")
        if X.shape[1:] not in (shape, (shape[0] * shape[1],)):
            raise ValueError(
                f"MicrocontrollerModel: X must hold windows of {shape[0]} channels and {shape[1]} "
                f"times, (n, {shape[0]}, {shape[1]}) or (n, {shape[0] * shape[1]}), got {X.shape}"
            )
        return quantize_windows(X.reshape(-1, *shape), self.graph.input_format)


def to_microcontroller(
    estimator: Any,
    folder: str | os.PathLike[str] | None = None,
    prefix: str = "pulsehr",
    target: str = "portable",
) -> MicrocontrollerModel:
    """Quantize a fitted student to int8 and write it as C.

    Parameters
    ----------
    estimator : DistilledStudentRegressor, QuantizedStudentRegressor or Pipeline
        Fitted; a pipeline ends in a student. Its other steps stay in Python.
    folder : path-like, default=None
        Where to write the files; None writes nothing.
    prefix : str, default="pulsehr"
        Starts every symbol and file name.
    target : {"portable"}, default="portable"
        What the C is written for.

    Returns
    -------
    MicrocontrollerModel
        Files, exact results and sizes.

    Raises
    ------
    NotFittedError
        If the student is not fitted.
    TypeError
        If `estimator` is not a student, nor a pipeline that ends in one.
    ValueError
        If prefix or target is not valid, or the network cannot be quantized.

    Examples
    --------
    >>> from pulsehr import DistilledStudentRegressor
    >>> from pulsehr.datasets import make_recordings
    >>> from pulsehr.firmware.microcontroller import to_microcontroller
    >>> from pulsehr.windows import PPGWindower
    >>> data = make_recordings(n_subjects=1, duration=30, random_state=0)
    >>> X = PPGWindower().fit_transform(data.X)
    >>> student = DistilledStudentRegressor(max_epochs=1, random_state=0).fit(X, data.y)
    >>> model = to_microcontroller(student)
    >>> sorted(model.files)[:3]
    ['pulsehr.c', 'pulsehr.h', 'pulsehr.md']
    """
    from pulsehr.firmware.lowering import quantized_graph

    front, student = _split(estimator)
    model = MicrocontrollerModel(
        quantized_graph(student), prefix=prefix, target=target, front=front
    )
    if folder is not None:
        model.write(folder)
    return model


def _describe(front: Any) -> str:
    """Say which steps make windows, with their parameters and what they learnt by numbers."""
    if front is None:
        return "whoever fitted the student: it was exported without its PPGWindower"
    return " | ".join(_describe_step(step) for _, step in front.steps)


def _describe_step(step: Any) -> str:
    if not hasattr(step, "get_params"):
        return str(step)
    learnt = {name: getattr(step, name) for name in ("mean_", "scale_") if hasattr(step, name)}
    values = {
        **step.get_params(deep=False),
        **{name: np.asarray(value).tolist() for name, value in learnt.items()},
    }
    return f"{type(step).__name__}({', '.join(f'{k}={v!r}' for k, v in values.items())})"


def _split(estimator: Any) -> tuple[Any, Any]:
    """Split into the steps before the student (or None) and the fitted student."""
    front, student = None, estimator
    if isinstance(estimator, Pipeline):
        student = estimator.steps[-1][1]
        # a copy, which stays as it is when the pipeline is fitted again
        front = copy.deepcopy(estimator[:-1]) if len(estimator.steps) > 1 else None
    name = type(student).__name__
    if not hasattr(student, "fit"):
        raise TypeError(
            f"to_microcontroller: expected a fitted student or a pipeline that ends in one, "
            f"got {student!r}"
        )
    check_is_fitted(student)
    missing = [
        attribute
        for attribute in ("network_", "ranges_", "n_channels_", "n_times_")
        if not hasattr(student, attribute)
    ]
    if missing:
        raise TypeError(
            f"to_microcontroller: {name} is not a student (it has no {missing[0]}): fit a "
            f"DistilledStudentRegressor (a {name} can be its teacher) and export that; of a "
            f"search export best_estimator_"
        )
    return front, student


def _check_is_ours(path: Path, prefix: str) -> None:
    """Refuse to write over what is not an earlier export of this prefix."""
    if not path.exists():
        return
    start = path.read_bytes()[:400].decode("utf-8", errors="replace") if path.is_file() else ""
    if not re.search(rf"Written by pulsehr \S+ with prefix {prefix}\b", start):
        raise FileExistsError(
            f"write: {str(path)!r} was not written with prefix {prefix!r}, and is left as it "
            f"is: choose another folder or prefix"
        )


def _write_at_once(path: Path, text: str) -> None:
    """Write to a temporary file beside `path`, then rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
