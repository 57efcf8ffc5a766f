"""Python's integers, portable C and CMSIS-NN: the same bits on this machine and on Cortex-M.

Fifty random small networks are linked into one image, each with its own prefix, so that the test
also shows that models in one firmware do not clash. Every arena is filled with rubbish before a
prediction and lies between guard bytes.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from networks import random_network, random_windows_of
from students import random_windows

from pulsehr.firmware.c_text import array
from pulsehr.firmware.cortex_m import run_on
from pulsehr.firmware.integer import quantize_windows, run
from pulsehr.firmware.microcontroller import MicrocontrollerModel
from pulsehr.firmware.quantization import QuantizedGraph

N_NETWORKS = 50
GUARD = 16

HOST_PRINT = """
#include <stdio.h>
#include "semihosting.h"
void semihosting_print(const char *text) { fputs(text, stdout); }
void semihosting_print_integer(int32_t value) { printf("%ld", (long)value); }
"""

PREDICT = """
static int {prefix}_run(void)
{{
    static const int8_t windows[{n_values}] = {{
{values}
    }};
    static _Alignas(16) uint8_t memory[{guard} + {upper}_ARENA_BYTES + {guard}];

    for (int32_t i = 0; i < {n_windows}; ++i) {{
        int32_t bpm_q8 = -1;

        for (int32_t k = 0; k < (int32_t)sizeof memory; ++k) {{
            memory[k] = (uint8_t)(0x5A + i);
        }}
        if ({prefix}_predict(windows + i * {upper}_INPUT_BYTES, memory + {guard}, &bpm_q8) != 0) {{
            return 2;
        }}
        for (int32_t k = 0; k < {guard}; ++k) {{
            if (memory[k] != (uint8_t)(0x5A + i) ||
                memory[{guard} + {upper}_ARENA_BYTES + k] != (uint8_t)(0x5A + i)) {{
                return 3;
            }}
        }}
        semihosting_print_integer(bpm_q8);
        semihosting_print("\\n");
    }}
    return 0;
}}
"""


@dataclass(frozen=True)
class Program:
    """Models, a main that prints their heart rates, and what it must print."""

    files: dict[str, str]
    main: str
    expected: list[int]


def program(graphs: list[tuple[QuantizedGraph, np.ndarray]], target: str) -> Program:
    files: dict[str, str] = {}
    headers, functions, expected = "", "", []
    for number, (graph, windows) in enumerate(graphs):
        prefix = f"net{number}"
        files |= MicrocontrollerModel(graph, prefix=prefix, target=target).sources
        headers += f'#include "{prefix}.h"\n'
        values = "\n".join(array("", windows).splitlines()[1:-1])
        functions += PREDICT.format(
            prefix=prefix,
            upper=prefix.upper(),
            n_values=windows.size,
            n_windows=len(windows),
            values=values,
            guard=GUARD,
        )
        expected += run(graph, windows).tolist()
    calls = "".join(f" if (net{k}_run()) return {k + 1};" for k in range(len(graphs)))
    main = (
        f'{headers}#include "semihosting.h"\n{functions}\nint main(void) {{{calls} return 0; }}\n'
    )
    return Program(files, main, expected)


@pytest.fixture(scope="module")
def random_graphs() -> list[tuple[QuantizedGraph, np.ndarray]]:
    graphs = [random_network(seed) for seed in range(N_NETWORKS)]
    return [(graph, random_windows_of(graph, seed)) for seed, graph in enumerate(graphs)]


@pytest.fixture(scope="module")
def paper_graph(quantized_student) -> list[tuple[QuantizedGraph, np.ndarray]]:
    graph = quantized_student(4, 256)
    windows = quantize_windows(random_windows(6, graph.input_shape, seed=2), graph.input_format)
    windows[0], windows[1] = -128, 127
    return [(graph, windows)]


def run_on_host(
    made: Program, folder: Path, compiler: str, flags: list[str], sources: tuple[Path, ...] = ()
) -> list[int]:
    header = "#include <stdint.h>\nvoid semihosting_print(const char *text);\n"
    header += "void semihosting_print_integer(int32_t value);\n"
    support = {"main.c": made.main, "print.c": HOST_PRINT, "semihosting.h": header}
    for name, text in {**made.files, **support}.items():
        (folder / name).write_text(text)
    units = [path.name for path in folder.glob("*.c")] + [str(path) for path in sources]
    subprocess.run(
        [compiler, "-std=c11", "-w", *flags, "-I.", "-o", "main", *units], cwd=folder, check=True
    )
    done = subprocess.run([str(folder / "main")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


SANITIZERS = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all".split()


@pytest.mark.parametrize("graphs", ["random_graphs", "paper_graph"])
@pytest.mark.parametrize("flags", [["-O2"], SANITIZERS], ids=["plain", "sanitized"])
def test_portable_c_on_this_machine(graphs, flags, request, tmp_path, compiler):
    made = program(request.getfixturevalue(graphs), "portable")
    assert run_on_host(made, tmp_path, compiler, flags) == made.expected


@pytest.mark.parametrize("graphs", ["random_graphs", "paper_graph"])
@pytest.mark.parametrize("flags", [["-O2"], SANITIZERS], ids=["plain", "sanitized"])
def test_cmsis_nn_on_this_machine(
    graphs, flags, request, tmp_path, compiler, cmsis_nn, host_headers
):
    made = program(request.getfixturevalue(graphs), "cmsis-nn")
    includes = [f"-I{path}" for path in (host_headers, *cmsis_nn.include_dirs)]
    macros = [f"-DNET{k}_CMSIS_NN=2" for k in range(N_NETWORKS)]
    options = [*flags, *includes, *macros]
    assert run_on_host(made, tmp_path, compiler, options, cmsis_nn.sources) == made.expected


@pytest.mark.parametrize("graphs", ["random_graphs", "paper_graph"])
@pytest.mark.parametrize(
    ("core", "macro"),
    [
        ("cortex-m3", None),  # plain C
        ("cortex-m4", None),  # DSP instructions
        ("cortex-m4", "NO_DSP"),
        ("cortex-m55", None),
    ],
)
def test_portable_c_on_cortex_m(graphs, core, macro, request, qemu):
    made = program(request.getfixturevalue(graphs), "portable")
    options = [f"-DNET{k}_{macro}" for k in range(N_NETWORKS)] if macro else []
    finished = run_on(core, made.files, made.main, options=options)
    assert finished.status == 0
    assert [int(line) for line in finished.stdout.split()] == made.expected


@pytest.mark.parametrize("graphs", ["random_graphs", "paper_graph"])
@pytest.mark.parametrize(
    ("core", "who"),
    [
        ("cortex-m4", 1),  # own kernels, CMSIS-NN left out
        ("cortex-m4", 2),  # CMSIS-NN on DSP instructions
        ("cortex-m55", 1),  # CMSIS-NN on Helium
    ],
)
def test_cmsis_nn_on_cortex_m(graphs, core, who, request, qemu, cmsis_nn):
    made = program(request.getfixturevalue(graphs), "cmsis-nn")
    finished = run_on(
        core,
        made.files,
        made.main,
        options=[f"-DNET{k}_CMSIS_NN={who}" for k in range(N_NETWORKS)],
        include_dirs=cmsis_nn.include_dirs,
        sources=cmsis_nn.sources,
    )
    assert finished.status == 0
    assert [int(line) for line in finished.stdout.split()] == made.expected
