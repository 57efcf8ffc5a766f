"""How a synthetic arm moves, what its acceleration is, and what it does to the PPG."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, sosfilt, sosfiltfilt

from pulsehr.datasets._synthetic_heart import (
    FINE_RATE,
    FloatArray,
    Segments,
    integrate,
    slow_noise,
)

#: Steps per second, lowest and highest of a subject.
CADENCE = {"walk": (1.60, 2.05), "run": (2.45, 2.95)}

#: Swing of the forearm (rad) and bounce of the body (g), lowest and highest of a subject.
SWING = {"rest": (0.02, 0.10), "table": (0.10, 0.35), "walk": (0.20, 0.45), "run": (0.35, 0.70)}
BOUNCE = {"rest": (0.01, 0.04), "table": (0.10, 0.35), "walk": (0.10, 0.30), "run": (0.50, 1.20)}

#: Height of the first harmonics of a step.
STEP_HARMONICS = (1.0, 0.5, 0.25)

#: Band (Hz) of arm movements that are no gait, and rate (Hz) of the rhythmic part of them.
ARM_BAND = (0.7, 4.0)
ARM_RHYTHM = (1.1, 2.4)

#: From the axis of the swing to the wrist (m), and gravity (m/s^2).
LEVER = 0.3
GRAVITY = 9.81

#: Tissue gives way to acceleration below this (Hz); blood follows the angle more slowly.
TISSUE_CUTOFF = (2.5, 5.0)
BLOOD_CUTOFF = 1.2

#: Largest artefact in pulses: the skin moves so far under the sensor and no further.
ARTEFACT_LIMIT = 5.0


@dataclass(frozen=True)
class Movement:
    """Hold an arm's movement.

    `acc` of shape ``(n_times, 3)`` is the acceleration in g, gravity included; `artefact` of
    shape ``(n_times,)`` is what it adds to the PPG, in pulses; `intensity` of shape
    ``(n_times,)`` goes from 0 (rest) to 1.
    """

    acc: FloatArray
    artefact: FloatArray
    intensity: FloatArray


def move(rng: np.random.Generator, t: FloatArray, segments: Segments) -> Movement:
    """Move the arm of a subject through the activities.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides on the subject.
    t : ndarray of shape (n_times,)
        Instants in seconds, on the fine grid.
    segments : Segments
        What the subject does when.

    Returns
    -------
    Movement
        Acceleration, and the artefact that comes of the same movement.
    """
    angle, bounce = np.zeros_like(t), np.zeros_like(t)
    gates = segments.gates(t)
    scale = {name: (rng.uniform(*SWING[name]), rng.uniform(*BOUNCE[name])) for name in SWING}
    for activity in SWING:  # all of them, so that a subject does not depend on the protocol
        gait = _gait if activity in CADENCE else _arm_work
        swing, step = gait(rng, t, activity)
        chosen = [name == activity for name in segments.names]
        gate = gates[chosen].sum(axis=0)
        angle += gate * scale[activity][0] * swing
        bounce += gate * scale[activity][1] * step
    posture = rng.uniform(-0.5, 0.5, len(segments.names)) @ gates + 0.1 * slow_noise(rng, t, 8.0)
    rest = np.array([name == "rest" for name in segments.names], dtype=float)
    acc = _acceleration(rng, angle, posture, bounce)
    return Movement(acc, _artefact(rng, t, acc, angle), 1.0 - rest @ gates)


def _gait(rng: np.random.Generator, t: FloatArray, activity: str) -> tuple[FloatArray, FloatArray]:
    """Swing the arm once per two steps, and bounce with every step."""
    cadence = rng.uniform(*CADENCE[activity]) * (1 + 0.02 * slow_noise(rng, t, 15.0))
    steps = 2 * np.pi * integrate(cadence)
    turn = rng.uniform(0, 2 * np.pi, 1 + len(STEP_HARMONICS))
    swing = np.sin(steps / 2) + 0.25 * np.sin(steps + turn[0])
    bounce = sum(
        height * np.cos((k + 1) * steps + turn[k + 1]) for k, height in enumerate(STEP_HARMONICS)
    )
    vigour = np.exp(0.2 * slow_noise(rng, t, 4.0))
    return vigour * swing, vigour * bounce


def _arm_work(
    rng: np.random.Generator, t: FloatArray, activity: str
) -> tuple[FloatArray, FloatArray]:
    """Move without gait: bursts, partly rhythmic; at rest they are rare."""
    band = butter(2, ARM_BAND, "bandpass", fs=FINE_RATE, output="sos")
    noise = sosfiltfilt(band, rng.standard_normal((2, len(t))), axis=1)
    noise /= noise.std(axis=1, keepdims=True)
    rhythm = rng.uniform(*ARM_RHYTHM) * np.exp(0.15 * slow_noise(rng, t, 3.0))
    swing = 0.7 * noise[0] + 0.7 * np.sin(2 * np.pi * integrate(rhythm))
    threshold = 1.7 if activity == "rest" else -0.3
    burst = 1 / (1 + np.exp(-5.0 * (slow_noise(rng, t, 2.0) - threshold)))
    return burst * swing, burst * noise[1]


def _acceleration(
    rng: np.random.Generator, angle: FloatArray, posture: FloatArray, bounce: FloatArray
) -> FloatArray:
    """Turn the movement into acceleration in g along the axes of the sensor."""
    axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    up = rng.standard_normal(3)
    up /= np.linalg.norm(up)
    speed = np.gradient(angle) * FINE_RATE
    tangential = np.gradient(speed) * FINE_RATE * LEVER / GRAVITY
    centripetal = speed**2 * LEVER / GRAVITY
    along = np.cos(angle + posture) + centripetal
    across = np.sin(angle + posture) + tangential
    return np.outer(along, axes[0]) + np.outer(across, axes[1]) + np.outer(bounce, up)


def _artefact(
    rng: np.random.Generator, t: FloatArray, acc: FloatArray, angle: FloatArray
) -> FloatArray:
    """Let tissue and blood follow the movement: filtered, late, and not in proportion."""
    direction = rng.standard_normal(3)
    direction /= np.linalg.norm(direction)
    tissue = butter(2, (0.4, rng.uniform(*TISSUE_CUTOFF)), "bandpass", fs=FINE_RATE, output="sos")
    blood = butter(1, BLOOD_CUTOFF, "lowpass", fs=FINE_RATE, output="sos")
    moved = rng.uniform(1.2, 2.2) * sosfilt(tissue, (acc - acc.mean(axis=0)) @ direction)
    moved += rng.uniform(1.5, 3.0) * sosfilt(blood, angle)
    moved = np.interp(t - rng.uniform(0.03, 0.15), t, moved)
    moved += rng.uniform(-0.2, 0.2) * moved**2
    return np.asarray(ARTEFACT_LIMIT * np.tanh(moved / ARTEFACT_LIMIT))
