"""The torch modules of teacher and student, nothing else.

Both take windows ``(n_windows, n_channels, n_times)``, channel 0 the PPG, and slide one shared
stack of convolutions along every channel; only the step after the stack lets channels meet.
Layer names are those of the published checkpoints. ``forward`` returns the heart rate in bpm,
``(n_windows,)``, and the features that it is a linear function of, ``(n_windows, 32)``.
"""

from __future__ import annotations

from math import gcd

import torch
from torch import Tensor, nn

N_FEATURES = 32
MAX_HEADS = 4


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


class _SharedConvolutions(nn.Module):
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
                self.add_module(f"conv{block}{layer}", convolution)
                before = width
            self.add_module(f"pool{block}", nn.AvgPool2d((1, pool), ceil_mode=True))
        self.dropout = nn.Dropout(dropout)

    def convolve(self, windows: Tensor) -> Tensor:
        """Map (n, n_channels, n_times) to (n, filters[2], n_channels, n_pooled)."""
        if len(windows) == 1 and not self.training:
            # a batch of one takes another path, which rounds differently
            return self.convolve(windows.expand(2, -1, -1))[:1]
        x = windows.unsqueeze(1).to(memory_format=torch.channels_last)
        for block in (1, 2, 3):
            for layer in (1, 2, 3):
                x = self.get_submodule(f"conv{block}{layer}")(x)
            x = self.dropout(self.get_submodule(f"pool{block}")(x))
        return x

    def n_pooled(self, n_times: int) -> int:
        """Count the time steps after the last pool."""
        for pool in self.pools:
            n_times = -(-n_times // pool)
        return n_times


class PulseTeacher(_SharedConvolutions):
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
    """

    def __init__(
        self,
        n_channels: int = 4,
        n_times: int = 256,
        filters: tuple[int, int, int] = (32, 48, 64),
        dropout: float = 0.5,
    ) -> None:
        super().__init__(filters, 5, (2, 2, 2), (4, 2, 2), dropout)
        length = self.n_pooled(n_times)
        self.multihead_attn = nn.MultiheadAttention(
            embed_dim=length, num_heads=gcd(length, MAX_HEADS), batch_first=True
        )
        # one value normalised is a constant: windows of up to 16 times keep theirs
        self.layer_norm = nn.LayerNorm(length) if length > 1 else nn.Identity()
        self.dense = nn.Linear(filters[-1] * length, N_FEATURES)
        self.out = nn.Linear(N_FEATURES, 1)

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Return bpm (n,) and features (n, 32) of windows (n, n_channels, n_times)."""
        return self.head(self.convolve(windows))

    def head(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return bpm (n,) and features (n, 32) of maps (n, filters[2], n_channels, n_pooled)."""
        query = maps[:, :, 0]
        others = maps[:, :, 1:] if maps.shape[2] > 1 else maps
        # tokens ordered modality by modality: (n, (n_channels - 1) * filters, length)
        keys = others.transpose(1, 2).flatten(1, 2)
        attended, _ = self.multihead_attn(query, keys, keys, need_weights=False)
        features = self.dense(self.layer_norm(attended).flatten(1))
        return self.out(features).squeeze(1), features


class DistilledStudent(_SharedConvolutions):
    """Shared temporal convolutions and one convolution across the modalities.

    Parameters
    ----------
    n_channels, n_times : int
        Shape of a window.
    filters : tuple of 3 int
        Output channels of the blocks.
    dropout : float
        Dropout after each pool.
    """

    def __init__(
        self,
        n_channels: int = 4,
        n_times: int = 256,
        filters: tuple[int, int, int] = (16, 24, 32),
        dropout: float = 0.1,
    ) -> None:
        super().__init__(filters, 3, (2, 3, 4), (4, 4, 2), dropout)
        self.conv4 = nn.Conv2d(filters[-1], filters[-1], kernel_size=(n_channels, 1))
        self.dense = nn.Linear(filters[-1] * self.n_pooled(n_times), N_FEATURES)
        self.out = nn.Linear(N_FEATURES, 1)

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Return bpm (n,) and features (n, 32) of windows (n, n_channels, n_times)."""
        return self.head(self.convolve(windows))

    def head(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return bpm (n,) and features (n, 32) of maps (n, filters[2], n_channels, n_pooled)."""
        features = self.dense(self.conv4(maps).flatten(1))
        return self.out(features).squeeze(1), features
