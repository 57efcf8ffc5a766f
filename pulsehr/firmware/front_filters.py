"""The filters of the front end in integers: decimation and band-pass."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from pulsehr._cutting import BANDPASS_ORDER
from pulsehr._resampling import HALF_WIDTH, filter_bank

#: Largest magnitude of a count: of the converters of optical sensors, and of accelerometers.
PPG_REACH = 1 << 23
ACC_REACH = 1 << 15

#: Counts of acceleration are this many bits narrower, and are filtered with as many zeros below.
ACC_BITS_LESS = 8

#: Bits after the point of a tap, and of a coefficient of the band-pass (2 must fit 32 bits).
TAP_BITS = 15
COEFFICIENT_BITS = 29

#: Samples of an impulse response that are looked at.
MAX_RESPONSE = 1 << 22


@dataclass(frozen=True, eq=False)
class Sensor:
    """What is known of a sensor.

    Parameters
    ----------
    rate : float
        Samples per second, in Hz.
    step : float or None
        What one count stands for, in units of the PPG or in g; None if that does not matter.
    factor : int
        Samples for each sample of the windows.
    taps : ndarray of int16, shape (5 * factor,) or (0,)
        Half of the symmetric filter, from its middle, in units of 2**-15; nothing for factor 1.
    """

    rate: float
    step: float | None
    factor: int
    taps: NDArray[np.int16]

    @property
    def n_past(self) -> int:
        """Samples that the filter sees at a time."""
        return max(0, 2 * len(self.taps) - 1)

    @property
    def lookahead(self) -> int:
        """Samples after an instant that must have come before the signal there is known."""
        return max(0, len(self.taps) - 1)


@dataclass(frozen=True, eq=False)
class BandPass:
    """A causal band-pass in integers.

    Parameters
    ----------
    sections : ndarray of int32, shape (2, 5)
        Of each second-order section b0, b1, b2, a1, a2 in units of 2**-29 (a0 is 1).
    fraction_bits : int
        Bits after the point of the filtered PPG.
    """

    sections: NDArray[np.int32]
    fraction_bits: int


def decimation_taps(factor: int) -> NDArray[np.int16]:
    """Quantize the anti-aliasing filter of `PPGWindower`; the taps sum to one exactly.

    Parameters
    ----------
    factor : int
        Samples for each that remains.

    Returns
    -------
    ndarray of int16, shape (5 * factor,) or (0,)
        As `Sensor` holds them.
    """
    if factor == 1:
        return np.zeros(0, dtype=np.int16)
    offsets, weights = filter_bank(np.zeros(1), float(factor), 1.0)
    taps = np.rint(weights[0] * (1 << TAP_BITS)).astype(np.int64)
    half = taps[(offsets >= 0) & (offsets < HALF_WIDTH * factor)]
    half[0] += (1 << TAP_BITS) - (2 * half[1:].sum() + half[0])
    return np.asarray(half, dtype=np.int16)


def quantized_bandpass(edges: tuple[float, float], rate: float) -> BandPass:
    """Quantize the band-pass and prove that 32 bits hold its signals.

    No signal exceeds the largest sample times the sum of the magnitudes of its impulse response,
    plus what rounding adds: a remainder under one step in each section, taken from one sample and
    given to the next, goes through the rest of the filter. With 32-bit signals, sums of products
    stay under ``7 * 2**60``: the numerator of a section sums to at most 4, its denominator without
    a0 to less than 3.

    Parameters
    ----------
    edges : tuple of 2 float
        In Hz.
    rate : float
        Of the signals, in Hz.

    Returns
    -------
    BandPass
        The coefficients, and as many bits after the point as fit.

    Raises
    ------
    ValueError
        If 32 bits do not suffice.
    """
    sos = butter(BANDPASS_ORDER, edges, "bandpass", fs=rate, output="sos")
    one = 1 << COEFFICIENT_BITS
    sections = np.rint(np.delete(sos, 3, axis=1) * one).astype(np.int64)
    quantized = np.insert(sections / one, 3, 1.0, axis=1)
    # until the slowest pole has decayed beyond double precision
    decay = -np.log(quantized[:, 5].max()) / 2
    impulse = np.zeros(int(min(40 / max(decay, 1e-9), MAX_RESPONSE)) + 100)
    impulse[0] = 1.0
    responses = [sosfilt(quantized[:n], impulse) for n in (1, 2)]
    gain = max(1.0, *(_sum_of_magnitudes(response) for response in responses))
    # two samples may lie 2 * PPG_REACH apart
    room = 2**31 - 1 - _largest_rounding(quantized, impulse)
    bits = math.floor(math.log2(room / (2 * PPG_REACH * gain))) if room > 0 else -1
    if bits < 0 or abs(responses[-1][-1]) > 1e-9:
        raise ValueError(
            f"to_microcontroller: the band-pass {edges} Hz at {rate:g} Hz settles too slowly for "
            f"integers of 32 bits: raise its lower edge, or lower the sampling_rate"
        )
    return BandPass(sections.astype(np.int32), bits)


def _largest_rounding(sections: NDArray[np.float64], impulse: NDArray[np.float64]) -> float:
    """Bound what rounding in both sections adds to a signal, in steps of it."""
    carried = impulse - np.roll(impulse, 1)
    first, second = (sosfilt([[1.0, 0.0, 0.0, *section[3:]]], carried) for section in sections)
    through = sosfilt(sections[1:], first)
    return max(_sum_of_magnitudes(first), _sum_of_magnitudes(through) + _sum_of_magnitudes(second))


def _sum_of_magnitudes(response: NDArray[np.float64]) -> float:
    return float(np.abs(response).sum())
