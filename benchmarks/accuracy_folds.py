"""Which rows train and which test, and a cache of what was fitted and predicted for them.

A finished fold is two files in the cache: the fitted pipeline, and its predictions of the
test rows. Their names end in a digest of all that a result depends on but the code: every parameter
of the pipeline, its teacher's, the recordings, and the rows. After a change of the code, empty the
cache.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
import torch
from accuracy_sources import Training, training
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter
from torch.utils.flop_counter import FlopCounterMode
from train_pretrained import Source

from pulsehr._rows import group_by_recording
from pulsehr._writing import written_at_once
from pulsehr.datasets import HeartRateDataset
from pulsehr.exceptions import InterruptedFitWarning

N_FOLDS = 5

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Settings:
    """What the command line says about every fit of the paper's recipe, and the seed of all."""

    seed: int = 0
    epochs: int = 40
    teacher_epochs: int = 20
    batch_size: int = 32


@dataclass(frozen=True)
class Configuration:
    """A recipe: how to make the pipeline, whose network of the same fold teaches it, what trains.

    `sources` is a key of the bench's, None for the first channel of the training subjects alone.
    """

    make: Callable[[Settings], Pipeline]
    teacher: str | None = None
    sources: str | None = None


@dataclass(frozen=True, eq=False)
class Split:
    """Rows that train, and rows of other subjects that test."""

    name: str
    train: Rows
    test: Rows


class Prediction(NamedTuple):
    """Heart rates (n_rows,) in bpm of the test rows, and their std in bpm where there is one."""

    bpm: NDArray[np.float64]
    std: NDArray[np.float64] | None = None


class Finished(NamedTuple):
    """What is kept of one fold."""

    prediction: Prediction
    seconds: float
    best_epoch: int
    n_parameters: int
    n_macs: int


def set_of(subjects: Any) -> NDArray[np.str_]:
    """Name the data set of each subject, which is what stands before the last underscore."""
    return np.array([str(subject).rsplit("_", 1)[0] for subject in subjects], dtype=np.str_)


def pooled_splits(data: HeartRateDataset) -> Iterator[Split]:
    """Yield five folds by subject over all data sets."""
    folds = GroupKFold(N_FOLDS).split(data.y, groups=data.groups)
    for number, (train, test) in enumerate(folds):
        yield Split(f"fold{number}", train, test)


def within_splits(data: HeartRateDataset) -> Iterator[Split]:
    """Yield five folds by subject of each data set by itself."""
    sets = set_of(data.groups)
    for name in np.unique(sets):
        rows = np.flatnonzero(sets == name)
        folds = GroupKFold(N_FOLDS).split(rows, groups=data.groups[rows])
        for number, (train, test) in enumerate(folds):
            yield Split(f"{name}-fold{number}", rows[train], rows[test])


def cross_splits(data: HeartRateDataset) -> Iterator[Split]:
    """Yield, for each data set, all others to train on and it to test."""
    sets = set_of(data.groups)
    for name in np.unique(sets):
        yield Split(f"to-{name}", np.flatnonzero(sets != name), np.flatnonzero(sets == name))


#: Each tests every row once.
SPLITS: dict[str, Callable[[HeartRateDataset], Iterator[Split]]] = {
    "pooled": pooled_splits,
    "within": within_splits,
    "cross": cross_splits,
}


@dataclass(frozen=True, eq=False)
class Bench:
    """The recordings, the recipes, and the cache.

    Parameters
    ----------
    data : HeartRateDataset
        Labelled readings.
    configurations : mapping of str to Configuration
        The recipes by name.
    cache : Path
        Folder of what is finished.
    every : int, default=1
        Train on every so many readings of a recording; all readings of the test subjects test.
    sources : mapping of str to sequence of Source, default={}
        What trains instead of all that, in configurations that name it.
    """

    data: HeartRateDataset
    configurations: Mapping[str, Configuration]
    cache: Path
    every: int = 1
    sources: Mapping[str, Sequence[Source]] = field(default_factory=dict)

    @cached_property
    def recordings(self) -> str:
        """Digest of all samples and labels."""
        return str(joblib.hash(self.data.recordings))

    @cached_property
    def digests(self) -> dict[str, str]:
        """Digests of all samples and labels of the sources."""
        return {
            name: str(joblib.hash([(s.X, s.y, s.subjects, s.labelled) for s in sources]))
            for name, sources in self.sources.items()
        }

    def training_rows(self, split: Split) -> Rows:
        """List every so many rows of each recording, in order of time."""
        kept = []
        for _, rows in group_by_recording([self.data.X[row] for row in split.train]):
            rows = split.train[rows]
            in_time = np.argsort([self.data.X[row].instant for row in rows], kind="stable")
            kept.append(rows[in_time][:: self.every])
        return np.sort(np.concatenate(kept))

    def unfitted(self, name: str, settings: Settings) -> Pipeline:
        """Make a pipeline, its teacher, if it has one, still missing."""
        return self.configurations[name].make(settings)

    def key(self, name: str, settings: Settings, split: Split) -> str:
        """Name the result of a fold in the cache."""
        pipe, teacher = self.unfitted(name, settings), self.configurations[name].teacher
        parts = [repr(described(pipe)), self.recordings, self.every, split.train, split.test]
        if teacher:
            parts.append(self.key(teacher, settings, split))
        if sources := self.configurations[name].sources:
            parts.append(self.digests[sources])
        seeded = any(part.endswith("random_state") for part in pipe.get_params())
        seed = f"-seed{settings.seed}" if seeded else ""
        slug = name.replace(",", "").replace(" ", "_")
        return f"{slug}-{split.name}{seed}-{joblib.hash(parts)[:10]}"

    def fitted(self, name: str, settings: Settings, split: Split) -> Pipeline:
        """Return a fitted pipeline, from the cache or fitted now."""
        return self._fitted(name, settings, split)["pipeline"]

    def is_finished(self, name: str, settings: Settings, split: Split, variant: str) -> bool:
        """Tell whether the predictions of a fold are in the cache."""
        return self._predictions(name, settings, split, variant).exists()

    def finished(
        self, name: str, settings: Settings, split: Split, variant: str, predict: Any = None
    ) -> Finished:
        """Return the predictions of a fold, from the cache or made now.

        Parameters
        ----------
        name : str
            The configuration.
        settings, split : Settings, Split
            Of the fold.
        variant : str
            Names the way in which `predict` predicts.
        predict : callable, default=None
            Returns the `Prediction` of a fitted pipeline; None if it is known to be finished.

        Returns
        -------
        Finished
            With one prediction for each test row.
        """
        path = self._predictions(name, settings, split, variant)
        if not path.exists():
            fit = self._fitted(name, settings, split)
            prediction = predict(fit["pipeline"])
            std = np.array([]) if prediction.std is None else prediction.std
            arrays = {key: value for key, value in fit.items() if key != "pipeline"}
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_at_once(path) as temporary, temporary.open("wb") as file:
                np.savez(file, bpm=prediction.bpm, std=std, **arrays)
        with np.load(path) as stored:
            std = stored["std"] if len(stored["std"]) else None
            numbers = (stored[field].item() for field in Finished._fields[1:])
            return Finished(Prediction(stored["bpm"], std), *numbers)

    def _predictions(self, name: str, settings: Settings, split: Split, variant: str) -> Path:
        slug = variant.replace(",", "").replace(" ", "_")
        return self.cache / f"{self.key(name, settings, split)}--{slug}.npz"

    def _fitted(self, name: str, settings: Settings, split: Split) -> dict[str, Any]:
        path = self.cache / f"{self.key(name, settings, split)}.joblib"
        if not path.exists():
            torch.set_num_threads(1)
            start = time.monotonic()
            pipe = self._fit(name, settings, split)
            fit = {
                "pipeline": pipe,
                "seconds": time.monotonic() - start,
                "best_epoch": getattr(pipe[-1], "best_epoch_", 0),
                **size(pipe[-1]),
            }
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_at_once(path) as temporary:
                joblib.dump(fit, temporary)
        return joblib.load(path)

    def _fit(self, name: str, settings: Settings, split: Split) -> Pipeline:
        pipe, teacher = self.unfitted(name, settings), None
        taught_by = self.configurations[name].teacher
        if taught_by:
            # the teacher of the same fold, so no test subject leaks
            teacher = self.fitted(taught_by, settings, split)
            if described(teacher[:-1]) != described(pipe[:-1]):
                raise ValueError(
                    f"accuracy: {name!r} and its teacher {taught_by!r} must have the same steps "
                    f"before the network, got {pipe[:-1]} and {teacher[:-1]}"
                )
            pipe[-1].set_params(teacher=FrozenEstimator(teacher[-1]))
        rows = self._training(name, split, pipe[-1], teacher)
        groups = {}
        if has_fit_parameter(pipe[-1], "groups"):
            groups = {f"{pipe.steps[-1][0]}__groups": rows.groups}
        with warnings.catch_warnings():
            # a fit that Ctrl-C cut short must not be taken for a finished one
            warnings.simplefilter("error", InterruptedFitWarning)
            return pipe.fit(rows.X, rows.y, **groups)

    def _training(self, name: str, split: Split, regressor: Any, teacher: Any) -> Training:
        if sources := self.configurations[name].sources:
            return training(self.sources[sources], self.data, split.train, regressor, teacher)
        rows = self.training_rows(split)
        return Training(
            [self.data.X[row] for row in rows], self.data.y[rows], self.data.groups[rows]
        )


def described(estimator: Any) -> Any:
    """Return the class and all parameters of an estimator as plain data that say the same twice."""
    if isinstance(estimator, BaseEstimator):
        parameters = estimator.get_params(deep=False)
        return type(estimator).__qualname__, [
            (name, described(value)) for name, value in sorted(parameters.items())
        ]
    if isinstance(estimator, (list, tuple)):
        return [described(part) for part in estimator]
    if isinstance(estimator, dict):
        return [(name, described(value)) for name, value in sorted(estimator.items())]
    if callable(estimator):
        return f"{estimator.__module__}.{estimator.__qualname__}"
    return repr(estimator)


def size(regressor: Any) -> dict[str, int]:
    """Count the learnt numbers, and the multiplications for a window; 0 where nobody knows."""
    network = getattr(regressor, "network_", None)
    if network is None:
        return {"n_parameters": getattr(regressor, "n_parameters_", 0), "n_macs": 0}
    shape = (1, regressor.n_channels_, regressor.n_features_in_ // regressor.n_channels_)
    # in training mode, as the counter does not know the fused attention of evaluation
    network = copy.deepcopy(network).cpu().train()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(shape))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"n_parameters": parameters, "n_macs": counter.get_total_flops() // 2}
