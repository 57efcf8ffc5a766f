"""The skorch net of a training: rows into batches, a step, callbacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping, LRScheduler
from skorch.helper import predefined_split
from skorch.utils import to_device
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler
from tqdm import tqdm

from pulsehr._augmentation import augmented
from pulsehr._checkpoints import EARLY_STOPPING, SCHEDULE, Checkpoint
from pulsehr._gradients import Run, evaluate, gradients
from pulsehr._optimization import optimizer, schedule, torch_device

#: Longest gradient of a Laplace loss, which a label far outside of a narrow scale would make long.
LONGEST_GRADIENT = 20.0


class WindowDataset(Dataset):
    """Some rows of the windows and, row by row, all that the loss compares them with.

    A batch is ``({"windows": ..., "others": (weights, *lessons)}, labels)``, of which callbacks
    of skorch take the labels and what the network says of the rest. With an augmentation every
    batch is altered anew, by draws of torch's own generator; then `teach`, if it is given, says
    the lessons of what came of it.
    """

    def __init__(
        self,
        windows: Any,
        targets: Sequence[Tensor],
        rows: NDArray[np.intp],
        augmentation: Mapping[str, float] | None = None,
        teach: Callable[[Any], Sequence[NDArray[np.float64]]] | None = None,
    ) -> None:
        self.windows = windows
        self.y, *self.others = targets
        self.rows = rows
        self.augmentation = augmentation
        self.teach = teach

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> tuple[dict[str, Any], Tensor]:
        rows = self.rows[index]
        windows = torch.from_numpy(self.windows[rows])
        y, *others = (values[rows] for values in (self.y, *self.others))
        if self.augmentation:
            told = windows, (y, *others), self.augmentation, torch.default_generator
            windows, (y, *others) = augmented(*told)
            if self.teach:
                lessons = self.teach(windows.numpy())
                others = [others[0], *(torch.from_numpy(np.float32(each)) for each in lessons)]
        return {"windows": windows, "others": tuple(others)}, y


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
        if _on_cpu(self):
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
        if _on_cpu(self):
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


def _on_cpu(net: NeuralNet) -> bool:
    return torch.device(net.device).type == "cpu"


def _parted(batch: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return windows and targets (labels, weights, lessons) of a batch."""
    x, y = batch
    return x["windows"], (y, *x["others"])


def skorch_net(
    estimator: Any,
    module: nn.Module,
    criterion: nn.Module,
    validation: WindowDataset,
    checkpoint: Checkpoint,
    once: bool = False,
) -> NeuralNet:
    """Make the net of an estimator's parameters, for all epochs or for one pass."""
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
    if estimator.loss == "laplace":
        callbacks.append(("pulsehr_clipping", GradientNormClipping(LONGEST_GRADIENT)))
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


def _batches(dataset: WindowDataset, batch_size: int, shuffle: bool = False) -> DataLoader[Any]:
    """Load whole batches by one index operation each."""
    order = RandomSampler(dataset) if shuffle else SequentialSampler(dataset)
    return DataLoader(dataset, sampler=BatchSampler(order, batch_size, False), batch_size=None)


def _silent(*args: Any) -> None:
    """Print nothing."""
