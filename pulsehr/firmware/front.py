"""The constants of the integer front end: what a fitted `PPGWindower` becomes on a device.

Samples of the sensors are counts: the PPG of up to 24 bits, the acceleration of 16. Each signal is
decimated, band-passed if the windower does so, and kept in a ring; a window of it is normalised
to the int8 input of the network by ``(value * multiplier + offset) >> shift``. `front_integer`
says what is done with the constants; here they are chosen so that nothing can overflow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from pulsehr._cutting import BANDPASS_ORDER
from pulsehr._resampling import HALF_WIDTH, _filter_bank
from pulsehr.firmware.quantization import Format

#: Largest magnitude of a count: of the converters of optical sensors, and of accelerometers.
PPG_REACH = 1 << 23
ACC_REACH = 1 << 15

#: Counts of acceleration are this many bits narrower, and are filtered with as many zeros below.
ACC_BITS_LESS = 8

#: Bits after the point of a tap, and of a coefficient of the band-pass (2 must fit 32 bits).
TAP_BITS = 15
COEFFICIENT_BITS = 29

#: Samples of a window beyond which sums could leave 64 bits.
MAX_TIMES = (1 << 15) - 1

#: Rows that a ring holds beside a window: what one sensor may be ahead of the other (five by the
#: look-ahead of its filter), and what may pass before the heart rate is asked for.
SLACK = 8

#: A band-passed PPG window that spans this many of its finest steps, or fewer, is flat: rounding
#: keeps a filter from coming to rest at zero.
RESIDUE = 4

#: What the PPG of a window is reduced to span less than, before its squares are summed.
SPAN = 1 << 15

#: Samples of an impulse response that are looked at.
MAX_RESPONSE = 1 << 22

#: Bits below which sums with an offset stay, and the largest shift, so that 64 bits suffice.
SUM_BITS = 62
MAX_SHIFT = 54

#: Bits that the numerator of a multiplier may lack: 16 remain.
MAX_COARSER = 14


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


@dataclass(frozen=True, eq=False)
class FrontEnd:
    """Everything between the sensors and the network, as constants.

    Parameters
    ----------
    sampling_rate : float
        Of the windows, in Hz.
    n_times : int
        Samples of a window.
    stride : int
        Samples from one window to the next.
    ppg, acc : Sensor
        The sensors; `acc` is None without acceleration.
    bandpass : BandPass or None
        The filter of all signals.
    normalize : {"window", "channel", None}
        As `PPGWindower` has it.
    zero_point : int
        The int8 that stands for zero.
    scalings : tuple of Scaling
        One for each channel. The value is the sample, or with "window"
        ``n_times * sample - sum of samples``; then each window sets that of the PPG, and its shift
        here is that for a variance, times ``n_times**2``, of 62 bits.
    spread : int
        Numerator of 30 bits of the multiplier that a window sets.
    clip : bool
        Whether heart rates are kept near those before, as by `pulsehr.tracking.causal_clip`.
    """

    sampling_rate: float
    n_times: int
    stride: int
    ppg: Sensor
    acc: Sensor | None
    bandpass: BandPass | None
    normalize: str | None
    zero_point: int
    scalings: tuple[Scaling, ...]
    spread: int
    clip: bool

    @property
    def n_channels(self) -> int:
        """1 (PPG alone) or 4 (PPG and acceleration)."""
        return len(self.scalings)

    @property
    def n_ring(self) -> int:
        """Samples of each signal that are kept."""
        return self.n_times + SLACK

    @property
    def residue(self) -> int:
        """Span of a PPG window up to which it is flat, in its finest steps."""
        return 0 if self.bandpass is None else RESIDUE


def design_front(
    windower: Any,
    input_format: Format,
    *,
    ppg_rate: float | None = None,
    acc_rate: float | None = None,
    ppg_step: float | None = None,
    acc_step: float = 1 / 4096,
    stride: float = 2.0,
    clip: bool = False,
) -> FrontEnd:
    """Choose the constants of the front end.

    Parameters
    ----------
    windower : PPGWindower
        Fitted.
    input_format : Format
        Integers of the network's input.
    ppg_rate, acc_rate : float, default=None
        Of the sensors in Hz; None takes the rate of the windows.
    ppg_step : float, default=None
        Units of the PPG of training for each count; None takes any unit, as ``normalize="window"``
        does.
    acc_step : float, default=1/4096
        g for each count.
    stride : float, default=2.0
        Seconds from one heart rate to the next.
    clip : bool, default=False
        Keep heart rates near those before.

    Returns
    -------
    FrontEnd
        The constants.

    Raises
    ------
    ValueError
        If a rate is no whole multiple of that of the windows, a step or the stride does not fit,
        or integers of 64 bits do not suffice.

    Examples
    --------
    >>> from pulsehr import PPGWindower
    >>> from pulsehr.datasets import make_recordings
    >>> from pulsehr.firmware.front import design_front
    >>> from pulsehr.firmware.quantization import Format
    >>> data = make_recordings(n_subjects=1, duration=30, random_state=0)
    >>> front = design_front(PPGWindower().fit(data.X), Format(8, 0.03, 0), ppg_rate=64)
    >>> front.n_times, front.stride, front.ppg.factor, len(front.ppg.taps)
    (256, 64, 2, 10)
    """
    rate = float(windower.sampling_rate)
    n_times = round(windower.window * rate)
    if n_times > MAX_TIMES:
        raise ValueError(
            f"to_microcontroller: a window must hold at most {MAX_TIMES} samples, got {n_times}"
        )
    if windower.n_channels_ not in (1, 4):
        raise ValueError(
            f"to_microcontroller: PPGWindower must have been fitted on PPG alone or on PPG and "
            f"acceleration x, y, z, got {windower.n_channels_} channels: export the student alone"
        )
    _check_step("ppg_step", ppg_step, windower.normalize)
    _check_step("acc_step", acc_step, windower.normalize)
    bandpass = None if windower.bandpass is None else _bandpass(windower.bandpass, rate)
    with_acc = windower.n_channels_ == 4
    if acc_rate is not None and not with_acc:
        raise ValueError(
            "to_microcontroller: acc_rate must be None, as the windows hold no acceleration"
        )
    scalings = _scalings(windower, input_format, bandpass, (ppg_step or 1.0, acc_step), n_times)
    spread = 0
    if windower.normalize == "window":
        ppg_scaling, spread = _ppg_scaling(n_times, input_format)
        scalings = (ppg_scaling, *scalings[1:])
    return FrontEnd(
        sampling_rate=rate,
        n_times=n_times,
        stride=_whole("stride", stride * rate, f"{stride:g} s", f"1/{rate:g} s", 1 / rate),
        ppg=_sensor("ppg_rate", ppg_rate, rate, ppg_step),
        acc=_sensor("acc_rate", acc_rate, rate, acc_step) if with_acc else None,
        bandpass=bandpass,
        normalize=windower.normalize,
        zero_point=input_format.zero_point,
        scalings=scalings,
        spread=spread,
        clip=bool(clip),
    )


def _check_step(name: str, step: float | None, normalize: str | None) -> None:
    if step is None:
        if normalize != "window":
            raise ValueError(
                f"to_microcontroller: {name} must say what one count of the PPG stands for, as "
                f"windows have normalize={normalize!r}, got None: pass the units of the PPG of "
                f"training for each count, or fit PPGWindower(normalize='window')"
            )
    elif not (math.isfinite(step) and step > 0):
        raise ValueError(f"to_microcontroller: {name} must be > 0, got {step!r}")


def _sensor(name: str, rate: float | None, target_rate: float, step: float | None) -> Sensor:
    rate = target_rate if rate is None else float(rate)
    factor = _whole(name, rate / target_rate, f"{rate:g} Hz", f"{target_rate:g} Hz", target_rate)
    return Sensor(rate, step, factor, _taps(factor))


def _whole(name: str, ratio: float, got: str, unit: str, size: float) -> int:
    """Return a ratio that must be a whole number, one or more."""
    if not (math.isfinite(ratio) and round(ratio) >= 1 and abs(ratio - round(ratio)) < 1e-6):
        near = max(1, round(ratio)) if math.isfinite(ratio) else 1
        raise ValueError(
            f"to_microcontroller: {name} must be a whole multiple of the windower's {unit} (such "
            f"as {near * size:g} or {(near + 1) * size:g}), got {got}: take another {name}, or fit "
            f"a PPGWindower whose sampling_rate divides it"
        )
    return round(ratio)


def _taps(factor: int) -> NDArray[np.int16]:
    """Quantize the anti-aliasing filter of `PPGWindower`; the taps sum to one exactly."""
    if factor == 1:
        return np.zeros(0, dtype=np.int16)
    offsets, weights = _filter_bank(np.zeros(1), float(factor), 1.0)
    taps = np.rint(weights[0] * (1 << TAP_BITS)).astype(np.int64)
    half = taps[(offsets >= 0) & (offsets < HALF_WIDTH * factor)]
    half[0] += (1 << TAP_BITS) - (2 * half[1:].sum() + half[0])
    return np.asarray(half, dtype=np.int16)


def _bandpass(edges: tuple[float, float], rate: float) -> BandPass:
    """Quantize the band-pass and prove that 32 bits hold its signals.

    No signal exceeds the largest sample times the sum of the magnitudes of its impulse response,
    and what rounding adds, under one step at each section, is amplified no more than a sample.
    With 32-bit signals, sums of products stay under ``7 * 2**60``: the numerator of a section sums
    to at most 4, its denominator without a0 to less than 3.
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
    gain = max(1.0, *(float(np.abs(response).sum()) for response in responses))
    # two samples may lie 2 * PPG_REACH apart
    bits = math.floor(math.log2((2**31 - 2**10) / (2 * PPG_REACH * gain)))
    if bits < 0 or abs(responses[-1][-1]) > 1e-9:
        raise ValueError(
            f"to_microcontroller: the band-pass {edges} Hz at {rate:g} Hz settles too slowly for "
            f"integers of 32 bits: raise its lower edge, or lower the sampling_rate"
        )
    return BandPass(sections.astype(np.int32), bits)


def _scalings(
    windower: Any,
    input_format: Format,
    bandpass: BandPass | None,
    steps: tuple[float, float],
    n_times: int,
) -> tuple[Scaling, ...]:
    """Fold unit, normalisation and quantization of each channel into one multiplication."""
    ppg_step = steps[0] if bandpass is None else steps[0] / 2**bandpass.fraction_bits
    scalings = []
    for channel in range(windower.n_channels_):
        step, reach = (ppg_step, PPG_REACH) if channel == 0 else (steps[1], ACC_REACH)
        if channel == 0 and bandpass is not None:
            reach = 1 << 31
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


def _ppg_scaling(n_times: int, input_format: Format) -> tuple[Scaling, int]:
    """Write the steps of one standard deviation as a fraction of 30 bits and a shift.

    The shift is that for a variance, times ``n_times**2``, of 62 bits; each window adds its own.
    """
    fraction, exponent = math.frexp(1 / input_format.scale)
    # a window whose samples are all but one the same, and one of two halves
    least, most = n_times - 1, (n_times * (SPAN - 1)) ** 2 // 4
    finest = 61 - exponent
    shifts = [finest - (SUM_BITS - squares.bit_length()) // 2 for squares in (least, most)]
    coarser = max(0, max(shifts) - MAX_SHIFT)
    if min(shifts) - coarser < 1 or coarser > MAX_COARSER:
        raise ValueError(
            f"to_microcontroller: the scale {input_format.scale:g} of the network's input is out "
            f"of range for integers: was the student fitted on normalised windows?"
        )
    mantissa = round(fraction * 2 ** (30 - coarser))
    return Scaling(0, finest - coarser, 0), min(mantissa, 2**30 - 1)
