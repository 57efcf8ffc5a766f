"""The stack of the emitted C: a bound from the compiler's call graph, and what is really used."""

from __future__ import annotations

import pytest
from emitted import FRONTS, PIPELINES, emitted, public_headers

from pulsehr.firmware.cortex_m import cross_compile, link_image, run_image, support_files
from pulsehr.firmware.cortex_m_footprint import stack_bytes

#: Bytes that no call may need, at -O2: of samples, given or missing, and of heart rates.
MOST_OF_A_PUSH, MOST_OF_A_RUN = 256, 640

#: What is painted below the stack of `main`.
PAINTED_BYTES = 4096

MAIN = """
{includes}
#include "semihosting.h"

#define WORDS {words}
#define PAINT 0xA5C3F00Du

static inline __attribute__((always_inline)) volatile uint32_t *top_of_stack(void)
{{
    volatile uint32_t *top;

    __asm__ volatile("mov %0, sp" : "=r"(top));
    return top;
}}

static inline __attribute__((always_inline)) void paint(void)
{{
    volatile uint32_t *const top = top_of_stack();

    for (int32_t k = 1; k <= WORDS; ++k) {{
        top[-k] = PAINT;
    }}
}}

/* bytes below the stack of main that were written since */
static inline __attribute__((always_inline)) int32_t used(void)
{{
    volatile uint32_t *const top = top_of_stack();
    int32_t k = WORDS;

    while (k > 0 && top[-k] == PAINT) {{
        --k;
    }}
    return 4 * k;
}}

#define MEASURE(most, call)  \\
    do {{  \\
        int32_t n;  \\
        paint();  \\
        call;  \\
        n = used();  \\
        most = n > most ? n : most;  \\
    }} while (0)

static uint32_t arena[HR_ARENA_BYTES / 4 + 1];
static int8_t window[HR_INPUT_BYTES];
{state}

int main(void)
{{
    int32_t predict = 0, bpm_q8 = 0;

    MEASURE(predict, hr_predict(window, arena, &bpm_q8));
    semihosting_print_integer(predict);
{stream}
    return 0;
}}
"""

STREAM = """
    int32_t init = 0, push = 0, heart_rate = 0;

    MEASURE(init, hr_init(&state));
    for (int32_t i = 0; i < 1200; ++i) {
        int status = 0;

        if (i % 500 == 499) {
            MEASURE(push, status |= hr_skip_ppg(&state, 1));
        } else {
            MEASURE(push, status |= hr_push_ppg(&state, i * 7919 % 1000 * 5000));
        }
#if HR_ACC_FACTOR > 0
        if (i % 400 == 399) {
            MEASURE(push, status |= hr_skip_acc(&state, 1));
        } else {
            MEASURE(push, status |= hr_push_acc(&state, (int16_t)i, (int16_t)-i, 1));
        }
#endif
        if (status > 0) {
            MEASURE(heart_rate, hr_heart_rate(&state, &bpm_q8));
        }
    }
    semihosting_print("\\n");
    semihosting_print_integer(init);
    semihosting_print("\\n");
    semihosting_print_integer(push);
    semihosting_print("\\n");
    semihosting_print_integer(heart_rate);
"""


def bounds_of(name, objects) -> dict[str, int]:
    roots = ["predict"] if name == "student" else ["predict", "init", "push", "heart_rate"]
    with_acc = name != "student" and emitted(name).front_end.acc is not None
    pushes = ["push_ppg", "skip_ppg"] + (["push_acc", "skip_acc"] if with_acc else [])
    return {
        root: max(
            stack_bytes(objects, f"hr_{function}")
            for function in (pushes if root == "push" else [root])
        )
        for root in roots
    }


@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("name", FRONTS)
def test_the_stack_is_bounded(name, core, tmp_path, arm_gcc):
    bounds = bounds_of(name, cross_compile(emitted(name).sources, tmp_path, core))
    for root, n_bytes in bounds.items():
        assert n_bytes <= (MOST_OF_A_PUSH if root in ("init", "push") else MOST_OF_A_RUN), root


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
def test_the_stack_where_cmsis_nn_runs_is_bounded(core, tmp_path, arm_gcc, cmsis_nn):
    objects = cross_compile(
        emitted("acc", "cmsis-nn").sources,
        tmp_path,
        core,
        include_dirs=cmsis_nn.include_dirs,
        sources=cmsis_nn.sources,
    )
    assert stack_bytes(objects, "hr_heart_rate") < 2 * MOST_OF_A_RUN


@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("name", ["student", "acc", "bandpass"])
def test_what_is_used_stays_within_the_bound(name, core, tmp_path, qemu):
    model = emitted(name)
    is_stream = name in PIPELINES
    main = MAIN.format(
        includes="".join(f'#include "{header}"\n' for header in public_headers(model)),
        words=PAINTED_BYTES // 4,
        state="static hr_state state;" if is_stream else "",
        stream=STREAM if is_stream else "",
    )
    header = {"semihosting.h": support_files()["semihosting.h"]}
    objects = cross_compile({**model.sources, **header, "main.c": main}, tmp_path, core)
    finished = run_image(link_image(objects, tmp_path, core), core)
    assert finished.status == 0, finished.stdout
    bounds = bounds_of(name, objects)
    used = dict(zip(bounds, map(int, finished.stdout.split()), strict=True))
    for root, n_bytes in bounds.items():
        assert used[root] <= n_bytes, root
    # a run uses most of its bound; so painting sees it
    assert used["predict"] > bounds["predict"] // 2
