"""The live examples: a replay tells the heart rates of `predict`, and belts are understood."""

from __future__ import annotations

import io
import re
import resource
import sys
from datetime import UTC, datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def loaded(name):
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses ask for it
    spec.loader.exec_module(module)
    return module


belt = loaded("live_belt")


@pytest.mark.parametrize("track", [False, True])
def test_a_fast_replay_shows_what_predict_says_afterwards(track, capsys):
    assert loaded("live_replay").main(speed=1e6, track=track, duration=20)
    printed = capsys.readouterr().out
    lines = re.findall(r"^ +(\d+\.0)s +\d+\.\d \+- +\d+\.\d +\d* +#+$", printed, re.MULTILINE)
    assert lines == [f"{second}.0" for second in range(8, 21, 2)]
    assert "7 heart rates, those of predict on the recording to the bit: True" in printed


def test_a_replay_takes_its_time(monkeypatch):
    replay = loaded("live_replay")
    clock = SimpleNamespace(now=100.0, slept=[])
    clock.monotonic = lambda: clock.now
    clock.sleep = clock.slept.append
    monkeypatch.setattr(replay, "time", clock)
    assert list(replay.in_time([(0.5, "a"), (1.0, "b")], speed=2)) == ["a", "b"]
    assert clock.slept == [0.25, 0.5]


@pytest.mark.parametrize(
    ("notification", "expected"),
    [
        ("00 48", belt.BeltReading(72)),
        ("01 2c01", belt.BeltReading(300)),
        # flag bits 1 and 2: contact felt, not felt, and what says nothing without bit 2
        ("06 48", belt.BeltReading(72, contact=True)),
        ("04 48", belt.BeltReading(72, contact=False)),
        ("02 48", belt.BeltReading(72)),
        ("08 48 0a00", belt.BeltReading(72, energy=10)),
        ("10 48 0004", belt.BeltReading(72, rr=(1.0,))),
        ("10 48", belt.BeltReading(72)),
        ("1f 4800 ffff 0002 0004 0006", belt.BeltReading(72, True, 65535, (0.5, 1.0, 1.5))),
        # reserved bits say nothing
        ("e0 48", belt.BeltReading(72)),
    ],
)
def test_notifications_are_read_as_the_specification_says(notification, expected):
    assert belt.parse_measurement(bytes.fromhex(notification)) == expected


@pytest.mark.parametrize(
    ("notification", "message"),
    [
        ("", "expected 2 bytes by its flags, got 0: nothing"),
        ("00", "expected 2 bytes by its flags, got 1: 00"),
        ("01 48", "expected 3 bytes by its flags, got 2: 01 48"),
        ("08 48 0a", "expected 4 bytes by its flags, got 3: 08 48 0a"),
        ("10 48 00", "expected 2 bytes by its flags and two for each RR interval, got 3"),
        ("00 48 0004", "expected 2 bytes by its flags, got 4: 00 48 00 04"),
    ],
)
def test_a_notification_of_another_length_is_refused(notification, message):
    with pytest.raises(ValueError, match=message):
        belt.parse_measurement(bytes.fromhex(notification))


def test_the_log_holds_heart_rates_alone_and_reads_as_a_table(capsys):
    file = io.StringIO()
    log = belt.BeltLog(file)
    start = datetime(2026, 1, 31, 12, tzinfo=UTC)
    for second, data in enumerate(["16 48 0004", "14 00", "04 48", "00", "16 49 5503 5503"]):
        log(bytes.fromhex(data), start + timedelta(seconds=second))
    assert (log.n_written, log.n_left_out) == (2, 3)
    assert "left out: heart rate measurement: expected 2 bytes" in capsys.readouterr().out
    table = pd.read_csv(io.StringIO(file.getvalue()))
    times = pd.to_datetime(table["time"], format="ISO8601", utc=True)
    assert (times - pd.Timestamp(start)).dt.total_seconds().tolist() == [0.0, 4.0]
    assert table["heart_rate"].tolist() == [72, 73]
    assert table["rr"].tolist() == ["1.0000", "0.8330 0.8330"]


class BleakError(Exception):
    pass


def bleak_with(notifications, services=(belt.SERVICE,)):
    """Return what the example needs of bleak, with a belt that says something and then leaves."""

    class Client:
        def __init__(self, device, disconnected_callback):
            self.leave = lambda: disconnected_callback(self)

        async def __aenter__(self):
            return self

        async def __aexit__(self, *error):
            pass

        async def start_notify(self, characteristic, callback):
            assert characteristic == belt.MEASUREMENT
            for data in notifications:
                callback(None, bytearray.fromhex(data))
            self.leave()

    class Scanner:
        @staticmethod
        async def find_device_by_filter(is_belt, timeout):
            device = SimpleNamespace(name="Belt 1")
            return device if is_belt(device, SimpleNamespace(service_uuids=services)) else None

    exc = SimpleNamespace(BleakError=BleakError)
    return SimpleNamespace(BleakClient=Client, BleakScanner=Scanner, exc=exc)


def test_a_belt_is_logged_until_it_leaves(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "bleak", bleak_with(["00 48", "00 49"]))
    assert belt.main(tmp_path / "belt.csv", name="Belt") == 2
    assert pd.read_csv(tmp_path / "belt.csv")["heart_rate"].tolist() == [72, 73]
    assert "connected to Belt 1" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"belt\.csv is there already"):
        belt.main(tmp_path / "belt.csv")


def test_a_full_disk_ends_the_log_and_what_was_written_stays(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "bleak", bleak_with(["00 48"] * 20))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
    try:
        with pytest.raises(SystemExit, match=r"the log ends here, .* cut: .*File too large"):
            belt.main(tmp_path / "belt.csv")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    lines = (tmp_path / "belt.csv").read_text().splitlines()
    assert [line.split(",")[1:] for line in lines[1:-1]] == [["72", ""]] * 4


def failing_search(error):
    async def find_device_by_filter(is_belt, timeout):
        raise error

    module = bleak_with([])
    module.BleakScanner = SimpleNamespace(find_device_by_filter=find_device_by_filter)
    return module


@pytest.mark.parametrize(
    ("bleak", "message"),
    [
        (None, r'pip install "pulsehr\[belt\]"'),
        (bleak_with([], services=()), "no heart-rate belt in 20 s: wear it"),
        (failing_search(BleakError("off")), r"Bluetooth does not work here \(off\): it needs an"),
        (failing_search(FileNotFoundError("no bus")), "Bluetooth does not work here .no bus"),
    ],
    ids=["no bleak", "no belt", "no adapter", "no service"],
)
def test_what_is_missing_is_said_and_no_file_stays(bleak, message, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "bleak", bleak)
    with pytest.raises(SystemExit, match=message):
        belt.main(tmp_path / "belt.csv")
    assert not list(tmp_path.iterdir())
