"""Random students and windows for the tests of the firmware."""

from __future__ import annotations

import numpy as np
import torch

from pulsehr.networks import DistilledStudent

#: Shapes with every kind of remainder in the pools, and the paper's.
SHAPES = [(1, 16), (2, 100), (4, 250), (3, 1), (1, 37), (4, 256)]


def random_student(
    n_channels: int, n_times: int, filters: tuple[int, int, int] = (16, 24, 32), seed: int = 0
) -> DistilledStudent:
    """Build a student whose activations neither vanish nor explode."""
    network = DistilledStudent(n_channels, n_times, filters).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, values in network.named_parameters():
            fan_in = values[0].numel()
            values.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
            if name.endswith("bias"):
                values.mul_(0.1)
        network.out.weight.mul_(10)
        network.out.bias.fill_(90)
    return network


def random_windows(n: int, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)
