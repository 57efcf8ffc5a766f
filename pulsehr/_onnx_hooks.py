"""What skl2onnx asks of the estimators: outputs, their shapes, and the nodes that compute them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    RobustScaler,
    StandardScaler,
)
from sklearn.utils.validation import check_is_fitted

from pulsehr import _onnx_methods
from pulsehr._onnx_integers import integer_outputs
from pulsehr._onnx_nodes import (
    DOUBLE,
    FLOAT,
    Nodes,
    column,
    linear,
    network_outputs,
    spectral_peak,
    std_of_log_scale,
    windower_outputs,
)
from pulsehr._uncertainty import n_outputs
from pulsehr.baselines import SpectralPeakRegressor
from pulsehr.firmware.lowering import quantized_graph
from pulsehr.networks import N_FEATURES
from pulsehr.quantized import QuantizedStudentRegressor
from pulsehr.student import DistilledStudentRegressor
from pulsehr.teacher import PulseTeacherRegressor
from pulsehr.windows import PPGWindower

#: Attribute by which `to_onnx` asks an estimator at the end of a pipeline for its second output.
WITH_STD = "_onnx_with_std"

#: The first operator set whose reductions take their axes as we write them.
LEAST_OPSET = 18


def parser_of(estimator: Any) -> Callable[..., Any]:
    """Return what tells skl2onnx the outputs of an estimator: ``onnx_parser``."""
    register()

    def parse(scope: Any = None, inputs: Any = None) -> list[tuple[str, Any]]:
        names = ["variable", "std"] if hasattr(estimator, WITH_STD) else ["variable"]
        return [(name, _output_type(estimator, inputs[0])) for name in names]

    return parse


def calculate_shapes(operator: Any) -> None:
    """Set type and shape of the output of an operator: ``onnx_shape_calculator``."""
    estimator, source = _estimator_of(operator), operator.inputs[0]
    if len(operator.inputs) != 1:
        raise ValueError(
            f"{name_of(estimator)}: expected one ONNX input of windows, got {len(operator.inputs)}"
        )
    check_is_fitted(estimator)
    n_times = _n_times(estimator, source)
    output = _output_type(estimator, source)
    if isinstance(estimator, PPGWindower):
        shape = (int(estimator.n_channels_), n_times)
        output.shape = [None, shape[0] * shape[1]] if estimator.flatten else [None, *shape]
    else:
        output.shape = [None, N_FEATURES if _is_transformer(operator) else 1]
    for variable in operator.outputs:
        variable.type = output


def convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the nodes of an estimator to a conversion of skl2onnx: ``onnx_converter``."""
    estimator = _estimator_of(operator)
    nodes = Nodes(scope, container)
    if nodes.opset < LEAST_OPSET:
        raise ValueError(
            f"{name_of(estimator)}: target_opset must be >= {LEAST_OPSET}, got {nodes.opset}"
        )
    x = nodes.add("Cast", operator.inputs[0].full_name, to=FLOAT)
    add = next(_NODES[kind] for kind in type(estimator).__mro__ if kind in _NODES)
    # one output, or a second one if it is asked for
    for y, output in zip(add(nodes, operator, x), operator.outputs, strict=True):
        nodes.add("Cast", y, output=output.full_name, to=_element(operator))


def _window_nodes(nodes: Nodes, operator: Any, x: str) -> list[str]:
    windower = _estimator_of(operator)
    return [windower_outputs(nodes, windower, x, _n_times(windower, operator.inputs[0]))]


def _network_nodes(nodes: Nodes, operator: Any, x: str) -> list[str]:
    estimator = _estimator_of(operator)
    shape = int(estimator.n_channels_), int(estimator.n_times_)
    features = network_outputs(nodes, estimator.network_, x, shape)
    if _is_transformer(operator):
        return [features]
    outputs = linear(nodes, estimator.network_.out, features)
    if n_outputs(estimator.network_) == 1:
        return [outputs]
    bpm = column(nodes, outputs, 0)
    if len(operator.outputs) == 1:
        return [bpm]
    return [bpm, std_of_log_scale(nodes, column(nodes, outputs, 1), estimator.std_scale_)]


def _peak_nodes(nodes: Nodes, operator: Any, x: str) -> list[str]:
    regressor = _estimator_of(operator)
    return [spectral_peak(nodes, regressor, x, _n_times(regressor, operator.inputs[0]))]


def _integer_nodes(nodes: Nodes, operator: Any, x: str) -> list[str]:
    integers = _estimator_of(operator)
    with_std = len(operator.outputs) > 1
    return integer_outputs(nodes, integers.graph, x, integers.exact, with_std)


def _quantized_nodes(nodes: Nodes, operator: Any, x: str) -> list[str]:
    graph, with_std = quantized_graph(_estimator_of(operator)), len(operator.outputs) > 1
    return integer_outputs(nodes, graph, x, exact=True, with_std=with_std)


class IntegerStep(RegressorMixin, BaseEstimator):
    """The network of a `MicrocontrollerModel` as the last step of a pipeline."""

    def __init__(self, graph: Any, exact: bool) -> None:
        self.graph = graph
        self.exact = exact

    def fit(self, X: Any = None, y: Any = None) -> IntegerStep:
        """Note the shape of a window."""
        self.n_channels_, self.n_times_ = self.graph.input_shape
        return self

    onnx_parser = _onnx_methods.onnx_parser


_NODES: dict[type, Callable[[Nodes, Any, str], list[str]]] = {
    PPGWindower: _window_nodes,
    PulseTeacherRegressor: _network_nodes,
    DistilledStudentRegressor: _network_nodes,
    SpectralPeakRegressor: _peak_nodes,
    QuantizedStudentRegressor: _quantized_nodes,
    IntegerStep: _integer_nodes,
}


def register() -> None:
    """Let skl2onnx find the estimators in meta-estimators, and teach it one that it lacks."""
    from skl2onnx import update_registered_converter
    from skl2onnx._supported_operators import sklearn_operator_name_map

    known: dict[type, tuple[Any, Any]] = dict.fromkeys(_NODES, (calculate_shapes, convert))
    known[TransformedTargetRegressor] = (_calculate_target_shapes, _convert_target)
    for kind, (shapes, converter) in known.items():
        if kind not in sklearn_operator_name_map:
            update_registered_converter(kind, f"Pulsehr{kind.__name__}", shapes, converter)


def _calculate_target_shapes(operator: Any) -> None:
    output = _output_type(_estimator_of(operator), operator.inputs[0])
    output.shape = [None, 1]
    operator.outputs[0].type = output


def _convert_target(scope: Any, operator: Any, container: Any) -> None:
    """Add a `TransformedTargetRegressor` whose target was scaled."""
    from skl2onnx._supported_operators import sklearn_operator_name_map

    regressor, scaler = _estimator_of(operator).regressor_, _estimator_of(operator).transformer_
    identity = isinstance(scaler, FunctionTransformer) and scaler.inverse_func is None
    if not (identity or isinstance(scaler, _SCALERS)):
        names = ", ".join(kind.__name__ for kind in _SCALERS)
        raise TypeError(
            f"to_onnx: a TransformedTargetRegressor must have one of {names} as transformer, "
            f"got {scaler!r}"
        )
    inner = scope.declare_local_operator(sklearn_operator_name_map[type(regressor)], regressor)
    inner.inputs = operator.inputs
    scaled = scope.declare_local_variable("scaled", type(operator.outputs[0].type)())
    inner.outputs.append(scaled)
    # what scalers undo is a line, which two points give
    offset, end = scaler.inverse_transform(np.array([[0.0], [1.0]])).ravel()
    nodes = Nodes(scope, container)
    y = nodes.add("Mul", nodes.add("Cast", scaled.full_name, to=DOUBLE), np.float64(end - offset))
    y = nodes.add("Add", y, np.float64(offset))
    nodes.add("Cast", y, output=operator.outputs[0].full_name, to=_element(operator))


_SCALERS = (StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler)


def _estimator_of(operator: Any) -> Any:
    """Return the estimator of an operator, also out of a `FrozenEstimator`."""
    estimator = operator.raw_operator
    return estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator


def _is_transformer(operator: Any) -> bool:
    """Tell whether another operator takes the output: then it is that of `transform`."""
    renaming = ("SklearnIdentity", "SklearnCast")  # of final_types
    takers = operator.outputs[0].operators_inputs_
    return any(taker.type not in renaming for taker in takers)


def _output_type(estimator: Any, source: Any) -> Any:
    """Float out of a windower; otherwise double for double input, and float."""
    from skl2onnx.common.data_types import FloatTensorType, guess_tensor_type

    windows = isinstance(estimator, PPGWindower)
    return FloatTensorType() if windows else guess_tensor_type(source.type)


def _element(operator: Any) -> int:
    from skl2onnx.common.data_types import DoubleTensorType

    return DOUBLE if isinstance(operator.outputs[0].type, DoubleTensorType) else FLOAT


def _n_times(estimator: Any, source: Any) -> int:
    """Return the times of a window, after a look at the shape of the ONNX input."""
    n_channels = int(estimator.n_channels_)
    known = getattr(estimator, "n_times_", None)
    shape = list(source.type.shape)[1:]
    if not shape or not all(isinstance(size, (int, np.integer)) for size in shape):
        if known is None:
            raise ValueError(
                f"{name_of(estimator)}: the shape of its ONNX input is not known: put it first in "
                f"the pipeline"
            )
        return int(known)
    n_times = int(np.prod(shape)) // n_channels
    expected = n_times if known is None else int(known)
    if shape not in ([n_channels, expected], [n_channels * expected]):
        times = "n_times" if known is None else expected
        raise ValueError(
            f"{name_of(estimator)}: the ONNX input must hold windows (n, {n_channels}, {times}) or "
            f"rows (n, {n_channels} * {times}) as in fit, got shape {(None, *shape)}"
        )
    return n_times


def name_of(estimator: Any) -> str:
    return (
        "MicrocontrollerModel" if isinstance(estimator, IntegerStep) else type(estimator).__name__
    )
