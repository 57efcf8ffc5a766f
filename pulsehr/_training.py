"""Run a training: what is held out, seeds, where it starts, Ctrl-C, and what it leaves."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from torch import Tensor, nn

from pulsehr._checkpoints import EARLY_STOPPING, Checkpoint, plain_history
from pulsehr._gradients import one_thread_a_part
from pulsehr._net import WindowDataset, skorch_net
from pulsehr._splitting import hold_out
from pulsehr._state import network_weights, plain, tensors
from pulsehr._uncertainty import n_outputs, std_scale
from pulsehr._validation import TrainingRows
from pulsehr.exceptions import InterruptedFitWarning
from pulsehr.networks import LOG_SCALE_BOUNDS

#: Torch has one generator for all threads: those that train take turns.
_GENERATORS = threading.RLock()


@dataclass(frozen=True)
class Trained:
    """Hold what a training left.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode, with the weights of the best epoch.
    history : list of dict
        Losses, learning rate and seconds per epoch.
    best_epoch : int
        The epoch whose weights are kept, counted from 1.
    interrupted : bool
        Whether Ctrl-C ended the training.
    watched : ndarray of int
        Rows that were held out or, if there are none, those that trained.
    optimizer_state : dict or None
        Where the optimizer has come to, as plain data, if a later pass goes on from there.
    """

    network: nn.Module
    history: list[dict[str, float]]
    best_epoch: int
    interrupted: bool
    watched: NDArray[np.intp]
    optimizer_state: dict[str, Any] | None = None


def train(
    estimator: Any,
    network: Callable[..., nn.Module],
    criterion: nn.Module,
    rows: TrainingRows,
    lessons: Sequence[NDArray[np.float64]],
    rng: np.random.RandomState,
    teach: Callable[[Any], Sequence[NDArray[np.float64]]] | None = None,
) -> Trained:
    """Train a network as the parameters of its estimator say.

    The global generators of numpy and torch are left as they were.

    Parameters
    ----------
    estimator : PulseTeacherRegressor or DistilledStudentRegressor
        Holds the hyper-parameters; read only.
    network : callable
        Builds the network of n_channels, n_times, filters and dropout; with ``warm_start`` its
        weights are those of the estimator.
    criterion : nn.Module
        Maps the network's output and the targets (labels, weights, lessons) to a loss; the mean
        absolute error in bpm when in evaluation mode.
    rows : TrainingRows
        All rows of `fit`.
    lessons : sequence of ndarray of shape (n_windows, ...)
        What the teacher says of each row.
    rng : RandomState
        Seeds the split, the initial weights, the order of batches, how these are altered and the
        dropout.
    teach : callable, default=None
        Maps altered windows to the lessons of them; None: lessons are those of the rows.

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
    used = rows.used
    groups = None if rows.groups is None else rows.groups[used]
    learn, watch = hold_out(len(used), groups, estimator.validation_fraction, rng)
    seed = rng.randint(np.iinfo(np.int32).max)
    start = _learnt(estimator) if estimator.warm_start else None
    told = (rows.windows, rows.y, rows.weights, lessons, used[learn], used[watch], seed, start)
    checkpoint = Checkpoint(estimator.checkpoint, estimator, *told)
    with _own_generator(seed):
        module = _network(estimator, network, rows, used[learn], start)
        targets = _targets(rows, lessons, used[learn], used[watch])
        training = WindowDataset(rows.windows, targets, used[learn], estimator.augmentation, teach)
        validation = WindowDataset(rows.windows, targets, used[watch])
        net = skorch_net(estimator, module, criterion, validation, checkpoint).initialize()
        return _run(estimator, net, training, validation, checkpoint)


def train_further(
    estimator: Any,
    network: Callable[..., nn.Module],
    criterion: nn.Module,
    rows: TrainingRows,
    lessons: Sequence[NDArray[np.float64]],
    rng: np.random.RandomState,
    teach: Callable[[Any], Sequence[NDArray[np.float64]]] | None = None,
) -> Trained:
    """Pass once over all rows, going on from what the estimator has learnt, if anything.

    Parameters and errors are those of `train`; nothing is held out.
    """
    history = getattr(estimator, "history_", [])
    # another order of batches in each pass
    seed = rng.randint(np.iinfo(np.int32).max, size=len(history) + 1)[-1]
    with _own_generator(seed):
        module = _network(estimator, network, rows, rows.used, _learnt(estimator))
        targets = _targets(rows, lessons, rows.used)
        training = WindowDataset(rows.windows, targets, rows.used, estimator.augmentation, teach)
        nothing = WindowDataset(rows.windows, targets, rows.used[:0])
        no_file = Checkpoint(None, estimator)
        net = skorch_net(estimator, module, criterion, nothing, no_file, once=True).initialize()
        _go_on(net.optimizer_, getattr(estimator, "optimizer_state_", None))
        trained = _run(estimator, net, training, nothing, no_file)
    last = {**trained.history[0], "epoch": len(history) + 1}
    return replace(
        trained,
        history=[*history, last],
        best_epoch=len(history) + 1,
        optimizer_state=_state_of(net.optimizer_),
    )


def _state_of(optimizer: Any) -> dict[str, Any]:
    """Return the moments of an optimizer as plain data; parameters such as lr are not part."""
    kind = type(optimizer).__name__
    return {"optimizer": kind, "moments": plain(optimizer.state_dict()["state"])}


def _go_on(optimizer: Any, state: dict[str, Any] | None) -> None:
    """Give an optimizer the moments of the last pass, if they are of its kind."""
    if state and state["optimizer"] == type(optimizer).__name__:
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": tensors(state["moments"]), "param_groups": groups})


@contextmanager
def _own_generator(seed: int) -> Iterator[None]:
    """Seed torch, and leave its generator as it was."""
    with _GENERATORS, torch.random.fork_rng(enabled=True):
        torch.manual_seed(seed)
        yield


def _learnt(estimator: Any) -> dict[str, NDArray[np.float32]] | None:
    """Return the weights that a training goes on from; None before the first `fit`."""
    return network_weights(estimator.network_) if hasattr(estimator, "network_") else None


def _targets(
    rows: TrainingRows, lessons: Sequence[NDArray[np.float64]], *parts: NDArray[np.intp]
) -> list[Tensor]:
    """Return labels, weights (of mean 1 in each part) and lessons as float32."""
    weights = rows.weights.copy()
    for part in parts:
        weights[part] /= weights[part].mean() if len(part) else 1.0
    return [torch.from_numpy(np.float32(target)) for target in (rows.y, weights, *lessons)]


def _network(
    estimator: Any,
    network: Callable[..., nn.Module],
    rows: TrainingRows,
    learn: NDArray[np.intp],
    start: dict[str, NDArray[np.float32]] | None,
) -> nn.Module:
    """Build the network with weights to start from, by default random ones."""
    shape = rows.windows.shape[1:]
    module: Any = network(*shape, tuple(estimator.filters), estimator.dropout)
    if start is None:
        _start_outputs(module, rows.y[learn], rows.weights[learn])
    else:
        try:
            module.load_state_dict(tensors(start))
        except RuntimeError:
            raise ValueError(
                f"{type(estimator).__name__}: going on (warm_start, partial_fit) needs windows, "
                f"filters, network and loss of the last fit, got windows of {shape}, filters "
                f"{tuple(estimator.filters)}, network={estimator.network!r} and "
                f"loss={estimator.loss!r}"
            ) from None
    module.to(memory_format=torch.channels_last)
    return cast(nn.Module, module)


def _start_outputs(module: Any, y: NDArray[np.float64], weights: NDArray[np.float64]) -> None:
    """Let the outputs start at the constants that the losses like best.

    That is the median label, and the logarithm of the mean distance from it.
    """
    median = _median(y, weights)
    distance = max(float(np.average(np.abs(y - median), weights=weights)), 1.0)
    log_scale = np.clip(np.log(distance), *LOG_SCALE_BOUNDS)
    starts = torch.tensor([median, log_scale])[: n_outputs(module)]
    with torch.no_grad():
        module.out.bias.copy_(starts / getattr(module.out, "gain", 1.0))


def _median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the least value that has half of the weight up to it."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])


def _run(
    estimator: Any,
    net: NeuralNet,
    training: WindowDataset,
    validation: WindowDataset,
    checkpoint: Checkpoint,
) -> Trained:
    """Run the epochs that are left of a net that is initialised."""
    net.notify("on_train_begin", X=training, y=None)
    early = dict(net.callbacks_)[EARLY_STOPPING]
    finished = checkpoint.restore(net)
    with _noted_ctrl_c() as pressed, one_thread_a_part() as net.run:
        try:
            net.fit_loop(training, epochs=0 if finished else net.max_epochs - len(net.history))
        except KeyboardInterrupt:  # also how callbacks of skorch stop early
            if pressed and early.best_epoch_ == 0:
                raise
        finally:
            net.notify("on_train_end", X=training, y=None)
    if not plain_history(net):
        raise ValueError(
            f"{type(estimator).__name__}: a callback stopped the training in its first epoch, "
            f"before anything was learnt"
        )
    if early.best_epoch_ == 0:
        raise ValueError(
            f"{type(estimator).__name__}: the loss was never a finite number in "
            f"{len(net.history)} epochs: lower lr={estimator.lr:g}, or check the scale of X"
        )
    if not pressed and not finished:
        checkpoint.save(net, finished=True)
    return Trained(
        network=net.module_.eval(),
        history=plain_history(net),
        best_epoch=early.best_epoch_,
        interrupted=bool(pressed),
        watched=validation.rows if len(validation) else training.rows,
    )


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


def keep(estimator: Any, trained: Trained, rows: TrainingRows) -> None:
    """Store what a training left as the attributes of its estimator."""
    estimator.optimizer_state_ = trained.optimizer_state
    estimator.network_ = trained.network
    # a pass over more rows holds nothing out: the factor of rows that were is the better one
    if trained.optimizer_state is None or getattr(estimator, "std_scale_", None) is None:
        estimator.std_scale_ = std_scale(trained.network, rows, trained.watched)
    estimator.n_channels_, estimator.n_times_ = rows.windows.shape[1:]
    estimator.n_windows_ = len(rows.used)
    estimator.n_subjects_ = None if rows.groups is None else len(set(rows.groups[rows.used]))
    estimator.history_ = trained.history
    estimator.best_epoch_ = trained.best_epoch


def warn_of_interruption(estimator: Any, trained: Trained) -> None:
    """Say that Ctrl-C ended a training; the estimator is fitted even if this is an error."""
    if trained.interrupted:
        warnings.warn(
            f"{type(estimator).__name__}: training was interrupted in epoch "
            f"{len(trained.history) + 1}; fitted with the best weights so far, of epoch "
            f"{trained.best_epoch}",
            InterruptedFitWarning,
            stacklevel=3,
        )
