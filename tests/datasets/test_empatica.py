"""`load_empatica` on small exports in the exact format, written here, and on the real ones."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pulsehr.datasets import empatica, load_empatica

START = 1495437325.0
SECONDS = 20
RNG = np.random.default_rng(0)
PPG = np.round(100 * RNG.normal(size=64 * SECONDS), 2)
ACC = RNG.integers(-128, 128, size=(32 * SECONDS, 3))


def ppg_text(start=START, samples=PPG, rate=64.0):
    return f"{start:.2f}\n{rate:.6f}\n" + "".join(f"{value:.2f}\n" for value in samples)


def acc_text(start=START, samples=ACC):
    head = ", ".join([f"{start:.6f}"] * 3) + "\n" + ", ".join(["32.000000"] * 3) + "\n"
    return head + "".join(",".join(map(str, row)) + "\n" for row in samples)


def tables(**changes):
    return {"BVP.csv": ppg_text(), "ACC.csv": acc_text(), "tags.csv": ""} | changes


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = text if isinstance(text, bytes) else text.encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder


def write_zip(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_samples_rates_and_units_come_from_the_files(tmp_path):
    recording = load_empatica(write(tmp_path / "S7", tables()))
    np.testing.assert_array_equal(recording.ppg, PPG.astype(np.float32))
    np.testing.assert_array_equal(recording.acc, (ACC / 64).astype(np.float32))
    assert (recording.ppg_rate, recording.acc_rate) == (64, 32)
    assert recording.subject == "S7"
    assert recording.activity is None
    assert recording.heart_rate is None


def test_own_estimates_of_the_device_are_no_labels(tmp_path):
    files = tables(**{"HR.csv": f"{START}\n1.0\n71.0\n", "IBI.csv": f"{START}, IBI\n1,0.8\n"})
    assert load_empatica(write(tmp_path, files)).heart_rate is None


@pytest.mark.parametrize("inside", ["", "1495437325_A00204/"])
def test_zip_compressed_files_and_folder_give_the_same_recording(tmp_path, inside):
    packed = write_zip(
        tmp_path / "S7.zip", {inside + name: text for name, text in tables().items()}
    )
    files = {f"S7/{name}.gz": text for name, text in tables().items()}
    for source in (packed, write(tmp_path / "gz", files)):
        recording = load_empatica(source)
        assert recording.subject == "S7"
        np.testing.assert_array_equal(recording.ppg, PPG.astype(np.float32))
        np.testing.assert_array_equal(recording.acc, (ACC / 64).astype(np.float32))


def test_a_file_of_the_folder_is_no_export(tmp_path):
    folder = write(tmp_path / "S7", tables())
    with pytest.raises(ValueError, match=r"a zip file or the folder of BVP\.csv, got the"):
        load_empatica(folder / "BVP.csv")


def test_lines_that_end_as_on_windows_are_read(tmp_path):
    files = {name: text.replace("\n", "\r\n") for name, text in tables().items()}
    recording = load_empatica(write(tmp_path, files), subject="me")
    np.testing.assert_array_equal(recording.ppg, PPG.astype(np.float32))
    assert recording.subject == "me"


def test_numbers_across_blocks_are_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(empatica, "BLOCK_BYTES", 101)
    recording = load_empatica(write(tmp_path, tables()))
    np.testing.assert_array_equal(recording.ppg, PPG.astype(np.float32))
    np.testing.assert_array_equal(recording.acc, (ACC / 64).astype(np.float32))


def test_presses_of_the_button_name_what_follows_them(tmp_path):
    presses = [START - 5, START + 12.25, START + 3.5, START + 3.5, START + 99]
    text = "".join(f"{instant:.2f}\n" for instant in presses)
    recording = load_empatica(write(tmp_path, tables(**{"tags.csv": text})))
    assert recording.activity.tolist() == ["tag 2", "tag 3"]
    np.testing.assert_allclose(recording.activity_times, [3.5, 12.25])
    assert recording.activity_at([3.4, 3.6, 19]).tolist() == ["", "tag 2", "tag 3"]


def test_tags_may_be_missing(tmp_path):
    files = tables()
    del files["tags.csv"]
    assert load_empatica(write(tmp_path, files)).activity is None


def test_a_sensor_that_starts_later_is_aligned_and_told(tmp_path):
    files = tables(**{"ACC.csv": acc_text(START + 2, ACC[64:]), "tags.csv": f"{START + 6:.2f}\n"})
    with pytest.warns(UserWarning, match=r"start 2\.000 s apart.+aligned to 0\.000 s"):
        recording = load_empatica(write(tmp_path, files))
    np.testing.assert_array_equal(recording.ppg, PPG[128:].astype(np.float32))
    np.testing.assert_array_equal(recording.acc, (ACC[64:] / 64).astype(np.float32))
    np.testing.assert_allclose(recording.activity_times, [4])


def test_a_shift_of_less_than_a_sample_that_stays_is_told(tmp_path):
    files = tables(**{"BVP.csv": ppg_text(START + 1.01, PPG[64:])})
    with pytest.warns(UserWarning, match=r"start 1\.010 s apart.+aligned to 0\.010 s"):
        recording = load_empatica(write(tmp_path, files))
    np.testing.assert_array_equal(recording.acc, (ACC[32:] / 64).astype(np.float32))


def test_a_sensor_that_ends_earlier_cuts_the_other_and_is_told(tmp_path):
    files = tables(**{"BVP.csv": ppg_text(samples=PPG[: 64 * 15])})
    with pytest.warns(UserWarning, match=r"PPG of .+ lasts 15\.00 s but acceleration 20\.00 s"):
        recording = load_empatica(write(tmp_path, files))
    assert recording.duration == 15
    assert len(recording.acc) == 15 * 32


def test_sensors_that_do_not_overlap_are_refused(tmp_path):
    files = tables(**{"BVP.csv": ppg_text(START + 100)})
    with pytest.raises(ValueError, match="must overlap in time"):
        load_empatica(write(tmp_path, files))


def test_several_sessions_are_named(tmp_path):
    files = {f"{session}/{name}": text for session in "ab" for name, text in tables().items()}
    packed = write_zip(tmp_path / "two.zip", files)
    for source in (packed, write(tmp_path / "two", files)):
        with pytest.raises(ValueError, match=r"expected one session, got 2 in .+: a, b: load"):
            load_empatica(source)


def test_one_file_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"got BVP\.csv and BVP\.csv\.gz"):
        load_empatica(write(tmp_path, tables(**{"BVP.csv.gz": ppg_text()})))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the writer
        with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
            for name in ("BVP.csv", "ACC.csv", "BVP.csv"):
                archive.writestr(name, tables()[name])
    with pytest.raises(ValueError, match=r"got BVP\.csv and BVP\.csv in"):
        load_empatica(tmp_path / "twice.zip")


def test_missing_places_and_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder_or_zip must exist"):
        load_empatica(tmp_path / "no")
    with pytest.raises(ValueError, match="got neither"):
        load_empatica(tmp_path)
    with pytest.raises(ValueError, match=r"expected BVP\.csv and ACC\.csv .+ got \['BVP\.csv'\]"):
        load_empatica(write(tmp_path, {"BVP.csv": ppg_text()}))


HOSTILE_TABLES = {
    "0 bytes": (b"", "hold a start, a rate and samples, got 0 lines"),
    "header alone": (b"1495437325.00\n64.0\n", "got 2 lines"),
    "text": (b"1495437325.00\n64.0\nhello\n", "a number in each line, got could not convert"),
    "two columns": (b"1495437325.00\n64.0\n1,2\n", "a number in each line"),
    "UTF-16": ("1495437325.00\n64.0\n1.0\n2.0\n".encode("utf-16"), "a number in each line"),
    "no numbers": (b"nan\n64.0\n1\n2\n", "line of the start"),
    "no rate": (b"1495437325.00\n0.0\n1\n2\n", "line of the start"),
    "milliseconds": (b"1495437325000\n64\n1\n2\n", "line of the start"),
    "absurd rate": (b"1495437325.00\n1e300\n1\n2\n", "line of the start"),
    "endless line": (b"1" * (1 << 21), "a line without an end"),
    "binary": (bytes(range(256)) * 99, "a number in each line"),
}


@pytest.mark.parametrize(("content", "message"), HOSTILE_TABLES.values(), ids=HOSTILE_TABLES)
@pytest.mark.parametrize("packing", ["", ".gz"])
def test_a_damaged_table_is_named(tmp_path, content, message, packing):
    files = {f"BVP.csv{packing}": content, "ACC.csv": acc_text()}
    with pytest.raises(ValueError, match=rf"load_empatica: BVP\.csv{packing} must .*{message}"):
        load_empatica(write(tmp_path, files))


def test_a_line_of_acceleration_cut_short_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"ACC\.csv must be text with 3 numbers"):
        load_empatica(write(tmp_path, tables(**{"ACC.csv": acc_text() + "5,1"})))


@pytest.mark.parametrize("keep", [0, 5, 30, 200])
def test_truncated_compression_is_named(tmp_path, keep):
    write(tmp_path, {"ACC.csv": acc_text()})
    (tmp_path / "BVP.csv.gz").write_bytes(gzip.compress(ppg_text().encode())[:keep])
    with pytest.raises(ValueError, match=r"load_empatica: BVP\.csv\.gz must"):
        load_empatica(tmp_path)


def test_a_damaged_zip_is_named(tmp_path):
    whole = write_zip(tmp_path / "S7.zip", tables()).read_bytes()
    damaged = tmp_path / "damaged.zip"
    rng = np.random.default_rng(0)
    n_refused = 0
    for keep in (0, 3, 100, len(whole) // 2, len(whole) - 1):
        damaged.write_bytes(whole[:keep])
        with pytest.raises(ValueError, match=r"damaged\.zip must be"):
            load_empatica(damaged)
    for _ in range(60):
        content = bytearray(whole)
        content[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        damaged.write_bytes(content)
        try:
            load_empatica(damaged)
        except ValueError:
            n_refused += 1
    assert n_refused > 40  # the others hit names and dates that nobody reads


def test_what_decompresses_without_end_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(empatica, "MAX_BYTES", 1 << 22)
    bomb = "1495437325.00\n64.0\n" + "\n" * (1 << 23)
    for source in (
        write_zip(tmp_path / "bomb.zip", tables(**{"BVP.csv": bomb})),
        write(tmp_path / "gz", {"BVP.csv.gz": bomb, "ACC.csv": acc_text()}),
    ):
        with pytest.raises(ValueError, match=r"BVP\.csv.* must be of an E4, at most 4 MiB"):
            load_empatica(source)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_would_unpack_a_block_whole_is_refused(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "S7.zip", "w", method) as archive:
        archive.writestr("BVP.csv", "1495437325.00\n64.0\n" + "0" * (1 << 26))
        archive.writestr("ACC.csv", acc_text())
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"S7\.zip must hold files as they are or deflated"):
            load_empatica(tmp_path / "S7.zip")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1e7


def test_a_zip_that_lies_about_its_sizes_is_refused(tmp_path):
    path = write_zip(tmp_path / "lie.zip", tables(**{"BVP.csv": ppg_text()}))
    content = path.read_bytes()
    size = len(ppg_text()).to_bytes(4, "little")
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, (50).to_bytes(4, "little")))
    with pytest.raises(ValueError, match=r"load_empatica: BVP\.csv must"):
        load_empatica(path)


@pytest.mark.parametrize("name", ["../../BVP.csv", "/etc/BVP.csv", "..\\..\\BVP.csv"])
def test_names_that_lead_out_of_a_zip_are_refused(tmp_path, name):
    path = write_zip(tmp_path / "out.zip", {name: ppg_text(), "ACC.csv": acc_text()})
    with pytest.raises(ValueError, match=r"out\.zip must hold files within itself"):
        load_empatica(path)


def test_an_encrypted_zip_is_named(tmp_path):
    content = bytearray(write_zip(tmp_path / "S7.zip", tables()).read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(mark)
        while place >= 0:
            content[place + flags] |= 1
            place = content.find(mark, place + 1)
    (tmp_path / "S7.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"BVP\.csv must be .+RuntimeError.+encrypted"):
        load_empatica(tmp_path / "S7.zip")


def test_nothing_is_left_open_and_nothing_written(tmp_path):
    folder = write(tmp_path / "S7", tables())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    (tmp_path / "S7.zip").write_bytes(buffer.getvalue())
    before = sorted(tmp_path.rglob("*"))
    load_empatica(folder)
    load_empatica(tmp_path / "S7.zip")
    assert sorted(tmp_path.rglob("*")) == before


def test_all_real_recordings_are_read(pulsehr_data):
    folders = sorted((pulsehr_data / "wesad_e4").glob("S*"))
    assert len(folders) == 15
    hours = 0.0
    for folder in folders:
        recording = load_empatica(folder)
        hours += recording.duration / 3600
        assert recording.subject == folder.name
        assert (recording.ppg_rate, recording.acc_rate) == (64, 32)
        assert 0.9 < np.median(np.linalg.norm(recording.acc, axis=1)) < 1.1
    assert hours == pytest.approx(29.7, abs=0.1)
