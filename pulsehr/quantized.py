"""`QuantizedStudentRegressor`: the integers of the firmware as a scikit-learn regressor."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.metadata_routing import MetadataRouter
from sklearn.utils.validation import check_is_fitted

from pulsehr import _onnx_methods
from pulsehr._inference import PERCENTILE, layer_ranges
from pulsehr._missing_rows import answered
from pulsehr._routing import is_fitted, metadata_router, passed_on
from pulsehr._state import restored_state, stored_state
from pulsehr._uncertainty import no_std
from pulsehr._validation import check_hyperparameters, check_windows, restored_on_error
from pulsehr.firmware.graph import CHUNK
from pulsehr.firmware.integer import quantize_windows, run_outputs
from pulsehr.firmware.lowering import quantized_graph
from pulsehr.firmware.quantization import BPM_STEPS
from pulsehr.student import DistilledStudentRegressor

__all__ = ["QuantizedStudentRegressor"]


class QuantizedStudentRegressor(RegressorMixin, BaseEstimator):
    """Estimate heart rate by the int8 integers that a microcontroller computes.

    What `MicrocontrollerModel.predict` gives for a student, as an estimator: the error of the
    integers can be cross-validated, and parameters searched for them.

    Parameters
    ----------
    student : DistilledStudentRegressor or None, default=None
        An unfitted one is cloned and fitted on the rows of `fit`; a fitted one is taken as it is,
        and `fit` learns the ranges alone. As cross-validation clones and thereby forgets what was
        learnt, wrap one that shall stay as it is in ``sklearn.frozen.FrozenEstimator``.
        None: one with its defaults.
    percentile : float, default=99.995
        Up to which percentile of the outputs of each layer its integers reach; as many values are
        clipped at the lower end. 100: from the least to the largest value.

    Attributes
    ----------
    student_ : DistilledStudentRegressor
        The fitted student.
    ranges_ : dict of str to tuple of 2 float
        Between which values the integers of the input and of each layer lie.
    n_channels_, n_times_ : int
        Shape of a window.
    n_features_in_ : int
        ``n_channels_ * n_times_``.

    See Also
    --------
    to_microcontroller : Write these integers as C.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from pulsehr import DistilledStudentRegressor, PPGWindower, QuantizedStudentRegressor
    >>> from pulsehr.datasets import make_recordings
    >>> data = make_recordings(n_subjects=1, duration=60, random_state=0)
    >>> student = DistilledStudentRegressor(max_epochs=2, quantization_epochs=1, random_state=0)
    >>> pipe = make_pipeline(PPGWindower(), QuantizedStudentRegressor(student))
    >>> bpm = pipe.fit(data.X, data.y).predict(data.X)
    >>> bool((bpm * 256 % 1 == 0).all())
    True
    """

    # passed on to the student, which asks for them
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True}
    __metadata_request__predict: ClassVar[dict[str, bool]] = {"return_std": True}

    def __init__(self, student: Any = None, percentile: float = PERCENTILE) -> None:
        self.student = student
        self.percentile = percentile

    def fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, groups: Any = None
    ) -> QuantizedStudentRegressor:
        """Fit the student if it is not fitted, then learn the ranges of its integers.

        Parameters
        ----------
        X : array-like of shape (n_windows, n_channels, n_times) or \
                (n_windows, n_channels * n_times)
            Windows.
        y : array-like of shape (n_windows,)
            Heart rate in bpm; a fitted student needs none.
        sample_weight : array-like of shape (n_windows,), default=None
            For the student: how much each window counts.
        groups : array-like of shape (n_windows,), default=None
            For the student: subjects, which its validation split keeps apart.

        Returns
        -------
        QuantizedStudentRegressor
            Itself.

        Raises
        ------
        ValueError
            If a parameter or X or y is out of its range.
        TypeError
            If X holds readings (windows come from a `PPGWindower`), or `student` is none.
        """
        check_hyperparameters(self)
        student = _checked_student(self.student)
        with restored_on_error(self):
            windows = check_windows(self, X, n_channels=student.n_channels, reset=True)
            if is_fitted(student):
                check_windows(student, windows, n_channels=student.n_channels, reset=False)
                self.student_ = self.student
            else:
                metadata = {"sample_weight": sample_weight, "groups": groups}
                self.student_ = clone(student).fit(windows, y, **self._passed_on(metadata))
            self.n_channels_, self.n_times_ = windows.shape[1:]
            self.ranges_ = _ranges(self, windows, learnt=not is_fitted(student))
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Estimate the heart rate of windows.

        Parameters
        ----------
        X : array-like of shape (n_windows, n_channels, n_times) or \
                (n_windows, n_channels * n_times)
            Windows.
        return_std : bool, default=False
            Whether to say how far each heart rate may be off; needs a student fitted with
            ``loss="laplace"``.

        Returns
        -------
        heart_rate : ndarray of shape (n_windows,)
            In bpm, a multiple of 1/256; NaN for rows that are NaN throughout, and its std, too.
        std : ndarray of shape (n_windows,)
            Its standard deviation, the same; with ``return_std=True`` only.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the shape is not that of `fit`, other values are not finite, or there is no std to
            return.
        """
        check_is_fitted(self)
        windows = check_windows(self, X, n_channels=self.n_channels_, reset=False, missing=True)
        graph = quantized_graph(self)
        if return_std and graph.n_outputs == 1:
            raise no_std(self)

        def run(windows: Any) -> Any:
            blocks = (windows[start : start + CHUNK] for start in range(0, len(windows), CHUNK))
            given = (quantize_windows(block, graph.input_format) for block in blocks)
            return np.concatenate([run_outputs(graph, integers) for integers in given])

        heart_rate, *std = answered(run, windows, graph.n_outputs) / BPM_STEPS
        return (heart_rate, *std) if return_std else heart_rate

    def to_microcontroller(
        self, folder: Any = None, prefix: str = "pulsehr", target: str = "portable"
    ) -> Any:
        """Write these integers as C, see `pulsehr.to_microcontroller`."""
        from pulsehr.firmware.export import to_microcontroller

        return to_microcontroller(self, folder, prefix=prefix, target=target)

    onnx_parser = _onnx_methods.onnx_parser
    onnx_shape_calculator = _onnx_methods.onnx_shape_calculator
    onnx_converter = _onnx_methods.onnx_converter

    @property
    def network_(self) -> Any:
        """The network of the student."""
        return self.student_.network_

    def get_metadata_routing(self) -> MetadataRouter:
        """Say which metadata `fit` takes for itself and for its student.

        Returns
        -------
        MetadataRouter
            As scikit-learn's guide on metadata routing describes it.
        """
        return metadata_router(self, "student", "fit")

    def _passed_on(self, metadata: dict[str, Any]) -> dict[str, Any]:
        if self.student is None:
            return metadata
        return passed_on(self, "student", "fit", metadata)

    def __sklearn_tags__(self) -> Any:
        """Take 2-D and 3-D X without NaN; windows are what can be learnt from, not tables."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.regressor_tags.poor_score = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Return plain data: arrays, numbers, texts and the student."""
        return stored_state(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what this or an earlier version stored."""
        super().__setstate__(restored_state(self, state))


def _checked_student(student: Any) -> Any:
    """Return the student, also out of a `FrozenEstimator`, or one with defaults."""
    if student is None:
        return DistilledStudentRegressor()
    inner = student.estimator if isinstance(student, FrozenEstimator) else student
    if not isinstance(inner, DistilledStudentRegressor):
        raise TypeError(
            f"QuantizedStudentRegressor: student must be a DistilledStudentRegressor, frozen or "
            f"not, or None, got {student!r}"
        )
    return inner


def _ranges(estimator: Any, windows: Any, learnt: bool) -> dict[str, tuple[float, float]]:
    """Measure the ranges, unless the student has just learnt those that are wanted."""
    student, percentile = estimator.student_, estimator.percentile
    if learnt and percentile == PERCENTILE:
        return dict(student.ranges_)
    return layer_ranges(student.network_, windows, percentile)
