"""C literals, identifiers and aligned arrays."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Longest line of the emitted text.
LINE = 100

#: Headers of C and of the compilers' runtime that a file of ours must not hide.
STANDARD_HEADERS = frozenset(
    "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal "
    "stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath "
    "threads time uchar wchar wctype features unistd alloca".split()
)


def check_prefix(prefix: object) -> str:
    """Return a prefix that can start the name of every file and symbol.

    Parameters
    ----------
    prefix : str
        An ASCII letter, then letters, digits and underscores.

    Returns
    -------
    str
        The prefix.

    Raises
    ------
    TypeError
        If it is not a string.
    ValueError
        If names that start with it are no C identifiers, or its header would hide one of C's.
    """
    if not isinstance(prefix, str):
        raise TypeError(f"prefix must be a str, got {type(prefix).__name__}")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", prefix):
        raise ValueError(
            f"prefix must start C identifiers: a letter, then letters, digits or _, got {prefix!r}"
        )
    if prefix.lower() in STANDARD_HEADERS:
        raise ValueError(f"prefix must not be the name of a C header, got {prefix!r}")
    return prefix


def float_literal(value: float) -> str:
    """Write a single-precision number so that C reads the same bits."""
    # nine digits tell all single-precision numbers apart
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if re.search(r"[.e]", text) else f"{text}.0f"


def integer_literal(value: int) -> str:
    """Write a 32-bit integer; -2**31 has no literal of its own type."""
    return "INT32_MIN" if value == -(2**31) else str(value)


def array(declaration: str, values: NDArray[Any]) -> str:
    """Write an array with its columns aligned.

    Parameters
    ----------
    declaration : str
        All before the equals sign.
    values : ndarray of int
        Written flat.

    Returns
    -------
    str
        The definition, with a newline at its end.
    """
    texts = [integer_literal(int(value)) for value in values.reshape(-1)]
    width = max(len(text) for text in texts)
    per_line = max(1, 2 ** int(np.log2((LINE - 4) // (width + 2))))
    lines = [
        "    " + ", ".join(text.rjust(width) for text in texts[start : start + per_line]) + ","
        for start in range(0, len(texts), per_line)
    ]
    return "\n".join([f"{declaration} = {{", *lines, "};", ""])


def defines(rows: list[tuple[str, object, str]]) -> str:
    """Write macros (name, value, comment) in columns."""
    name_width = max(len(name) for name, _, _ in rows)
    value_width = max(len(str(value)) for _, value, _ in rows)
    lines = [
        f"#define {name:<{name_width}} {value!s:>{value_width}} /* {comment} */"
        for name, value, comment in rows
    ]
    return "\n".join([*lines, ""])
