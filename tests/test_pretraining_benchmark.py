"""The pretext asks for the ratio of two heart rates, of the same seconds at two speeds."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline

from pulsehr import PPGWindower, PulseTeacherRegressor
from pulsehr.baselines import SpectralPeakRegressor
from pulsehr.datasets import make_recordings

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

# E402: it is no package, and found only by the path of the line above
import pretraining  # noqa: E402


class Says(torch.nn.Module):
    """Say given heart rates, with a scale of 1 bpm."""

    def __init__(self, bpm):
        super().__init__()
        self.bpm = torch.tensor(bpm)

    def forward(self, windows):
        assert len(windows) == len(self.bpm)
        return self.bpm, None, torch.zeros(len(windows))


SPEEDS = torch.tensor([[1.0, 2.0], [2.0, 0.8]])


@pytest.mark.parametrize(
    ("bpm", "expected"),
    [
        # at rest 70 and 80, at both speeds: a mean of 75
        ([70.0, 160.0, 140.0, 64.0], 0.0),
        # the same for all: at rest 75, 37.5, 37.5, 93.75, off by 37.5 and 56.25, a mean of 60.94
        ([75.0, 75.0, 75.0, 75.0], (37.5 + 56.25) / 2 + 75 - 60.9375),
        # the right ratios, of 105 bpm on average
        ([100.0, 220.0, 200.0, 88.0], 30.0),
    ],
)
def test_only_the_right_ratios_around_the_usual_rate_cost_nothing(bpm, expected):
    pairs = torch.zeros(2, 2, 4, 16)
    found = pretraining.disagreement(Says(bpm), pairs, SPEEDS)
    assert found.item() == pytest.approx(expected)


def test_windows_of_a_faster_recording_end_at_the_same_sample_with_a_faster_pulse():
    recordings = make_recordings(n_subjects=1, duration=60, random_state=0).recordings
    windower = PPGWindower(window=8.0)
    windows = pretraining.windows_at_speeds(windower, recordings)
    assert windows.shape == (len(pretraining.SPEEDS), 2, 4, 256)
    peak = make_pipeline(windower, SpectralPeakRegressor())[-1].fit(windows[2], [60.0, 60.0])
    slow, usual = (peak.predict(windows[number]) for number in (0, 2))
    assert slow / usual == pytest.approx(np.full(2, 0.6), rel=0.1)


def test_a_batch_has_each_window_once_at_two_speeds():
    rows, numbers = zip(*pretraining._batches(70, np.random.default_rng(0)), strict=True)
    assert sorted(set(np.concatenate(rows))) == sorted(np.concatenate(rows))
    assert len(rows) == 2
    for pair in numbers:
        assert pair.shape == (2, pretraining.BATCH_SIZE)
        assert np.all(pair[0] != pair[1])


def test_the_pretext_trains_a_network_that_the_labels_go_on_from(monkeypatch):
    monkeypatch.setattr(pretraining, "N_EPOCHS", 1)
    windows = np.random.default_rng(0).standard_normal((6, 40, 4, 64)).astype(np.float32)
    small = {"filters": (2, 3, 4), "max_epochs": 1, "verbose": 0, "random_state": 0}
    teacher = PulseTeacherRegressor(**small, network="interacting", loss="laplace", warm_start=True)
    network = pretraining.pretrained(teacher, windows, seed=0)
    again = pretraining.pretrained(teacher, windows, seed=0)
    for weights, same in zip(network.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(weights, same, rtol=0, atol=0)
    teacher.network_ = network
    teacher.set_params(lr=1e-9).fit(windows[0], np.full(40, 75.0))
    for name in ("conv11", "dense"):
        weights = teacher.network_.get_submodule(name).weight
        torch.testing.assert_close(weights, network.get_submodule(name).weight, atol=1e-6, rtol=0)
