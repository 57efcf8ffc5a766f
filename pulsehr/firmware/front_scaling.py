"""How the values of a signal become the int8 input of the network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pulsehr.firmware.front_filters import ACC_REACH
from pulsehr.firmware.quantization import Format

#: What the PPG of a window is reduced to span less than, before its squares are summed.
SPAN = 1 << 15

#: Bits below which sums with an offset stay, and the largest shift, so that 64 bits suffice.
SUM_BITS = 62
MAX_SHIFT = 54

#: Bits of a variance, of which the upper 32 are used.
VARIANCE_BITS = 64


@dataclass(frozen=True)
class Scaling:
    """How a value becomes an int8: ``(value * multiplier + offset) >> shift``, saturated.

    Parameters
    ----------
    multiplier : int
        Positive, of 32 bits with its sign.
    shift : int
        From 1 to 54.
    offset : int
        Under 2**62; holds the zero point and the half that rounds.
    """

    multiplier: int
    shift: int
    offset: int


def channel_scalings(
    windower: Any, input_format: Format, steps: tuple[float, float], ppg_reach: int
) -> tuple[Scaling, ...]:
    """Fold unit, normalisation and quantization of each channel into one multiplication.

    Parameters
    ----------
    windower : PPGWindower
        Fitted, with any `normalize`.
    input_format : Format
        Integers of the network's input.
    steps : tuple of 2 float
        What one step in the ring of the PPG, and of the acceleration, stands for.
    ppg_reach : int
        Largest magnitude in the ring of the PPG.

    Returns
    -------
    tuple of Scaling
        One for each channel, as `FrontEnd` holds them.

    Raises
    ------
    ValueError
        If integers of 64 bits do not suffice.
    """
    n_times = round(windower.window * windower.sampling_rate)
    scalings = []
    for channel in range(windower.n_channels_):
        if channel == 0 and windower.normalize == "window":
            scalings.append(_variance_scaling(n_times, input_format))
            continue
        step, reach = (steps[0], ppg_reach) if channel == 0 else (steps[1], ACC_REACH)
        mean, scale = 0.0, 1.0
        if windower.normalize == "channel":
            mean, scale = float(windower.mean_[channel]), float(windower.scale_[channel])
        if windower.normalize == "window":
            step, reach = step / n_times, 2 * reach * n_times
        scale *= input_format.scale
        offset = input_format.zero_point - mean / scale
        scalings.append(_scaling(channel, step / scale, offset, reach))
    return tuple(scalings)


def _scaling(channel: int, ratio: float, offset: float, reach: int) -> Scaling:
    """Write ``value * ratio + offset`` for values up to `reach` with the finest integers."""
    largest = ratio * reach + abs(offset) + 1.0
    shift = min(
        MAX_SHIFT,
        math.floor(math.log2((2**31 - 1) / ratio)) if ratio < 2**31 else 0,
        math.floor(SUM_BITS - math.log2(largest)) if largest < 2**SUM_BITS else 0,
    )
    if shift < 1:
        raise ValueError(
            f"to_microcontroller: one count of channel {channel} is {ratio:.3g} steps of the "
            f"network's input, more than integers of 64 bits can scale: check ppg_step, acc_step"
        )
    whole = round(offset * (1 << shift)) + (1 << (shift - 1))
    return Scaling(round(ratio * (1 << shift)), shift, whole)


def _variance_scaling(n_times: int, input_format: Format) -> Scaling:
    """Write the steps of one standard deviation as a numerator of 31 bits and a shift.

    The shift is that for a variance of 2**64, of whose root 16 bits divide the numerator.
    """
    fraction, exponent = math.frexp(1 / input_format.scale)
    shift = 47 - exponent
    # a window whose samples are all but one the same, and one of two halves
    least, most = n_times - 1, (n_times * (SPAN - 1)) ** 2 // 4
    shifts = [shift - (VARIANCE_BITS - squares.bit_length()) // 2 for squares in (least, most)]
    if min(shifts) < 1 or max(shifts) > MAX_SHIFT:
        raise ValueError(
            f"to_microcontroller: the scale {input_format.scale:g} of the network's input is out "
            f"of range for integers: was the student fitted on normalised windows?"
        )
    return Scaling(min(round(fraction * 2**31), 2**31 - 1), shift, 0)
