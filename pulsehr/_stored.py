"""Signals that stay on disk (`numpy.memmap`, zarr) and are read slice by slice."""

from __future__ import annotations

import math
import mmap
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class MappedFile:
    """Say where in a file an array lies; read a slice, or map it where it is not dense.

    A map that stays open would count every page it ever touched as memory of the process.

    Parameters
    ----------
    filename : str
        Absolute path.
    offset : int
        Byte of the first element.
    dtype : dtype
        As in the file, with its byte order.
    shape, strides : tuple of int
        Strides in bytes.
    size, modified : int
        Bytes of the file, and when it last changed (ns), as seen first.
    """

    filename: str
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    size: int
    modified: int

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Copy the elements ``[start:stop]`` of the first axis, in the layout of the file."""
        self._check_unchanged()
        start, stop, _ = rows.indices(self.shape[0])
        shape = (max(0, stop - start), *self.shape[1:])
        if 0 in shape:
            return np.empty(shape, self.dtype)
        first = self.offset + start * self.strides[0]
        reach = [(n - 1) * stride for n, stride in zip(shape, self.strides, strict=True)]
        low = first + sum(step for step in reach if step < 0)
        high = first + sum(step for step in reach if step > 0) + self.dtype.itemsize
        dense = high - low == math.prod(shape) * self.dtype.itemsize
        raw: NDArray[np.uint8] = (
            np.fromfile(self.filename, np.uint8, high - low, offset=low)
            if dense
            else np.memmap(self.filename, np.uint8, "r", low, (high - low,))
        )
        view: NDArray[Any] = np.ndarray(shape, self.dtype, raw, first - low, self.strides)
        return view if dense else view.copy(order="K")

    def _check_unchanged(self) -> None:
        try:
            now = os.stat(self.filename)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{self.filename}: the file with the samples of a Recording is not there: put it "
                f"back, or mount the folder on this machine"
            ) from None
        if (now.st_size, now.st_mtime_ns) != (self.size, self.modified):
            raise ValueError(
                f"{self.filename}: the file changed after its Recording was made and checked: make "
                f"the Recording again"
            )


@dataclass(frozen=True, eq=False, repr=False)
class StoredSignal:
    """Hold a signal on disk; slices of it are float32 arrays in memory.

    A pickle holds where the samples are, never the samples.

    Parameters
    ----------
    source : MappedFile or array-like
        Has `shape`, `dtype` and slices.
    transposed : bool, default=False
        Whether the samples lie along the second axis of `source`.
    """

    source: Any
    transposed: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n_samples,)`` or ``(n_samples, n_signals)``."""
        shape = tuple(int(n) for n in self.source.shape)
        return shape[::-1] if self.transposed else shape

    @property
    def ndim(self) -> int:
        """1 or 2."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Of what is read, whatever the type on disk."""
        return np.dtype(np.float32)

    def __len__(self) -> int:
        """Count the samples."""
        return self.shape[0]

    def __repr__(self) -> str:
        """Say shape and place."""
        place = getattr(self.source, "filename", None) or repr(self.source)
        return f"StoredSignal({self.shape} in {place})"

    def __getitem__(self, rows: slice | int) -> NDArray[np.float32]:
        """Read the samples of a slice."""
        if isinstance(rows, (int, np.integer)):
            first = range(len(self))[rows]
            return np.asarray(self[first : first + 1][0])
        if not isinstance(rows, slice):
            raise TypeError(
                f"StoredSignal: expected a slice of samples, got {rows!r}: "
                f"numpy.asarray(signal) reads all of them"
            )
        start, stop, step = rows.indices(len(self))
        if step != 1:
            inside = range(start, stop, step)
            if len(inside) == 0:
                return self[:0]
            first, last = min(inside[0], inside[-1]), max(inside[0], inside[-1])
            return self[first : last + 1][::step]
        _check_folder(self.source)
        if self.transposed:
            samples = np.asarray(self.source[:, start:stop]).T
        else:
            samples = np.asarray(self.source[start:stop])
        with np.errstate(over="ignore"):
            return samples.astype(np.float32, copy=False)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read the whole signal into memory."""
        if copy is False:
            raise ValueError("StoredSignal: its samples are on disk, expected copy=True or None")
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)


def stored(value: Any, ndim: int) -> StoredSignal | None:
    """Return a signal that stays on disk, or None for values in memory.

    Parameters
    ----------
    value : object
        What a user passes as signal. On disk are a `numpy.memmap` opened with mode "r", and
        what has shape, type and slices but lends numpy no memory, as zarr.
    ndim : int
        2 turns a signal of shape (3, n_samples).

    Returns
    -------
    StoredSignal or None
        The signal, not yet read.
    """
    if isinstance(value, StoredSignal):
        return value
    turned = ndim == 2 and len(getattr(value, "shape", ())) == 2 and _lies_along_columns(value)
    if isinstance(value, np.memmap):
        mapped = _mapped(value.T if turned else value)
        return None if mapped is None else StoredSignal(mapped)
    return StoredSignal(value, turned) if _is_array_on_disk(value) else None


def _lies_along_columns(value: Any) -> bool:
    return bool(value.shape[0] == 3 != value.shape[1])


def _is_array_on_disk(value: Any) -> bool:
    if isinstance(value, np.ndarray) or not all(
        hasattr(value, name) for name in ("shape", "dtype", "__getitem__")
    ):
        return False
    # numpy, pandas, polars and torch lend their memory
    if any(hasattr(value, name) for name in ("__array_interface__", "to_numpy", "numpy")):
        return False
    return isinstance(value.dtype, np.dtype)


def _mapped(array: np.memmap[Any, Any]) -> MappedFile | None:
    """Return where a map opened for reading, or a view of one, lies in its file."""
    whole = getattr(array, "_mmap", None)
    if array.mode != "r" or whole is None or array.filename is None or array.size == 0:
        return None
    filename = os.fspath(array.filename)
    # a view keeps the offset of its parent: its own follows from its address
    page = array.offset - array.offset % mmap.ALLOCATIONGRANULARITY
    address = np.frombuffer(whole, np.uint8).__array_interface__["data"][0]
    status = os.stat(filename)
    return MappedFile(
        filename=os.path.abspath(filename),
        offset=page + array.__array_interface__["data"][0] - address,
        dtype=array.dtype,
        shape=array.shape,
        strides=array.strides,
        size=status.st_size,
        modified=status.st_mtime_ns,
    )


def _check_folder(source: Any) -> None:
    """Raise if the local folder of a zarr array is gone, which zarr reads as zeros."""
    root = getattr(getattr(source, "store", None), "root", None)
    if root is None:
        return
    folder = os.path.normpath(os.path.join(os.fspath(root), getattr(source, "path", "")))
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"{folder}: the zarr array with the samples of a Recording is not there: put it back, "
            f"or mount the folder on this machine"
        )
