"""Sample a signal at any instants, band-limited to what the new rate can carry, or as it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import i0

from pulsehr._signals import Signal
from pulsehr._stored import StoredSignal

#: Half-width of the filter, in samples of the slower of the two rates: its look-ahead.
HALF_WIDTH = 5

#: Kaiser's rule for a stop-band of 60 dB (Oppenheim & Schafer, Discrete-Time Signal
#: Processing, 3rd ed., eq. 7.75); the truncation to ten samples leaves 44 dB.
KAISER_BETA = 0.1102 * (60 - 8.7)

#: Instants closer than this (in samples) are one: a position is a multiple of it.
PHASE_STEP = 1e-6

#: Instants that are computed at a time: their taps stay in the cache.
CHUNK = 1 << 12

#: Samples between two instants on disk up to which they are read along rather than skipped.
GAP = 256


def resample_at(
    signal: Signal,
    rate: float,
    times: NDArray[np.float64],
    target_rate: float,
    stretch: tuple[int, int] | None = None,
) -> NDArray[np.float64]:
    """Evaluate signals of one rate at instants through a Kaiser-windowed sinc.

    The cut-off (-6 dB) is half the slower rate: from 125 to 32 Hz the pass-band is flat to 10 Hz
    and 22 Hz and above, which would alias below 10 Hz, lose 44 dB or more. Before the first
    and after the last sample of a stretch the signal is taken to stay as it is there. Overlapping
    windows share instants, and each different instant is computed once. Of signals on disk only
    the samples around the instants are read.

    Parameters
    ----------
    signal : ndarray or StoredSignal of shape (n_samples,) or (n_samples, n_signals)
        Samples taken ``k / rate`` seconds after the start.
    rate : float
        Sampling rate of `signal` in Hz.
    times : ndarray of any shape
        Instants in seconds.
    target_rate : float
        Rate in Hz at which the instants sample the signal.
    stretch : tuple of 2 int, default=None
        The first sample that may be looked at, and the first after those; None: all.

    Returns
    -------
    ndarray of shape (*times.shape, n_signals)
        The signals at the instants.
    """
    first, stop = stretch or (0, len(signal))
    steps = np.rint(times.ravel() * (rate / PHASE_STEP)).astype(np.int64)
    unique, inverse = np.unique(steps, return_inverse=True)
    values = np.empty((len(unique), *(signal.shape[1:] or (1,))))
    per_sample = round(1 / PHASE_STEP)
    for start in range(0, len(unique), CHUNK):
        base, phase = np.divmod(unique[start : start + CHUNK], per_sample)
        phases, which = np.unique(phase, return_inverse=True)
        offsets, weights = filter_bank(phases * PHASE_STEP, rate, target_rate)
        index = np.clip(base[:, None] + offsets, first, stop - 1)
        samples = _samples(signal, index).reshape(*index.shape, -1)
        values[start : start + CHUNK] = np.einsum("tks,tk->ts", samples, weights[which])
    return values[inverse].reshape(*times.shape, -1)


def sample_before(
    signal: Signal,
    rate: float,
    times: NDArray[np.float64],
    stretch: tuple[int, int] | None = None,
) -> NDArray[np.floating]:
    """Take the last sample at or before each instant, without a filter.

    Parameters
    ----------
    signal : ndarray or StoredSignal of shape (n_samples,) or (n_samples, n_signals)
        Samples taken ``k / rate`` seconds after the start.
    rate : float
        Sampling rate of `signal` in Hz.
    times : ndarray of any shape
        Instants in seconds; one that lies less than `PHASE_STEP` of a sample before a sample is
        the instant of that sample. Outside of a stretch its first or last sample is taken.
    stretch : tuple of 2 int, default=None
        The first sample that may be looked at, and the first after those; None: all.

    Returns
    -------
    ndarray of shape (*times.shape, n_signals)
        The samples.
    """
    first, stop = stretch or (0, len(signal))
    index = np.floor(times.ravel() * rate + PHASE_STEP).astype(np.int64)
    unique, inverse = np.unique(np.clip(index, first, stop - 1), return_inverse=True)
    samples = _samples(signal, unique[:, None]).reshape(len(unique), -1)
    return samples[inverse].reshape(*times.shape, -1)


def _samples(signal: Signal, index: NDArray[np.int64]) -> NDArray[np.floating]:
    """Return ``signal[index]`` for increasing rows of index (n_instants, n_taps)."""
    if not isinstance(signal, StoredSignal):
        return signal[index]
    borders = np.flatnonzero(index[1:, 0] - index[:-1, -1] > GAP) + 1
    firsts = index[np.r_[0, borders], 0]
    stops = index[np.r_[borders, len(index)] - 1, -1] + 1
    read = np.concatenate([signal[a:b] for a, b in zip(firsts, stops, strict=True)])
    # where each stretch starts in the file, less where it starts in what was read
    skipped = firsts - np.r_[0, np.cumsum(stops - firsts)[:-1]]
    stretch = np.searchsorted(borders, np.arange(len(index)), side="right")
    return read[index - skipped[stretch][:, None]]


def filter_bank(
    phases: NDArray[np.float64], rate: float, target_rate: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return sample offsets (n_taps,) and weights (n_phases, n_taps) that sum to one."""
    bandwidth = min(1.0, target_rate / rate)
    half = HALF_WIDTH / bandwidth
    offsets = np.arange(-int(half), int(half) + 2)
    distance = offsets - phases[:, None]
    taper = i0(KAISER_BETA * np.sqrt(np.clip(1 - (distance / half) ** 2, 0, None)))
    weights = np.sinc(bandwidth * distance) * taper * (np.abs(distance) <= half)
    return offsets, weights / weights.sum(axis=1, keepdims=True)
