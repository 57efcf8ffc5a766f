"""The lines of the pages on own recordings, gaps and live heart rates run as they are written."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pulsehr import Recording, load_pretrained
from pulsehr.datasets import make_recordings

DOCS = Path(__file__).parents[1] / "docs"
GRAVITY = 9.80665


def run(page: str, **given: object) -> dict[str, object]:
    """Run the Python of a page from its first line to its last, and return its names."""
    names = {"Recording": Recording, "load_pretrained": load_pretrained, **given}
    text = (DOCS / page).read_text(encoding="utf-8")
    for number, lines in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL)):
        exec(compile(lines, f"{page}, block {number}", "exec"), names)
    return names


@pytest.fixture(scope="module")
def made():
    return make_recordings(1, 330, activities=["rest"], random_state=0).recordings[0]


def belt_of(recording):
    """Return the log of a belt by another's mean heart rates: seconds, and bpm."""
    seconds = np.arange(0.0, recording.duration)
    bpm = np.interp(seconds + 4, recording.heart_rate_times, recording.heart_rate)
    return seconds, bpm.round()


def dates(seconds):
    stamps = pd.Timestamp("2026-01-31T12:00:00Z") + pd.to_timedelta(seconds, unit="s")
    return stamps.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def milliseconds(seconds):
    return 1_769_860_800_000 + np.round(1e3 * np.asarray(seconds)).astype(np.int64)


def write_dates(folder, recording):
    """Write both sensors in one table with dates, acceleration in m/s^2, and a belt."""
    table = pd.DataFrame({"time": dates(np.arange(len(recording.ppg)) / 64), "ppg": recording.ppg})
    for axis, values in zip("xyz", GRAVITY * np.asarray(recording.acc).T, strict=True):
        table[f"acc_{axis}"] = np.nan
        table.loc[::2, f"acc_{axis}"] = values
    table.to_csv(folder / "walk.csv", index=False)
    seconds, bpm = belt_of(recording)
    belt = pd.DataFrame({"time": dates(seconds), "heart_rate": bpm})
    belt.to_csv(folder / "walk_belt.csv", index=False)


def write_milliseconds(folder, recording):
    """Write a table per sensor with stamps in ms since 1970, and a belt that is 4 s fast."""
    ppg_times = milliseconds(np.arange(len(recording.ppg)) / recording.ppg_rate)
    acc_times = milliseconds(np.arange(len(recording.acc)) / recording.acc_rate)
    acc = dict(zip("xyz", GRAVITY * np.asarray(recording.acc).T, strict=True))
    seconds, bpm = belt_of(recording)
    for name, columns in {
        "ppg": {"timestamp": ppg_times, "green": recording.ppg},
        "acc": {"timestamp": acc_times, **acc},
        "belt": {"timestamp": milliseconds(seconds + 4), "hr": bpm},
    }.items():
        pd.DataFrame(columns).to_csv(folder / f"run_{name}.csv", index=False)


def test_own_recordings(made, tmp_path, monkeypatch, capsys):
    write_dates(tmp_path, made)
    other = make_recordings(1, 180, ppg_rate=100, acc_rate=50, random_state=0).recordings[0]
    write_milliseconds(tmp_path, other)
    monkeypatch.chdir(tmp_path)
    names = run("own_recordings.md", ppg=made.ppg, acc=np.asarray(made.acc))
    assert len(re.findall("lag .* Nothing was shifted", capsys.readouterr().out)) == 2
    assert names["data"].groups.tolist() == ["me"] * 162
    np.testing.assert_allclose(names["data"].y, made.heart_rate, atol=2)
    last = names["recording"]
    assert (last.ppg_rate, last.acc_rate, last.subject) == (100, 50, "me")
    assert np.median(np.linalg.norm(last.acc, axis=1)) == pytest.approx(1, abs=0.1)
    assert names["report"].start == pytest.approx(1_769_860_800)
    np.testing.assert_allclose(last.heart_rate_times, other.heart_rate_times)
    np.testing.assert_allclose(last.heart_rate, other.heart_rate, atol=3)


@pytest.mark.filterwarnings("ignore::pulsehr.exceptions.MissingSamplesWarning")
def test_gaps(made):
    ppg = np.array(made.ppg)
    ppg[round(310.5 * 64) : 312 * 64] = np.nan
    names = run("gaps.md", ppg=ppg, acc=np.asarray(made.acc))
    gap = names["recording"].gaps[0]
    assert (gap.signal, gap.start, gap.end) == ("ppg", 310.5, 312)
    assert len(names["readings"]) == 158
    assert np.isnan(names["bpm"]).sum() == 1  # a reflected window needs no more past
    assert len(names["quality"].missing) == 158


def test_live(made, capsys):
    watch = [
        SimpleNamespace(ppg=made.ppg[64 * k : 64 * (k + 1)], acc=made.acc[32 * k : 32 * (k + 1)])
        for k in range(20)
    ]
    names = run("live.md", watch=watch)
    lines = capsys.readouterr().out.splitlines()
    bpm = load_pretrained("student").predict(names["recording"].readings())
    shown = [float(line.split()[1]) for line in lines]
    assert shown + [reading.heart_rate for reading in names["last"]] == bpm.tolist()
    assert len(shown) > 5
