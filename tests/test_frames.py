"""A table becomes the recording that was measured, or an error; nothing is made up in silence."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulsehr import Recording
from pulsehr.exceptions import RepairedDataWarning
from pulsehr.frames import read_frame

pd = pytest.importorskip("pandas", reason="pandas is not installed: pip install 'pulsehr[data]'")

ACC = ("acc_x", "acc_y", "acc_z")


def table(n=640, rate=64.0, start=0.0, acc=True, seed=0):
    """Rows at a regular rate, noise in all columns, gravity along z."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"time": start + np.arange(n) / rate, "ppg": rng.normal(size=n)})
    for k, name in enumerate(ACC if acc else ()):
        frame[name] = rng.normal(loc=k == 2, scale=0.1, size=n)
    return frame


def expected(frame):
    return frame["ppg"].to_numpy(np.float32), frame[list(ACC)].to_numpy(np.float32)


@settings(max_examples=60)
@given(
    n=st.integers(40, 700),
    rate=st.sampled_from([25.0, 32.0, 50.0, 64.0, 100.0, 125.0, 128.0, 256.0, 29.97, 51.2]),
    start=st.sampled_from([0.0, 3.7, 1.7e9]),
)
def test_a_regular_table_is_the_recording_of_its_columns(n, rate, start):
    frame = table(n, rate, start)
    recording, report = read_frame(frame)
    ppg, acc = expected(frame)
    assert (recording.ppg_rate, recording.acc_rate) == (rate, rate)
    assert np.array_equal(recording.ppg, ppg)
    assert np.array_equal(recording.acc, acc)
    assert report.faults() == []
    assert report.ppg.n_interpolated == report.acc.n_missing == 0
    assert report.start == pytest.approx(start, abs=1e-6)


@settings(max_examples=40)
@given(
    n=st.integers(100, 700),
    rate=st.sampled_from([25.0, 64.0, 100.0]),
    lost=st.sets(st.integers(2, 97), max_size=15),
)
@pytest.mark.filterwarnings("ignore::pulsehr.exceptions.RepairedDataWarning")
def test_lost_rows_are_missing_samples_and_nothing_else_changes(n, rate, lost):
    frame = table(n, rate)
    recording, report = read_frame(frame.drop(index=list(lost)))
    ppg, acc = expected(frame)
    ppg[list(lost)], acc[list(lost)] = np.nan, np.nan
    assert recording.ppg_rate == rate
    assert np.array_equal(recording.ppg, ppg, equal_nan=True)
    assert np.array_equal(recording.acc, acc, equal_nan=True)
    assert report.ppg.n_missing == len(lost)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), n=st.integers(40, 400))
def test_shuffled_rows_give_the_same_recording(seed, n):
    frame = table(n)
    shuffled = frame.sample(frac=1, random_state=seed)
    one, other = Recording.from_frame(frame), Recording.from_frame(shuffled)
    assert np.array_equal(one.ppg, other.ppg)
    assert np.array_equal(one.acc, other.acc)


@settings(max_examples=80)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore::pulsehr.exceptions.RepairedDataWarning")
def test_every_sample_is_where_it_was_measured_whatever_the_stamps(data):
    """The PPG is the time itself; clocks drift, stamps jitter and are rounded, rows are lost."""
    seed = data.draw(st.integers(0, 2**31))
    rate = data.draw(st.floats(20, 300))
    jitter = data.draw(st.sampled_from([0.0, 0.02, 0.1, 0.3]))
    digits = data.draw(st.sampled_from([3, 6, 9]))
    lost = data.draw(st.sampled_from([0.0, 0.01, 0.1]))
    pause = data.draw(st.sampled_from([0.0, 0.7, 5.3]))
    told = data.draw(st.sampled_from([None, 1.0, 1.01]))
    rng = np.random.default_rng(seed)
    seconds = (np.arange(600) + jitter * rng.uniform(-0.5, 0.5, 600)) / rate
    seconds[300:] += pause
    seconds = np.round(seconds[rng.random(600) >= lost], digits)
    frame = pd.DataFrame({"time": seconds, "ppg": seconds})
    recording, report = read_frame(frame, acc=None, ppg_rate=told and told * rate)
    instants = report.start + np.arange(len(recording.ppg)) / recording.ppg_rate
    away = np.abs(recording.ppg - instants) * recording.ppg_rate
    held = ~np.isnan(away)
    assert away[held][1:-1].max() <= 0.1 + 1e-3  # float32
    assert away[[0, -1]][held[[0, -1]]].max(initial=0) < 1
    # missing between samples that are too far apart for one to be lost, and nowhere else
    after = np.clip(np.searchsorted(seconds, instants), 1, len(seconds) - 1)
    step = (seconds[after] - seconds[after - 1]) * recording.ppg_rate
    nearest = np.minimum(seconds[after] - instants, instants - seconds[after - 1])
    assert (step[~held] > 1.5).all()
    assert (step[held & (nearest * recording.ppg_rate > 0.101)][1:-1] <= 1.5 + 1e-6).all()


def test_sensors_in_rows_of_their_own_keep_their_rates():
    ppg, acc = table(640, 64.0, acc=False), table(320, 32.0).drop(columns="ppg")
    recording = Recording.from_frame(pd.concat([ppg, acc]).sort_values("time"))
    assert (recording.ppg_rate, recording.acc_rate) == (64, 32)
    assert np.array_equal(recording.ppg, ppg["ppg"].to_numpy(np.float32))
    assert np.array_equal(recording.acc, acc[list(ACC)].to_numpy(np.float32))


def test_the_acceleration_may_be_a_second_table_with_stamps_of_its_own_name():
    acc = table(320, 32.0).rename(columns={"time": "t"})
    recording = Recording.from_frame(table(640, 64.0), acc_frame=acc, acc_time="t")
    assert (recording.ppg_rate, recording.acc_rate) == (64, 32)
    assert np.array_equal(recording.acc, acc[list(ACC)].to_numpy(np.float32))


def test_second_zero_is_the_first_ppg_sample_for_both_sensors():
    acc = table(400, 32.0, start=98.0)  # two seconds before the PPG and half a second after it
    recording, report = read_frame(table(640, 64.0, start=100.0), acc_frame=acc)
    assert report.start == 100.0
    assert np.array_equal(recording.acc, acc[list(ACC)].to_numpy(np.float32)[64:384])


def test_acceleration_between_the_instants_of_the_grid_is_interpolated():
    seconds = np.arange(0.01, 20, 1 / 32)
    slope = seconds / 10
    acc = pd.DataFrame({"time": seconds, "acc_x": slope, "acc_y": -slope, "acc_z": 1 + slope})
    recording, report = read_frame(table(1280, 64.0), acc_frame=acc)
    assert recording.acc_rate == 32
    assert recording.acc[0] == pytest.approx([0.001, -0.001, 1.001])  # held for 0.3 of a sample
    later = np.arange(1, len(recording.acc)) / 320
    assert recording.acc[1:, 0] == pytest.approx(later, abs=1e-6)
    assert report.acc.n_interpolated == len(later)
    assert report.faults() == []


def test_acceleration_that_starts_late_or_ends_early_is_missing_there():
    acc = table(192, 32.0, start=2.0)  # seconds 2 to 8 of 10
    with pytest.warns(RepairedDataWarning, match=r"40\.0% of acc is missing"):
        recording = Recording.from_frame(table(640, 64.0), acc_frame=acc)
    missing = np.isnan(recording.acc).any(axis=1)
    assert np.flatnonzero(~missing)[[0, -1]].tolist() == [64, 255]
    assert recording.duration == 10


@pytest.mark.parametrize(("unit", "per_second"), [("ms", 1e3), ("us", 1e6), ("ns", 1e9)])
@pytest.mark.parametrize("kind", [np.float64, np.int64])
def test_numeric_stamps_have_the_unit_that_is_named(unit, per_second, kind):
    frame = table(500, 50.0, start=1_700_000_000.0)
    frame["time"] = (frame["time"] * per_second).round().astype(kind)
    recording = Recording.from_frame(frame, time_unit=unit)
    assert recording.ppg_rate == 50
    assert np.array_equal(recording.ppg, frame["ppg"].to_numpy(np.float32))


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Athens"])
@pytest.mark.parametrize("resolution", ["ms", "us", "ns"])
def test_dates_of_any_zone_and_resolution_are_stamps(zone, resolution):
    frame = table(640, 64.0)
    stamps = pd.date_range("2026-01-01T12:00:00.5", periods=640, freq="15625us", tz=zone)
    frame["time"] = stamps.as_unit(resolution)
    recording, report = read_frame(frame)
    assert recording.ppg_rate == 64
    assert np.array_equal(recording.ppg, frame["ppg"].to_numpy(np.float32))
    hours = 2 if zone == "Europe/Athens" else 0
    start = np.datetime64("2026-01-01T12:00:00.5") - np.timedelta64(hours, "h")
    assert abs(report.start - start) <= np.timedelta64(1, "ms")


def test_the_index_may_be_the_time_and_so_may_durations():
    frame = table(640, 64.0)
    indexed = frame.set_index(pd.to_timedelta(frame["time"], unit="s"))
    recording = Recording.from_frame(indexed, time=indexed.index)
    assert np.array_equal(recording.ppg, frame["ppg"].to_numpy(np.float32))


def test_stamps_rounded_to_milliseconds_tell_the_true_rate_and_move_no_sample():
    frame = table(64 * 600, 64.0)
    frame["time"] = (frame["time"] * 1000).astype(int)
    recording, report = read_frame(frame, time_unit="ms")
    assert recording.ppg_rate == 64  # where the median step says 62.5 Hz
    assert np.array_equal(recording.ppg, frame["ppg"].to_numpy(np.float32))
    assert report.ppg.jitter < 0.001


@pytest.mark.parametrize(("rate", "resolution"), [(80.0, 0.01), (416.0, 1 / 1024), (40.0, 0.02)])
def test_stamps_rounded_so_much_that_samples_may_be_lost_are_refused(rate, resolution):
    seconds = np.floor(np.arange(2400) / rate / resolution + 1e-9) * resolution
    frame = pd.DataFrame({"time": seconds, "ppg": np.sin(np.arange(2400))})
    with pytest.raises(ValueError, match=r"expected one sampling rate.*or rounded too much"):
        Recording.from_frame(frame, acc=None)


def test_a_clock_set_back_by_half_a_sample_more_is_refused():
    seconds = np.arange(640) / 64
    seconds[300:] -= 2.5 / 64
    frame = pd.DataFrame({"time": seconds, "ppg": np.sin(seconds)})
    with pytest.raises(ValueError, match="the clock was set back"):
        Recording.from_frame(frame, acc=None)


def test_a_clock_of_its_own_is_measured_not_rounded_away():
    frame = table(64 * 600, 63.9213, acc=False)
    recording = Recording.from_frame(frame, acc=None)
    assert recording.ppg_rate == pytest.approx(63.9213, abs=1e-4)
    assert np.array_equal(recording.ppg, frame["ppg"].to_numpy(np.float32))


def test_a_rate_that_the_stamps_do_not_keep_is_told_and_the_stamps_are_believed():
    seconds = np.arange(6400) / 63.5
    frame = pd.DataFrame({"time": seconds, "ppg": np.sin(2 * np.pi * 1.5 * seconds)})
    with pytest.warns(RepairedDataWarning, match=r"ppg has 63\.5 Hz .*not 64 Hz \(-0\.78%\)"):
        recording = Recording.from_frame(frame, acc=None, ppg_rate=64)
    assert recording.ppg_rate == 64
    true = np.sin(2 * np.pi * 1.5 * np.arange(len(recording.ppg)) / 64)
    assert np.abs(recording.ppg - true).max() < 0.003  # linear: at most (w / rate)^2 / 8


def test_jitter_is_resampled_by_its_stamps_and_told():
    rng = np.random.default_rng(0)
    seconds = np.arange(6400) / 100 + rng.uniform(-0.002, 0.002, size=6400)
    frame = pd.DataFrame({"time": seconds, "ppg": np.sin(2 * np.pi * 1.5 * seconds)})
    with pytest.warns(RepairedDataWarning, match=r"of ppg is interpolated: its time stamps are up"):
        recording, report = read_frame(frame, acc=None)
    assert recording.ppg_rate == 100
    true = np.sin(2 * np.pi * 1.5 * (report.start + np.arange(len(recording.ppg)) / 100))
    assert np.abs(recording.ppg - true)[1:-1].max() < 0.003  # the first and the last are held


def test_no_lost_sample_is_made_up_unless_asked_for():
    seconds = np.arange(640) / 64
    frame = pd.DataFrame({"time": seconds, "ppg": np.sin(seconds)}).drop(index=[100, 300, 301, 302])
    recording, report = read_frame(frame, acc=None)
    assert np.flatnonzero(np.isnan(recording.ppg)).tolist() == [100, 300, 301, 302]
    bridged, report = read_frame(frame, acc=None, max_gap=2 / 64)
    assert np.flatnonzero(np.isnan(bridged.ppg)).tolist() == [300, 301, 302]
    assert bridged.ppg[100] == pytest.approx((np.sin(99 / 64) + np.sin(101 / 64)) / 2)
    assert (report.ppg.n_interpolated, report.ppg.n_missing) == (1, 3)


def test_a_device_that_was_restarted_leaves_a_gap_and_its_samples_where_they_were():
    first, second = table(640, 64.0), table(640, 64.0, start=40.0, seed=1)
    frame = pd.concat([first, second], ignore_index=True)
    with pytest.warns(RepairedDataWarning, match=r"60\.0% of ppg is missing"):
        recording = Recording.from_frame(frame)
    assert recording.duration == 50
    assert np.array_equal(recording.ppg[:640], first["ppg"].to_numpy(np.float32))
    assert np.isnan(recording.ppg[640:2560]).all()
    assert np.array_equal(recording.ppg[2560:], second["ppg"].to_numpy(np.float32))


def test_missing_values_in_a_column_are_missing_samples():
    frame = table(640, 64.0)
    frame["ppg"] = frame["ppg"].astype("Float64")
    frame.loc[50, "ppg"] = pd.NA
    frame.loc[70, "acc_y"] = np.nan
    recording = Recording.from_frame(frame)
    assert np.flatnonzero(np.isnan(recording.ppg)).tolist() == [50]
    assert np.flatnonzero(np.isnan(recording.acc).all(axis=1)).tolist() == [70]


def test_rows_that_came_twice_count_once():
    frame = table(640, 64.0)
    with pytest.warns(RepairedDataWarning, match="3 rows of ppg came twice"):
        recording = Recording.from_frame(pd.concat([frame, frame.iloc[20:23]]))
    assert np.array_equal(recording.ppg, frame["ppg"].to_numpy(np.float32))


@pytest.mark.parametrize(
    ("unit", "factor"), [("g", 1.0), ("mg", 1e3), ("m/s^2", 9.80665), (64, 64.0)]
)
def test_acceleration_has_the_unit_that_is_named(unit, factor):
    frame = table(640, 64.0)
    _, acc = expected(frame)
    frame[list(ACC)] *= factor
    recording = Recording.from_frame(frame, acc_unit=unit)
    assert recording.acc == pytest.approx(acc, rel=1e-6, abs=1e-7)


def test_acceleration_that_is_far_from_one_g_is_told():
    with pytest.warns(RepairedDataWarning, match=r"median length of 0\.1 g.*in 'm/s\^2', and with"):
        Recording.from_frame(table(640, 64.0), acc_unit="m/s^2")
    with pytest.warns(
        UserWarning, match=r"divide m/s\^2 by 9.81.* or tell from_frame their acc_un"
    ):
        Recording.from_frame(table(640, 64.0).mul({"time": 1, "ppg": 1} | dict.fromkeys(ACC, 9.8)))


def test_rows_at_constant_rates_need_no_stamps():
    frame = table(640, 64.0).drop(columns="time")
    recording, report = read_frame(frame, time=None, ppg_rate=64, subject="S1", name="walk")
    ppg, acc = expected(frame)
    assert np.array_equal(recording.ppg, ppg)
    assert np.array_equal(recording.acc, acc)
    assert (recording.acc_rate, recording.subject, recording.name) == (64, "S1", "walk")
    assert report.start is None
    slow = table(320, 32.0)
    two = Recording.from_frame(frame, time=None, acc_frame=slow, ppg_rate=64, acc_rate=32)
    assert np.array_equal(two.acc, slow[list(ACC)].to_numpy(np.float32))


class Hidden:
    """A frame of another library, of which only the interchange protocol is known."""

    def __init__(self, frame):
        self._frame = frame

    def __dataframe__(self, nan_as_null=False, allow_copy=True):
        return self._frame.__dataframe__(allow_copy=allow_copy)


def test_the_interchange_protocol_gives_the_same_recording():
    frame = table(640, 64.0)
    frame["time"] = pd.date_range("2026-01-01", periods=640, freq="15625us")
    one, other = Recording.from_frame(frame), Recording.from_frame(Hidden(frame))
    assert np.array_equal(one.ppg, other.ppg)
    assert np.array_equal(one.acc, other.acc)
    assert one.ppg_rate == other.ppg_rate == 64


def test_what_pandas_cannot_exchange_is_an_error_with_a_way_out():
    class Broken:
        def __dataframe__(self, nan_as_null=False, allow_copy=True):
            raise NotImplementedError("not today")

    with pytest.raises(TypeError, match=r"expected a Broken that pandas .*make a dict of its col"):
        Recording.from_frame(Broken())


def test_mappings_and_structured_arrays_are_tables_too():
    frame = table(640, 64.0)
    columns = {name: frame[name].tolist() for name in frame}
    records = frame.to_records(index=False)
    for other in (columns, records, records.view(np.ndarray)):
        assert np.array_equal(Recording.from_frame(other).ppg, frame["ppg"].to_numpy(np.float32))


def changed(**columns):
    return table(640, 64.0).assign(**columns)


TIMES = np.arange(640) / 64


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (changed().drop(columns="ppg"), {}, "expected a column 'ppg', got ['time', 'acc_x'"),
        (changed().drop(columns="ppg"), {}, "'acc_y', 'acc_z']: name it with ppg="),
        (changed().drop(columns="acc_y"), {}, "a column 'acc_y', got ['time', 'ppg', 'acc_x',"),
        (changed().drop(columns="acc_y"), {}, "or take acc=None"),
        (changed(), {"acc_frame": {"t": TIMES}}, "pass their own table as acc_frame="),
        (changed().drop(columns="time"), {}, "expected time stamps in a column 'time'"),
        (changed(), {"time_unit": "min"}, "time_unit must be one of ['s', 'ms', 'us', 'ns']"),
        (changed(), {"acc_unit": "ms2"}, "acc_unit must be one of ['g', 'mg', 'm/s^2'] or the"),
        (changed(), {"acc_unit": 0}, "or the counts per g, got 0"),
        (changed(), {"acc": ("acc_x",)}, "acc must name three columns"),
        (changed(), {"max_gap": 0}, "max_gap must be > 0 s, got 0"),
        (changed(), {"ppg_rate": -1}, "ppg_rate must be > 0 Hz, got -1"),
        (changed(), {"ppg_rate": 50}, "short"),
        (changed(), {"ppg_rate": 67}, "expected 67 Hz as told, got 64 Hz by the time stamps"),
        (changed(time=TIMES * 1000), {}, "got 0.064 Hz by the time stamps: is time_unit right?"),
        (changed(), {"time_unit": "ms"}, "got 64000 Hz by the time stamps"),
        (changed(time=np.floor(TIMES)), {}, "expected one sample per time stamp"),
        (changed(time=np.where(TIMES < 3, np.nan, TIMES)), {}, "got 192 without: drop those rows"),
        (changed(time=np.where(TIMES < 8, TIMES, TIMES - 1.003)), {}, "the clock was set back"),
        (
            changed(time=np.arange(640) // 8 * 8 / 64 + np.arange(640) % 8 * 0.001),
            {"ppg_rate": 64},
            "got 88% of the steps shorter than half of that: are the stamps those of packets",
        ),
        (
            changed(time=np.arange(640) // 3 * 3 / 64 + np.arange(640) % 3 * 0.001),
            {},
            "of the steps longer than 1.5 of it: are the stamps those of packets, or rounded",
        ),
        (changed(time=np.where(TIMES < 9, TIMES, 3e8)).iloc[:577], {}, "after 8.98438 s: cut the"),
        (changed(time=np.where(TIMES < 9, TIMES, np.inf)), {}, "got 64 without: drop those rows"),
        (changed(), {"acc_frame": table(start=50.0)}, "got 50 to 59.9844 s: do both have stamps"),
        (changed(), {"acc_frame": table().iloc[:0]}, "got none: do both have stamps"),
        (changed(ppg=np.nan), {}, "expected rows with ppg and a time stamp, got none"),
        (changed().iloc[:2], {}, "expected at least 3 samples with time stamps, got 2"),
        (changed(), {"time": None}, "ppg_rate must be given without time stamps"),
        (changed(), {"time": None, "ppg_rate": 64, "acc_rate": 32}, "give time stamps, or an acc"),
        (changed(), {"time": TIMES[:5]}, "expected a time stamp per row, got 5 for 640 rows"),
        (
            changed(),
            {"acc_frame": changed(time=pd.date_range("2026-01-01", periods=640, freq="15ms"))},
            "of one kind, got numbers and dates without time zone",
        ),
    ],
)
def test_what_cannot_be_read_for_certain_is_an_error(frame, options, message):
    if message == "short":
        message = "expected 50 Hz as told, got 64 Hz by the time stamps"
    with pytest.raises(ValueError, match=re.escape(message)):
        Recording.from_frame(frame, **options)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (changed(ppg="x"), "column 'ppg' must be numeric, got"),
        (changed(time=pd.Series(TIMES).astype(str)), "parse text first, with pandas.to_datetime"),
        ([1, 2, 3], "expected a table with the columns"),
    ],
)
def test_what_is_no_number_and_no_time_is_an_error(frame, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        Recording.from_frame(frame)
