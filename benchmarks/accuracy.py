"""Measure heart-rate errors on real recordings, never on a subject that was trained on.

    python benchmarks/accuracy.py FOLDER --list
    python benchmarks/accuracy.py FOLDER --configurations "FFT peak" "paper student" --seeds 0 1 2
    python benchmarks/accuracy.py FOLDER --variants all --split pooled within cross

Pools the labelled data sets below FOLDER. Each configuration (`accuracy_configurations.py`) is
fitted on the training rows of a split, where early stopping watches held-out training subjects, and
predicts the test rows, as it is and in the variants asked for (`accuracy_variants.py`): in
integers, from bad input, with a tracker. Splits: "pooled", five folds by subject; "within", five
folds by subject of each data set by itself; "cross", trained on the other data sets.

A finished fold is kept in the cache and never fitted again: the run can be stopped by Ctrl-C and
resumed, and tables of what is finished come at once. Recipes, recordings, rows and seeds that
differ have other names in the cache; after a change of the code, empty it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from accuracy_configurations import CONFIGURATIONS, GAINS
from accuracy_folds import SPLITS, Bench, Finished, Prediction, Settings, Split
from accuracy_peers import PeerMissingError
from accuracy_sources import load_sources
from accuracy_table import (
    Row,
    abstention_table,
    coverage_table,
    fold_table,
    gain_table,
    main_table,
    ratio_table,
    write_errors,
    write_predictions,
)
from accuracy_variants import AS_FITTED, VARIANTS, Case
from joblib import Parallel, delayed
from train_pretrained import Source

from pulsehr.datasets import load_folder
from pulsehr.exceptions import InterruptedFitWarning


@dataclass(frozen=True, eq=False)
class Task:
    """One fit of one fold, and all that is predicted by it."""

    name: str
    settings: Settings
    split: Split
    variants: Sequence[str]

    def is_finished(self, bench: Bench) -> bool:
        """Tell whether nothing is left to do."""
        return all(
            bench.is_finished(self.name, self.settings, self.split, variant)
            for variant in self.variants
        )

    def finish(self, bench: Bench) -> tuple[str, str, float]:
        """Do what is left; return the configuration, the key and the seconds it took."""
        start = time.monotonic()
        for variant in self.variants:
            self.finished(bench, variant)
        key = bench.key(self.name, self.settings, self.split)
        return self.name, key, time.monotonic() - start

    def finished(self, bench: Bench, variant: str) -> Finished:
        """Return the predictions in a variant, made now if need be."""

        def predict(pipe):
            plain = partial(self._as_fitted, bench)
            return VARIANTS[variant].predict(Case(bench, self.split, pipe, plain))

        return bench.finished(self.name, self.settings, self.split, variant, predict)

    def _as_fitted(self, bench: Bench) -> Prediction:
        return self.finished(bench, AS_FITTED).prediction


def variants_of(bench: Bench, name: str, asked: Sequence[str]) -> list[str]:
    """List the variants that a configuration can be predicted in."""
    pipe = bench.unfitted(name, Settings())
    return [variant for variant in asked if VARIANTS[variant].applies(pipe)]


def waves(bench: Bench, tasks: Sequence[Task]) -> list[list[Task]]:
    """Return what is left to do, each fold once: first what needs no teacher, then its students."""
    levels: list[dict[str, Task]] = []
    for task in tasks:
        line = [task]
        while teacher := bench.configurations[line[0].name].teacher:
            line.insert(0, replace(task, name=teacher, variants=[AS_FITTED]))
        for level, member in enumerate(line):
            if level == len(levels):
                levels.append({})
            key = bench.key(member.name, task.settings, task.split)
            if not member.is_finished(bench) and (member is task or key not in levels[level]):
                levels[level][key] = member
    return [list(level.values()) for level in levels if level]


def run(bench: Bench, tasks: Sequence[Task], jobs: int) -> None:
    """Finish all tasks on some processes, one thread each, and say how long it will take."""
    planned = waves(bench, tasks)
    waiting = Counter(task.name for wave in planned for task in wave)
    took: dict[str, list[float]] = {}
    done, total = 0, waiting.total()
    for wave in planned:
        parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch=jobs)
        for name, key, seconds in parallel(delayed(task.finish)(bench) for task in wave):
            done += 1
            waiting[name] -= 1
            took.setdefault(name, []).append(seconds)
            left = seconds_left(waiting, took) / jobs / 60
            line = f"{done} of {total}: {key}, {seconds:.0f} s; about {left:.0f} min left"
            print(line, file=sys.stderr, flush=True)


def seconds_left(waiting: Mapping[str, int], took: Mapping[str, list[float]]) -> float:
    """Return the seconds of what is waiting, each as long as its like took, or else all."""
    every = [seconds for some in took.values() for seconds in some]
    return sum(n * float(np.mean(took.get(name, every))) for name, n in waiting.items())


def rows_of(bench: Bench, tasks: Sequence[Task]) -> list[Row]:
    """Collect what is finished in all folds and seeds as rows of the tables.

    Parameters
    ----------
    bench : Bench
        Whose cache is read.
    tasks : sequence of Task
        Of one kind of split.

    Returns
    -------
    list of Row
        In order of the tasks, then of their variants.
    """
    rows = []
    for name in dict.fromkeys(task.name for task in tasks):
        own = [task for task in tasks if task.name == name]
        for variant in own[0].variants:
            if all(bench.is_finished(name, t.settings, t.split, variant) for t in own):
                label = name if variant == AS_FITTED else f"{name}, {variant}"
                rows.append(_row(bench, label, own, variant))
    return rows


def _row(bench: Bench, label: str, tasks: Sequence[Task], variant: str) -> Row:
    """Put the folds of each seed together."""
    n = len(bench.data.y)
    seeds: dict[Settings, Prediction] = {}
    for task in tasks:
        finished = task.finished(bench, variant)
        known = seeds.setdefault(task.settings, Prediction(np.full(n, np.nan), np.full(n, np.nan)))
        known.bpm[task.split.test] = finished.prediction.bpm
        if finished.prediction.std is not None and known.std is not None:
            known.std[task.split.test] = finished.prediction.std
    predictions = [
        Prediction(bpm, None if std is None or np.isnan(std).any() else std)
        for bpm, std in seeds.values()
    ]
    tracked = VARIANTS[variant].is_tracker
    return Row(label, bench.data, predictions, finished.n_parameters, finished.n_macs, tracked)


def report(
    bench: Bench,
    rows_by_split: dict[str, list[Row]],
    splits: dict[str, list[Split]],
    pairs: Sequence[tuple[str, str]],
) -> str:
    """Return all tables of what is finished."""
    data, parts = bench.data, []
    for name, rows in rows_by_split.items():
        if rows:
            parts += [f"## Split: {name}", main_table(data, rows)]
            if name != "cross":
                parts.append(fold_table(rows, splits[name]))
            parts += [gain_table(rows, pairs), coverage_table(data, rows)]
            parts.append(abstention_table(data, rows))
    others = {name: rows for name, rows in rows_by_split.items() if name != "cross"}
    if rows_by_split.get("cross") and others:
        parts += ["## Another device", ratio_table(data, rows_by_split["cross"], others)]
    return "\n\n".join(part for part in parts if part)


def listing() -> str:
    """Name the configurations and the variants of each."""
    lines = []
    for name, configuration in CONFIGURATIONS.items():
        pipe = configuration.make(Settings())
        variants = [v for v, variant in VARIANTS.items() if variant.applies(pipe)]
        teacher = f" taught by {configuration.teacher}" if configuration.teacher else ""
        lines.append(f"{name}{teacher}: {', '.join(variants)}")
    return "\n".join(lines)


def arguments() -> argparse.ArgumentParser:
    """Return what the command line takes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help="folder with the data sets")
    parser.add_argument("--resting", type=Path, help="folder of E4 exports without labels")
    parser.add_argument("--list", action="store_true", help="name configurations and variants")
    parser.add_argument("--configurations", nargs="+", choices=CONFIGURATIONS, metavar="NAME")
    parser.add_argument(
        "--variants", nargs="+", default=[AS_FITTED], choices=["all", *VARIANTS], metavar="NAME"
    )
    parser.add_argument("--split", nargs="+", choices=SPLITS, default=["pooled"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--every", type=int, default=1, help="train on every n-th reading")
    parser.add_argument("--epochs", type=int, default=40, help="of the paper's student")
    parser.add_argument("--teacher-epochs", type=int, default=20, help="of the paper's teacher")
    parser.add_argument("--batch-size", type=int, default=32, help="of the paper's networks")
    parser.add_argument("--gain", nargs=2, action="append", default=[], metavar=("NEW", "OLD"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path("build/accuracy"))
    parser.add_argument("--output", type=Path, help="CSV of the errors of each subject and seed")
    parser.add_argument(
        "--predictions", type=Path, help="NPZ of the first row and seed, for tracking.py"
    )
    parser.add_argument("--finished", action="store_true", help="fit nothing, show what is done")
    return parser


def main() -> None:
    """Fit what is missing in the cache on all cores, then print the tables."""
    options = arguments().parse_args()
    if options.list:
        print(listing())
        return
    if options.folder is None:
        sys.exit("accuracy.py: name the folder with the data sets, or --list")
    data = load_folder(options.folder)
    asked = [AS_FITTED, *(v for v in VARIANTS if v != AS_FITTED and v in options.variants)]
    if "all" in options.variants:
        asked = list(VARIANTS)
    names = options.configurations or [
        name for name, recipe in CONFIGURATIONS.items() if options.resting or not recipe.sources
    ]
    sources: Mapping[str, Sequence[Source]] = {}
    if any(CONFIGURATIONS[name].sources for name in names):
        if options.resting is None:
            sys.exit("accuracy.py: what trains on unlabelled recordings needs --resting E4_FOLDER")
        sources = load_sources(options.folder, options.resting, data)
    bench = Bench(data, CONFIGURATIONS, options.cache, options.every, sources)
    splits = {split: list(SPLITS[split](data)) for split in options.split}
    settings = [
        Settings(seed, options.epochs, options.teacher_epochs, options.batch_size)
        for seed in options.seeds
    ]
    tasks = {
        split: [
            Task(name, setting, fold, variants_of(bench, name, asked))
            for name in names
            for setting in settings
            for fold in folds
        ]
        for split, folds in splits.items()
    }
    if not options.finished:
        try:
            run(bench, [task for some in tasks.values() for task in some], options.jobs)
        except (KeyboardInterrupt, InterruptedFitWarning):
            sys.exit("Stopped. The finished folds are kept: the same command goes on from there.")
        except PeerMissingError as error:
            sys.exit(str(error))
    rows = {split: rows_of(bench, some) for split, some in tasks.items()}
    thinned = f"every {options.every} readings train, all test; " if options.every > 1 else ""
    print(
        f"Mean of subjects' mean absolute errors in bpm, ± the standard deviation over seeds. "
        f"{data}; {thinned}seeds {options.seeds}; the paper's recipes with {options.epochs} epochs "
        f"(teacher {options.teacher_epochs}) and batches of {options.batch_size}.\n"
    )
    print(report(bench, rows, splits, [*GAINS, *map(tuple, options.gain)]))
    if options.output:
        write_errors(options.output, rows, options.seeds)
    first = options.split[0]
    if options.predictions and rows[first]:
        write_predictions(options.predictions, rows[first][0], splits[first])


if __name__ == "__main__":
    main()
