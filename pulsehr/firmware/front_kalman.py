"""The Kalman filter of heart rates in integers: its constants, and the exact run in Python.

It is that of `pulsehr._kalman` in fixed point. Heart rates and variances have 16 bits after the
point; a gain has 15, out of a division by at most 16 bits, as small cores have none of 64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pulsehr._kalman import GATE, MAX_STD, START_STD

#: Bits after the point of heart rates and variances, and by how many those of a result are fewer.
FRACTION_BITS, RESULT_BITS = 16, 8

#: Bits after the point of the drift.
DRIFT_BITS = 24

#: Bits after the point of a gain.
GAIN_BITS = 15

#: Largest reading in 1/256 bpm (512 bpm): squares of differences fit 64 bits with room.
REACH = 1 << 17

#: Largest variance, and noise.
MAX_VARIANCE = round(MAX_STD**2) << FRACTION_BITS

#: Variance after the first reading.
START_VARIANCE = round(START_STD**2) << FRACTION_BITS

#: Largest standard deviation that a network tells, in 1/256 bpm.
MAX_STD_Q8 = (1 << 15) - 1


@dataclass(frozen=True)
class Kalman:
    """Constants of a filter.

    Parameters
    ----------
    drift : int
        Growth of the variance for each row, in 2^-24 bpm^2.
    noise : int
        Variance of a reading, in 2^-16 bpm^2; with `by_std` what the square of its standard
        deviation is multiplied by, in 2^-16.
    gate : int
        One by the square of how many standard deviations off a reading is inflated, in 2^-16.
    by_std : bool, default=False
        Whether the network tells how uncertain each reading is.
    """

    drift: int
    noise: int
    gate: int
    by_std: bool = False


def design_kalman(drift: float, noise: float, sampling_rate: float, by_std: bool = False) -> Kalman:
    """Choose the constants.

    Parameters
    ----------
    drift : float
        In bpm^2/s.
    noise : float
        Standard deviation of a reading in bpm, or by what its own is multiplied.
    sampling_rate : float
        Rows for each second.
    by_std : bool, default=False
        Whether the network tells how uncertain each reading is.

    Returns
    -------
    Kalman
        All above zero.

    Examples
    --------
    >>> design_kalman(drift=2.0, noise=2.0, sampling_rate=32.0).noise / 2**16
    4.0
    """
    for_row = min(drift / sampling_rate, MAX_STD)
    return Kalman(
        drift=max(round(for_row * 2**DRIFT_BITS), 1),
        noise=max(round(min(noise, MAX_STD) ** 2 * 2**FRACTION_BITS), 1),
        gate=round(2**FRACTION_BITS / GATE**2),
        by_std=by_std,
    )


def noises(kalman: Kalman, std: Sequence[int]) -> list[int]:
    """Return the variances of readings.

    Parameters
    ----------
    kalman : Kalman
        The constants.
    std : sequence of int, length n
        Standard deviations in 1/256 bpm from 0 to 2^23, if the network tells them.

    Returns
    -------
    list of int, length n
        In 2^-16 bpm^2.
    """
    if not kalman.by_std:
        return [kalman.noise] * len(std)
    own = (min(value, MAX_STD_Q8) ** 2 for value in std)
    return [min(max((square * kalman.noise) >> FRACTION_BITS, 1), MAX_VARIANCE) for square in own]


def filtered(
    kalman: Kalman, heart_rate: Sequence[int], rows: Sequence[int], noise: Sequence[int]
) -> list[int]:
    """Filter the heart rates of one stretch of time.

    Parameters
    ----------
    kalman : Kalman
        The constants.
    heart_rate : sequence of int, length n
        In 1/256 bpm, in order of time; limited to 0 and `REACH`.
    rows : sequence of int, length n
        From the heart rate before to each; that of the first is not used.
    noise : sequence of int, length n
        Variance of each, from `noises`.

    Returns
    -------
    list of int, length n
        In 1/256 bpm.

    Examples
    --------
    >>> kalman = design_kalman(drift=2.0, noise=2.0, sampling_rate=32.0)
    >>> filtered(kalman, [70 * 256, 70 * 256, 140 * 256], [0, 64, 64], [2**18] * 3)[2] / 256 < 73
    True
    """
    mean = variance = 0
    tracked = []
    for k, (bpm_q8, elapsed, own) in enumerate(zip(heart_rate, rows, noise, strict=True)):
        reading = min(max(int(bpm_q8), 0), REACH) << (FRACTION_BITS - RESULT_BITS)
        if k == 0:
            mean, variance = reading, START_VARIANCE
        else:
            growth = (kalman.drift * int(elapsed)) >> (DRIFT_BITS - FRACTION_BITS)
            variance = min(variance + growth, MAX_VARIANCE)
            innovation = reading - mean
            far = (((innovation * innovation) >> FRACTION_BITS) * kalman.gate) >> FRACTION_BITS
            gain = quotient(variance, max(variance + own, far))
            mean += (gain * innovation + (1 << (GAIN_BITS - 1))) >> GAIN_BITS
            variance -= (gain * variance) >> GAIN_BITS
        half = 1 << (FRACTION_BITS - RESULT_BITS - 1)
        tracked.append((mean + half) >> (FRACTION_BITS - RESULT_BITS))
    return tracked


def quotient(part: int, whole: int) -> int:
    """Divide by at most 16 bits.

    Parameters
    ----------
    part, whole : int
        From 0, and not above the second, which is above 0.

    Returns
    -------
    int
        Their quotient in 2^-15.
    """
    down = max(whole.bit_length() - 16, 0)
    return ((part >> down) << GAIN_BITS) // (whole >> down)
