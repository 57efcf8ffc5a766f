"""Replay a recording in real time, or faster, through the pretrained student, in the terminal.

    python examples/live_replay.py [--speed 10] [--data FOLDER] [--track]

Packets of half a second come as from a watch, each sensor at its own rate. Without FOLDER (of any
data set that `load_folder` knows, or one recording of it) the recording is synthetic. With --track
a Kalman filter follows the heart rate.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.frozen import FrozenEstimator

from pulsehr import HeartRateStream, HeartRateTracker, Reading, load_pretrained
from pulsehr.datasets import load_folder, make_recordings

#: Seconds of samples that come at a time.
PACKET = 0.5

#: The bar of the display begins at this many bpm, and has a sign for each four.
LEAST, STEP = 40, 4


def main(speed=1.0, data=None, track=False, duration=60):
    """Replay, show, and tell whether the heart rates are those of `predict` afterwards."""
    source = load_folder(data) if data else make_recordings(1, duration, random_state=0)
    recording = source.recordings[0]
    model = load_pretrained("student")
    if track:
        model = HeartRateTracker(FrozenEstimator(model), method="kalman").fit(recording.readings())
    print(f"{recording!r}, {speed:g} times as fast")
    print(f"{'time':>7}  {'bpm':>5}    {'std':>4}  label")
    live = []
    with HeartRateStream(model, recording.ppg_rate, recording.acc_rate) as stream:
        for packet in in_time(packets(recording), speed):
            for reading in stream.push(**packet):
                live.append(reading)
                print(line(reading, Reading(recording, reading.instant).heart_rate), flush=True)
    for reading in stream.finish():
        live.append(reading)
        print(line(reading, Reading(recording, reading.instant).heart_rate))
    bpm, std = model.predict(recording.readings(), return_std=True)
    same = [reading.heart_rate for reading in live] == bpm.tolist()
    same = same and [reading.std for reading in live] == std.tolist()
    print(f"{len(live)} heart rates, those of predict on the recording to the bit: {same}")
    return same


def packets(recording):
    """Yield when each packet of samples is complete, in seconds, and the packet."""
    for number in range(int(np.ceil(recording.duration / PACKET))):
        start, stop = number * PACKET, (number + 1) * PACKET
        yield (
            stop,
            {
                signal.name: signal.samples[round(start * signal.rate) : round(stop * signal.rate)]
                for signal in recording.signals
            },
        )


def in_time(timed, speed):
    """Yield each packet no sooner than it is complete."""
    begin = time.monotonic()
    for seconds, packet in timed:
        time.sleep(max(0.0, begin + seconds / speed - time.monotonic()))
        yield packet


def line(reading, label):
    """Return a heart rate as a line with a bar."""
    known = "" if label is None else f"{label:.0f}"
    bar = "#" * round((reading.heart_rate - LEAST) / STEP)
    bpm = f"{reading.heart_rate:5.1f} +- {reading.std:4.1f}"
    return f"{reading.instant:6.1f}s  {bpm}  {known:>5}  {bar}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--speed", type=float, default=1.0, help="seconds replayed in a second")
    parser.add_argument("--data", help="folder of a data set")
    parser.add_argument("--track", action="store_true", help="follow by a Kalman filter")
    main(**vars(parser.parse_args()))
