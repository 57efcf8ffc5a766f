"""PPG-DaLiA from files in the exact layout, written here."""

from __future__ import annotations

import pickle
import shutil
import tracemalloc
import warnings

import numpy as np
import pytest
from ppg_dalia_files import subject_content, write_subject
from python2_pickles import write_python2_pickle

from pulsehr import PPGWindower
from pulsehr.datasets import load_folder, load_ppg_dalia
from pulsehr.datasets.ppg_dalia import ACTIVITIES


@pytest.mark.parametrize("protocol", [0, 2])
def test_signals_labels_and_activities_are_those_of_the_file(tmp_path, protocol):
    path = write_subject(tmp_path, 3, protocol=protocol)
    content = pickle.loads(path.read_bytes(), encoding="latin1")
    data = load_ppg_dalia(tmp_path)
    (recording,) = data.recordings
    wrist = content["signal"]["wrist"]
    np.testing.assert_array_equal(recording.ppg, wrist["BVP"][:, 0].astype(np.float32))
    np.testing.assert_array_equal(recording.acc, wrist["ACC"].astype(np.float32))
    assert (recording.ppg_rate, recording.acc_rate) == (64, 32)
    np.testing.assert_array_equal(data.y, content["label"])
    np.testing.assert_array_equal([r.instant for r in data.X], 8.0 + 2.0 * np.arange(27))
    assert set(data.groups) == {"ppg_dalia_S3"}
    codes = content["activity"][:, 0].astype(int)
    np.testing.assert_array_equal(
        recording.activity_at(np.arange(240) / 4), np.array(ACTIVITIES)[codes]
    )


def test_the_window_of_a_label_is_its_eight_seconds(tmp_path):
    bvp = np.arange(60.0 * 64)[:, None]
    write_subject(tmp_path, 1, BVP=bvp)
    data = load_ppg_dalia(tmp_path)
    k = 5
    window = PPGWindower(sampling_rate=64, normalize=None).fit_transform(data.X)[k, 0]
    np.testing.assert_allclose(window, bvp[2 * k * 64 : (2 * k + 8) * 64, 0], atol=1e-2)


def test_the_folder_may_be_either_level_and_subjects_come_in_the_order_of_their_numbers(tmp_path):
    for n in (10, 2, 1):
        write_subject(tmp_path / "download", n)
    expected = ["ppg_dalia_S1", "ppg_dalia_S2", "ppg_dalia_S10"]
    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "download" / "PPG_FieldStudy", moved)
    for folder in (tmp_path / "download", tmp_path / "download" / "PPG_FieldStudy", moved):
        assert [r.subject for r in load_ppg_dalia(folder).recordings] == expected
    assert [r.subject for r in load_folder(tmp_path).recordings] == expected


def test_samples_of_the_chest_never_take_memory(tmp_path):
    write_subject(tmp_path, 1, seconds=120)
    path = tmp_path / "PPG_FieldStudy" / "S1" / "S1.pkl"
    tracemalloc.start()
    try:
        load_ppg_dalia(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < path.stat().st_size / 4


def test_labels_after_the_end_of_a_recording_cut_short_are_left_out_with_a_warning(tmp_path):
    write_subject(tmp_path, 6, label=np.full(100, 80.0))
    with pytest.warns(UserWarning, match=r"S6\.pkl: 73 labels lie after the end of the signals"):
        data = load_ppg_dalia(tmp_path)
    assert len(data.X) == 27


def test_windows_without_labels_are_told(tmp_path):
    write_subject(tmp_path, 2, label=np.full(25, 80.0))
    with pytest.warns(UserWarning, match=r"S2\.pkl: the last 2 windows .* have no label"):
        data = load_ppg_dalia(tmp_path)
    assert len(data.X) == 25


def test_signals_that_do_not_end_together_are_cut_with_a_warning(tmp_path):
    acc = np.random.default_rng(0).normal(size=(58 * 32, 3))
    write_subject(tmp_path, 2, ACC=acc)
    with (
        pytest.warns(UserWarning, match="PPG ends at 60 s, acceleration at 58 s: the rest is left"),
        pytest.warns(UserWarning, match="1 labels lie after the end of the signals"),
    ):
        data = load_ppg_dalia(tmp_path)
    assert data.recordings[0].duration == 58


def test_activities_that_end_early_are_told(tmp_path):
    write_subject(tmp_path, 2, activity=np.ones((160, 1)))
    with pytest.warns(UserWarning, match="activities end at 40 s and signals at 60 s"):
        load_ppg_dalia(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": np.full(50, 80.0)}, r"a label every 2 s, 27 for its 60 s of signals, got 50"),
        ({"label": np.full(20, 80.0)}, r"a label every 2 s, 27 for its 60 s of signals, got 20"),
        ({"label": None}, r"a numeric 'label' \(n, 1\), got none$"),
        ({"activity": None}, r"a numeric 'activity' \(n, 1\), got none: WESAD"),
        ({"activity": np.full((240, 1), 9)}, r"must hold activities 0 to 8, got others"),
        ({"activity": np.full((240, 1), 1.5)}, r"must hold activities 0 to 8, got others"),
        ({"activity": np.full((240, 1), np.nan)}, r"must hold activities 0 to 8, got others"),
        ({"subject": "S4"}, r"must be of subject 'S2', got one that says it is of 'S4'"),
        ({"subject": None}, r"must be of subject 'S2', got one that says it is of 'None'"),
        ({"BVP": np.zeros((3840, 2))}, r"'signal/wrist/BVP' \(n, 1\), got float64 \(3840, 2\)"),
        ({"BVP": np.zeros((0, 1))}, r"'signal/wrist/BVP' \(n, 1\), got float64 \(0, 1\)"),
        ({"ACC": np.zeros((3, 1920))}, r"'signal/wrist/ACC' \(n, 3\), got float64 \(3, 1920\)"),
        ({"ACC": "none"}, r"'signal/wrist/ACC' \(n, 3\), got none"),
        ({"ACC": np.ones((900, 3))}, r"of the same time, got 60 s and 28\.125 s"),
        ({"BVP": np.ones((3840, 1))}, r"Recording 'ppg_dalia_S2': ppg"),
        ({"BVP": np.full((3840, 1), np.inf)}, r"Recording 'ppg_dalia_S2': ppg"),
        ({"label": np.full(27, 300.0)}, r"Recording 'ppg_dalia_S2': heart_rate .* got 300"),
    ],
)
def test_files_of_another_content_are_refused_and_named(tmp_path, changes, message):
    write_subject(tmp_path, 2, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        load_ppg_dalia(tmp_path)
    assert "S2" in str(caught.value)


def test_other_things_than_a_dict_of_signals_are_refused(tmp_path):
    path = tmp_path / "PPG_FieldStudy" / "S1" / "S1.pkl"
    for content in ([1, 2], {"subject": "S1", "signal": 3}, {"subject": "S1"}):
        write_python2_pickle(path, content)
        with pytest.raises(ValueError, match=r"load_ppg_dalia: S1\.pkl must"):
            load_ppg_dalia(tmp_path)


def test_a_subject_in_two_places_is_refused(tmp_path):
    write_subject(tmp_path / "a", 1)
    write_subject(tmp_path / "b", 1)
    with pytest.raises(ValueError, match=r"expected each file once, got S1\.pkl in .*a.* and .*b"):
        load_ppg_dalia(tmp_path)


def test_a_folder_without_the_files_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"expected files PPG_FieldStudy/S<k>/S<k>\.pkl, got none"):
        load_ppg_dalia(tmp_path)
    with pytest.raises(FileNotFoundError, match="load_ppg_dalia: folder must exist"):
        load_ppg_dalia(tmp_path / "nowhere")


def test_a_hostile_file_is_refused(tmp_path):
    path = write_subject(tmp_path, 1)
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ValueError, match=r"load_ppg_dalia: S1\.pkl asks for the global 'os\.sys"):
        load_ppg_dalia(tmp_path)


# The cache ----------------------------------------------------------------------------------


def equal(a, b) -> bool:
    fields = ("ppg", "acc", "heart_rate", "heart_rate_times", "activity", "activity_times")
    return all(
        np.array_equal(getattr(r, name), getattr(s, name))
        and getattr(r, name).dtype == getattr(s, name).dtype
        for r, s in zip(a.recordings, b.recordings, strict=True)
        for name in fields
    )


def test_the_cache_gives_the_same_recordings_without_the_large_files_being_read(
    tmp_path, monkeypatch
):
    for n in (1, 2):
        write_subject(tmp_path, n)
    plain = load_ppg_dalia(tmp_path)
    first = load_ppg_dalia(tmp_path, cache=tmp_path / "cache" / "inner")
    monkeypatch.setattr("pulsehr.datasets.ppg_dalia.read_pickle", None)
    second = load_ppg_dalia(tmp_path, cache=tmp_path / "cache" / "inner")
    assert equal(plain, first)
    assert equal(plain, second)
    assert sorted(path.name for path in (tmp_path / "cache" / "inner").iterdir()) == [
        "ppg_dalia_S1.npz",
        "ppg_dalia_S2.npz",
    ]


def test_warnings_of_a_file_come_from_the_cache_as_well(tmp_path):
    write_subject(tmp_path, 6, label=np.full(100, 80.0))
    for _ in range(2):
        with pytest.warns(UserWarning, match="73 labels lie after the end"):
            load_ppg_dalia(tmp_path, cache=tmp_path / "cache")


def test_a_file_that_changed_is_read_again(tmp_path):
    cache = tmp_path / "cache"
    write_subject(tmp_path, 1)
    load_ppg_dalia(tmp_path, cache=cache)
    content = subject_content(1)
    content["label"] = content["label"] + 1
    write_python2_pickle(tmp_path / "PPG_FieldStudy" / "S1" / "S1.pkl", content)
    np.testing.assert_array_equal(load_ppg_dalia(tmp_path, cache=cache).y, content["label"])


def test_a_file_that_is_cut_is_noticed_in_spite_of_the_cache(tmp_path):
    path = write_subject(tmp_path, 1)
    load_ppg_dalia(tmp_path, cache=tmp_path / "cache")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"S1\.pkl must be a pickle of numpy arrays"):
        load_ppg_dalia(tmp_path, cache=tmp_path / "cache")


def test_no_cache_writes_nothing(tmp_path):
    write_subject(tmp_path, 1)
    before = sorted(tmp_path.rglob("*"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_ppg_dalia(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
