"""`PulseTeacherRegressor`: the PULSE network as a scikit-learn regressor."""

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

from pulsehr import _onnx_methods
from pulsehr._inference import fitted_outputs
from pulsehr._state import restored_state, stored_state
from pulsehr._training import keep, train, train_further, warn_of_interruption
from pulsehr._uncertainty import predicted
from pulsehr._validation import (
    check_hyperparameters,
    check_training_rows,
    generator,
    restored_on_error,
)
from pulsehr.distillation import LabelLoss
from pulsehr.forms import TEACHERS, chosen
from pulsehr.networks import N_FEATURES


class PulseTeacherRegressor(
    RegressorMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """Estimate heart rate by temporal convolutions and cross-attention (PULSE, [1]_).

    The PPG attends to the acceleration; with one channel it attends to itself. The defaults
    are the paper's: 131,825 parameters for windows of 4 channels and 256 times, L1 loss, Adam.
    The weights kept are those of the epoch with the least validation error.

    Parameters
    ----------
    max_epochs : int, default=500
        Passes over the training rows, at most.
    batch_size : int, default=256
        Windows per step.
    lr : float, default=5e-4
        Learning rate of Adam.
    weight_decay : float, default=0.0
        L2 penalty of Adam.
    patience : int, default=150
        Epochs without improvement on the validation rows after which training stops.
    validation_fraction : float or cross-validation splitter, default=0.1
        Share of the subjects (with `groups`) or of the time (without) that is held out
        for early stopping. 0 trains on all rows and watches the training loss. A splitter, such
        as `pulsehr.model_selection.RestOfBlock`, chooses the rows by its first split.
    dropout : float, default=0.5
        Dropout after each pool.
    filters : tuple of 3 int, default=(32, 48, 64)
        Convolution filters of the three blocks.
    n_channels : int, default=1
        Channels of 2-D rows, which hold one channel after the other; 3-D X tells by itself.
    device : {"auto", "cpu", "cuda", "mps"} or str, default="cpu"
        Torch device that trains; "auto" takes a GPU if there is one.
    random_state : int, RandomState or None, default=None
        Seeds split, weights, batches and dropout: one seed, one result on one machine.
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
        integer `random_state`.
    network : {"paper", "interacting"}, default="paper"
        Form of the network. "interacting" is that of `DistilledStudentRegressor`, here wider:
        the modalities meet in a convolution with a ReLU, without attention.
    loss : {"l1", "laplace"}, default="l1"
        What is minimised: the mean absolute error, or the negative log-likelihood of a Laplace
        distribution whose mean and scale the network gives, for ``predict(X, return_std=True)``.
        Early stopping watches the mean absolute error either way.
    augmentation : dict of str to float, default=None
        How training windows are altered, anew in every batch, by name and strength. Shares of
        windows, from 0 to 1: "rotate" (acceleration turned as if the sensor sat otherwise),
        "polarity" (PPG upside down), "contact" (PPG lost for a sixteenth to a third of the
        window) and "cadence" (motion of another window, and an artefact of it in the PPG).
        "stretch": time and heart rate faster or slower by up to this, at most 1, but from 30 to
        220 bpm, for rates that the labels lack. "gain": standard deviation of the logarithm of a
        factor of the acceleration. "noise": white noise on the PPG, in its standard deviations,
        at most. The PPG keeps its mean and standard deviation. None: nothing.

    Attributes
    ----------
    network_ : torch.nn.Module
        The fitted network.
    std_scale_ : float or None
        Factor that fits the scales to the errors on the held-out rows of `fit`, or on those that
        train if none are held out (then the std is too small); None with ``loss="l1"``.
    history_ : list of dict
        ``epoch``, ``train_loss`` (of `loss`) and ``valid_loss`` (bpm), ``lr`` and ``dur`` (s) of
        each epoch: a table, as ``pandas.DataFrame(history_)`` shows it.
    best_epoch_ : int
        The epoch, counted from 1, whose weights are kept.
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

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from pulsehr import PPGWindower, PulseTeacherRegressor
    >>> from pulsehr.datasets import make_recordings
    >>> data = make_recordings(n_subjects=1, duration=60, random_state=0)
    >>> pipe = make_pipeline(PPGWindower(), PulseTeacherRegressor(max_epochs=1, random_state=0))
    >>> pipe.fit(data.X, data.y).predict(data.X).shape
    (27,)
    """

    # early stopping is only honest if it knows the subjects: they are asked for by default
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True}
    __metadata_request__predict: ClassVar[dict[str, bool]] = {"return_std": True}

    def __init__(
        self,
        max_epochs: int = 500,
        batch_size: int = 256,
        lr: float = 5e-4,
        weight_decay: float = 0.0,
        patience: int = 150,
        validation_fraction: Any = 0.1,
        dropout: float = 0.5,
        filters: tuple[int, int, int] = (32, 48, 64),
        n_channels: int = 1,
        device: str = "cpu",
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 1,
        callbacks: list[Any] | None = None,
        optimizer: Any = "adam",
        lr_scheduler: Any = None,
        checkpoint: Any = None,
        network: str = "paper",
        loss: str = "l1",
        augmentation: dict[str, float] | None = None,
    ) -> None:
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
        self.network = network
        self.loss = loss
        self.augmentation = augmentation

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> PulseTeacherRegressor:
        """Train the network.

        After Ctrl-C the estimator is fitted with the best weights so far, with a warning, or,
        in the first epoch, left as it was.

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
            Subjects, which the validation split keeps apart.

        Returns
        -------
        PulseTeacherRegressor
            Itself.

        Raises
        ------
        ValueError
            If a parameter or X or y is out of its range.
        TypeError
            If X holds readings: windows come from a `PPGWindower`.
        """
        check_hyperparameters(self)
        network = chosen(self, TEACHERS)
        with restored_on_error(self):
            rows = check_training_rows(self, X, y, sample_weight, groups)
            rng = generator(self.random_state)
            trained = train(self, network, LabelLoss(self.loss), rows, [], rng)
            keep(self, trained, rows)
        warn_of_interruption(self, trained)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> PulseTeacherRegressor:
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
        PulseTeacherRegressor
            Itself.

        Raises
        ------
        ValueError
            If a parameter or X or y is out of its range, or X has another shape than before.
        TypeError
            If X holds readings: windows come from a `PPGWindower`.
        """
        check_hyperparameters(self)
        network = chosen(self, TEACHERS)
        with restored_on_error(self):
            first = not hasattr(self, "network_")
            rows = check_training_rows(self, X, y, sample_weight, None, reset=first)
            rng = generator(self.random_state)
            trained = train_further(self, network, LabelLoss(self.loss), rows, [], rng)
            keep(self, trained, rows)
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

    @property
    def _n_features_out(self) -> int:
        return N_FEATURES

    def __getstate__(self) -> dict[str, Any]:
        """Return plain data: arrays, numbers and texts."""
        return stored_state(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what this or an earlier version stored."""
        super().__setstate__(restored_state(self, state, TEACHERS))
