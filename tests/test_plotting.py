"""Displays draw heart rates in order of time, and memory step by step."""

from __future__ import annotations

import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from pulsehr import Recording
from pulsehr.datasets import make_recordings
from pulsehr.firmware.memory import Block
from pulsehr.plotting import HeartRateDisplay, MemoryPlanDisplay

matplotlib.use("Agg")


@pytest.fixture
def ax():
    return Figure().subplots()


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_one_prediction_is_drawn_beside_the_labels(recording, ax):
    X = recording.labelled_readings()
    display = HeartRateDisplay.from_predictions(X, np.full(len(X), 75.0), ax=ax, label="mine")
    drawn = lines(ax)
    assert list(drawn) == ["label", "mine, MAE 3.0 bpm"]
    np.testing.assert_array_equal(drawn["label"].get_ydata(), 72.0)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert ax.get_legend().get_title().get_text() == "S1"


def test_several_predictions_are_overlaid_by_name(recording, ax):
    X = recording.labelled_readings()
    predictions = {"a": np.full(len(X), 72.0), "b": np.full(len(X), 82.0)}
    HeartRateDisplay.from_predictions(X, predictions, ax=ax)
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == [
        "label",
        "a, MAE 0.0 bpm",
        "b, MAE 10.0 bpm",
    ]


def test_rows_are_sorted_by_time(recording, ax):
    X = recording.labelled_readings()
    instants = np.array([reading.instant for reading in X])
    shuffled = np.random.default_rng(0).permutation(len(X))
    HeartRateDisplay.from_predictions([X[row] for row in shuffled], instants[shuffled], ax=ax)
    drawn = ax.get_lines()[1]
    np.testing.assert_array_equal(drawn.get_xdata(), instants)
    np.testing.assert_array_equal(drawn.get_ydata(), instants)


def test_readings_without_labels_are_drawn_alone(ax):
    recording = Recording(ppg=np.sin(np.arange(640) / 5), ppg_rate=32, subject="S2")
    HeartRateDisplay.from_predictions(recording.readings(), np.full(7, 60.0), ax=ax)
    assert list(lines(ax)) == ["predicted"]


def test_readings_between_labels_leave_the_error_as_it_is(recording, ax):
    X = recording.readings(stride=1.0)
    HeartRateDisplay.from_predictions(X, np.full(len(X), 73.0), ax=ax)
    assert "predicted, MAE 1.0 bpm" in lines(ax)


def test_a_figure_is_made_without_ax(recording):
    import matplotlib.pyplot as plt

    X = recording.labelled_readings()
    display = HeartRateDisplay.from_predictions(X, np.full(len(X), 72.0))
    first = display.figure_
    assert display.plot().figure_ is not first
    plt.close("all")


def test_readings_of_two_recordings_are_refused(recording, ax):
    other = Recording(ppg=recording.ppg, ppg_rate=64, subject="S2")
    X = [*recording.readings(), *other.readings()]
    with pytest.raises(ValueError, match="readings of one recording, got 2"):
        HeartRateDisplay.from_predictions(X, np.zeros(len(X)), ax=ax)


def test_windows_are_refused(ax):
    with pytest.raises(TypeError, match="HeartRateDisplay: X must hold readings, got ndarray"):
        HeartRateDisplay.from_predictions(np.zeros((2, 4, 256)), np.zeros(2), ax=ax)


def test_another_number_of_heart_rates_is_refused(recording, ax):
    X = recording.labelled_readings()
    with pytest.raises(ValueError, match=r"'mine' must have one .* \(27,\), got \(26,\)"):
        HeartRateDisplay.from_predictions(X, {"mine": np.zeros(26)}, ax=ax)


def test_without_matplotlib_the_error_names_the_extra(recording, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    X = recording.labelled_readings()
    with pytest.raises(ImportError, match=r'pip install "pulsehr\[plot\]"'):
        HeartRateDisplay.from_predictions(X, np.zeros(len(X)))


BLOCKS = (
    Block("conv", "input", 300, 0, 1, offset=0),
    Block("conv", "scratch", 100, 1, 1, offset=300),
    Block("dense", "input", 200, 1, 2, offset=400),
)


def test_a_block_is_a_rectangle_of_steps_and_bytes(ax):
    display = MemoryPlanDisplay(BLOCKS, ["row in", "conv", "dense"], 600).plot(ax)
    drawn = [patch.get_bbox().bounds for patch in ax.patches]
    assert drawn == [(0, 0, 2, 300), (1, 300, 1, 100), (1, 400, 2, 200)]
    assert [text.get_text() for text in ax.texts] == ["conv, 300 B", "conv, 100 B", "dense, 200 B"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["row in", "conv", "dense"]
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 3), (0, 600))
    assert ax.get_ylabel() == "byte of the arena (of 600)"
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["whole input of a segment or layer", "scratch of a kernel"]
    assert (display.ax_, display.figure_) == (ax, ax.figure)


def test_a_memory_plan_without_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'MemoryPlanDisplay needs.*"pulsehr\[plot\]"'):
        MemoryPlanDisplay(BLOCKS, ["row in", "conv", "dense"], 600).plot()


def test_readings_over_gaps_are_counted_and_do_not_hide_the_error():
    data = make_recordings(n_subjects=1, duration=60, random_state=0)
    some, none = data.y + 2, np.full(len(data.y), np.nan)
    some[3] = np.nan
    display = HeartRateDisplay.from_predictions(
        data.X, {"some": some, "none": none}, ax=Figure().subplots()
    )
    told = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert told == ["label", "some, MAE 2.0 bpm, 1 of 27 NaN", "none, 27 of 27 NaN"]
