"""Tables of errors in bpm, from predictions alone."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accuracy_folds import Prediction, Split, set_of
from numpy.typing import NDArray

from pulsehr.datasets import HeartRateDataset
from pulsehr.metrics import CLOSE, group_mean_absolute_errors
from pulsehr.tracking import causal_clip_readings

#: Probabilities of the intervals whose coverage is counted.
INTERVALS = (0.50, 0.80, 0.95)

#: Shares of the readings that are kept, those with the least std.
KEPT = (1.0, 0.9, 0.8, 0.7, 0.5)

#: Draws of subjects for an interval of a mean over subjects.
N_DRAWS = 10_000

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Row:
    """What a row of the tables was predicted: for each seed, a heart rate for every reading."""

    label: str
    data: HeartRateDataset
    predictions: Sequence[Prediction]
    n_parameters: int = 0
    n_macs: int = 0
    is_tracked: bool = False

    def errors(self, chosen: Any = slice(None), *, post_processed: bool = False) -> Values:
        """Return the mean absolute error of each subject, (n_seeds, n_subjects)."""
        y, groups = self.data.y[chosen], self.data.groups[chosen]
        return np.array(
            [
                list(group_mean_absolute_errors(y, values[chosen], groups).values())
                for values in self.values(post_processed)
            ]
        )

    def values(self, post_processed: bool = False) -> list[Values]:
        """Return the heart rates of each seed, as they are or after the paper's causal clip.

        Those of a tracker are post-processed as they are.
        """
        given = [prediction.bpm for prediction in self.predictions]
        if not post_processed or self.is_tracked:
            return given
        return [causal_clip_readings(self.data.X, bpm) for bpm in given]


def with_spread(values: Iterable[float], digits: int = 2) -> str:
    """Return the mean over seeds and, where they differ, their standard deviation."""
    seeds = np.array(list(values))
    spread = seeds.std(ddof=1) if len(seeds) > 1 else 0.0
    return f"{seeds.mean():.{digits}f}" + (f" ± {spread:.{digits}f}" if spread > 0 else "")


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    cells = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def main_table(data: HeartRateDataset, rows: Sequence[Row]) -> str:
    """Return the errors of each row, each the mean over subjects but for the median.

    Median, sets and share are of the heart rates as they are: raw, or those of a tracker.
    """
    sets = set_of(data.groups)
    names = np.unique(sets)
    head = ["", "raw", "median", "post-processed", *names, f"within {CLOSE:g} bpm"]
    lines = []
    for row in rows:
        close = [np.mean(np.abs(bpm - data.y) <= CLOSE) * 100 for bpm in row.values()]
        lines.append(
            [
                row.label,
                "" if row.is_tracked else with_spread(row.errors().mean(axis=1)),
                with_spread(np.median(row.errors(), axis=1)),
                with_spread(row.errors(post_processed=True).mean(axis=1)),
                *(with_spread(row.errors(sets == name).mean(axis=1)) for name in names),
                with_spread(close, digits=1) + " %",
                f"{row.n_parameters:,}" if row.n_parameters else "",
                f"{row.n_macs / 1e6:.2f} M" if row.n_macs else "",
            ]
        )
    return markdown([*head, "parameters", "MACs"], lines)


def fold_table(rows: Sequence[Row], splits: Sequence[Split]) -> str:
    """Return the error of each row in each fold, the mean over its subjects."""
    lines = (
        [row.label, *(with_spread(row.errors(split.test).mean(axis=1)) for split in splits)]
        for row in rows
    )
    return markdown(["", *(split.name for split in splits)], lines)


def gain_table(rows: Sequence[Row], pairs: Sequence[tuple[str, str]]) -> str:
    """Return how much less the error of one row is than that of another, seed by seed.

    The spread of a gain is that over seeds; the interval holds the mean over subjects in 95 % of
    draws of as many subjects, with the mean over seeds of each.
    """
    known = {row.label: row for row in rows}
    head = ["", "raw", "", "95 % over subjects", "better subjects", "post-processed", ""]
    lines = []
    for better, base in pairs:
        if better in known and base in known:
            cells = []
            for post_processed in (False, True):
                errors = known[base].errors(post_processed=post_processed)
                gain = errors - known[better].errors(post_processed=post_processed)
                share = 100 * gain.mean() / errors.mean()
                cells += [with_spread(gain.mean(axis=1)), f"{share:.0f} %"]
                if not post_processed:
                    low, high = interval_over_subjects(gain.mean(axis=0))
                    wins = int((gain.mean(axis=0) > 0).sum())
                    cells += [f"{low:.2f} to {high:.2f}", f"{wins} of {gain.shape[1]}"]
            lines.append([f"{better} against {base}", *cells])
    return markdown(head, lines) if lines else ""


def interval_over_subjects(gains: Values) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean of values, one for each subject."""
    drawn = np.random.default_rng(0).integers(len(gains), size=(N_DRAWS, len(gains)))
    low, high = np.percentile(gains[drawn].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def ratio_table(
    data: HeartRateDataset, crossed: Sequence[Row], others: dict[str, Sequence[Row]]
) -> str:
    """Return the error on a set whose like was not trained on, and its ratio to others.

    Parameters
    ----------
    data : HeartRateDataset
        The readings.
    crossed : sequence of Row
        Each set predicted by what was trained on the other sets.
    others : dict of str to sequence of Row
        The same rows by the name of another split, such as "within".

    Returns
    -------
    str
        Markdown, a line for each row and set.
    """
    sets, lines = set_of(data.groups), []
    for row in crossed:
        for name in np.unique(sets):
            error = row.errors(sets == name).mean(axis=1)
            cells = [row.label, name, with_spread(error)]
            for rows in others.values():
                same = [other for other in rows if other.label == row.label]
                cells += ["", ""]
                if same:
                    known = same[0].errors(sets == name).mean(axis=1)
                    cells[-2:] = [with_spread(known), f"{error.mean() / known.mean():.2f}"]
            lines.append(cells)
    head = ["", "tested on", "trained on others"]
    for name in others:
        head += [name, "ratio"]
    return markdown(head, lines)


def coverage_table(data: HeartRateDataset, rows: Sequence[Row]) -> str:
    """Return how often the label lies in an interval of a Laplace distribution, per set."""
    sets = set_of(data.groups)
    lines = []
    for row in with_std(rows):
        for name in ("all", *np.unique(sets)):
            chosen = slice(None) if name == "all" else sets == name
            cells = []
            for probability in INTERVALS:
                shares = [
                    100 * coverage(data.y[chosen], bpm[chosen], std[chosen], probability)
                    for bpm, std in row.predictions
                    if std is not None
                ]
                cells.append(with_spread(shares, digits=1))
            lines.append([row.label, name, *cells])
    head = ["coverage in %", "", *(f"{100 * probability:.0f} %" for probability in INTERVALS)]
    return markdown(head, lines) if lines else ""


def coverage(y: Values, bpm: Values, std: Values, probability: float) -> float:
    """Return the share of labels inside the central interval of a Laplace distribution.

    Its scale is ``std / sqrt(2)``, and ``scale * ln(1 / (1 - probability))`` on either side of the
    mean holds `probability`.
    """
    half = std / np.sqrt(2) * np.log(1 / (1 - probability))
    return float(np.mean(np.abs(y - bpm) <= half))


def abstention_table(data: HeartRateDataset, rows: Sequence[Row]) -> str:
    """Return the mean absolute error over the share of all readings with the least std."""
    lines = []
    for row in with_std(rows):
        curves = [
            abstention(np.abs(data.y - bpm), std) for bpm, std in row.predictions if std is not None
        ]
        lines.append([row.label, *(with_spread(kept) for kept in np.transpose(curves))])
    head = ["mean over the readings kept", *(f"{100 * share:.0f} %" for share in KEPT)]
    return markdown(head, lines) if lines else ""


def abstention(errors: Values, std: Values) -> list[float]:
    """Return the mean of the errors with the least std, for each share kept."""
    in_order = errors[np.argsort(std, kind="stable")]
    return [float(in_order[: max(1, round(share * len(errors)))].mean()) for share in KEPT]


def with_std(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield the rows that say how sure they are."""
    return (row for row in rows if all(p.std is not None for p in row.predictions))


def write_errors(path: Path, rows_by_split: dict[str, Sequence[Row]], seeds: Sequence[int]) -> None:
    """Write the error of every subject and seed as CSV, raw and post-processed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "row", "seed", "subject", "n_readings", "raw", "post_processed"])
        for split, rows in rows_by_split.items():
            for row in rows:
                subjects, counts = np.unique(row.data.groups, return_counts=True)
                raw, clipped = row.errors(), row.errors(post_processed=True)
                for k, seed in enumerate(seeds):
                    for n, subject in enumerate(subjects):
                        errors = f"{raw[k, n]:.4f}", f"{clipped[k, n]:.4f}"
                        writer.writerow([split, row.label, seed, subject, counts[n], *errors])


def write_predictions(path: Path, row: Row, splits: Sequence[Split]) -> None:
    """Write what the first seed of a row predicted for each reading, as `tracking.py` reads it."""
    readings, fold = row.data.X, np.zeros(len(row.data.y), dtype=int)
    for number, split in enumerate(splits):
        fold[split.test] = number
    arrays = {
        "y": row.data.y,
        "g": row.data.groups,
        "rec": np.array([reading.recording.name for reading in readings]),
        "t": np.array([reading.instant for reading in readings]),
        "fold": fold,
        **{k: v for k, v in row.predictions[0]._asdict().items() if v is not None},
    }
    np.savez(path, **arrays)  # type: ignore[arg-type]  # savez also takes a flag by name
