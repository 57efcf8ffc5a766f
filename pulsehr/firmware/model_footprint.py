"""What an exported model takes on a Cortex-M4: flash, memory and stack, from its built objects."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pulsehr.firmware.cortex_m import cross_compile
from pulsehr.firmware.cortex_m_footprint import link_footprint, stack_bytes

#: For what it is built. CMSIS-NN is left out there, as own kernels are faster (`c_source`).
CORE, OPTIMIZE = "cortex-m4", "-O2"

#: Defines the caller's memory, so that its size can be read from an object.
MEMORY = """#include "{prefix}.h"
extern uint8_t {prefix}_memory_arena[{upper}_ARENA_BYTES];
uint8_t {prefix}_memory_arena[{upper}_ARENA_BYTES];
{state}
"""
STATE = "extern {prefix}_state {prefix}_memory_state;\n{prefix}_state {prefix}_memory_state;"


@dataclass(frozen=True)
class ModelFootprint:
    """What a model takes, built for a Cortex-M4 at -O2.

    Parameters
    ----------
    flash_bytes : int
        Weights, tables and code that the functions of `stack_bytes` reach, with what they need
        of the C library.
    static_bytes : int
        Variables of its own: none.
    arena_bytes, state_bytes : int
        The caller's memory as the compiler sees it; 0 for a state that does not exist.
    stack_bytes : mapping of str to int
        The deepest stack of each function that firmware calls; interrupts come on top.
    symbols : mapping of str to int
        Bytes of each function and table, the largest first.
    """

    flash_bytes: int
    static_bytes: int
    arena_bytes: int
    state_bytes: int
    stack_bytes: Mapping[str, int]
    symbols: Mapping[str, int]


def measure(
    sources: Mapping[str, str], prefix: str, functions: Sequence[str], has_state: bool
) -> ModelFootprint:
    """Build a model and measure it.

    Parameters
    ----------
    sources : mapping of str to str
        Name and text of its C files and headers.
    prefix : str
        Starts its symbols.
    functions : sequence of str
        What firmware calls.
    has_state : bool
        Whether there is a front end, and so a state.

    Returns
    -------
    ModelFootprint
        Sizes.

    Raises
    ------
    RuntimeError
        If the compiler for Cortex-M is missing, or fails.
    """
    state = STATE.format(prefix=prefix) if has_state else ""
    memory = MEMORY.format(prefix=prefix, upper=prefix.upper(), state=state)
    with tempfile.TemporaryDirectory(prefix="pulsehr-") as name:
        folder = Path(name)
        # in the order of the Makefile of the folder: padding depends on it
        objects = cross_compile(dict(sorted(sources.items())), folder, CORE, OPTIMIZE)
        linked = link_footprint(objects, functions, folder, CORE)
        stacks = {function: stack_bytes(objects, function) for function in functions}
        held = cross_compile({f"{prefix}_memory.c": memory}, folder, CORE, OPTIMIZE)
        places = [f"{prefix}_memory_{kind}" for kind in ("arena", "state")[: 1 + has_state]]
        # linked as roots for their sizes alone
        sizes = link_footprint(held, places, folder, CORE).symbols
    return ModelFootprint(
        flash_bytes=linked.flash_bytes,
        static_bytes=linked.ram_bytes,
        arena_bytes=sizes[places[0]],
        state_bytes=sizes[places[1]] if has_state else 0,
        stack_bytes=stacks,
        symbols=linked.symbols,
    )
