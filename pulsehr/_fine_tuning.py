"""Train a student further as the integers will run it, so that rounding costs less."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pulsehr._inference import layer_ranges, run_network
from pulsehr._state import network_of, network_weights
from pulsehr._training import Trained, train
from pulsehr._uncertainty import n_outputs
from pulsehr._validation import TrainingRows, generator
from pulsehr.distillation import absolute_errors
from pulsehr.firmware.lowering import lower
from pulsehr.firmware.quantization import WEIGHT_MAX, Format, quantize
from pulsehr.forms import RectifiedLinear, ScaledLinear
from pulsehr.networks import RectifiedConv2d

#: Learning rate of the fine-tuning, of that of the training: weights have little way to go.
LEARNING_RATE = 0.1

Ranges = dict[str, tuple[float, float]]
History = list[dict[str, float]]


def ready_for_integers(
    student: Any, trained: Trained, rows: TrainingRows, seed: int
) -> tuple[Trained, Ranges, History]:
    """Measure the ranges of a trained network and, if wanted, fine-tune it within them.

    The rounded network learns to give the heart rates (and scales) that the network gave before it
    was rounded; learning on from labels and teacher fits the training rows ever closer, which costs
    more than rounding does. The same rows are held out as in the training, and of all epochs the
    one is kept whose rounded network is nearest to the other on them. Ctrl-C before the end of the
    first one leaves the network as it was trained.

    Parameters
    ----------
    student : DistilledStudentRegressor
        Holds the hyper-parameters; read only.
    trained : Trained
        What its training left.
    rows : TrainingRows
        Those of the training.
    seed : int
        That of the training.

    Returns
    -------
    trained : Trained
        With the weights of the fine-tuning.
    ranges : dict of str to tuple of 2 float
        Between which values each layer's outputs lie before the fine-tuning, which clips to them.
    history : list of dict
        Of each epoch of the fine-tuning; losses are differences from the heart rates before.
    """
    ranges = layer_ranges(trained.network, rows.windows)
    if student.quantization_epochs == 0 or trained.interrupted:
        return trained, ranges, []
    tuner = copy.copy(student).set_params(
        max_epochs=student.quantization_epochs,
        lr=student.lr * LEARNING_RATE,
        lr_scheduler="cosine",
        dropout=0.0,
        augmentation=None,
        warm_start=True,
    )
    tuner.network_ = trained.network
    shape = rows.windows.shape[1:]
    form = partial(type(trained.network), n_outputs=n_outputs(trained.network))
    formats = formats_of(trained.network, shape, ranges)
    made = partial(rounded_student, form=form, formats=formats)
    heart_rate, _, *scales = run_network(trained.network, rows.windows)
    as_before = replace(rows, y=heart_rate)
    try:
        tuned = train(tuner, made, KeepLoss(), as_before, scales, generator(seed))
    except KeyboardInterrupt:
        return replace(trained, interrupted=True), ranges, []
    network = network_of(type(trained.network), shape, network_weights(tuned.network))
    trained = replace(trained, network=network, interrupted=tuned.interrupted)
    return trained, ranges, tuned.history


def formats_of(
    network: nn.Module, shape: tuple[int, int], ranges: Mapping[str, tuple[float, float]]
) -> dict[str, Format]:
    """Return the integers of "input" and of every layer's output, as the firmware has them."""
    graph = quantize(lower(network, shape), ranges)
    return {"input": graph.input_format, **{layer.name: layer.target for layer in graph.layers}}


class KeepLoss(nn.Module):
    """How far a network is from the heart rates and, if it has them, log-scales before.

    A heart rate that is off by 1 bpm counts as much as a scale that is off by a factor of e.
    """

    def forward(self, output: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Tensor:
        """Compare with heart rates (n,), and with log-scales (n,) after the weights (n,)."""
        bpm, weights, *log_scales = targets
        difference = absolute_errors(output, bpm)
        for found, before in zip(output[2:], log_scales, strict=True):
            difference = difference + (found - before).abs()
        return (weights * difference).mean()


def rounded_student(
    n_channels: int,
    n_times: int,
    filters: tuple[int, int, int],
    dropout: float,
    form: Callable[..., nn.Module],
    formats: Mapping[str, Format],
) -> nn.Module:
    """Build a student whose weights, activations and means are rounded as those of the firmware.

    Gradients pass the rounding as if it were not there, and stop where values are clipped ([1]_).

    Parameters
    ----------
    n_channels, n_times : int
        Shape of a window.
    filters : tuple of 3 int
        Output channels of the blocks.
    dropout : float
        Dropout after each pool.
    form : callable
        Builds the student of the parameters so far.
    formats : mapping of str to Format
        Integers of "input" and of every layer's output.

    Returns
    -------
    nn.Module
        With weights under the names of the student.

    References
    ----------
    .. [1] Jacob et al., Quantization and Training of Neural Networks for Efficient
       Integer-Arithmetic-Only Inference, CVPR 2018.
    """
    network = form(n_channels, n_times, filters, dropout)
    for name, module in list(network.named_children()):
        if type(module) in _ROUNDED:
            setattr(network, name, _ROUNDED[type(module)](module, formats[name]))
    # the first layer rounds what it is given, too
    network.get_submodule("conv11").register_forward_pre_hook(
        lambda _, inputs: rounded(inputs[0], formats["input"])
    )
    return network


def rounded(values: Tensor, form: Format) -> Tensor:
    """Round and clip to the real values that integers of a format stand for."""
    return torch.fake_quantize_per_tensor_affine(
        values, form.scale, form.zero_point, form.low, form.high
    )


def rounded_weights(weights: Tensor) -> Tensor:
    """Round weights (n_out, ...) to 127 steps on either side, those of each output alike."""
    scales = weights.detach().flatten(1).abs().amax(1) / WEIGHT_MAX
    scales = scales.clamp_min(torch.finfo(scales.dtype).tiny)
    zeros = torch.zeros_like(scales, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(
        weights, scales, zeros, 0, -WEIGHT_MAX, WEIGHT_MAX
    )


class _Rounded(nn.Module):
    """A layer with the weights of another under their own names, rounded."""

    gain: Tensor

    def __init__(self, layer: Any, target: Format) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.target = target
        # a list hides the layer, whose weights would count twice
        self.layer = [layer]


class _RoundedConv(_Rounded):
    def forward(self, x: Tensor) -> Tensor:
        (layer,) = self.layer
        y = layer._conv_forward(x, rounded_weights(self.weight), self.bias)
        if isinstance(layer, RectifiedConv2d):
            y = torch.relu(y)
        return rounded(y, self.target)


class _RoundedLinear(_Rounded):
    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.linear(x, rounded_weights(self.weight), self.bias)
        if isinstance(self.layer[0], RectifiedLinear):
            y = torch.relu(y)
        # the outputs have steps far finer than the loss can tell
        return y if self.target.bits > 16 else rounded(y, self.target)


class _RoundedScaledLinear(_RoundedLinear):
    def __init__(self, layer: ScaledLinear, target: Format) -> None:
        super().__init__(layer, target)
        self.register_buffer("gain", layer.gain)

    def forward(self, x: Tensor) -> Tensor:
        # steps of the weights are those of each output, so that a gain moves none of them
        values: Tensor = super().forward(x) * self.gain
        return values


class _RoundedMeanPool(nn.Module):
    def __init__(self, pool: nn.AvgPool2d, target: Format) -> None:
        super().__init__()
        self.pool, self.target = pool, target

    def forward(self, x: Tensor) -> Tensor:
        means = self.pool(x)
        with torch.no_grad():
            # whole numbers, whose means the float type holds where there are ties
            steps = self.pool(torch.round(x / self.target.scale)) + self.target.zero_point
            # halves away from zero, as the integers of the firmware
            whole = torch.sign(steps) * torch.floor(steps.abs() + 0.5) - self.target.zero_point
            moved = whole * self.target.scale - means
        return means + moved


_ROUNDED: dict[type[nn.Module], Any] = {
    RectifiedConv2d: _RoundedConv,
    nn.Conv2d: _RoundedConv,
    nn.AvgPool2d: _RoundedMeanPool,
    nn.Linear: _RoundedLinear,
    RectifiedLinear: _RoundedLinear,
    ScaledLinear: _RoundedScaledLinear,
}
