"""The API page lists every public name, and each name that it lists exists."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pulsehr

PAGE = Path(__file__).parents[1] / "docs" / "api.md"


def public_names():
    """Names of the package, and what its public modules define and no other shows."""
    names = {
        name
        for name in pulsehr.__all__
        if not name.startswith("_") and not inspect.ismodule(getattr(pulsehr, name))
    }
    shown = {getattr(pulsehr, name) for name in names}
    for module in pkgutil.iter_modules(pulsehr.__path__):
        if module.name.startswith("_") or module.name in INTERNAL:
            continue
        content = importlib.import_module(f"pulsehr.{module.name}")
        for name in getattr(content, "__all__", None) or vars(content):
            value = getattr(content, name)
            own = getattr(value, "__module__", "").startswith(content.__name__)
            if not name.startswith("_") and own and value not in shown:
                if inspect.isclass(value) or inspect.isfunction(value):
                    names.add(f"{module.name}.{name}")
    return names


#: Modules whose names are for the package itself, though DESIGN gives them no underscore.
INTERNAL = {"distillation", "firmware", "forms", "networks", "recordings", "onnx_export"}


def listed_names():
    return set(re.findall(r"^   ([\w.]+)$", PAGE.read_text(), re.MULTILINE))


def test_the_api_page_lists_every_public_name():
    assert public_names() - listed_names() == set()


def test_every_listed_name_exists():
    for name in listed_names():
        value = pulsehr
        for part in name.split("."):
            value = getattr(value, part, None) or importlib.import_module(f"pulsehr.{part}")
        assert value.__doc__
