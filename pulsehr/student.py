"""`DistilledStudentRegressor`: the small network, learnt from labels and from a teacher."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.utils.metadata_routing import MetadataRouter

from pulsehr import _onnx_methods
from pulsehr._fine_tuning import ready_for_integers
from pulsehr._inference import fitted_outputs, layer_ranges, union
from pulsehr._routing import metadata_router
from pulsehr._state import restored_state, stored_state
from pulsehr._teaching import (
    check_teaching,
    criterion,
    fitted_teacher,
    lessons,
    teacher_further,
    teaching,
)
from pulsehr._training import keep, train, train_further, warn_of_interruption
from pulsehr._uncertainty import predicted
from pulsehr._validation import (
    check_hyperparameters,
    check_training_rows,
    generator,
    integer_seed,
    restored_on_error,
)
from pulsehr.forms import STUDENTS, chosen
from pulsehr.networks import N_FEATURES


class DistilledStudentRegressor(
    RegressorMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Estimate heart rate by a small network that learns from a teacher ([1]_).

    Shared convolutions along time, then one convolution across the modalities. The
    defaults are the paper's: 27,241 parameters for windows of 4 channels and 256 times.

    Parameters
    ----------
    teacher : estimator or None, default=None
        A regressor with `predict` and, for the relation, `transform` to 32 features, such
        as `PulseTeacherRegressor`; one that takes tables alone gets windows as 2-D rows. An
        unfitted one is cloned and fitted on the rows of `fit`, so cross-validation never
        leaks; a fitted one teaches as it is. As cross-validation clones the student and
        thereby forgets what a teacher learnt, wrap one that shall stay as it is in
        ``sklearn.frozen.FrozenEstimator``.
        None: learn from the labels alone.
    label_weight : float, default=0.5
        Weight of the labels against the teacher's heart rates, 0 to 1.
    prediction_weight : float, default=2/3
        Weight of both against the relation between features, 0 to 1.
    relation : str, default="softmax"
        How features are compared with the teacher's. "softmax": squared difference of their
        softmax, as in [1]_, which is at most 0.06 bpm and does next to nothing. "distance" and
        "angle": distances and angles between the windows of a batch, in 64 at a time ([2]_).
        "feature": each feature with the teacher's, standardised over the same windows. "none".
        A sum such as "distance+angle". Each but the first is 1 to 3 bpm.
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
    validation_fraction : float or cross-validation splitter, default=0.1
        Share of the subjects (with `groups`) or of the time (without) that is held out
        for early stopping. 0 trains on all rows and watches the training loss. A splitter, such
        as `pulsehr.model_selection.RestOfBlock`, chooses the rows by its first split.
    dropout : float, default=0.1
        Dropout after each pool.
    filters : tuple of 3 int, default=(16, 24, 32)
        Convolution filters of the three blocks.
    n_channels : int, default=1
        Channels of 2-D rows, which hold one channel after the other; 3-D X tells by itself.
    device : {"auto", "cpu", "cuda", "mps"} or str, default="cpu"
        Torch device that trains; "auto" takes a GPU if there is one.
    random_state : int, RandomState or None, default=None
        Seeds split, weights, batches and dropout, and a teacher without a seed of its own.
    warm_start : bool, default=False
        Continue from the weights of the last `fit`.
    verbose : int, default=1
        0: silent. 1: a progress bar, on a terminal. 2: a line for each epoch.
    callbacks : list of skorch callbacks, default=None
        Called in training.
    optimizer : {"adam", "adamw", "nadam", "rmsprop", "sgd"} or callable, default="adam"
        What takes the steps; a callable gets parameters, ``lr`` and ``weight_decay``, such as a
        class of `torch.optim`.
    lr_scheduler : {"cosine", "plateau"}, callable or None, default=None
        How the learning rate changes from epoch to epoch: along half a cosine to 0 at
        `max_epochs`; a tenth after a quarter of `patience` without improvement; as the schedule
        of `torch.optim.lr_scheduler` that a callable makes of the optimizer; or not at all.
    checkpoint : str or path-like, default=None
        Folder in which the state of the training is kept after every epoch, so that the same
        fit, called again after a crash, goes on where it stopped and ends with the same result;
        a fit that had ended comes back at once. Each fit has a file of its own. Needs an
        integer `random_state`. A teacher without a folder of its own takes this one.
    memory : str, joblib.Memory or None, default=None
        Where fitted teachers are kept, so that a grid over parameters of the student fits each
        teacher once per fold. Only a teacher with a seed, its own or one drawn from an integer
        `random_state`, comes back.
    quantization_epochs : int, default=0
        Passes over the training rows after the training, in which weights and activations are
        rounded as in the firmware, and the network learns to give the heart rates that it gave
        before. Of these epochs the best is kept. `partial_fit` has none.
    network : {"paper", "interacting"}, default="paper"
        Form of the network. "interacting" has a ReLU where the modalities meet and on the features,
        so that motion can say which part of the PPG to trust (25,701 parameters).
    loss : {"l1", "laplace"}, default="l1"
        What is minimised: the mean absolute error, or the negative log-likelihood of a Laplace
        distribution whose mean and scale the network gives, for ``predict(X, return_std=True)``.
        Early stopping watches the mean absolute error either way.
    augmentation : dict of str to float, default=None
        How training windows are altered, as of `PulseTeacherRegressor`. A teacher that is fitted
        here has one of its own.
    lessons : {"once", "anew"}, default="once"
        Which windows a teacher sees if there is an `augmentation`. "once": those of `fit`; its
        heart rates stretch with the labels, and its features do not count where "stretch" was
        at work. "anew": the altered ones of every batch, as [3]_ found to teach more; it takes a
        prediction of the teacher for each step (and a `transform`, if features are compared).

    Attributes
    ----------
    teacher_ : estimator or None
        The fitted teacher.
    network_ : torch.nn.Module
        The fitted network.
    ranges_ : dict of str to tuple of 2 float
        Between which values the input and the outputs of each layer lie on the rows of `fit`,
        but for 5 in 100,000 at either end: the firmware's integers.
    std_scale_ : float or None
        Factor that fits the scales to the errors on the held-out rows of `fit`, or on those that
        train if none are held out (then the std is too small); None with ``loss="l1"``.
    history_ : list of dict
        ``epoch``, ``train_loss`` (of `loss`) and ``valid_loss`` (bpm), ``lr`` and ``dur`` (s) of
        each epoch: a table, as ``pandas.DataFrame(history_)`` shows it.
    best_epoch_ : int
        The epoch, counted from 1, whose weights are kept.
    quantization_history_ : list of dict
        The same of the passes of `quantization_epochs`, whose losses are differences from the
        heart rates before them (bpm).
    n_windows_ : int
        Rows of the last `fit` or `partial_fit` that count.
    n_subjects_ : int or None
        Subjects among them; None without `groups`.
    n_channels_, n_times_ : int
        Shape of a window.
    n_features_in_ : int
        ``n_channels_ * n_times_``.

    References
    ----------
    .. [1] Kasnesis et al., Replacing Attention with Modality-wise Convolution for
       Energy-Efficient PPG-based Heart Rate Estimation using Knowledge Distillation, 2025.
    .. [2] Park, Kim, Lu, Cho, Relational Knowledge Distillation, CVPR 2019.
    .. [3] Beyer et al., Knowledge Distillation: A Good Teacher Is Patient and Consistent,
       CVPR 2022.

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

    # early stopping is only honest if it knows the subjects: they are asked for by default
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True}
    __metadata_request__predict: ClassVar[dict[str, bool]] = {"return_std": True}

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
        validation_fraction: Any = 0.1,
        dropout: float = 0.1,
        filters: tuple[int, int, int] = (16, 24, 32),
        n_channels: int = 1,
        device: str = "cpu",
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 1,
        callbacks: list[Any] | None = None,
        optimizer: Any = "adam",
        lr_scheduler: Any = None,
        checkpoint: Any = None,
        memory: Any = None,
        quantization_epochs: int = 0,
        network: str = "paper",
        loss: str = "l1",
        augmentation: dict[str, float] | None = None,
        lessons: str = "once",
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
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.checkpoint = checkpoint
        self.memory = memory
        self.quantization_epochs = quantization_epochs
        self.network = network
        self.loss = loss
        self.augmentation = augmentation
        self.lessons = lessons

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> DistilledStudentRegressor:
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
        sample_weight : array-like of shape (n_windows,), default=None
            How much each window counts; zero is as if it were not there.
        groups : array-like of shape (n_windows,), default=None
            Subjects, which the validation split keeps apart. A teacher without a seed of its own
            and with the same `validation_fraction` holds out the same ones.

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
        network = chosen(self, STUDENTS)
        check_teaching(self)
        with restored_on_error(self):
            rows = check_training_rows(self, X, y, sample_weight, groups)
            seed = integer_seed(self.random_state)
            metadata = {"sample_weight": sample_weight, "groups": groups}
            self.teacher_ = fitted_teacher(self, rows, metadata, seed)
            taught = lessons(self, rows.windows)
            rng, loss = generator(seed), criterion(self)
            trained = train(self, network, loss, rows, taught, rng, teaching(self))
            trained, self.ranges_, tuning = ready_for_integers(self, trained, rows, seed)
            self.quantization_history_ = tuning
            keep(self, trained, rows)
        warn_of_interruption(self, trained)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> DistilledStudentRegressor:
        """Pass once over windows, going on from what is learnt so far.

        For data that come piece by piece. Nothing is held out and `lr_scheduler` rests; the
        weights are those after the pass.

        Parameters
        ----------
        X : array-like of shape (n_windows, n_channels, n_times) or \
                (n_windows, n_channels * n_times)
            Windows, of the same shape in every call.
        y : array-like of shape (n_windows,)
            Heart rate in bpm.
        sample_weight : array-like of shape (n_windows,), default=None
            How much each window counts, against the others of this call.

        Returns
        -------
        DistilledStudentRegressor
            Itself.

        Raises
        ------
        ValueError
            If a parameter or X or y is out of its range, or X has another shape than before.
        TypeError
            If X holds readings: windows come from a `PPGWindower`.
        """
        check_hyperparameters(self)
        network = chosen(self, STUDENTS)
        check_teaching(self)
        with restored_on_error(self):
            first = not hasattr(self, "network_")
            rows = check_training_rows(self, X, y, sample_weight, None, reset=first)
            seed = integer_seed(self.random_state)
            self.teacher_ = teacher_further(self, rows, {"sample_weight": sample_weight}, seed)
            taught = lessons(self, rows.windows)
            rng, loss = generator(seed), criterion(self)
            teach = teaching(self)
            trained = train_further(self, network, loss, rows, taught, rng, teach)
            keep(self, trained, rows)
            ranges = layer_ranges(self.network_, rows.windows)
            self.ranges_ = ranges if first else union(self.ranges_, ranges)
        warn_of_interruption(self, trained)
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Estimate the heart rate of windows.

        Parameters
        ----------
        X : array-like of shape (n_windows, n_channels, n_times) or \
                (n_windows, n_channels * n_times)
            Windows.
        return_std : bool, default=False
            Whether to say how far each heart rate may be off; needs ``loss="laplace"``.

        Returns
        -------
        heart_rate : ndarray of shape (n_windows,)
            In bpm; NaN for rows that are NaN throughout, and its std, too.
        std : ndarray of shape (n_windows,)
            Its standard deviation in bpm; with ``return_std=True`` only.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the shape is not that of `fit`, other values are not finite, or there is no std to
            return.
        """
        return predicted(self, X, return_std)

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
        from pulsehr.firmware.export import to_microcontroller

        return to_microcontroller(self, folder, prefix=prefix, target=target)

    onnx_parser = _onnx_methods.onnx_parser
    onnx_shape_calculator = _onnx_methods.onnx_shape_calculator
    onnx_converter = _onnx_methods.onnx_converter

    def __sklearn_tags__(self) -> Any:
        """Take 2-D and 3-D X without NaN; windows are what can be learnt from, not tables."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        # the pools blur what a table holds in neighbouring columns
        tags.regressor_tags.poor_score = True
        return tags

    def get_metadata_routing(self) -> MetadataRouter:
        """Say which metadata `fit` takes for itself and for its teacher.

        Returns
        -------
        MetadataRouter
            As scikit-learn's guide on metadata routing describes it.
        """
        return metadata_router(self, "teacher", "fit", "partial_fit")

    @property
    def _n_features_out(self) -> int:
        return N_FEATURES

    def __getstate__(self) -> dict[str, Any]:
        """Return plain data: arrays, numbers and texts."""
        return stored_state(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what this or an earlier version stored."""
        super().__setstate__(restored_state(self, state, STUDENTS))
