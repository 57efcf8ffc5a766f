"""How a synthetic heart beats: its rate, its breathing, the shape of its pulse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

FloatArray = NDArray[np.float64]

#: Rate (Hz) at which everything is simulated before it is sampled.
FINE_RATE = 128.0

#: Rate (Hz) of what changes over seconds.
SLOW_RATE = 4.0

#: Rise of the heart rate over rest (bpm), lowest and highest of a subject, by activity.
RISE = {"rest": (0.0, 0.0), "table": (8.0, 25.0), "walk": (15.0, 40.0), "run": (60.0, 115.0)}

#: Time constants (s) with which the heart rate rises and falls.
RISE_TIME, FALL_TIME = (15.0, 35.0), (35.0, 70.0)

#: Standard deviation (bpm) and memory (s) of its wander: together about 1/f.
WANDER = ((1.5, 5.0), (2.0, 25.0), (2.0, 120.0))

#: No simulated heart rate leaves this range (bpm).
RATE_RANGE = (42.0, 205.0)

#: Waves of a pulse, from systole to the dicrotic wave: ranges of the subjects, in beats.
WAVE_CENTRE = ((0.14, 0.18), (0.32, 0.40), (0.54, 0.62))
WAVE_WIDTH = ((0.055, 0.075), (0.07, 0.10), (0.06, 0.09))
WAVE_HEIGHT = ((1.0, 1.0), (0.25, 0.60), (0.08, 0.30))


@dataclass(frozen=True)
class Segments:
    """Say what a subject does when: activity ``names[k]`` from ``starts[k]`` seconds on."""

    names: Sequence[str]
    starts: FloatArray

    @property
    def ends(self) -> FloatArray:
        """Seconds at which each activity ends; the last never does."""
        return np.append(self.starts[1:], np.inf)

    def gates(self, t: FloatArray, ramp: float = 1.5) -> FloatArray:
        """Weigh each activity at each instant, 0 to 1, with a ramp in between."""
        up = np.clip((t - self.starts[:, None]) / ramp + 0.5, 0, 1)
        up[0] = 1.0
        down = np.clip((t - self.ends[:, None]) / ramp + 0.5, 0, 1)
        return np.asarray(up - down)


@dataclass(frozen=True)
class Heartbeat:
    """Hold what the heart does at each instant, arrays of shape ``(n_times,)``.

    `rate` is the heart rate in bpm, `phase` counts beats, `breath` goes from -1 to 1, and
    `effort` from 0 at rest to about 1.
    """

    rate: FloatArray
    phase: FloatArray
    breath: FloatArray
    effort: FloatArray


def slow_noise(rng: np.random.Generator, t: FloatArray, memory: float) -> FloatArray:
    """Draw an Ornstein-Uhlenbeck process of unit variance with a `memory` in seconds."""
    n = int(np.ceil(t[-1] * SLOW_RATE)) + 2
    decay = np.exp(-1.0 / (SLOW_RATE * memory))
    kicks = rng.standard_normal(n) * np.sqrt(1 - decay**2)
    kicks[0] /= np.sqrt(1 - decay**2)
    noise = lfilter([1.0], [1.0, -decay], kicks)
    return np.asarray(np.interp(t, np.arange(n) / SLOW_RATE, noise))


def integrate(rate: FloatArray) -> FloatArray:
    """Integrate a rate (Hz) on the fine grid, from zero at the first instant."""
    steps = (rate[1:] + rate[:-1]) / (2 * FINE_RATE)
    return np.concatenate(([0.0], np.cumsum(steps)))


def beat(rng: np.random.Generator, t: FloatArray, segments: Segments) -> Heartbeat:
    """Let a heart follow the activities.

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
    Heartbeat
        What the heart does.
    """
    rest = np.clip(rng.normal(68.0, 9.0), 50.0, 95.0)
    rise = {name: rng.uniform(*bounds) for name, bounds in RISE.items()}
    up, down = rng.uniform(*RISE_TIME), rng.uniform(*FALL_TIME)
    level, course = 0.0, np.zeros_like(t)
    for name, start, end in zip(segments.names, segments.starts, segments.ends, strict=True):
        inside = (t >= start) & (t < end)
        time_constant = up if rise[name] > level else down
        path = rise[name] + (level - rise[name]) * np.exp(-(t[inside] - start) / time_constant)
        course[inside] = path
        level = path[-1] if len(path) else level
    effort = course / 100.0
    breathing = rng.uniform(0.20, 0.30) + 0.2 * effort + 0.02 * slow_noise(rng, t, 10.0)
    breath = np.sin(2 * np.pi * (integrate(breathing) + rng.random()))
    arrhythmia = rng.uniform(1.0, 4.0) * np.clip(1 - effort, 0.1, 1.0)
    wander = sum(scale * slow_noise(rng, t, memory) for scale, memory in WANDER)
    rate = np.clip(rest + course + wander + arrhythmia * breath, *RATE_RANGE)
    return Heartbeat(rate, integrate(rate / 60.0) + rng.random(), breath, effort)


def pulse_wave(rng: np.random.Generator, phase: FloatArray) -> FloatArray:
    """Draw the shape of a subject's pulse, 0 to 1, at each phase in beats."""
    waves = [
        (rng.uniform(*centre), rng.uniform(*width), rng.uniform(*height))
        for centre, width, height in zip(WAVE_CENTRE, WAVE_WIDTH, WAVE_HEIGHT, strict=True)
    ]
    cycle = np.linspace(0.0, 1.0, 512)
    shape = np.zeros_like(cycle)
    for centre, width, height in waves:
        distance = (cycle - centre + 0.5) % 1.0 - 0.5
        shape += height * np.exp(-0.5 * (distance / width) ** 2)
    shape = (shape - shape.min()) / np.ptp(shape)
    return np.asarray(np.interp(phase % 1.0, cycle, shape))
