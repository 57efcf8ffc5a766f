"""The constants of the integer front end: what a fitted `PPGWindower` becomes on a device.

Samples of the sensors are counts: the PPG of up to 24 bits, the acceleration of 16. Each signal is
decimated, band-passed if the windower does so, and kept in a ring; a window of it is normalised
to the int8 input of the network by ``(value * multiplier + offset) >> shift``. `front_integer`
says what is done with the constants; here they are chosen so that nothing can overflow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

from pulsehr.firmware.front_filters import (
    PPG_REACH,
    BandPass,
    Sensor,
    decimation_taps,
    quantized_bandpass,
)
from pulsehr.firmware.front_kalman import Kalman, design_kalman
from pulsehr.firmware.front_scaling import Scaling, channel_scalings
from pulsehr.firmware.quantization import Format
from pulsehr.tracking import NOISE, SHARE

#: Samples of a window beyond which sums could leave 64 bits.
MAX_TIMES = (1 << 15) - 1

#: Rates whose ratio to the windows' is so near to a whole number are multiples; such as differ by
#: less than the share `DRIFT` are most likely those of sensors by a clock that is a little off.
SAME_RATE, DRIFT = 1e-6, 1e-3

#: Longest time (s) from one heart rate to the next.
MAX_STRIDE = 3600.0

#: Rows that a ring holds beside a window: what one sensor may be ahead of the other (five by the
#: look-ahead of its filter), and what may pass before the heart rate is asked for.
SLACK = 8

#: Longest gap (rows) that can be told, of a counter of 32 bits: years.
MAX_GAP_ROWS = (1 << 31) - 2 - SLACK

#: A band-passed PPG window that spans this many of its finest steps, or fewer, is flat: rounding
#: keeps a filter from coming to rest at zero. Enough for upper edges up to three quarters of half
#: the rate; nearer to it a filter takes minutes to come to rest.
RESIDUE = 4


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
        ``n_times * sample - sum of samples``. Then each window makes that of the PPG of one for
        a variance (times ``n_times**2``) of 2**64, whose multiplier is a numerator.
    clip : bool
        Whether heart rates are kept near those before, as by `pulsehr.tracking.causal_clip`.
    kalman : Kalman or None
        Of a Kalman filter of the heart rates.
    max_gap : int or None
        Samples from one heart rate to the next above which `clip` or `kalman` start anew; None,
        which a Kalman filter has not, for never.
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
    clip: bool
    kalman: Kalman | None = None
    max_gap: int | None = None

    @property
    def n_channels(self) -> int:
        """1 (PPG alone) or 4 (PPG and acceleration)."""
        return len(self.scalings)

    @property
    def n_ring(self) -> int:
        """Samples of each signal that are kept."""
        return self.n_times + SLACK

    @property
    def first_seconds(self) -> float:
        """Time from the first sample to the first complete window."""
        last = self.n_times - 1
        sensors = [sensor for sensor in (self.ppg, self.acc) if sensor is not None]
        return max((last * y.factor + y.lookahead) / y.rate for y in sensors)

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
    tracker: Any = None,
    with_std: bool = False,
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
    tracker : HeartRateTracker or None, default=None
        What tracks heart rates, fitted: with "clip" or "kalman", as `without_tracker` checks.
    with_std : bool, default=False
        Whether the network tells standard deviations.

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
    numbers = {"ppg_rate": ppg_rate, "acc_rate": acc_rate, "ppg_step": ppg_step}
    for name, value in {**numbers, "acc_step": acc_step, "stride": stride}.items():
        optional = name in numbers
        if value is None and optional:
            continue
        if not isinstance(value, Real):
            raise ValueError(
                f"to_microcontroller: {name} must be a number"
                f"{' or None' if optional else ''}, got {value!r}"
            )
    if not stride <= MAX_STRIDE:
        raise ValueError(
            f"to_microcontroller: stride must be at most {MAX_STRIDE:g} s, got {stride:g}"
        )
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
    _check_decimation(windower, ppg_rate, acc_rate)
    bandpass = None if windower.bandpass is None else quantized_bandpass(windower.bandpass, rate)
    with_acc = windower.n_channels_ == 4
    if acc_rate is not None and not with_acc:
        raise ValueError(
            "to_microcontroller: acc_rate must be None, as the windows hold no acceleration"
        )
    ppg_reach, finest = PPG_REACH, ppg_step or 1.0
    if bandpass is not None:
        ppg_reach, finest = 1 << 31, finest / 2**bandpass.fraction_bits
    return FrontEnd(
        sampling_rate=rate,
        n_times=n_times,
        stride=_whole("stride", stride * rate, f"{stride:g} s", f"1/{rate:g} s", 1 / rate),
        ppg=_sensor("ppg_rate", ppg_rate, rate, ppg_step),
        acc=_sensor("acc_rate", acc_rate, rate, acc_step) if with_acc else None,
        bandpass=bandpass,
        normalize=windower.normalize,
        zero_point=input_format.zero_point,
        scalings=channel_scalings(windower, input_format, (finest, acc_step), ppg_reach),
        **_tracking(bool(clip), tracker, rate, stride, with_std),
    )


def _tracking(
    clip: bool, tracker: Any, rate: float, stride: float, with_std: bool
) -> dict[str, Any]:
    """Choose what is done with heart rates over time."""
    if tracker is None:
        return {"clip": clip}
    if tracker.max_gap < stride:
        raise ValueError(
            f"to_microcontroller: stride must be at most the max_gap={tracker.max_gap:g} s of the "
            f"HeartRateTracker, which would start anew at each heart rate, got {stride:g}"
        )
    # a microsecond forgives the rounding of a product
    rows = min(tracker.max_gap * rate + 1e-6 * rate, MAX_GAP_ROWS)
    if tracker.method == "clip":
        return {"clip": True, "max_gap": int(rows) if rows < MAX_GAP_ROWS else None}
    by_std = with_std and tracker.noise is None
    noise = NOISE["kalman"] if tracker.noise is None else tracker.noise
    kalman = design_kalman(tracker.drift_, SHARE["kalman"] if by_std else noise, rate, by_std)
    return {"clip": False, "kalman": kalman, "max_gap": int(rows)}


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


def _check_decimation(windower: Any, *rates: float | None) -> None:
    """Refuse decimation without a filter, which the C does not know."""
    if windower.antialias or all(rate in (None, windower.sampling_rate) for rate in rates):
        return
    raise ValueError(
        f"to_microcontroller: the C filters what it decimates, got a PPGWindower(antialias=False): "
        f"fit one with antialias=True, or let the sensors run at its sampling_rate of "
        f"{windower.sampling_rate:g} Hz"
    )


def _sensor(name: str, rate: float | None, target_rate: float, step: float | None) -> Sensor:
    rate = target_rate if rate is None else float(rate)
    _check_drift(name, rate, target_rate)
    factor = _whole(name, rate / target_rate, f"{rate:g} Hz", f"{target_rate:g} Hz", target_rate)
    return Sensor(rate, step, factor, decimation_taps(factor))


def _check_drift(name: str, rate: float, target_rate: float) -> None:
    """Tell a rate that was measured by another clock from the one that is meant."""
    nominal = target_rate * round(rate / target_rate) if math.isfinite(rate) else 0.0
    if SAME_RATE < abs(rate - nominal) / target_rate and abs(rate - nominal) < DRIFT * nominal:
        raise ValueError(
            f"to_microcontroller: {name} must be a whole multiple of the windower's "
            f"{target_rate:g} Hz, got {rate:.9g} Hz: pass {nominal:g}, as the firmware counts "
            f"samples and knows no other clock"
        )


def _whole(name: str, ratio: float, got: str, unit: str, size: float) -> int:
    """Return a ratio that must be a whole number, one or more."""
    if not (math.isfinite(ratio) and round(ratio) >= 1 and abs(ratio - round(ratio)) < SAME_RATE):
        near = max(1, round(ratio)) if math.isfinite(ratio) else 1
        raise ValueError(
            f"to_microcontroller: {name} must be a whole multiple of the windower's {unit} (such "
            f"as {near * size:g} or {(near + 1) * size:g}), got {got}: take another {name}, or fit "
            f"a PPGWindower whose sampling_rate divides it"
        )
    return round(ratio)
