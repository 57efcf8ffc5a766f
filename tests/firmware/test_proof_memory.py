"""The emitted C touches no byte outside arena and window, and trusts none that it finds there.

Arenas end where memory ends, or begin where it begins: at pages without access on this machine, at
regions without access for the memory protection unit of Cortex-M4, at the ends of the RAM of
Cortex-M55. Any access beyond ends the program, which is tried first.
"""

from __future__ import annotations

import subprocess
from dataclasses import replace

import numpy as np
import pytest
from emitted import (
    PIPELINES,
    SANITIZERS,
    call,
    emitted,
    public_headers,
    require,
    student_graph,
    write,
)
from networks import random_network, random_windows_of
from test_same_bits import HOST_PRINT

from pulsehr.firmware.c_text import array
from pulsehr.firmware.cortex_m import CORES, run_on
from pulsehr.firmware.integer import run
from pulsehr.firmware.microcontroller import MicrocontrollerModel

#: Random networks at the edges of memory, beside the student of the paper.
N_NETWORKS = 20

RUN = """
static int {prefix}_run(void)
{{
    static const int8_t windows[{n_values}] = {{
{values}
    }};

    for (int32_t k = 0; k < 2 * {n_windows}; ++k) {{
        uint8_t *const arena = arena_at_edge(k % 2, {upper}_ARENA_BYTES);
        int8_t *const window = window_at_edge(k % 2, {upper}_INPUT_BYTES);
        int32_t bpm_q8 = -1;

        for (int32_t i = 0; i < {upper}_ARENA_BYTES; ++i) {{
            arena[i] = (uint8_t)(0x5A + 17 * k);
        }}
        for (int32_t i = 0; i < {upper}_INPUT_BYTES; ++i) {{
            window[i] = windows[k / 2 * {upper}_INPUT_BYTES + i];
        }}
        if ({prefix}_predict(window, arena, &bpm_q8) != 0) {{
            return 1;
        }}
        semihosting_print_integer(bpm_q8);
        semihosting_print("\\n");
    }}
    return 0;
}}
"""

#: Pages, of which the first and the last of each 34 have no access.
PAGES = """
#define _DEFAULT_SOURCE
#include <sys/mman.h>
static uint8_t *at_edge(int which, int32_t upper, int32_t n)
{
    static uint8_t *pages[2];
    if (pages[which] == 0) {
        uint8_t *const all = mmap(0, 34 << 12, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mprotect(all + (1 << 12), 32 << 12, PROT_READ | PROT_WRITE) != 0) {
            return 0;
        }
        pages[which] = all + (1 << 12);
    }
    return upper ? pages[which] + (32 << 12) - n : pages[which];
}
static uint8_t *arena_at_edge(int32_t upper, int32_t n) { return at_edge(0, upper, n); }
static int8_t *window_at_edge(int32_t upper, int32_t n) { return (int8_t *)at_edge(1, upper, n); }
"""

#: The memory protection unit of Armv7-M forbids 64 KiB on either side.
REGIONS = """
#define MPU ((volatile uint32_t *)0xE000ED90u)
#define REGION (1u << 16)
static _Alignas(1 << 16) uint8_t memory[5][1 << 16];
static void forbid(uint32_t number, const uint8_t *region)
{
    MPU[2] = number;
    MPU[3] = (uint32_t)region;
    MPU[4] = 1u << 28 | 15u << 1 | 1u; /* no access, 64 KiB, on */
    MPU[1] = 5u;                       /* on, and elsewhere as without it */
    __asm__ volatile("dsb\\n\\tisb" ::: "memory");
}
static uint8_t *at_edge(int which, int32_t upper, int32_t n)
{
    for (uint32_t number = 0; number < 3; ++number) {
        forbid(number, memory[2 * number]);
    }
    return upper ? memory[2 * which + 2] - n : memory[2 * which + 1];
}
static uint8_t *arena_at_edge(int32_t upper, int32_t n) { return at_edge(0, upper, n); }
static int8_t *window_at_edge(int32_t upper, int32_t n) { return (int8_t *)at_edge(1, upper, n); }
"""

#: Before and after the RAM of mps3-an547 lies nothing.
ENDS = """
static uint8_t *arena_at_edge(int32_t upper, int32_t n)
{
    return (uint8_t *)(upper ? 0x20080000u - (uint32_t)n : 0x20000000u);
}
static int8_t *window_at_edge(int32_t upper, int32_t n)
{
    static int8_t window[65536];
    return upper ? window + 65536 - n : window;
}
"""

#: Read the byte before or after the arena.
TRESPASS = """
int main(void)
{{
    const volatile uint8_t *const arena = arena_at_edge({upper}, 100);
    return arena[50] == arena[{index}] ? 5 : 6;
}}
"""

INCLUDES = '#include <stdint.h>\n#include "semihosting.h"\n'
DECLARED = (
    "#include <stdint.h>\nvoid semihosting_print(const char *text);\n"
    "void semihosting_print_integer(int32_t value);\n"
)


@pytest.fixture(scope="module")
def cases():
    graphs = [random_network(seed) for seed in range(N_NETWORKS)]
    return [
        *((graph, random_windows_of(graph, seed)) for seed, graph in enumerate(graphs)),
        (student_graph(4, 256, (16, 24, 32)), extreme_windows((4, 256))),
    ]


def extreme_windows(shape):
    windows = np.random.default_rng(3).integers(-128, 128, (3, *shape)).astype(np.int8)
    windows[0] = np.where(np.arange(shape[1]) % 2, 127, -128)
    return windows


def program(cases, target, edges):
    """Return files, a main that prints the heart rates of all at both edges, and what it prints."""
    files, functions, expected = {}, "", []
    for number, (graph, windows) in enumerate(cases):
        prefix = f"net{number}"
        files |= MicrocontrollerModel(graph, prefix=prefix, target=target).sources
        functions += f'#include "{prefix}.h"\n' + RUN.format(
            prefix=prefix,
            upper=prefix.upper(),
            n_values=windows.size,
            n_windows=len(windows),
            values="\n".join(array("", windows).splitlines()[1:-1]),
        )
        expected += np.repeat(run(graph, windows), 2).tolist()
    calls = "".join(f" if (net{k}_run()) return {k + 1};" for k in range(len(cases)))
    # pages need their macro before any header
    return files, f"{edges}\n{functions}\nint main(void) {{{calls} return 0; }}\n", expected


def on_host(files, main, folder, command):
    units = write({**files, "main.c": main, "print.c": HOST_PRINT}, folder)
    (folder / "semihosting.h").write_text(DECLARED)
    call([*command, "-std=c11", "-w", "-o", "main", *units], folder)
    return subprocess.run([folder / "main"], capture_output=True, text=True, check=False)


def integers(text):
    return [int(line) for line in text.split()]


PAGES_FIRST = "#define _DEFAULT_SOURCE\n" + INCLUDES + PAGES


@pytest.mark.parametrize(("upper", "index"), [(1, 100), (0, -1)])
def test_a_byte_beyond_a_page_ends_the_program(upper, index, tmp_path, compiler):
    trespass = PAGES_FIRST + TRESPASS.format(upper=upper, index=index)
    assert on_host({}, trespass, tmp_path, [compiler]).returncode < 0
    inside = PAGES_FIRST + TRESPASS.format(upper=upper, index=99 if upper else 0)
    assert on_host({}, inside, tmp_path, [compiler]).returncode in (5, 6)


@pytest.mark.parametrize("optimize", ["-O0", "-O2"])
def test_nothing_outside_the_arena_is_touched_on_this_machine(optimize, cases, tmp_path, compiler):
    files, main, expected = program(cases, "portable", PAGES_FIRST)
    done = on_host(files, main, tmp_path, [compiler, optimize])
    assert done.returncode == 0
    assert integers(done.stdout) == expected


@pytest.mark.parametrize(("upper", "index"), [(1, 100), (0, -1)])
@pytest.mark.parametrize(
    ("core", "edges"), [("cortex-m3", REGIONS), ("cortex-m4", REGIONS), ("cortex-m55", ENDS)]
)
def test_a_byte_beyond_an_edge_ends_the_image(core, edges, upper, index, qemu, monkeypatch):
    leave_room(core, monkeypatch)
    text = INCLUDES + edges
    outside = run_on(core, {}, text + TRESPASS.format(upper=upper, index=index))
    assert outside.status == 99
    inside = run_on(core, {}, text + TRESPASS.format(upper=upper, index=99 if upper else 0))
    assert inside.status in (5, 6)


def leave_room(core, monkeypatch):
    """Keep an image away from the ends of the RAM."""
    if core == "cortex-m55":
        whole, room = CORES[core], 96 << 10
        smaller = replace(
            whole, ram_start=whole.ram_start + room, ram_bytes=whole.ram_bytes - 2 * room
        )
        monkeypatch.setitem(CORES, core, smaller)


@pytest.mark.parametrize(
    ("core", "edges", "target"),
    [
        ("cortex-m3", REGIONS, "portable"),  # plain C
        ("cortex-m4", REGIONS, "portable"),  # DSP instructions, words of four bytes
        ("cortex-m55", ENDS, "portable"),
        ("cortex-m55", ENDS, "cmsis-nn"),  # Helium
    ],
)
def test_nothing_outside_the_arena_is_touched_on_cortex_m(
    core, edges, target, cases, qemu, request, monkeypatch
):
    library = {}
    if target == "cmsis-nn":
        cmsis_nn = request.getfixturevalue("cmsis_nn")
        library = {"include_dirs": cmsis_nn.include_dirs, "sources": cmsis_nn.sources}
    leave_room(core, monkeypatch)
    files, main, expected = program(cases, target, INCLUDES + edges)
    finished = run_on(core, files, main, **library)
    assert finished.status == 0, finished.stdout
    assert integers(finished.stdout) == expected


# ---------------------------------------------------------------- bytes never written


UNWRITTEN = """
#include <sanitizer/msan_interface.h>
#include <stdlib.h>
static uint8_t *arena_at_edge(int32_t upper, int32_t n)
{
    static uint8_t memory[1 << 16];
    (void)upper;
    __msan_allocated_memory(memory, n);
    return memory;
}
static int8_t *window_at_edge(int32_t upper, int32_t n)
{
    static int8_t window[1 << 16];
    (void)upper;
    __msan_allocated_memory(window, n);
    return window;
}
"""

MEMORY_SANITIZER = ["clang-14", "-fsanitize=memory", "-fno-sanitize-recover=all", "-O1", "-g"]


def test_a_byte_that_was_never_written_ends_the_program(tmp_path, missing):
    require(missing, "clang-14")
    main = INCLUDES + UNWRITTEN + TRESPASS.format(upper=0, index=7)
    done = on_host({}, main, tmp_path, MEMORY_SANITIZER)
    assert "use-of-uninitialized-value" in done.stderr


def test_no_heart_rate_depends_on_what_the_arena_held(cases, tmp_path, missing):
    require(missing, "clang-14")
    files, main, expected = program(cases, "portable", INCLUDES + UNWRITTEN)
    # the arena stays as it came
    fill = "arena[i] = (uint8_t)(0x5A + 17 * k);"
    assert fill in main
    done = on_host(files, main.replace(fill, ""), tmp_path, MEMORY_SANITIZER)
    assert done.returncode == 0, done.stderr
    assert integers(done.stdout) == expected


STREAM = """
{includes}
#include <sanitizer/msan_interface.h>
#include <stdio.h>
#include <stdlib.h>

int main(void)
{{
    hr_state *const state = malloc(sizeof *state);
    int n = 0;

    hr_init(state);
    for (int32_t i = 0; i < 9000; ++i) {{
        int ready = hr_push_ppg(state, i * 7919 % 1000 * 1000) == HR_READY;
#if HR_ACC_FACTOR > 0
        ready |= hr_push_acc(state, (int16_t)(i * 31), (int16_t)(i * 37), (int16_t)i) == HR_READY;
#endif
        if (ready) {{
            int32_t bpm_q8;

            __msan_allocated_memory(state->arena, sizeof state->arena);
            if (hr_heart_rate(state, &bpm_q8) == HR_OK && bpm_q8 > INT32_MIN) {{
                ++n;
            }}
        }}
    }}
    free(state);
    return n > 9 ? 0 : 1;
}}
"""


@pytest.mark.parametrize("name", PIPELINES)
def test_no_stream_depends_on_what_the_state_held(name, tmp_path, missing):
    require(missing, "clang-14")
    model = emitted(name)
    includes = "".join(f'#include "{header}"\n' for header in public_headers(model))
    done = on_host(model.sources, STREAM.format(includes=includes), tmp_path, MEMORY_SANITIZER)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------ long streams


LONG = """
{includes}
#include <stdio.h>
int main(void)
{{
    static hr_state state;
    uint32_t noise = 1;
    int32_t n = 0, bpm_q8 = 0;

    hr_init(&state);
    for (int32_t i = 0; i < 1000000; ++i) {{
        int ready;

        noise = noise * 1664525u + 1013904223u;
        ready = hr_push_ppg(&state, (int32_t)noise) == HR_READY;
#if HR_ACC_FACTOR > 0
        if (i * (int64_t)HR_ACC_FACTOR % HR_PPG_FACTOR < HR_ACC_FACTOR) {{
            const int16_t a = (int16_t)(noise >> 16);
            ready |= hr_push_acc(&state, a, (int16_t)~a, (int16_t)(noise >> 3)) == HR_READY;
        }}
#endif
        if (ready && hr_heart_rate(&state, &bpm_q8) == HR_OK) {{
            ++n;
        }}
    }}
    printf("%d\\n", n);
    return 0;
}}
"""


@pytest.mark.parametrize("name", ["ppg", "acc", "bandpass of ppg"])
def test_a_million_samples_leave_no_counter_behind(name, tmp_path, compiler):
    model = emitted(name)
    front = model.front_end
    includes = "".join(f'#include "{header}"\n' for header in public_headers(model))
    command = [compiler, *SANITIZERS]
    done = on_host(model.sources, LONG.format(includes=includes), tmp_path, command)
    assert done.returncode == 0, done.stderr
    rows = (1_000_000 - 5 * front.ppg.factor) // front.ppg.factor + 1
    if front.ppg.factor == 1:
        rows = 1_000_000
    assert integers(done.stdout) == [(rows - front.n_times) // front.stride + 1]


# ------------------------------------------------------------------- unaligned accesses


#: In place of those of the C library, which reads words of any address.
BYTE_BY_BYTE = """
#include <stddef.h>
void *memcpy(void *to, const void *from, size_t n)
{
    for (size_t i = 0; i < n; ++i) { ((volatile char *)to)[i] = ((const char *)from)[i]; }
    return to;
}
void *memset(void *to, int value, size_t n)
{
    for (size_t i = 0; i < n; ++i) { ((volatile char *)to)[i] = (char)value; }
    return to;
}
void *memmove(void *to, const void *from, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        const size_t k = (char *)to < (const char *)from ? i : n - 1 - i;
        ((volatile char *)to)[k] = ((const char *)from)[k];
    }
    return to;
}
"""


@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4"])
def test_a_core_may_trap_unaligned_accesses(core, cases, qemu):
    files, main, expected = program(cases, "portable", INCLUDES + REGIONS + BYTE_BY_BYTE)
    # bit 3 of the configuration and control register of Armv7-M
    trap = "int main(void) { *(volatile uint32_t *)0xE000ED14u |= 8u;"
    main = main.replace("int main(void) {", trap)
    finished = run_on(core, files, main, options=["-mno-unaligned-access"])
    assert finished.status == 0, finished.stdout
    assert integers(finished.stdout) == expected
