"""The MATLAB loaders on small files in the exact formats, written here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from pulsehr.datasets import load_bami, load_folder, load_ieee_spc
from pulsehr.datasets.bami import window_heart_rate

RNG = np.random.default_rng(0)


def write_ieee(folder: Path, name: str, label_name: str, rows: int, n: int = 3000) -> np.ndarray:
    """Write signals of 24 s by default, with their nine labels 100, 101, ...."""
    folder.mkdir(parents=True, exist_ok=True)
    sig = RNG.normal(size=(rows, n))
    savemat(folder / name, {"sig": sig}, do_compression=True)
    n_labels = (n - 1000) // 250 + 1
    savemat(folder / label_name, {"BPM0": 100.0 + np.arange(n_labels)[:, None]})
    return sig


def write_training(folder: Path, stem: str = "DATA_01_TYPE01", **kwargs) -> np.ndarray:
    return write_ieee(folder, f"{stem}.mat", f"{stem}_BPMtrace.mat", 6, **kwargs)


def bami_signals(n: int) -> tuple[np.ndarray, np.ndarray]:
    counts = RNG.integers(30000, 50000, size=(6, n)).astype(np.uint16)
    return counts[:3], counts[3:]


def write_subject(folder: Path, k: int, rr: float = 0.5, seconds: int = 60) -> np.ndarray:
    ppg, acc = bami_signals(50 * seconds)
    beats = np.arange(rr, seconds, rr)
    content = {
        "sigPPG": ppg,
        "sigAcc": acc,
        "sigGyro": acc,
        "timeECG": beats[:, None],
        "bpmECG": np.full((len(beats), 1), 60 / rr),
    }
    savemat(folder / f"Subject_{k}.mat", content)
    return ppg


def write_sibling(folder: Path, name: str, labels: list[float]) -> np.ndarray:
    ppg, acc = bami_signals(50 * (8 + 2 * (len(labels) - 1)))
    content = {
        "rawPPG": ppg,
        "rawAcc": acc,
        "bpm_ecg": np.array(labels)[None],
        "bpm_proposed": np.full((1, len(labels)), 77.0),
        "bpmPPG": np.full((1, len(labels)), 77.0),
    }
    savemat(folder / name, content)
    return ppg


# IEEE SPC 2015 ------------------------------------------------------------------------------


def test_training_file_gives_ppg_acceleration_and_labels_at_the_end_of_their_windows(tmp_path):
    sig = write_training(tmp_path / "Training_data")
    data = load_ieee_spc(tmp_path)
    (recording,) = data.recordings
    np.testing.assert_array_equal(recording.ppg, sig[1].astype(np.float32))
    np.testing.assert_array_equal(recording.acc, sig[3:].T.astype(np.float32))
    assert recording.ppg_rate == recording.acc_rate == 125
    assert [reading.instant for reading in data.X] == [8, 10, 12, 14, 16, 18, 20, 22, 24]
    assert data.y.tolist() == [100, 101, 102, 103, 104, 105, 106, 107, 108]
    assert set(data.groups) == {"ieee_spc_01"}


def test_training_activities_follow_the_protocol(tmp_path):
    write_training(tmp_path, n=125 * 300)
    recording = load_ieee_spc(tmp_path).recordings[0]
    names = recording.activity_at([0, 30, 90, 150, 210, 270])
    assert names.tolist() == ["rest", "slow run", "fast run", "slow run", "fast run", "rest"]


def test_test_file_has_no_ecg_row_and_no_known_activity(tmp_path):
    sig = write_ieee(tmp_path / "TestData", "TEST_S01_T01.mat", "True_S01_T01.mat", 5)
    (tmp_path / "TrueBPM").mkdir()
    labels = tmp_path / "TestData" / "True_S01_T01.mat"
    labels.rename(tmp_path / "TrueBPM" / labels.name)
    data = load_ieee_spc(tmp_path)
    np.testing.assert_array_equal(data.recordings[0].ppg, sig[0].astype(np.float32))
    np.testing.assert_array_equal(data.recordings[0].acc, sig[2:].T.astype(np.float32))
    assert set(data.activity) == {""}
    assert set(data.groups) == {"ieee_spc_S01"}


def test_extra_training_and_test_files_of_one_person_share_the_subject(tmp_path):
    write_ieee(tmp_path / "Extra_TrainingData", "DATA_S04_T01.mat", "BPM_S04_T01.mat", 6)
    write_ieee(tmp_path / "TestData", "TEST_S04_T02.mat", "True_S04_T02.mat", 5)
    write_training(tmp_path / "Training_data", "DATA_04_TYPE02")
    data = load_ieee_spc(tmp_path)
    assert len(data.recordings) == 3
    assert {r.name: r.subject for r in data.recordings} == {
        "ieee_spc_DATA_04_TYPE02": "ieee_spc_04",
        "ieee_spc_DATA_S04_T01": "ieee_spc_S04",
        "ieee_spc_TEST_S04_T02": "ieee_spc_S04",
    }


def test_a_sub_folder_will_do(tmp_path):
    write_training(tmp_path / "Training_data")
    assert len(load_ieee_spc(str(tmp_path / "Training_data")).recordings) == 1


def test_second_ppg_channel_and_mean(tmp_path):
    sig = write_training(tmp_path)
    second = load_ieee_spc(tmp_path, ppg_channel=1).recordings[0]
    np.testing.assert_array_equal(second.ppg, sig[2].astype(np.float32))
    mean = load_ieee_spc(tmp_path, ppg_channel="mean").recordings[0]
    expected = (sig[1] / sig[1].std() + sig[2] / sig[2].std()) / 2
    np.testing.assert_allclose(mean.ppg, expected, rtol=1e-5, atol=1e-6)


def test_rail_samples_stay_as_they_are(tmp_path):
    sig = write_training(tmp_path)
    sig[1, 500:510] = -1024
    savemat(tmp_path / "DATA_01_TYPE01.mat", {"sig": sig})
    assert np.sum(load_ieee_spc(tmp_path).recordings[0].ppg == -1024) == 10


def test_labels_that_are_no_heart_rate_are_left_out(tmp_path):
    write_training(tmp_path)
    labels = np.array([np.nan, 0.0, 100.0, 300.0, 101.0])[:, None]
    savemat(tmp_path / "DATA_01_TYPE01_BPMtrace.mat", {"BPM0": labels})
    data = load_ieee_spc(tmp_path)
    assert [(x.instant, y) for x, y in zip(data.X, data.y, strict=True)] == [(12, 100), (16, 101)]


def test_missing_label_file_is_named(tmp_path):
    write_training(tmp_path)
    (tmp_path / "DATA_01_TYPE01_BPMtrace.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"DATA_01_TYPE01.mat .* DATA_01_TYPE01_BPMtrace"):
        load_ieee_spc(tmp_path)


def test_one_file_in_two_places_is_refused(tmp_path):
    write_training(tmp_path / "a")
    write_training(tmp_path / "b")
    with pytest.raises(ValueError, match=r"expected each file once, got DATA_01_TYPE01.mat in"):
        load_ieee_spc(tmp_path)


# BAMI ---------------------------------------------------------------------------------------


def test_subject_file_gives_turned_ppg_and_acceleration_in_g(tmp_path):
    ppg = write_subject(tmp_path, 1)
    recording = load_bami(tmp_path).recordings[0]
    np.testing.assert_array_equal(recording.ppg, -ppg[0].astype(np.float32))
    third = load_bami(tmp_path, ppg_channel=2).recordings[0]
    np.testing.assert_array_equal(third.ppg, -ppg[2].astype(np.float32))
    assert recording.ppg_rate == recording.acc_rate == 50
    assert recording.activity_at([0, 60, 180]).tolist() == ["rest", "walk", "run"]


def test_one_g_is_4100_counts_above_32768(tmp_path):
    ppg, acc = bami_signals(1000)
    acc[0, :2] = [32768, 32768 + 4100]
    savemat(tmp_path / "BAMI2_1.mat", {"rawPPG": ppg, "rawAcc": acc, "bpm_ecg": [[80.0]]})
    assert load_bami(tmp_path).recordings[0].acc[:2, 0].tolist() == [0, 1]


def test_labels_come_from_the_beats_of_the_lagged_window(tmp_path):
    """60 bpm up to 20 s, 120 bpm after: the median changes when half the beats have."""
    ppg, acc = bami_signals(50 * 60)
    beats = np.concatenate((np.arange(1.0, 20.5), np.arange(20.5, 60, 0.5)))
    bpm = np.where(beats <= 20, 60.0, 120.0)
    content = {"sigPPG": ppg, "sigAcc": acc, "timeECG": beats[:, None], "bpmECG": bpm[:, None]}
    # windows of PPG end `lag` after the windows of beats; at 23 s of beats 5 slow, 6 fast
    for k, lag in {1: 2.5, 5: 11.5, 8: 5.0, 15: -3.0}.items():
        savemat(tmp_path / f"Subject_{k}.mat", content)
        data = load_bami(tmp_path)
        instants = np.array([reading.instant for reading in data.X])
        first_fast = instants[np.argmax(data.y > 90)]
        assert first_fast == 2 * np.ceil((23 + lag) / 2), k
        (tmp_path / f"Subject_{k}.mat").unlink()


def test_window_heart_rate_drops_implausible_intervals_and_sparse_windows():
    beats = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 20.0, 21.0])
    bpm = np.array([60.0, 60.0, 60.0, 300.0, 20.0, 60.0, 60.0])
    rates = window_heart_rate(beats, bpm, np.array([8.0, 9.5, 22.0]))
    np.testing.assert_array_equal(rates, [60.0, np.nan, np.nan])


def test_windows_before_the_first_beats_have_no_label(tmp_path):
    write_subject(tmp_path, 5)  # lag 11.5 s: beats of a window that ends at 8 s are not there
    assert load_bami(tmp_path).X[0].instant == 14


def test_siblings_have_labels_at_the_end_of_their_windows_and_no_estimates(tmp_path):
    write_sibling(tmp_path, "BAMI1_3.mat", [80.0, 81.0, 82.0])
    write_sibling(tmp_path, "BAMI2_3.mat", [90.0, 91.0, 92.0])
    data = load_bami(tmp_path)
    assert [reading.instant for reading in data.X] == [8, 10, 12] * 2
    assert data.y.tolist() == [80, 81, 82, 90, 91, 92]
    assert data.groups.tolist() == ["bami1_03"] * 3 + ["bami2_03"] * 3
    assert set(data.activity) == {""}


@pytest.mark.parametrize(("name", "first"), [("BAMI2_6", 8), ("BAMI2_7", 10), ("BAMI2_12", 10)])
def test_halved_first_labels_of_bami2_are_left_out(tmp_path, name, first):
    write_sibling(tmp_path, f"{name}.mat", [40.0, 80.0, 80.0])
    assert load_bami(tmp_path).X[0].instant == first


def test_trimmed_copy_is_left_out_with_a_warning(tmp_path):
    write_subject(tmp_path, 2)
    write_sibling(tmp_path, "BAMI1_2.mat", [80.0, 81.0])
    write_sibling(tmp_path, "BAMI1_3.mat", [80.0, 81.0])
    with pytest.warns(UserWarning, match=r"left out BAMI1_2.mat: trimmed copies"):
        data = load_bami(tmp_path)
    assert [r.subject for r in data.recordings] == ["bami1_03", "bami1_02"]
    assert [r.name for r in data.recordings] == ["bami_BAMI1_3", "bami_Subject_2"]


def test_recordings_come_in_the_order_of_their_numbers(tmp_path):
    for k in (10, 2, 1):
        write_subject(tmp_path, k)
    assert [r.subject for r in load_bami(tmp_path).recordings] == [
        "bami1_01",
        "bami1_02",
        "bami1_10",
    ]


# errors of both -----------------------------------------------------------------------------

LOADERS = [load_ieee_spc, load_bami, load_folder]


@pytest.mark.parametrize("load", LOADERS)
def test_missing_folder(tmp_path, load):
    with pytest.raises(FileNotFoundError, match=rf"{load.__name__}: folder must exist, got .*none"):
        load(tmp_path / "none")


@pytest.mark.parametrize("load", LOADERS)
def test_folder_that_is_a_file(tmp_path, load):
    (tmp_path / "x").touch()
    with pytest.raises(NotADirectoryError, match=r"folder must be a folder, got the file"):
        load(tmp_path / "x")


@pytest.mark.parametrize(
    ("load", "names"),
    [
        (load_ieee_spc, "DATA_<xx>_TYPE<yy>.mat"),
        (load_bami, "Subject_<k>.mat"),
        (load_folder, "IEEE SPC 2015: .*BAMI: Subject_<k>.mat"),
    ],
)
def test_folder_without_the_data_set_says_what_was_looked_for(tmp_path, load, names):
    (tmp_path / "notes.mat").touch()
    with pytest.raises(ValueError, match=rf"{load.__name__}: expected .*{names}.*got none below"):
        load(tmp_path)


@pytest.mark.parametrize("channel", [2, -1, "first", None, True])
def test_unknown_ppg_channel(tmp_path, channel):
    with pytest.raises(ValueError, match=rf"ppg_channel must be 0, 1 or 'mean', got {channel!r}"):
        load_ieee_spc(tmp_path, ppg_channel=channel)


@pytest.mark.parametrize("kept", [0.5, 0.0])
def test_truncated_file_is_named(tmp_path, kept):
    write_training(tmp_path)
    path = tmp_path / "DATA_01_TYPE01.mat"
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=r"DATA_01_TYPE01.mat must be a MATLAB file, got one that"):
        load_ieee_spc(tmp_path)


def test_file_that_is_no_matlab_file_is_named(tmp_path):
    (tmp_path / "Subject_1.mat").write_bytes(b"<html>404 Not Found</html>" * 50)
    with pytest.raises(ValueError, match=r"Subject_1.mat must be a MATLAB file"):
        load_bami(tmp_path)


def test_version_7_3_says_how_to_save_again(tmp_path):
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400)
    (tmp_path / "Subject_1.mat").write_bytes(header)
    with pytest.raises(ValueError, match=r"Subject_1.mat .* got version 7.3 \(HDF5\): save it"):
        load_bami(tmp_path)


def test_other_layout_says_what_was_expected_and_what_came(tmp_path):
    write_training(tmp_path)
    savemat(tmp_path / "DATA_01_TYPE01.mat", {"sig": np.zeros((4, 100))})
    with pytest.raises(
        ValueError, match=r"must hold numeric 'sig' \(6 or 5, n\), got 'sig' float64 \(4, 100\)"
    ):
        load_ieee_spc(tmp_path)
    savemat(tmp_path / "Subject_1.mat", {"ppg": np.zeros((3, 100))})
    with pytest.raises(ValueError, match=r"must hold numeric 'sigPPG' \(3, n\).*got none of them"):
        load_bami(tmp_path)
    savemat(tmp_path / "Subject_1.mat", {"sigPPG": "text"})
    with pytest.raises(ValueError, match=r"must hold numeric 'sigPPG'.*got 'sigPPG' char \(1, 4\)"):
        load_bami(tmp_path)


def test_beats_and_rates_of_different_length(tmp_path):
    ppg, acc = bami_signals(1000)
    content = {"sigPPG": ppg, "sigAcc": acc, "timeECG": np.ones(5), "bpmECG": np.ones(4)}
    savemat(tmp_path / "Subject_1.mat", content)
    with pytest.raises(ValueError, match=r"timeECG and bpmECG of equal length, got 5 and 4"):
        load_bami(tmp_path)


# load_folder --------------------------------------------------------------------------------


def test_load_folder_pools_what_it_finds(tmp_path):
    write_training(tmp_path / "spc" / "Training_data")
    (tmp_path / "bami").mkdir()
    write_subject(tmp_path / "bami", 1)
    assert set(load_folder(tmp_path).groups) == {"ieee_spc_01", "bami1_01"}
    assert set(load_folder(tmp_path / "bami").groups) == {"bami1_01"}
