"""Build and run the skorch net: loss, seeds, early stopping, progress."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping
from skorch.helper import predefined_split
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler
from tqdm import tqdm

from pulsehr._splitting import hold_out
from pulsehr._validation import check_windows

#: Torch has one generator for all threads: those that train take turns.
_GENERATORS = threading.Lock()

#: Windows per forward pass outside training: bounds the memory of `predict`.
INFERENCE_BATCH = 512


class InterruptedFitWarning(UserWarning):
    """Ctrl-C ended a training early; the estimator holds the best weights so far."""


@dataclass(frozen=True)
class Trained:
    """Hold what a training left.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode, with the weights of the best epoch.
    history : list of dict
        Losses and seconds per epoch, as skorch records them.
    best_epoch : int
        The epoch whose weights are kept, counted from 1.
    interrupted : bool
        Whether Ctrl-C ended the training.
    """

    network: nn.Module
    history: list[dict[str, Any]]
    best_epoch: int
    interrupted: bool


class _WindowDataset(Dataset):
    """Windows and, row by row, all that the loss compares them with."""

    def __init__(self, windows: Tensor, targets: Sequence[Tensor]) -> None:
        self.windows = windows
        self.targets = targets

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, rows: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.windows[rows], tuple(target[rows] for target in self.targets)


class _EpochBar(Callback):
    """One bar over the epochs, on a terminal only."""

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.bar_ = tqdm(total=net.max_epochs, unit="epoch", leave=False, disable=None)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        last = net.history[-1]
        losses = {key: f"{last[key]:.2f}" for key in ("train_loss", "valid_loss") if key in last}
        self.bar_.set_postfix(losses, refresh=False)
        self.bar_.update()

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        self.bar_.close()
        del self.bar_


def train(
    estimator: Any,
    network: type[nn.Module],
    criterion: nn.Module,
    windows: NDArray[np.float32],
    targets: Sequence[NDArray[np.float64]],
    groups: Any,
    rng: np.random.RandomState,
) -> Trained:
    """Train a network as the parameters of its estimator say.

    The global generators of numpy and torch are left as they were.

    Parameters
    ----------
    estimator : PulseTeacherRegressor or DistilledStudentRegressor
        Holds the hyper-parameters; read only.
    network : type of nn.Module
        The network to build, unless ``warm_start`` continues that of the estimator.
    criterion : nn.Module
        Maps the network's output and the targets to a loss; the mean absolute error in bpm
        when in evaluation mode.
    windows : ndarray of shape (n_windows, n_channels, n_times)
        All rows of `fit`.
    targets : sequence of ndarray of shape (n_windows, ...)
        The labels first.
    groups : array-like of shape (n_windows,) or None
        Subjects.
    rng : RandomState
        Seeds the split, the initial weights, the order of batches and the dropout.

    Returns
    -------
    Trained
        Network, history and best epoch.

    Raises
    ------
    ValueError
        If the loss of every epoch was NaN.
    KeyboardInterrupt
        If Ctrl-C comes before the end of the first epoch.
    """
    rows_train, rows_valid = hold_out(len(windows), groups, estimator.validation_fraction, rng)
    dataset = _WindowDataset(
        torch.from_numpy(windows), [torch.from_numpy(np.float32(target)) for target in targets]
    )
    training, validation = (
        _WindowDataset(*dataset[rows_train]),
        _WindowDataset(*dataset[rows_valid]),
    )
    with _GENERATORS, torch.random.fork_rng(enabled=True):
        torch.manual_seed(rng.randint(np.iinfo(np.int32).max))
        module = _initial_network(estimator, network, windows.shape[1:], training.targets[0])
        early = EarlyStopping(
            monitor="valid_loss" if len(validation) else "train_loss",
            patience=estimator.patience,
            threshold=0,
            load_best=True,
            sink=_silent,
        )
        net = _skorch_net(estimator, module, criterion, validation, early)
        interrupted = _run(net, training, early)
    if early.best_epoch_ == 0:
        raise ValueError(
            f"{type(estimator).__name__}: the loss was never a finite number in "
            f"{len(net.history)} epochs: lower lr={estimator.lr:g}, or check the scale of X"
        )
    return Trained(
        network=net.module_.eval(),
        history=[{k: v for k, v in row.items() if k != "batches"} for row in net.history],
        best_epoch=early.best_epoch_,
        interrupted=interrupted,
    )


def _initial_network(
    estimator: Any, network: type[nn.Module], shape: tuple[int, ...], y: Tensor
) -> nn.Module:
    module: Any = network(*shape, tuple(estimator.filters), estimator.dropout)
    if estimator.warm_start and hasattr(estimator, "network_"):
        try:
            module.load_state_dict(estimator.network_.state_dict())
        except RuntimeError:
            raise ValueError(
                f"{type(estimator).__name__}: warm_start needs the windows and filters of the last "
                f"fit, got windows of {shape} and filters {tuple(estimator.filters)}"
            ) from None
    else:
        # the output starts at the median label, where the L1 loss of a constant is least
        nn.init.constant_(module.out.bias, float(y.median()))
    module.to(memory_format=torch.channels_last)
    return cast(nn.Module, module)


def _skorch_net(
    estimator: Any,
    module: nn.Module,
    criterion: nn.Module,
    validation: _WindowDataset,
    early: EarlyStopping,
) -> NeuralNet:
    callbacks = [("early_stopping", early), *(estimator.callbacks or [])]
    if estimator.verbose == 1:
        callbacks.append(("progress", _EpochBar()))
    return NeuralNet(
        module,
        criterion=criterion,
        optimizer=torch.optim.Adam,
        optimizer__weight_decay=estimator.weight_decay,
        lr=estimator.lr,
        max_epochs=estimator.max_epochs,
        batch_size=estimator.batch_size,
        iterator_train=_batches,
        iterator_train__shuffle=True,
        iterator_valid=_batches,
        train_split=predefined_split(validation) if len(validation) else None,
        callbacks=callbacks,
        device=estimator.device,
        verbose=int(estimator.verbose >= 2),
    )


def _run(net: NeuralNet, training: _WindowDataset, early: EarlyStopping) -> bool:
    """Run the epochs; return whether Ctrl-C ended them."""
    net.initialize()
    net.notify("on_train_begin", X=training, y=None)
    with _noted_ctrl_c() as pressed:
        try:
            net.fit_loop(training)
        except KeyboardInterrupt:  # also how callbacks of skorch stop early
            if pressed and early.best_epoch_ == 0:
                raise
        finally:
            net.notify("on_train_end", X=training, y=None)
    return bool(pressed)


@contextmanager
def _noted_ctrl_c() -> Iterator[list[int]]:
    """Yield a list that is empty until Ctrl-C is pressed, which raises as always."""
    pressed: list[int] = []
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(previous):
        yield pressed  # no Ctrl-C arrives here
        return

    def note(number: int, frame: Any) -> None:
        pressed.append(number)
        previous(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, previous)


def _batches(dataset: _WindowDataset, batch_size: int, shuffle: bool = False) -> DataLoader[Any]:
    """Load whole batches by one index operation each."""
    order = RandomSampler(dataset) if shuffle else SequentialSampler(dataset)
    return DataLoader(dataset, sampler=BatchSampler(order, batch_size, False), batch_size=None)


def _silent(*args: Any) -> None:
    """Print nothing."""


def keep(estimator: Any, trained: Trained, windows: NDArray[np.float32]) -> None:
    """Store what a training left as the attributes of its estimator, and warn after Ctrl-C."""
    estimator.network_ = trained.network
    estimator.n_channels_, estimator.n_times_ = windows.shape[1:]
    estimator.history_ = trained.history
    estimator.best_epoch_ = trained.best_epoch
    if trained.interrupted:
        warnings.warn(
            f"{type(estimator).__name__}: training was interrupted in epoch "
            f"{len(trained.history)}; fitted with the best weights so far, of epoch "
            f"{trained.best_epoch}",
            InterruptedFitWarning,
            stacklevel=3,
        )


def fitted_outputs(estimator: Any, X: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return heart rate (n_windows,) and features (n_windows, 32) by a fitted estimator."""
    check_is_fitted(estimator, "network_")
    windows = check_windows(estimator, X, n_channels=estimator.n_channels_, reset=False)
    return run_network(estimator.network_, windows)


def run_network(
    network: nn.Module, windows: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return heart rate (n_windows,) in bpm and features (n_windows, 32) as float64."""
    device = next(network.parameters()).device
    heart_rates, features = [], []
    with torch.inference_mode():
        for batch in torch.from_numpy(windows).split(INFERENCE_BATCH):
            bpm, values = network(batch.to(device))
            heart_rates.append(bpm.cpu().double().numpy())
            features.append(values.cpu().double().numpy())
    return np.concatenate(heart_rates), np.concatenate(features)


def layer_ranges(
    network: nn.Module, windows: NDArray[np.float32]
) -> dict[str, tuple[float, float]]:
    """Return the least and largest output of the input and of each layer, over all windows."""
    lows: dict[str, list[float]] = {"input": [float(windows.min())]}
    highs: dict[str, list[float]] = {"input": [float(windows.max())]}

    def watch(name: str) -> Any:
        def record(module: nn.Module, args: Any, output: Tensor) -> None:
            lows.setdefault(name, []).append(float(output.min()))
            highs.setdefault(name, []).append(float(output.max()))

        return record

    handles = [
        module.register_forward_hook(watch(name))
        for name, module in network.named_children()
        if not isinstance(module, nn.Dropout)
    ]
    try:
        run_network(network, windows)
    finally:
        for handle in handles:
            handle.remove()
    return {name: (min(lows[name]), max(highs[name])) for name in lows}
