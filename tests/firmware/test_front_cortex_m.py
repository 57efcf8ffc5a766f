"""A recording pushed through the firmware on Cortex-M cores."""

from __future__ import annotations

import pytest
from sklearn.pipeline import make_pipeline

from pulsehr import DistilledStudentRegressor, PPGWindower, to_microcontroller
from pulsehr.datasets import make_recordings
from pulsehr.firmware.c_text import array
from pulsehr.firmware.cortex_m import run_on

STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Werror"]

#: Pushes in the order in which sensors at 64 and 32 Hz give samples.
MAIN = """
#include "hr.h"
#include "semihosting.h"
{ppg}
{acc}
static hr_state state;

static int take(int status)
{{
    int32_t bpm_q8 = 0;

    if (status == HR_READY) {{
        status = hr_heart_rate(&state, &bpm_q8);
        semihosting_print_integer(bpm_q8);
        semihosting_print("\\n");
    }}
    return status;
}}

int main(void)
{{
    int status = hr_init(&state);

    for (int i = 0; i < {n_ppg} && status == HR_OK; ++i) {{
        if (i % 2 == 0) {{
            const int16_t *const at = acc + 3 * (i / 2);

            status = take(hr_push_acc(&state, at[0], at[1], at[2]));
        }}
        if (status == HR_OK) {{
            status = take(hr_push_ppg(&state, ppg[i]));
        }}
    }}
    return status;
}}
"""


@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("bandpass", [None, (0.5, 4.0)])
def test_a_core_gives_the_heart_rates_of_python_at_every_stride(bandpass, core, qemu):
    data = make_recordings(n_subjects=1, duration=40, random_state=0)
    student = DistilledStudentRegressor(filters=(2, 3, 4), max_epochs=1, random_state=0, verbose=0)
    pipe = make_pipeline(PPGWindower(bandpass=bandpass), student).fit(data.X, data.y)
    model = to_microcontroller(pipe, prefix="hr", ppg_rate=64, clip=bandpass is not None)
    recording = data.recordings[0]
    ppg, acc = model.samples(recording)
    main = MAIN.format(
        ppg=array(f"static const int32_t ppg[{ppg.size}]", ppg),
        acc=array(f"static const int16_t acc[{acc.size}]", acc),
        n_ppg=len(ppg),
    )
    finished = run_on(core, model.sources, main, options=STRICT)
    assert finished.status == 0
    got = [int(line) for line in finished.stdout.split()]
    # the last windows lack the samples to which the filter looks ahead
    wanted = (256 * model.predict(recording.readings(stride=2.0))).astype(int).tolist()
    assert len(got) >= len(wanted) - 1
    assert got == wanted[: len(got)]
