"""Synthetic recordings: heart rate, motion and sensor of any number of subjects."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.signal import butter, sosfiltfilt
from sklearn.utils import check_random_state

from pulsehr.datasets._dataset import HeartRateDataset, dataset_from_recordings
from pulsehr.datasets._synthetic_heart import (
    FINE_RATE,
    FloatArray,
    Heartbeat,
    Segments,
    beat,
    pulse_wave,
    slow_noise,
)
from pulsehr.datasets._synthetic_motion import Movement, move
from pulsehr.recordings import Recording

#: What subjects can do: nothing, arm work while standing, and two gaits.
ACTIVITIES = ("rest", "table", "walk", "run")

#: A label is the mean heart rate of so many seconds, one every two.
LABEL_WINDOW, LABEL_STRIDE = 8.0, 2.0

#: Slowest sampling (Hz) that still shows a fast pulse with its first harmonic.
MIN_RATE = 8.0

#: All activities come up within this time (s), or within the duration if that is shorter.
CYCLE = 300.0
SHARE_ACTIVE, SHARE_FIRST_REST, SHARE_REST = 0.19, 0.16, 0.12

#: Converter of the PPG: counts at the rails, at no signal, and of the pulse of a fair skin.
PPG_RAILS, PPG_REST, PULSE_COUNTS = (0.0, 4095.0), 2048.0, 130.0

#: Noise of the PPG (counts) and of the acceleration (g); range and steps of the latter (g).
PPG_NOISE, ACC_NOISE, ACC_RANGE, ACC_STEP = 3.0, 0.01, 8.0, 1 / 256

#: Losses of contact per minute at rest and in motion, for a fit of 1.
LOSSES_AT_REST, LOSSES_IN_MOTION = 0.02, 0.5


def make_recordings(
    n_subjects: int = 12,
    duration: float = 300.0,
    *,
    ppg_rate: float = 64.0,
    acc_rate: float = 32.0,
    activities: Sequence[str] = ACTIVITIES,
    motion: float = 1.0,
    random_state: int | np.random.RandomState | None = None,
) -> HeartRateDataset:
    """Make wrist recordings of synthetic subjects, one each.

    Parameters
    ----------
    n_subjects : int, default=12
        Number of subjects, ``"synthetic_00"``, ....
    duration : float, default=300.0
        Seconds per recording, at least 8.
    ppg_rate : float, default=64.0
        Sampling rate of the PPG in Hz, at least 8.
    acc_rate : float, default=32.0
        Sampling rate of the acceleration in Hz, at least 8.
    activities : sequence of {"rest", "table", "walk", "run"}, default=all
        What the subjects do, in a random order; rest comes first and between the others.
        "table" is arm work without gait.
    motion : float, default=1.0
        Factor on the motion artefacts in the PPG and on the losses of contact; 0 for none.
    random_state : int, RandomState instance or None, default=None
        Seed. With an int, a subject depends on the seed and its index alone: the first
        three of twelve are the three that ``n_subjects=3`` gives.

    Returns
    -------
    HeartRateDataset
        One label every two seconds from the eighth on: the true mean heart rate of the eight
        seconds that end there. The PPG is in counts of a 12-bit converter, the acceleration
        in g.

    Raises
    ------
    ValueError
        If a number is too small or an activity is unknown.
    TypeError
        If a parameter is no number.

    Notes
    -----
    Modelled: a heart rate that wanders about like 1/f, follows breathing, and follows the
    activity with time constants of 15 to 70 s; a pulse of three waves per subject;
    breathing in amplitude and baseline of the pulse; drift; an arm that swings and
    bounces at a cadence which the heart rate can cross, and gravity in the acceleration; an
    artefact that the same movement causes through tissue and blood, filtered, late, not in
    proportion, and scaled by a fit per subject that slips with time; skin (how large the
    pulse is); loss of contact; rails, noise and steps of the converters.

    Not modelled: arrhythmia, change of the pulse shape with pressure or age, ambient light,
    temperature, several wavelengths, clocks that drift apart. An error on these recordings
    says that code works, not how well it does on people.

    Examples
    --------
    >>> from pulsehr.datasets import make_recordings
    >>> data = make_recordings(n_subjects=3, duration=60, random_state=0)
    >>> data
    HeartRateDataset(81 readings, 3 recordings, 3 subjects)
    >>> data.recordings[0]
    Recording('synthetic_00': 60.0 s, PPG 64 Hz, ACC 32 Hz, 27 labels)
    """
    if isinstance(n_subjects, bool) or not isinstance(n_subjects, Integral):
        raise TypeError(f"make_recordings: n_subjects must be an integer, got {n_subjects!r}")
    _check_at_least("n_subjects", n_subjects, 1)
    _check_at_least("duration", duration, LABEL_WINDOW, " s")
    _check_at_least("ppg_rate", ppg_rate, MIN_RATE, " Hz")
    _check_at_least("acc_rate", acc_rate, MIN_RATE, " Hz")
    _check_at_least("motion", motion, 0)
    unknown = [name for name in activities if name not in ACTIVITIES]
    if isinstance(activities, str) or unknown or len(activities) == 0:
        raise ValueError(
            f"make_recordings: activities must be some of {list(ACTIVITIES)}, got {activities!r}"
        )
    if random_state is None:  # scikit-learn would draw from numpy's global generator
        seed = int(np.random.default_rng().integers(2**31))
    else:
        seed = int(check_random_state(random_state).randint(2**31 - 1))
    return dataset_from_recordings(
        [
            _make_recording(seed, index, duration, ppg_rate, acc_rate, activities, motion)
            for index in range(n_subjects)
        ]
    )


def _check_at_least(name: str, value: float, least: float, unit: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"make_recordings: {name} must be a number, got {value!r}")
    if not (np.isfinite(value) and value >= least):
        raise ValueError(f"make_recordings: {name} must be >= {least:g}{unit}, got {value}")


def _make_recording(
    seed: int,
    index: int,
    duration: float,
    ppg_rate: float,
    acc_rate: float,
    activities: Sequence[str],
    motion: float,
) -> Recording:
    # one generator per question, so that no answer depends on the others' parameters
    protocol, heart, arm, skin, ppg_noise, acc_noise = np.random.default_rng([seed, index]).spawn(6)
    t = np.arange(int(np.ceil((duration + 1.0) * FINE_RATE))) / FINE_RATE
    segments = _plan(protocol, duration, activities)
    heartbeat = beat(heart, t, segments)
    movement = move(arm, t, segments)
    ppg = _sample(t, _see(skin, t, heartbeat, movement, motion), duration, ppg_rate)
    ppg = ppg + PPG_NOISE * ppg_noise.standard_normal(ppg.shape)
    acc = _sample(t, movement.acc, duration, acc_rate)
    acc = acc + ACC_NOISE * acc_noise.standard_normal(acc.shape)
    times = np.arange(LABEL_WINDOW, duration + 1e-6, LABEL_STRIDE)
    beats = np.interp(times, t, heartbeat.phase) - np.interp(
        times - LABEL_WINDOW, t, heartbeat.phase
    )
    return Recording(
        ppg=np.clip(np.round(ppg), *PPG_RAILS),
        ppg_rate=ppg_rate,
        acc=np.clip(np.round(acc / ACC_STEP) * ACC_STEP, -ACC_RANGE, ACC_RANGE),
        acc_rate=acc_rate,
        heart_rate=60.0 * beats / LABEL_WINDOW,
        heart_rate_times=times,
        activity=np.array(segments.names),
        activity_times=segments.starts,
        subject=f"synthetic_{index:02d}",
    )


def _plan(rng: np.random.Generator, duration: float, activities: Sequence[str]) -> Segments:
    """Order the activities at random, with rest first and in between, until the time is up."""
    active = [name for name in dict.fromkeys(activities) if name != "rest"]
    rests = "rest" in activities
    names: list[str] = []
    lengths: list[float] = []
    cycle = min(duration, CYCLE)
    while sum(lengths) < duration:
        if rests:
            names.append("rest")
            lengths.append(cycle * SHARE_FIRST_REST * rng.uniform(0.8, 1.2))
        for name in rng.permutation(active):
            names += [str(name), "rest"] if rests else [str(name)]
            shares = [SHARE_ACTIVE, SHARE_REST] if rests else [1 / len(active)]
            lengths += [cycle * share * rng.uniform(0.8, 1.2) for share in shares]
    starts = np.concatenate(([0.0], np.cumsum(lengths)[:-1]))
    # rest that follows rest is one activity
    new = [k == 0 or names[k] != names[k - 1] for k in range(len(names))]
    kept = [k for k in range(len(names)) if new[k] and starts[k] < duration]
    return Segments([names[k] for k in kept], starts[kept])


def _see(
    rng: np.random.Generator,
    t: FloatArray,
    heartbeat: Heartbeat,
    movement: Movement,
    motion: float,
) -> FloatArray:
    """Let the sensor see pulse and artefact through skin and fit, in counts."""
    pulse_counts = PULSE_COUNTS * np.clip(rng.lognormal(0.0, 0.4), 0.35, 2.5)
    fit = rng.lognormal(0.0, 0.5) * np.exp(0.3 * slow_noise(rng, t, 30.0))
    breathing = rng.uniform(0.05, 0.20, size=2)
    flow = np.exp(0.15 * slow_noise(rng, t, 20.0)) * (1 - 0.3 * np.clip(heartbeat.effort, 0, 1))
    flow *= 1 + breathing[0] * heartbeat.breath
    pulse = flow * pulse_wave(rng, heartbeat.phase)
    artefact = motion * fit * movement.artefact
    pulse *= 1 + 0.15 * np.tanh(artefact)
    drift = breathing[1] * heartbeat.breath + 0.8 * slow_noise(rng, t, 15.0)
    signal = PPG_REST + pulse_counts * (pulse + drift) + PULSE_COUNTS * artefact
    per_minute = LOSSES_AT_REST + (LOSSES_IN_MOTION - LOSSES_AT_REST) * movement.intensity
    lost = rng.random(len(t)) < motion * fit * per_minute / (60 * FINE_RATE)
    for start in t[lost]:
        length, level = rng.uniform(0.5, 3.0), rng.choice([-1, 1]) * rng.uniform(600, 3000)
        off = np.clip(np.minimum(t - start, start + length - t) / 0.15, 0, 1)
        signal = (1 - off) * signal + off * (PPG_REST + level)
    return np.asarray(signal)


def _sample(t: FloatArray, signal: FloatArray, duration: float, rate: float) -> FloatArray:
    """Sample a fine signal at a rate, without what the rate cannot carry."""
    times = np.arange(int(np.ceil(duration * rate - 1e-6))) / rate
    if rate < FINE_RATE:
        low = butter(4, 0.45 * rate, fs=FINE_RATE, output="sos")
        signal = sosfiltfilt(low, signal, axis=0)
    return np.asarray(CubicSpline(t, signal)(times))
