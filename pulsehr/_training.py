"""Build and run the skorch net: loss, seeds, early stopping, progress."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from skorch.helper import predefined_split
from skorch.utils import to_device
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler
from tqdm import tqdm

from pulsehr._checkpoints import EARLY_STOPPING, SCHEDULE, Checkpoint, plain_history
from pulsehr._gradients import Run, evaluate, gradients, one_thread_a_part
from pulsehr._optimization import optimizer, schedule, torch_device
from pulsehr._splitting import hold_out
from pulsehr._state import network_weights, plain, tensors
from pulsehr._validation import TrainingRows
from pulsehr.exceptions import InterruptedFitWarning

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
    optimizer_state : dict or None
        Where the optimizer has come to, as plain data, if a later pass goes on from there.
    """

    network: nn.Module
    history: list[dict[str, float]]
    best_epoch: int
    interrupted: bool
    optimizer_state: dict[str, Any] | None = None


class _WindowDataset(Dataset):
    """Some rows of the windows and, row by row, all that the loss compares them with.

    A batch is ``({"windows": ..., "others": (weights, *lessons)}, labels)``, of which callbacks
    of skorch take the labels and what the network says of the rest.
    """

    def __init__(self, windows: Any, targets: Sequence[Tensor], rows: NDArray[np.intp]) -> None:
        self.windows = windows
        self.y, *self.others = targets
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> tuple[dict[str, Any], Tensor]:
        rows = self.rows[index]
        others = tuple(values[rows] for values in self.others)
        return {"windows": torch.from_numpy(self.windows[rows]), "others": others}, self.y[rows]


class _EpochBar(Callback):
    """One bar over the epochs, on a terminal only."""

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.bar_ = tqdm(total=net.max_epochs, unit="epoch", leave=False, disable=None)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        last = net.history[-1]
        losses = {key: f"{last[key]:.2f}" for key in ("train_loss", "valid_loss") if key in last}
        self.bar_.set_postfix(losses, refresh=False)
        self.bar_.update(last["epoch"] - self.bar_.n)

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        self.bar_.close()
        del self.bar_


class _LearningRate(Callback):
    """Note the learning rate of each epoch."""

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        net.history.record("lr", net.optimizer_.param_groups[0]["lr"])


class _SaveEpoch(Callback):
    """Write the state after each epoch, when all other callbacks have seen its end."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        self.checkpoint.save(net)


class _Net(NeuralNet):
    """skorch's net, whose step on a CPU gives the same bits on any number of cores."""

    run: Run = map

    def infer(self, x: Any, **fit_params: Any) -> Any:
        return super().infer(x["windows"], **fit_params)

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        self._set_training(True)
        if torch.device(self.device).type == "cpu":
            network = self.module_
            loss, values, outputs = gradients(network, self.criterion_, *_parted(batch), self.run)
            learning = [weights for weights in network.parameters() if weights.requires_grad]
            for weights, value in zip(learning, values, strict=True):
                weights.grad = value
            return {"loss": loss, "y_pred": outputs}
        loss, outputs = self._loss(batch)
        loss.backward()
        return {"loss": loss, "y_pred": outputs}

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        self._set_training(False)
        if torch.device(self.device).type == "cpu":
            step = evaluate(self.module_, self.criterion_, *_parted(batch), self.run)
        else:
            with torch.no_grad():
                step = self._loss(batch)
        return {"loss": step[0], "y_pred": step[1]}

    def _loss(self, batch: Any) -> tuple[Tensor, Any]:
        """Return loss and outputs of a whole batch, on any device."""
        windows, targets = to_device(_parted(batch), self.device)
        outputs = self.module_(windows)
        return self.criterion_(outputs, targets), outputs


def _parted(batch: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return windows and targets (labels, weights, lessons) of a batch."""
    x, y = batch
    return x["windows"], (y, *x["others"])


def train(
    estimator: Any,
    network: type[nn.Module],
    criterion: nn.Module,
    rows: TrainingRows,
    lessons: Sequence[NDArray[np.float64]],
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
        Maps the network's output and the targets (labels, weights, lessons) to a loss; the mean
        absolute error in bpm when in evaluation mode.
    rows : TrainingRows
        All rows of `fit`.
    lessons : sequence of ndarray of shape (n_windows, ...)
        What the teacher says of each row.
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
        training = _WindowDataset(rows.windows, targets, used[learn])
        validation = _WindowDataset(rows.windows, targets, used[watch])
        net = _skorch_net(estimator, module, criterion, validation, checkpoint).initialize()
        return _run(estimator, net, training, checkpoint)


def train_further(
    estimator: Any,
    network: type[nn.Module],
    criterion: nn.Module,
    rows: TrainingRows,
    lessons: Sequence[NDArray[np.float64]],
    rng: np.random.RandomState,
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
        training = _WindowDataset(rows.windows, targets, rows.used)
        nothing = _WindowDataset(rows.windows, targets, rows.used[:0])
        no_file = Checkpoint(None, estimator)
        net = _skorch_net(estimator, module, criterion, nothing, no_file, once=True).initialize()
        _go_on(net.optimizer_, getattr(estimator, "optimizer_state_", None))
        trained = _run(estimator, net, training, no_file)
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
    network: type[nn.Module],
    rows: TrainingRows,
    learn: NDArray[np.intp],
    start: dict[str, NDArray[np.float32]] | None,
) -> nn.Module:
    """Build the network with weights to start from, by default random ones."""
    shape = rows.windows.shape[1:]
    module: Any = network(*shape, tuple(estimator.filters), estimator.dropout)
    if start is None:
        # the output starts at the median label, where the L1 loss of a constant is least
        nn.init.constant_(module.out.bias, _median(rows.y[learn], rows.weights[learn]))
    else:
        try:
            module.load_state_dict({name: torch.from_numpy(w) for name, w in start.items()})
        except RuntimeError:
            raise ValueError(
                f"{type(estimator).__name__}: going on (warm_start, partial_fit) needs the windows "
                f"and filters of the last fit, got windows of {shape} and filters "
                f"{tuple(estimator.filters)}"
            ) from None
    module.to(memory_format=torch.channels_last)
    return cast(nn.Module, module)


def _median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the least value that has half of the weight up to it."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])


def _skorch_net(
    estimator: Any,
    module: nn.Module,
    criterion: nn.Module,
    validation: _WindowDataset,
    checkpoint: Checkpoint,
    once: bool = False,
) -> NeuralNet:
    watched = "valid_loss" if len(validation) else "train_loss"
    callbacks: list[Any] = [
        ("pulsehr_learning_rate", _LearningRate()),
        (
            EARLY_STOPPING,
            EarlyStopping(
                watched, patience=estimator.patience, threshold=0, load_best=True, sink=_silent
            ),
        ),
    ]
    if estimator.lr_scheduler is not None and not once:
        callbacks.append((SCHEDULE, LRScheduler(schedule(estimator), monitor=watched)))
    if estimator.verbose == 1:
        callbacks.append(("pulsehr_progress", _EpochBar()))
    callbacks += list(estimator.callbacks or [])
    return _Net(
        module,
        criterion=criterion,
        optimizer=optimizer(estimator),
        optimizer__weight_decay=estimator.weight_decay,
        lr=estimator.lr,
        max_epochs=1 if once else estimator.max_epochs,
        batch_size=estimator.batch_size,
        iterator_train=_batches,
        iterator_train__shuffle=True,
        iterator_valid=_batches,
        train_split=predefined_split(validation) if len(validation) else None,
        callbacks=[*callbacks, ("pulsehr_checkpoint", _SaveEpoch(checkpoint))],
        device=torch_device(estimator),
        verbose=int(estimator.verbose >= 2),
    )


def _run(
    estimator: Any, net: NeuralNet, training: _WindowDataset, checkpoint: Checkpoint
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


def _batches(dataset: _WindowDataset, batch_size: int, shuffle: bool = False) -> DataLoader[Any]:
    """Load whole batches by one index operation each."""
    order = RandomSampler(dataset) if shuffle else SequentialSampler(dataset)
    return DataLoader(dataset, sampler=BatchSampler(order, batch_size, False), batch_size=None)


def _silent(*args: Any) -> None:
    """Print nothing."""


def keep(estimator: Any, trained: Trained, rows: TrainingRows) -> None:
    """Store what a training left as the attributes of its estimator."""
    estimator.optimizer_state_ = trained.optimizer_state
    estimator.network_ = trained.network
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
