"""Empatica E4 recordings without labels: read them, and label the seconds in which all is clear.

Where a wrist rests and nearly all of the PPG swings at one rate, that rate is the heart rate for
all that a training needs. It is a method's own estimate: never take it to measure an error.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pulsehr import Recording
from pulsehr.datasets import load_empatica

#: Seconds that are judged, one stretch after the other.
STRETCH = 16.0

#: Largest standard deviation (g) of each axis of a wrist that rests.
REST = 0.05

#: Share of the power that a pulse and its second harmonic must have, and within how many bpm.
PURITY, PEAK_WIDTH, HARMONIC_WIDTH = 0.8, 6.0, 8.0

#: Rates (bpm) of which the power is compared, and those of a heart at rest.
BAND, HEART_RATES = (24.0, 240.0), (40.0, 140.0)

#: Points of the spectrum, zero-padded: 0.5 bpm apart at 64 Hz.
N_SPECTRUM = 8192


def load_resting(folder: Path) -> list[Recording]:
    """Read every E4 export below a folder and label what is clear in it.

    Parameters
    ----------
    folder : Path
        Searched for exports as `load_empatica` reads them, not zipped; the subject is the name of
        the folder around them.

    Returns
    -------
    list of Recording
        Those with at least one clear stretch, with its rate (bpm) as label at its end.

    Raises
    ------
    ValueError
        If there is no export below the folder.
    """
    exports = sorted(path.parent for path in folder.rglob("BVP.csv*"))
    if not exports:
        raise ValueError(f"load_resting: expected BVP.csv of an Empatica E4 below {folder}")
    recordings = [_recording(export) for export in exports]
    return [recording for recording in recordings if recording is not None]


def _recording(export: Path) -> Recording | None:
    recording = load_empatica(export)
    if recording.duration < STRETCH:
        return None
    rates = clear_rates(recording.ppg, recording.ppg_rate, recording.acc, recording.acc_rate)
    clear = np.flatnonzero(np.isfinite(rates))
    if not len(clear):
        return None
    return replace(
        recording,
        heart_rate=rates[clear],
        heart_rate_times=STRETCH * (clear + 1),
        subject=export.name,
    )


def clear_rates(ppg: Any, ppg_rate: float, acc: Any, acc_rate: float) -> NDArray[np.float64]:
    """Return the rate (bpm) of the PPG in each stretch; NaN where it is not clear.

    Parameters
    ----------
    ppg : ndarray of shape (n_ppg_samples,)
        The PPG, of one `STRETCH` or more.
    ppg_rate, acc_rate : float
        In Hz.
    acc : ndarray of shape (n_acc_samples, 3)
        The acceleration in g.

    Returns
    -------
    ndarray of shape (n_stretches,)
        One value for each whole `STRETCH` from the start on.
    """
    pulse, motion = _stretches(ppg, ppg_rate), _stretches(acc, acc_rate)
    n_stretches = min(len(pulse), len(motion))
    pulse, still = pulse[:n_stretches], (motion[:n_stretches].std(axis=-1) < REST).all(axis=1)
    tapered = (pulse - pulse.mean(axis=-1, keepdims=True)) * np.hanning(pulse.shape[-1])
    power = np.abs(np.fft.rfft(tapered, N_SPECTRUM)) ** 2
    bpm = 60 * np.fft.rfftfreq(N_SPECTRUM, 1 / ppg_rate)
    power[:, (bpm < BAND[0]) | (bpm > BAND[1])] = 0
    peak = bpm[power.argmax(axis=1)][:, None]
    near = (np.abs(bpm - peak) <= PEAK_WIDTH) | (np.abs(bpm - 2 * peak) <= HARMONIC_WIDTH)
    pure = (power * near).sum(axis=1) > PURITY * power.sum(axis=1)
    at_rest = (peak[:, 0] >= HEART_RATES[0]) & (peak[:, 0] <= HEART_RATES[1])
    return np.where(still & pure & at_rest, peak[:, 0], np.nan)


def _stretches(signal: Any, rate: float) -> NDArray[np.float64]:
    """Cut a signal (n,) or (n, n_axes) into (n_stretches, ..., n_samples)."""
    length = round(STRETCH * rate)
    windows: NDArray[np.float64] = sliding_window_view(signal, length, axis=0)[::length]
    return windows
