"""Compare the speed of training with a plain PyTorch loop and with the limit of the arithmetic.

    python benchmarks/training.py --threads 2

Contenders, all on the same synthetic windows, with Adam and the L1 loss:

- plain: a PyTorch loop over the paper's layers as published, channels first, `(B, 1, 4, 256)`;
- step: a loop over pulsehr's network and `gradients`, without skorch and scikit-learn;
- fit: `fit` of the estimator, a step being what a longer training takes more than a short one;
- limits: the floating-point operations of a step at the rate of a large matrix product, and at
  that of a large convolution with kernel 1, which some processors compute by faster code.

Each contender lives in a process of its own, so that none inherits the memory, the threads or the
caches of another; they take turns, one at a time. The least time of the turns counts: what else
the machine does can only add. On one thread it is processor time, on several it is wall time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pulsehr import DistilledStudentRegressor, PulseTeacherRegressor
from pulsehr._gradients import gradients, one_thread_a_part
from pulsehr.distillation import LabelLoss
from pulsehr.networks import DistilledStudent, PulseTeacher

SEED = 0
ESTIMATORS = {"student": DistilledStudentRegressor, "teacher": PulseTeacherRegressor}
NETWORKS = {"student": DistilledStudent, "teacher": PulseTeacher}

#: Filters, kernel, dilations, pools and dropout of the paper's blocks.
PAPER = {
    "student": ((16, 24, 32), 3, (2, 3, 4), (4, 4, 2), 0.1),
    "teacher": ((32, 48, 64), 5, (2, 2, 2), (4, 2, 2), 0.5),
}


#: Returns seconds.
Clock = Callable[[], float]


class PlainNetwork(nn.Module):
    """The paper's layers, one after the other, as a first reader would write them."""

    def __init__(self, name: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        filters, kernel, dilations, pools, dropout = PAPER[name]
        for width, dilation, pool in zip(filters, dilations, pools, strict=True):
            padding = (0, dilation * (kernel - 1) // 2)
            for _ in range(3):
                conv = nn.Conv2d(
                    before, width, (1, kernel), dilation=(1, dilation), padding=padding
                )
                layers += [conv, nn.ReLU()]
                before = width
            layers += [nn.AvgPool2d((1, pool), ceil_mode=True), nn.Dropout(dropout)]
        self.stack = nn.Sequential(*layers)
        self.attention = (
            nn.MultiheadAttention(16, 4, batch_first=True) if name == "teacher" else None
        )
        self.norm = nn.LayerNorm(16)
        self.across = nn.Conv2d(32, 32, (4, 1))
        self.dense = nn.LazyLinear(32)
        self.out = nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map windows (n, 1, 4, 256) to bpm (n,)."""
        x = self.stack(x)
        if self.attention is None:
            x = self.across(x)
        else:
            others = x[:, :, 1:].transpose(1, 2).flatten(1, 2)
            x = self.norm(self.attention(x[:, :, 0], others, others)[0])
        return self.out(self.dense(x.flatten(1))).squeeze(1)


def synthetic_windows(n: int) -> tuple[Tensor, Tensor]:
    """Return windows (n, 4, 256) and heart rates (n,)."""
    rng = np.random.default_rng(SEED)
    windows = rng.standard_normal((n, 4, 256), dtype=np.float32)
    return torch.from_numpy(windows), torch.from_numpy(rng.uniform(50, 150, n).astype(np.float32))


def epoch(step: Callable[[Tensor], Any], n_windows: int, batch_size: int) -> int:
    """Take the steps of one epoch in a new order; return how many."""
    batches = torch.randperm(n_windows).split(batch_size)
    for rows in batches:
        step(rows)
    return len(batches)


def plain(clock: Clock, name: str, batch_size: int, n_windows: int) -> Iterator[float]:
    """Yield the seconds a step of the plain loop."""
    windows, y = synthetic_windows(n_windows)
    windows = windows.unsqueeze(1)
    network = PlainNetwork(name)
    network(windows[:2])
    optimizer = torch.optim.Adam(network.parameters())

    def step(rows: Tensor) -> float:
        optimizer.zero_grad()
        loss = nn.functional.l1_loss(network(windows[rows]), y[rows])
        loss.backward()
        optimizer.step()
        return loss.item()

    yield from _seconds(clock, step, n_windows, batch_size)


def bare_step(clock: Clock, name: str, batch_size: int, n_windows: int) -> Iterator[float]:
    """Yield the seconds a step of pulsehr's network and gradients in a bare loop."""
    windows, y = synthetic_windows(n_windows)
    network = NETWORKS[name]().to(memory_format=torch.channels_last).train()
    parameters = list(network.parameters())
    optimizer = torch.optim.Adam(parameters, fused=True)
    with one_thread_a_part() as run:

        def step(rows: Tensor) -> float:
            targets = (y[rows], torch.ones(len(rows)))
            loss, values, _ = gradients(network, LabelLoss(), windows[rows], targets, run)
            for parameter, value in zip(parameters, values, strict=True):
                parameter.grad = value
            optimizer.step()
            return loss.item()

        yield from _seconds(clock, step, n_windows, batch_size)


def _seconds(
    clock: Clock, step: Callable[[Tensor], Any], n_windows: int, batch_size: int
) -> Iterator[float]:
    epoch(step, n_windows, batch_size)
    while True:
        start = clock()
        n_steps = epoch(step, n_windows, batch_size)
        yield (clock() - start) / n_steps


def whole_fit(
    clock: Clock, name: str, batch_size: int, n_windows: int, max_epochs: int
) -> Iterator[float]:
    """Yield the seconds of a `fit`."""
    windows, y = (rows.numpy() for rows in synthetic_windows(n_windows))
    while True:
        estimator = ESTIMATORS[name](
            max_epochs=max_epochs,
            batch_size=batch_size,
            validation_fraction=0,
            random_state=SEED,
            verbose=0,
        )
        start = clock()
        estimator.fit(windows, y)
        yield clock() - start


def limit(clock: Clock, kind: str, flops: float) -> Iterator[float]:
    """Yield the seconds that as many operations take in one large product."""
    if kind == "product":
        a, b = torch.randn(2, 2048, 2048)
        done, run = 2 * 2048**3, lambda: a @ b
    else:
        maps = torch.randn(64, 512, 8, 8).to(memory_format=torch.channels_last)
        weight = torch.randn(512, 512, 1, 1).to(memory_format=torch.channels_last)
        done, run = 2 * 64 * 64 * 512**2, lambda: nn.functional.conv2d(maps, weight)
    while True:
        start = clock()
        for _ in range(10):
            run()
        yield (clock() - start) / 10 * flops / done


def flops_of_a_step(name: str, batch_size: int) -> float:
    """Count the floating-point operations of forward and backward pass."""
    windows, y = synthetic_windows(2)
    network = PlainNetwork(name)
    network(windows.unsqueeze(1))
    with FlopCounterMode(display=False) as counter:
        nn.functional.l1_loss(network(windows.unsqueeze(1)), y).backward()
    return counter.get_total_flops() / 2 * batch_size


def answer(
    connection: Any, threads: int, contender: Callable[..., Iterator[float]], *args: Any
) -> None:
    """Take one turn for each message, and send its seconds."""
    torch.set_num_threads(threads)
    torch.manual_seed(SEED)
    # other programs do not disturb the time of the processor
    clock = time.process_time if threads == 1 else time.perf_counter
    with torch.inference_mode() if contender is limit else nullcontext():
        turns = contender(clock, *args)
        while connection.recv():
            connection.send(next(turns))


def least_seconds(contenders: list[tuple[Any, ...]], threads: int, repeats: int) -> list[float]:
    """Return the least seconds of each contender; the first turn of each is not counted."""
    context = multiprocessing.get_context("spawn")
    ends, processes = [], []
    for contender in contenders:
        ours, theirs = context.Pipe()
        process = context.Process(target=answer, args=(theirs, threads, *contender), daemon=True)
        process.start()
        ends.append(ours)
        processes.append(process)
    seconds: list[list[float]] = [[] for _ in contenders]
    for turn in range(repeats + 1):
        for end, times in zip(ends, seconds, strict=True):
            end.send(True)
            times += [end.recv()] if turn else [end.recv()][:0]
    for end, process in zip(ends, processes, strict=True):
        end.send(False)
        process.join()
    return [min(times) for times in seconds]


def main() -> None:
    """Print ratios for both networks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--windows", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    options = parser.parse_args()
    print(
        f"{options.windows:,} synthetic windows of 4 channels and 256 times, seed {SEED}; "
        f"{options.threads} thread(s); least of {options.repeats} turns. Step and fit: times as "
        f"fast as the plain loop; then the seconds of fit over those of the step and of the limits."
    )
    print("| network | batch | step | fit | fit : step | fit : product | fit : convolution |")
    print("|---|---|---|---|---|---|---|")
    for name in options.networks:
        for size in options.batch_sizes:
            task = (name, size, options.windows)
            flops = flops_of_a_step(name, size)
            loop, step, short, long, product, convolution = least_seconds(
                [
                    (plain, *task),
                    (bare_step, *task),
                    (whole_fit, *task, 1),
                    (whole_fit, *task, 1 + options.epochs),
                    (limit, "product", flops),
                    (limit, "convolution", flops),
                ],
                options.threads,
                options.repeats,
            )
            fit = (long - short) / (options.epochs * -(-options.windows // size))
            print(
                f"| {name} | {size} | {loop / step:.2f} | {loop / fit:.2f} | {fit / step:.3f} "
                f"| {fit / product:.2f} | {fit / convolution:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
