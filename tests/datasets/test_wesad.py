"""WESAD from files in the exact layout, written here, with beats that are known."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from python2_pickles import write_python2_pickle
from wesad_files import subject_content, write_subject

from pulsehr import PPGWindower
from pulsehr.datasets import _ecg, load_folder, load_wesad, wesad


def test_signals_units_and_states_are_those_of_the_file(tmp_path):
    path = write_subject(tmp_path, 2)
    content = pickle.loads(path.read_bytes(), encoding="latin1")
    data = load_wesad(tmp_path)
    (recording,) = data.recordings
    wrist = content["signal"]["wrist"]
    np.testing.assert_array_equal(recording.ppg, wrist["BVP"][:, 0].astype(np.float32))
    np.testing.assert_array_equal(recording.acc, (wrist["ACC"] / 64).astype(np.float32))
    assert (recording.ppg_rate, recording.acc_rate) == (64, 32)
    assert set(data.groups) == {"wesad_S2"}
    times = np.arange(0, 60, 0.5)
    states = np.array(wesad.STATES)[content["label"][(times * 700).astype(int)]]
    np.testing.assert_array_equal(recording.activity_at(times), states)


def test_labels_are_the_rate_of_the_beats_in_the_ecg(tmp_path):
    write_subject(tmp_path, 2, beats=np.arange(0.4, 59.7, 0.8))
    data = load_wesad(tmp_path)
    assert [reading.instant for reading in data.X] == list(range(8, 61, 2))
    np.testing.assert_allclose(data.y, 75, atol=0.1)


def test_a_label_and_its_window_are_of_the_same_eight_seconds(tmp_path):
    """Rate and PPG change at 30 s: labels and windows are mixed at 32 to 36 s only."""
    beats = np.concatenate([np.arange(0.0, 30.0, 1.0), np.arange(30.0, 59.7, 0.6)])
    bvp = np.where(np.arange(60 * 64) < 30 * 64, -1.0, 1.0)[:, None]
    write_subject(tmp_path, 2, beats=beats[1:], BVP=bvp)
    data = load_wesad(tmp_path)
    windows = PPGWindower(sampling_rate=64, normalize=None).fit_transform(data.X)[:, 0]
    for reading, rate, window in zip(data.X, data.y, windows, strict=True):
        share = np.mean(window[20:-20] > 0)  # away from what the filter looks at beyond the border
        if reading.instant <= 30:
            assert share == 0
            assert rate == pytest.approx(60, abs=0.2)
        elif reading.instant >= 38:
            assert share == 1
            assert rate == pytest.approx(100, abs=0.4)
        else:
            assert 0 < share < 1
            assert 61 < rate < 99


def test_both_recipes_are_told_apart_by_name(tmp_path):
    """RR of 0.7 and 0.9 s in turn: mean of 60/RR is 76.2, 60 over the mean RR is 75."""
    beats = 0.5 + np.cumsum(np.tile([0.7, 0.9], 36))
    write_subject(tmp_path, 2, beats=beats)
    np.testing.assert_allclose(load_wesad(tmp_path).y, 30 / 0.7 + 30 / 0.9, atol=0.7)
    assert load_wesad(tmp_path).y.mean() == pytest.approx(30 / 0.7 + 30 / 0.9, abs=0.1)
    assert load_wesad(tmp_path, labels="mean_rr").y.mean() == pytest.approx(75, abs=0.1)
    with pytest.raises(ValueError, match=r"labels must be one of \['mean_rate', 'mean_rr'\]"):
        load_wesad(tmp_path, labels="median")


def test_windows_without_a_label_are_counted_with_their_reason(tmp_path):
    beats = np.arange(0.4, 59.7, 0.8)
    write_subject(tmp_path, 2, beats=beats)
    write_subject(tmp_path, 3, beats=beats[(beats < 20) | (beats > 40)])
    with pytest.warns(UserWarning, match=r"no label: \d+ with fewer .+\(S3 \d+ of 27\)") as caught:
        data = load_wesad(tmp_path)
    assert len(caught) == 1
    missing = [
        len(recording.readings()) - len(recording.labelled_readings())
        for recording in data.recordings
    ]
    assert missing[0] == 0
    assert f"{missing[1]} of 54 windows have no label" in str(caught[0].message)
    np.testing.assert_allclose(data.y, 75, atol=0.2)


def test_the_folder_may_be_either_level_and_subjects_come_in_order(tmp_path):
    for n in (10, 2):
        write_subject(tmp_path, n, seconds=20)
    for data in (load_wesad(tmp_path), load_wesad(tmp_path / "WESAD"), load_folder(tmp_path)):
        assert [r.subject for r in data.recordings] == ["wesad_S2", "wesad_S10"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subject": "S3"}, "must be of subject 'S2', got one that says it is of 'S3'"),
        ({"label": np.full(42000, 8)}, "must hold states 0 to 7, got others"),
        ({"label": None}, r"must hold a numeric 'label' \(n, 1\), got none"),
        ({"signal": {}}, r"must hold a numeric 'signal/wrist/BVP' \(n, 1\), got none"),
        ({"ACC": np.ones((1920, 2))}, r"'signal/wrist/ACC' \(n, 3\), got float64 \(1920, 2\)"),
        ({"ECG": np.zeros((42000, 1))}, "must hold an ECG that is finite and not constant"),
        ({"ECG": np.full((42000, 1), np.nan)}, "must hold an ECG that is finite"),
        ({"ECG": np.arange(3.0)}, "must hold an ECG with beats, but NeuroKit2 finds none"),
        ({"BVP": np.arange(900.0)}, "must hold PPG at 64 Hz and acceleration at 32 Hz"),
    ],
)
def test_files_of_another_content_are_refused_and_named(tmp_path, changes, message):
    write_subject(tmp_path, 2, **changes)
    with pytest.raises(
        ValueError, match=rf"load_wesad: S2\.pkl must .*{message.removeprefix('must ')}"
    ):
        load_wesad(tmp_path)


def test_chest_and_wrist_of_different_times_are_refused(tmp_path):
    content = subject_content(2, seconds=60)
    content["signal"]["wrist"] = subject_content(2, seconds=30)["signal"]["wrist"]
    write_python2_pickle(tmp_path / "WESAD" / "S2" / "S2.pkl", content)
    with pytest.raises(ValueError, match=r"of the same time, got 30 s and 60 s"):
        load_wesad(tmp_path)


def test_a_hostile_file_is_refused_and_not_run(tmp_path):
    path = tmp_path / "WESAD" / "S2" / "S2.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"cos\nsystem\n(S'touch " + bytes(tmp_path / "run") + b"'\ntR.")
    with pytest.raises(ValueError, match=r"load_wesad: S2\.pkl asks for .*os\.?system"):
        load_wesad(tmp_path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("keep", [0, 1, 100, 100_000])
def test_a_file_cut_short_is_named(tmp_path, keep):
    path = write_subject(tmp_path, 2, seconds=20)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"load_wesad: S2\.pkl"):
        load_wesad(tmp_path, cache=tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*"))


def test_the_cache_holds_the_beats_for_both_recipes(tmp_path, monkeypatch):
    write_subject(tmp_path, 2)
    first = load_wesad(tmp_path, cache=tmp_path / "cache")
    monkeypatch.setattr(wesad, "read_pickle", None)
    monkeypatch.setitem(sys.modules, "neurokit2", None)
    second = load_wesad(tmp_path, cache=tmp_path / "cache")
    np.testing.assert_array_equal(first.y, second.y)
    np.testing.assert_array_equal(first.activity, second.activity)
    for name in ("ppg", "acc"):
        np.testing.assert_array_equal(
            getattr(first.recordings[0], name), getattr(second.recordings[0], name)
        )
    other = load_wesad(tmp_path, labels="mean_rr", cache=tmp_path / "cache")
    np.testing.assert_allclose(other.y, first.y, atol=0.1)


def test_without_neurokit_it_is_said_what_to_install(tmp_path, monkeypatch):
    write_subject(tmp_path, 2, seconds=20)
    monkeypatch.setitem(sys.modules, "neurokit2", None)
    with pytest.raises(ImportError, match=r'needs neurokit2, .+ pip install "pulsehr\[data\]"'):
        load_wesad(tmp_path)


def test_a_folder_without_the_files_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"expected files WESAD/S<k>/S<k>\.pkl, got none in"):
        load_wesad(tmp_path)
    assert _ecg.RATE_RANGE == (35.0, 220.0)
