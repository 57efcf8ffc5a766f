"""Train the models that come with the package, and write their files.

    python benchmarks/train_pretrained.py FOLDER
    python benchmarks/train_pretrained.py FOLDER --resting E4_FOLDER --output pulsehr/weights

Reads IEEE SPC 2015 and BAMI below FOLDER, every PPG channel of each as a recording of the same
subject, synthetic recordings and, if asked for, the clear seconds of E4 recordings without labels
(`resting_recordings.py`); the labelled ones also slower and faster. Fits teacher and student of
`pretrained_recipes.py` on all of them and writes ``teacher.npz`` and ``student.npz``. Whole
labelled subjects are held out for early stopping and for the calibration of the std, never
synthetic ones nor those without labels; their slower and faster copies train, which the model card
tells. There is no test subject here: `accuracy.py` measures the same recipe on folds by subject.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pretrained_recipes import recipe
from resting_recordings import load_resting
from sklearn.pipeline import Pipeline

from pulsehr import __version__
from pulsehr._plain_files import write_pipeline
from pulsehr._rows import group_by_recording
from pulsehr._splitting import hold_out
from pulsehr._validation import generator
from pulsehr.datasets import (
    HeartRateDataset,
    dataset_from_recordings,
    load_bami,
    load_ieee_spc,
    make_recordings,
)
from pulsehr.recordings import HEART_RATE_RANGE

OUTPUT = Path(__file__).parents[1] / "pulsehr" / "weights"

#: The labelled sets: their loader and how many PPG channels they have.
LABELLED: dict[str, tuple[Any, int]] = {"IEEE SPC 2015": (load_ieee_spc, 2), "BAMI": (load_bami, 3)}

#: Seed of the synthetic recordings, which no test, example or other benchmark takes.
SYNTHETIC_SEED = 20_250

#: Seconds of a synthetic recording.
SYNTHETIC_DURATION = 600.0

#: Between which lines of the model card the training stands.
MARKS = ("<!-- training -->", "<!-- /training -->")

#: How much faster labelled recordings are also played, which multiplies heart rates: people on
#: treadmills have neither those of rest nor the highest.
SPEEDS = (0.55, 1.25)

#: Of these, one reading in so many of what else trains.
SPEED_THINNING = 3

#: The group of all rows that must never be held out.
NEVER_HELD_OUT = "not held out"


@dataclass(frozen=True, eq=False)
class Source:
    """Rows that train.

    Parameters
    ----------
    name : str
        What they are.
    X : list of Reading
        The rows.
    y : ndarray of shape (n_rows,)
        Heart rates in bpm.
    subjects : ndarray of str, shape (n_rows,)
        Whose they are.
    labelled : bool
        Whether `y` was measured on people by another sensor.
    """

    name: str
    X: list[Any]
    y: NDArray[np.float64]
    subjects: NDArray[np.str_]
    labelled: bool

    @property
    def groups(self) -> list[str]:
        """What the held-out split keeps together."""
        return list(self.subjects) if self.labelled else [NEVER_HELD_OUT] * len(self.y)

    @property
    def fact(self) -> dict[str, Any]:
        """Count rows, recordings and subjects."""
        recordings = [recording for recording, _ in group_by_recording(self.X)]
        return {
            "source": self.name,
            "readings": len(self.X),
            "recordings": len(recordings),
            "subjects": len(set(self.subjects.tolist())),
            "hours": round(sum(recording.duration for recording in recordings) / 3600, 1),
        }


def thinned(name: str, data: HeartRateDataset, every: int, first: int, labelled: bool) -> Source:
    """Take every so many readings of each recording, from the first one on."""
    rows = [rows[first % every :: every] for _, rows in group_by_recording(data.X)]
    kept = np.sort(np.concatenate(rows))
    return Source(name, [data.X[row] for row in kept], data.y[kept], data.groups[kept], labelled)


def played(data: HeartRateDataset, speed: float) -> HeartRateDataset:
    """Return recordings as if all in them, heart and motion, had gone faster by a factor."""
    high = HEART_RATE_RANGE[1] / speed
    copies = []
    for recording in data.recordings:
        kept = recording.heart_rate <= high
        faster = {
            "ppg_rate": recording.ppg_rate * speed,
            "acc_rate": recording.acc_rate * speed,
            "heart_rate": recording.heart_rate[kept] * speed,
            "heart_rate_times": recording.heart_rate_times[kept] / speed,
            "activity": None,
            "activity_times": None,
        }
        copies.append(replace(recording, **faster))
    return dataset_from_recordings(copies)


def sources(options: argparse.Namespace) -> list[Source]:
    """Load all that trains.

    With ``every=3`` the three channels of BAMI take turns: each label is there once.
    """
    loaded = []
    for name, (load, n_channels) in LABELLED.items():
        for channel in range(n_channels):
            data = load(options.folder, ppg_channel=channel)
            title = f"{name}, PPG {channel + 1}"
            loaded.append(thinned(title, data, options.every, channel, labelled=True))
            for speed in SPEEDS:
                other = played(data, speed)
                named = f"{title}, {speed:g} times as fast"
                thin = SPEED_THINNING * options.every
                loaded.append(thinned(named, other, thin, channel, labelled=False))
    if options.synthetic:
        data = make_recordings(
            options.synthetic, SYNTHETIC_DURATION, random_state=SYNTHETIC_SEED + options.seed
        )
        loaded.append(thinned("synthetic", data, options.every, 0, labelled=False))
    if options.resting:
        data = dataset_from_recordings(load_resting(options.resting))
        loaded.append(thinned("E4 at rest", data, options.every_resting, 0, labelled=False))
    return loaded


def train(
    parts: Sequence[Source], options: argparse.Namespace
) -> tuple[Pipeline, Pipeline, list[str]]:
    """Fit teacher and student; return them and the subjects that were held out."""
    X = [reading for part in parts for reading in part.X]
    y = np.concatenate([part.y for part in parts])
    groups = np.concatenate([part.groups for part in parts])
    unfitted = {name: recipe(name, options.seed) for name in ("teacher", "student")}
    held_out = held_out_of(unfitted["student"][-1], groups, options.seed)

    def fit(name: str) -> Pipeline:
        pipe = unfitted[name]
        if options.epochs:
            numbers = [key for key in pipe.get_params() if key.endswith("max_epochs")]
            pipe.set_params(**dict.fromkeys(numbers, options.epochs))
        return pipe.fit(X, y, **{f"{pipe.steps[-1][0]}__groups": groups})

    return fit("teacher"), fit("student"), held_out


def held_out_of(regressor: Any, groups: NDArray[Any], seed: int) -> list[str]:
    """List the groups that `fit` will hold out, and refuse a seed that draws the wrong ones."""
    names, numbers = np.unique(groups, return_inverse=True)
    _, watched = hold_out(len(groups), numbers, regressor.validation_fraction, generator(seed))
    held_out: list[str] = names[np.unique(numbers[watched])].tolist()
    if NEVER_HELD_OUT in held_out:
        raise ValueError(
            f"train_pretrained: seed must hold out labelled subjects alone, got {seed}, which "
            f"holds out what has no labels: take another"
        )
    return held_out


def trained_on(facts: dict[str, Any]) -> str:
    """Return what the model card says of the training, as Markdown."""
    columns = ["source", "readings", "recordings", "subjects", "hours"]
    rows = [columns, ["---"] * len(columns)]
    rows += [[str(source[column]) for column in columns] for source in facts["sources"]]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return (
        f"{table}\n\nHours are those of the recordings; of these, one reading in {facts['every']} "
        f"trains (E4: one clear stretch in {facts['every_resting']}). Held out for early stopping "
        f"and for the scale of the std: {', '.join(facts['held_out'])}. Seed {facts['seed']}, "
        f"pulsehr {facts['pulsehr']}, {facts['core_hours']} hours of one core."
    )


def write_card(path: Path, facts: dict[str, Any]) -> None:
    """Bring the part of a model card between its marks up to date, if there is a card."""
    if path.exists():
        before, _, rest = path.read_text().partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        path.write_text(f"{before}{MARKS[0]}\n{trained_on(facts)}\n{MARKS[1]}{after}")


def write(teacher: Pipeline, student: Pipeline, facts: dict[str, Any], folder: Path) -> None:
    """Write teacher and student, each once, and what the card says of them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_pipeline(folder / "teacher.npz", teacher, facts)
    write_pipeline(folder / "student.npz", student, facts)
    write_card(folder / "MODEL_CARD.md", facts)


def main(argv: Sequence[str] | None = None) -> int:
    """Train and write; return 0."""
    options = parse(argv)
    torch.set_num_threads(options.threads)
    parts = sources(options)
    print(f"{'':<22}{'readings':>9}{'recordings':>11}{'subjects':>9}{'hours':>7}")
    for part in parts:
        print(
            "{source:<22}{readings:>9}{recordings:>11}{subjects:>9}{hours:>7}".format(**part.fact)
        )
    print(f"{'all':<22}{sum(len(part.X) for part in parts):>9}", flush=True)
    teacher, student, held_out = train(parts, options)
    facts = {
        "pulsehr": __version__,
        "seed": options.seed,
        "every": options.every,
        "every_resting": options.every_resting,
        "sources": [part.fact for part in parts],
        "held_out": held_out,
        "core_hours": round(time.process_time() / 3600, 2),
    }
    write(teacher, student, facts, options.output)
    for name, regressor in (("teacher", teacher[-1]), ("student", student[-1])):
        best = regressor.history_[regressor.best_epoch_ - 1]
        print(
            f"{name}: best epoch {regressor.best_epoch_} of {len(regressor.history_)}, held-out "
            f"MAE {best['valid_loss']:.2f} bpm, std_scale_ {regressor.std_scale_}, "
            f"{(options.output / f'{name}.npz').stat().st_size:,} bytes"
        )
    print(f"held out: {', '.join(held_out)}; seed {options.seed}; {facts['core_hours']} core hours")
    print(f"written to {options.output}: the errors in its MODEL_CARD.md are those of accuracy.py")
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with IEEE SPC 2015 and BAMI")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder to write to")
    parser.add_argument("--every", type=int, default=3, help="take every so many readings")
    parser.add_argument("--synthetic", type=int, default=36, help="number of synthetic subjects")
    parser.add_argument("--resting", type=Path, help="folder of E4 exports without labels")
    parser.add_argument("--every-resting", type=int, default=1, help="of them, every so many")
    parser.add_argument("--seed", type=int, default=0, help="of all")
    parser.add_argument("--epochs", type=int, help="of both networks, for a quick try")
    parser.add_argument("--threads", type=int, default=1, help="of torch; results are the same")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
