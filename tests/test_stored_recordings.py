"""Recordings on disk are read by the slice, and give the windows of those in memory."""

from __future__ import annotations

import dataclasses
import os
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pulsehr import PPGWindower, Reading, Recording, _signals
from pulsehr._resampling import GAP, resample_at
from pulsehr._stored import StoredSignal, stored

RATES = {"ppg_rate": 64.0, "acc_rate": 50.0, "subject": "S1"}


@pytest.fixture
def signals():
    rng = np.random.default_rng(0)
    ppg = 2048 + 100 * np.sin(np.arange(64 * 200) / 9) + rng.normal(size=64 * 200)
    return ppg.astype(np.float32), rng.normal(scale=0.4, size=(50 * 200, 3)).astype(np.float32)


def on_disk(folder, name, array, **options):
    np.save(folder / f"{name}.npy", array, **options)
    return np.load(folder / f"{name}.npy", mmap_mode="r")


def zarr_array(folder, name, array, missing):
    try:
        import zarr
    except ImportError:
        missing("there is no zarr: pip install zarr")
    target = zarr.create_array(
        str(folder / f"{name}.zarr"),
        shape=array.shape,
        dtype=array.dtype,
        chunks=tuple(min(n, 1000) for n in array.shape),
    )
    target[...] = array
    return zarr.open_array(str(folder / f"{name}.zarr"), mode="r")


LAYOUTS = {
    "float32": lambda folder, a: on_disk(folder, "a", a),
    "float64": lambda folder, a: on_disk(folder, "a", a.astype(np.float64)),
    "big-endian": lambda folder, a: on_disk(folder, "a", a.astype(">f4")),
    "transposed": lambda folder, a: on_disk(folder, "a", np.ascontiguousarray(a.T)),
    "fortran": lambda folder, a: on_disk(folder, "a", np.asfortranarray(a)),
    "view": lambda folder, a: on_disk(folder, "a", np.repeat(np.r_[a[:77], a], 2, axis=0))[154::2],
    "reversed": lambda folder, a: on_disk(folder, "a", a[::-1])[::-1],
    "record": lambda folder, a: on_disk(
        folder,
        "a",
        np.array([(7, row) for row in a], dtype=[("k", "i2"), ("a", "f4", a.shape[1:])]),
    )["a"],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("ndim", [1, 2])
def test_slices_of_a_mapped_file_are_those_of_the_array(tmp_path, signals, layout, ndim):
    array = signals[ndim - 1][:3001]
    mapped = LAYOUTS[layout](tmp_path, array)
    assert isinstance(mapped, np.memmap)
    signal = stored(mapped, ndim)
    assert isinstance(signal, StoredSignal)
    assert (signal.shape, signal.ndim, signal.dtype) == (array.shape, ndim, np.float32)
    for rows in (
        *(slice(None), slice(5, 9), slice(-3, None), slice(9, 5), slice(7, 2000, 13)),
        *(slice(None, None, -1), slice(2000, 7, -3), slice(5, 9, -1), 0, -1, 17),
    ):
        np.testing.assert_array_equal(signal[rows], array[rows], strict=True)
    np.testing.assert_array_equal(np.asarray(signal), array, strict=True)
    assert np.asarray(signal, dtype=np.float64).dtype == np.float64
    with pytest.raises(IndexError):
        signal[3001]
    with pytest.raises(TypeError, match=r"expected a slice of samples, got \[1\]"):
        signal[[1]]
    with pytest.raises(ValueError, match="its samples are on disk"):
        np.asarray(signal, copy=False)


def test_integers_on_disk_are_the_numbers_they_say(tmp_path, signals):
    counts = np.round(signals[0]).astype(np.uint16)
    recording = Recording(ppg=on_disk(tmp_path, "ppg", counts), ppg_rate=64, subject="S1")
    assert recording.ppg[:9].dtype == np.float32
    np.testing.assert_array_equal(np.asarray(recording.ppg), counts)


def test_a_zarr_array_stays_where_it_is(tmp_path, signals, missing):
    ppg, acc = signals
    recording = Recording(
        ppg=zarr_array(tmp_path, "ppg", ppg, missing),
        acc=zarr_array(tmp_path, "acc", np.ascontiguousarray(acc.T), missing),
        **RATES,
    )
    assert isinstance(recording.ppg, StoredSignal)
    assert recording.acc.shape == acc.shape
    np.testing.assert_array_equal(recording.acc[100:2100], acc[100:2100])
    restored = pickle.loads(pickle.dumps(recording))
    np.testing.assert_array_equal(np.asarray(restored.ppg), ppg)
    os.rename(tmp_path / "ppg.zarr", tmp_path / "elsewhere.zarr")
    # zarr itself would read zeros
    with pytest.raises(FileNotFoundError, match=r"ppg\.zarr: the zarr array .* is not there"):
        PPGWindower().fit_transform(restored.readings())


@pytest.mark.parametrize("mode", ["r+", "c"])
def test_maps_through_which_somebody_may_write_are_copied(tmp_path, signals, mode):
    np.save(tmp_path / "ppg.npy", signals[0])
    mapped = np.load(tmp_path / "ppg.npy", mmap_mode=mode)
    recording = Recording(ppg=mapped, ppg_rate=64, subject="S1")
    mapped[0] = 99
    assert recording.ppg[0] == signals[0][0]
    assert isinstance(recording.ppg, np.ndarray)


@pytest.mark.parametrize("rows", [np.s_[:], np.s_[5:-7]])
@pytest.mark.parametrize("rate", [25.0, 32.0, 64.0, 100.0])
def test_resampling_reads_only_what_it_needs_and_the_same_bits(tmp_path, signals, rows, rate):
    rng = np.random.default_rng(1)
    acc = signals[1][rows]
    on = on_disk(tmp_path, "acc", acc)
    signal = stored(on, 2)
    gap = (GAP + 50) / 50.0
    for times in (
        rng.uniform(-3, 203, size=(40, 7)),
        np.arange(0, 200, 2.5 * gap)[:, None] - np.arange(64) / 32,
        np.array([[3.0]]),
    ):
        np.testing.assert_array_equal(
            resample_at(signal, 50.0, times, rate), resample_at(acc, 50.0, times, rate)
        )


@pytest.mark.parametrize("layout", ["C", "F", "rows"])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"normalize": None},
        {"normalize": "channel"},
        {"bandpass": (0.4, 4.0)},
        {"padding": "reflect", "window": 15.0},
        {"sampling_rate": 50.0},
    ],
)
def test_windows_from_disk_are_those_from_memory(tmp_path, signals, layout, parameters):
    ppg, acc = signals
    acc = {"C": acc, "F": np.asfortranarray(acc), "rows": np.ascontiguousarray(acc.T)}[layout]
    memory = Recording(ppg=ppg, acc=acc, **RATES)
    disk = Recording(ppg=on_disk(tmp_path, "p", ppg), acc=on_disk(tmp_path, "a", acc), **RATES)
    instants = np.random.default_rng(0).uniform(15, 200, size=50)
    windower = PPGWindower(**parameters)
    expected = windower.fit_transform([Reading(memory, t) for t in instants])
    np.testing.assert_array_equal(
        windower.fit_transform([Reading(disk, t) for t in instants]), expected
    )


class Counting:
    """An array on disk that counts the samples that are read."""

    def __init__(self, array):
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype
        self.n_read, self.most = 0, 0

    def __getitem__(self, rows):
        part = self._array[rows]
        self.n_read += part.size
        self.most = max(self.most, part.size)
        return part


def test_validation_and_random_rows_never_read_a_recording_whole(monkeypatch):
    monkeypatch.setattr(_signals, "BLOCK_SAMPLES", 5000)
    hour = 3600
    ppg = Counting(np.sin(np.arange(100 * hour * 8) / 3).astype(np.float32))
    recording = Recording(ppg=ppg, ppg_rate=8, subject="S1")
    assert ppg.n_read == ppg.shape[0]  # once
    assert ppg.most == 5000
    ppg.n_read = 0
    instants = np.random.default_rng(0).uniform(8, 100 * hour, size=20)
    PPGWindower(sampling_rate=8).fit_transform([Reading(recording, t) for t in instants])
    assert 20 * 64 <= ppg.n_read <= 20 * (64 + 2 * 7)


def test_opening_a_recording_takes_memory_that_does_not_grow_with_it(tmp_path):
    peaks = []
    for n_samples in (1_000_000, 4_000_000):
        ppg = np.lib.format.open_memmap(
            tmp_path / f"{n_samples}.npy", "w+", np.float32, (n_samples,)
        )
        ppg[:] = np.arange(n_samples) % 1000
        ppg.flush()
        del ppg
        mapped = np.load(tmp_path / f"{n_samples}.npy", mmap_mode="r")
        tracemalloc.start()
        recording = Recording(ppg=mapped, ppg_rate=64, subject="S1")
        PPGWindower().fit_transform([Reading(recording, 8.0)])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < 4_000_000  # a quarter of the signal


def test_a_pickle_holds_where_the_samples_are(tmp_path, signals):
    mapped = on_disk(tmp_path, "ppg", np.tile(signals[0], 50))
    recording = Recording(ppg=mapped, ppg_rate=64, subject="S1")
    pickled = pickle.dumps(recording.readings(stride=500))
    assert len(pickled) < 2000
    restored = pickle.loads(pickled)[3].recording
    np.testing.assert_array_equal(restored.ppg[1000:1010], mapped[1000:1010])


def test_a_recording_may_be_made_from_the_signals_of_another(tmp_path, signals):
    recording = Recording(ppg=on_disk(tmp_path, "ppg", signals[0]), ppg_rate=64, subject="S1")
    renamed = dataclasses.replace(recording, subject="S2")
    assert renamed.ppg is recording.ppg


def test_a_file_that_is_gone_or_changed_is_named(tmp_path, signals):
    recording = Recording(ppg=on_disk(tmp_path, "ppg", signals[0]), ppg_rate=64, subject="S1")
    pickled = pickle.dumps(recording.readings())
    path = tmp_path / "ppg.npy"
    content = path.read_bytes()
    path.unlink()
    readings = pickle.loads(pickled)
    with pytest.raises(FileNotFoundError, match=r"ppg\.npy: the file with the samples .*not there"):
        PPGWindower().fit_transform(readings)
    path.write_bytes(content[:-4])
    with pytest.raises(ValueError, match=r"ppg\.npy: the file changed after its Recording"):
        PPGWindower().fit_transform(readings)
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    with pytest.raises(ValueError, match=r"ppg\.npy: the file changed after its Recording"):
        PPGWindower().fit_transform(readings)


def test_samples_on_disk_that_became_nan_are_an_error(signals):
    ppg = Counting(signals[0].copy())
    recording = Recording(ppg=ppg, ppg_rate=64, subject="S1")
    ppg._array[64 * 20] = np.nan
    readings = recording.readings()
    windower = PPGWindower().fit(readings)
    assert np.isfinite(windower.transform(readings[:3])).all()
    with pytest.raises(ValueError, match="'S1' has NaN or infinite samples on disk before 20"):
        windower.transform(readings)


@pytest.mark.parametrize("block", [100, 1 << 18])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ppg: np.r_[ppg[:400], -np.inf, ppg[400:], np.inf], r"got 2 infi.*index \[400\]"),
        (lambda ppg: ppg * np.nan, "ppg holds no sample, all 12800 are NaN"),
        (lambda ppg: np.ones(5000), "ppg is constant"),
        (lambda ppg: ppg[:, None], r"ppg must have shape \(n_samples,\), got \(12800, 1\)"),
        (lambda ppg: ppg * 1e300, "ppg must be finite"),
    ],
)
def test_bad_signals_on_disk_are_refused(tmp_path, signals, monkeypatch, change, message, block):
    monkeypatch.setattr(_signals, "BLOCK_SAMPLES", block)
    mapped = on_disk(tmp_path, "ppg", change(signals[0].astype(np.float64)))
    with pytest.raises(ValueError, match=f"Recording 'S1': .*{message}"):
        Recording(ppg=mapped, ppg_rate=64, subject="S1")


def test_text_and_wrong_units_on_disk_are_met_as_in_memory(tmp_path, signals):
    ppg, acc = signals
    with pytest.raises(TypeError, match="ppg must be numeric, got values of type <U32"):
        Recording(ppg=on_disk(tmp_path, "text", ppg.astype(str)), ppg_rate=64, subject="S1")
    with pytest.warns(UserWarning, match="acc has a median length of"):
        Recording(ppg=ppg, acc=on_disk(tmp_path, "acc", acc * 9.81 + 9), **RATES)


def test_an_axis_that_is_constant_on_disk_is_named(tmp_path, signals, monkeypatch):
    monkeypatch.setattr(_signals, "BLOCK_SAMPLES", 999)
    acc = on_disk(tmp_path, "acc", signals[1] * np.float32([1, 0, 1]))
    with pytest.raises(ValueError, match="acc axis y is constant"):
        Recording(ppg=signals[0], acc=acc, **RATES)


def test_repr_says_where_the_samples_are(tmp_path, signals):
    recording = Recording(ppg=on_disk(tmp_path, "ppg", signals[0]), ppg_rate=64, subject="S1")
    assert repr(recording) == "Recording('S1': 200.0 s, PPG 64 Hz, no acceleration, no labels)"
    assert repr(recording.ppg) == f"StoredSignal((12800,) in {Path(tmp_path) / 'ppg.npy'})"
