"""Alter the windows of a training batch, each time anew, and what is to be learnt of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf, log1p
from typing import Any

import torch
from torch import Tensor

from pulsehr.recordings import is_number

#: Share of windows that `stretch` leaves as they are: the network also meets true ones.
UNSTRETCHED = 0.3

#: Heart rates (bpm) that `stretch` does not leave.
LOWEST, HIGHEST = 30.0, 220.0

#: Cubic convolution: weights of four samples by powers 0 to 3 of the place between the inner
#: two (Keys, Cubic Convolution Interpolation for Digital Image Processing, IEEE ASSP 1981).
KEYS = ((0.0, 1.0, 0.0, 0.0), (-0.5, 0.0, 0.5, 0.0), (1.0, -2.5, 2.0, -0.5), (-0.5, 1.5, -1.5, 0.5))

#: Shortest and longest part of a window without contact, and how far (in standard deviations of
#: the PPG) from its mean the PPG stays meanwhile. Chosen by us, as are the next two.
CONTACT_SHARES, CONTACT_LEVEL = (1 / 16, 1 / 3), 2.0

#: Samples by which the motion reaches the PPG later, at most.
ARTEFACT_TAPS = 5

#: Standard deviation of the artefact of a motion far above the batch's mean, in those of the PPG.
ARTEFACT_LEVEL = 3.0

#: A PPG with less than this share of the spread that it had counts as flat.
_FLAT = 1e-6


def augmented(
    windows: Tensor,
    targets: Sequence[Tensor],
    augmentation: Mapping[str, float],
    generator: torch.Generator,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Alter a batch.

    A teacher has seen the windows as they were. What it said of a heart rate changes as the
    label does. Its features of a window are compared with those of the altered one, which is to
    look the same to the student, unless the heart rate is another: then they do not count.

    Parameters
    ----------
    windows : Tensor of shape (n_windows, n_channels, n_times)
        On a CPU; not changed.
    targets : sequence of Tensor of shape (n_windows, ...)
        Labels (bpm) and weights, and of a teacher heart rates (bpm), features, and how much the
        features count.
    augmentation : mapping of str to float
        Strengths of some of `AUGMENTATIONS`, which come in the order of that table.
    generator : torch.Generator
        Source of all draws, on a CPU.

    Returns
    -------
    windows : Tensor of shape (n_windows, n_channels, n_times)
        Altered.
    targets : tuple of Tensor of shape (n_windows, ...)
        In the order they came.
    """
    y, weights, *lessons = targets
    heart_rate = y
    for name, (alter, _) in AUGMENTATIONS.items():
        if augmentation.get(name):
            strength = float(augmentation[name])
            windows, heart_rate = alter(windows, heart_rate, strength, generator)
    if lessons:
        same = heart_rate == y
        bpm, features, counts = lessons
        lessons = [torch.where(same, bpm, bpm * heart_rate / y), features, counts * same]
    return windows, (heart_rate, weights, *lessons)


def is_augmentation(value: Any) -> bool:
    """Tell whether `augmentation` may be so."""
    return value is None or (
        isinstance(value, dict)
        and all(
            name in AUGMENTATIONS
            and is_number(strength)
            and 0 <= strength <= AUGMENTATIONS[name][1]
            for name, strength in value.items()
        )
    )


def stretch(
    windows: Tensor, heart_rate: Tensor, strength: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Let time run faster or slower by up to ``1 + strength``, and the heart with it.

    The end of the window stays where it is; where a faster window needs more past than there
    is, the past is reflected. The factor is uniform in its logarithm, and such that a heart rate
    from 30 to 220 bpm stays so; windows of other heart rates stay as they are. All channels keep
    their mean and the PPG its standard deviation, whichever way they were normalised.
    """
    n, _, n_times = windows.shape
    u, v = torch.rand(2, n, generator=generator)
    factor = torch.exp((2 * u - 1) * log1p(strength))
    factor = torch.minimum(torch.maximum(factor, LOWEST / heart_rate), HIGHEST / heart_rate)
    kept = (v < UNSTRETCHED) | (heart_rate < LOWEST) | (heart_rate > HIGHEST)
    factor = torch.where(kept, 1.0, factor)
    last = n_times - 1
    places = (last - torch.arange(last, -1, -1) * factor[:, None]).abs()
    stretched = _at(windows, places)
    stretched += windows.mean(2, keepdim=True) - stretched.mean(2, keepdim=True)
    stretched[:, 0] = _as_before(stretched[:, 0], windows[:, 0])
    return torch.where((factor == 1)[:, None, None], windows, stretched), heart_rate * factor


def cadence(
    windows: Tensor, heart_rate: Tensor, strength: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Add the motion of another window of the batch, with a share `strength` of windows.

    The accelerations add up, and an artefact of the motion that is added, through a random
    filter, is added to the PPG: the more, the stronger the motion is beside that of the others.
    So rhythms of motion meet heart rates that they do not come with in the recordings.
    """
    n, n_channels, _ = windows.shape
    if n_channels == 1:
        return windows, heart_rate
    ppg, acc = windows[:, 0], windows[:, 1:]
    motion = (acc - acc.mean(2, keepdim=True)).roll(1, 0)
    chosen = torch.rand(n, 1, generator=generator) < strength
    taps = torch.randn(n, n_channels - 1, ARTEFACT_TAPS, generator=generator)
    level = ARTEFACT_LEVEL * torch.rand(n, 1, generator=generator)
    padded = torch.nn.functional.pad(motion, (ARTEFACT_TAPS - 1, 0), mode="replicate")
    artefact = torch.nn.functional.conv1d(padded.flatten(0, 1), taps, groups=n)
    force = motion.square().mean((1, 2)).sqrt()[:, None]
    level = level * force / (force + force.mean()).clamp_min(torch.finfo(force.dtype).tiny)
    disturbed = ppg + level * _spread(ppg) * artefact / _spread(artefact).clamp_min(_FLAT)
    moved = torch.cat([_as_before(disturbed, ppg)[:, None], acc + motion], 1)
    return torch.where(chosen[:, :, None], moved, windows), heart_rate


def rotate(
    windows: Tensor, heart_rate: Tensor, strength: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Turn the acceleration of a share `strength` of windows, as if the sensor sat otherwise.

    All rotations are equally likely. Without three axes nothing changes.
    """
    n, n_channels, _ = windows.shape
    if n_channels != 4:
        return windows, heart_rate
    chosen = torch.rand(n, 1, generator=generator) < strength
    quaternion = torch.nn.functional.normalize(torch.randn(n, 4, generator=generator))
    real, axis = (quaternion * chosen)[:, :, None].split([1, 3], 1)
    acc = windows[:, 1:]
    cross = torch.linalg.cross
    turned = acc + 2 * cross(axis, cross(axis, acc, dim=1) + real * acc, dim=1)
    return torch.cat([windows[:, :1], turned], 1), heart_rate


def gain(
    windows: Tensor, heart_rate: Tensor, strength: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Scale the acceleration by a factor whose logarithm has standard deviation `strength`."""
    factor = torch.exp(strength * torch.randn(len(windows), 1, 1, generator=generator))
    return torch.cat([windows[:, :1], windows[:, 1:] * factor], 1), heart_rate


def contact(
    windows: Tensor, heart_rate: Tensor, strength: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Let the sensor lose the skin for a while, in a share `strength` of windows.

    The PPG stays at some level for a sixteenth to a third of the window.
    """
    n, _, n_times = windows.shape
    chosen, length, start = torch.rand(3, n, 1, generator=generator)
    shortest, longest = CONTACT_SHARES
    length = n_times * (shortest + (longest - shortest) * length)
    since = torch.arange(n_times) - start * (n_times - length)
    lost = (since >= 0) & (since < length) & (chosen < strength)
    ppg = windows[:, 0]
    level = CONTACT_LEVEL * torch.randn(n, 1, generator=generator) * _spread(ppg)
    return _with_ppg(windows, torch.where(lost, ppg.mean(1, keepdim=True) + level, ppg)), heart_rate


def noise(
    windows: Tensor, heart_rate: Tensor, strength: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Add white noise of up to `strength` standard deviations of the PPG to it."""
    ppg = windows[:, 0]
    level = strength * torch.rand(len(ppg), 1, generator=generator) * _spread(ppg)
    return _with_ppg(windows, ppg + level * torch.randn(ppg.shape, generator=generator)), heart_rate


def polarity(
    windows: Tensor, heart_rate: Tensor, strength: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Turn the PPG of a share `strength` of windows upside down: devices differ in its sign."""
    chosen = torch.rand(len(windows), 1, generator=generator) < strength
    ppg = windows[:, 0]
    mean = ppg.mean(1, keepdim=True)
    turned = torch.where(chosen, 2 * mean - ppg, ppg)
    return torch.cat([turned[:, None], windows[:, 1:]], 1), heart_rate


#: What `augmentation` may name: a function and the largest strength. The order is that of the
#: world: a heart and a body, the sensor on the skin, its electronics.
AUGMENTATIONS: dict[str, tuple[Callable[..., tuple[Tensor, Tensor]], float]] = {
    "stretch": (stretch, 1.0),
    "cadence": (cadence, 1.0),
    "rotate": (rotate, 1.0),
    "gain": (gain, inf),
    "contact": (contact, 1.0),
    "noise": (noise, inf),
    "polarity": (polarity, 1.0),
}

#: For the message of an error.
EXPECTED = "None or a dict of " + ", ".join(
    f"'{name}' ({'a number >= 0' if highest == inf else 'a number from 0 to 1'})"
    for name, (_, highest) in AUGMENTATIONS.items()
)


def _at(windows: Tensor, places: Tensor) -> Tensor:
    """Interpolate windows (n, n_channels, n_times) at places (n, n_places) between samples."""
    n, n_channels, n_times = windows.shape
    before = places.floor()
    between = places - before
    weights = torch.stack([between**power for power in range(4)], 2) @ torch.tensor(KEYS)
    values = windows.new_zeros(n, n_channels, places.shape[1])
    for offset, weight in zip((-1, 0, 1, 2), weights.unbind(2), strict=True):
        samples = (before.long() + offset).clamp(0, n_times - 1)
        taken = windows.gather(2, samples[:, None].expand(-1, n_channels, -1))
        values.addcmul_(taken, weight[:, None])
    return values


def _spread(ppg: Tensor) -> Tensor:
    """Return the standard deviation (n, 1) of each row (n, n_times)."""
    return ppg.std(1, correction=0, keepdim=True)


def _as_before(ppg: Tensor, before: Tensor) -> Tensor:
    """Give each row (n, n_times) the mean and the standard deviation that it had before."""
    centred = ppg - ppg.mean(1, keepdim=True)
    spread, wanted = _spread(ppg), _spread(before)
    scale = torch.where(spread > _FLAT * wanted, wanted / spread, 1.0)
    return centred * scale + before.mean(1, keepdim=True)


def _with_ppg(windows: Tensor, ppg: Tensor) -> Tensor:
    """Return windows with another PPG (n, n_times), normalised as the old one was."""
    return torch.cat([_as_before(ppg, windows[:, 0])[:, None], windows[:, 1:]], 1)
