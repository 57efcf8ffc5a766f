"""Measure the pretrained models on an excerpt of a device that none of their recordings came from.

    python benchmarks/pretrained_elsewhere.py ppg_dalia_S6_stairs.npz

The file holds consecutive windows of 8 s every 2 s, `X` (n, 4, n_times) of PPG and acceleration in
g at one rate, and their heart rates `y` (bpm).
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.frozen import FrozenEstimator

from pulsehr import HeartRateTracker, Recording, load_pretrained
from pulsehr.pretrained import PRETRAINED
from pulsehr.tracking import METHODS

WINDOW, STRIDE = 8.0, 2.0


def recording_of(X: np.ndarray, y: np.ndarray) -> Recording:
    """Put overlapping windows together to the recording that they were cut from."""
    rate = X.shape[2] / WINDOW
    new = round(STRIDE * rate)
    signals = np.concatenate([X[0], *X[1:, :, -new:]], axis=1)
    if not np.array_equal(X[1:, :, :-new], X[:-1, :, new:]):
        raise ValueError("recording_of: windows must follow each other every 2 s, got others")
    return Recording(
        ppg=signals[0],
        ppg_rate=rate,
        acc=signals[1:].T,
        acc_rate=rate,
        heart_rate=y,
        heart_rate_times=WINDOW + STRIDE * np.arange(len(y)),
        subject="excerpt",
    )


def main() -> None:
    """Print the mean absolute error of each model, raw and tracked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    with np.load(parser.parse_args().file) as content:
        readings = recording_of(content["X"], content["y"]).labelled_readings()
        y = content["y"]
    print(f"Mean absolute error in bpm, {len(y)} readings of {y.min():.0f} to {y.max():.0f} bpm\n")
    print(f"| | raw | {' | '.join(METHODS)} |\n|---|---|{'---|' * len(METHODS)}")
    for name in PRETRAINED:
        model = FrozenEstimator(load_pretrained(name))
        errors = [np.abs(model.predict(readings) - y).mean()]
        for method in METHODS:
            # without labels, of which a tracker would learn how heart rate wanders
            tracker = HeartRateTracker(model, method=method).fit(readings)
            errors.append(np.abs(tracker.predict(readings) - y).mean())
        print(f"| {name} | {' | '.join(f'{error:.2f}' for error in errors)} |")


if __name__ == "__main__":
    main()
