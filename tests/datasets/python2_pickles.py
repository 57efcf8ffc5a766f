"""Write pickles byte by byte as Python 2 and its numpy wrote them, of protocol 0 or 2."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np


def python2_pickle(content: Any, protocol: int = 2) -> bytes:
    """Return what ``pickle.dumps(content, protocol)`` gave in Python 2, of str as its str."""
    stream = BytesIO()
    WRITERS[protocol](stream.write).dump(content)
    return stream.getvalue()


def write_python2_pickle(path: Path, content: Any, protocol: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        WRITERS[protocol](stream.write).dump(content)
    return path


class _Binary:
    """Protocol 2."""

    def __init__(self, write: Callable[[bytes], Any]) -> None:
        self.write = write
        self.n_memo = 0

    def dump(self, content: Any) -> None:
        self.write(b"\x80\x02")
        self.value(content)
        self.write(b".")

    def memo(self) -> None:
        n = self.n_memo
        self.n_memo += 1
        self.write(b"q" + bytes([n]) if n < 256 else b"r" + struct.pack("<I", n))

    def value(self, content: Any) -> None:
        if content is None:
            return self.write(b"N")
        for kind, write in (
            (bool, self.truth),
            (int, self.integer),
            (float, self.real),
            (str, lambda text: self.text(text.encode("latin1"))),
            (dict, self.mapping),
            (tuple, lambda parts: self.tuple([(self.value, part) for part in parts])),
            (list, self.sequence),
            (np.ndarray, self.array),
            (np.generic, self.scalar),
        ):
            if isinstance(content, kind):
                return write(content)
        raise TypeError(type(content))

    def truth(self, content: bool) -> None:
        self.write(b"\x88" if content else b"\x89")

    def integer(self, n: int) -> None:
        if 0 <= n < 256:
            self.write(b"K" + bytes([n]))
        elif 0 <= n < 65536:
            self.write(b"M" + struct.pack("<H", n))
        else:
            self.write(b"J" + struct.pack("<i", n))

    def real(self, x: float) -> None:
        self.write(b"G" + struct.pack(">d", x))

    def text(self, text: bytes) -> None:
        short = len(text) < 256
        self.write(b"U" + bytes([len(text)]) if short else b"T" + struct.pack("<i", len(text)))
        self.write(text)
        self.memo()

    def mapping(self, content: dict[Any, Any]) -> None:
        self.write(b"}")
        self.memo()
        self.write(b"(")
        for key, part in content.items():
            self.value(key)
            self.value(part)
        self.write(b"u")

    def sequence(self, content: list[Any]) -> None:
        self.write(b"]")
        self.memo()
        self.write(b"(")
        for part in content:
            self.value(part)
        self.write(b"e")

    def tuple(self, parts: Sequence[tuple[Callable[..., None], Any]]) -> None:
        """Write a tuple of what each function writes of its value."""
        short = len(parts) <= 3
        self.write(b"" if short else b"(")
        for write, part in parts:
            write(part)
        self.write((b")", b"\x85", b"\x86", b"\x87")[len(parts)] if short else b"t")
        if parts:
            self.memo()

    def name(self, name: str) -> None:
        module, _, attribute = name.rpartition(".")
        self.write(f"c{module}\n{attribute}\n".encode())
        self.memo()

    def call(self, name: str, *parts: tuple[Callable[..., None], Any]) -> None:
        self.name(name)
        self.tuple(parts)
        self.write(b"R")
        self.memo()

    def dtype(self, dtype: np.dtype) -> None:
        self.call("numpy.dtype", *((self.value, part) for part in (dtype.str[1:], 0, 1)))
        self.value((3, dtype.str[0], None, None, None, -1, -1, 0))
        self.write(b"b")

    def array(self, array: np.ndarray) -> None:
        kind = (self.name, "numpy.ndarray")
        start = ((self.value, (0,)), (self.value, "b"))
        self.call("numpy.core.multiarray._reconstruct", kind, *start)
        fortran = bool(array.flags.f_contiguous and not array.flags.c_contiguous)
        self.tuple(
            [
                (self.value, 1),
                (self.value, array.shape),
                (self.dtype, array.dtype),
                (self.value, fortran),
                (self.text, array.tobytes("F" if fortran else "C")),
            ]
        )
        self.write(b"b")

    def scalar(self, value: np.generic) -> None:
        parts = (self.dtype, value.dtype), (self.text, value.tobytes())
        self.call("numpy.core.multiarray.scalar", *parts)


class _Text(_Binary):
    """Protocol 0."""

    def dump(self, content: Any) -> None:
        self.value(content)
        self.write(b".")

    def memo(self) -> None:
        self.write(b"p%d\n" % self.n_memo)
        self.n_memo += 1

    def truth(self, content: bool) -> None:
        self.write(b"I01\n" if content else b"I00\n")

    def integer(self, n: int) -> None:
        self.write(b"I%d\n" % n)

    def real(self, x: float) -> None:
        self.write(b"F%s\n" % repr(x).encode())

    def text(self, text: bytes) -> None:
        self.write(b"S" + repr(text)[1:].encode() + b"\n")
        self.memo()

    def mapping(self, content: dict[Any, Any]) -> None:
        self.write(b"(d")
        self.memo()
        for key, part in content.items():
            self.value(key)
            self.value(part)
            self.write(b"s")

    def sequence(self, content: list[Any]) -> None:
        self.write(b"(l")
        self.memo()
        for part in content:
            self.value(part)
            self.write(b"a")

    def tuple(self, parts: Sequence[tuple[Callable[..., None], Any]]) -> None:
        self.write(b"(")
        for write, part in parts:
            write(part)
        self.write(b"t")
        self.memo()


WRITERS = {0: _Text, 2: _Binary}
