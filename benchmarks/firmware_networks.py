"""The networks that benchmarks/firmware.py exports: the student of the paper, and a small one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pulsehr.firmware.graph import Conv, Dense, Graph, Layer, MeanPool, measure_ranges
from pulsehr.firmware.lowering import lower
from pulsehr.firmware.quantization import QuantizedGraph, quantize
from pulsehr.networks import DistilledStudent, RectifiedConv2d

SEED = 0

#: Windows of 4 signals and 256 samples: for the ranges, and of these for the runs.
N_CALIBRATION = 16
N_RUN = 3

#: A layer that only pulsehr's form of the small network has.
EXTRA_LAYER = "identity"


@dataclass(frozen=True, eq=False)
class Network:
    """One network in the forms that exporters take.

    Parameters
    ----------
    name : str
        In a table.
    module : nn.Sequential
        Of Conv2d, ReLU, AvgPool2d, Flatten and Linear.
    input_shape : tuple of 3 int
        Channels, height and width that the module takes.
    graph : QuantizedGraph
        The same in integers, by pulsehr.
    windows : ndarray of float32, shape (n_windows, 4, 256)
        Normalised windows.
    note : str
        What differs between the forms.
    """

    name: str
    module: nn.Sequential
    input_shape: tuple[int, int, int]
    graph: QuantizedGraph
    windows: NDArray[np.float32]
    note: str = ""

    @property
    def inputs(self) -> torch.Tensor:
        """Windows as the module takes them, (n_windows, *input_shape)."""
        return torch.from_numpy(self.windows).reshape(-1, *self.input_shape)

    @property
    def n_macs(self) -> int:
        """Multiplications of a window in `module`, those with padding too."""
        layers = (layer for layer in self.graph.layers if layer.name != EXTRA_LAYER)
        return sum(layer.layer.n_macs(layer.source_shape) for layer in layers)


def paper_student(published: Path | None = None) -> Network:
    """Return the student of the paper: random weights, or those published in a folder."""
    network = DistilledStudent().eval()
    windows = np.random.default_rng(SEED).normal(size=(N_CALIBRATION, 4, 256)).astype(np.float32)
    if published is None:
        _randomize(network)
    else:
        stored = np.load(published / "published_student_S6.npz")
        network.load_state_dict({k: torch.from_numpy(stored[k]) for k in stored if "." in k})
        real = np.load(published / "ppg_dalia_S6_stairs.npz")["normalised"]
        windows = real[:N_CALIBRATION].astype(np.float32)
    graph = lower(network, (4, 256))
    return Network(
        "student of the paper",
        _sequential(network),
        (1, 4, 256),
        quantize(graph, measure_ranges(graph, windows)),
        windows,
    )


def small_network() -> Network:
    """Return three dilated convolutions with pools, a mean and a dense layer."""
    module = nn.Sequential(
        *(nn.Conv2d(4, 8, (1, 5), padding=(0, 2)), nn.ReLU(), nn.AvgPool2d((1, 2))),
        *(nn.Conv2d(8, 16, (1, 5), dilation=(1, 2), padding=(0, 4)), nn.ReLU()),
        nn.AvgPool2d((1, 2)),
        *(nn.Conv2d(16, 16, (1, 3), dilation=(1, 4), padding=(0, 4)), nn.ReLU()),
        *(nn.AvgPool2d((1, 64)), nn.Flatten(), nn.Linear(16, 1)),
    ).eval()
    _randomize(module)
    layers = [_layer(str(i), part, module[i + 1 :]) for i, part in enumerate(module)]
    graph = Graph((4, 256), _with_rows_as_kernel([layer for layer in layers if layer is not None]))
    windows = np.random.default_rng(SEED).normal(size=(N_CALIBRATION, 4, 256)).astype(np.float32)
    return Network(
        "small network",
        module,
        (4, 1, 256),
        quantize(graph, measure_ranges(graph, windows)),
        windows,
        note="pulsehr: the signals are rows, and the first kernel covers all four. One layer more "
        "does nothing: a dense layer of 16 x 16 before the last.",
    )


def _layer(name: str, module: nn.Module, after: nn.Sequential) -> Layer | None:
    """Turn a module into a layer of a graph; a ReLU becomes part of the layer before."""
    relu = len(after) > 0 and isinstance(after[0], nn.ReLU)
    if isinstance(module, nn.Conv2d):
        weights = module.weight.detach().numpy().transpose(0, 2, 3, 1)
        bias = module.bias.detach().numpy()
        return Conv(f"conv{name}", weights, bias, module.dilation[1], module.padding[1], relu)
    if isinstance(module, nn.AvgPool2d):
        return MeanPool(f"pool{name}", module.kernel_size[1])
    if isinstance(module, nn.Linear):
        return Dense("out", module.weight.detach().numpy(), module.bias.detach().numpy())
    return None


def _with_rows_as_kernel(layers: list[Layer]) -> tuple[Layer, ...]:
    """Let the first kernel cover the four rows of a window; insert an identity before the end."""
    first, out = layers[0], layers[-1]
    assert isinstance(first, Conv)
    assert isinstance(out, Dense)
    identity = Dense(EXTRA_LAYER, np.eye(out.weights.shape[1]), np.zeros(out.weights.shape[1]))
    # (n_out, 1, width, n_in) to (n_out, n_in, width, 1)
    return (
        replace(first, weights=first.weights.transpose(0, 3, 2, 1)),
        *layers[1:-1],
        identity,
        out,
    )


def _sequential(network: DistilledStudent) -> nn.Sequential:
    """Lay a student out as plain layers of torch; dropout is left out."""
    parts: list[nn.Module] = []
    for module in network.children():
        if isinstance(module, nn.Conv2d):
            plain = nn.Conv2d(
                module.in_channels,
                module.out_channels,
                module.kernel_size,
                dilation=module.dilation,
                padding=module.padding,
            )
            plain.load_state_dict(module.state_dict())
            parts += [plain, nn.ReLU()] if isinstance(module, RectifiedConv2d) else [plain]
        elif isinstance(module, nn.AvgPool2d):
            # 256 times divide evenly: the rounding up of the student changes nothing
            parts.append(nn.AvgPool2d(module.kernel_size))
        elif isinstance(module, nn.Linear):
            parts += [module] if isinstance(parts[-1], nn.Linear) else [nn.Flatten(), module]
    return nn.Sequential(*parts).eval()


def _randomize(network: nn.Module) -> None:
    """Draw weights with which activations neither vanish nor explode; results near 90 bpm."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, values in network.named_parameters():
            values.normal_(0, (2 / values[0].numel()) ** 0.5, generator=generator)
            if name.endswith("bias"):
                values.mul_(0.1)
        *_, last = network.children()
        assert isinstance(last, nn.Linear)
        last.weight.mul_(10)
        last.bias.fill_(90)
