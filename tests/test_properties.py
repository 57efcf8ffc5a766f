"""What holds for windows of any recording, rates and hyper-parameters, not for examples alone."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from pulsehr import PPGWindower, Reading, Recording, load_pretrained
from pulsehr.datasets import (
    load_bami,
    load_ieee_spc,
    load_physionet_wrist,
    load_ppg_dalia,
    load_wesad,
)
from pulsehr.datasets._optional import optional_library, quiet_library
from pulsehr.datasets.physionet_wrist import ACC_CHANNELS

sys.path.insert(0, str(Path(__file__).parent / "datasets"))
import ppg_dalia_files
import wesad_files

#: Samples of the slower rate that a window looks past its instant, as `PPGWindower` states.
LOOK_AHEAD = 5

#: The same examples each time.
modest = settings(max_examples=25)

#: Rates (Hz) of sensors: watches, data sets, odd ones.
RATES = st.sampled_from([20.0, 25.0, 32.0, 50.0, 64.0, 100.0, 125.0, 256.0, 400.0]) | st.floats(
    20.0, 400.0
)
WHOLE_RATES = st.sampled_from([20, 25, 32, 50, 64, 100, 125, 256, 400])
WINDOWERS = st.builds(
    PPGWindower,
    window=st.sampled_from([4.0, 8.0]),
    sampling_rate=st.sampled_from([16.0, 25.0, 32.0, 64.0]),
    normalize=st.sampled_from(["window", None]),
    bandpass=st.sampled_from([None, (0.5, 4.0)]),
    antialias=st.booleans(),
)
SEEDS = st.integers(0, 2**16)


def noise(seed, ppg_rate, acc_rate, seconds=30.0) -> Recording:
    """Whole numbers, which a gain or an offset leaves exact."""
    rng = np.random.default_rng(seed)
    return Recording(
        ppg=rng.integers(-999, 999, int(seconds * ppg_rate)),
        ppg_rate=ppg_rate,
        acc=rng.normal(size=(int(seconds * acc_rate), 3)),
        acc_rate=acc_rate,
        subject="S",
    )


def changed(recording, **changes) -> Recording:
    signals = {"ppg": recording.ppg, "acc": recording.acc} | changes
    return Recording(
        **signals, ppg_rate=recording.ppg_rate, acc_rate=recording.acc_rate, subject="S"
    )


def look_ahead(windower, rate) -> float:
    """Seconds past the instant that a window may depend on, as the documentation has it."""
    return LOOK_AHEAD / min(rate, windower.sampling_rate) if windower.antialias else 0.0


@modest
@given(WINDOWERS, RATES, RATES, st.floats(10.0, 25.0), SEEDS)
def test_no_window_contains_what_comes_after_the_stated_look_ahead(
    windower, ppg_rate, acc_rate, instant, seed
):
    recording = noise(seed, ppg_rate, acc_rate)
    ppg, acc = recording.ppg.copy(), recording.acc.copy()
    ppg[int(np.ceil((instant + look_ahead(windower, ppg_rate)) * ppg_rate)) :] = 1e6
    acc[int(np.ceil((instant + look_ahead(windower, acc_rate)) * acc_rate)) :] = 1e6
    other = changed(recording, ppg=ppg, acc=acc / 1e6)  # so that it still seems to be in g
    expected = changed(recording, acc=recording.acc / 1e6)
    windows = [windower.fit_transform([Reading(r, instant)]) for r in (expected, other)]
    np.testing.assert_array_equal(*windows)


@modest
@given(WINDOWERS, RATES, RATES, SEEDS)
def test_windows_of_shuffled_rows_are_the_shuffled_windows(windower, ppg_rate, acc_rate, seed):
    rows = noise(seed, ppg_rate, acc_rate).readings(stride=1.7)
    order = np.random.default_rng(seed).permutation(len(rows))
    windows = windower.fit_transform(rows)
    np.testing.assert_array_equal(windower.transform(rows[order]), windows[order])


@pytest.mark.parametrize("name", ["student", "student-int8", "teacher"])
def test_heart_rates_of_shuffled_rows_are_the_shuffled_heart_rates(name):
    model = load_pretrained(name)
    rows = [row for seed in (0, 1) for row in noise(seed, 64, 32).readings(stride=1.0)]
    order = np.random.default_rng(0).permutation(len(rows))
    bpm, std = model.predict(rows, return_std=True)
    again, std_again = model.predict([rows[k] for k in order], return_std=True)
    np.testing.assert_allclose(again, bpm[order], rtol=1e-6)
    np.testing.assert_allclose(std_again, std[order], rtol=1e-6)


@modest
@given(WINDOWERS, RATES, st.integers(-6, 12), st.integers(-4000, 4000), SEEDS)
def test_gain_and_offset_of_the_ppg_drop_out(windower, rate, log_gain, offset, seed):
    """To the bit for a gain of two; an offset may change the last digits of float32."""
    windower.set_params(normalize="window")
    recording = noise(seed, rate, 32.0)
    rows = recording.readings(stride=5.0)
    windows = windower.fit_transform(rows)
    louder = changed(recording, ppg=recording.ppg * 2.0**log_gain)
    np.testing.assert_array_equal(windower.transform(louder.readings(stride=5.0)), windows)
    shifted = changed(recording, ppg=recording.ppg + offset)
    again = windower.transform(shifted.readings(stride=5.0))
    np.testing.assert_allclose(again, windows, atol=1e-5)


@modest
@given(WINDOWERS, WHOLE_RATES, WHOLE_RATES, st.integers(18, 22), SEEDS)
def test_a_recording_cut_in_two_gives_the_same_windows_away_from_the_cut(
    windower, ppg_rate, acc_rate, cut, seed
):
    windower.set_params(normalize=None)
    whole = noise(seed, ppg_rate, acc_rate, seconds=44.0)
    before, after = (
        changed(whole, ppg=whole.ppg[part(ppg_rate)], acc=whole.acc[part(acc_rate)])
        for part in (lambda rate: slice(cut * rate), lambda rate: slice(cut * rate, None))
    )
    reach = LOOK_AHEAD / min(ppg_rate, acc_rate, windower.sampling_rate)
    settled = 0 if windower.bandpass is None else 4 / windower.bandpass[0]
    firsts = np.arange(windower.window, cut - reach, 1.3)
    lasts = np.arange(windower.window + settled + reach + 0.1, whole.duration - cut, 1.3)
    for part, instants, shift in ((before, firsts, 0), (after, lasts, cut)):
        windows = windower.fit_transform([Reading(part, t) for t in instants])
        expected = windower.transform([Reading(whole, t + shift) for t in instants])
        np.testing.assert_allclose(windows, expected, rtol=1e-5, atol=2e-3)


@modest
@given(
    st.floats(20.0, 400.0),
    st.sampled_from([16.0, 25.0, 32.0, 64.0]),
    st.floats(0.5, 3.7),
    st.floats(0, 6.3),
)
def test_resampling_keeps_the_frequency_of_a_sine_to_a_tenth_of_a_beat_per_minute(
    rate, sampling_rate, frequency, phase
):
    seconds = np.arange(int(70 * rate)) / rate
    recording = Recording(ppg=np.sin(2 * np.pi * frequency * seconds + phase), ppg_rate=rate)
    windower = PPGWindower(window=60.0, sampling_rate=sampling_rate)
    (window,) = windower.fit_transform([Reading(recording, 65.0)])[0]
    times = np.arange(len(window)) / sampling_rate
    # how far the phase drifts from that of the sine between two halves
    halves = (window * np.exp(-2j * np.pi * frequency * times)).reshape(2, -1) @ np.hanning(
        len(window) // 2
    )
    drift = np.angle(halves[1] / halves[0]) / (2 * np.pi * len(window) / 2 / sampling_rate)
    assert abs(60 * drift) < 0.1


# labels ---------------------------------------------------------------------------------------

SLOW, FAST = 60.0, 120.0
SECONDS, WINDOW, STRIDE = 60, 8.0, 2.0


def pulse(rate: float, step: float, seconds: float = SECONDS) -> np.ndarray:
    """A pulse of 60 bpm, and from a second on of 120 bpm."""
    times = np.arange(int(seconds * rate)) / rate
    return np.sin(2 * np.pi * times * np.where(times < step, SLOW, FAST) / 60)


def labels(step: float, seconds: float = SECONDS) -> np.ndarray:
    """Mean heart rate of the eight seconds from 0, 2, 4, ... on."""
    ends = np.arange(WINDOW, seconds + 1e-6, STRIDE)
    return SLOW + (FAST - SLOW) * np.clip((ends - step) / WINDOW, 0, 1)


def shares(data) -> tuple[np.ndarray, np.ndarray]:
    """How much of the window, and by its label how much of its seconds, is fast."""
    windows = PPGWindower(window=WINDOW, sampling_rate=25.0, normalize=None).fit_transform(data.X)
    times = np.arange(windows.shape[-1]) / 25.0
    fast = np.abs(windows[:, 0] @ np.exp(-2j * np.pi * times * FAST / 60)) * 2 / len(times)
    scale = np.std(data.recordings[0].ppg) * np.sqrt(2)
    return fast / scale, (data.y - SLOW) / (FAST - SLOW)


@pytest.mark.parametrize("kind", ["training", "test"])
@pytest.mark.parametrize("step", [20.0, 27.0, 33.0])
def test_labels_of_ieee_spc_are_of_the_seconds_of_their_windows(kind, step, tmp_path):
    ppg = pulse(125, step)
    noise = np.random.default_rng(0).normal(size=(3, len(ppg)))
    stem, label_stem = {
        "training": ("DATA_01_TYPE01", "DATA_01_TYPE01_BPMtrace"),
        "test": ("TEST_S01_T01", "True_S01_T01"),
    }[kind]
    ecg = [ppg] if kind == "training" else []
    savemat(tmp_path / f"{stem}.mat", {"sig": np.stack([*ecg, ppg, ppg, *noise])})
    savemat(tmp_path / f"{label_stem}.mat", {"BPM0": labels(step)[:, None]})
    window, label = shares(load_ieee_spc(tmp_path))
    np.testing.assert_allclose(window, label, atol=0.05)


def bami_signals(step: float) -> dict[str, np.ndarray]:
    ppg = np.rint(32768 - 10000 * pulse(50, step)).astype(np.uint16)
    acc = np.random.default_rng(0).integers(30000, 36000, size=(3, len(ppg))).astype(np.uint16)
    return {"ppg": np.stack([ppg] * 3), "acc": acc}


@pytest.mark.parametrize("step", [20.0, 27.0, 33.0])
def test_labels_of_the_siblings_of_bami_are_of_the_seconds_of_their_windows(step, tmp_path):
    signals = bami_signals(step)
    content = {"rawPPG": signals["ppg"], "rawAcc": signals["acc"], "bpm_ecg": labels(step)[None]}
    savemat(tmp_path / "BAMI2_1.mat", content)
    window, label = shares(load_bami(tmp_path))
    np.testing.assert_allclose(window, label, atol=0.05)


@pytest.mark.parametrize(("number", "lag"), [(1, 2.5), (5, 11.5), (8, 5.0), (15, -3.0)])
@pytest.mark.parametrize("step", [24.0, 30.0])
def test_labels_from_beats_of_bami_are_of_the_seconds_of_their_windows(number, lag, step, tmp_path):
    """The label is a median: it steps when half of the beats of a window are fast ones."""
    beats = np.concatenate(
        [np.arange(0.0, step - lag, 60 / SLOW), np.arange(step - lag, SECONDS, 60 / FAST)]
    )
    rates = np.where(beats < step - lag + 0.1, SLOW, FAST)
    signals = bami_signals(step)
    content = {
        "sigPPG": signals["ppg"],
        "sigAcc": signals["acc"],
        "timeECG": beats[:, None],
        "bpmECG": rates[:, None],
    }
    savemat(tmp_path / f"Subject_{number}.mat", content)
    window, label = shares(load_bami(tmp_path))
    # 8 s have equal numbers of intervals of 1 s and of 0.5 s when a third of it is fast
    np.testing.assert_array_equal(window > 1 / 3, label > 0.4)
    assert 0 < label.mean() < 1


@pytest.mark.parametrize("step", [20.0, 27.0, 33.0])
def test_labels_of_ppg_dalia_are_of_the_seconds_of_their_windows(step, tmp_path):
    ppg = pulse(64, step)[:, None]
    ppg_dalia_files.write_subject(tmp_path, 1, float(SECONDS), BVP=ppg, label=labels(step))
    window, label = shares(load_ppg_dalia(tmp_path))
    np.testing.assert_allclose(window, label, atol=0.05)


def beats_of(step: float) -> np.ndarray:
    """Instants of the beats in seconds."""
    return np.r_[np.arange(0, step, 60 / SLOW), np.arange(step, SECONDS, 60 / FAST)]


@pytest.mark.parametrize("step", [20.0, 27.0, 33.0])
def test_labels_of_physionet_wrist_are_of_the_seconds_of_their_windows(step, tmp_path):
    """By the mean interval: that of eight seconds is the share of each rate in them."""
    wfdb = optional_library("tests", "wfdb")
    ppg = pulse(256, step)
    acc = np.random.default_rng(0).normal([0, 0, 9.8], 1.0, size=(len(ppg), 3))
    beats = beats_of(step)
    at, names = {"fs": 256, "write_dir": str(tmp_path)}, ["wrist_ppg", *ACC_CHANNELS["wide_range"]]
    signals = {"p_signal": np.c_[ppg, acc], "units": ["mV", *["m/s^2"] * 3], "fmt": ["16"] * 4}
    with quiet_library():
        wfdb.wrsamp("s1_walk", **at, sig_name=names, **signals)
        wfdb.wrann(
            "s1_walk", "atr", np.rint(256 * beats[1:]).astype(int), ["N"] * len(beats[1:]), **at
        )
    window, label = shares(load_physionet_wrist(tmp_path, labels="mean_rr"))
    np.testing.assert_allclose(window, label, atol=0.09)  # a beat more or less


@pytest.mark.parametrize("step", [20.0, 33.0])
def test_labels_of_wesad_are_of_the_seconds_of_their_windows(step, tmp_path):
    """As those of the PhysioNet recordings, from the beats that are found in the ECG."""
    ppg = pulse(64, step)[:, None]
    beats = beats_of(step)[1:]
    wesad_files.write_subject(tmp_path, 2, float(SECONDS), beats=beats, BVP=ppg)
    window, label = shares(load_wesad(tmp_path, labels="mean_rr"))
    np.testing.assert_allclose(window, label, atol=0.09)
