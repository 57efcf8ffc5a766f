"""What the parameters `optimizer`, `lr_scheduler` and `device` stand for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import optim
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

#: What `optimizer` may be called. A fused step passes over all weights at once.
OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "adam": partial(optim.Adam, fused=True),
    "adamw": partial(optim.AdamW, fused=True),
    "nadam": optim.NAdam,
    "rmsprop": optim.RMSprop,
    "sgd": partial(optim.SGD, fused=True),
}

#: What `lr_scheduler` may be called: from an optimizer and an estimator to a schedule.
SCHEDULES: dict[str, Callable[[optim.Optimizer, Any], Any]] = {
    "cosine": lambda optimizer, estimator: CosineAnnealingLR(optimizer, estimator.max_epochs),
    "plateau": lambda optimizer, estimator: ReduceLROnPlateau(
        optimizer, patience=estimator.patience // 4
    ),
}


def schedule(estimator: Any) -> Callable[..., Any]:
    """Return what makes a schedule of an optimizer; skorch passes the last epoch too."""
    chosen = estimator.lr_scheduler
    if isinstance(chosen, str):
        return lambda optimizer, last_epoch: SCHEDULES[chosen](optimizer, estimator)
    return lambda optimizer, last_epoch: chosen(optimizer)


def optimizer(estimator: Any) -> Callable[..., optim.Optimizer]:
    """Return what makes an optimizer of parameters, ``lr`` and ``weight_decay``."""
    chosen = estimator.optimizer
    return OPTIMIZERS[chosen] if isinstance(chosen, str) else chosen


def is_optimizer(value: Any) -> bool:
    """Tell whether `optimizer` may be so."""
    return value in OPTIMIZERS if isinstance(value, str) else callable(value)


def is_schedule(value: Any) -> bool:
    """Tell whether `lr_scheduler` may be so."""
    return value is None or (value in SCHEDULES if isinstance(value, str) else callable(value))


def is_device(value: Any) -> bool:
    """Tell whether this machine has the device."""
    return isinstance(value, str) and (value == "auto" or _is_there(value))


def torch_device(estimator: Any) -> str:
    """Return the device that training runs on."""
    if estimator.device != "auto":
        return str(estimator.device)
    return next(name for name in ("cuda", "mps", "cpu") if _is_there(name))


def _is_there(name: str) -> bool:
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    mps = ["mps"] * torch.backends.mps.is_available()
    return name in ("cpu", *cuda, *mps) or (name == "cuda" and bool(cuda))
