"""Windows end at their reading, are resampled without aliases, and normalised as asked."""

from __future__ import annotations

import copy
import pickle
import sys
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils._testing import assert_allclose
from sklearn.utils.estimator_checks import estimator_checks_generator

from pulsehr import PPGWindower, Reading, Recording
from pulsehr._cutting import channel_statistics
from pulsehr._resampling import HALF_WIDTH, resample_at


def tone(frequency, rate=125.0, seconds=30.0, **fields):
    times = np.arange(0, seconds, 1 / rate)
    ppg = np.sin(2 * np.pi * frequency * times + 0.3)
    return Recording(ppg=ppg, ppg_rate=rate, subject="S1", name="tone", **fields)


def sine_at(times, frequency):
    return np.sin(2 * np.pi * frequency * times + 0.3)


def test_default_windows_have_four_channels_of_256_times(recording):
    windows = PPGWindower().fit_transform(recording.readings())
    assert windows.shape == (27, 4, 256)
    assert windows.dtype == np.float32


def test_a_window_holds_the_seconds_before_its_instant():
    rate = 32.0
    ramp = Recording(ppg=np.arange(960.0), ppg_rate=rate, subject="S1")
    window = PPGWindower(normalize=None).fit_transform([Reading(ramp, 10.0)])[0, 0]
    # sample k was taken k / 32 s after the start: 10 s is sample 320, which is not yet past
    np.testing.assert_array_equal(window, np.arange(64, 320))


@pytest.mark.parametrize("rate", [25.0, 50.0, 50.4, 64.0, 100.0, 125.0, 256.0])
@pytest.mark.parametrize("frequency", [0.5, 3.0, 7.0])
def test_resampling_keeps_a_pulse_as_it_is(rate, frequency):
    instants = np.array([10.0, 12.3, 15.77])
    readings = [Reading(tone(frequency, rate), t) for t in instants]
    windows = PPGWindower(normalize=None).fit_transform(readings)[:, 0]
    times = instants[:, None] - np.arange(256, 0, -1) / 32
    assert_allclose(windows, sine_at(times, frequency), atol=3e-3)


@pytest.mark.parametrize("frequency", [22.0, 25.0, 30.0, 50.0, 60.0])
def test_resampling_removes_what_would_alias(frequency):
    inside = tone(frequency).readings()[1:-1]  # away from where the signal starts and ends
    windows = PPGWindower(normalize=None).fit_transform(inside)
    assert np.abs(windows).max() < 10 ** (-44 / 20)


def test_resampling_looks_no_further_than_it_says():
    signal, rate, target = np.random.default_rng(0).normal(size=(1000, 1)), 125.0, 32.0
    times = np.array([4.0])
    changed = signal.copy()
    changed[int(np.ceil((4.0 + HALF_WIDTH / target) * rate)) :] += 1e6
    assert resample_at(signal, rate, times, target) == resample_at(changed, rate, times, target)


@pytest.mark.parametrize(("rate", "step"), [(64.0, 2), (32.0, 1), (256.0, 8)])
def test_without_antialias_every_so_manieth_sample_is_taken(rate, step):
    ppg = np.random.default_rng(0).normal(size=int(30 * rate)).astype(np.float32)
    readings = Recording(ppg=ppg, ppg_rate=rate, subject="S1").readings()
    windows = PPGWindower(antialias=False, normalize=None).fit_transform(readings)
    for window, reading in zip(windows[:, 0], readings, strict=True):
        first, end = int((reading.instant - 8) * rate), int(reading.instant * rate)
        np.testing.assert_array_equal(window, ppg[first:end:step])


@pytest.mark.parametrize("rate", [25.0, 50.4, 125.0])
def test_without_antialias_the_sample_before_each_instant_is_taken(rate):
    ramp = Recording(ppg=np.arange(40 * rate), ppg_rate=rate, subject="S1")
    windower = PPGWindower(antialias=False, normalize=None, sampling_rate=32)
    window = windower.fit_transform([Reading(ramp, 20.0)])[0, 0]
    expected = [int(rate * 100) * (20 * 32 - k) // 3200 for k in range(256, 0, -1)]
    np.testing.assert_array_equal(window, expected)


def test_without_antialias_rounding_of_instants_takes_no_other_sample():
    ramp = Recording(ppg=np.arange(6400.0), ppg_rate=64, subject="S1")
    windower = PPGWindower(antialias=False, normalize=None)
    exact = windower.fit_transform([Reading(ramp, 20.0)])
    rounded = windower.transform([Reading(ramp, 20.0 - 1e-9), Reading(ramp, 20.0 + 1e-9)])
    np.testing.assert_array_equal(rounded, np.concatenate([exact, exact]))


def test_a_windower_of_before_antialias_filters():
    state = PPGWindower(antialias=False).__getstate__()
    del state["antialias"]
    windower = PPGWindower()
    windower.__setstate__(state)
    assert windower.antialias is True


def test_rows_do_not_depend_on_each_other(recording):
    readings = recording.readings(stride=1.7)
    windower = PPGWindower(bandpass=(0.4, 4.0)).fit(readings)
    together = windower.transform(readings)
    order = np.random.default_rng(0).permutation(len(readings))
    np.testing.assert_array_equal(windower.transform([readings[k] for k in order]), together[order])
    np.testing.assert_array_equal(windower.transform(readings[3:4]), together[3:4])


def test_object_arrays_give_the_windows_of_lists(recording):
    readings = recording.readings()
    windower = PPGWindower().fit(readings)
    array = np.array(readings, dtype=object)
    np.testing.assert_array_equal(windower.transform(array), windower.transform(readings))


def test_readings_of_several_recordings_may_be_mixed():
    slow, fast = tone(1.0, 50.0), tone(2.0, 125.0)
    rows = [Reading(slow, 9), Reading(fast, 9), Reading(slow, 12)]
    windows = PPGWindower().fit_transform(rows)
    for row, reading in enumerate(rows):
        np.testing.assert_array_equal(windows[row], PPGWindower().fit_transform([reading])[0])


def test_window_normalization_drops_gain_and_offset(recording):
    other = Recording(
        ppg=-250.0 + 3.0 * recording.ppg,
        ppg_rate=64,
        acc=recording.acc + np.float32([0.5, 0.25, -1]),
        acc_rate=32,
        subject="S2",
    )
    windows = PPGWindower().fit_transform(recording.readings())
    assert_allclose(windows.mean(axis=2), 0, atol=1e-6)
    assert_allclose(windows[:, 0].std(axis=1), 1, rtol=1e-6)
    assert_allclose(windows, PPGWindower().fit_transform(other.readings()), atol=1e-4)
    # the acceleration stays in g
    raw = PPGWindower(normalize=None).fit_transform(recording.readings())
    assert_allclose(windows[:, 1:].std(axis=2), raw[:, 1:].std(axis=2), rtol=1e-5)


def test_channel_normalization_is_learnt_from_the_training_windows(recording):
    readings = recording.readings()
    raw = PPGWindower(normalize=None).fit_transform(readings)
    windower = PPGWindower(normalize="channel").fit(readings[:10])
    assert_allclose(windower.mean_, raw[:10].mean(axis=(0, 2)), rtol=1e-5)
    expected = (raw - windower.mean_[:, None]) / windower.scale_[:, None]
    assert_allclose(windower.transform(readings), expected, atol=1e-4)


def test_a_flat_ppg_window_becomes_zeros():
    ppg = np.r_[np.full(1000, 512.0), np.sin(np.arange(1000) / 5)]
    recording = Recording(ppg=ppg, ppg_rate=32, subject="S1")
    assert not PPGWindower().fit_transform([Reading(recording, 20)]).any()


def test_a_flat_window_stays_flat_under_a_bandpass():
    ppg = np.r_[np.sin(np.arange(1000) / 5), np.full(1000, 512.3)]
    recording = Recording(ppg=ppg, ppg_rate=50, subject="S1")
    assert not PPGWindower(bandpass=(0.4, 4)).fit_transform([Reading(recording, 35)]).any()


def test_a_weak_pulse_on_a_large_offset_is_not_flat():
    recording = tone(1.2)
    strong = PPGWindower().fit_transform(recording.readings())
    offset = Recording(ppg=recording.ppg + np.float32(2**17), ppg_rate=125, subject="S1")
    np.testing.assert_allclose(PPGWindower().fit_transform(offset.readings()), strong, atol=0.02)


def test_a_new_fit_forgets_the_last(recording):
    windower = PPGWindower(normalize="channel").fit(np.random.default_rng(0).normal(size=(3, 4, 9)))
    windower.set_params(normalize="window").fit(recording.readings())
    assert {name for name in vars(windower) if name.endswith("_")} == {"n_channels_"}
    with pytest.raises(NotFittedError):
        windower.set_params(normalize="channel").transform(recording.readings())


def test_a_channel_flat_in_all_training_windows_is_an_error():
    ppg = np.r_[np.full(1000, 512.0), np.sin(np.arange(1000) / 5)]
    readings = [Reading(Recording(ppg=ppg, ppg_rate=32, subject="S1"), 20)]
    windower = PPGWindower(normalize="channel")
    with pytest.raises(ValueError, match="channel 0 is constant in all training windows"):
        windower.fit(readings)
    assert not hasattr(windower, "n_channels_")


def test_bandpass_passes_the_pulse_and_stops_drift():
    pulse = PPGWindower(normalize=None, bandpass=(0.4, 4)).fit_transform(tone(1.5).readings())
    drift = PPGWindower(normalize=None, bandpass=(0.4, 4)).fit_transform(tone(0.05).readings())
    assert 0.65 < pulse.std() < 0.72
    assert drift.std() < 0.02


def test_bandpass_uses_the_past_alone(recording):
    windower = PPGWindower(normalize=None, bandpass=(0.4, 4.0))
    before = windower.fit_transform([Reading(recording, 30.0)])
    ppg = recording.ppg.copy()
    ppg[int((30.0 + HALF_WIDTH / 32) * 64) + 1 :] += 1e4
    changed = Recording(ppg=ppg, ppg_rate=64, acc=recording.acc, acc_rate=32, subject="S1")
    np.testing.assert_array_equal(windower.fit_transform([Reading(changed, 30.0)]), before)


def test_too_little_past_is_an_error_that_names_recording_and_instant():
    with pytest.raises(ValueError, match=r"instant 7.5 s of recording 'tone' has less than 8 s"):
        PPGWindower().fit_transform([Reading(tone(1.0), 7.5)])


def test_an_instant_after_the_end_is_an_error():
    with pytest.raises(ValueError, match="instant 31 s of recording 'tone' lies after the end"):
        PPGWindower().fit_transform([Reading(tone(1.0), 31.0)])


def test_padding_reflects_the_past_there_is():
    ramp = Recording(ppg=np.arange(960.0), ppg_rate=32, subject="S1")
    windower = PPGWindower(normalize=None, padding="reflect", window=1.0)
    early = windower.fit_transform([Reading(ramp, 0.75)])[0, 0]
    # 24 samples of past, the 8 missing ones mirrored at sample 0
    assert_allclose(early, np.r_[np.arange(8, 0, -1), np.arange(24)], atol=1e-12)
    longer = PPGWindower(normalize=None, padding="reflect", window=4.0)
    assert longer.fit_transform([Reading(ramp, 0.75)]).max() <= 23  # never past the instant


def test_windows_cut_elsewhere_keep_their_rows():
    windows = np.random.default_rng(0).normal(size=(5, 4, 100)) + 3
    windower = PPGWindower(normalize="window").fit(windows)
    expected = windows - windows.mean(axis=2, keepdims=True)
    expected[:, 0] /= windows[:, 0].std(axis=1, keepdims=True)
    assert_allclose(windower.transform(windows), expected, atol=1e-5)
    rows = windows.reshape(5, 400)
    assert_allclose(PPGWindower(n_channels=4).fit_transform(rows), expected, atol=1e-5)
    assert_allclose(windower.transform(rows), expected, atol=1e-5)
    assert PPGWindower(flatten=True, n_channels=4).fit_transform(rows).shape == (5, 400)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"window": -1.0}, r"window must be a number > 0, got -1.0"),
        ({"window": 0.01}, "window must hold two samples or more"),
        ({"sampling_rate": np.nan}, "sampling_rate must be a number > 0, got nan"),
        ({"window": "long"}, "window must be a number > 0, got 'long'"),
        ({"normalize": "zscore"}, r"normalize must be one of \('window', 'channel', None\)"),
        ({"antialias": None}, "antialias must be True or False, got None"),
        ({"padding": "zeros"}, r"padding must be one of \('error', 'reflect'\), got 'zeros'"),
        ({"bandpass": (4, 0.4)}, "bandpass must satisfy 0 < low < high < 16 Hz"),
        ({"bandpass": 3}, r"bandpass must be \(low, high\) in Hz or None, got 3"),
        ({"bandpass": (0.4, 16)}, "bandpass must satisfy 0 < low < high < 16 Hz"),
    ],
)
def test_bad_parameters_are_refused(parameters, message, recording):
    with pytest.raises(ValueError, match=f"PPGWindower: {message}"):
        PPGWindower(**parameters).fit(recording.readings())


def with_nan(shape):
    windows = np.random.default_rng(0).normal(size=shape)
    windows.flat[5] = np.nan
    return windows


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ([], ValueError, "X must hold at least one row, got none"),
        (np.array([], dtype=object), ValueError, "X must hold at least one row, got none"),
        (np.ones((5, 4, 0)), ValueError, "windows must hold samples"),
        (with_nan((5, 4, 16)), ValueError, "contains NaN"),
        (np.ones((5, 10)), ValueError, "multiple of n_channels=4 values, got 10"),
        (np.zeros(800), ValueError, r"got a 1-D array of 800 values.*Recording\(ppg="),
        (np.ones((2, 2, 2, 2)), ValueError, "dim"),
    ],
)
def test_bad_rows_are_refused(X, error, message):
    with pytest.raises(error, match=message):
        PPGWindower(n_channels=4).fit(X)


def test_a_row_that_is_no_reading_is_refused(recording):
    with pytest.raises(TypeError, match="row 27 of X must be a Reading, got float"):
        PPGWindower().fit([*recording.readings(), 3.0])
    with pytest.raises(TypeError, match="row 0 of X must be a Reading, got NoneType"):
        PPGWindower().fit([None, *recording.readings()])
    with pytest.raises(TypeError, match=r"got Recording: pass recording.readings\(\)"):
        PPGWindower().fit([recording])
    with pytest.raises(TypeError, match=r"got one Recording: pass recording.readings\(\)"):
        PPGWindower().fit(recording)


def test_recordings_with_and_without_acceleration_do_not_mix(recording):
    rows = [*recording.readings(), *tone(1.0).readings()]
    with pytest.raises(ValueError, match="got 'S1' with and 'tone' without"):
        PPGWindower().fit(rows)


def test_other_channels_than_in_fit_are_refused(recording):
    windower = PPGWindower().fit(recording.readings())
    with pytest.raises(ValueError, match="expected 4 channels as in fit, got 1"):
        windower.transform(tone(1.0).readings())
    with pytest.raises(NotFittedError):
        clone(windower).transform(recording.readings())


def test_a_failed_fit_leaves_the_windower_as_it_was(recording):
    windower = PPGWindower(normalize="channel").fit(recording.readings())
    mean = windower.mean_
    with pytest.raises(ValueError, match="NaN"):
        windower.fit(with_nan((5, 1, 16)))
    assert windower.mean_ is mean
    assert windower.n_channels_ == 4


CHECKED = [
    PPGWindower(),
    PPGWindower(flatten=True),
    PPGWindower(flatten=True, normalize="channel"),
    PPGWindower(lazy=True, bandpass=(0.4, 4.0)),
]


@pytest.mark.parametrize(
    ("estimator", "check"),
    [pair for estimator in CHECKED for pair in estimator_checks_generator(estimator)],
    ids=lambda value: getattr(getattr(value, "func", value), "__name__", repr(value)),
)
def test_windower_passes_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


KINDS = ("readings", "windows", "rows")


def rows_of(kind, recording):
    if kind == "readings":
        return recording.readings()
    windows = np.random.default_rng(0).normal(size=(27, 4, 256)) + 3
    return windows if kind == "windows" else windows.reshape(27, -1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "parameters", [{}, {"normalize": "channel"}, {"bandpass": (0.4, 4.0), "flatten": True}]
)
def test_rows_of_every_kind_keep_the_contract(kind, parameters, recording, tmp_path):
    X = rows_of(kind, recording)
    before = copy.copy(X)
    windower = PPGWindower(n_channels=4, **parameters)
    fitted = clone(windower).fit(X)
    windows = fitted.transform(X)
    state = {name: np.copy(value) for name, value in vars(fitted).items() if name.endswith("_")}
    np.testing.assert_array_equal(clone(windower).fit_transform(X), windows)
    np.testing.assert_array_equal(fitted.fit(X).transform(X), windows)
    for name, value in state.items():
        np.testing.assert_array_equal(getattr(fitted, name), value)
    order = np.random.default_rng(0).permutation(len(X))
    shuffled = [X[k] for k in order] if kind == "readings" else X[order]
    np.testing.assert_array_equal(fitted.transform(shuffled), windows[order])
    np.testing.assert_array_equal(fitted.transform(X[5:9]), windows[5:9])
    if kind == "readings":
        assert X == before
    else:
        np.testing.assert_array_equal(X, before)
    joblib.dump(fitted, tmp_path / "windower.joblib")
    for again in (
        pickle.loads(pickle.dumps(fitted)),
        joblib.load(tmp_path / "windower.joblib"),
        clone(windower).set_params(**fitted.get_params()).fit(X),
    ):
        np.testing.assert_array_equal(again.transform(X), windows)


@pytest.mark.parametrize("kind", ["windows", "rows"])
def test_windows_of_another_length_are_refused(kind, recording):
    X = rows_of(kind, recording)
    windower = PPGWindower(n_channels=4).fit(X)
    assert windower.n_features_in_ == 1024
    other = X[:, :, :200] if kind == "windows" else X[:, :800]
    with pytest.raises(ValueError, match=r"256 times as in fit|1024 features as input"):
        windower.transform(other)


def test_parameters_set_later_change_the_windows(recording):
    readings = recording.readings()
    windower = PPGWindower().fit(readings)
    changed = windower.set_params(window=4.0, sampling_rate=25.0).fit(readings)
    np.testing.assert_array_equal(
        changed.transform(readings),
        PPGWindower(window=4.0, sampling_rate=25.0).fit_transform(readings),
    )
    assert changed.transform(readings).shape == (27, 4, 100)


def test_tags_are_true():
    tags = get_tags(PPGWindower())
    assert tags.input_tags.three_d_array
    assert tags.input_tags.two_d_array
    assert not tags.input_tags.allow_nan
    assert not tags.non_deterministic
    assert not tags.target_tags.required
    assert tags.transformer_tags.preserves_dtype == ["float32"]


@pytest.mark.parametrize(
    ("channels", "first", "last"),
    [(4, "ppg_0", "acc_z_255"), (1, "ppg_0", "ppg_255"), (2, "ppg_0", "channel1_255")],
)
def test_flat_rows_have_names(channels, first, last, recording):
    windows = np.random.default_rng(0).normal(size=(5, channels, 256))
    names = PPGWindower(flatten=True).fit(windows).get_feature_names_out()
    assert names.dtype == object
    assert (len(names), len(set(names))) == (channels * 256, channels * 256)
    assert (names[0], names[-1]) == (first, last)
    if channels == 4:
        from_readings = PPGWindower(flatten=True).fit(recording.readings())
        np.testing.assert_array_equal(from_readings.get_feature_names_out(), names)
        pipe = make_pipeline(PPGWindower(flatten=True), StandardScaler()).fit(recording.readings())
        np.testing.assert_array_equal(pipe.get_feature_names_out(), names)


def test_names_need_flat_rows_and_a_fit(recording):
    with pytest.raises(NotFittedError):
        PPGWindower(flatten=True).get_feature_names_out()
    windower = PPGWindower().fit(recording.readings())
    with pytest.raises(AttributeError, match="no attribute 'get_feature_names_out'") as raised:
        windower.get_feature_names_out()
    assert "PPGWindower: 3-D windows have no feature names: set flatten=True" in str(
        raised.value.__cause__
    )


def test_windows_of_three_dimensions_are_no_data_frame(recording):
    message = "3-D windows cannot be a data frame, got .*'pandas'.*set flatten=True"
    with pytest.raises(ValueError, match=message):
        PPGWindower().set_output(transform="pandas")
    with pytest.raises(ValueError, match=message):
        make_pipeline(PPGWindower(), StandardScaler()).set_output(transform="pandas")
    windower = PPGWindower()
    assert windower.set_output(transform="default") is windower
    assert windower.fit_transform(recording.readings()).shape == (27, 4, 256)


def test_set_output_gives_named_columns(recording, monkeypatch):
    """Through the protocol of scikit-learn's containers, for no data frame need be installed."""
    from sklearn.utils import _set_output

    def create_container(X, original, columns, inplace=True):
        names = columns() if callable(columns) else columns
        return SimpleNamespace(values=X, columns=names)

    frames = SimpleNamespace(
        container_lib="pandas",
        create_container=create_container,
        is_supported_container=lambda X: False,
    )
    monkeypatch.setattr(
        _set_output.ADAPTERS_MANAGER, "adapters", {"pandas": frames, "polars": frames}
    )
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(__version__="2"))
    readings = recording.readings()
    windower = PPGWindower(flatten=True)
    plain = windower.fit_transform(readings)
    frame = windower.set_output(transform="pandas").fit_transform(readings)
    np.testing.assert_array_equal(frame.values, plain)
    np.testing.assert_array_equal(frame.columns, windower.get_feature_names_out())


def test_channel_statistics_of_blocks_are_those_of_the_whole():
    windows = np.random.default_rng(0).normal(size=(1000, 3, 20)) * [[[100], [1], [1e-3]]]
    windows += [[[2048], [0], [1]]]
    blocks = np.split(windows, [1, 2, 300, 999])
    mean, scale = channel_statistics(blocks)
    assert_allclose(mean, windows.mean(axis=(0, 2)), rtol=1e-12)
    assert_allclose(scale, windows.std(axis=(0, 2)), rtol=1e-10)
