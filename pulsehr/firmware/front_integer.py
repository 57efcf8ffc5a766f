"""The exact integer run of the front end in numpy: the definition of what its C must compute.

The decimating filter and its look-ahead are those of `PPGWindower`. The band-pass is too, but
it runs from the start of the stream, where `PPGWindower` lets it settle anew before each window:
the two agree by heart rate, not by bit. It is in direct form I, and what a division of a sum leaves
is added to the next sum [1]_, so that rounding adds no constant.

Samples may be masked: they are missing. After a gap a sensor begins as at the start of a stream,
and before one it ends as at the end of a recording (`front_gaps`).

References
----------
.. [1] Dattorro, The Implementation of Recursive Digital Filters for High-Fidelity Audio, Journal
   of the Audio Engineering Society 36, 1988 (first-order error feedback).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pulsehr.firmware.front import FrontEnd
from pulsehr.firmware.front_filters import (
    ACC_BITS_LESS,
    ACC_REACH,
    COEFFICIENT_BITS,
    PPG_REACH,
    TAP_BITS,
    BandPass,
    Sensor,
)
from pulsehr.firmware.front_gaps import Rows, missing_samples, rows_of
from pulsehr.firmware.front_kalman import filtered, noises
from pulsehr.firmware.front_scaling import SPAN, VARIANCE_BITS
from pulsehr.tracking import CLIP_LENGTH

#: Windows that are normalised at a time.
CHUNK = 1024

#: Heart rates are limited to 0 and this (1/256 bpm) before they are clipped: eleven times a sum of
#: ten fits 32 bits.
CLIP_REACH = 1 << 24

Integers = NDArray[np.int64]


def front_windows(
    front: FrontEnd, ppg: NDArray[Any], acc: NDArray[Any] | None, ends: NDArray[Any]
) -> NDArray[np.int8]:
    """Turn streams of samples into windows.

    Parameters
    ----------
    front : FrontEnd
        The constants.
    ppg : ndarray or masked array of int, shape (n_ppg_samples,)
        Counts of the PPG; masked samples are missing.
    acc : ndarray or masked array of int, shape (n_acc_samples, 3), or None
        Counts of the acceleration.
    ends : ndarray of int, shape (n_windows,)
        How many samples of the windows' rate there are when a window is complete: at least
        `n_times`. Streams stay at their last sample after their end.

    Returns
    -------
    ndarray of int8, shape (n_windows, n_channels, n_times)
        The input of the network; of no meaning for windows over a gap (`front_gaps.over_gap`).
    """
    n_rows = int(np.max(ends))
    windows = np.empty((len(ends), front.n_channels, front.n_times), dtype=np.int8)
    for channel, signal in enumerate(streams(front, ppg, acc, n_rows)):
        view = sliding_window_view(signal, front.n_times)
        for start in range(0, len(ends), CHUNK):
            rows = slice(start, start + CHUNK)
            windows[rows, channel] = normalized(front, channel, view[ends[rows] - front.n_times])
    return windows


def streams(
    front: FrontEnd, ppg: NDArray[Any], acc: NDArray[Any] | None, n_rows: int
) -> list[Integers]:
    """Decimate and band-pass streams: what a ring would hold, were it long enough.

    Parameters
    ----------
    front : FrontEnd
        The constants.
    ppg, acc : ndarray of int
        Counts, as `front_windows` takes them.
    n_rows : int
        Samples wanted.

    Returns
    -------
    list of ndarray of int64, shape (n_rows,)
        One for each channel; the acceleration fits 16 bits.
    """
    wide = np.clip(np.ma.getdata(ppg).astype(np.int64), -PPG_REACH, PPG_REACH - 1)
    found = [_rows(front.ppg, ppg, n_rows)]
    signals = [decimated(front.ppg, wide, n_rows, PPG_REACH, found[0])]
    if front.acc is not None:
        assert acc is not None
        found += [_rows(front.acc, acc, n_rows)] * 3
        axes = np.ma.getdata(acc).astype(np.int64).T
        signals += [decimated(front.acc, axis, n_rows, ACC_REACH, found[1]) for axis in axes]
    if front.bandpass is None:
        return signals
    ppg_bits, acc_bits = (front.bandpass.fraction_bits + less for less in (0, ACC_BITS_LESS))
    passed = [bandpassed_anew(front.bandpass, signals[0], ppg_bits, found[0])]
    for signal, rows in zip(signals[1:], found[1:], strict=True):
        y = bandpassed_anew(front.bandpass, signal, acc_bits, rows)
        y = (y + (1 << (acc_bits - 1))) >> acc_bits
        passed.append(np.clip(y, -ACC_REACH, ACC_REACH - 1))
    return passed


def _rows(sensor: Sensor, samples: NDArray[Any], n_rows: int) -> Rows | None:
    missing = missing_samples(samples)
    return None if missing is None else rows_of(sensor, missing, n_rows)


def decimated(
    sensor: Sensor, samples: Integers, n_rows: int, reach: int, rows: Rows | None = None
) -> Integers:
    """Filter and decimate one signal.

    Parameters
    ----------
    sensor : Sensor
        Factor and filter.
    samples : ndarray of int64, shape (n_samples,)
        Counts. Before the first and after the last, the signal is as there.
    n_rows : int
        Samples wanted.
    reach : int
        Results are saturated to ``-reach`` to ``reach - 1``.
    rows : Rows or None, default=None
        Stretches, if samples are missing; before and after each the signal is as at its ends.

    Returns
    -------
    ndarray of int64, shape (n_rows,)
        Row k is the signal at sample ``k * factor``.
    """
    first, last = -sensor.lookahead, (n_rows - 1) * sensor.factor + sensor.lookahead
    index = np.clip(np.arange(first, last + 1), 0, len(samples) - 1)
    if sensor.factor == 1:
        return np.asarray(samples[index])
    taps = np.concatenate([sensor.taps[:0:-1], sensor.taps]).astype(np.int64)
    if rows is None:
        seen = sliding_window_view(samples[index], len(taps))[:: sensor.factor]
    else:
        around = sliding_window_view(np.arange(first, last + 1), len(taps))[:: sensor.factor]
        around = np.clip(around, rows.first[:, None], rows.last[:, None])
        seen = samples[np.clip(around, 0, len(samples) - 1)]
    sums = seen @ taps
    rounded = (sums + (1 << (TAP_BITS - 1))) >> TAP_BITS
    return np.asarray(np.clip(rounded, -reach, reach - 1))


def bandpassed(bandpass: BandPass, signal: Integers, bits: int) -> Integers:
    """Filter one signal from its start, as if its first sample had lasted forever.

    Parameters
    ----------
    bandpass : BandPass
        The coefficients.
    signal : ndarray of int64, shape (n_rows,)
        The signal.
    bits : int
        Bits after the point that the result has more than `signal`.

    Returns
    -------
    ndarray of int64, shape (n_rows,)
        The filtered signal, which fits 32 bits.
    """
    values: list[int] = ((signal - signal[0]) << bits).tolist()
    mask = (1 << COEFFICIENT_BITS) - 1
    for b0, b1, b2, a1, a2 in bandpass.sections.tolist():
        x1 = x2 = y1 = y2 = rest = 0
        for k, x in enumerate(values):
            total = b0 * x + b1 * x1 + b2 * x2 - a1 * y1 - a2 * y2 + rest
            y = total >> COEFFICIENT_BITS
            rest = total & mask
            x2, x1, y2, y1 = x1, x, y1, y
            values[k] = y
    return np.array(values, dtype=np.int64)


def bandpassed_anew(bandpass: BandPass, signal: Integers, bits: int, rows: Rows | None) -> Integers:
    """Filter one signal, each stretch of `rows` by itself, as `bandpassed` does."""
    if rows is None:
        return bandpassed(bandpass, signal, bits)
    parts = np.split(signal, np.flatnonzero(np.diff(rows.first)) + 1)
    return np.concatenate([bandpassed(bandpass, part, bits) for part in parts])


def normalized(front: FrontEnd, channel: int, windows: Integers) -> NDArray[np.int8]:
    """Normalise windows of one channel.

    Parameters
    ----------
    front : FrontEnd
        The constants.
    channel : int
        Its number, 0 for the PPG.
    windows : ndarray of int64, shape (n_windows, n_times)
        Samples of the ring.

    Returns
    -------
    ndarray of int8, shape (n_windows, n_times)
        The input of the network.
    """
    scaling = front.scalings[channel]
    values: Integers = windows
    multiplier: Any = scaling.multiplier
    shift: Any = scaling.shift
    offset: Any = scaling.offset
    if front.normalize == "window":
        if channel == 0:
            values, multiplier, shift = _spread_out(front, windows)
            offset = (2 * front.zero_point + 1) * (np.int64(1) << (shift - 1))
        values = front.n_times * values - values.sum(axis=1, keepdims=True)
    steps = (values * multiplier + offset) >> shift
    return np.asarray(np.clip(steps, -128, 127), dtype=np.int8)


def clipped(heart_rate: NDArray[np.int32]) -> NDArray[np.int32]:
    """Keep each heart rate near those before: `pulsehr.tracking.causal_clip` in integers.

    Nine and eleven tenths of the mean of ten are rounded to the nearest integer. Heart rates below
    0 become 0, so that none, clipped, leaves the range of what it is clipped from.

    Parameters
    ----------
    heart_rate : ndarray of int32, shape (n,)
        In 1/256 bpm, in order of time.

    Returns
    -------
    ndarray of int32, shape (n,)
        The clipped heart rates.
    """
    values: list[int] = np.clip(heart_rate, 0, CLIP_REACH).tolist()
    for k in range(CLIP_LENGTH, len(values)):
        total = sum(values[k - CLIP_LENGTH : k])
        low, high = ((share * total + 50) // 100 for share in (9, 11))
        values[k] = min(max(values[k], low), high)
    return np.array(values, dtype=np.int32)


def tracked(front: FrontEnd, outputs: NDArray[np.int32], ends: NDArray[Any]) -> NDArray[np.int32]:
    """Use the order in time of heart rates, as the front end has it.

    Parameters
    ----------
    front : FrontEnd
        The constants.
    outputs : ndarray of int32, shape (n, 1 or 2)
        Heart rates and, if the network tells them, their standard deviations, in 1/256 bpm and in
        order of time.
    ends : ndarray of int, shape (n,)
        How many samples of the windows' rate there were when the window of each was complete,
        increasing.

    Returns
    -------
    ndarray of int32, shape (n,)
        The heart rates that are given out.
    """
    heart_rate = outputs[:, 0]
    if not (front.clip or front.kalman):
        return heart_rate
    rows = np.diff(ends, prepend=0)
    longest = np.inf if front.max_gap is None else front.max_gap
    gaps = np.flatnonzero(rows[1:] > longest) + 1
    if front.kalman is None:
        return np.concatenate([clipped(part) for part in np.split(heart_rate, gaps)])
    noise = noises(front.kalman, outputs[:, -1].tolist())
    parts = (np.split(values, gaps) for values in (heart_rate, rows, np.array(noise)))
    values = [
        filtered(front.kalman, *(column.tolist() for column in part))
        for part in zip(*parts, strict=True)
    ]
    return np.concatenate(values).astype(np.int32)


def _spread_out(front: FrontEnd, windows: Integers) -> tuple[Integers, Integers, Integers]:
    """Reduce PPG windows to 15 bits; return them, multipliers and shifts.

    A deviation ``d`` from the mean, with the variance ``v``, becomes ``d / (sqrt(v) * scale)``, in
    which all units drop out.
    """
    low = windows.min(axis=1, keepdims=True)
    span = windows.max(axis=1, keepdims=True) - low
    down = np.zeros_like(span)
    while (large := (span >> down) >= SPAN).any():
        down += large
    above = (windows - low) >> down
    sums = above.sum(axis=1)
    squares = front.n_times * (above**2).sum(axis=1) - sums**2
    multiplier, shift = np.zeros_like(span), np.ones_like(span)
    for k in np.flatnonzero(span[:, 0] > front.residue):
        # by an even number of bits, to 63 or 64, of which the upper 32 are as good
        up = (VARIANCE_BITS - int(squares[k]).bit_length()) // 2
        root = math.isqrt((int(squares[k]) << (2 * up)) >> 32)
        multiplier[k] = (front.scalings[0].multiplier + root // 2) // root
        shift[k] = front.scalings[0].shift - up
    return above, multiplier, shift
