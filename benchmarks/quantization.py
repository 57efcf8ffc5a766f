"""Measure what int8 costs on real recordings, and what each way to choose the integers gives.

    python benchmarks/quantization.py FOLDER
    python benchmarks/quantization.py FOLDER --published REFERENCE

The first takes the distilled students of `benchmarks/accuracy.py` (same folds, cache and settings;
what is missing is fitted) and predicts each fold's test subjects by integers that were chosen on
its training rows alone. The second takes the weights that the paper's authors published, chooses
the integers on WESAD windows below FOLDER and predicts the 215 windows beside the weights. Ways
that did not pay are not in the package but here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from accuracy_configurations import CONFIGURATIONS
from accuracy_folds import Bench, Settings, Split, pooled_splits
from joblib import Parallel, delayed
from numpy.typing import NDArray

from pulsehr import PPGWindower, _fine_tuning
from pulsehr._fine_tuning import ready_for_integers
from pulsehr._inference import PERCENTILE, layer_ranges, run_network
from pulsehr._training import Trained
from pulsehr._validation import check_training_rows
from pulsehr.datasets import load_empatica, load_folder
from pulsehr.firmware.graph import CHUNK, Conv, Graph, MeanPool, gather_patches
from pulsehr.firmware.integer import quantize_windows, run, run_layer
from pulsehr.firmware.lowering import lower
from pulsehr.firmware.quantization import BPM_STEPS, QuantizedGraph, quantize
from pulsehr.metrics import group_mean_absolute_errors
from pulsehr.networks import DistilledStudent

#: The recipe of `benchmarks/accuracy.py` whose networks are quantized.
STUDENT = "paper student distilled"

#: Windows of the training rows on which what needs more than ranges is chosen.
N_CHOSEN = 512

#: Every so many values enter a search over values: neighbours are alike.
EVERY = 7

#: Exponent of the ranges of channels by which they are equalised; more gave more error.
EQUALISATION = 0.25

#: The largest weight of four bits.
FOUR_BITS = 7

#: Layers with 77 % of the weights, which have four bits in the mixed row.
LARGEST_LAYERS = ("conv31", "conv32", "conv33", "conv4", "dense")


@dataclass(frozen=True, eq=False)
class Case:
    """A trained network, and the windows on which its integers are chosen."""

    network: DistilledStudent
    windows: NDArray[np.float32]
    measured: dict[float, dict[str, tuple[float, float]]] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        """The network as plain data."""
        return lower(self.network, self.windows.shape[1:])

    @property
    def some(self) -> NDArray[np.float32]:
        """Windows from all over the rows."""
        return self.windows[np.linspace(0, len(self.windows) - 1, N_CHOSEN).astype(int)]

    def ranges(self, percentile: float = PERCENTILE) -> dict[str, tuple[float, float]]:
        """Ranges of the layers."""
        if percentile not in self.measured:
            self.measured[percentile] = layer_ranges(self.network, self.windows, percentile)
        return self.measured[percentile]


def outputs_of(graph: Graph, windows: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    """Return some values of every tensor, (n, depth)."""
    values: dict[str, list[NDArray[np.float32]]] = {}
    for start in range(0, len(windows), CHUNK):
        for name, y in graph.outputs(windows[start : start + CHUNK]):
            flat = y.reshape(-1, y.shape[-1])[::EVERY].astype(np.float32)
            values.setdefault(name, []).append(flat)
    return {name: np.concatenate(parts) for name, parts in values.items()}


def by_percentile(percentile: float) -> Callable[[Case], QuantizedGraph]:
    """Clip as many values beyond either end."""
    return lambda case: quantize(case.graph, case.ranges(percentile))


def by_squared_error(case: Case) -> QuantizedGraph:
    """Clip each tensor where the mean squared error of its integers is least."""
    ranges = {}
    for name, values in outputs_of(case.graph, case.some).items():
        low, high = min(float(values.min()), 0), max(float(values.max()), 0)

        def error(share: float, values: Any = values, low: float = low, high: float = high) -> Any:
            scale = share * (high - low) / 255 or 1.0
            zero = round(-128 - share * low / scale)
            steps = np.clip(np.round(values / scale) + zero, -128, 127)
            return np.square((steps - zero) * scale - values).mean()

        best = min(np.linspace(0.2, 1, 41), key=error)
        ranges[name] = best * low, best * high
    return quantize(case.graph, ranges)


def with_corrected_bias(case: Case) -> QuantizedGraph:
    """Move each bias so that the mean of an output's sums is that of float, layer by layer."""
    graph = case.graph
    quantized = quantize(graph, case.ranges())
    real: Any = case.some[..., np.newaxis].astype(np.float64)
    integers: Any = quantize_windows(case.some, quantized.input_format)[..., np.newaxis]
    layers = []
    for layer, coarse in zip(graph.layers, quantized.layers, strict=True):
        if coarse.products is not None:
            multipliers = coarse.products.multiplier * 2.0 ** (coarse.products.shift - 31.0)
            steps = multipliers * coarse.target.scale / coarse.source.scale
            weights = coarse.products.weights.reshape(len(steps), -1) * steps[:, np.newaxis]
            inputs = (integers - float(coarse.source.zero_point)) * coarse.source.scale
            expected = mean_patch(layer, real) @ flat(layer.weights).T + layer.bias
            bias = expected - mean_patch(layer, inputs) @ weights.T
            # an output whose weights are all zero has no steps, and keeps its bias
            bias = np.round(bias / np.where(steps > 0, steps * coarse.source.scale, np.inf))
            bias = np.where(steps > 0, bias, coarse.products.bias).astype(np.int32)
            coarse = replace(coarse, products=replace(coarse.products, bias=bias))
        layers.append(coarse)
        real, integers = layer.run(real), run_layer(coarse, integers)
    return replace(quantized, layers=tuple(layers))


def mean_patch(layer: Any, x: NDArray[Any]) -> NDArray[Any]:
    """Average what each output of a layer sees, over windows and places."""
    if isinstance(layer, Conv):
        parts = [
            gather_patches(x[start : start + CHUNK], layer) for start in range(0, len(x), CHUNK)
        ]
        return np.mean([part.mean((0, 1, 2)) for part in parts], axis=0)
    return x.reshape(len(x), -1).mean(0)


def flat(weights: NDArray[Any]) -> NDArray[Any]:
    """Weights as (n_out, n_inputs)."""
    return weights.reshape(len(weights), -1)


def equalised(case: Case) -> QuantizedGraph:
    """Bring the ranges of channels nearer to each other; the next layer undoes it."""
    layers = [*case.graph.layers]
    values = outputs_of(case.graph, case.some)
    weighted = [index for index, layer in enumerate(layers) if not isinstance(layer, MeanPool)]
    for index, after in pairwise(weighted):
        layer, following = layers[index], layers[after]
        if not (isinstance(layer, Conv) and isinstance(following, Conv)):
            break
        tops = np.percentile(values[layer.name], PERCENTILE, axis=0)
        scale = np.where(tops > 1e-3 * tops.max(), tops / tops.max(), 1.0) ** EQUALISATION
        weights = layer.weights / scale[:, np.newaxis, np.newaxis, np.newaxis]
        layers[index] = replace(layer, weights=weights, bias=layer.bias / scale)
        layers[after] = replace(following, weights=following.weights * scale)
    graph = Graph(case.graph.input_shape, tuple(layers))
    ranges = {}
    for name, outputs in outputs_of(graph, case.some).items():
        low, high = np.percentile(outputs, [100 - PERCENTILE, PERCENTILE])
        ranges[name] = float(low), float(high)
    return quantize(graph, ranges)


def with_clipped_weights(case: Case) -> QuantizedGraph:
    """Clip the weights of each output where their mean squared error is least."""
    layers = []
    for layer in case.graph.layers:
        if not isinstance(layer, MeanPool):
            weights = flat(layer.weights)
            tops = np.abs(weights).max(1, keepdims=True)
            tried = []
            for share in (1, 0.95, 0.9, 0.8, 0.7, 0.6):
                steps = np.maximum(share * tops / 127, 1e-12)
                tried.append(steps * np.clip(np.round(weights / steps), -127, 127))
            best = np.argmin([np.square(each - weights).sum(1) for each in tried], axis=0)
            chosen = np.array(tried)[best, np.arange(len(weights))]
            layer = replace(layer, weights=chosen.reshape(layer.weights.shape))
        layers.append(layer)
    return quantize(Graph(case.graph.input_shape, tuple(layers)), case.ranges())


def with_four_bits(case: Case, names: tuple[str, ...] | None = None) -> QuantizedGraph:
    """Round the weights of layers, by default of all, to four bits with a scale for each output."""
    layers = []
    for layer in case.graph.layers:
        if not isinstance(layer, MeanPool) and (names is None or layer.name in names):
            weights = flat(layer.weights)
            steps = np.maximum(np.abs(weights).max(1, keepdims=True) / FOUR_BITS, 1e-12)
            rounded = (steps * np.round(weights / steps)).reshape(layer.weights.shape)
            layer = replace(layer, weights=rounded)
        layers.append(layer)
    return quantize(Graph(case.graph.input_shape, tuple(layers)), case.ranges())


def mixed(case: Case) -> QuantizedGraph:
    """Four bits in the largest layers, eight in the others."""
    return with_four_bits(case, LARGEST_LAYERS)


#: How the integers of a network that stays as it is are chosen.
WAYS: dict[str, Callable[[Case], QuantizedGraph]] = {
    "min-max": by_percentile(100),
    "percentile 99.995": by_percentile(99.995),
    "percentile 99.99": by_percentile(99.99),
    "percentile 99.9": by_percentile(99.9),
    "mean squared error": by_squared_error,
    "99.995, bias corrected": with_corrected_bias,
    "99.995, equalised": equalised,
    "99.995, weights clipped": with_clipped_weights,
    "99.995, weights of 4 bits in the largest layers": mixed,
    "99.995, weights of 4 bits": with_four_bits,
}


def predict(graph: QuantizedGraph, windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Estimate heart rates by integers."""
    return run(graph, quantize_windows(windows, graph.input_format)) / BPM_STEPS


@dataclass(frozen=True, eq=False)
class Fold:
    """A fold of `benchmarks/accuracy.py`, and the epochs in which its student is fine-tuned."""

    bench: Bench
    settings: Settings
    split: Split
    epochs: int

    def path(self, what: str) -> Path:
        """Name a result in the cache."""
        key = self.bench.key(STUDENT, self.settings, self.split)
        return self.bench.cache / f"{what}-{self.epochs}-{key}.joblib"


def fine_tuned(fold: Fold, windows: NDArray[np.float32], weight_max: int) -> Any:
    """Fine-tune the student of a fold, as its `fit` would; return network and ranges."""
    path = fold.path(f"tuned-{weight_max}")
    if not path.exists():
        student = fold.bench.fitted(STUDENT, fold.settings, fold.split)[-1]
        student.quantization_epochs = fold.epochs
        trained = Trained(student.network_, student.history_, student.best_epoch_, False)
        y, groups = (a[fold.split.train] for a in (fold.bench.data.y, fold.bench.data.groups))
        rows = check_training_rows(student, windows, y, None, groups)
        before, _fine_tuning.WEIGHT_MAX = _fine_tuning.WEIGHT_MAX, weight_max
        try:
            seed = student.random_state
            trained, ranges, history = ready_for_integers(student, trained, rows, seed)
        finally:
            _fine_tuning.WEIGHT_MAX = before
        losses = [round(row["valid_loss"], 3) for row in history]
        print(f"{path.stem}: differences on held-out subjects {losses}", flush=True)
        joblib.dump((trained.network, ranges), path)
    return joblib.load(path)


def predict_fold(fold: Fold) -> dict[str, NDArray[np.float64]]:
    """Predict the test rows of a fold in every way, or take what is in the cache."""
    path = fold.path("integers")
    if not path.exists():
        torch.set_num_threads(1)
        predicted = _predict_fold(fold)
        joblib.dump(predicted, path)
        print(f"{path.stem} is done", flush=True)
    return joblib.load(path)


def _predict_fold(fold: Fold) -> dict[str, NDArray[np.float64]]:
    student = fold.bench.fitted(STUDENT, fold.settings, fold.split)[-1]
    train, test = (
        PPGWindower().fit_transform([fold.bench.data.X[row] for row in rows])
        for rows in (fold.split.train, fold.split.test)
    )
    case = Case(student.network_, train)
    predicted = {"float": student.predict(test)}
    for label, way in WAYS.items():
        predicted[label] = predict(way(case), test)
    if epochs := fold.epochs:
        network, ranges = fine_tuned(fold, train, 127)
        integers = quantize(lower(network, test.shape[1:]), ranges)
        predicted[f"99.995, {epochs} epochs of fine-tuning"] = predict(integers, test)
        network, _ = fine_tuned(fold, train, FOUR_BITS)
        label = f"99.995, weights of 4 bits, {epochs} epochs of fine-tuning"
        predicted[label] = predict(with_four_bits(Case(network, train)), test)
    return predicted


def cross_validate(options: argparse.Namespace) -> None:
    """Print the table over the five folds by subject."""
    data = load_folder(options.folder)
    bench = Bench(data, CONFIGURATIONS, options.cache)
    settings = Settings(options.seed, options.epochs, options.teacher_epochs, options.batch_size)
    epochs = options.quantization_epochs
    folds = [Fold(bench, settings, split, epochs) for split in pooled_splits(data)]
    parts = Parallel(n_jobs=options.jobs)(delayed(predict_fold)(fold) for fold in folds)
    predicted = {label: np.empty(len(data.y)) for label in parts[0]}
    for fold, part in zip(folds, parts, strict=True):
        for label, values in part.items():
            predicted[label][fold.split.test] = values

    def errors(values: Any) -> NDArray[np.float64]:
        of_subjects = group_mean_absolute_errors(data.y, values, data.groups)
        return np.array([*of_subjects.values()])

    print(f"\n{data}, {len(folds)} folds by subject, seed {options.seed}.\n")
    print_table(predicted, errors)


def published(options: argparse.Namespace) -> None:
    """Print the table of the published student on the windows beside it."""
    stored = np.load(options.published / "published_student_S6.npz")
    windows = np.load(options.published / "ppg_dalia_S6_stairs.npz")
    network = DistilledStudent().eval()
    network.load_state_dict({k: torch.from_numpy(stored[k]) for k in stored if "." in k})
    tests, y = windows["normalised"].astype(np.float32), windows["y"]
    channels = [windows[name].reshape(1, 4, 1) for name in ("channel_mean", "channel_std")]
    wesad = (wesad_windows(options.folder) - channels[0]) / channels[1]
    for name, chosen in {"WESAD": wesad.astype(np.float32), "the tested windows": tests}.items():
        case = Case(network, chosen)
        predicted = {"float": run_network(network, tests)[0]}
        predicted |= {label: predict(way(case), tests) for label, way in WAYS.items()}
        print(f"\nThe published student, integers chosen on {len(chosen)} windows of {name}.\n")
        print_table(predicted, lambda values: np.abs(values - y))


def wesad_windows(folder: Path) -> NDArray[Any]:
    """Cut a window every 40 s of WESAD, as measured."""
    windows = []
    for path in sorted(folder.rglob("BVP.csv.gz")):
        recording = load_empatica(path.parent)
        windows.append(PPGWindower(normalize=None).fit_transform(recording.readings(stride=40.0)))
    return np.concatenate(windows)


def print_table(
    predicted: dict[str, NDArray[np.float64]], errors: Callable[[Any], NDArray[np.float64]]
) -> None:
    """Print errors, what they are beyond those of float, and how far integers are from float.

    All in bpm; "±" is the standard error of the mean of differences, each of a subject or window.
    """
    reference = predicted["float"]
    lines = [["integers", "error", "minus float", "distance", "99 %"], ["---"] * 5]
    for label, values in predicted.items():
        distance, more = np.abs(values - reference), errors(values) - errors(reference)
        figures = (
            f"{errors(values).mean():.2f}",
            f"{more.mean():+.3f} ± {more.std(ddof=1) / len(more) ** 0.5:.3f}",
            f"{distance.mean():.2f}",
            f"{np.percentile(distance, 99):.1f}",
        )
        lines.append([label, *figures])
    print("\n".join("| " + " | ".join(cells) + " |" for cells in lines))


def main() -> None:
    """Print one of the two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder with the data sets")
    parser.add_argument("--published", type=Path, help="folder with the published weights")
    parser.add_argument("--quantization-epochs", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=40, help="of the student")
    parser.add_argument("--teacher-epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path("build/accuracy"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.published:
        published(options)
    else:
        cross_validate(options)


if __name__ == "__main__":
    main()
