"""`load_physionet_wrist` on small WFDB records in the exact format, written here."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from pulsehr.datasets import load_physionet_wrist
from pulsehr.datasets._annotations import annotated_beats
from pulsehr.datasets._optional import optional_library, quiet_library

RATE = 256
CHANNELS = [
    "chest_ecg",
    "wrist_ppg",
    *(f"wrist_gyro_{axis}" for axis in "xyz"),
    *(f"wrist_low_noise_accelerometer_{axis}" for axis in "xyz"),
    *(f"wrist_wide_range_accelerometer_{axis}" for axis in "xyz"),
]
UNITS = ["mV", "mV", *["deg/s"] * 3, *["m/s^2"] * 6]
GRAVITY = 9.80665


@pytest.fixture(scope="module")
def wfdb():
    return optional_library("tests", "wfdb")


@pytest.fixture
def write(wfdb, tmp_path):
    """Return a function that writes one record and returns its signals."""

    def write_record(
        name="s1_walk", seconds=40, rr=0.6, beats=None, units=None, scale=GRAVITY, symbols=None
    ):
        rng = np.random.default_rng(0)
        n = seconds * RATE
        signals = rng.normal(size=(n, len(CHANNELS)))
        signals[:, 5:8] = scale * np.clip(rng.normal([0, 0, 1], 0.5, size=(n, 3)), -2, 2)
        signals[:, 8:11] = scale * rng.normal([0, 0, 1], 0.5, size=(n, 3))
        with quiet_library():
            wfdb.wrsamp(
                name,
                fs=RATE,
                units=units or UNITS,
                sig_name=CHANNELS,
                p_signal=signals,
                fmt=["16"] * len(CHANNELS),
                write_dir=str(tmp_path),
            )
        if beats is None:
            beats = np.arange(rr / 2, seconds, rr)
        samples = np.round(np.asarray(beats) * RATE).astype(int)
        symbols = ["N"] * len(samples) if symbols is None else symbols
        with quiet_library():
            wfdb.wrann(name, "atr", samples, symbols, fs=RATE, write_dir=str(tmp_path))
        return signals

    return write_record


def test_signals_units_and_names_come_from_the_record(write, tmp_path):
    signals = write("s3_low_resistance_bike")
    (recording,) = load_physionet_wrist(tmp_path).recordings
    assert recording.ppg_rate == recording.acc_rate == 256
    np.testing.assert_allclose(recording.ppg, signals[:, 1], atol=1e-3)
    np.testing.assert_allclose(recording.acc, signals[:, 8:] / GRAVITY, atol=1e-3)
    assert recording.subject == "physionet_wrist_s3"
    assert recording.activity.tolist() == ["low resistance bike"]


def test_the_other_accelerometer_on_demand(write, tmp_path):
    signals = write()
    (recording,) = load_physionet_wrist(tmp_path, acc="low_noise").recordings
    np.testing.assert_allclose(recording.acc, signals[:, 5:8] / GRAVITY, atol=1e-3)
    assert np.abs(recording.acc).max() < 2.001


def test_an_acceleration_in_g_stays(write, tmp_path):
    signals = write(units=[*UNITS[:5], *["g"] * 6], scale=1.0)
    (recording,) = load_physionet_wrist(tmp_path).recordings
    np.testing.assert_allclose(recording.acc, signals[:, 8:], atol=1e-3)


def test_an_acceleration_in_another_unit_is_refused(write, tmp_path):
    write(scale=1000.0)
    with pytest.raises(ValueError, match=r"s1_walk\.hea must have an acceleration in m/s\^2"):
        load_physionet_wrist(tmp_path)


def test_labels_are_the_rate_of_the_annotated_beats(write, tmp_path):
    write(rr=0.5)
    data = load_physionet_wrist(tmp_path)
    assert [reading.instant for reading in data.X] == list(range(8, 41, 2))
    np.testing.assert_allclose(data.y, 120, atol=0.01)
    assert set(data.groups) == {"physionet_wrist_s1"}
    assert set(data.activity) == {"walk"}


def test_a_label_knows_the_eight_seconds_before_it_alone(write, tmp_path):
    """Beats go from 60 to 120 bpm at 20 s: labels are mixed at 22 to 26 s only."""
    write(beats=np.concatenate([np.arange(0, 20, 1.0), np.arange(20, 40, 0.5)]))
    labels = dict(zip(range(8, 41, 2), load_physionet_wrist(tmp_path).y, strict=True))
    for instant, rate in labels.items():
        share = np.clip((instant - 20) / 8, 0, 1)  # of the window after the change
        n_slow, n_fast = 8 * (1 - share), 16 * share
        assert rate == pytest.approx((60 * n_slow + 120 * n_fast) / (n_slow + n_fast), abs=0.01)


def test_the_second_recipe_is_beats_per_time(write, tmp_path):
    write(beats=np.concatenate([np.arange(0, 20, 1.0), np.arange(20, 40, 0.5)]))
    data = load_physionet_wrist(tmp_path, labels="mean_rr")
    at_24 = data.y[[reading.instant for reading in data.X].index(24)]
    assert at_24 == pytest.approx(60 * (4 + 8) / 8, abs=0.01)


def test_marks_that_are_no_beats_do_not_count(write, tmp_path):
    beats = np.arange(0.3, 40, 0.6)
    both = np.sort(np.concatenate([beats, beats[5:20] + 0.1]))
    symbols = ["N" if np.isclose(beats, instant).any() else "~" for instant in both]
    write(beats=both, symbols=symbols)
    np.testing.assert_allclose(load_physionet_wrist(tmp_path).y, 100, atol=0.5)


def test_annotations_are_read_as_wfdb_reads_them(wfdb, tmp_path):
    """Also over pauses, attributes and texts, which the format stores in words of their own."""
    samples = np.cumsum([0, 5, 1000, 1023, 1024, 70_000, 3, 200, 2**17])
    symbols = ["+", "N", "V", "N", "~", "A", "e", "?", "N"]
    aux = ["(N", "", "note", "", "", "x", "", "", "abc"]
    with quiet_library():
        wfdb.wrann(
            "s1_walk",
            "atr",
            samples,
            symbols,
            aux_note=aux,
            chan=np.array([0, 0, 1, 0, 0, 0, 2, 0, 0]),
            subtype=np.array([0, 1, 0, 0, 0, 0, 0, 0, 3]),
            fs=RATE,
            write_dir=str(tmp_path),
        )
        read = wfdb.rdann(str(tmp_path / "s1_walk"), "atr")
    wanted = read.sample[[symbol in "NVAe?" for symbol in read.symbol]]
    beats = annotated_beats((tmp_path / "s1_walk.atr").read_bytes(), RATE)
    np.testing.assert_allclose(beats * RATE, wanted)
    np.testing.assert_allclose(beats * RATE, samples[[1, 2, 3, 5, 6, 7, 8]])


def test_annotations_cut_short_or_of_another_rate_are_named(write, tmp_path):
    write()
    path = tmp_path / "s1_walk.atr"
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    with pytest.raises(ValueError, match=r"s1_walk\.atr must be .+ it ends early"):
        load_physionet_wrist(tmp_path)
    path.write_bytes(whole.replace(b"resolution: 256", b"resolution: 128"))
    with pytest.raises(ValueError, match=r"s1_walk\.atr must be .+ in 128 Hz, not the 256 Hz"):
        load_physionet_wrist(tmp_path)


def test_windows_without_enough_beats_are_left_out_and_counted(write, tmp_path):
    beats = np.arange(0.3, 40, 0.6)
    write(beats=beats[(beats < 13) | (beats > 24)])
    with pytest.warns(
        UserWarning,
        match=r"load_physionet_wrist: 8 of 17 windows have no label: 3 with fewer than 4 "
        r"intervals between beats, 5 with missed or false beats \(s1_walk 8 of 17\)",
    ):
        data = load_physionet_wrist(tmp_path)
    assert [reading.instant for reading in data.X] == [8, 10, 12, 14, 32, 34, 36, 38, 40]
    np.testing.assert_allclose(data.y, 100, atol=0.5)


def test_records_of_one_subject_are_one_group(write, tmp_path):
    for name in ("s1_walk", "s1_high_resistance_bike", "s10_run", "s2_run"):
        write(name, seconds=12)
    data = load_physionet_wrist(tmp_path)
    assert len(data.recordings) == 4
    assert sorted(set(data.groups)) == [f"physionet_wrist_{s}" for s in ("s1", "s10", "s2")]


def test_choices_are_checked_before_any_file_is_read(tmp_path):
    (tmp_path / "s1_walk.hea").write_bytes(b"")
    with pytest.raises(ValueError, match=r"acc must be one of .+ got 'chest'"):
        load_physionet_wrist(tmp_path, acc="chest")
    with pytest.raises(ValueError, match=r"labels must be one of .+ got 'median'"):
        load_physionet_wrist(tmp_path, labels="median")


def test_a_folder_without_records_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"expected files s<k>_<activity>\.hea .+ got none below"):
        load_physionet_wrist(tmp_path)


@pytest.mark.parametrize("suffix", [".dat", ".atr"])
def test_a_missing_file_of_a_record_is_named(write, tmp_path, suffix):
    write()
    (tmp_path / f"s1_walk{suffix}").unlink()
    with pytest.raises(FileNotFoundError, match=rf"expected s1_walk\{suffix}, of a record in"):
        load_physionet_wrist(tmp_path)


@pytest.mark.parametrize("suffix", [".hea", ".dat", ".atr"])
def test_an_empty_file_of_a_record_is_named(write, tmp_path, suffix):
    write()
    (tmp_path / f"s1_walk{suffix}").write_bytes(b"")
    with pytest.raises(ValueError, match=rf"s1_walk\{suffix} must have 1 to \d+ bytes, got 0"):
        load_physionet_wrist(tmp_path)


def test_truncated_signals_are_named(write, tmp_path):
    write()
    path = tmp_path / "s1_walk.dat"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ValueError, match=r"s1_walk\.dat must have the 225280 bytes"):
        load_physionet_wrist(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "..\\x.dat", "http://x/y.dat", "file::x", "~", "..", ""],
)
def test_a_header_that_points_elsewhere_is_refused(write, tmp_path, name):
    write()
    path = tmp_path / "s1_walk.hea"
    path.write_text(path.read_text().replace("s1_walk.dat", name))
    with pytest.raises(ValueError, match=r"s1_walk\.hea must"):
        load_physionet_wrist(tmp_path)


def edited(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (" 10240\n", " 99999999999999\n", "must tell of signals of at most 33554432 bytes"),
        (" 10240\n", " 99999\n", r"s1_walk\.dat must have the \d+ bytes"),
        (" 10240\n", " 0\n", "must tell a rate, 50 to 2000 Hz, and a number of samples"),
        (" 256 ", " 0 ", "must tell a rate, 50 to 2000 Hz, and a number of samples"),
        (" 256 ", " 0.01 ", "must tell a rate, 50 to 2000 Hz, and a number of samples"),
        ("s1_walk 11 ", "s1_walk/2 11 ", "s1_walk.hea must"),
        (".dat 16 ", ".dat 16x4 ", "must store one sample at a time"),
        (".dat 16 ", ".dat 16:999999999999 ", "must store one sample at a time"),
        (".dat 16 ", ".dat 16+100 ", "must store one sample at a time"),
        (".dat 16 ", ".dat 516 ", "must store one sample at a time"),
        ("wrist_ppg", "finger_ppg", "must have the channels"),
        ("s1_walk.dat", "passwd", "expected passwd, of a record in"),
    ],
)
def test_a_header_that_tells_of_something_else_is_refused(write, tmp_path, old, new, message):
    write()
    path = tmp_path / "s1_walk.hea"
    path.write_text(edited(path.read_text(), old, new))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_physionet_wrist(tmp_path)


@pytest.mark.parametrize("suffix", [".hea", ".atr"])
def test_damaged_bytes_are_refused_by_name_or_harmless(write, tmp_path, suffix):
    write(seconds=12)
    path = tmp_path / f"s1_walk{suffix}"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        content = bytearray(whole)
        content[rng.integers(len(whole))] = rng.integers(256)
        path.write_bytes(content[: rng.integers(1, len(whole) + 1)])
        # any of three endings will do, or none, which pytest.raises cannot say
        try:
            load_physionet_wrist(tmp_path)
        except FileNotFoundError as error:
            assert "of a record in" in str(error)  # noqa: PT017
        except ValueError as error:
            assert "s1_walk" in str(error)  # noqa: PT017
        except UserWarning as warning:
            assert "have no label" in str(warning)  # noqa: PT017


def test_without_wfdb_it_is_said_what_to_install(write, tmp_path, monkeypatch):
    write()
    monkeypatch.setitem(sys.modules, "wfdb", None)
    with pytest.raises(ImportError, match=r'needs wfdb, .+ pip install "pulsehr\[data\]"'):
        load_physionet_wrist(tmp_path)


def test_a_relative_folder_is_read(write, tmp_path, monkeypatch):
    write()
    monkeypatch.chdir(tmp_path)
    assert len(load_physionet_wrist(Path(".")).X) == 17
