"""Recordings with missing samples: the firmware against the pipeline in floating point."""

from __future__ import annotations

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


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
def test_a_core_skips_what_is_missing(core, pipe, synthetic, qemu):
    recording = gappy(synthetic.recordings[0])
    model = to_microcontroller(pipe, prefix="hr", ppg_rate=64, clip=True)
    ppg, acc = model.samples(recording)
    arrays = [
        ("int32_t ppg", np.ma.getdata(ppg)),
        ("int16_t acc", np.ma.getdata(acc)),
        ("uint8_t no_ppg", np.ma.getmaskarray(ppg)),
        ("uint8_t no_acc", np.ma.getmaskarray(acc)[:, 0]),
    ]
    text = "".join(array(f"static const {name}[{x.size}]", x.astype(int)) for name, x in arrays)
    options = ["-Wall", "-Wextra", "-Wconversion", "-Werror"]
    main = MAIN.format(arrays=text, n_ppg=len(ppg))
    finished = run_on(core, model.sources, main, options=options)
    assert finished.status == 0
    got = [int(line) for line in finished.stdout.split()]
    bpm = model.predict(recording.readings(gaps="keep"))
    wanted = [-7 if np.isnan(value) else int(256 * value) for value in bpm]
    # the last windows lack the samples to which the filter looks ahead
    assert len(got) >= len(wanted) - 1
    assert got == wanted[: len(got)]
    assert got.count(-7) > 3
