"""A recording as the counts that the sensors of a device would have given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsehr.firmware.front import DRIFT, SAME_RATE, FrontEnd
from pulsehr.firmware.front_filters import ACC_REACH, PPG_REACH
from pulsehr.recordings import Recording

#: Bits that a PPG in any unit is given.
PPG_BITS = 16

#: Seconds that forgive the rounding of an instant.
INSTANT_STEP = 1e-6


def sensor_counts(
    front: FrontEnd, recording: Recording
) -> tuple[NDArray[np.int32], NDArray[np.int16] | None]:
    """Turn a recording into counts.

    Parameters
    ----------
    front : FrontEnd
        Rates and units of the sensors. Without a unit of the PPG, a PPG of whole numbers of up to
        24 bits is taken as it is; any other is multiplied by the power of two that makes it span
        16 bits.
    recording : Recording
        At the rates of the sensors.

    Returns
    -------
    ppg : ndarray of int32, shape (n_ppg_samples,)
        Counts of the PPG; a masked array if some are missing.
    acc : ndarray of int16, shape (n_acc_samples, 3), or None
        Counts of the acceleration, the same; None where the firmware takes none.

    Raises
    ------
    ValueError
        If the recording has other rates, or no acceleration where it is wanted.
    """
    _check_signals(front, recording)
    ppg = np.asarray(recording.ppg, dtype=np.float64)
    present = ppg[~np.isnan(ppg)]
    step = _step_of(present) if front.ppg.step is None else front.ppg.step
    counts = _counts(ppg, step, PPG_REACH, np.int32)
    if front.acc is None or front.acc.step is None:
        return counts, None
    acc = np.asarray(recording.acc, dtype=np.float64)
    return counts, _counts(acc, front.acc.step, ACC_REACH, np.int16)


def window_ends(
    front: FrontEnd, recording: Recording, instants: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Count the samples of the windows' rate before each instant.

    Parameters
    ----------
    front : FrontEnd
        Length and rate of the windows.
    recording : Recording
        What is read.
    instants : ndarray of shape (n_windows,)
        Seconds; between two samples the window ends at the one before.

    Returns
    -------
    ndarray of int64, shape (n_windows,)
        At least `n_times`.

    Raises
    ------
    ValueError
        If an instant lies after the end of the recording, or has too little past.
    """
    seconds = front.n_times / front.sampling_rate
    ends = np.floor((instants + INSTANT_STEP) * front.sampling_rate).astype(np.int64)
    late = instants > recording.duration + 0.5 / front.sampling_rate
    for wrong, problem in (
        (late, f"lies after the end at {recording.duration:g} s"),
        (ends < front.n_times, f"has less than {seconds:g} s of past, as a window needs"),
    ):
        if wrong.any():
            raise ValueError(
                f"MicrocontrollerModel: instant {instants[np.argmax(wrong)]:g} s of recording "
                f"{recording.name!r} {problem}: leave it out"
            )
    return np.asarray(ends)


def _check_signals(front: FrontEnd, recording: Recording) -> None:
    if recording.n_channels != front.n_channels:
        raise ValueError(
            f"MicrocontrollerModel: expected recordings of {front.n_channels} channels as in fit, "
            f"recording {recording.name!r} has {recording.n_channels}"
        )
    pairs = [("ppg_rate", front.ppg, recording.ppg_rate)]
    if front.acc is not None and recording.acc_rate is not None:
        pairs.append(("acc_rate", front.acc, recording.acc_rate))
    for name, sensor, rate in pairs:
        if abs(rate - sensor.rate) > SAME_RATE * sensor.rate:
            raise ValueError(
                f"MicrocontrollerModel: the firmware takes {name}={sensor.rate:g} Hz, recording "
                f"{recording.name!r} has {rate:.9g} Hz: {_mend(name, sensor.rate, rate)}"
            )


def _mend(name: str, expected: float, rate: float) -> str:
    if abs(rate / expected - 1) < DRIFT:
        return (
            f"the firmware counts samples and knows no other clock, so give Recording, or "
            f"from_frame, {name}={expected:g}"
        )
    return (
        f"pass {name}={rate:g} to to_microcontroller, of which the PPGWindower's sampling_rate "
        f"must be a whole fraction; or export the student alone, and give it windows cut by the "
        f"pipeline's PPGWindower"
    )


def _step_of(ppg: NDArray[np.float64]) -> float:
    """Choose the unit of a PPG that has none."""
    largest = np.abs(ppg).max()
    if largest < PPG_REACH and np.array_equal(ppg, np.rint(ppg)):
        return 1.0
    _, span_bits = np.frexp(np.ptp(ppg))
    _, bits = np.frexp(largest)
    return float(2.0 ** max(int(span_bits) - PPG_BITS, int(bits) - (PPG_REACH.bit_length() - 1)))


def _counts(signal: NDArray[np.float64], step: float, reach: int, kind: type) -> NDArray[Any]:
    """Round a signal; a sample of which any axis is NaN is masked, and 0."""
    missing = np.isnan(signal)
    if signal.ndim == 2:
        missing = np.broadcast_to(missing.any(axis=1, keepdims=True), signal.shape)
    rounded = np.rint(np.where(missing, 0.0, signal) / step)
    counts: NDArray[Any] = np.clip(rounded, -reach, reach - 1).astype(kind)
    return np.ma.MaskedArray(counts, missing) if missing.any() else counts
