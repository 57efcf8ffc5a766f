"""Fitted estimators, pipelines and integer students as ONNX, through skl2onnx."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from pulsehr._onnx_hooks import LEAST_OPSET, WITH_STD, IntegerStep, name_of, register
from pulsehr._rows import readings_in
from pulsehr._uncertainty import n_outputs
from pulsehr._version import __version__
from pulsehr.baselines import SpectralPeakRegressor
from pulsehr.firmware.microcontroller import MicrocontrollerModel
from pulsehr.quantized import QuantizedStudentRegressor
from pulsehr.student import DistilledStudentRegressor
from pulsehr.teacher import PulseTeacherRegressor
from pulsehr.tracking import HeartRateTracker
from pulsehr.windows import PPGWindower

_NETWORKS = (PulseTeacherRegressor, DistilledStudentRegressor, QuantizedStudentRegressor)

#: The default operator set: the first with int16, known to every version that the extra allows.
DEFAULT_OPSET = 21

#: The first operator set that quantizes to int16.
LEAST_OPSET_OF_INTEGERS = 21

INTENDED_USE = "for research only, not a medical device"


def to_onnx(
    estimator: Any,
    X: Any = None,
    *,
    model_card: Mapping[str, Any] | None = None,
    target_opset: int = DEFAULT_OPSET,
    exact: bool = True,
) -> Any:
    """Convert a fitted estimator, a pipeline or an integer student to ONNX.

    The model takes any number of windows and returns the heart rates ``variable`` (n, 1) in bpm
    and, of a network with ``loss="laplace"`` at the end of the pipeline, their standard deviations
    ``std``. Cutting windows from recordings is not part of it. Save it by
    ``onnx.save(model, "heart_rate.onnx")``.

    Parameters
    ----------
    estimator : estimator, Pipeline or MicrocontrollerModel
        Fitted. A pipeline may hold a `PPGWindower`, whatever skl2onnx knows, and a regressor.
    X : array-like of shape (n_windows, n_channels, n_times) or \
            (n_windows, n_channels * n_times), default=None
        Windows, of which one is enough: their shape and dtype become those of the input.
        None: float32 windows of the shape of `fit`.
    model_card : mapping of str to object, default=None
        What users of the file should know, such as ``data``, ``subjects``, ``mae_bpm`` and
        ``license``; added to the metadata, where it replaces what this function writes.
        Values other than str are written as JSON.
    target_opset : int, default=21
        Version of the operators, from 18, of integers from 21.
    exact : bool, default=True
        Of a `MicrocontrollerModel` only. True: the integers of the C, to the last bit. False: the
        form with real scales that accelerators and their tools expect, which rounds otherwise.

    Returns
    -------
    onnx.ModelProto
        The model, its card in ``metadata_props``.

    Raises
    ------
    ImportError
        If skl2onnx or onnx is missing.
    NotFittedError
        Before `fit`.
    TypeError
        If X holds readings, or a step has no ONNX form.
    ValueError
        If `target_opset` or X is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from pulsehr.baselines import SpectralPeakRegressor
    >>> from pulsehr.onnx_export import to_onnx
    >>> windows = np.sin(2 * np.pi * 1.5 * np.arange(256) / 32)[None, None]
    >>> model = to_onnx(SpectralPeakRegressor().fit(windows, [90]), windows)
    >>> {entry.key: entry.value for entry in model.metadata_props}["n_times"]
    '256'
    """
    skl2onnx = _skl2onnx()
    card = _checked_card(model_card)
    _check_opset(target_opset, isinstance(estimator, MicrocontrollerModel))
    if isinstance(estimator, MicrocontrollerModel):
        estimator = _as_pipeline(estimator, exact)
    elif isinstance(estimator, HeartRateTracker):
        raise TypeError(
            "to_onnx: a HeartRateTracker needs the order in time of readings, which ONNX models of "
            "windows do not know: export its estimator_, and track what that gives"
        )
    elif not hasattr(estimator, "fit"):
        raise TypeError(
            f"to_onnx: expected a fitted estimator, a pipeline or a MicrocontrollerModel, "
            f"got {estimator!r}"
        )
    else:
        check_is_fitted(estimator)
    example = _example(estimator, X)
    register()
    estimator = _asked_for_std(_without_passthrough(estimator))
    with _who_has_no_form():
        model = skl2onnx.to_onnx(estimator, example, target_opset=target_opset)
    _write_card(model, {**_facts(estimator, example), **card})
    return model


def _skl2onnx() -> Any:
    try:
        import onnx  # noqa: F401 only whether it is there
        import skl2onnx
    except ImportError as error:
        raise ImportError(
            f'to_onnx: needs onnx and skl2onnx ({error}): pip install "pulsehr[onnx]"'
        ) from error
    return skl2onnx


def _check_opset(target_opset: Any, integers: bool) -> None:
    from skl2onnx import get_latest_tested_opset_version

    least, most = LEAST_OPSET, get_latest_tested_opset_version()
    if integers:
        least = LEAST_OPSET_OF_INTEGERS
    if not isinstance(target_opset, (int, np.integer)) or not least <= target_opset <= most:
        raise ValueError(
            f"to_onnx: target_opset must be an integer from {least} to {most}"
            f"{' for integers' if integers else ''}, got {target_opset!r}"
        )


def _as_pipeline(model: MicrocontrollerModel, exact: bool) -> Any:
    integers = IntegerStep(model.graph, exact).fit()
    if model.front is None:
        return integers
    return Pipeline([*model.front.steps, ("integers", integers)])


def _example(estimator: Any, X: Any) -> Any:
    """Return one window of the shape and dtype of the input."""
    if X is None:
        return np.zeros((1, *_shape_of_fit(estimator)), dtype=np.float32)
    if readings_in(X) is not None:
        raise TypeError(
            "to_onnx: X must hold windows, got readings: cutting is not part of the ONNX model; "
            "leave X out, or pass windows (n, n_channels, n_times), and give the model windows "
            "cut by PPGWindower(normalize=None)"
        )
    X = np.asarray(X)
    if X.ndim not in (2, 3) or len(X) == 0 or X.dtype.kind not in "fiu":
        raise ValueError(
            f"to_onnx: X must hold windows of numbers, (n, n_channels, n_times) or "
            f"(n, n_channels * n_times), got shape {X.shape} of {X.dtype}"
        )
    return X[:1]


def _shape_of_fit(estimator: Any) -> tuple[int, ...]:
    first = next(_steps(estimator))
    if not hasattr(first, "n_channels_"):
        if not hasattr(first, "n_features_in_"):
            raise ValueError(
                f"to_onnx: {name_of(first)} does not tell the shape of its input: pass windows as X"
            )
        return (int(first.n_features_in_),)
    n_channels = int(first.n_channels_)
    if hasattr(first, "n_times_"):
        return n_channels, int(first.n_times_)
    if hasattr(first, "n_features_in_"):
        return n_channels, int(first.n_features_in_) // n_channels
    return n_channels, round(first.window * first.sampling_rate)


def _without_passthrough(estimator: Any) -> Any:
    """Leave out the steps that do nothing, which skl2onnx does not know."""
    if not isinstance(estimator, Pipeline):
        return estimator
    steps = [(n, step) for n, step in estimator.steps if step not in (None, "passthrough")]
    return Pipeline(steps)


def _asked_for_std(estimator: Any) -> Any:
    """Return a copy whose last step is asked for standard deviations, if its network has them."""
    if isinstance(estimator, Pipeline):
        *before, (name, last) = estimator.steps
        return Pipeline([*before, (name, _asked_for_std(last))])
    has_std = isinstance(estimator, IntegerStep) and estimator.graph.n_outputs == 2
    if isinstance(estimator, _NETWORKS):  # meta-estimators pass on heart rates alone
        has_std = n_outputs(estimator.network_) == 2
    if has_std:
        estimator = copy.copy(estimator)
        setattr(estimator, WITH_STD, True)
    return estimator


def _steps(estimator: Any) -> Iterator[Any]:
    """Yield the steps of a pipeline, also of one in a pipeline or in a finished search."""
    if hasattr(estimator, "best_estimator_"):
        yield from _steps(estimator.best_estimator_)
    elif isinstance(estimator, FrozenEstimator):
        yield from _steps(estimator.estimator)
    elif isinstance(estimator, Pipeline):
        for _, step in estimator.steps:
            if step not in (None, "passthrough"):
                yield from _steps(step)
    else:
        yield estimator


@contextmanager
def _who_has_no_form() -> Iterator[None]:
    """Say which step skl2onnx cannot convert."""
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator

    try:
        yield
    except (MissingConverter, MissingShapeCalculator) as error:
        raise TypeError(f"to_onnx: a step has no ONNX form in skl2onnx: {error}") from error
    except KeyError as error:
        if not isinstance(error.args[0], type):
            raise
        raise TypeError(
            f"to_onnx: {error.args[0].__name__} has no ONNX form in skl2onnx"
        ) from error


def _checked_card(model_card: Mapping[str, Any] | None) -> dict[str, str]:
    if model_card is None:
        return {}
    if not isinstance(model_card, Mapping) or not all(isinstance(key, str) for key in model_card):
        raise TypeError(f"to_onnx: model_card must map str to values, got {model_card!r}")
    return {key: _text(value) for key, value in model_card.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    """Return what JSON knows: numbers and lists for those of numpy, else the text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _facts(estimator: Any, example: Any) -> dict[str, str]:
    """Return what is known of a model without asking: the keys stand in docs/onnx.md."""
    steps = list(_steps(estimator))
    facts: dict[str, Any] = {
        "pulsehr_version": __version__,
        "estimator": name_of(steps[-1]),
        "intended_use": INTENDED_USE,
        "output": "heart rate in bpm",
    }
    for step in steps:
        if isinstance(step, PPGWindower):
            facts |= {
                name: getattr(step, name)
                for name in ("sampling_rate", "window", "normalize", "bandpass", "antialias")
            }
        if isinstance(step, SpectralPeakRegressor):
            facts["sampling_rate"] = step.sampling_rate
        if isinstance(step, IntegerStep):
            facts["integers"] = "exact" if step.exact else "standard"
        if hasattr(step, "n_channels_"):
            facts["n_channels"] = int(step.n_channels_)
            facts["n_times"] = int(getattr(step, "n_times_", 0) or example.size // step.n_channels_)
        if hasattr(step, "network_"):
            facts |= _training_facts(step)
    return {key: _text(value) for key, value in facts.items()}


def _training_facts(estimator: Any) -> dict[str, Any]:
    estimator = getattr(estimator, "student_", estimator)
    best = estimator.history_[estimator.best_epoch_ - 1].get("valid_loss")
    facts = {
        "training_windows": getattr(estimator, "n_windows_", None),
        "training_subjects": getattr(estimator, "n_subjects_", None),
        "validation_mae_bpm": None if best is None else round(float(best), 3),
    }
    return {key: value for key, value in facts.items() if value is not None}


def _write_card(model: Any, card: dict[str, str]) -> None:
    from onnx.helper import set_model_props

    set_model_props(model, card)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n_windows"
    model.doc_string = f"Heart rate in bpm of PPG windows, by pulsehr; {INTENDED_USE}."
