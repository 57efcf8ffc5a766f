"""ONNX Runtime computes what `predict` computes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.ensemble import StackingRegressor, VotingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

import pulsehr
from pulsehr import (
    DistilledStudentRegressor,
    HeartRateTracker,
    MicrocontrollerModel,
    PPGWindower,
    PulseTeacherRegressor,
    QuantizedStudentRegressor,
    to_microcontroller,
    to_onnx,
)
from pulsehr.baselines import SpectralPeakRegressor
from pulsehr.datasets import make_recordings
from pulsehr.firmware.graph import Conv, Dense, Graph, MeanPool, measure_ranges
from pulsehr.firmware.lowering import lower
from pulsehr.firmware.quantization import QuantizedGraph, quantize
from pulsehr.networks import DistilledStudent

BPM = 1e-4  # how far ONNX Runtime may be from predict
SHAPES = [(4, 256), (1, 64), (4, 250), (2, 37), (3, 10), (2, 1)]
REGRESSORS = [PulseTeacherRegressor, DistilledStudentRegressor]


@pytest.fixture(scope="module")
def run(outputs_of) -> Callable[..., np.ndarray]:
    """Check a model and run it on X: its first output."""
    return lambda model, X: outputs_of(model, X)[0]


@pytest.fixture(scope="module")
def outputs_of(missing: Callable[[str], Any]) -> Callable[..., list[np.ndarray]]:
    """Check a model and run it on X: all its outputs."""
    try:
        import onnx
        import onnxruntime
        import skl2onnx  # noqa: F401 only whether it is there
    except ImportError as error:
        missing(f'{error}: pip install "pulsehr[onnx]"')

    def run_model(model: Any, X: np.ndarray) -> list[np.ndarray]:
        onnx.checker.check_model(model, full_check=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return session.run(None, {"X": X})

    return run_model


def raw_windows(n: int, shape: tuple[int, int] = (4, 256), seed: int = 0) -> np.ndarray:
    """Pulses of 1 on an offset of 5000, with acceleration; some PPG does not vary."""
    rng = np.random.default_rng(seed)
    windows = rng.normal(size=(n, *shape))
    phase = 2 * np.pi * rng.uniform(0.8, 3, (n, 1)) * np.arange(shape[1]) / 32
    windows[:, 0] = 5000 + np.sin(phase) + 0.1 * windows[:, 0]
    if shape[1] > 1 and n > 8:
        windows[3, 0], windows[5] = 5000.1, 0
    return windows.astype(np.float32)


def normal_windows(n: int, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


def small(regressor: type, **parameters: Any) -> Any:
    defaults = {"max_epochs": 1, "filters": (4, 5, 6), "random_state": 0, "verbose": 0}
    return regressor(**(defaults | parameters))


def shaken(estimator: Any, seed: int = 0) -> Any:
    """Give a fitted network weights that make much of its input."""
    generator = torch.Generator().manual_seed(seed)
    network = estimator.network_
    with torch.no_grad():
        for name, values in network.named_parameters():
            deviation = (2 / values[0].numel()) ** 0.5 if values.ndim > 1 else 0.1
            values.normal_(1 if "norm" in name else 0, deviation, generator=generator)
        network.out.weight.mul_(10)
        network.out.bias.fill_(90)
    return estimator


def fitted(regressor: type, shape: tuple[int, int], seed: int = 0, **parameters: Any) -> Any:
    y = np.linspace(60, 120, 12)
    windows = normal_windows(12, shape, seed)
    return shaken(small(regressor, **parameters).fit(windows, y), seed)


def fitted_pipeline(*steps: Any, X: np.ndarray) -> Any:
    pipe = make_pipeline(*steps).fit(X, np.linspace(60, 120, len(X)))
    shaken(pipe[-1])
    return pipe


def plain(estimator: Any, X: Any) -> Any:
    import skl2onnx

    return skl2onnx.to_onnx(estimator, X)


def card_of(model: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


# ------------------------------------------------------------------------------- floats


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("regressor", REGRESSORS)
def test_a_network_gives_what_predict_gives_at_every_batch_size(run, regressor, shape):
    estimator = fitted(regressor, shape)
    X = normal_windows(64, shape, seed=1)
    expected = estimator.predict(X)
    model = to_onnx(estimator)
    assert np.ptp(expected) > 0.5 or shape[1] <= 10  # hardly anything is left after the pools
    for n in (1, 7, 64):
        y = run(model, X[:n])
        assert y.shape == (n, 1)
        np.testing.assert_allclose(y[:, 0], expected[:n], rtol=0, atol=BPM)


@pytest.mark.parametrize("loss", ["l1", "laplace"])
@pytest.mark.parametrize("shape", [(4, 256), (1, 64), (2, 37), (2, 1)])
@pytest.mark.parametrize("regressor", [PulseTeacherRegressor, DistilledStudentRegressor])
def test_other_forms_and_losses_give_the_heart_rate(run, regressor, shape, loss):
    estimator = fitted(regressor, shape, network="interacting", loss=loss)
    with torch.no_grad():
        estimator.network_.out.weight.mul_(1 / 20)
        estimator.network_.out.bias.fill_(90 / 20)
    X = normal_windows(20, shape, seed=1)
    expected = estimator.predict(X)
    assert np.ptp(expected) > 0.5 or shape[1] <= 10
    y = run(to_onnx(estimator), X)
    assert y.shape == (20, 1)
    np.testing.assert_allclose(y[:, 0], expected, rtol=0, atol=BPM)
    np.testing.assert_allclose(run(plain(estimator, X[:1]), X)[:, 0], expected, rtol=0, atol=BPM)


@pytest.mark.parametrize("form", ["teacher", "student", "interacting"])
@pytest.mark.parametrize("within", ["alone", "pipeline"])
def test_the_second_output_is_the_std(outputs_of, form, within):
    regressor = PulseTeacherRegressor if form[0] == "t" else DistilledStudentRegressor
    network = {"network": form} if form in ("interacting") else {}
    X = raw_windows(30)
    model = small(regressor, loss="laplace", **network)
    if within == "pipeline":
        model = make_pipeline(PPGWindower(), "passthrough", model)
    fitted = model.fit(X, np.linspace(60, 120, 30))
    bpm, std = outputs_of(to_onnx(fitted), X)
    expected_bpm, expected_std = fitted.predict(X, return_std=True)
    assert bpm.shape == std.shape == (30, 1)
    tolerance = {"atol": BPM} if within == "pipeline" else {"atol": 0.01}  # of offsets of 5000
    np.testing.assert_allclose(bpm[:, 0], expected_bpm, rtol=0, **tolerance)
    np.testing.assert_allclose(std[:, 0], expected_std, rtol=1e-4, **tolerance)


@pytest.mark.parametrize("exact", [True, False])
def test_integers_have_their_std_too(outputs_of, exact):
    windows = normal_windows(60, (2, 37), seed=1)
    student = fitted(DistilledStudentRegressor, (2, 37), network="interacting", loss="laplace")
    with torch.no_grad():
        features = student.network_(torch.from_numpy(windows))[1]
        student.network_.out.bias[1] = 0
        log_scale = student.network_.out(features)[:, 1]
        student.network_.out.weight[1] *= 2 / log_scale.std()
        student.network_.out.bias[1] = 1 - 2 * log_scale.median() / log_scale.std()
        student.network_.out.weight[0] /= 20
    integers = QuantizedStudentRegressor(FrozenEstimator(student)).fit(windows)
    model = to_microcontroller(integers)
    expected_bpm, expected_std = model.predict(windows, return_std=True)
    assert len(set(expected_std.tolist())) > 10
    bpm, std = outputs_of(to_onnx(model, exact=exact), windows)
    if exact:
        np.testing.assert_array_equal(bpm[:, 0], expected_bpm)
        np.testing.assert_array_equal(std[:, 0], expected_std)
        bpm, std = outputs_of(to_onnx(integers), windows)
        np.testing.assert_array_equal(std[:, 0], expected_std)
    else:
        assert np.abs(std[:, 0] / expected_std - 1).mean() < 0.2  # a spread of e**2


def test_in_the_middle_and_in_a_meta_estimator_there_is_one_output(outputs_of):
    X, y = normal_windows(24, (2, 37)), np.linspace(60, 120, 24)
    student = small(DistilledStudentRegressor, loss="laplace")
    middle = make_pipeline(FrozenEstimator(student.fit(X, y)), Ridge()).fit(X, y)
    voting = VotingRegressor([("a", student), ("b", student)]).fit(X.reshape(24, -1), y)
    for model, given in ((middle, X), (voting, X.reshape(24, -1))):
        (found,) = outputs_of(to_onnx(model, given), given)
        np.testing.assert_allclose(found.ravel(), model.predict(given).ravel(), atol=1e-3)


@pytest.mark.parametrize("regressor", REGRESSORS)
def test_plain_skl2onnx_converts_without_registration(run, regressor):
    X = raw_windows(32)
    pipe = fitted_pipeline(PPGWindower(), small(regressor), X=X)
    np.testing.assert_allclose(run(plain(pipe, X[:1]), X)[:, 0], pipe.predict(X), rtol=0, atol=BPM)
    student, windows = pipe[-1], pipe[0].transform(X)
    y = run(plain(student, windows[:1]), windows)
    np.testing.assert_allclose(y[:, 0], student.predict(windows), rtol=0, atol=BPM)


@pytest.mark.parametrize("regressor", REGRESSORS)
@pytest.mark.parametrize("bandpass", [None, (0.5, 5.0)])
@pytest.mark.parametrize("normalize", ["window", "channel", None])
def test_a_pipeline_takes_raw_windows(run, normalize, bandpass, regressor):
    X = raw_windows(40)
    if normalize is None and bandpass is None:
        X[:, 0] -= 5000  # which float32 convolutions could not carry
    pipe = fitted_pipeline(
        PPGWindower(normalize=normalize, bandpass=bandpass), small(regressor), X=X
    )
    y = run(to_onnx(pipe, X[:1]), X)
    np.testing.assert_allclose(y[:, 0], pipe.predict(X), rtol=0, atol=BPM)


@pytest.mark.parametrize("bandpass", [None, (0.5, 5.0)])
@pytest.mark.parametrize("normalize", ["window", "channel", None])
@pytest.mark.parametrize("flatten", [False, True])
def test_a_windower_gives_what_transform_gives(run, flatten, normalize, bandpass):
    X = raw_windows(20)
    windower = PPGWindower(normalize=normalize, bandpass=bandpass, flatten=flatten).fit(X)
    expected = windower.transform(X)
    windows = run(to_onnx(windower), X)
    assert windows.dtype == np.float32
    np.testing.assert_allclose(windows, expected, rtol=1e-6, atol=1e-6)
    if normalize == "window":
        assert (windows.reshape(expected.shape)[3].reshape(4, -1)[0] == 0).all()


def test_rows_pass_through_scikit_learns_own_steps(run):
    X = raw_windows(40)
    for steps in ([StandardScaler()], [StandardScaler(), PCA(32)]):
        student = small(DistilledStudentRegressor, n_channels=4 if len(steps) == 1 else 1)
        pipe = fitted_pipeline(PPGWindower(flatten=True), *steps, student, X=X)
        y = run(to_onnx(pipe), X)
        np.testing.assert_allclose(y[:, 0], pipe.predict(X), rtol=0, atol=BPM)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_rows_of_any_number_type_are_taken(run, dtype):
    X = np.round(raw_windows(20)).reshape(20, -1).astype(dtype)
    pipe = fitted_pipeline(PPGWindower(n_channels=4), small(DistilledStudentRegressor), X=X)
    y = run(to_onnx(pipe, X), X)
    np.testing.assert_allclose(y[:, 0], pipe.predict(X), rtol=0, atol=BPM)


def test_a_windower_fitted_on_readings_takes_the_windows_that_it_cuts(run):
    data = make_recordings(n_subjects=1, duration=40, random_state=0)
    pipe = make_pipeline(PPGWindower(), small(DistilledStudentRegressor)).fit(data.X, data.y)
    shaken(pipe[-1])
    cut = PPGWindower(normalize=None).fit_transform(data.X)
    y = run(to_onnx(pipe), cut)
    np.testing.assert_allclose(y[:, 0], pipe.predict(data.X), rtol=0, atol=BPM)


def test_a_norm_that_became_an_identity_is_left_out(run):
    teacher = fitted(PulseTeacherRegressor, (2, 16))
    teacher.network_.layer_norm = nn.Identity()
    X = normal_windows(20, (2, 16))
    np.testing.assert_allclose(run(to_onnx(teacher), X)[:, 0], teacher.predict(X), rtol=0, atol=BPM)


def test_the_spectral_peak_is_the_same(run):
    X = np.delete(raw_windows(300), [3, 5], axis=0)  # a flat window has no peak
    pipe = make_pipeline(PPGWindower(), SpectralPeakRegressor()).fit(X, np.ones(len(X)))
    np.testing.assert_allclose(run(to_onnx(pipe, X), X)[:, 0], pipe.predict(X), rtol=1e-6)


# ---------------------------------------------------------------- inside other estimators


def test_an_embedding_in_the_middle_is_that_of_transform(run):
    X = raw_windows(40)
    y = np.linspace(60, 120, 40)
    pipe = make_pipeline(
        PPGWindower(), fitted(PulseTeacherRegressor, (4, 256)), StandardScaler(), Ridge(alpha=10.0)
    )
    windows = pipe[0].fit_transform(X)
    pipe[2:].fit(pipe[1].transform(windows), y)
    for model in (to_onnx(pipe), plain(pipe, X[:1])):
        np.testing.assert_allclose(run(model, X)[:, 0], pipe.predict(X), rtol=0, atol=BPM)


def test_a_feature_union_holds_embeddings_and_samples(run):
    X = raw_windows(20)
    student = fitted_pipeline(PPGWindower(), small(DistilledStudentRegressor), X=X)
    rows = PPGWindower(flatten=True).fit(X)
    union = FeatureUnion([("embedding", student), ("samples", rows)])
    features = run(to_onnx(union, X[:1]), X)
    assert features.shape == (20, 32 + 4 * 256)
    np.testing.assert_allclose(features, union.transform(X), rtol=1e-5, atol=1e-5)


def test_frozen_estimators_convert_alone_and_as_features_of_a_classifier(run):
    X = raw_windows(30)
    student = small(DistilledStudentRegressor).fit(
        PPGWindower().fit_transform(X), np.linspace(60, 120, 30)
    )
    frozen = FrozenEstimator(student)
    np.testing.assert_allclose(run(to_onnx(frozen), X)[:, 0], frozen.predict(X), rtol=0, atol=BPM)
    union = FeatureUnion([("heart", frozen), ("again", frozen)])
    pipe = make_pipeline(PPGWindower(), union, StandardScaler(), Ridge())
    pipe.fit(X, np.linspace(0, 1, 30))
    for model in (to_onnx(pipe), plain(pipe, X[:1])):
        np.testing.assert_allclose(run(model, X)[:, 0], pipe.predict(X), rtol=0, atol=1e-4)


def test_steps_that_do_nothing_are_left_out(run):
    X = raw_windows(20)
    pipe = make_pipeline("passthrough", PPGWindower(), small(PulseTeacherRegressor))
    pipe.fit(X, np.linspace(60, 120, 20))
    np.testing.assert_allclose(run(to_onnx(pipe), X)[:, 0], pipe.predict(X), rtol=0, atol=BPM)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda regressors: StackingRegressor(regressors, Ridge(), cv=2),
        VotingRegressor,
        lambda regressors: GridSearchCV(regressors[1][1], {"lr": [1e-3]}, cv=2),
        lambda regressors: TransformedTargetRegressor(
            regressors[0][1], transformer=StandardScaler()
        ),
        lambda regressors: TransformedTargetRegressor(regressors[1][1]),
    ],
    ids=["stacking", "voting", "search", "scaled target", "plain target"],
)
def test_meta_estimators_of_scikit_learn_convert(run, wrap):
    X = raw_windows(24)
    regressors = [
        (kind.__name__.lower(), small(kind, lr=0.05, max_epochs=3)) for kind in REGRESSORS
    ]
    pipe = make_pipeline(PPGWindower(), wrap(regressors)).fit(X, np.linspace(60, 120, 24))
    expected = pipe.predict(X)
    assert np.ptp(expected) > 0.01
    for model in (to_onnx(pipe), plain(pipe, X[:1])):
        np.testing.assert_allclose(run(model, X)[:, 0], expected, rtol=0, atol=BPM)


# ----------------------------------------------------------------------------- integers


def quantized(shape: tuple[int, int], filters: tuple[int, int, int], seed: int) -> QuantizedGraph:
    student = fitted(DistilledStudentRegressor, (1, 1))
    student.network_ = DistilledStudent(*shape, filters).eval()
    graph = lower(shaken(student, seed).network_, shape)
    return quantize(graph, measure_ranges(graph, normal_windows(50, shape, seed)))


@pytest.mark.parametrize("shape", [(1, 16), (2, 100), (4, 250), (3, 1), (1, 37), (4, 256)])
def test_exact_integers_are_those_of_the_firmware(run, shape):
    for seed, filters in enumerate([(16, 24, 32), (3, 4, 5)]):
        model = MicrocontrollerModel(quantized(shape, filters, seed))
        X = normal_windows(300, shape, seed=2)
        X[100:150] *= 4
        X[150:200] = np.sign(X[150:200]) * np.float32(1e30)  # beyond every scale
        X[200:250] = np.round(X[200:250] * 4) / 4
        assert (run(to_onnx(model), X)[:, 0] == model.predict(X)).all()


def test_an_estimator_of_integers_becomes_its_integers(run):
    windows = normal_windows(40, (2, 37), seed=1)
    student = FrozenEstimator(fitted(DistilledStudentRegressor, (2, 37)))
    pipe = make_pipeline(PPGWindower(), QuantizedStudentRegressor(student, percentile=99))
    pipe.fit(windows)
    model = to_onnx(pipe, windows[:1])
    assert (run(model, windows)[:, 0] == pipe.predict(windows)).all()
    assert card_of(model)["estimator"] == "QuantizedStudentRegressor"
    assert card_of(model)["training_windows"] == str(student.n_windows_)


def test_exact_integers_take_any_batch_and_rows(run):
    model = MicrocontrollerModel(quantized((2, 37), (3, 4, 5), 0))
    X = normal_windows(64, (2, 37), seed=3).reshape(64, -1)
    onnx_model = to_onnx(model, X[:1])
    for n in (1, 7, 64):
        assert (run(onnx_model, X[:n])[:, 0] == model.predict(X[:n])).all()


def test_input_halves_go_away_from_zero_and_what_is_just_below_does_not(run):
    dense = [Dense(name, np.array([[4.0]]), np.array([0.0])) for name in ("dense", "out")]
    layers = (Conv("conv", np.array([[[[1.0]]]]), np.array([0.0])), *dense)
    ranges = {"input": (-127.5, 127.5), "conv": (-128.0, 127.0), "dense": (-512.0, 512.0)}
    model = MicrocontrollerModel(quantize(Graph((1, 1), layers), ranges))
    assert model.graph.input_format.scale == 1
    halves = np.arange(-130, 130) + np.float32(0.5)
    X = np.concatenate([halves, np.nextafter(halves, np.float32(0)), 2 * halves])
    X = X.astype(np.float32).reshape(-1, 1, 1)
    assert (run(to_onnx(model), X)[:, 0] == model.predict(X)).all()


@pytest.mark.parametrize("seed", range(8))
def test_every_multiplier_and_shift_is_exact(run, seed):
    # what quantize would not choose: shifts to the left and far to the right, ties everywhere
    rng = np.random.default_rng(seed)
    graph = quantized((2, 37), (3, 4, 5), seed)
    layers = []
    for layer in graph.layers:
        if layer.products is not None:
            products = layer.products
            n_out = len(products.multiplier)
            most = int(np.log2(2**31 / products.largest_sum))
            shift = rng.integers(-20, most, n_out, endpoint=True).astype(np.int8)
            ties = np.full(n_out, 2**30)
            multiplier = np.where(rng.random(n_out) < 0.5, ties, rng.integers(2**30, 2**31, n_out))
            layer = replace(
                layer,
                products=replace(products, multiplier=multiplier.astype(np.int32), shift=shift),
                target=replace(
                    layer.target,
                    zero_point=int(rng.integers(-100, 100)) if layer.target.bits == 8 else 0,
                ),
            )
        elif layers:
            layer = replace(layer, target=layers[-1].target)
        if layers:
            layer = replace(layer, source=layers[-1].target)
        layers.append(layer)
    model = MicrocontrollerModel(replace(graph, layers=tuple(layers)))
    X = normal_windows(200, (2, 37), seed)
    np.testing.assert_allclose(run(to_onnx(model), X)[:, 0], model.predict(X), rtol=1e-7)


def chain_of_ones(index: int, bias: int, multiplier: int, shift: int) -> MicrocontrollerModel:
    """Three layers that pass on one number, one of them with a sum of `bias` at zero."""
    none = np.array([0.0])
    first = Conv("conv", np.ones((1, 1, 1, 1)), none, relu=True)
    layers = (first, *(Dense(name, np.ones((1, 1)), none) for name in ("dense", "out")))
    ranges = dict.fromkeys(("input", "conv", "dense"), (0.0, 255.0))
    graph = quantize(Graph((1, 1), layers), ranges)
    changed = list(graph.layers)
    products = changed[index].products
    assert products is not None
    changed[index] = replace(
        changed[index],
        products=replace(
            products,
            bias=np.array([bias], np.int32),
            multiplier=np.array([multiplier], np.int32),
            shift=np.array([shift], np.int8),
            largest_sum=products.largest_sum + bias,
        ),
    )
    return MicrocontrollerModel(replace(graph, layers=tuple(changed)))


def test_products_beyond_double_precision_are_exact(run):
    zero = np.zeros((1, 1, 1), np.float32)
    # by search: one less than a half, which a product rounded to 53 bits would reach
    bias, multiplier = 16828367, 1781342417
    assert (bias * multiplier + 2**30 + 2**47) % 2**48 == 2**48 - 1
    model = chain_of_ones(0, bias, multiplier, -17)
    assert run(to_onnx(model), zero)[:, 0] == model.predict(zero)
    for bias in range(2**24 + 1, 2**24 + 60, 2):
        multiplier = (2**30 - 1) * pow(bias, -1, 2**31) % 2**31
        model = chain_of_ones(2, bias, multiplier, 0)
        assert run(to_onnx(model), zero)[:, 0] == model.predict(zero)


def test_sums_beyond_single_precision_are_exact(run):
    rng = np.random.default_rng(0)
    depth, n_times = 1100, 6
    layers = (
        Conv("wide", rng.normal(size=(depth, 1, 1, 1)), rng.normal(size=depth), relu=True),
        Conv("deep", np.abs(rng.normal(size=(3, 1, 3, depth))), np.zeros(3), padding=1),
        MeanPool("pool", 4),
        Dense("dense", rng.normal(size=(5, 6)), rng.normal(size=5)),
        Dense("out", rng.normal(size=(1, 5)), np.array([80.0])),
    )
    graph = Graph((1, n_times), layers)
    X = normal_windows(100, (1, n_times))
    model = MicrocontrollerModel(quantize(graph, measure_ranges(graph, X)))
    largest = {layer.name: layer.products.largest_sum for layer in model.graph.layers[:2]}
    assert largest["wide"] < 2**24 < largest["deep"]
    assert (run(to_onnx(model), X)[:, 0] == model.predict(X)).all()


def test_a_kernel_too_large_for_exact_sums_is_refused(run):
    layers = (
        Conv("long", np.ones((1, 1, 1100, 1)), np.zeros(1), padding=549, relu=True),
        Dense("dense", np.ones((1, 9)), np.zeros(1)),
        Dense("out", np.ones((1, 1)), np.zeros(1)),
    )
    ranges = {"input": (-1.0, 1.0), "long": (0.0, 9.0), "dense": (0.0, 80.0)}
    model = MicrocontrollerModel(quantize(Graph((1, 10), layers), ranges))
    with pytest.raises(ValueError, match="kernel of layer 'long' is too large for exact sums"):
        to_onnx(model)
    assert run(to_onnx(model, exact=False), np.zeros((1, 1, 10), np.float32)).shape == (1, 1)


def test_the_windower_before_an_integer_student_is_part_of_the_model(run):
    X = raw_windows(60)
    student = small(DistilledStudentRegressor)
    pipe = make_pipeline(PPGWindower(bandpass=(0.5, 5)), student).fit(X, np.linspace(60, 120, 60))
    model = to_microcontroller(pipe)
    y = run(to_onnx(model), X)
    # a sample on the edge between two integers may fall otherwise by the filter's last digit
    assert (y[:, 0] == model.predict(X)).mean() >= 0.95


def test_the_standard_form_has_int8_weights_and_stays_near(run):
    import onnx

    model = MicrocontrollerModel(quantized((4, 64), (16, 24, 32), 0))
    X = normal_windows(200, (4, 64), seed=4)
    for exact in (True, False):
        onnx_model = to_onnx(model, exact=exact)
        tensors = onnx_model.graph.initializer
        n_weights = sum(
            int(np.prod(t.dims)) for t in tensors if t.data_type == onnx.TensorProto.INT8
        )
        stored = sum(ly.products.weights.size for ly in model.graph.layers if ly.products)
        assert stored <= n_weights <= stored + 20  # and the zero points
    difference = np.abs(run(onnx_model, X)[:, 0] - model.predict(X))
    assert 0 < difference.mean() < 0.05 * np.ptp(model.predict(X))


def test_published_student_is_exact_and_the_standard_form_a_bpm_away_on_real_windows(
    run, reference
):
    stored = np.load(reference / "published_student_S6.npz")
    network = DistilledStudent().eval()
    network.load_state_dict({k: torch.from_numpy(stored[k]) for k in stored if "." in k})
    X = np.load(reference / "ppg_dalia_S6_stairs.npz")["normalised"].astype(np.float32)
    graph = lower(network, (4, 256))
    model = MicrocontrollerModel(quantize(graph, measure_ranges(graph, X)))
    integers = model.predict(X)
    assert (run(to_onnx(model), X)[:, 0] == integers).all()
    standard = run(to_onnx(model, exact=False), X)[:, 0]
    # 1.0 bpm on average, 7.7 at most; and as far from float as the integers are, 1.4 and 1.3
    assert 0.9 < np.abs(standard - integers).mean() < 1.1
    far = [np.abs(bpm - graph.run(X)).mean() for bpm in (standard, integers)]
    np.testing.assert_allclose(far, [1.45, 1.29], atol=0.05)


# ------------------------------------------------------------------------- card and form


def test_the_card_says_what_is_known_and_what_the_user_adds(run):
    X = raw_windows(40)
    pipe = fitted_pipeline(PPGWindower(), small(PulseTeacherRegressor), X=X)
    pipe[-1].n_windows_, pipe[-1].n_subjects_ = 40, 3
    loss = pipe[-1].history_[0]["valid_loss"]
    card = card_of(
        to_onnx(pipe, model_card={"data": "PPG-DaLiA", "subjects": 15, "ages": [21, 55]})
    )
    assert card == {
        "pulsehr_version": pulsehr.__version__,
        "estimator": "PulseTeacherRegressor",
        "intended_use": "for research only, not a medical device",
        "output": "heart rate in bpm",
        "sampling_rate": "32.0",
        "window": "8.0",
        "normalize": "window",
        "bandpass": "null",
        "antialias": "true",
        "n_channels": "4",
        "n_times": "256",
        "training_windows": "40",
        "training_subjects": "3",
        "validation_mae_bpm": str(round(loss, 3)),
        "data": "PPG-DaLiA",
        "subjects": "15",
        "ages": "[21, 55]",
    }


def test_the_card_of_integers_says_which_form(run):
    model = MicrocontrollerModel(quantized((1, 16), (3, 4, 5), 0))
    card = card_of(to_onnx(model, exact=False))
    assert (card["estimator"], card["integers"]) == ("MicrocontrollerModel", "standard")
    assert card_of(to_onnx(model))["integers"] == "exact"


@pytest.mark.parametrize("opset", [18, 19, 20, 21, 22])
def test_operators_are_those_of_the_opset_asked_for(run, opset):
    teacher = fitted(PulseTeacherRegressor, (2, 37))
    model = to_onnx(teacher, target_opset=opset)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == opset
    X = normal_windows(5, (2, 37))
    np.testing.assert_allclose(run(model, X)[:, 0], teacher.predict(X), rtol=0, atol=BPM)


def test_the_default_opset_is_21_and_the_batch_has_a_name(run):
    model = to_onnx(fitted(DistilledStudentRegressor, (2, 37)))
    assert [entry.version for entry in model.opset_import if not entry.domain] == [21]
    shapes = [value.type.tensor_type.shape for value in (*model.graph.input, *model.graph.output)]
    assert [shape.dim[0].dim_param for shape in shapes] == ["n_windows"] * 2


def test_onnx_runtime_has_nothing_to_warn_of(run, capfd):
    X = raw_windows(12)
    pipe = fitted_pipeline(PPGWindower(bandpass=(0.5, 5)), small(DistilledStudentRegressor), X=X)
    for model in (to_onnx(pipe), to_onnx(to_microcontroller(pipe))):
        run(model, X)
    assert capfd.readouterr() == ("", "")


# ------------------------------------------------------------------------------- errors


def test_readings_are_refused_with_the_way_out(run):
    data = make_recordings(n_subjects=1, duration=30, random_state=0)
    with pytest.raises(TypeError, match="X must hold windows, got readings: cutting is not part"):
        to_onnx(SpectralPeakRegressor().fit(normal_windows(2, (1, 64)), [70, 80]), data.X)


@pytest.mark.parametrize("package", ["onnx", "skl2onnx"])
def test_a_missing_package_names_the_extra(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r'pip install "pulsehr\[onnx\]"'):
        to_onnx(SpectralPeakRegressor().fit(normal_windows(2, (1, 64)), [70, 80]))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"target_opset": 17}, ValueError, "target_opset must be an integer from 18 to"),
        ({"target_opset": 99}, ValueError, "target_opset must be an integer from 18 to"),
        ({"target_opset": "21"}, ValueError, "target_opset must be .*, got '21'"),
        ({"model_card": "PPG-DaLiA"}, TypeError, "model_card must map str to values"),
        ({"model_card": {1: 2}}, TypeError, "model_card must map str to values"),
        ({"X": np.ones(64)}, ValueError, r"X must hold windows of numbers.* got shape \(64,\)"),
        ({"X": np.empty((0, 1, 64))}, ValueError, "X must hold windows of numbers"),
        ({"X": np.ones((1, 1, 63))}, ValueError, r"must hold windows \(n, 1, 64\) .* as in fit"),
        ({"X": np.ones((1, 2, 32))}, ValueError, r"must hold windows \(n, 1, 64\) .* as in fit"),
    ],
)
def test_wrong_arguments_are_told(run, arguments, error, message):
    with pytest.raises(error, match=message):
        to_onnx(fitted(DistilledStudentRegressor, (1, 64)), **arguments)


def test_integers_need_opset_21(run):
    model = MicrocontrollerModel(quantized((1, 16), (3, 4, 5), 0))
    with pytest.raises(ValueError, match="from 21 to 22 for integers, got 20"):
        to_onnx(model, target_opset=20)


def test_plain_skl2onnx_below_opset_18_is_refused(run):
    import skl2onnx

    student = fitted(DistilledStudentRegressor, (1, 16))
    with pytest.raises(ValueError, match="DistilledStudentRegressor: target_opset must be >= 18"):
        skl2onnx.to_onnx(student, normal_windows(1, (1, 16)), target_opset=15)


def test_what_is_not_fitted_is_refused(run):
    with pytest.raises(NotFittedError):
        to_onnx(PulseTeacherRegressor())
    with pytest.raises(NotFittedError):
        plain(PulseTeacherRegressor(), normal_windows(1, (4, 64)))


def test_what_has_no_onnx_form_is_named(run):
    X = normal_windows(12, (1, 64))

    class Custom(FunctionTransformer):
        pass

    pipe = fitted_pipeline(Custom(), small(DistilledStudentRegressor), X=X)
    with pytest.raises(TypeError, match=r"no ONNX form in skl2onnx: .*Custom"):
        to_onnx(pipe, X)
    target = TransformedTargetRegressor(
        small(DistilledStudentRegressor), func=np.log, inverse_func=np.exp
    ).fit(X, np.linspace(60, 120, 12))
    with pytest.raises(TypeError, match="must have one of StandardScaler, MinMaxScaler"):
        to_onnx(target, X)
    with pytest.raises(TypeError, match=r"expected a fitted estimator, .* got 3"):
        to_onnx(3)
    tracker = HeartRateTracker(pipe)
    with pytest.raises(TypeError, match=r"HeartRateTracker needs the order .* its estimator_"):
        to_onnx(tracker, X)
