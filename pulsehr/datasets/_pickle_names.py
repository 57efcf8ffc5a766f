"""What the names and the long texts of a pickle of arrays stand for."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

#: Names in errors are cut after so many characters.
MAX_NAME = 200

#: Names of dtypes without fields: truth values, numbers, texts and objects.
_DTYPES = re.compile(r"[?]|[biufc](1|2|4|8|16)|[SU]\d{1,6}|O[48]?")

_KEYS = (str, bytes, int, float, type(None))

#: Larger numbers as keys are refused: Python hashes many of them alike.
MAX_KEY = 1 << 60


class RefusedError(Exception):
    """The file asks for something that arrays and plain containers do not need."""


@dataclass(frozen=True, eq=False)
class Global:
    """What an allowed name stands for."""

    name: str
    call: Callable[..., Any]


@dataclass(frozen=True, eq=False)
class StoredText:
    """A long text that is still in the file: `length` bytes from `start`, of some form."""

    start: int
    length: int
    form: str

    def read(self, stream: IO[bytes]) -> bytes:
        """Return the bytes that the text stands for."""
        if self.form not in _DECODERS:
            raise TypeError(f"{self.form} text as the samples of an array")
        stream.seek(self.start)
        return _DECODERS[self.form](stream.read(self.length))


def unescaped(line: bytes) -> bytes:
    if len(line) < 2 or line[:1] != line[-1:] or line[0] not in b"'\"":
        raise ValueError("a text is not in quotes")
    return bytes(codecs.escape_decode(line[1:-1])[0])


#: What a long text in the file holds, by its form.
_DECODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "bytes": bytes,
    "latin1": bytes,
    "escaped": unescaped,
    "utf-8 of latin1": lambda text: text.decode("utf-8").encode("latin1"),
    "raw-unicode-escape of latin1": lambda text: text.decode("raw-unicode-escape").encode("latin1"),
}


@dataclass(eq=False)
class PlainDtype:
    """A dtype without fields."""

    text: str
    order: str = "="

    def set_state(self, state: Any) -> None:
        """Take the byte order, and refuse fields."""
        _, order, subdtype, names, fields = state[:5]
        if subdtype is not None or names is not None or fields is not None:
            raise RefusedError("an array with fields")
        if order not in ("<", ">", "=", "|", b"<", b">", b"=", b"|"):
            raise ValueError("the byte order of a dtype is none")
        self.order = as_text(order)

    def dtype(self) -> np.dtype[Any]:
        """Return what numpy has for it."""
        order = self.order if self.order in ("<", ">") else "="
        return np.dtype(self.text if self.text == "?" else order + self.text)


@dataclass(eq=False)
class PlainArray:
    """An array whose samples may still be in the file."""

    shape: tuple[int, ...] = (0,)
    dtype: Any = None
    fortran: bool = False
    data: Any = b""
    scalar: bool = False

    def set_state(self, state: Any) -> None:
        """Take shape, dtype and samples."""
        _, self.shape, self.dtype, self.fortran, self.data = state


def _made_dtype(text: Any, *flags: Any) -> PlainDtype:
    name = as_text(text)
    if not _DTYPES.fullmatch(name):
        raise RefusedError(f"the dtype {name[:MAX_NAME]!r}")
    return PlainDtype(name)


def _made_array(kind: Any, shape: Any, typecode: Any) -> PlainArray:
    if not (isinstance(kind, Global) and kind.name.endswith("ndarray")):
        raise RefusedError(f"an array of kind {named(kind)}")
    return PlainArray()


def _made_array_of_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> PlainArray:
    return PlainArray(shape, dtype, order == "F", data)


def _made_scalar(dtype: Any, data: Any = b"") -> PlainArray:
    return PlainArray((), dtype, False, data, scalar=True)


def _encoded(text: Any, encoding: Any = "latin1") -> Any:
    if encoding not in ("latin1", "latin-1"):
        raise RefusedError(f"the encoding {named(encoding)}")
    if isinstance(text, StoredText) and text.form in ("utf-8", "raw-unicode-escape"):
        return StoredText(text.start, text.length, f"{text.form} of latin1")
    return as_text(text).encode("latin1")


def _made_dict(pairs: Sequence[Sequence[Any]] = ()) -> dict[Any, Any]:
    check_keys([key for key, _ in pairs])
    # what is no pair raises, as in any damaged file
    return dict(pairs)  # type: ignore[arg-type]


def _no_bytes() -> bytes:
    return b""


def _no_call(*args: Any) -> Any:
    raise RefusedError("an array made by numpy.ndarray itself")


#: What a file may name.
GLOBALS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": _made_dtype,
    "numpy.ndarray": _no_call,
    "_codecs.encode": _encoded,
    "collections.OrderedDict": _made_dict,
    "__builtin__.bytes": _no_bytes,
    "builtins.bytes": _no_bytes,
    **{
        f"numpy.{core}.{name}": call
        for core in ("core", "_core")
        for name, call in (
            ("multiarray._reconstruct", _made_array),
            ("multiarray.scalar", _made_scalar),
            ("numeric._frombuffer", _made_array_of_buffer),
        )
    },
}


def as_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin1")
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {type(value).__name__}")
    return value


def named(value: Any) -> str:
    """Name a value in an error, briefly."""
    if isinstance(value, Global):
        return repr(value.name)
    short = isinstance(value, (str, int))
    return repr(value)[:MAX_NAME] if short else f"a {type(value).__name__.strip('_')}"


def check_keys(keys: Sequence[Any]) -> None:
    # tuples within tuples would be hashed one within the other
    for key in keys:
        if not isinstance(key, _KEYS):
            raise RefusedError(f"{named(key)} as the key of a dict")
        if isinstance(key, int) and abs(key) >= MAX_KEY:
            raise RefusedError("a number beyond 60 bits as the key of a dict")
