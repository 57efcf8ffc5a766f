"""Libraries that only some loaders need: import one, or say what to install."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def optional_library(who: str, name: str) -> Any:
    """Import a library of the extra ``data``.

    Parameters
    ----------
    who : str
        The loader that asks, for the error.
    name : str
        Of the module.

    Returns
    -------
    module
        The library.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        with quiet_library():
            return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f'{who}: needs {name}, which cannot be imported ({error}): pip install "pulsehr[data]"'
        ) from error


@contextmanager
def quiet_library() -> Iterator[None]:
    """Keep to itself what a library warns of its own use of others: no caller can mend it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield
