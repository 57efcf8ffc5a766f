"""The pickle machine without what could do harm: values are put together, nothing is called."""

from __future__ import annotations

import os
import pickle
import pickletools
from collections.abc import Callable
from typing import IO, Any, ClassVar

from pulsehr.datasets._pickle_names import (
    GLOBALS,
    MAX_NAME,
    Global,
    PlainArray,
    PlainDtype,
    RefusedError,
    StoredText,
    check_keys,
    named,
    unescaped,
)

#: Longer texts (bytes) stay in the file until an array that is kept needs them.
MAX_TEXT = 1 << 16

#: A file of arrays has hundreds of instructions; so many take a fraction of a second.
MAX_INSTRUCTIONS = 100_000

#: Bytes of instructions and short texts altogether, and of what is made of them again.
MAX_SHORT_BYTES = 1 << 26

#: Bytes that a dict takes for each of its keys.
ITEM_BYTES = 100


class Instructions:
    """The bytes of a pickle, counted, in short pieces; long ones are passed over."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self.stream, self.size = stream, size
        self.count = self.n_bytes = 0

    def read(self, n: int) -> bytes:
        """Return exactly `n` bytes."""
        if n > MAX_TEXT:
            raise RefusedError(f"a number of {n} bytes")
        data = self.stream.read(n)
        self._count(data)
        if len(data) < n:
            raise EOFError("the file ends early")
        return data

    def readline(self) -> bytes:
        """Return a line of an instruction that holds a name or a number."""
        line = self.stream.readline(MAX_TEXT)
        if not line.endswith(b"\n"):
            raise EOFError("the file ends early" if len(line) < MAX_TEXT else "a line is too long")
        self._count(line)
        return line

    def text(self, length: int, form: str) -> bytes | StoredText:
        """Return a text of some bytes, or where it is."""
        if length <= MAX_TEXT:
            return self.read(length)
        start = self.stream.tell()
        if length > self.size - start:
            raise EOFError(f"a text of {length} bytes, of which the file has {self.size - start}")
        self.stream.seek(length, os.SEEK_CUR)
        return StoredText(start, length, form)

    def line(self, form: str) -> bytes | StoredText:
        """Return a text that ends with a newline, or where it is."""
        start = self.stream.tell()
        piece = line = self.stream.readline(MAX_TEXT)
        length = len(piece)
        while piece and not piece.endswith(b"\n"):
            piece = self.stream.readline(MAX_TEXT)
            length += len(piece)
        if not piece:
            raise EOFError("the file ends early")
        if length > len(line):
            return StoredText(start, length - 1, form)
        self._count(line)
        return line[:-1]

    def call(self, called: Global, args: tuple[Any, ...]) -> Any:
        """Call what a name stands for; what it can make of its arguments counts like a text."""
        for arg in args:
            if isinstance(arg, (str, bytes)):
                self._count_bytes(len(arg))
            elif isinstance(arg, (list, tuple, dict)):
                self._count_bytes(ITEM_BYTES * len(arg))
        return called.call(*args)

    def _count(self, data: bytes) -> None:
        self.count += len(data) == 1
        self._count_bytes(len(data))

    def _count_bytes(self, n_bytes: int) -> None:
        self.n_bytes += n_bytes
        # an argument of one byte counts as an instruction as well
        if self.count > 2 * MAX_INSTRUCTIONS or self.n_bytes > MAX_SHORT_BYTES:
            raise RefusedError(
                f"more than {MAX_INSTRUCTIONS} instructions, or {MAX_SHORT_BYTES} bytes of them"
            )


#: The standard machine in Python, not the one in C, which allocates whatever a file asks for.
_Machine: Any = pickle._Unpickler


class ArrayUnpickler(_Machine):
    """The pickle machine with the instructions that arrays and plain containers need."""

    def __init__(self, instructions: Instructions) -> None:
        super().__init__(instructions, encoding="latin1")
        self.instructions = instructions

    def find_class(self, module: str, name: str) -> Global:
        """Return what an allowed name stands for."""
        wanted = f"{module}.{name}"
        if wanted not in GLOBALS:
            raise RefusedError(f"the global {wanted[:MAX_NAME]!r}")
        return Global(wanted, GLOBALS[wanted])

    def load_reduce(self) -> None:
        """Call what an allowed name stands for."""
        args = self.stack.pop()
        called = self.stack[-1]
        if not (isinstance(called, Global) and isinstance(args, tuple)):
            raise RefusedError(f"a call of {named(called)}")
        self.stack[-1] = self.instructions.call(called, args)

    def load_build(self) -> None:
        """Give an array or a dtype its state."""
        state = self.stack.pop()
        built = self.stack[-1]
        if not (isinstance(built, (PlainArray, PlainDtype)) and isinstance(state, tuple)):
            raise RefusedError(f"a state of {named(built)}")
        built.set_state(state)

    def load_inst(self) -> None:
        """Refuse an instance of a class, by its name."""
        module, name = (self.readline()[:-1].decode("ascii", "replace") for _ in range(2))
        raise RefusedError(f"an instance of {f'{module}.{name}'[:MAX_NAME]!r}")

    def load_persid(self) -> None:
        """Refuse an object that lies elsewhere."""
        raise RefusedError(f"the persistent id {self.readline()[:-1][:MAX_NAME]!r}")

    def load_binpersid(self) -> None:
        """Refuse an object that lies elsewhere."""
        raise RefusedError(f"the persistent id {named(self.stack[-1])}")

    def load_ext(self, width: int) -> None:
        """Refuse what is registered under a number."""
        number = int.from_bytes(self.read(width), "little")
        raise RefusedError(f"the extension {number} of the registry of copyreg")

    def load_frame(self) -> None:
        """Read on: what is in a frame follows it."""
        self.read(8)

    def load_text(self, width: int, form: str, python_2: bool) -> None:
        """Push a text whose length comes before it."""
        data = self.read(width)
        length = int.from_bytes(data, "little", signed=python_2 and width == 4)
        if length < 0:
            raise ValueError("a text of negative length")
        text = self.instructions.text(length, form)
        if isinstance(text, bytes) and form != "bytes":
            self.append(text.decode(form, "strict" if form == "latin1" else "surrogatepass"))
        else:
            self.append(text)

    def load_string(self) -> None:
        """Push a text of Python 2 in quotes with escapes."""
        line = self.instructions.line("escaped")
        self.append(unescaped(line).decode("latin1") if isinstance(line, bytes) else line)

    def load_unicode(self) -> None:
        """Push a text with escapes."""
        line = self.instructions.line("raw-unicode-escape")
        self.append(line.decode("raw-unicode-escape") if isinstance(line, bytes) else line)

    def load_setitem(self) -> None:
        """Put one value into a dict."""
        check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self) -> None:
        """Put values into a dict."""
        check_keys(self.stack[::2])
        super().load_setitems()

    def load_dict(self) -> None:
        """Push a dict."""
        check_keys(self.stack[::2])
        super().load_dict()

    dispatch: ClassVar[dict[int, Callable[..., None]]]


class _Dispatch(dict[int, Callable[..., None]]):
    """Instructions by code; others are refused by their name."""

    def __missing__(self, code: int) -> Any:
        if code not in _NAMES:
            raise ValueError(f"no instruction has the code {code}")
        raise RefusedError(f"the instruction {_NAMES[code]}")


def _of_text(width: int, form: str, python_2: bool = False) -> Callable[..., None]:
    return lambda machine: machine.load_text(width, form, python_2)


def _of_extension(width: int) -> Callable[..., None]:
    return lambda machine: machine.load_ext(width)


_NAMES = {ord(op.code): op.name for op in pickletools.opcodes}

#: Instructions that stay as they are.
_SAME = frozenset(
    (
        "PROTO STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG "
        "LONG1 LONG4 FLOAT BINFLOAT LIST EMPTY_LIST APPEND APPENDS TUPLE EMPTY_TUPLE "
        "TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE "
        "GLOBAL STACK_GLOBAL"
    ).split()
)

#: Instructions that do less here than elsewhere.
_OTHERS: dict[str, Callable[..., None]] = {
    "REDUCE": ArrayUnpickler.load_reduce,
    "BUILD": ArrayUnpickler.load_build,
    "INST": ArrayUnpickler.load_inst,
    "PERSID": ArrayUnpickler.load_persid,
    "BINPERSID": ArrayUnpickler.load_binpersid,
    "EXT1": _of_extension(1),
    "EXT2": _of_extension(2),
    "EXT4": _of_extension(4),
    "FRAME": ArrayUnpickler.load_frame,
    "STRING": ArrayUnpickler.load_string,
    "UNICODE": ArrayUnpickler.load_unicode,
    "BINSTRING": _of_text(4, "latin1", python_2=True),
    "SHORT_BINSTRING": _of_text(1, "latin1"),
    "SHORT_BINBYTES": _of_text(1, "bytes"),
    "BINBYTES": _of_text(4, "bytes"),
    "BINBYTES8": _of_text(8, "bytes"),
    "BYTEARRAY8": _of_text(8, "bytes"),
    "SHORT_BINUNICODE": _of_text(1, "utf-8"),
    "BINUNICODE": _of_text(4, "utf-8"),
    "BINUNICODE8": _of_text(8, "utf-8"),
    "SETITEM": ArrayUnpickler.load_setitem,
    "SETITEMS": ArrayUnpickler.load_setitems,
    "DICT": ArrayUnpickler.load_dict,
}

ArrayUnpickler.dispatch = _Dispatch(
    {
        code: _OTHERS.get(name, _Machine.dispatch[code])
        for code, name in _NAMES.items()
        if name in _SAME or name in _OTHERS
    }
)
