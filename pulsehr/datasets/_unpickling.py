"""Read numpy arrays and plain containers from a pickle, running nothing that it asks for."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pulsehr.datasets._pickle_machine import ArrayUnpickler, Instructions
from pulsehr.datasets._pickle_names import (
    MAX_NAME,
    PlainArray,
    PlainDtype,
    RefusedError,
    StoredText,
    as_text,
    named,
)

#: Bytes read at once: lines of a file of protocol 0 are hundreds of megabytes long.
BUFFER_BYTES = 1 << 18

#: Containers within containers, and values altogether.
MAX_DEPTH, MAX_VALUES = 32, 100_000

#: Bytes of the longest escape of one byte.
MAX_ESCAPE = 6


def read_pickle(who: str, path: Path, keep: Collection[str] | None = None) -> Any:
    """Read numpy arrays, numbers, texts and containers of these from a pickle.

    Nothing of the file is ever called or imported: the few names that arrays need stand for
    functions of this module. Samples stay in the file until it is known which arrays are
    wanted, so memory is that of the arrays kept and a few bytes for each instruction, of
    which there are at most 100,000.

    Parameters
    ----------
    who : str
        The loader that asks, for the error.
    path : pathlib.Path
        The file, of any protocol; texts of Python 2 are read as Latin-1.
    keep : collection of str, default=None
        Places of what is wanted, keys of nested dicts joined by "/", such as
        ``"signal/wrist/BVP"``. The rest is left out, and its samples are never read. None:
        everything.

    Returns
    -------
    Any
        The content. Arrays have the byte order of this machine and are read-only.

    Raises
    ------
    ValueError
        If the file asks for any other name or instruction, is damaged, or holds nothing.
    """
    size = os.stat(path).st_size
    if size == 0:
        raise ValueError(f"{who}: {path.name} is empty, expected a pickle: is the download whole?")
    with path.open("rb", buffering=BUFFER_BYTES) as stream:
        try:
            content = ArrayUnpickler(Instructions(stream, size)).load()
            return _Kept(stream, size, keep).plain(content, (), 0)
        except RefusedError as error:
            raise ValueError(
                f"{who}: {path.name} asks for {error}, expected numpy arrays and plain containers: "
                f"nothing of it was run; take the file from where the data set is published"
            ) from None
        except Exception as error:  # whatever the damaged byte leads to
            raise ValueError(
                f"{who}: {path.name} must be a pickle of numpy arrays, got one that cannot be read "
                f"({type(error).__name__}: {str(error)[:MAX_NAME]}): is the download complete?"
            ) from None


class _Kept:
    """Make plain values of what the machine left, of the places that are wanted."""

    def __init__(self, stream: IO[bytes], size: int, keep: Collection[str] | None) -> None:
        self.stream, self.bytes_left, self.count = stream, size, 0
        self.keep = None if keep is None else [tuple(place.split("/")) for place in keep]

    def plain(self, value: Any, place: tuple[str, ...], depth: int) -> Any:
        """Return a value as plain containers and arrays."""
        self.count += 1
        if depth > MAX_DEPTH or self.count > MAX_VALUES:
            raise RefusedError(
                f"containers more than {MAX_DEPTH} deep, or more than {MAX_VALUES} values"
            )
        make = self._MAKERS.get(type(value))
        if make is None:
            raise RefusedError(f"{named(value)} that is no value")
        return make(self, value, place, depth)

    def _wants(self, place: tuple[str, ...]) -> bool:
        """Tell whether a place is wanted, lies in one that is, or leads to one."""
        if self.keep is None:
            return True
        return any(kept[: len(place)] == place[: len(kept)] for kept in self.keep)

    def _same(self, value: Any, place: tuple[str, ...], depth: int) -> Any:
        return value

    def _dict(self, value: dict[Any, Any], place: tuple[str, ...], depth: int) -> Any:
        self.count += len(value)  # keys that are not wanted take time, too
        places = [(key, (*place, str(key))) for key in value]
        return {
            key: self.plain(value[key], inner, depth + 1)
            for key, inner in places
            if self._wants(inner)
        }

    def _list(self, value: list[Any], place: tuple[str, ...], depth: int) -> Any:
        return [self.plain(part, place, depth + 1) for part in value]

    def _tuple(self, value: tuple[Any, ...], place: tuple[str, ...], depth: int) -> Any:
        return tuple(self._list(list(value), place, depth))

    def _array(self, value: PlainArray, place: tuple[str, ...], depth: int) -> Any:
        shape = tuple(value.shape)
        if len(shape) > MAX_DEPTH or not all(type(n) is int and 0 <= n < 2**48 for n in shape):
            raise ValueError("the shape of an array is none")
        if not isinstance(value.dtype, PlainDtype):
            raise TypeError("the dtype of an array is none")
        dtype = value.dtype.dtype()
        order: Any = "F" if value.fortran else "C"
        if dtype.hasobject:
            array = self._objects(value.data, math.prod(shape), place, depth)
        else:
            array = self._samples(value.data, dtype, math.prod(shape) * dtype.itemsize)
        array = array.reshape(shape, order=order)
        array.flags.writeable = False
        return array[()] if value.scalar else array

    def _samples(self, data: Any, dtype: np.dtype[Any], n_bytes: int) -> NDArray[Any]:
        self.bytes_left -= n_bytes
        if self.bytes_left < 0:
            raise RefusedError("arrays of more bytes than it has")
        if isinstance(data, StoredText):
            if not n_bytes <= data.length <= MAX_ESCAPE * n_bytes + 2:
                raise ValueError(f"an array of {n_bytes} bytes is stored in {data.length}")
            data = data.read(self.stream)
        data = data if isinstance(data, bytes) else as_text(data).encode("latin1")
        if len(data) != n_bytes:
            raise ValueError(f"an array of {n_bytes} bytes has {len(data)}")
        samples = np.frombuffer(data, dtype) if n_bytes else np.empty(0, dtype)
        return samples.astype(dtype.newbyteorder("="), copy=False)

    def _objects(self, data: Any, n: int, place: tuple[str, ...], depth: int) -> NDArray[Any]:
        if not isinstance(data, list) or len(data) != n:
            raise ValueError(f"an array of {n} objects does not hold them")
        objects = np.empty(n, dtype=object)
        for k, part in enumerate(data):
            objects[k] = self.plain(part, place, depth + 1)
        return objects

    _MAKERS: ClassVar[dict[type, Callable[..., Any]]] = {
        **dict.fromkeys((str, bytes, int, float, bool, type(None)), _same),
        dict: _dict,
        list: _list,
        tuple: _tuple,
        PlainArray: _array,
    }
