"""Where an interrupted training goes on: its state on disk after every epoch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import joblib
import torch
from skorch.history import History

import pulsehr

#: Parameters that do not change what is learnt.
WITHOUT_EFFECT = ("callbacks", "checkpoint", "memory", "n_channels", "teacher", "verbose")


#: Columns of `history_`, in their order.
HISTORY = {"epoch": int, "train_loss": float, "valid_loss": float, "lr": float, "dur": float}


class Checkpoint:
    """The state of one training in a file of a folder.

    The file's name tells the training: the estimator's parameters, the rows, the seed and the
    versions. Another training, such as that of the next fold, has another file.

    Parameters
    ----------
    folder : str or path-like or None
        Made if it is missing; None keeps nothing.
    estimator : estimator
        Whose parameters tell the training.
    *parts : object
        What else tells it: rows, targets, seed.
    """

    def __init__(self, folder: Any, estimator: Any, *parts: Any) -> None:
        self.path: Path | None = None
        if folder is None:
            return
        parameters = estimator.get_params(deep=False)
        told = {name: value for name, value in parameters.items() if name not in WITHOUT_EFFECT}
        name = type(estimator).__name__
        key = joblib.hash([name, told, pulsehr.__version__, torch.__version__, *parts])
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.path = Path(folder) / f"{name}-{key}.pt"

    def save(self, net: Any, finished: bool = False) -> None:
        """Write the state of a skorch net after an epoch, in one step."""
        if self.path is None:
            return
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            torch.save(_state(net, finished), temporary)
            os.replace(temporary, self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def restore(self, net: Any) -> bool:
        """Bring a net to the state on disk, if there is one; return whether it had finished.

        Raises
        ------
        ValueError
            If the file cannot be read.
        """
        if self.path is None or not self.path.exists():
            return False
        try:
            state = torch.load(self.path, weights_only=True, map_location=net.device)
            _restore(net, state)
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"checkpoint {str(self.path)!r} cannot be read ({reason}): delete it to start anew"
            ) from error
        return bool(state["finished"])


def plain_history(net: Any) -> list[dict[str, float]]:
    """Return epoch, losses (bpm), learning rate and seconds of each whole epoch."""
    return [
        {name: kind(row[name]) for name, kind in HISTORY.items() if name in row}
        for row in net.history
        if "dur" in row
    ]


def _state(net: Any, finished: bool) -> dict[str, Any]:
    early = dict(net.callbacks_)["early_stopping"]
    schedule = dict(net.callbacks_).get("lr_scheduler")
    return {
        "finished": finished,
        "network": net.module_.state_dict(),
        "optimizer": net.optimizer_.state_dict(),
        "schedule": schedule.lr_scheduler_.state_dict() if schedule else None,
        "history": plain_history(net),
        "early_stopping": {
            "misses_": early.misses_,
            "dynamic_threshold_": float(early.dynamic_threshold_),
            "best_epoch_": early.best_epoch_,
            "best_model_weights_": early.best_model_weights_,
        },
        "generator": torch.get_rng_state(),
        "cuda_generators": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _restore(net: Any, state: dict[str, Any]) -> None:
    net.module_.load_state_dict(state["network"])
    net.optimizer_.load_state_dict(state["optimizer"])
    if state["schedule"] is not None:
        dict(net.callbacks_)["lr_scheduler"].lr_scheduler_.load_state_dict(state["schedule"])
    net.history_ = History({**row, "batches": []} for row in state["history"])
    for name, value in state["early_stopping"].items():
        setattr(dict(net.callbacks_)["early_stopping"], name, value)
    torch.set_rng_state(state["generator"].cpu())
    if state["cuda_generators"]:
        torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda_generators"]])
