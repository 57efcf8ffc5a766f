"""The self-test of an export: made-up signals, the same in C and here, and their heart rates.

Signals come from a formula of integers rather than from tables, so that the test takes little
flash. They are not physiological; they reach every weight that can matter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pulsehr.firmware.c_files import fill, with_note
from pulsehr.firmware.c_text import array
from pulsehr.firmware.front import FrontEnd
from pulsehr.firmware.front_filters import ACC_REACH, PPG_REACH, Sensor
from pulsehr.firmware.front_integer import front_windows, tracked
from pulsehr.firmware.integer import run_outputs
from pulsehr.firmware.memory import ALIGNMENT
from pulsehr.firmware.quantization import QuantizedGraph
from pulsehr.tracking import CLIP_LENGTH

#: Windows: of the lowest samples, of the highest, of both in turn, and three waves.
N_WINDOWS = 6

#: Heart rates of a stream; if they are clipped, as many more as it takes until they are.
N_READINGS = 3

#: Seconds from beat to beat of the made-up PPG, and from swing to swing of the acceleration.
BEAT, SWING = 0.75, 0.55

#: Steps of the network's input that a signal should reach at most, and the wave's largest value.
REACH_STEPS, REACH_WAVE = 96, 96

Integers = NDArray[np.int64]


def wave(index: Integers, signal: Integers | int, period: int) -> Integers:
    """Make up samples from -96 to 95: a triangle and noise.

    Parameters
    ----------
    index : ndarray of int
        Numbers of the samples.
    signal : ndarray of int, or int
        Whose noise it is, from 0 to 3.
    period : int
        Samples of the triangle.

    Returns
    -------
    ndarray of int64
        One value for each index.
    """
    phase = index % period
    up = np.where(2 * phase < period, phase, period - phase)
    mask = np.uint64(2**32 - 1)
    noise = ((index * 4 + signal + 1).astype(np.uint64) * np.uint64(2654435769)) & mask
    noise ^= noise >> np.uint64(15)
    noise = (noise * np.uint64(2246822519)) & mask
    return up * 256 // period - 64 + (noise >> np.uint64(26)).astype(np.int64) - 32


def self_test_windows(graph: QuantizedGraph) -> NDArray[np.int8]:
    """Make up windows.

    Parameters
    ----------
    graph : QuantizedGraph
        The network that takes them.

    Returns
    -------
    ndarray of int8, shape (N_WINDOWS, n_channels, n_times)
        The first three at the rails.
    """
    n_channels, n_times = graph.input_shape
    windows = np.empty((N_WINDOWS, n_channels, n_times), dtype=np.int8)
    index, rows = np.arange(n_times), np.arange(n_channels)[:, None]
    windows[0], windows[1] = -128, 127
    windows[2] = np.where(index % 2 == 0, -128, 127)
    for vector in range(3, N_WINDOWS):
        windows[vector] = wave(index[None] + 1000 * vector, rows, 8 * vector)
    return windows


def self_test_samples(
    front: FrontEnd, n_ppg: int, n_acc: int
) -> tuple[NDArray[np.int32], NDArray[np.int16] | None]:
    """Make up samples of the sensors.

    Parameters
    ----------
    front : FrontEnd
        The front end that takes them.
    n_ppg, n_acc : int
        How many.

    Returns
    -------
    ppg : ndarray of int32, shape (n_ppg,)
        Counts of the PPG.
    acc : ndarray of int16, shape (n_acc, 3), or None
        Counts of the acceleration.
    """
    centre, gain = _level(front, 0)
    beat = wave(np.arange(n_ppg), 0, _period(front.ppg, BEAT))
    ppg = (centre + gain * beat).astype(np.int32)
    if front.acc is None:
        return ppg, None
    swing = wave(np.arange(n_acc)[:, None], np.arange(1, 4), _period(front.acc, SWING))
    centres, gains = np.array([_level(front, channel) for channel in (1, 2, 3)]).T
    return ppg, (centres + gains * swing).astype(np.int16)


def expected_heart_rates(graph: QuantizedGraph, front: FrontEnd) -> NDArray[np.int32]:
    """Compute the heart rates of the made-up stream, in 1/256 bpm.

    Parameters
    ----------
    graph : QuantizedGraph
        The network.
    front : FrontEnd
        Its front end.

    Returns
    -------
    ndarray of int32, shape (n_readings,)
        One for each stride.
    """
    ends = front.n_times + front.stride * np.arange(n_readings(front))
    n_ppg, n_acc = (
        0 if sensor is None else int(ends[-1]) * sensor.factor + sensor.lookahead
        for sensor in (front.ppg, front.acc)
    )
    outputs = run_outputs(
        graph, front_windows(front, *self_test_samples(front, n_ppg, n_acc), ends)
    )
    return tracked(front, outputs, ends)


def self_test_files(
    graph: QuantizedGraph, front: FrontEnd | None, prefix: str, arena_bytes: int, state_bytes: int
) -> dict[str, str]:
    """Write the self-test as C11.

    Parameters
    ----------
    graph : QuantizedGraph
        The network.
    front : FrontEnd or None
        Its front end.
    prefix : str
        Starts every symbol and file name.
    arena_bytes, state_bytes : int
        Working memory of the network, and that of a stream.

    Returns
    -------
    dict of str to str
        Name and text of header and code.
    """
    fields = {
        "prefix": prefix,
        "upper": prefix.upper(),
        "alignment": str(ALIGNMENT),
        "n_windows": str(N_WINDOWS),
        "self_test_bytes": str(max(arena_bytes + int(np.prod(graph.input_shape)), state_bytes)),
        "and_stream": "" if front is None else " and of a made-up stream of samples",
        "expected": _expected(graph, front, prefix),
        "signals": "",
        "stream_functions": "",
        "result": "0",
        "std": "",
    }
    if graph.n_outputs == 2:
        fields["std"] = fill("self_test_std.c", fields)
    if front is not None:
        fields |= _stream_fields(front, prefix)
        fields["stream_functions"] = fill("self_test_stream.c", fields)
    return {
        f"{prefix}_self_test.{kind}": with_note(fill(f"self_test.{kind}", fields), prefix)
        for kind in ("h", "c")
    }


def _expected(graph: QuantizedGraph, front: FrontEnd | None, prefix: str) -> str:
    windows, *stds = run_outputs(graph, self_test_windows(graph)).T
    text = array(f"static const int32_t {prefix}_expected_windows[{len(windows)}]", windows)
    for values in stds:
        text += array(f"static const int32_t {prefix}_expected_stds[{len(values)}]", values)
    if front is not None:
        stream = expected_heart_rates(graph, front)
        text += array(f"static const int32_t {prefix}_expected_stream[{len(stream)}]", stream)
    return text


def _stream_fields(front: FrontEnd, prefix: str) -> dict[str, str]:
    levels = [_level(front, channel) for channel in range(front.n_channels)]
    lines = [f"int32_t {prefix}_self_test_ppg(int32_t index);"]
    if front.acc is not None:
        lines.append(f"int16_t {prefix}_self_test_acc(int32_t index, int32_t axis);")
    return {
        "signals": "\n/* Make up sample `index` of the stream, in counts. */\n"
        + "".join(f"{line}\n" for line in lines),
        "n_readings": str(n_readings(front)),
        "ppg_centre": str(levels[0][0]),
        "ppg_gain": str(levels[0][1]),
        "ppg_period": str(_period(front.ppg, BEAT)),
        "acc_period": "1" if front.acc is None else str(_period(front.acc, SWING)),
        "acc_centre": ", ".join(str(centre) for centre, _ in levels[1:]),
        "acc_gain": ", ".join(str(gain) for _, gain in levels[1:]),
        "result": f"{prefix}_self_test_stream(memory)",
    }


def n_readings(front: FrontEnd) -> int:
    """Count the heart rates of the made-up stream."""
    return N_READINGS + (CLIP_LENGTH if front.clip else 0)


def _period(sensor: Sensor, seconds: float) -> int:
    return max(2, round(sensor.rate * seconds))


def _level(front: FrontEnd, channel: int) -> tuple[int, int]:
    """Choose a centre and a gain by which the wave fills the range of the network's input."""
    reach = (PPG_REACH if channel == 0 else ACC_REACH) // 2
    scaling = front.scalings[channel]
    steps = scaling.multiplier / 2.0**scaling.shift  # of the input for each of a value
    centre = 0
    if channel == 0 and front.normalize == "window":
        steps = 1.0 / 64  # any gain will do
    elif front.normalize == "window":
        steps *= front.n_times
    elif front.bandpass is None:
        # half a step rounds
        zero = (scaling.offset / 2.0**scaling.shift) - 0.5
        centre = round((front.zero_point - zero) / steps)
    if channel == 0 and front.bandpass is not None and front.normalize != "window":
        steps *= 2.0**front.bandpass.fraction_bits
    centre = int(np.clip(centre, -reach, reach))
    gain = round(REACH_STEPS / steps / REACH_WAVE)
    return centre, int(np.clip(gain, 1, reach // REACH_WAVE))
