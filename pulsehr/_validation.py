"""Check what users pass as X, once, at the border."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_consistent_length,
    column_or_1d,
    validate_data,
)
from skorch.callbacks import Callback

from pulsehr._augmentation import EXPECTED, is_augmentation
from pulsehr._lazy import LazyWindows
from pulsehr._missing_rows import check_missing_rows
from pulsehr._optimization import (
    OPTIMIZERS,
    SCHEDULES,
    is_device,
    is_optimizer,
    is_schedule,
)
from pulsehr._rows import readings_in
from pulsehr.recordings import is_number


def check_windows(
    estimator: Any, X: Any, *, n_channels: int, reset: bool, missing: bool = False
) -> Any:
    """Validate windows, 3-D or as 2-D rows.

    Parameters
    ----------
    estimator : estimator
        Who asks; its ``n_features_in_`` is set or compared.
    X : array-like of shape (n_windows, n_channels, n_times) or \
            (n_windows, n_channels * n_times), or LazyWindows
        The windows.
    n_channels : int
        Channels of 2-D rows, which hold one channel after the other.
    reset : bool
        True in `fit`.
    missing : bool, default=False
        Whether rows may be NaN throughout, as those of readings over a gap.

    Returns
    -------
    ndarray or LazyWindows of shape (n_windows, n_channels, n_times), float32
        The windows; those that are cut when they are asked for stay so.

    Raises
    ------
    ValueError
        If X is empty, not finite, or of the wrong shape.
    TypeError
        If X holds readings.
    """
    name = type(estimator).__name__
    if readings_in(X) is not None:
        raise TypeError(
            f"{name}: X must hold windows, got readings: put a PPGWindower before it, as in "
            f"make_pipeline(PPGWindower(), ...)"
        )
    X = X if hasattr(X, "ndim") else np.asarray(X)
    if X.shape == (0,):
        raise ValueError(f"{name}: X must hold at least one row, got none")
    if X.ndim == 1:
        raise ValueError(
            f"{name}: X must hold readings or windows, got a 1-D array of {len(X)} values. "
            f"Reshape your data into one row per window, or take "
            f"Recording(ppg=..., ppg_rate=...).readings()"
        )
    if X.ndim == 3:
        windows = X
        if not isinstance(X, LazyWindows):
            windows = check_array(
                X,
                dtype=np.float32,
                ensure_all_finite="allow-nan",
                allow_nd=True,
                estimator=estimator,
                input_name="X",
            )
        check_missing_rows(name, windows, missing)
        if windows.shape[2] == 0:
            raise ValueError(f"{name}: windows must hold samples, got shape {windows.shape}")
        if reset:
            estimator.__dict__.pop("feature_names_in_", None)
            estimator.n_features_in_ = windows.shape[1] * windows.shape[2]
        elif hasattr(estimator, "n_features_in_"):
            _check_shape(name, windows.shape[1:], estimator.n_channels_, estimator.n_features_in_)
        return windows if isinstance(X, LazyWindows) else _own(windows)
    rows = validate_data(estimator, X, dtype=np.float32, ensure_all_finite="allow-nan", reset=reset)
    check_missing_rows(name, rows, missing)
    n_channels = n_channels if reset else getattr(estimator, "n_channels_", n_channels)
    if not isinstance(n_channels, (int, np.integer)) or n_channels < 1:
        raise ValueError(f"{name}: n_channels must be an integer >= 1, got {n_channels!r}")
    if rows.shape[1] % n_channels:
        raise ValueError(
            f"{name}: rows of X must hold a multiple of n_channels={n_channels} values, "
            f"got {rows.shape[1]}"
        )
    return _own(rows.reshape(len(rows), n_channels, -1))


def _own(windows: Any) -> NDArray[np.float32]:
    """Return windows as torch wants them: without negative strides, and writeable."""
    return np.require(windows, np.float32, ["C_CONTIGUOUS", "WRITEABLE"])


def _check_shape(name: str, shape: tuple[int, ...], n_channels: int, n_features: int) -> None:
    if shape != (n_channels, n_features // n_channels):
        raise ValueError(
            f"{name}: windows must have {n_channels} channels of {n_features // n_channels} "
            f"times as in fit, got {shape[0]} channels of {shape[1]} times"
        )


def generator(random_state: Any) -> np.random.RandomState:
    """Return the generator of a seed; with None a new one, which leaves numpy's own alone."""
    return np.random.RandomState() if random_state is None else check_random_state(random_state)


def integer_seed(random_state: Any) -> int:
    """Return the seed itself, or one drawn of a generator or of nothing."""
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(generator(random_state).randint(np.iinfo(np.int32).max))


@contextmanager
def restored_on_error(estimator: Any) -> Iterator[None]:
    """Leave an estimator as it was if its `fit` fails or is interrupted."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and bool(value >= 1)


def _is_number(value: Any) -> bool:
    return is_number(value) and bool(np.isfinite(value))


def _is_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_true_share(value: Any) -> bool:
    return _is_number(value) and 0 <= value < 1


def _is_held_out(value: Any) -> bool:
    return _is_true_share(value) or (hasattr(value, "split") and hasattr(value, "get_n_splits"))


def _is_upper_percentile(value: Any) -> bool:
    return _is_number(value) and 50 < value <= 100


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_not_negative(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_truth(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_))


def _is_level(value: Any) -> bool:
    return isinstance(value, (bool, int, np.integer)) and bool(value >= 0)


def _is_callbacks(value: Any) -> bool:
    return value is None or (isinstance(value, (list, tuple)) and all(map(_is_callback, value)))


def _is_callback(value: Any) -> bool:
    """Tell whether skorch takes a callback: one, its class, or either with a name."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        value = value[1]
    return isinstance(value, Callback) or (isinstance(value, type) and issubclass(value, Callback))


def _is_folder(value: Any) -> bool:
    return value is None or isinstance(value, (str, os.PathLike))


def _is_filters(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 3 and all(map(_is_count, value))


#: What hyper-parameters may be, whichever estimator has them.
HYPERPARAMETERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "window": (_is_positive, "a number > 0"),
    "sampling_rate": (_is_positive, "a number > 0"),
    "max_epochs": (_is_count, "an integer >= 1"),
    "batch_size": (_is_count, "an integer >= 1"),
    "quantization_epochs": (_is_level, "an integer >= 0"),
    "patience": (_is_count, "an integer >= 1"),
    "n_channels": (_is_count, "an integer >= 1"),
    "lr": (_is_positive, "a number > 0"),
    "weight_decay": (_is_not_negative, "a number >= 0"),
    "validation_fraction": (
        _is_held_out,
        "a number from 0 to below 1, or a cross-validation splitter",
    ),
    "dropout": (_is_true_share, "a number from 0 to below 1"),
    "filters": (_is_filters, "three integers >= 1"),
    "label_weight": (_is_share, "a number from 0 to 1"),
    "prediction_weight": (_is_share, "a number from 0 to 1"),
    "temperature": (_is_positive, "a number > 0"),
    "percentile": (_is_upper_percentile, "a number above 50 to 100"),
    "antialias": (_is_truth, "True or False"),
    "device": (is_device, "'auto', 'cpu', or a 'cuda', 'cuda:0', ... or 'mps' that is there"),
    "optimizer": (is_optimizer, f"one of {sorted(OPTIMIZERS)} or a callable"),
    "lr_scheduler": (is_schedule, f"one of {sorted(SCHEDULES)}, a callable or None"),
    "augmentation": (is_augmentation, EXPECTED),
    "verbose": (_is_level, "an integer >= 0"),
    "callbacks": (_is_callbacks, "a list of skorch callbacks or None"),
    "checkpoint": (_is_folder, "a folder or None"),
}


def check_hyperparameters(estimator: Any) -> None:
    """Raise ValueError for the first hyper-parameter of an estimator out of its range."""
    for name, (is_valid, expected) in HYPERPARAMETERS.items():
        value = getattr(estimator, name, None)
        if hasattr(estimator, name) and not is_valid(value):
            raise ValueError(
                f"{type(estimator).__name__}: {name} must be {expected}, got {value!r}"
            )
    seed = getattr(estimator, "random_state", None)
    known = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    if getattr(estimator, "checkpoint", None) is not None and not known:
        raise ValueError(
            f"{type(estimator).__name__}: checkpoint needs an integer random_state, by which an "
            f"interrupted fit is known again, got {seed!r}"
        )


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """Hold the rows of a `fit`, validated.

    Parameters
    ----------
    windows : ndarray or LazyWindows of shape (n_windows, n_channels, n_times), float32
        The windows.
    y : ndarray of shape (n_windows,)
        Heart rate in bpm.
    weights : ndarray of shape (n_windows,)
        How much each row counts, not negative, not all zero.
    groups : ndarray of shape (n_windows,) or None
        Subjects.
    """

    windows: Any
    y: NDArray[np.float64]
    weights: NDArray[np.float64]
    groups: NDArray[Any] | None

    @property
    def used(self) -> NDArray[np.intp]:
        """The rows that count; a weight of zero is as if the row were not there."""
        return np.flatnonzero(self.weights)


def check_heart_rates(estimator: Any, windows: Any, y: Any) -> NDArray[np.float64]:
    """Validate heart rates (n_windows,) in bpm, one for each window.

    Raises
    ------
    ValueError
        If there are none, not as many as windows, or one is not finite.
    """
    if y is None:
        name = type(estimator).__name__
        raise ValueError(f"{name}: requires y to be passed, but the target y is None")
    y = column_or_1d(y, warn=True)
    y = check_array(y, dtype=np.float64, ensure_2d=False, estimator=estimator, input_name="y")
    check_consistent_length(windows, y)
    heart_rates: NDArray[np.float64] = y
    return heart_rates


def _check_groups(estimator: Any, windows: Any, groups: Any) -> NDArray[Any] | None:
    """Return the subjects (n_windows,), of one type, or None."""
    if groups is None:
        return None
    check_consistent_length(windows, groups)
    try:
        names, numbers = np.unique(column_or_1d(groups), return_inverse=True)
        missing = names.dtype.kind == "f" and bool(np.isnan(names).any())
    except TypeError:
        missing = True
    if missing:
        raise ValueError(
            f"{type(estimator).__name__}: groups must name the subject of each row, all by "
            f"numbers or all by text, none missing"
        )
    return np.asarray(names[numbers])


def check_training_rows(
    estimator: Any, X: Any, y: Any, sample_weight: Any, groups: Any, *, reset: bool = True
) -> TrainingRows:
    """Validate the rows of a `fit` or, with ``reset=False``, of a later `partial_fit`.

    Parameters
    ----------
    estimator : estimator
        Who asks.
    X : array-like
        Windows, see `check_windows`.
    y : array-like of shape (n_windows,)
        Heart rates in bpm.
    sample_weight : array-like of shape (n_windows,), float or None
        How much each row counts; None for all alike.
    groups : array-like of shape (n_windows,) or None
        Subjects.
    reset : bool, default=True
        Whether the shape of the windows may differ from that of an earlier fit.

    Returns
    -------
    TrainingRows
        Of equal length.

    Raises
    ------
    ValueError
        If lengths differ, a value is not finite, or weights are negative or all zero.
    """
    n_channels = estimator.n_channels if reset else estimator.n_channels_
    windows = check_windows(estimator, X, n_channels=n_channels, reset=reset)
    y = check_heart_rates(estimator, windows, y)
    groups = _check_groups(estimator, windows, groups)
    weights = _check_sample_weight(sample_weight, y, dtype=np.float64, ensure_non_negative=True)
    if not weights.any():
        raise ValueError(
            f"{type(estimator).__name__}: sample_weight must be positive for at least one row, "
            f"got only zeros"
        )
    return TrainingRows(windows, y, weights, groups)
