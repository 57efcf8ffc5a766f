"""Measure whether a quality figure of the PPG tells which heart rates are wrong.

    python benchmarks/signal_quality.py ieee_spc_2015 [bami_gyro ...] --every 2

Prints how many samples lie at a rail or in flat stretches. Then, for the heart rates of the
pretrained student, which has learnt from these very recordings, and for two spectral peaks, which
learn nothing: how much the rank of their absolute error falls with the likeness of pulse waves and
with the student's own certainty (minus its std), and their mean absolute error on the better half
of readings beside that on all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from pulsehr import PPGWindower, load_pretrained
from pulsehr.baselines import MotionAwareSpectralRegressor, SpectralPeakRegressor
from pulsehr.datasets import HeartRateDataset, load_folder
from pulsehr.quality import mark_missing, signal_quality


def longest_run(same: np.ndarray) -> int:
    """Count the samples of the longest run of True."""
    borders = np.flatnonzero(np.diff(same, prepend=False, append=False))
    return int(max(borders[1::2] - borders[::2], default=0))


def print_marks(data: HeartRateDataset) -> None:
    """Print how long extremes are held, and what `mark_missing` finds where it finds something."""
    held, equal = [], []
    for recording in data.recordings:
        ppg = np.asarray(recording.ppg)
        held.append(max(longest_run(ppg == extreme) for extreme in (ppg.min(), ppg.max())))
        equal.append((1 + longest_run(np.diff(ppg) == 0)) / recording.ppg_rate)
    counts = [sum(n == k for n in held) for k in (1, 2)]
    print(
        f"an extreme is held for one sample in {counts[0]} recordings, for two in {counts[1]}, for "
        f"more in {len(held) - sum(counts)}; longest stretch of equal samples {max(equal):.2f} s"
    )
    for recording in data.recordings:
        marked = mark_missing(recording)
        n = int(np.isnan(np.asarray(marked.ppg)).sum())
        if n:
            labels = len(recording.labelled_readings())
            over = labels - len(marked.labelled_readings())
            print(f"{recording.name}: {n} samples of {len(marked.gaps)} gaps; {over} of {labels}")


def errors_of(data: HeartRateDataset, rows: slice) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return absolute errors in bpm by estimator, and the std of the student."""
    X, y = data.X[rows], data.y[rows]
    bpm, std = load_pretrained("student").predict(X, return_std=True)
    windows = PPGWindower(bandpass=(0.4, 4.0)).fit_transform(X)
    answers = {"pretrained student": bpm}
    for name, peak in (
        ("spectral peak", SpectralPeakRegressor()),
        ("motion-aware peak", MotionAwareSpectralRegressor()),
    ):
        answers[name] = peak.fit(windows, y).predict(windows)
    return {name: np.abs(answer - y) for name, answer in answers.items()}, std


def main() -> None:
    """Print both tables for each folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--every", type=int, default=1, help="take each so-many-th reading")
    options = parser.parse_args()
    for folder in options.folders:
        data = load_folder(folder)
        rows = slice(None, None, options.every)
        print(f"\n{Path(folder).name}: samples at a rail or flat; labels over them")
        print_marks(data)
        errors, std = errors_of(data, rows)
        figures = {"pulse waves": signal_quality(data.X[rows], pulse=True).pulse, "std": -std}
        known = np.isfinite(figures["pulse waves"])
        print(f"{known.sum()} of {len(known)} readings have four pulse waves or more\n")
        print("| heart rates | figure | Spearman | MAE, all | MAE, better half |")
        print("|---|---|---|---|---|")
        for name, error in errors.items():
            for figure, values in figures.items():
                some, wrong = values[known], error[known]
                better = wrong[np.argsort(-some)[: len(some) // 2]]
                rank = spearmanr(some, wrong).statistic
                print(
                    f"| {name} | {figure} | {rank:.2f} | {wrong.mean():.2f} | {better.mean():.2f} |"
                )


if __name__ == "__main__":
    main()
