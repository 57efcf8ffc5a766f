"""Run a trained network: heart rates and features of windows, and the ranges of its layers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from pulsehr._gradients import one_thread_a_part
from pulsehr._validation import check_windows

#: Windows per pass: their activations stay in the cache, and bound the memory of `predict`.
BATCH = 32

#: Rows that go through the last layers at a time: never more nor fewer, as products of matrices
#: round by their shape.
HEAD_ROWS = 8

#: Five values in 100,000 lie above a range, and as many below: fewer would widen the steps of all
#: others, more would be clipped too often (`docs/quantization.md`).
PERCENTILE = 99.995


Outputs = tuple[NDArray[np.float64], ...]


def fitted_outputs(estimator: Any, X: Any) -> Outputs:
    """Return what `run_network` does for windows that a user passes to a fitted estimator.

    Rows that are NaN throughout become NaN, as NaN passes through every layer.
    """
    check_is_fitted(estimator, "network_")
    windows = check_windows(
        estimator, X, n_channels=estimator.n_channels_, reset=False, missing=True
    )
    return run_network(estimator.network_, windows)


def run_network(network: Any, windows: Any, rows: NDArray[np.intp] | None = None) -> Outputs:
    """Run a network so that a window's result does not depend on its neighbours.

    The convolutions run in float32, where each window of a batch gets the same bits however
    large the batch is. Matrix products do not have that property: the small rest runs in float64,
    on one thread and always on `HEAD_ROWS` rows, so that it rounds alike whatever their number.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode, on any device.
    windows : ndarray or LazyWindows of shape (n_windows, n_channels, n_times), float32
        The windows.
    rows : ndarray of int, default=None
        Which of them to take; None: all.

    Returns
    -------
    heart_rate : ndarray of shape (n_windows,)
        In bpm.
    features : ndarray of shape (n_windows, 32)
        Of which the heart rate is a linear function.
    log_scale : ndarray of shape (n_windows,)
        Of networks with two outputs only: the logarithm of the scale in bpm.
    """
    device = next(network.parameters()).device
    head = _exact_head(network)

    def of_batch(start: int) -> Outputs:
        part: Any = slice(start, start + BATCH)
        with torch.inference_mode():  # of this thread
            batch = torch.from_numpy(windows[part if rows is None else rows[part]])
            maps = network.convolve(batch.to(device)).cpu()
            full = torch.zeros(_filled_up(len(maps)), *maps.shape[1:], dtype=torch.float64)
            full[: len(maps)] = maps
            with _one_thread():
                parts = zip(*map(head, full.split(HEAD_ROWS)), strict=True)
                return tuple(torch.cat(values)[: len(maps)].numpy() for values in parts)

    n_rows = len(windows) if rows is None else len(rows)
    if n_rows <= BATCH:
        return of_batch(0)
    with one_thread_a_part() as run:
        outputs = zip(*run(of_batch, range(0, n_rows, BATCH)), strict=True)
        return tuple(map(np.concatenate, outputs))


def _filled_up(n_rows: int) -> int:
    """Return the next multiple of `HEAD_ROWS`."""
    return -(-n_rows // HEAD_ROWS) * HEAD_ROWS


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch take one thread, in this Python thread."""
    outside = torch.get_num_threads()
    if outside == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(outside)


def _exact_head(network: Any) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Return what a network does after its convolutions, on float64 and on the CPU.

    The network itself stays as it is, as other threads may use it.
    """
    parts = {
        name: copy.deepcopy(module).cpu().double()
        for name, module in network.named_children()
        if name not in network.stack
    }
    return partial(type(network).head, SimpleNamespace(training=False, **parts))


def layer_ranges(
    network: nn.Module, windows: Any, percentile: float = PERCENTILE
) -> dict[str, tuple[float, float]]:
    """Measure between which values the input and each layer's outputs lie.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode, on any device.
    windows : ndarray or LazyWindows of shape (n_windows, n_channels, n_times), float32
        The windows.
    percentile : float, default=99.995
        The upper end in percent of all values; as many lie below the lower end. 100: all.

    Returns
    -------
    dict of str to tuple of 2 float
        Lower and upper end of "input" and of each layer.
    """
    share = 1 - percentile / 100
    # the ends are the last of the few largest and, with the sign turned, smallest values
    tails: dict[str, tuple[Tensor, Tensor]] = {}

    def record(name: str, values: Tensor) -> None:
        # whole numbers may be a rounding error short
        count = 1 + int(share * len(windows) * values[0].numel() + 1e-6)
        flat = values.detach().flatten()
        largest, smallest = tails.get(name, (flat[:0], flat[:0]))
        tails[name] = _largest(largest, flat, count), _largest(smallest, -flat, count)

    def hook(name: str, module: nn.Module, args: Any, output: Tensor) -> None:
        record(name, output)

    handles = [
        module.register_forward_hook(partial(hook, name))
        for name, module in network.named_children()
        if not isinstance(module, nn.Dropout)
    ]
    device = next(network.parameters()).device
    try:
        with torch.inference_mode(), one_thread_a_part():
            for start in range(0, len(windows), BATCH):
                batch = torch.from_numpy(windows[start : start + BATCH])
                record("input", batch)
                network(batch.to(device))
    finally:
        for handle in handles:
            handle.remove()
    return {name: (-float(low[-1]), float(high[-1])) for name, (high, low) in tails.items()}


def _largest(kept: Tensor, values: Tensor, count: int) -> Tensor:
    """Return the `count` largest of the values kept so far and of others, largest first."""
    if len(kept) == count:
        values = values[values > kept[-1]]
    both = torch.cat([kept, values])
    return both.topk(min(count, len(both))).values


def union(
    some: dict[str, tuple[float, float]], other: dict[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    """Return the ranges that hold both."""
    return {
        name: (min(low, other[name][0]), max(high, other[name][1]))
        for name, (low, high) in some.items()
    }
