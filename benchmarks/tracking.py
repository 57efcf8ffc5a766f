"""Measure what tracking over time gains on predictions of models that had not seen the subjects.

    python benchmarks/tracking.py predictions.npz
    python benchmarks/tracking.py predictions.npz --choose

The file holds a row for each reading: `y` (bpm), `g` (subject, whose name begins with its data
set), `rec` (recording), `t` (instant, s), `fold` (that which tested it), `bpm` (prediction of the
model of that fold) and, if the model gives it, `std` (bpm). What a tracker learns from labels, and
with --choose the constants of the methods, come from the rows of the other folds alone.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsehr._belief import OUTLIERS, belief
from pulsehr._kalman import GATE, kalman
from pulsehr.tracking import NOISE, SHARE, causal_clip

Array = NDArray[np.float64]

LOOKAHEADS = (0.0, 4.0, 8.0, 16.0)

#: Among what constants are chosen: of the noise, without a std and with one, and of outliers.
NOISES = {"kalman": (0.7, 1.0, 1.4, 2.0, 2.8, 4.0), "belief": (1.5, 3.0, 5.0, 8.0, 12.0)}
SHARES = {"kalman": (0.1, 0.2, 0.35, 0.5, 0.7, 1.0), "belief": (0.3, 0.5, 0.7, 1.0, 1.5)}
OTHERS = {"kalman": (0.8, 1.0, 1.2, 1.5, 2.0), "belief": (0.2, 0.4, 0.6, 0.8, 0.9)}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "kalman": lambda *rows, other, **how: kalman(*rows, gate=other, **how),
    "belief": lambda *rows, other, **how: belief(*rows, outliers=other, **how),
}
DEFAULTS = {"kalman": GATE, "belief": OUTLIERS}


@dataclass(frozen=True, eq=False)
class Track:
    """Readings of one recording in order of time."""

    subject: str
    fold: int
    times: Array
    truth: Array
    bpm: Array
    std: Array | None

    def noise(self, factor: float) -> Array:
        """Return standard deviations: the model's times a factor, or the factor."""
        return np.full(len(self.bpm), factor) if self.std is None else factor * self.std


def load(path: Path) -> list[Track]:
    """Read predictions and sort them; rows that no fold predicted are left out."""
    with np.load(path) as file:
        rows = {name: file[name] for name in file.files}
    std = rows.get("std")
    tracks = []
    for recording in np.unique(rows["rec"]):
        index = np.flatnonzero((rows["rec"] == recording) & np.isfinite(rows["bpm"]))
        index = index[np.argsort(rows["t"][index])]
        if len(index) == 0:
            continue
        tracks.append(
            Track(
                subject=str(rows["g"][index[0]]),
                fold=int(rows["fold"][index[0]]),
                times=rows["t"][index],
                truth=rows["y"][index],
                bpm=rows["bpm"][index],
                std=None if std is None or not np.isfinite(std[index]).all() else std[index],
            )
        )
    return tracks


def drift_of(tracks: list[Track]) -> float:
    """Learn the drift as `HeartRateTracker.fit` does, on recordings without gaps."""
    squares = seconds = 0.0
    for track in tracks:
        later = np.searchsorted(track.times, track.times + 16 - 1e-6)
        earlier = np.flatnonzero(later < len(track.times))
        squares += float(np.sum((track.truth[later[earlier]] - track.truth[earlier]) ** 2))
        seconds += float(np.sum(track.times[later[earlier]] - track.times[earlier]))
    return squares / seconds


def error(tracks: list[Track], predicted: list[Array]) -> float:
    """Return the mean of the subjects' mean absolute errors."""
    errors: dict[str, list[float]] = {}
    for track, bpm in zip(tracks, predicted, strict=True):
        errors.setdefault(track.subject, []).extend(np.abs(bpm - track.truth))
    return float(np.mean([np.mean(values) for values in errors.values()]))


def run(
    method: str, track: Track, drift: float, constants: tuple[float, float], lookahead: float = 0.0
) -> Array:
    """Track one recording."""
    factor, other = constants
    bpm, _ = FUNCTIONS[method](
        track.times, track.bpm, track.noise(factor), drift, lookahead=lookahead, other=other
    )
    return np.asarray(bpm)


def choose(method: str, tracks: list[Track]) -> tuple[float, float]:
    """Choose the constants with the least error."""
    drift = drift_of(tracks)
    factors = NOISES if tracks[0].std is None else SHARES
    return min(
        itertools.product(factors[method], OTHERS[method]),
        key=lambda pair: error(tracks, [run(method, track, drift, pair) for track in tracks]),
    )


def nested(
    method: str, tracks: list[Track], lookahead: float, constants: dict[int, tuple[float, float]]
) -> list[Array]:
    """Track each recording by what the other folds say."""
    drifts = {f: drift_of([y for y in tracks if y.fold != f]) for f in constants}
    return [
        run(method, track, drifts[track.fold], constants[track.fold], lookahead) for track in tracks
    ]


def main() -> None:
    """Print a table for each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("predictions", nargs="+", type=Path)
    parser.add_argument("--choose", action="store_true", help="constants, nested and on all")
    options = parser.parse_args()
    for path in options.predictions:
        tracks = load(path)
        folds = sorted({track.fold for track in tracks})
        rows = {"raw": [t.bpm for t in tracks], "clip": [causal_clip(t.bpm) for t in tracks]}
        for method in FUNCTIONS:
            shipped = (NOISE if tracks[0].std is None else SHARE)[method], DEFAULTS[method]
            constants = dict.fromkeys(folds, shipped)
            if options.choose:
                constants = {f: choose(method, [t for t in tracks if t.fold != f]) for f in folds}
                print(f"{method}: nested {constants}, on all {choose(method, tracks)}")
            for lookahead in LOOKAHEADS:
                label = method if lookahead == 0 else f"{method}, {lookahead:g} s of lookahead"
                rows[label] = nested(method, tracks, lookahead, constants)
        print(f"\n{path.stem}\n\n{table(tracks, rows)}\n")


def table(tracks: list[Track], rows: dict[str, list[Array]]) -> str:
    """Return Markdown: the mean of subjects' MAE of all and of each set, and the gain on raw."""
    sets = sorted({track.subject.rsplit("_", 1)[0] for track in tracks})
    lines = [["", "all", *sets, "less than raw"], ["---"] * (3 + len(sets))]
    raw = error(tracks, rows["raw"])
    for label, predicted in rows.items():
        measure = partial(_of_set, tracks, predicted)
        mean = error(tracks, predicted)
        cells = [f"{mean:.2f}", *(f"{measure(name):.2f}" for name in sets)]
        lines.append([label, *cells, f"{1 - mean / raw:.0%}"])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _of_set(tracks: list[Track], predicted: list[Array], name: str) -> float:
    chosen = [k for k, track in enumerate(tracks) if track.subject.rsplit("_", 1)[0] == name]
    return error([tracks[k] for k in chosen], [predicted[k] for k in chosen])


if __name__ == "__main__":
    main()
