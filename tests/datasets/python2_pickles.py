"""Write pickles byte by byte as Python 2 and its numpy wrote them, of protocol 0 or 2."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np


def python2_pickle(content: Any, protocol: int = 2) -> bytes:
    """Return what ``pickle.dumps(content, protocol)`` gave in Python 2, of str as its str."""
    return {0: _Text(), 2: _Binary()}[protocol].dumped(content)


def write_python2_pickle(path: Path, content: Any, protocol: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(python2_pickle(content, protocol))
    return path


class _Binary:
    """Protocol 2."""

    head = b"\x80\x02"

    def __init__(self) -> None:
        self.n_memo = 0

    def dumped(self, content: Any) -> bytes:
        return self.head + self.value(content) + b"."

    def memo(self) -> bytes:
        self.n_memo += 1
        n = self.n_memo - 1
        return b"q" + bytes([n]) if n < 256 else b"r" + struct.pack("<I", n)

    def value(self, content: Any) -> bytes:
        if content is None:
            return b"N"
        for kind, write in (
            (bool, self.truth),
            (int, self.integer),
            (float, self.real),
            (str, lambda text: self.text(text.encode("latin1"))),
            (dict, self.mapping),
            (tuple, self.tuple),
            (list, self.sequence),
            (np.ndarray, self.array),
            (np.generic, self.scalar),
        ):
            if isinstance(content, kind):
                return write(content)
        raise TypeError(type(content))

    def truth(self, content: bool) -> bytes:
        return b"\x88" if content else b"\x89"

    def integer(self, n: int) -> bytes:
        if 0 <= n < 256:
            return b"K" + bytes([n])
        return b"M" + struct.pack("<H", n) if 0 <= n < 65536 else b"J" + struct.pack("<i", n)

    def real(self, x: float) -> bytes:
        return b"G" + struct.pack(">d", x)

    def text(self, text: bytes) -> bytes:
        short = len(text) < 256
        size = b"U" + bytes([len(text)]) if short else b"T" + struct.pack("<i", len(text))
        return size + text + self.memo()

    def mapping(self, content: dict[Any, Any]) -> bytes:
        head = b"}" + self.memo()
        pairs = b"".join(self.value(key) + self.value(part) for key, part in content.items())
        return head + b"(" + pairs + b"u"

    def sequence(self, content: list[Any]) -> bytes:
        return b"]" + self.memo() + b"(" + b"".join(map(self.value, content)) + b"e"

    def tuple(self, content: tuple[Any, ...]) -> bytes:
        if not content:
            return b")"
        parts = b"".join(map(self.value, content))
        if len(content) <= 3:
            return parts + bytes([0x84 + len(content)]) + self.memo()
        return b"(" + parts + b"t" + self.memo()

    def name(self, module: str, name: str) -> bytes:
        return f"c{module}\n{name}\n".encode() + self.memo()

    def dtype(self, dtype: np.dtype) -> bytes:
        made = self.name("numpy", "dtype") + self.value((dtype.str[1:], 0, 1)) + b"R" + self.memo()
        order = dtype.str[0]
        return made + self.value((3, order, None, None, None, -1, -1, 0)) + b"b"

    def array(self, array: np.ndarray) -> bytes:
        made = self.name("numpy.core.multiarray", "_reconstruct")
        # the class is written by its name: a tuple around it by hand
        kind = self.name("numpy", "ndarray")
        made += self.three(kind, self.value((0,)), self.value("b")) + b"R" + self.memo()
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        state = [self.value(1), self.value(array.shape), self.dtype(array.dtype)]
        state += [self.value(bool(fortran)), self.text(array.tobytes("F" if fortran else "C"))]
        return made + b"(" + b"".join(state) + b"t" + self.memo() + b"b"

    def scalar(self, value: np.generic) -> bytes:
        made = self.name("numpy.core.multiarray", "scalar")
        parts = self.dtype(value.dtype) + self.text(value.tobytes())
        return made + parts + b"\x86" + self.memo() + b"R" + self.memo()

    def three(self, *parts: bytes) -> bytes:
        return b"".join(parts) + b"\x87" + self.memo()


class _Text(_Binary):
    """Protocol 0."""

    head = b""

    def memo(self) -> bytes:
        self.n_memo += 1
        return b"p%d\n" % (self.n_memo - 1)

    def truth(self, content: bool) -> bytes:
        return b"I01\n" if content else b"I00\n"

    def integer(self, n: int) -> bytes:
        return b"I%d\n" % n

    def real(self, x: float) -> bytes:
        return b"F%s\n" % repr(x).encode()

    def text(self, text: bytes) -> bytes:
        return b"S" + repr(text)[1:].encode() + b"\n" + self.memo()

    def mapping(self, content: dict[Any, Any]) -> bytes:
        pairs = b"".join(self.value(key) + self.value(part) + b"s" for key, part in content.items())
        return b"(d" + self.memo() + pairs

    def sequence(self, content: list[Any]) -> bytes:
        return b"(l" + self.memo() + b"".join(self.value(part) + b"a" for part in content)

    def tuple(self, content: tuple[Any, ...]) -> bytes:
        return b"(" + b"".join(map(self.value, content)) + b"t" + self.memo()

    def scalar(self, value: np.generic) -> bytes:
        made = self.name("numpy.core.multiarray", "scalar")
        parts = self.dtype(value.dtype) + self.text(value.tobytes())
        return made + b"(" + parts + b"t" + self.memo() + b"R" + self.memo()

    def three(self, *parts: bytes) -> bytes:
        return b"(" + b"".join(parts) + b"t" + self.memo()
