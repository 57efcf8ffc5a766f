"""Numeric arrays of a MATLAB file of version 5 to 7.2, whose every number may be a lie."""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

#: A file starts with a text, its version and its byte order [1].
HEADER_BYTES = 128
BYTE_ORDERS = {b"IM": "<", b"MI": ">"}

#: How HDF5, and so a file of version 7.3 without the text, starts.
HDF5 = b"\x89HDF\r\n\x1a\n"

#: Data types of the elements that hold variables [1].
MATRIX, COMPRESSED = 14, 15

#: Data types of numbers in an element [1].
STORED_AS = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
DIMENSIONS, FLAGS, NAMES = 5, 6, (1, 2, 16)

#: Classes of variables that hold numbers, and those of which no more than the name is read [1].
NUMERIC = {
    6: "f8",
    7: "f4",
    8: "i1",
    9: "u1",
    10: "i2",
    11: "u2",
    12: "i4",
    13: "u4",
    14: "i8",
    15: "u8",
}
OTHERS = {1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse", 16: "function"}

#: Bit of the flags of a variable that says that it is complex [1].
COMPLEX = 0x800

#: Numbers of one variable: six hours of six signals of 125 Hz, 128 MiB as float64.
MAX_NUMBERS = 1 << 24

#: Variables of a file; the data sets have up to ten.
MAX_VARIABLES = 1000

#: Bytes of the dimensions and of the name of a variable (MATLAB: 63).
MAX_NAME_BYTES = 256

#: Bytes that are inflated at a time.
CHUNK = 1 << 16


@dataclass(frozen=True)
class Variable:
    """Say what a file holds under a name.

    Parameters
    ----------
    kind : str
        The type of its numbers, or what else it is.
    shape : tuple of int
        Its dimensions.
    values : ndarray or None
        Its numbers, in the type that the variable had in MATLAB; None for what holds none.
    """

    kind: str
    shape: tuple[int, ...]
    values: NDArray[Any] | None = None


def read_variables(stream: IO[bytes], names: Collection[str]) -> dict[str, Variable]:
    """Read the named variables of a file; of all others no more than their names.

    Every length is held against what is there before it is used, so that no file takes
    more memory than some copies of ``MAX_NUMBERS`` float64. (`scipy.io.loadmat` 1.17 ends the
    process at a file in which one byte, the type of the data, is another.)

    Parameters
    ----------
    stream : binary file
        Open for reading, at its start; seekable.
    names : collection of str
        The variables that are wanted.

    Returns
    -------
    dict of str to Variable
        Those of the names that are there.

    Raises
    ------
    NotImplementedError
        If the file is of version 7.3.
    ValueError
        If it is of another kind, damaged or too large.

    References
    ----------
    .. [1] The MathWorks, MAT-File Format, chapter 1: Level 5 MAT-file format.
    """
    order = _byte_order(stream.read(HEADER_BYTES))
    size = stream.seek(0, os.SEEK_END)
    found: dict[str, Variable] = {}
    start = HEADER_BYTES
    for _ in range(MAX_VARIABLES):
        if start == size:
            return found
        stream.seek(start)
        kind, n_bytes = struct.unpack(order + "II", _exactly(stream.read(8), 8))
        if kind not in (MATRIX, COMPRESSED):
            raise ValueError(f"no variable at byte {start}, but data of type {kind}")
        start += 8 + n_bytes
        if start > size:
            raise ValueError(f"it should have {start} bytes or more, and has {size}")
        content = _Content(stream, n_bytes, kind == COMPRESSED)
        if kind == COMPRESSED and _numbers(content, order, "u4", 2)[0] != MATRIX:
            raise ValueError("compressed data that are no variable")
        name, variable = _variable(content, order, names)
        if variable is not None and name in found:
            raise ValueError(f"two variables are called {name!r}")
        if variable is not None:
            found[name] = variable
    raise ValueError(f"it has more than {MAX_VARIABLES} variables")


def _byte_order(header: bytes) -> str:
    if header.startswith(HDF5) or _version(header) == 2:
        raise NotImplementedError
    if len(header) < HEADER_BYTES:
        raise ValueError(f"it ends after {len(header)} bytes")
    if _version(header) != 1:
        raise ValueError("it does not start as a MATLAB file of version 5 to 7.2 does")
    return BYTE_ORDERS[header[126:]]


def _version(header: bytes) -> int:
    order = BYTE_ORDERS.get(header[126:])
    return 0 if order is None else int(struct.unpack(order + "H", header[124:126])[0]) >> 8


class _Content:
    """The bytes of an element of the file, inflated as far as they are asked for."""

    def __init__(self, stream: IO[bytes], n_bytes: int, compressed: bool) -> None:
        self._stream, self._left = stream, n_bytes
        self._inflate = zlib.decompressobj() if compressed else None

    def read(self, n_bytes: int) -> bytes:
        """Return so many bytes; ValueError if there are fewer."""
        if self._inflate is None:
            taken = self._stream.read(min(n_bytes, self._left))
            self._left -= len(taken)
            return _exactly(taken, n_bytes)
        return _exactly(self._inflated(self._inflate, n_bytes), n_bytes)

    def check_end(self) -> None:
        """Raise ValueError unless the checksum of what was compressed has been seen and holds."""
        if self._inflate is not None:
            self._inflated(self._inflate, 8)  # what fills the last element up to eight bytes
            if not self._inflate.eof:
                raise ValueError("a variable is longer than it says, or cut off")

    def _inflated(self, inflate: Any, n_bytes: int) -> bytes:
        parts = bytearray()
        while len(parts) < n_bytes and not inflate.eof:
            deflated = inflate.unconsumed_tail or self._stream.read(min(CHUNK, self._left))
            self._left -= 0 if inflate.unconsumed_tail else len(deflated)
            part = inflate.decompress(deflated, n_bytes - len(parts))
            if not part and not deflated:
                break
            parts += part
        return bytes(parts)


def _exactly(taken: bytes, n_bytes: int) -> bytes:
    if len(taken) != n_bytes:
        raise ValueError(f"{n_bytes} bytes should follow, and {len(taken)} do")
    return taken


def _variable(content: _Content, order: str, names: Collection[str]) -> tuple[str, Variable | None]:
    """Read one variable, if it is wanted."""
    kind, n_bytes, _ = _tag(content, order)
    if kind != FLAGS or n_bytes != 8:
        raise ValueError("a variable does not start with its flags")
    flags = int(_numbers(content, order, "u4", 2)[0])
    if flags & 0xFF not in NUMERIC | OTHERS:
        return "", None  # such as tables and dates, whose names stand elsewhere
    shape = tuple(_element(content, order, (DIMENSIONS,)).view(order + "i4").tolist())
    name = _element(content, order, NAMES).tobytes().decode("latin-1")
    if name not in names:
        return name, None
    if any(n < 0 for n in shape):
        raise ValueError(f"{name!r} has the dimensions {shape}")
    if flags & 0xFF in OTHERS:
        return name, Variable(OTHERS[flags & 0xFF], shape)
    dtype = np.dtype(NUMERIC[flags & 0xFF])
    if flags & COMPLEX:
        return name, Variable(f"complex {dtype}", shape)
    return name, Variable(str(dtype), shape, _values(content, order, name, shape, dtype))


def _values(
    content: _Content, order: str, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    n_numbers = math.prod(shape)
    if n_numbers > MAX_NUMBERS:
        raise ValueError(f"{name!r} has the dimensions {shape}: more than {MAX_NUMBERS} numbers")
    kind, n_bytes, small = _tag(content, order)
    stored = np.dtype(order + STORED_AS.get(kind, "V1"))
    if not np.can_cast(stored, dtype, "same_kind") or n_bytes != n_numbers * stored.itemsize:
        raise ValueError(
            f"{name!r} has the dimensions {shape}, and {n_bytes} bytes of data of type {kind}"
        )
    values = np.frombuffer(content.read(4 if small else n_bytes)[:n_bytes], stored)
    content.check_end()
    with np.errstate(over="ignore"):
        return values.astype(dtype).reshape(shape, order="F")


def _tag(content: _Content, order: str) -> tuple[int, int, bool]:
    """Return data type and number of bytes of an element, and whether it is a small one."""
    (kind,) = _numbers(content, order, "u4", 1).tolist()
    if kind >> 16:
        if kind >> 16 > 4:
            raise ValueError(f"a small element has {kind >> 16} bytes")
        return kind & 0xFFFF, kind >> 16, True
    return kind, int(_numbers(content, order, "u4", 1)[0]), False


def _element(content: _Content, order: str, kinds: Collection[int]) -> NDArray[np.uint8]:
    """Read the dimensions or the name of a variable."""
    kind, n_bytes, small = _tag(content, order)
    if kind not in kinds or n_bytes > MAX_NAME_BYTES or (kind == DIMENSIONS and n_bytes % 4):
        raise ValueError(f"{n_bytes} bytes of type {kind} where dimensions or a name should be")
    filled = 4 if small else -(-n_bytes // 8) * 8
    return np.frombuffer(content.read(filled), np.uint8)[:n_bytes]


def _numbers(content: _Content, order: str, dtype: str, count: int) -> NDArray[Any]:
    return np.frombuffer(content.read(count * int(dtype[1])), order + dtype)
