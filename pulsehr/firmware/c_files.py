"""Files of an export: templates filled, hand-written C renamed, and who wrote them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

from pulsehr._version import __version__

#: In a comment on top of each file.
LICENSE = "SPDX-License-Identifier: BSD-3-Clause"


def fill(name: str, fields: Mapping[str, str]) -> str:
    """Read a template and replace each @name@ by its field."""
    return re.sub(r"@(\w+)@", lambda match: fields[match[1]], _read("templates", name))


def rename(name: str, prefix: str) -> str:
    """Read hand-written C, its symbols renamed to the user's prefix."""
    text = _read("kernels", name)
    text = re.sub(r"\bpulsehr(?=_|\.h\b)", prefix, text)
    return re.sub(r"\bPULSEHR_", f"{prefix.upper()}_", text)


def provenance(prefix: str) -> str:
    """Say who wrote a file for which model, on one of its first lines."""
    return f"Written by pulsehr {__version__} with prefix {prefix}"


def with_note(
    text: str, prefix: str, begin: str = "/* ", between: str = " * ", end: str = " */"
) -> str:
    """Put a comment with provenance and license on top; what was left out leaves no gap."""
    closed = re.sub(r"\n{3,}", "\n\n", text).rstrip()
    made = f"{begin}{provenance(prefix)}: export the model again to change it."
    return f"{made}\n{between}{LICENSE}{end}\n{closed}\n"


def _read(folder: str, name: str) -> str:
    return (files("pulsehr.firmware") / folder / name).read_text(encoding="utf-8")
