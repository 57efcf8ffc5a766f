"""The gradients of a batch, the same to the bit on any number of cores.

A batch is cut into parts of fixed size; each is computed by one Python thread, whose torch uses one
thread itself, and what the parts give is summed in their order. How many threads share the parts
changes nothing but the time. Small parts also keep their maps in the cache of their core.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

#: Windows of a part: fewer cost more calls, more fall out of the cache (`docs/speed.md`).
PART = 64

#: Just below the largest block by which the allocator of glibc learns (32 MiB, mallopt(3)).
_KEPT_BYTES = 31 << 20

#: The built-in `map`, or that of a pool of threads: results come in the order of the jobs.
Run = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


class _Threads:
    """How many threads torch had outside, and how many users inside want it to have one."""

    lock = Lock()
    users = 0
    outside = 1


def _after_fork() -> None:
    """Work on in the child of a fork: threads of torch, for which it waits, are not there."""
    _Threads.lock, _Threads.users = Lock(), 0
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def one_thread_a_part() -> Iterator[Run]:
    """Yield a `map` over as many Python threads as torch has; torch itself takes one in each.

    Threads inside an operation wait for each other after every layer, which on a busy machine
    takes many times as long as the work. The number is one for the whole process: the last
    to leave sets it back.

    Yields
    ------
    callable
        For `gradients` and `evaluate`; valid inside the context.
    """
    with _Threads.lock:
        if _Threads.users == 0:
            _Threads.outside = torch.get_num_threads()
            torch.set_num_threads(1)
        _Threads.users += 1
        threads = _Threads.outside
    # Freed maps would go back to the system and come again as new pages, which may take longer
    # than the arithmetic. After freeing a block of this size glibc keeps what is smaller.
    torch.empty(_KEPT_BYTES, dtype=torch.uint8)
    try:
        if threads == 1:
            yield map
            return
        with ThreadPoolExecutor(threads, "pulsehr", torch.set_num_threads, (1,)) as pool:
            yield pool.map
    finally:
        with _Threads.lock:
            _Threads.users -= 1
            if _Threads.users == 0:
                torch.set_num_threads(_Threads.outside)


def gradients(
    network: nn.Module,
    criterion: nn.Module,
    windows: Tensor,
    targets: Sequence[Tensor],
    run: Run = map,
) -> tuple[Tensor, list[Tensor], tuple[Tensor, ...]]:
    """Return the loss of a batch, its gradient for each parameter, and the outputs.

    Parameters
    ----------
    network : nn.Module
        In training mode; takes windows and the generator of its dropout.
    criterion : nn.Module
        Takes the network's output and the targets to a mean over windows.
    windows : Tensor of shape (n_windows, n_channels, n_times)
        The batch, on a CPU.
    targets : sequence of Tensor of shape (n_windows, ...)
        What the criterion compares with.
    run : callable, default=map
        From `one_thread_a_part`.

    Returns
    -------
    loss : Tensor of shape ()
        The criterion of the batch.
    gradients : list of Tensor
        For each parameter that learns, in the order of ``network.parameters()``.
    outputs : tuple of Tensor of shape (n_windows, ...)
        What the network gave, with its dropout.
    """
    parameters = [values for values in network.parameters() if values.requires_grad]
    batches = zip(*(rows.split(PART) for rows in (windows, *targets)), strict=True)
    seeds = torch.randint(2**63 - 1, (-(-len(windows) // PART),)).tolist()

    def of_part(job: tuple[int, tuple[Tensor, ...]]) -> tuple[list[Tensor], list[Tensor]]:
        seed, (part, *goals) = job
        output = network(part, torch.Generator().manual_seed(seed))
        loss = criterion(output, tuple(goals)) * (len(part) / len(windows))
        sums = [loss.detach(), *torch.autograd.grad(loss, parameters)]
        return sums, [values.detach() for values in output]

    sums, outputs = zip(*run(of_part, zip(seeds, batches, strict=True)), strict=True)
    total = sums[0]
    for part in sums[1:]:
        for so_far, values in zip(total, part, strict=True):
            so_far.add_(values)
    return total[0], total[1:], tuple(map(torch.cat, zip(*outputs, strict=True)))


def evaluate(
    network: nn.Module,
    criterion: nn.Module,
    windows: Tensor,
    targets: Sequence[Tensor],
    run: Run = map,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the loss of a batch and the outputs, in evaluation mode; as `gradients` otherwise."""
    batches = zip(*(rows.split(PART) for rows in (windows, *targets)), strict=True)

    def of_part(job: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        part, *goals = job
        with torch.no_grad():  # of this thread
            output = network(part)
            return criterion(output, tuple(goals)) * (len(part) / len(windows)), output

    losses, outputs = zip(*run(of_part, batches), strict=True)
    return torch.stack(losses).sum(), tuple(map(torch.cat, zip(*outputs, strict=True)))
