"""The loaders on the real data sets, where PULSEHR_DATA names the folder that holds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from pulsehr.datasets import HeartRateDataset, load_bami, load_folder, load_ieee_spc


@pytest.fixture(scope="module")
def ieee_spc(pulsehr_data: Path) -> HeartRateDataset:
    return load_ieee_spc(pulsehr_data / "ieee_spc_2015")


@pytest.fixture(scope="module")
def bami(pulsehr_data: Path) -> HeartRateDataset:
    return load_bami(pulsehr_data / "bami_gyro")


def strongest_rate(readings: list) -> np.ndarray:
    """Frequency (bpm) of the strongest line between 0.6 and 3.5 Hz in the last 8 s."""
    rates = []
    for reading in readings:
        recording, rate = reading.recording, reading.recording.ppg_rate
        end = round(reading.instant * rate)
        window = recording.ppg[max(end - round(8 * rate), 0) : end].astype(float)
        band = butter(2, (0.6, 3.5), "bandpass", fs=rate, output="sos")
        window = sosfiltfilt(band, window - window.mean()) * np.hanning(len(window))
        spectrum = np.abs(np.fft.rfft(window, 8 * len(window)))
        frequency = np.fft.rfftfreq(8 * len(window), 1 / rate)
        rates.append(60 * frequency[np.argmax(spectrum)])
    return np.array(rates)


def test_ieee_spc_counts(ieee_spc):
    assert len(ieee_spc.recordings) == len(set(ieee_spc.groups)) == 13
    assert len(ieee_spc.X) == len(ieee_spc.y) == 1875
    assert 60 < ieee_spc.y.min() < ieee_spc.y.max() < 180


def test_bami_counts(bami):
    assert len(bami.recordings) == len(set(bami.groups)) == 24
    assert len(bami.X) == len(bami.y) == 24 * 417 - 3
    assert 60 < bami.y.min() < bami.y.max() < 190


def test_load_folder_finds_both(pulsehr_data, ieee_spc, bami):
    data = load_folder(pulsehr_data)
    assert len(data.X) == len(ieee_spc.X) + len(bami.X)


@pytest.mark.parametrize("name", ["ieee_spc", "bami"])
def test_gravity_is_one_g_at_rest(name, request):
    for recording in request.getfixturevalue(name).recordings:
        magnitude = np.linalg.norm(recording.acc[: int(15 * recording.acc_rate)], axis=1)
        assert 0.8 < np.median(magnitude) < 1.2, recording


@pytest.mark.parametrize(("name", "limit"), [("ieee_spc", 2.0), ("bami", 3.0)])
def test_labels_agree_with_the_ppg_at_rest(name, limit, request):
    data = request.getfixturevalue(name)
    rest = [x for x, activity in zip(data.X, data.activity, strict=True) if activity == "rest"]
    truth = np.array([x.heart_rate for x in rest])
    assert np.median(np.abs(strongest_rate(rest) - truth)) < limit


def test_labels_agree_best_with_the_ppg_where_the_loader_puts_them(ieee_spc, bami):
    """Moving the labels by five seconds to either side makes the error larger."""
    for data in (ieee_spc, bami):
        readings = data.X[::4]
        rates = strongest_rate(readings)
        errors = []
        for shift in (-5.0, 0.0, 5.0):
            error = []
            for recording in data.recordings:
                rows = [k for k, x in enumerate(readings) if x.recording is recording]
                instants = np.array([readings[k].instant for k in rows])
                moved = np.interp(
                    instants + shift, recording.heart_rate_times, recording.heart_rate
                )
                error.append(np.minimum(np.abs(rates[rows] - moved), 10.0))
            errors.append(np.concatenate(error).mean())
        assert errors[1] < min(errors[0], errors[2])
