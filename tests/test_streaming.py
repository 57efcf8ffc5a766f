"""A stream gives the heart rates of its finished recording, bit for bit, however samples come."""

from __future__ import annotations

from itertools import pairwise
from threading import Thread

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pulsehr import HeartRateStream, HeartRateTracker, PPGWindower, Recording, load_pretrained
from pulsehr._inference import run_network
from pulsehr.datasets import load_empatica, load_folder, make_recordings

SECONDS = 60


class LooksAtEverySample(RegressorMixin, BaseEstimator):
    """Every bit of a window changes what it says; no row knows of another."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X, return_std=False):
        bpm = np.array([100 + (row.ravel() * np.arange(1, row.size + 1)).sum() for row in X])
        return (bpm, 2 + np.sin(bpm)) if return_std else bpm


def samples(seconds=SECONDS, ppg_rate=64.0, acc_rate=32.0, seed=0):
    """PPG and acceleration of that many seconds."""
    rng = np.random.default_rng(seed)
    ppg = 500 + 100 * rng.normal(size=round(seconds * ppg_rate)).astype(np.float32)
    acc = rng.normal(loc=[0, 0, 1], scale=0.2, size=(round(seconds * acc_rate), 3))
    return ppg, acc.astype(np.float32)


def pipeline(**parameters):
    """Return a pipeline that tells windows apart, fitted on four channels."""
    pipe = make_pipeline(PPGWindower(**parameters), LooksAtEverySample())
    ppg, acc = samples(40)
    readings = Recording(ppg=ppg, ppg_rate=64, acc=acc, acc_rate=32).readings(window=16)
    return pipe.fit(readings, np.zeros(len(readings)))


def predicted(pipe, recording, **grid):
    """Return instants, heart rates and stds of the finished recording."""
    readings = recording.readings(**grid)
    if not readings:
        return [], [], []
    return [reading.instant for reading in readings], *pipe.predict(readings, return_std=True)


def assert_same(given_rates, expected):
    instants, bpm, std = expected
    assert [rate.instant for rate in given_rates] == list(instants)
    np.testing.assert_array_equal([rate.heart_rate for rate in given_rates], bpm)
    np.testing.assert_array_equal([rate.std for rate in given_rates], std)


def pushed(stream, ppg, acc, packet=0.5):
    """Push packets of that many seconds, and finish."""
    rates = []
    for start in np.arange(0, SECONDS, packet):
        (a, b), (c, d) = (
            (round(start * sensor.rate), round((start + packet) * sensor.rate))
            for sensor in stream._sensors.values()
        )
        rates += stream.push(ppg=ppg[a:b], acc=acc[c:d])
    return rates + stream.finish()


@st.composite
def packets(draw, n_samples, rate):
    """Cut samples into packets (start, stop), some late, twice or overlapping."""
    cuts = draw(st.lists(st.integers(1, n_samples - 1), max_size=30))
    borders = sorted({0, *cuts, n_samples})
    spans = list(pairwise(borders))
    again = draw(st.lists(st.sampled_from(spans), max_size=3))
    late = draw(st.lists(st.floats(0, 3), min_size=len(spans), max_size=len(spans)))
    due = [
        (stop / rate + wait, start, stop) for (start, stop), wait in zip(spans, late, strict=True)
    ]
    due += [(stop / rate + 1.0, max(0, start - 5), stop) for start, stop in again]
    return due


@pytest.mark.parametrize(
    ("parameters", "rates"),
    [
        ({}, (64.0, 32.0)),
        ({"bandpass": (0.5, 4.0)}, (50.0, 50.0)),
        ({"antialias": False, "normalize": None}, (100.0, 26.0)),
        ({"window": 12.0, "padding": "reflect", "sampling_rate": 25.0}, (125.0, 51.7)),
    ],
    ids=["default", "bandpass", "without filter", "reflect"],
)
@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_packets_in_any_order_give_what_the_recording_gives(data, parameters, rates):
    ppg, acc = samples(40, *rates)
    gaps = data.draw(
        st.lists(st.tuples(st.booleans(), st.floats(0, 39), st.floats(0.01, 9)), max_size=3)
    )
    for of_acc, start, length in gaps:
        signal, rate = (acc[:, 1], rates[1]) if of_acc else (ppg, rates[0])
        signal[int(start * rate) : int((start + length) * rate) + 1] = np.nan
    stride = data.draw(st.sampled_from([0.7, 1.0, 2.0]))
    pipe = PIPES.setdefault(str(parameters), pipeline(**parameters))
    keep = data.draw(st.booleans())
    stream = HeartRateStream(pipe, *rates, stride=stride, max_delay=np.inf, keep=keep)
    order = [(*p, "ppg") for p in data.draw(packets(len(ppg), rates[0]))]
    order += [(*p, "acc") for p in data.draw(packets(len(acc), rates[1]))]
    given_rates = []
    for _, start, stop, name in sorted(order):
        signal = {"ppg": ppg, "acc": acc}[name][start:stop]
        given_rates += stream.push(**{name: signal, f"{name}_start": start})
    given_rates += stream.finish()
    recording = Recording(ppg=ppg, ppg_rate=rates[0], acc=acc, acc_rate=rates[1])
    assert_same(given_rates, predicted(pipe, recording, stride=stride))
    assert stream.n_dropped == sum(stop - start for _, start, stop, _ in order) - len(ppg) - len(
        acc
    )
    if stream.keep:
        again = stream.recording()
        np.testing.assert_array_equal(again.ppg, ppg)
        assert again.gaps == recording.gaps


#: Pipelines by their parameters, fitted once.
PIPES: dict = {}


@pytest.fixture(scope="module")
def models():
    """The pretrained ones and trackers around one."""
    student = load_pretrained("student")
    ppg, acc = samples()
    readings = Recording(ppg=ppg, ppg_rate=64, acc=acc, acc_rate=32).readings()
    trackers = {
        method: HeartRateTracker(FrozenEstimator(student), method=method, max_gap=9.0).fit(readings)
        for method in ("clip", "kalman", "belief")
    }
    others = {name: load_pretrained(name) for name in ("teacher", "student-int8")}
    return {"student": student, **others, **trackers}


@pytest.mark.parametrize("name", ["student", "student-int8", "teacher", "clip", "kalman", "belief"])
def test_every_model_gives_the_same_bits_as_on_the_recording(models, name):
    recording = make_recordings(n_subjects=1, duration=SECONDS, random_state=0).recordings[0]
    ppg, acc = np.array(recording.ppg), np.array(recording.acc)
    acc[30 * 32] = np.nan  # 8 s without a reading, 10 s from one to the next
    expected = predicted(
        models[name], Recording(ppg=ppg, ppg_rate=64, acc=acc, acc_rate=32), stride=1.0
    )
    for packet in (0.25, 7.0, 100.0):
        stream = HeartRateStream(models[name], 64, 32, stride=1.0)
        assert_same(pushed(stream, ppg, acc, packet), expected)


@pytest.mark.parametrize("name", ["ieee_spc_2015", "bami_gyro", "wesad_e4"])
def test_real_recordings_stream_to_the_same_bits(models, pulsehr_data, name):
    ppg, acc, rates = real_signals(pulsehr_data / name)
    recording = Recording(ppg=ppg, ppg_rate=rates[0], acc=acc, acc_rate=rates[1])
    stream = HeartRateStream(models["kalman"], *rates)
    given_rates = []
    seconds = np.arange(0, recording.duration + 0.7, 0.7)
    borders = [(seconds * rate).round().astype(int) for rate in rates]
    for (a, b), (c, d) in zip(*map(pairwise, borders), strict=True):
        given_rates += stream.push(ppg=ppg[a:b], acc=acc[c:d])
    assert_same(given_rates + stream.finish(), predicted(models["kalman"], recording))


def real_signals(folder):
    """Two minutes of the first recording of a folder."""
    if folder.name == "wesad_e4":
        recording = load_empatica(sorted(path for path in folder.iterdir() if path.is_dir())[0])
    else:
        recording = load_folder(folder).recordings[0]
    signals = [np.array(signal.samples[: int(120 * signal.rate)]) for signal in recording.signals]
    return *signals, [signal.rate for signal in recording.signals]


def test_ppg_alone_and_a_pipeline_without_std_work(recording):
    pipe = make_pipeline(PPGWindower(), WithoutStd())
    alone = Recording(ppg=recording.ppg, ppg_rate=64)
    pipe.fit(alone.readings(), np.zeros(27))
    with HeartRateStream(pipe, 64) as stream:
        rates = [rate for second in np.split(alone.ppg, 60) for rate in stream.push(second)]
    rates += stream.finish()
    np.testing.assert_array_equal(
        [rate.heart_rate for rate in rates], pipe.predict(alone.readings())
    )
    assert {rate.std for rate in rates} == {None}


class WithoutStd(RegressorMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X):
        return np.array([row.sum() for row in X])


def test_a_search_is_opened_and_its_best_pipeline_runs():
    ppg, acc = samples()
    recording = Recording(ppg=ppg, ppg_rate=64, acc=acc, acc_rate=32)
    readings = recording.readings()
    pipe = make_pipeline(PPGWindower(), WithoutStd())
    search = GridSearchCV(pipe, {"ppgwindower__window": [6.0, 7.0]}, cv=2)
    search.fit(readings, np.arange(len(readings)))
    rates = pushed(HeartRateStream(search, 64, 32), ppg, acc)
    np.testing.assert_array_equal([rate.heart_rate for rate in rates], search.predict(readings))


def test_a_heart_rate_comes_as_soon_as_the_filter_has_its_samples():
    ppg, acc = samples()
    stream = HeartRateStream(pipeline(), 64, 32)
    assert stream.push(ppg=ppg[: 64 * 10], acc=acc[: 32 * 8]) == []
    # the last sample of the window at 32 Hz, and the next six of the acceleration
    assert stream.push(acc=acc[32 * 8 : 32 * 8 + 5]) == []
    assert [rate.instant for rate in stream.push(acc=acc[32 * 8 + 5 : 32 * 8 + 6])] == [8.0]
    assert [rate.instant for rate in stream.push(acc=acc[32 * 8 + 6 : 32 * 10])] == []
    assert [rate.instant for rate in stream.finish()] == [10.0]


def test_hours_cost_no_memory_and_not_a_bit():
    rates, seconds = (25.0, 10.0), 2 * 3600
    pipe = pipeline(sampling_rate=16.0, bandpass=(0.5, 4.0))
    ppg, acc = samples(seconds, *rates)
    stream = HeartRateStream(pipe, *rates, stride=29.9)
    given_rates, sizes = [], []
    for start in range(0, seconds, 30):
        given_rates += stream.push(
            ppg=ppg[start * 25 : (start + 30) * 25], acc=acc[start * 10 : (start + 30) * 10]
        )
        sizes.append([len(sensor._state) for sensor in stream._sensors.values()])
    given_rates += stream.finish()
    assert np.max(sizes) <= 4096
    recording = Recording(ppg=ppg, ppg_rate=rates[0], acc=acc, acc_rate=rates[1])
    assert_same(given_rates, predicted(pipe, recording, stride=29.9))


def test_memory_does_not_grow_with_the_seconds_between_heart_rates():
    ppg, acc = samples()
    stream = HeartRateStream(pipeline(), 64, 32, stride=7200.0)
    for _ in range(60):
        stream.push(ppg=ppg, acc=acc)
    assert max(len(sensor._state) for sensor in stream._sensors.values()) <= 8192


def test_a_gap_is_known_for_as_long_as_readings_may_lie_over_it():
    """As long as `window` says, where that is longer than the windows of the pipeline."""
    ppg, acc = samples()
    ppg[64 * 20 : 64 * 21] = np.nan
    pipe = pipeline(window=4.0)
    stream = HeartRateStream(pipe, 64, 32, stride=0.5, window=12.0)
    recording = Recording(ppg=ppg, ppg_rate=64, acc=acc, acc_rate=32)
    expected = predicted(pipe, recording, stride=0.5, window=12.0)
    assert_same(pushed(stream, ppg, acc), expected)


def test_a_hole_is_waited_for_and_then_missing():
    ppg, acc = samples()
    pipe = pipeline()
    stream = HeartRateStream(pipe, 64, 32, max_delay=3.0, keep=True)
    rates = []
    for second in range(SECONDS):
        part = slice(second * 64, (second + 1) * 64)
        if second not in (20, 21):
            start = {} if second < 22 else {"ppg_start": second * 64}
            rates += stream.push(ppg=ppg[part], **start)
        rates += stream.push(acc=acc[second * 32 : (second + 1) * 32])
        if second == 22:
            # within the delay the first of two lost seconds comes
            assert rates[-1].instant == 18.0
            rates += stream.push(ppg=ppg[20 * 64 : 21 * 64], ppg_start=20 * 64)
            assert rates[-1].instant == 20.0
    with pytest.warns(UserWarning, match="64 samples of ppg came more than max_delay=3 s late"):
        stream.push(ppg=ppg[21 * 64 : 22 * 64], ppg_start=21 * 64)
    assert stream.n_dropped == 64
    rates += stream.finish()
    assert 22.0 not in [rate.instant for rate in rates]
    ppg[21 * 64 : 22 * 64] = np.nan
    recording = Recording(ppg=ppg, ppg_rate=64, acc=acc, acc_rate=32)
    assert stream.recording().gaps == recording.gaps
    assert_same(rates, predicted(pipe, recording))


def test_with_endless_patience_a_hole_is_filled_at_any_time():
    ppg, acc = samples()
    pipe = pipeline()
    stream = HeartRateStream(pipe, 64, 32, max_delay=np.inf)
    assert stream.push(ppg=ppg, acc=acc[32:], acc_start=32) == []
    rates = stream.push(acc=acc[:32], acc_start=0) + stream.finish()
    recording = Recording(ppg=ppg, ppg_rate=64, acc=acc, acc_rate=32)
    assert_same(rates, predicted(pipe, recording))


def test_sensors_may_be_pushed_one_after_the_other_in_large_packets():
    ppg, acc = samples()
    pipe = pipeline()
    stream = HeartRateStream(pipe, 64, 32, max_delay=1.0)
    rates = []
    for half in (0, 1):
        rates += stream.push(ppg=ppg[half * 1920 : (half + 1) * 1920])
        rates += stream.push(acc=acc[half * 960 : (half + 1) * 960])
    recording = Recording(ppg=ppg, ppg_rate=64, acc=acc, acc_rate=32)
    assert_same(rates + stream.finish(), predicted(pipe, recording))


def test_a_sensor_that_stops_misses_the_rest():
    ppg, acc = samples()
    pipe = pipeline()
    stream = HeartRateStream(pipe, 64, 32, keep=True)
    rates = stream.push(ppg=ppg[: 64 * 20], acc=acc[: 32 * 20])
    for second in range(20, SECONDS):
        rates += stream.push(ppg=ppg[second * 64 : (second + 1) * 64])
    assert [rate.instant for rate in rates] == [8, 10, 12, 14, 16, 18, 20]
    assert stream.finish() == []
    acc[32 * 20 :] = np.nan
    recording = Recording(ppg=ppg, ppg_rate=64, acc=acc, acc_rate=32)
    assert stream.recording().gaps == recording.gaps
    assert_same(rates, predicted(pipe, recording))


def test_ends_that_differ_little_are_those_of_a_recording():
    ppg, acc = samples()
    pipe = pipeline()
    stream = HeartRateStream(pipe, 64, 32)
    rates = stream.push(ppg=ppg, acc=acc[:-20]) + stream.finish()
    recording = Recording(ppg=ppg, ppg_rate=64, acc=acc[:-20], acc_rate=32)
    assert_same(rates, predicted(pipe, recording))
    assert rates[-1].instant == 58.0


def test_threads_may_push_one_sensor_each():
    ppg, acc = samples()
    pipe = pipeline()
    stream = HeartRateStream(pipe, 64, 32, max_delay=np.inf)
    rates = []

    def push(name, signal, size):
        for start in range(0, len(signal), size):
            rates.extend(stream.push(**{name: signal[start : start + size]}))

    threads = [Thread(target=push, args=args) for args in (("ppg", ppg, 50), ("acc", acc, 7))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rates = sorted(rates + stream.finish(), key=lambda rate: rate.instant)
    recording = Recording(ppg=ppg, ppg_rate=64, acc=acc, acc_rate=32)
    assert_same(rates, predicted(pipe, recording))


def test_what_an_error_interrupted_comes_with_the_next_push(monkeypatch):
    ppg, acc = samples()
    pipe = pipeline()
    recording = Recording(ppg=ppg, ppg_rate=64, acc=acc, acc_rate=32)
    expected = predicted(pipe, recording, stride=0.5)
    stream = HeartRateStream(pipe, 64, 32, stride=0.5)
    calls = iter([True, False])
    original = LooksAtEverySample.predict

    def fails_at_the_second_call(self, X, return_std=False):
        if not next(calls, True):
            raise KeyboardInterrupt
        return original(self, X, return_std)

    monkeypatch.setattr(LooksAtEverySample, "predict", fails_at_the_second_call)
    with pytest.raises(KeyboardInterrupt):
        stream.push(ppg=ppg, acc=acc)
    assert_same(stream.push() + stream.finish(), expected)


GOOD = np.ones(4)


@pytest.mark.parametrize(
    ("packet", "error", "message"),
    [
        ({"ppg": np.ones((4, 1))}, ValueError, r"ppg must have shape \(n_samples,\), got \(4, 1\)"),
        (
            {"acc": np.ones((3, 4))},
            ValueError,
            r"acc must have shape \(n_samples, 3\) in g, got \(3",
        ),
        ({"ppg": 1.0}, ValueError, r"ppg must have shape \(n_samples,\), got \(\)"),
        (
            {"ppg": [1, np.inf]},
            ValueError,
            "ppg must be finite, or NaN .* at index 1 of the packet",
        ),
        ({"ppg": ["a"]}, TypeError, "ppg must be numeric"),
        ({"ppg": GOOD, "ppg_start": -1}, ValueError, "ppg_start must be >= 0, got -1"),
        ({"ppg": GOOD, "ppg_start": 0.5}, TypeError, "ppg_start must be a whole number, got 0.5"),
        (
            {"ppg": GOOD, "ppg_start": np.nan},
            TypeError,
            "ppg_start must be a whole number, got nan",
        ),
        (
            {"ppg": GOOD, "ppg_start": 10**12},
            ValueError,
            "ppg_start must be the number of the packet",
        ),
        ({"acc": None, "acc_start": 3}, ValueError, "acc_start came without acc: pass both"),
    ],
)
def test_a_wrong_packet_is_refused_and_the_stream_goes_on(packet, error, message):
    ppg, acc = samples()
    pipe = pipeline()
    stream = HeartRateStream(pipe, 64, 32)
    rates = stream.push(ppg=ppg[:1000], acc=acc[:500])
    with pytest.raises(error, match=message):
        stream.push(**{"ppg": ppg[1000:], "acc": acc[500:], **packet})
    rates += stream.push(ppg=ppg[1000:], acc=acc[500:]) + stream.finish()
    recording = Recording(ppg=ppg, ppg_rate=64, acc=acc, acc_rate=32)
    assert_same(rates, predicted(pipe, recording))


def test_acceleration_goes_to_a_stream_that_has_it_and_the_other_way_round():
    with pytest.raises(ValueError, match=r"fitted on 4 channels, expected acc_rate .* got None"):
        HeartRateStream(pipeline(), 64)
    ppg, _ = samples()
    alone = Recording(ppg=ppg, ppg_rate=64).readings()
    pipe = make_pipeline(PPGWindower(), WithoutStd()).fit(alone, np.zeros(len(alone)))
    with pytest.raises(ValueError, match=r"fitted on 1 channels, expected acc_rate .* got 32"):
        HeartRateStream(pipe, 64, 32)
    with pytest.raises(ValueError, match="acc came, but the stream has no acc_rate"):
        HeartRateStream(pipe, 64).push(acc=np.ones((4, 3)))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ppg_rate": 0}, ValueError, "ppg_rate must be > 0, got 0"),
        ({"acc_rate": np.inf}, ValueError, "acc_rate must be > 0, got inf"),
        ({"stride": "2"}, TypeError, "stride must be a number, got '2'"),
        ({"max_delay": np.nan}, ValueError, "max_delay must be > 0, got nan"),
        ({"window": 7.0}, ValueError, "window must be at least the 8 s .* pass window=8"),
    ],
)
def test_wrong_parameters_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        HeartRateStream(pipeline(), **{"ppg_rate": 64, "acc_rate": 32, **arguments})


def test_only_fitted_pipelines_of_readings_are_taken(models):
    with pytest.raises(TypeError, match=r"pipe must be a pipeline that begins .* got WithoutStd"):
        HeartRateStream(WithoutStd(), 64)
    with pytest.raises(TypeError, match=r"must begin with a PPGWindower.* got StandardScaler"):
        HeartRateStream(make_pipeline(StandardScaler(), WithoutStd()), 64)
    with pytest.raises(NotFittedError):
        HeartRateStream(make_pipeline(PPGWindower(), WithoutStd()), 64)
    with pytest.raises(NotFittedError):
        HeartRateStream(HeartRateTracker(models["student"]), 64)
    ahead = HeartRateTracker(FrozenEstimator(models["student"]), method="kalman", lookahead=8.0)
    ahead.fit(Recording(ppg=samples()[0], ppg_rate=64, acc=samples()[1], acc_rate=32).readings())
    with pytest.raises(ValueError, match="the tracker looks 8 s ahead, expected lookahead=0"):
        HeartRateStream(ahead, 64, 32)


def test_wrong_units_warn_once_as_in_a_recording():
    ppg, acc = samples()
    stream = HeartRateStream(pipeline(), 64, 32)
    with pytest.warns(UserWarning, match="expected about 1 g at a wrist") as caught:
        pushed(stream, ppg, 9.81 * acc, packet=2.0)
    assert len(caught) == 1


def test_units_are_looked_at_where_there_are_samples():
    ppg, acc = samples()
    acc[: 32 * 20] = np.nan
    stream = HeartRateStream(pipeline(), 64, 32, max_delay=1.0)
    with pytest.warns(UserWarning, match="expected about 1 g at a wrist") as caught:
        rates = pushed(stream, ppg, 9.81 * acc, packet=2.0)
    assert len(caught) == 1
    assert rates[0].instant == 28.0


def test_recording_needs_all_samples_and_the_end():
    ppg, acc = samples(20)
    stream = HeartRateStream(pipeline(), 64, 32)
    stream.finish()
    with pytest.raises(ValueError, match=r"needs keep=True and finish.* got keep=False$"):
        stream.recording()
    with HeartRateStream(pipeline(), 64, 32, keep=True, name="Ann") as stream:
        stream.push(ppg=ppg, acc=acc)
        with pytest.raises(ValueError, match="got keep=True and no finish"):
            stream.recording()
    assert repr(stream.recording()).startswith("Recording('Ann': 20.0 s, PPG 64 Hz, ACC 32 Hz")


def test_after_the_end_nothing_is_taken_and_the_last_heart_rates_stay():
    ppg, acc = samples(20)
    with HeartRateStream(pipeline(), 64, 32) as stream:
        stream.push(ppg=ppg, acc=acc)
    assert [rate.instant for rate in stream.finish()] == [20.0]
    stream.finish().clear()
    assert [rate.instant for rate in stream.finish()] == [20.0]
    with pytest.raises(ValueError, match=r"push after finish\(\): begin another stream"):
        stream.push(ppg=ppg)
    assert HeartRateStream(pipeline(), 64, 32).finish() == []


def test_a_packet_of_no_sample_changes_nothing():
    ppg, acc = samples()
    stream = HeartRateStream(pipeline(), 64, 32)
    assert stream.push(ppg=[], ppg_start=3000) == []
    recording = Recording(ppg=ppg, ppg_rate=64, acc=acc, acc_rate=32)
    assert_same(pushed(stream, ppg, acc), predicted(stream.pipe, recording))


def test_an_error_within_the_block_ends_nothing():
    stream = HeartRateStream(pipeline(), 64, 32)
    with pytest.raises(KeyError), stream:
        raise KeyError
    assert stream.push(ppg=GOOD) == []


@pytest.mark.parametrize("name", ["student", "teacher"])
def test_networks_answer_a_window_alike_whatever_the_rows_and_threads(models, name):
    network = models[name][-1].network_
    rng = np.random.default_rng(0)
    windows = rng.normal(size=(70, 4, models[name][-1].n_times_)).astype(np.float32)
    every = run_network(network, windows)
    outside = torch.get_num_threads()
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            for n_rows in (1, 2, 3, 7, 31, 32, 33, 70):
                rows = rng.permutation(70)[:n_rows]
                for some, all_rows in zip(run_network(network, windows, rows), every, strict=True):
                    np.testing.assert_array_equal(some, all_rows[rows])
    finally:
        torch.set_num_threads(outside)
