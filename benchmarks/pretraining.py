"""Try whether recordings without labels teach the teacher something before the labels do.

    python benchmarks/pretraining.py FOLDER --resting E4_FOLDER --folds 0 3

The pretext: who plays a recording faster by a factor multiplies the heart rate by it, whatever it
is. A network sees the same seconds at two speeds and must give heart rates of that ratio, near 75
bpm on average at speed 1, which is all that it is told of hearts. Then the same recipe as ever
trains it on the labels of a fold of `accuracy.py`.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accuracy import Task
from accuracy_configurations import CONFIGURATIONS, new_teacher
from accuracy_folds import Bench, Settings, Split, pooled_splits
from accuracy_variants import AS_FITTED
from numpy.typing import NDArray
from resting_recordings import load_resting
from sklearn.pipeline import Pipeline
from torch import Tensor, nn

from pulsehr import Reading, Recording
from pulsehr.datasets import HeartRateDataset, load_folder
from pulsehr.forms import TEACHERS, chosen

#: Speeds at which the recordings are played: resting hearts of 45 to 100 bpm then have 27 to 200.
SPEEDS = (0.6, 0.8, 1.0, 1.3, 1.6, 2.0)

#: Heart rate (bpm) of people who sit and stand, on average.
USUAL = 75.0

#: Seconds between windows, and before the first one: a window at the highest speed looks back so
#: far.
STRIDE, FIRST = 16.0, 32.0

N_EPOCHS, BATCH_SIZE = 8, 32


def windows_at_speeds(windower: Any, recordings: Sequence[Recording]) -> NDArray[np.float32]:
    """Return windows (n_speeds, n_windows, n_channels, n_times) that end at the same samples."""
    return np.stack([_windows(windower, recordings, speed) for speed in SPEEDS])


def _windows(windower: Any, recordings: Sequence[Recording], speed: float) -> NDArray[np.float32]:
    X = []
    for recording in recordings:
        rates = {"ppg_rate": recording.ppg_rate * speed, "acc_rate": recording.acc_rate * speed}
        no_labels = dict.fromkeys(("heart_rate", "heart_rate_times", "activity", "activity_times"))
        faster = replace(recording, **rates, **no_labels)
        X += [Reading(faster, t / speed) for t in np.arange(FIRST, recording.duration, STRIDE)]
    return np.asarray(windower.fit_transform(X), dtype=np.float32)


def disagreement(network: nn.Module, pairs: Tensor, speeds: Tensor) -> Tensor:
    """Return how far the heart rates of the same seconds at two speeds are from their ratio.

    Parameters
    ----------
    network : nn.Module
        Gives bpm, features and the logarithm of a Laplace distribution's scale.
    pairs : Tensor of shape (2, n_windows, n_channels, n_times)
        The same seconds at two speeds.
    speeds : Tensor of shape (2, n_windows)
        At which they are played.

    Returns
    -------
    Tensor, scalar
        Mean negative log-likelihood, and the distance of the mean from `USUAL`.
    """
    bpm, _, log_scale = network(pairs.flatten(0, 1))
    at_rest = bpm.view_as(speeds) / speeds
    scale = log_scale.view_as(speeds).mean(0)
    errors = (at_rest[0] - at_rest[1]).abs() * torch.exp(-scale) + scale
    return errors.mean() + (at_rest.mean() - USUAL).abs()


def pretrained(regressor: Any, windows: NDArray[np.float32], seed: int) -> nn.Module:
    """Train a network of the regressor's form on windows at several speeds alone."""
    torch.manual_seed(seed)
    network = chosen(regressor, TEACHERS)(
        *windows.shape[2:], tuple(regressor.filters), regressor.dropout
    )
    with torch.no_grad():
        network.out.bias.copy_(torch.tensor([USUAL, 2.0]) / network.out.gain)
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=regressor.lr)
    steps = N_EPOCHS * (windows.shape[1] // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rng = np.random.default_rng(seed)
    for epoch in range(N_EPOCHS):
        losses = []
        for rows, numbers in _batches(windows.shape[1], rng):
            pairs = torch.from_numpy(windows[numbers, rows])
            loss = disagreement(network, pairs, torch.tensor(SPEEDS)[torch.from_numpy(numbers)])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"pretext, epoch {epoch + 1}: loss {np.mean(losses):.2f}", flush=True)
    return network.eval()


def _batches(n_windows: int, rng: np.random.Generator) -> Iterator[tuple[Any, Any]]:
    """Yield rows (n,) and the numbers of two speeds (2, n), which differ."""
    order = rng.permutation(n_windows)
    for start in range(0, n_windows - BATCH_SIZE + 1, BATCH_SIZE):
        rows = order[start : start + BATCH_SIZE]
        first = rng.integers(len(SPEEDS), size=BATCH_SIZE)
        shift = rng.integers(1, len(SPEEDS), size=BATCH_SIZE)
        yield rows, np.stack([first, (first + shift) % len(SPEEDS)])


def error(bpm: Any, data: HeartRateDataset, split: Split) -> float:
    """Return the mean over the test subjects of their mean absolute error in bpm."""
    errors, groups = np.abs(bpm - data.y[split.test]), data.groups[split.test]
    return float(np.mean([errors[groups == subject].mean() for subject in np.unique(groups)]))


def fitted(pipe: Pipeline, data: HeartRateDataset, split: Split) -> Pipeline:
    """Fit a teacher on the training rows of a fold."""
    groups = {"pulseteacherregressor__groups": data.groups[split.train]}
    return pipe.fit([data.X[row] for row in split.train], data.y[split.train], **groups)


def main() -> None:
    """Print the errors on test folds with and without the pretext, and of the pretext alone."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with the labelled data sets")
    parser.add_argument("--resting", type=Path, required=True, help="E4 exports without labels")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 3])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("build/accuracy"), help="of teachers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    start, settings = time.monotonic(), Settings(options.seed)
    data, pipe = load_folder(options.folder), new_teacher(settings)
    bench = Bench(data, CONFIGURATIONS, options.cache)
    windows = windows_at_speeds(pipe[0], load_resting(options.resting))
    print(f"{windows.shape[1]} windows at {len(SPEEDS)} speeds", flush=True)
    network = pretrained(pipe[-1], windows, options.seed)
    folds = list(pooled_splits(data))
    for split in (folds[number] for number in options.folds):
        X = [data.X[row] for row in split.test]
        with torch.no_grad():
            alone = network(torch.from_numpy(np.float32(pipe[0].fit_transform(X))))[0].numpy()
        before = error(alone, data, split)
        after = new_teacher(settings, warm_start=True)
        after[-1].network_ = copy.deepcopy(network)
        warm = error(fitted(after, data, split).predict(X), data, split)
        task = Task("teacher", settings, split, [AS_FITTED])
        plain = error(task.finished(bench, AS_FITTED).prediction.bpm, data, split)
        minutes = (time.monotonic() - start) / 60
        print(
            f"{split.name}: teacher {plain:.2f}, after the pretext {warm:.2f}, the pretext alone "
            f"{before:.2f} bpm ({minutes:.0f} min)",
            flush=True,
        )


if __name__ == "__main__":
    main()
