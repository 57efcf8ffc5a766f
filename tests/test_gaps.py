"""Samples may be missing: what lies beyond a gap is never looked at, and readings say so."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from pulsehr import Gap, PPGWindower, Reading, Recording, _signals
from pulsehr._gaps import SensorSignal, joined, runs_of
from pulsehr._lazy import LazyWindows
from pulsehr.datasets import dataset_from_recordings
from pulsehr.exceptions import MissingSamplesWarning

RNG = np.random.default_rng(0)
RATES = {"ppg_rate": 64.0, "acc_rate": 32.0}
PPG = (2048 + 100 * np.sin(np.arange(64 * 120) / 9) + RNG.normal(size=64 * 120)).astype(np.float32)
ACC = RNG.normal(scale=0.4, size=(32 * 120, 3)).astype(np.float32)


def make(ppg_gaps=(), acc_gaps=(), ppg=PPG, acc=ACC, **fields):
    """Make a recording without the samples of some seconds (start, end)."""
    ppg, acc = ppg.copy(), acc.copy()
    for start, end in ppg_gaps:
        ppg[round(start * 64) : round(end * 64)] = np.nan
    for start, end in acc_gaps:
        acc[round(start * 32) : round(end * 32), 1] = np.nan
    return Recording(ppg=ppg, acc=acc, **{**RATES, "subject": "S1", **fields})


def instants(readings):
    return [reading.instant for reading in readings]


def test_gaps_are_what_is_nan_in_order_of_time():
    recording = make([(10, 11), (50, 50.5)], [(20, 30)])
    assert recording.gaps == (Gap("ppg", 10, 11), Gap("acc", 20, 30), Gap("ppg", 50, 50.5))
    assert make().gaps == ()
    assert pickle.loads(pickle.dumps(recording)).gaps == recording.gaps
    assert repr(recording).endswith("no labels, 3 gaps)")
    assert str(recording.gaps[2]) == "ppg from 50 to 50.5 s"


def test_gaps_at_either_end_and_of_one_sample_are_found():
    recording = make([(0, 1), (60, 60 + 1 / 64), (119, 120)])
    assert [(gap.start, gap.end) for gap in recording.gaps] == [
        *((0, 1), (60, 60 + 1 / 64), (119, 120)),
    ]
    assert recording.duration == 120


def test_masked_samples_are_missing():
    masked = np.ma.masked_array(PPG, np.arange(len(PPG)) // 64 == 7)
    recording = Recording(ppg=masked, ppg_rate=64)
    assert recording.gaps == (Gap("ppg", 7, 8),)


def test_masked_counts_are_missing():
    counts = (1000 * PPG).astype(np.int32)
    masked = np.ma.masked_array(counts, np.arange(len(PPG)) // 64 == 7)
    recording = Recording(ppg=masked, ppg_rate=64)
    assert recording.gaps == (Gap("ppg", 7.0, 8.0),)
    np.testing.assert_array_equal(recording.ppg[: 7 * 64], counts[: 7 * 64])


@pytest.mark.parametrize("block", [1, 63, 64, 1000])
def test_gaps_are_found_whole_whatever_is_checked_at_a_time(block, monkeypatch, tmp_path):
    monkeypatch.setattr(_signals, "BLOCK_SAMPLES", block)
    expected = make([(10, 11), (20, 40)], [(0, 5)])
    np.save(tmp_path / "ppg.npy", expected.ppg)
    np.save(tmp_path / "acc.npy", np.ascontiguousarray(expected.acc.T))
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("ppg", "acc")]
    recording = Recording(ppg=mapped[0], acc=mapped[1], **RATES)
    assert recording.gaps == expected.gaps
    assert recording.gaps[0] == Gap("acc", 0, 5)


def test_a_recording_of_before_gaps_has_none():
    recording = make()
    state = {name: value for name, value in vars(recording).items() if name != "_missing"}
    old = Recording.__new__(Recording)
    old.__setstate__(state)
    assert old.gaps == ()
    np.testing.assert_array_equal(
        PPGWindower().fit_transform(old.readings()),
        PPGWindower().fit_transform(recording.readings()),
    )


def test_runs_are_joined_over_blocks():
    missing = RNG.random(500) < 0.5
    blocks = [runs_of(missing[k : k + 7], k) for k in range(0, 500, 7)]
    np.testing.assert_array_equal(joined(blocks), runs_of(missing))
    assert joined([]).shape == (0, 2)


def test_readings_leave_out_those_over_a_gap_and_keep_the_grid():
    recording = make([(10, 11)])
    # a sample at 10 s is not before 10 s, and the last that is missing lies before 19 - 8 s
    assert instants(recording.readings(1.0))[:5] == [8, 9, 10, 19, 20]
    assert instants(recording.readings(1.0, gaps="keep")) == list(range(8, 121))
    assert instants(recording.readings(1.0, window=2.0))[8:11] == [10, 13, 14]


def test_a_gap_of_either_sensor_counts():
    recording = make([(30, 31)], [(40, 40.25)])
    over = recording.over_gap([30, 30.1, 38.9, 39, 40, 40.1, 48.1, 48.25])
    np.testing.assert_array_equal(over, [False, True, True, False, False, True, True, False])


def test_labels_over_a_gap_are_left_out():
    labels = {"heart_rate": [70, 71, 72, 73], "heart_rate_times": [9, 12, 18, 19]}
    recording = make([(10, 11)], **labels)
    assert [r.heart_rate for r in recording.labelled_readings()] == [70, 73]
    assert len(recording.labelled_readings(gaps="keep")) == 4


@pytest.mark.parametrize("name", ["readings", "labelled_readings"])
def test_what_to_do_with_gaps_is_skip_or_keep(name):
    recording = make(heart_rate=[70], heart_rate_times=[9])
    with pytest.raises(
        ValueError, match=r"'S1': gaps must be one of \('skip', 'keep'\), got 'nan'"
    ):
        getattr(recording, name)(gaps="nan")


def test_lying_over_a_gap_is_what_it_says():
    rng = np.random.default_rng(1)
    for rate in (1.0, 25.0, 64.0, 125.0):
        missing = rng.random(400) < 0.02
        missing[0] = True
        signal = SensorSignal("ppg", np.zeros(400), rate, runs_of(missing))
        when = np.r_[rng.uniform(0, 400 / rate, 200), np.arange(1, 400) / rate]
        times = np.arange(400) / rate
        for span in (0.3, 2.0):
            # at 1 Hz the last sample before an instant may lie further back than the span
            since = (when - max(span, 1 / rate))[:, None] - 1e-6
            expected = (missing & (times >= since) & (times < when[:, None] - 1e-6)).any(axis=1)
            np.testing.assert_array_equal(signal.over_gap(when, span), expected)
            first, stop = signal.stretch(when[~expected])
            for k, (a, b) in enumerate(zip(first, stop, strict=True)):
                last = np.flatnonzero(times < when[~expected][k] - 1e-6)[-1]
                assert a <= last < b
                assert not missing[a:b].any()
                assert a == 0 or missing[a - 1]
                assert b == 400 or missing[b]


CUTS = [
    {},
    {"normalize": None, "bandpass": (0.4, 4.0)},
    {"antialias": False, "normalize": None},
    {"padding": "reflect", "window": 12.0},
    {"padding": "reflect", "window": 12.0, "bandpass": (0.4, 4.0)},
    {"sampling_rate": 25.0, "normalize": None},
]


@pytest.mark.parametrize("parameters", CUTS, ids=str)
@pytest.mark.parametrize("lazy", [False, True])
def test_the_end_of_a_gap_is_like_the_start_of_a_recording(parameters, lazy):
    """And the start of a gap like the end of one."""
    windower = PPGWindower(lazy=lazy, **parameters)
    recording = make([(40, 45), (80, 81)], [(40, 45), (80, 81)])
    alone = Recording(ppg=PPG[45 * 64 : 80 * 64], acc=ACC[45 * 32 : 80 * 32], **RATES)
    window = parameters.get("window", 8.0)
    when = np.arange(window, 35.01, 0.5)
    windows = windower.fit_transform([Reading(recording, t + 45) for t in when])
    expected = windower.fit_transform([Reading(alone, t) for t in when])
    np.testing.assert_array_equal(np.asarray(windows), np.asarray(expected))


@pytest.mark.parametrize("parameters", CUTS, ids=str)
def test_what_lies_beyond_a_gap_changes_nothing(parameters):
    gaps = [(40, 40.125), (70, 70.5)], [(40.5, 41), (70.25, 70.375)]
    ppg, acc = PPG.copy(), ACC.copy()
    for array, rate in ((ppg, 64), (acc, 32)):
        array[: 40 * rate] += 1
        array[71 * rate :] *= 1.5
    windower = PPGWindower(**parameters)
    ours, other = make(*gaps), make(*gaps, ppg=ppg, acc=acc)
    readings = [t for t in instants(ours.readings(0.5, window=12.0)) if 41 < t <= 70.5]
    assert len(readings) == 35
    np.testing.assert_array_equal(
        windower.fit_transform([Reading(ours, t) for t in readings]),
        windower.fit_transform([Reading(other, t) for t in readings]),
    )


def test_each_sensor_has_its_own_gaps():
    """A gap of the acceleration before a window does not touch its PPG."""
    windower = PPGWindower(normalize=None, bandpass=(0.4, 4.0))
    gap, whole = make((), [(40, 45)]), make()
    windows = windower.fit_transform([Reading(gap, 54.0)])
    expected = windower.fit_transform([Reading(whole, 54.0)])
    np.testing.assert_array_equal(windows[:, 0], expected[:, 0])
    assert not np.array_equal(windows[:, 1], expected[:, 1])


def test_a_reading_over_a_gap_is_an_error_that_says_how_to_mend_it():
    readings = make([(10, 11)]).readings(gaps="keep")
    with pytest.raises(
        ValueError,
        match=r"PPGWindower: the reading at 12 s of recording 'S1' lies over a gap of the ppg from "
        r"10 to 11 s: leave it out \(readings\(window=8\) .*\), or set missing='nan'",
    ):
        PPGWindower().fit(readings)
    with pytest.raises(ValueError, match=r"at 48\.5 s .* acc from 40 to 41 s: .*window=9\)"):
        PPGWindower(window=9).fit([Reading(make((), [(40, 41)]), 48.5)])
    with pytest.raises(ValueError, match=r"missing must be one of \('error', 'nan'\), got 'skip'"):
        PPGWindower(missing="skip").fit(readings)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("normalize", ["window", "channel", None])
@pytest.mark.parametrize("bandpass", [None, (0.4, 4.0)])
def test_rows_over_a_gap_become_nan_with_one_warning(lazy, normalize, bandpass):
    recording, other = make([(10, 11)], [(50, 52)]), make([(0, 4)], name="late")
    keep = [*recording.readings(gaps="keep"), *other.readings(gaps="keep")]
    skip = [*recording.readings(), *other.readings()]
    there = np.r_[~recording.over_gap(instants(keep[:57])), ~other.over_gap(instants(keep[57:]))]
    parameters = {"lazy": lazy, "normalize": normalize, "bandpass": bandpass}
    windower = PPGWindower(missing="nan", **parameters)
    with pytest.warns(
        MissingSamplesWarning,
        match=r"10 of 114 rows lie over gaps and become NaN; the first: the reading at 12 s of rec",
    ) as caught:
        windows = windower.fit_transform(keep)
    assert len(caught) == 1
    assert isinstance(windows, LazyWindows) == lazy
    windows = np.asarray(windows)
    np.testing.assert_array_equal(np.isnan(windows).all(axis=(1, 2)), ~there)
    np.testing.assert_array_equal(np.isnan(windows).any(axis=(1, 2)), ~there)
    expected = PPGWindower(**parameters).fit(skip)
    if normalize == "channel":
        np.testing.assert_allclose(windower.mean_, expected.mean_, rtol=1e-12)
        np.testing.assert_allclose(windows[there], np.asarray(expected.transform(skip)), atol=1e-6)
    else:
        np.testing.assert_array_equal(windows[there], np.asarray(expected.transform(skip)))
    # rows of NaN are taken as they are
    np.testing.assert_array_equal(
        np.isnan(PPGWindower(missing="nan").fit_transform(windows)).any(axis=(1, 2)), ~there
    )


def test_a_channel_has_no_statistics_if_all_rows_lie_over_gaps():
    readings = make([(10, 11)]).readings(gaps="keep")[2:5]
    windower = PPGWindower(missing="nan", normalize="channel")
    with (
        pytest.raises(ValueError, match="all training rows lie over gaps"),
        pytest.warns(MissingSamplesWarning, match="3 of 3 rows"),
    ):
        windower.fit(readings)


def test_flat_rows_in_a_data_frame_are_nan(missing):
    try:
        import pandas  # noqa: F401
    except ImportError:
        missing("there is no pandas: pip install pandas")
    windower = PPGWindower(flatten=True, missing="nan").set_output(transform="pandas")
    with pytest.warns(MissingSamplesWarning, match="4 of 57 rows"):
        frame = windower.fit_transform(make([(10, 11)]).readings(gaps="keep"))
    assert frame.isna().all(axis=1).sum() == 4


def test_signals_on_disk_with_gaps_give_the_windows_of_those_in_memory(tmp_path):
    recording = make([(10, 11), (60, 60.5)], [(10, 13)])
    np.save(tmp_path / "ppg.npy", recording.ppg)
    np.save(tmp_path / "acc.npy", recording.acc)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("ppg", "acc")]
    on_disk = Recording(ppg=mapped[0], acc=mapped[1], **RATES)
    assert on_disk.gaps == recording.gaps
    for parameters in CUTS:
        windower = PPGWindower(**parameters)
        np.testing.assert_array_equal(
            windower.fit_transform(on_disk.readings(window=12.0)),
            windower.fit_transform(recording.readings(window=12.0)),
        )


def test_a_reflected_window_needs_two_samples_after_a_gap():
    ramp = np.arange(960.0)
    ramp[320:352] = np.nan
    recording = Recording(ppg=ramp, ppg_rate=32)
    windower = PPGWindower(padding="reflect", window=1.0, normalize=None)
    early = windower.fit_transform([Reading(recording, 11.75)])[0, 0]
    # 24 samples after the gap, the 8 missing ones mirrored at its end
    np.testing.assert_allclose(early, 352 + np.r_[np.arange(8, 0, -1), np.arange(24)], atol=1e-12)
    two = windower.fit_transform([Reading(recording, 11 + 2 / 32)])[0, 0]
    np.testing.assert_allclose(two, np.tile([352, 353], 16), atol=1e-12)
    with pytest.raises(ValueError, match=r"lies over a gap of the ppg from 10 to 11 s"):
        windower.fit([Reading(recording, 11 + 1 / 32)])


def test_a_reflected_window_keeps_pulse_and_motion_together():
    """All signals are reflected where the last of them begins."""
    ramp = np.repeat(np.arange(3840.0), 3).reshape(-1, 3) / 1e3
    recording = make((), [(40, 45)], ppg=np.arange(7680.0), acc=ramp)
    windower = PPGWindower(padding="reflect", window=4.0, normalize=None, antialias=False)
    window = windower.fit_transform([Reading(recording, 47.0)])[0]
    np.testing.assert_allclose(window[0], window[1] * 2e3)


def test_a_dataset_leaves_out_labels_over_gaps_and_says_how_many():
    labels = {"heart_rate": np.full(50, 70.0), "heart_rate_times": np.arange(50) * 2.0 + 8}
    recordings = [make([(10, 11)], **labels), make((), [(30, 40)], name="other", **labels)]
    with pytest.warns(
        MissingSamplesWarning, match=r"12 of 100 labels .* \(4 of 'S1', 8 of 'other'\)"
    ) as caught:
        data = dataset_from_recordings(recordings)
    assert len(caught) == 1
    assert len(data.X) == len(data.y) == 88
    gap = make([(0, 119)], **labels)
    with pytest.raises(ValueError, match=r"must have labels with eight seconds of past .* gaps"):
        dataset_from_recordings([gap])


def test_a_pipeline_leaves_out_gaps_by_default_and_answers_nan_if_told():
    from pulsehr.baselines import SpectralPeakRegressor

    recording = make([(10, 11)])
    pipe = make_pipeline(PPGWindower(), SpectralPeakRegressor())
    pipe.fit(recording.readings(), np.full(53, 70.0))
    expected = pipe.predict(recording.readings())
    keep = recording.readings(gaps="keep")
    with pytest.raises(ValueError, match="lies over a gap"):
        pipe.predict(keep)
    pipe.set_params(ppgwindower__missing="nan")
    with pytest.warns(MissingSamplesWarning, match="4 of 57"):
        answered = pipe.predict(keep)
    np.testing.assert_array_equal(np.isnan(answered), recording.over_gap(instants(keep)))
    np.testing.assert_array_equal(answered[~np.isnan(answered)], expected)


@pytest.mark.parametrize("kind", [np.int16, np.int64, np.float32])
def test_masked_samples_of_any_kind_are_missing(kind):
    ppg = np.ma.masked_equal((np.arange(640) % 7).astype(kind), 3)
    recording = Recording(ppg=ppg, ppg_rate=64)
    np.testing.assert_array_equal(np.isnan(recording.ppg), ppg.mask)
    np.testing.assert_array_equal(recording.ppg[~ppg.mask], ppg.compressed())
