"""The torch modules of teacher and student, nothing else.

Both take windows ``(n_windows, n_channels, n_times)``, channel 0 the PPG, and slide one shared
stack of convolutions along every channel; only the step after the stack lets channels meet.
Layer names are those of the published checkpoints. ``forward`` returns the heart rate in bpm,
``(n_windows,)``, and the features that it is a linear function of, ``(n_windows, 32)``; with two
outputs also the logarithm of the scale of a Laplace distribution around it, ``(n_windows,)``. It is
``convolve``, which holds nearly all the arithmetic, then ``head``, which is small enough for
float64.

Dropout and attention have a form of their own in training, which is faster on a CPU. These are the
paper's forms; `pulsehr.forms` holds others.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd, sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

N_FEATURES = 32
MAX_HEADS = 4

#: Bounds of the logarithm of a Laplace distribution's scale (bpm): 0.2 to 90 bpm. Beyond, a few
#: windows would rule the loss, or be given up.
LOG_SCALE_BOUNDS = (-1.5, 4.5)

#: Standard deviation of a Laplace distribution of scale 1.
STD_OF_LAPLACE = sqrt(2)


def sparse_dropout(maps: Tensor, p: float, generator: torch.Generator | None = None) -> Tensor:
    """Set a share `p` of values to zero and scale the others to the same mean.

    Spends 16 random bits on a value, where torch's own dropout draws a double on one thread.

    Parameters
    ----------
    maps : Tensor of shape (n, n_filters, n_channels, n_times)
        On a CPU, best in memory as channels last.
    p : float
        Share from 0 to below 1, rounded to the next ``1 / 65536``.
    generator : torch.Generator, default=None
        Source of the bits; None: torch's own.

    Returns
    -------
    Tensor of the same shape
        The maps after dropout.
    """
    dropped = min(round(p * 2**16), 2**16 - 1)
    bits = torch.empty(-(-maps.numel() // 4), dtype=torch.int64)
    bits = bits.random_(-(2**63), None, generator=generator).view(torch.int16)[: maps.numel()]
    # writing the comparison as numbers at once spares two slow conversions
    kept = torch.ge(bits, dropped - 2**15, out=torch.empty(maps.numel(), dtype=maps.dtype))
    kept.mul_(2**16 / (2**16 - dropped))
    n, n_filters, n_channels, n_times = maps.shape
    return maps * kept.view(n, n_channels, n_times, n_filters).permute(0, 3, 1, 2)


def split_outputs(values: Tensor, features: Tensor) -> tuple[Tensor, ...]:
    """Return what ``forward`` does, of the values (n, 1 or 2) of the last layer."""
    if values.shape[1] == 1:
        return values.squeeze(1), features
    bpm, log_scale = values.unbind(1)
    return bpm, features, log_scale.clamp(*LOG_SCALE_BOUNDS)


class _Attention(torch.autograd.Function):
    """Attention of narrow heads, whose products are laid out so that the long side is the row.

    A head is only a few values wide. A product with so few columns takes longer than its
    transpose with so few rows, and automatic differentiation cannot choose.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend from query (n, t, d) to key and value (n, s, d): (n, t, d)."""
        shares = (query @ key.mT).softmax(2)
        ctx.save_for_backward(query, key, value, shares)
        return (value.mT @ shares.mT).mT

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of query, key and value."""
        (grad,) = grads
        query, key, value, shares = ctx.saved_tensors
        scores = (grad @ value.mT).mul_(shares)  # and now through the softmax
        scores.addcmul_(shares, scores.sum(2, keepdim=True), value=-1)
        return (key.mT @ scores.mT).mT, (query.mT @ scores).mT, (grad.mT @ shares).mT


def attend(attention: nn.MultiheadAttention, query: Tensor, others: Tensor) -> Tensor:
    """Attend as the module does, faster in training.

    Parameters
    ----------
    attention : nn.MultiheadAttention
        Holds the weights; batch first, without dropout.
    query : Tensor of shape (n, t, embed_dim)
        The tokens that ask.
    others : Tensor of shape (n, s, embed_dim)
        The tokens that are key and value.

    Returns
    -------
    Tensor of shape (n, t, embed_dim)
        As ``attention(query, others, others, need_weights=False)[0]``.
    """
    heads, width = attention.num_heads, attention.head_dim
    (n, t, embedding), s = query.shape, others.shape[1]
    of_query, of_others = attention.in_proj_weight.split([embedding, 2 * embedding])
    bias_query, bias_others = attention.in_proj_bias.split([embedding, 2 * embedding])
    asked = linear(query, of_query, bias_query).view(n, t, heads, width) * width**-0.5
    key, value = linear(others, of_others, bias_others).view(n, s, 2, heads, width).unbind(2)
    tokens = [x.transpose(1, 2).flatten(0, 1) for x in (asked, key, value)]
    attended: Tensor = _Attention.apply(*tokens)
    merged = attended.view(n, heads, t, width).transpose(1, 2).flatten(2)
    return linear(merged, attention.out_proj.weight, attention.out_proj.bias)


class RectifiedConv2d(nn.Conv2d):
    """A convolution and the ReLU after it, initialised to keep the variance ([1]_).

    Torch's own initialisation shrinks the signal from layer to layer: after nine of them the
    output hardly depends on the window, and the first epochs are lost on a constant.

    References
    ----------
    .. [1] He, Zhang, Ren, Sun, Delving Deep into Rectifiers, ICCV 2015.
    """

    def reset_parameters(self) -> None:
        """Draw weights with a variance of two over the number of inputs."""
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and rectify."""
        return torch.relu_(super().forward(x))


class SharedConvolutions(nn.Module):
    """Three blocks of three convolutions along time, each block ending in a mean pool.

    Parameters
    ----------
    filters : tuple of 3 int
        Output channels of each block.
    kernel : int
        Taps of every convolution.
    dilations, pools : tuple of 3 int
        Dilation and pooling factor of each block.
    dropout : float
        Dropout after each pool.
    """

    #: What a network does with the maps, which lets the channels meet.
    head: Callable[[Tensor], tuple[Tensor, ...]]

    #: Name of the form, by which it is stored.
    form = "paper"

    def __init__(
        self,
        filters: tuple[int, int, int],
        kernel: int,
        dilations: tuple[int, int, int],
        pools: tuple[int, int, int],
        dropout: float,
    ) -> None:
        super().__init__()
        self.pools = pools
        #: Names of the layers that `convolve` runs.
        self.stack: list[str] = []
        before = 1
        for block, (width, dilation, pool) in enumerate(
            zip(filters, dilations, pools, strict=True), 1
        ):
            for layer in (1, 2, 3):
                convolution = RectifiedConv2d(
                    before,
                    width,
                    kernel_size=(1, kernel),
                    dilation=(1, dilation),
                    padding=(0, dilation * (kernel - 1) // 2),
                )
                self._stack_up(f"conv{block}{layer}", convolution)
                before = width
            self._stack_up(f"pool{block}", nn.AvgPool2d((1, pool), ceil_mode=True))
        self.dropout = nn.Dropout(dropout)

    def _stack_up(self, name: str, module: nn.Module) -> None:
        self.add_module(name, module)
        self.stack.append(name)

    def forward(
        self, windows: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, ...]:
        """Return bpm (n,), features (n, 32) and, with two outputs, log-scale (n,) of windows."""
        return self.head(self.convolve(windows, generator))

    def convolve(self, windows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Map (n, n_channels, n_times) to (n, filters[2], n_channels, n_pooled).

        In training the generator draws what is dropped. In evaluation a window gives the same
        bits whatever the number of windows.
        """
        if len(windows) == 1 and not self.training:
            # other code runs for a single window, and it rounds otherwise
            return self.convolve(windows.expand(2, -1, -1))[:1]
        x = windows.unsqueeze(1).to(memory_format=torch.channels_last)
        for block in (1, 2, 3):
            for layer in (1, 2, 3):
                x = self.get_submodule(f"conv{block}{layer}")(x)
            x = self._drop(self.get_submodule(f"pool{block}")(x), generator)
        return x

    def _drop(self, maps: Tensor, generator: torch.Generator | None) -> Tensor:
        if self.training and self.dropout.p and maps.device.type == "cpu":
            return sparse_dropout(maps, self.dropout.p, generator)
        return self.dropout(maps)

    def n_pooled(self, n_times: int) -> int:
        """Count the time steps after the last pool."""
        for pool in self.pools:
            n_times = -(-n_times // pool)
        return n_times


class PulseTeacher(SharedConvolutions):
    """PULSE: shared temporal convolutions and a cross-attention from PPG to acceleration.

    The tokens are the feature maps and the embedding is time: PPG maps are the query, maps of
    the other channels key and value. With one channel the PPG attends to itself. Four heads,
    or as many as divide the pooled length.

    Parameters
    ----------
    n_channels, n_times : int
        Shape of a window.
    filters : tuple of 3 int
        Output channels of the blocks.
    dropout : float
        Dropout after each pool.
    n_outputs : {1, 2}
        1: the heart rate. 2: also the logarithm of the scale.
    """

    def __init__(
        self,
        n_channels: int = 4,
        n_times: int = 256,
        filters: tuple[int, int, int] = (32, 48, 64),
        dropout: float = 0.5,
        n_outputs: int = 1,
    ) -> None:
        super().__init__(filters, 5, (2, 2, 2), (4, 2, 2), dropout)
        length = self.n_pooled(n_times)
        self.multihead_attn = nn.MultiheadAttention(
            embed_dim=length, num_heads=gcd(length, MAX_HEADS), batch_first=True
        )
        # the norm of a single value would be a constant
        self.layer_norm = nn.LayerNorm(length) if length > 1 else nn.Identity()
        self.dense = nn.Linear(filters[-1] * length, N_FEATURES)
        self.out = nn.Linear(N_FEATURES, n_outputs)

    def head(self, maps: Tensor) -> tuple[Tensor, ...]:
        """Return what `forward` does of maps (n, filters[2], n_channels, n_pooled)."""
        query = maps[:, :, 0]
        others = maps[:, :, 1:] if maps.shape[2] > 1 else maps
        # tokens ordered modality by modality: (n, (n_channels - 1) * filters, length)
        keys = others.transpose(1, 2).flatten(1, 2)
        if self.training:
            attended = attend(self.multihead_attn, query, keys)
        else:
            attended, _ = self.multihead_attn(query, keys, keys, need_weights=False)
        features = self.dense(self.layer_norm(attended).flatten(1))
        return split_outputs(self.out(features), features)


class DistilledStudent(SharedConvolutions):
    """Shared temporal convolutions and one convolution across the modalities.

    Parameters
    ----------
    n_channels, n_times : int
        Shape of a window.
    filters : tuple of 3 int
        Output channels of the blocks.
    dropout : float
        Dropout after each pool.
    n_outputs : {1, 2}
        1: the heart rate. 2: also the logarithm of the scale.
    """

    def __init__(
        self,
        n_channels: int = 4,
        n_times: int = 256,
        filters: tuple[int, int, int] = (16, 24, 32),
        dropout: float = 0.1,
        n_outputs: int = 1,
    ) -> None:
        super().__init__(filters, 3, (2, 3, 4), (4, 4, 2), dropout)
        self.conv4 = nn.Conv2d(filters[-1], filters[-1], kernel_size=(n_channels, 1))
        self.dense = nn.Linear(filters[-1] * self.n_pooled(n_times), N_FEATURES)
        self.out = nn.Linear(N_FEATURES, n_outputs)

    def head(self, maps: Tensor) -> tuple[Tensor, ...]:
        """Return what `forward` does of maps (n, filters[2], n_channels, n_pooled)."""
        features = self.dense(self.conv4(maps).flatten(1))
        return split_outputs(self.out(features), features)
