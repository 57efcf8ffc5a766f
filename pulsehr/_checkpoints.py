"""Where an interrupted training goes on: its state on disk after every epoch."""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

import joblib
import torch
from skorch.callbacks import Callback
from skorch.history import History

from pulsehr._version import __version__
from pulsehr._writing import written_at_once
from pulsehr.recordings import is_number

#: Parameters that do not change what is learnt; a teacher is told by its lessons.
WITHOUT_EFFECT = ("checkpoint", "memory", "n_channels", "quantization_epochs", "teacher", "verbose")

#: Names of our callbacks, among those of users.
EARLY_STOPPING = "pulsehr_early_stopping"
SCHEDULE = "pulsehr_lr_scheduler"


#: The first columns of `history_`; what callbacks note as numbers follows.
HISTORY = {"epoch": int, "train_loss": float, "valid_loss": float, "lr": float, "dur": float}

#: What skorch notes for itself.
NOTES = re.compile(r".*_(batch_count|best)|event_.*|batches")


class Checkpoint:
    """The state of one training in a file of a folder.

    The file's name tells the training: the estimator's parameters, the rows, the seed and the
    versions. Another training, such as that of the next fold, has another file. Callables are
    told by their code, callbacks by their class and parameters.

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
        told = {k: _told(value) for k, value in parameters.items() if k not in WITHOUT_EFFECT}
        name = type(estimator).__name__
        try:
            key = joblib.hash([name, told, __version__, torch.__version__, *parts])
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(
                f"{name}: checkpoint needs parameters that can be told from others, got one that "
                f"cannot be pickled ({error})"
            ) from error
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.path = Path(folder) / f"{name}-{key}.pt"

    def save(self, net: Any, finished: bool = False) -> None:
        """Write the state of a skorch net after an epoch, in one step."""
        if self.path is None:
            return
        state = io.BytesIO()  # torch hides what the system says of a file
        torch.save(_state(net, finished), state)
        with written_at_once(self.path) as temporary:
            temporary.write_bytes(state.getbuffer())

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
            _check_sums(self.path)
            state = torch.load(self.path, weights_only=True, map_location=net.device)
            _restore(net, state)
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"checkpoint {str(self.path)!r} cannot be read ({reason}): delete it to start anew"
            ) from error
        return bool(state["finished"])


def _check_sums(path: Path) -> None:
    """Raise ValueError if a part of an archive is not what was written; torch does not look."""
    with zipfile.ZipFile(path) as archive:
        part = archive.testzip()
    if part is not None:
        raise ValueError(f"its part {part!r} was changed")


def _told(value: Any) -> Any:
    """Return what tells a parameter from others, for `joblib.hash`."""
    if isinstance(value, (list, tuple)):
        return [_told(each) for each in value]
    if isinstance(value, Callback):
        return [type(value).__qualname__, _told(sorted(value.get_params(deep=False).items()))]
    if isinstance(value, partial):
        return [_told(value.func), _told(value.args), sorted(value.keywords.items())]
    if isinstance(value, FunctionType):
        code, cells = value.__code__, value.__closure__ or ()
        constants = [str(each).partition(" at 0x")[0] for each in code.co_consts]
        closure = [_told(cell.cell_contents) for cell in cells]
        return [value.__qualname__, code.co_code, code.co_names, constants, closure]
    return value


def plain_history(net: Any) -> list[dict[str, float]]:
    """Return what was noted of each whole epoch as plain numbers."""
    history = []
    for row in net.history:
        if "dur" in row:
            first = {name: kind(row[name]) for name, kind in HISTORY.items() if name in row}
            others = {
                name: float(value)
                for name, value in row.items()
                if is_number(value) and name not in HISTORY and not NOTES.fullmatch(name)
            }
            history.append({**first, **others})
    return history


def _state(net: Any, finished: bool) -> dict[str, Any]:
    early = dict(net.callbacks_)[EARLY_STOPPING]
    schedule = dict(net.callbacks_).get(SCHEDULE)
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
        dict(net.callbacks_)[SCHEDULE].lr_scheduler_.load_state_dict(state["schedule"])
    net.history_ = History({**row, "batches": []} for row in state["history"])
    for name, value in state["early_stopping"].items():
        setattr(dict(net.callbacks_)[EARLY_STOPPING], name, value)
    torch.set_rng_state(state["generator"].cpu())
    if state["cuda_generators"]:
        torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda_generators"]])
