"""`DistilledStudentRegressor`: the small network, learnt from labels and from a teacher."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted, has_fit_parameter
from torch import nn

from pulsehr._training import (
    InterruptedFitWarning,
    fitted_outputs,
    keep,
    layer_ranges,
    train,
)
from pulsehr._validation import (
    check_hyperparameters,
    check_training_rows,
    generator,
    restored_on_error,
)
from pulsehr.distillation import RELATIONS, DistillationLoss, LabelLoss
from pulsehr.networks import N_FEATURES, DistilledStudent


class DistilledStudentRegressor(RegressorMixin, TransformerMixin, BaseEstimator):
    """Estimate heart rate by a small network that learns from a teacher ([1]_).

    Shared convolutions along time, then one convolution across the modalities. The
    defaults are the paper's: 27,241 parameters for windows of 4 channels and 256 times.

    Parameters
    ----------
    teacher : estimator or None, default=None
        A regressor with `predict` and, for the relation, `transform` to 32 features, such
        as `PulseTeacherRegressor`. An unfitted one is cloned and fitted on the rows of
        `fit`, so cross-validation never leaks; a fitted one teaches as it is. As
        cross-validation clones the student and thereby forgets what a teacher
        learnt, wrap one that shall stay as it is in ``sklearn.frozen.FrozenEstimator``.
        None: learn from the labels alone.
    label_weight : float, default=0.5
        Weight of the labels against the teacher's heart rates, 0 to 1.
    prediction_weight : float, default=2/3
        Weight of both against the relation between features, 0 to 1.
    relation : {"softmax"}, default="softmax"
        How features are compared with the teacher's: squared difference of their softmax.
    temperature : float, default=1.0
        Divides the features before the softmax.
    max_epochs : int, default=500
        Passes over the training rows, at most.
    batch_size : int, default=256
        Windows per step.
    lr : float, default=1e-3
        Learning rate of Adam.
    weight_decay : float, default=1e-6
        L2 penalty of Adam.
    patience : int, default=100
        Epochs without improvement on the validation rows after which training stops.
    validation_fraction : float, default=0.1
        Share of the subjects (with `groups`) or of the time (without) that is held out
        for early stopping. 0 trains on all rows and watches the training loss.
    dropout : float, default=0.1
        Dropout after each pool.
    filters : tuple of 3 int, default=(16, 24, 32)
        Convolution filters of the three blocks.
    n_channels : int, default=1
        Channels of 2-D rows, which hold one channel after the other; 3-D X tells by itself.
    device : str, default="cpu"
        Torch device.
    random_state : int, RandomState or None, default=None
        Seeds split, weights, batches and dropout, and a teacher without a seed of its own.
    warm_start : bool, default=False
        Continue from the weights of the last `fit`.
    verbose : int, default=1
        0: silent. 1: a progress bar, on a terminal. 2: a line for each epoch.
    callbacks : list of skorch callbacks, default=None
        Called in training.

    Attributes
    ----------
    teacher_ : estimator or None
        The fitted teacher.
    network_ : torch.nn.Module
        The fitted network.
    ranges_ : dict of str to tuple of 2 float
        Least and largest output of each layer on the rows of `fit`, for quantization.
    history_ : list of dict
        ``train_loss``, ``valid_loss`` (bpm) and ``dur`` (s) of each epoch.
    best_epoch_ : int
        The epoch, counted from 1, whose weights are kept.
    n_channels_, n_times_ : int
        Shape of a window.
    n_features_in_ : int
        ``n_channels_ * n_times_``.

    References
    ----------
    .. [1] Kasnesis et al., Replacing Attention with Modality-wise Convolution for
       Energy-Efficient PPG-based Heart Rate Estimation using Knowledge Distillation, 2025.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from pulsehr import DistilledStudentRegressor, PPGWindower, PulseTeacherRegressor
    >>> from pulsehr.datasets import make_recordings
    >>> data = make_recordings(n_subjects=1, duration=60, random_state=0)
    >>> student = DistilledStudentRegressor(
    ...     teacher=PulseTeacherRegressor(max_epochs=1), max_epochs=2, random_state=0
    ... )
    >>> make_pipeline(PPGWindower(), student).fit(data.X, data.y).predict(data.X).shape
    (27,)
    """

    def __init__(
        self,
        teacher: Any = None,
        label_weight: float = 0.5,
        prediction_weight: float = 2 / 3,
        relation: str = "softmax",
        temperature: float = 1.0,
        max_epochs: int = 500,
        batch_size: int = 256,
        lr: float = 1e-3,
        weight_decay: float = 1e-6,
        patience: int = 100,
        validation_fraction: float = 0.1,
        dropout: float = 0.1,
        filters: tuple[int, int, int] = (16, 24, 32),
        n_channels: int = 1,
        device: str = "cpu",
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 1,
        callbacks: list[Any] | None = None,
    ) -> None:
        self.teacher = teacher
        self.label_weight = label_weight
        self.prediction_weight = prediction_weight
        self.relation = relation
        self.temperature = temperature
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.dropout = dropout
        self.filters = filters
        self.n_channels = n_channels
        self.device = device
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.callbacks = callbacks

    def fit(self, X: Any, y: Any, groups: Any = None) -> DistilledStudentRegressor:
        """Fit the teacher if it is not fitted, then train the student.

        After Ctrl-C the estimator is fitted with the best weights so far, with a warning, or,
        while the teacher learns and in the first epoch, left as it was.

        Parameters
        ----------
        X : array-like of shape (n_windows, n_channels, n_times) or \
                (n_windows, n_channels * n_times)
            Windows.
        y : array-like of shape (n_windows,)
            Heart rate in bpm.
        groups : array-like of shape (n_windows,), default=None
            Subjects, which the validation split keeps apart; the same split for the teacher
            if both have the same seed and `validation_fraction`.

        Returns
        -------
        DistilledStudentRegressor
            Itself.

        Raises
        ------
        ValueError
            If a parameter or X or y is out of its range.
        TypeError
            If X holds readings (windows come from a `PPGWindower`), or the teacher can't teach.
        """
        check_hyperparameters(self)
        _check_teaching(self)
        with restored_on_error(self):
            windows, y, groups = check_training_rows(self, X, y, groups)
            rng = generator(self.random_state)
            self.teacher_ = _fitted_teacher(self.teacher, windows, y, groups, rng)
            targets = [y, *_lessons(self, windows)]
            trained = train(self, DistilledStudent, _criterion(self), windows, targets, groups, rng)
            keep(self, trained, windows)
            self.ranges_ = layer_ranges(self.network_, windows)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Estimate the heart rate of windows.

        Parameters
        ----------
        X : array-like of shape (n_windows, n_channels, n_times) or \
                (n_windows, n_channels * n_times)
            Windows.

        Returns
        -------
        ndarray of shape (n_windows,)
            Heart rate in bpm.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the shape is not that of `fit`, or a value is not finite.
        """
        return fitted_outputs(self, X)[0]

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Compute the learnt embedding of windows.

        Parameters
        ----------
        X : array-like of shape (n_windows, n_channels, n_times) or \
                (n_windows, n_channels * n_times)
            Windows.

        Returns
        -------
        ndarray of shape (n_windows, 32)
            The values of which the heart rate is a linear function.
        """
        return fitted_outputs(self, X)[1]

    def to_microcontroller(
        self, folder: Any = None, prefix: str = "pulsehr", target: str = "portable"
    ) -> Any:
        """Quantize to int8 and write C, see `pulsehr.to_microcontroller`."""
        from pulsehr.firmware.microcontroller import to_microcontroller

        return to_microcontroller(self, folder, prefix=prefix, target=target)

    def onnx_parser(self) -> Any:
        """Return what tells skl2onnx the outputs."""
        from pulsehr import _onnx_hooks

        return _onnx_hooks.parser_of(self)

    def onnx_shape_calculator(self) -> Any:
        """Return what tells skl2onnx the shape of the output."""
        from pulsehr import _onnx_hooks

        return _onnx_hooks.calculate_shapes

    def onnx_converter(self) -> Any:
        """Return what writes the ONNX nodes, see `pulsehr.to_onnx`."""
        from pulsehr import _onnx_hooks

        return _onnx_hooks.convert

    def __sklearn_tags__(self) -> Any:
        """Take 2-D and 3-D X without NaN."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def _check_teaching(student: DistilledStudentRegressor) -> None:
    if student.relation not in RELATIONS:
        raise ValueError(
            f"DistilledStudentRegressor: relation must be one of {sorted(RELATIONS)}, "
            f"got {student.relation!r}"
        )
    if student.teacher is not None and not hasattr(student.teacher, "predict"):
        raise TypeError(
            f"DistilledStudentRegressor: teacher must be a regressor or None, "
            f"got {student.teacher!r}"
        )
    if _compares_features(student) and not hasattr(student.teacher, "transform"):
        raise TypeError(
            f"DistilledStudentRegressor: teacher must have transform to give {N_FEATURES} "
            f"features, got {student.teacher!r}: take another, or set prediction_weight=1"
        )


def _compares_features(student: DistilledStudentRegressor) -> bool:
    return student.teacher is not None and student.prediction_weight < 1


def _criterion(student: DistilledStudentRegressor) -> nn.Module:
    if student.teacher is None:
        return LabelLoss()
    return DistillationLoss(
        student.label_weight, student.prediction_weight, student.relation, student.temperature
    )


def _fitted_teacher(
    teacher: Any,
    windows: NDArray[np.float32],
    y: NDArray[np.float64],
    groups: Any,
    rng: np.random.RandomState,
) -> Any:
    """Return the teacher if it is fitted, else a clone that is fitted on the rows."""
    if teacher is None:
        return None
    try:
        check_is_fitted(teacher)
    except NotFittedError:
        teacher = clone(teacher)
        if teacher.get_params().get("random_state", 0) is None:
            teacher.set_params(random_state=rng.randint(np.iinfo(np.int32).max))
        subjects = {"groups": groups} if has_fit_parameter(teacher, "groups") else {}
        with warnings.catch_warnings():
            warnings.simplefilter("error", InterruptedFitWarning)
            try:
                teacher.fit(windows, y, **subjects)
            except InterruptedFitWarning:
                raise KeyboardInterrupt from None
    return teacher


def _lessons(
    student: DistilledStudentRegressor, windows: NDArray[np.float32]
) -> list[NDArray[np.float64]]:
    """Return the teacher's heart rates (n,) and features (n, 32), once for all epochs."""
    if student.teacher_ is None:
        return []
    features = np.zeros((len(windows), N_FEATURES))
    if _compares_features(student):
        features = np.asarray(student.teacher_.transform(windows))
    if features.shape != (len(windows), N_FEATURES):
        raise ValueError(
            f"DistilledStudentRegressor: the teacher's transform must give {N_FEATURES} features "
            f"a row, got shape {features.shape}"
        )
    return [np.asarray(student.teacher_.predict(windows)), features]
