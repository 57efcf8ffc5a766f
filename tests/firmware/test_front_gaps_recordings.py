"""Recordings with missing samples: the firmware against the pipeline in floating point."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from pulsehr import DistilledStudentRegressor, PPGWindower, Recording, to_microcontroller
from pulsehr.datasets import load_bami, make_recordings
from pulsehr.exceptions import MissingSamplesWarning
from pulsehr.firmware.c_text import array
from pulsehr.firmware.cortex_m import run_on
from pulsehr.firmware.front import design_front
from pulsehr.firmware.front_gaps import over_gap
from pulsehr.firmware.front_integer import front_windows
from pulsehr.firmware.front_samples import sensor_counts
from pulsehr.firmware.integer import quantize_windows
from pulsehr.firmware.quantization import Format

#: Seconds at which samples are missing, of the PPG and of the acceleration.
PPG_GAPS = ((0, 0.3), (15.01, 15.02), (30, 31.7), (32, 32.1), (59.8, 61))
ACC_GAPS = ((20.03, 20.08), (44, 46))


def without(signal, rate, gaps):
    """Return a copy without the samples of some seconds."""
    signal = np.array(signal, dtype=float)
    seconds = np.arange(len(signal)) / rate
    for start, end in gaps:
        signal[(seconds >= start) & (seconds < end)] = np.nan
    return signal


def gappy(recording):
    """Return a recording without some samples."""
    return Recording(
        ppg=without(recording.ppg, recording.ppg_rate, PPG_GAPS),
        ppg_rate=recording.ppg_rate,
        acc=without(recording.acc, recording.acc_rate, ACC_GAPS),
        acc_rate=recording.acc_rate,
    )


@pytest.fixture(scope="module")
def synthetic():
    return make_recordings(n_subjects=1, duration=70, random_state=0)


@pytest.fixture(scope="module", params=[None, (0.5, 4.0)], ids=["plain", "bandpass"])
def pipe(request, synthetic):
    student = DistilledStudentRegressor(filters=(2, 3, 4), max_epochs=1, random_state=0, verbose=0)
    windower = PPGWindower(bandpass=request.param, missing="nan")
    return make_pipeline(windower, student).fit(synthetic.X, synthetic.y)


@pytest.mark.parametrize("normalize", ["window", "channel"])
@pytest.mark.parametrize("rates", [(32, 32), (64, 32), (160, 96)])
def test_rows_beside_gaps_are_those_of_the_windower_to_one_step(rates, normalize):
    rng = np.random.default_rng(3)
    seconds = np.arange(0, 70, 1 / rates[0])
    ppg = 3000 * np.sin(2 * np.pi * 1.3 * seconds) + 50_000 + rng.normal(0, 200, len(seconds))
    acc = rng.normal([0, 0.5, 0.8], 0.2, (70 * rates[1], 3))
    recording = gappy(
        Recording(
            ppg=np.rint(ppg), ppg_rate=rates[0], acc=np.rint(acc * 4096) / 4096, acc_rate=rates[1]
        )
    )
    readings = recording.readings(stride=1 / 32, gaps="keep")
    source = PPGWindower(normalize=normalize).fit(recording.readings())
    input_format = Format(8, 0.05, 3)
    front = design_front(source, input_format, ppg_rate=rates[0], acc_rate=rates[1], ppg_step=1.0)
    ends = np.array([round(32 * reading.instant) for reading in readings])
    counts = sensor_counts(front, recording)
    over = over_gap(front, *counts, ends)
    # the readings that are left out, and no others
    left = [reading.instant for reading in recording.readings(stride=1 / 32)]
    np.testing.assert_array_equal(ends[~over] / 32, left)
    got = front_windows(front, *counts, ends[~over]).astype(int)
    wanted = quantize_windows(
        source.transform(recording.readings(stride=1 / 32)), input_format
    ).astype(int)
    assert np.abs(got - wanted).max() <= 1
    assert (got == wanted).mean() > 0.98


def test_samples_that_are_missing_are_masked(pipe, synthetic):
    model = to_microcontroller(pipe, prefix="hr", ppg_rate=64)
    recording = gappy(synthetic.recordings[0])
    ppg, acc = model.samples(recording)
    np.testing.assert_array_equal(np.ma.getmaskarray(ppg), np.isnan(recording.ppg))
    np.testing.assert_array_equal(np.ma.getmaskarray(acc), np.isnan(recording.acc))
    whole, _ = model.samples(synthetic.recordings[0])
    assert not isinstance(whole, np.ma.MaskedArray)


def test_an_axis_that_is_missing_is_all_that_is_missing(pipe, synthetic):
    recording = synthetic.recordings[0]
    acc = np.array(recording.acc, dtype=float)
    acc[100, 1] = np.nan
    model = to_microcontroller(pipe, prefix="hr", ppg_rate=64)
    holed = Recording(ppg=recording.ppg, ppg_rate=64, acc=acc, acc_rate=32)
    mask = np.ma.getmaskarray(model.samples(holed)[1])
    assert mask.any(axis=1).nonzero()[0].tolist() == [100]
    assert mask[100].all()


@pytest.mark.parametrize("clip", [False, True])
def test_readings_over_a_gap_are_nan_in_python_and_in_c(clip, pipe, synthetic, compiler):
    recording = gappy(synthetic.recordings[0])
    readings = recording.readings(stride=0.5, gaps="keep")
    model = to_microcontroller(pipe, prefix="hr", ppg_rate=64, clip=clip)
    got = model.predict(readings)
    np.testing.assert_array_equal(model.run_c(readings), got)
    with pytest.warns(MissingSamplesWarning):
        wanted = pipe.predict(readings)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    assert 20 < np.isnan(got).sum() < len(got) - 20
    # one that is not there is the same as one that is left out
    left = recording.readings(stride=0.5)
    np.testing.assert_array_equal(model.predict(left), got[~np.isnan(got)])
    if not clip:
        assert np.nanmax(np.abs(got - wanted)) < 8


def test_a_recording_of_a_treadmill_with_gaps(pulsehr_data, compiler):
    recording = load_bami(pulsehr_data / "bami_gyro").recordings[0]
    rate = recording.ppg_rate
    data = recording.labelled_readings()
    y = [reading.heart_rate for reading in data]
    student = DistilledStudentRegressor(filters=(2, 3, 4), max_epochs=1, random_state=0, verbose=0)
    windower = PPGWindower(sampling_rate=25, missing="nan")
    pipe = make_pipeline(windower, student).fit(data, y)
    readings = gappy(recording).readings(stride=1.0, gaps="keep")
    model = to_microcontroller(pipe, prefix="hr", ppg_rate=rate, acc_rate=recording.acc_rate)
    got = model.predict(readings)
    np.testing.assert_array_equal(model.run_c(readings), got)
    with pytest.warns(MissingSamplesWarning):
        wanted = pipe.predict(readings)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
    assert 20 < np.isnan(got).sum() < len(got) - 20
    assert np.nanmax(np.abs(got - wanted)) < 8


#: In the order in which sensors at 64 and 32 Hz would have given samples.
MAIN = """
#include "hr.h"
#include "semihosting.h"
{arrays}
static hr_state state;

static void take(int status)
{{
    int32_t bpm_q8 = 0;

    if (status == HR_READY) {{
        status = hr_heart_rate(&state, &bpm_q8);
        semihosting_print_integer(status == HR_OK ? bpm_q8 : status);
        semihosting_print("\\n");
    }}
}}

int main(void)
{{
    hr_init(&state);
    for (int i = 0; i < {n_ppg}; ++i) {{
        if (i % 2 == 0) {{
            const int16_t *const at = acc + 3 * (i / 2);

            take(no_acc[i / 2] ? hr_skip_acc(&state, 1)
                               : hr_push_acc(&state, at[0], at[1], at[2]));
        }}
        take(no_ppg[i] ? hr_skip_ppg(&state, 1) : hr_push_ppg(&state, ppg[i]));
    }}
    return 0;
}}
"""


def arrays_of(ppg, acc):
    """Return samples, and which of them are missing, as C."""
    arrays = [
        ("int32_t ppg", np.ma.getdata(ppg)),
        ("int16_t acc", np.ma.getdata(acc)),
        ("uint8_t no_ppg", np.ma.getmaskarray(ppg)),
        ("uint8_t no_acc", np.ma.getmaskarray(acc)[:, 0]),
    ]
    return "".join(array(f"static const {name}[{x.size}]", x.astype(int)) for name, x in arrays)


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
def test_a_core_skips_what_is_missing(core, pipe, synthetic, qemu):
    recording = gappy(synthetic.recordings[0])
    model = to_microcontroller(pipe, prefix="hr", ppg_rate=64, clip=True)
    ppg, acc = model.samples(recording)
    options = ["-Wall", "-Wextra", "-Wconversion", "-Werror"]
    main = MAIN.format(arrays=arrays_of(ppg, acc), n_ppg=len(ppg))
    finished = run_on(core, model.sources, main, options=options)
    assert finished.status == 0
    got = [int(line) for line in finished.stdout.split()]
    bpm = model.predict(recording.readings(gaps="keep"))
    wanted = [-7 if np.isnan(value) else int(256 * value) for value in bpm]
    # the last windows lack the samples to which the filter looks ahead
    assert len(got) >= len(wanted) - 1
    assert got == wanted[: len(got)]
    assert got.count(-7) > 3


#: Around the lines of the documentation: queues, and packets of half a second that come by turns.
HOST = """
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "hr.h"
{arrays}
static hr_state state;

static void estimate(int status)
{{
    int32_t bpm_q8 = 0;

    if (status == HR_READY) {{
        status = hr_heart_rate(&state, &bpm_q8);
        printf("%d\\n", (int)(status == HR_OK ? bpm_q8 : status));
    }} else if (status != HR_OK) {{
        printf("status %d\\n", status);
    }}
}}

{entry}
typedef struct {{
    entry entries[{n_ppg}];
    int first, n;
    int32_t lost;
}} queue;

static queue ppg_waiting, acc_waiting;

static entry *queue_front(queue *from)
{{
    return from->first < from->n ? &from->entries[from->first] : NULL;
}}

static void queue_drop(queue *from)
{{
    ++from->first;
}}

static void put(queue *to, bool missing, entry sample)
{{
    if (missing) {{
        ++to->lost;
    }} else {{
        sample.lost = to->lost;
        to->entries[to->n++] = sample;
        to->lost = 0;
    }}
}}

{lines}
int main(void)
{{
    hr_init(&state);
    for (int start = 0; start < {n_ppg}; start += 32) {{
        for (int i = start; i < start + 32 && i < {n_ppg}; ++i) {{
            put(&ppg_waiting, no_ppg[i], (entry){{.ppg = ppg[i]}});
        }}
        work();
        for (int i = start / 2; i < start / 2 + 16 && i < {n_ppg} / 2; ++i) {{
            const int16_t *const at = acc + 3 * i;

            put(&acc_waiting, no_acc[i], (entry){{.x = at[0], .y = at[1], .z = at[2]}});
        }}
        work();
    }}
    return 0;
}}
"""


def test_the_queues_of_the_documentation_lose_no_time_with_lost_packets(
    pipe, synthetic, compiler, tmp_path
):
    page = (Path(__file__).parents[2] / "docs" / "firmware_front.md").read_text(encoding="utf-8")
    (lines,) = [block for block in re.findall(r"```c\n(.*?)```", page, re.S) if "work(" in block]
    entry, end, lines = lines.partition("} entry;\n")
    recording = gappy(synthetic.recordings[0])
    model = to_microcontroller(pipe, prefix="hr", ppg_rate=64)
    ppg, acc = model.samples(recording)
    main = HOST.format(arrays=arrays_of(ppg, acc), n_ppg=len(ppg), entry=entry + end, lines=lines)
    for name, text in {**model.sources, "main.c": main}.items():
        (tmp_path / name).write_text(text)
    sources = [str(path) for path in tmp_path.glob("*.c")]
    flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror"]
    program = tmp_path / "program"
    subprocess.run([compiler, *flags, *sources, "-o", str(program)], check=True)
    finished = subprocess.run([program], check=True, capture_output=True, text=True)
    got = [int(line) for line in finished.stdout.split("\n") if line]
    bpm = model.run_c(recording.readings(gaps="keep"))
    wanted = [-7 if np.isnan(value) else int(256 * value) for value in bpm]
    # the last windows lack the samples to which the filter looks ahead
    assert len(got) >= len(wanted) - 1
    assert got == wanted[: len(got)]
    assert got.count(-7) > 3
