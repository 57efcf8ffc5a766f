"""Estimators as plain data: what pickle, joblib and skops store of them, and what they read."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pulsehr._version import __version__
from pulsehr.exceptions import VersionWarning


def stored_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of an estimator as plain data, with the version.

    Parameters
    ----------
    state : mapping
        Attributes by name; ``network_`` is stored as ``weights_``, a dict of arrays, and ``form_``.

    Returns
    -------
    dict
        Without torch objects.
    """
    stored = {**state, "_pulsehr_version": __version__}
    if "network_" in stored:
        network = stored.pop("network_")
        stored["weights_"], stored["form_"] = network_weights(network), network.form
    return stored


def restored_state(
    estimator: Any,
    state: Mapping[str, Any],
    forms: Mapping[str, Callable[..., nn.Module]] | None = None,
) -> dict[str, Any]:
    """Return the attributes that `stored_state` stored, of this or of an earlier version.

    Parameters
    ----------
    estimator : estimator
        Whose attributes they are; parameters that an earlier version did not have yet take
        their defaults.
    state : mapping
        What was stored.
    forms : mapping of str to type or None, default=None
        What to build of ``weights_``, on the CPU, by the name of its form.

    Returns
    -------
    dict
        Attributes by name.

    Warns
    -----
    VersionWarning
        If another version of pulsehr stored the estimator.

    Raises
    ------
    ValueError
        If its network has a form that this version does not know.
    """
    name = type(estimator).__name__
    version = state.get("_pulsehr_version", "0.1.0, or an earlier one")
    if version != __version__:
        warnings.warn(
            f"{name}: stored by pulsehr {version}, read by {__version__}. Estimates may "
            f"differ: compare them on data that you know, or fit it again",
            VersionWarning,
            stacklevel=3,
        )
    parameters = inspect.signature(type(estimator)).parameters
    defaults = {key: parameter.default for key, parameter in parameters.items()}
    restored = {**defaults, **state}
    restored.pop("_pulsehr_version", None)
    weights, form = restored.pop("weights_", None), restored.pop("form_", "paper")
    if "network_" in restored:  # version 0.1.0 stored the torch module itself
        weights = network_weights(restored["network_"])
    if forms is not None and weights is not None:
        restored.setdefault("std_scale_", None)
        shape = restored["n_channels_"], restored["n_times_"]
        if form not in forms:
            raise ValueError(
                f"{name}: the form of a stored network must be one of {sorted(forms)}, got "
                f"{form!r}: read it with pulsehr {version}, which stored it, or fit it again"
            )
        restored["network_"] = network_of(forms[form], shape, weights)
    return restored


def network_weights(network: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Return the weights of a network as arrays by name."""
    return {name: values.cpu().numpy().copy() for name, values in network.state_dict().items()}


def network_of(
    form: Callable[..., nn.Module],
    shape: tuple[int, int],
    weights: Mapping[str, NDArray[np.float32]],
) -> nn.Module:
    """Build a network of weights, in evaluation mode, without drawing random numbers."""
    filters = tuple(len(weights[f"conv{block}3.weight"]) for block in (1, 2, 3))
    with torch.device("meta"):
        module: Any = form(*shape, filters, n_outputs=len(weights["out.bias"]))
    module.load_state_dict(tensors(weights), assign=True)
    restored: nn.Module = module.to(memory_format=torch.channels_last).eval()
    return restored


def plain(state: Any) -> Any:
    """Return nested dicts and lists with an array in the place of each tensor."""
    if isinstance(state, torch.Tensor):
        return state.cpu().numpy().copy()
    if isinstance(state, Mapping):
        return {key: plain(value) for key, value in state.items()}
    if isinstance(state, list):
        return [plain(value) for value in state]
    return state


def tensors(state: Any) -> Any:
    """Return nested dicts and lists with a tensor in the place of each array."""
    if isinstance(state, np.ndarray):
        return torch.from_numpy(state.copy())
    if isinstance(state, Mapping):
        return {key: tensors(value) for key, value in state.items()}
    if isinstance(state, list):
        return [tensors(value) for value in state]
    return state
