"""Where an annotation file of PhysioNet (MIT format) has beats.

The reader of ``wfdb`` (4.3.1) never returns from some damaged files, hence this one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Types of annotations that are beats; others mark rhythm, noise or waves.
BEATS = frozenset([*range(1, 14), 25, 30, 34, 35, 38, 41])

#: Words that are no annotations: an interval of 32 bits, three attributes, and a text.
SKIP, ATTRIBUTES, TEXT = 59, frozenset([60, 61, 62]), 63

#: Bits of a word that hold an interval of time; the type is above them.
TIME_BITS = 10

#: Text by which a file tells its ticks per second.
RESOLUTION = b"## time resolution: "


def annotated_beats(content: bytes, rate: float) -> NDArray[np.float64]:
    """Read the beats of an annotation file.

    Parameters
    ----------
    content : bytes
        Of the file.
    rate : float
        Sampling rate (Hz) of the record, in which times are.

    Returns
    -------
    ndarray of shape (n_beats,)
        In seconds, increasing.

    Raises
    ------
    ValueError
        If the file ends early, or times are of another rate.
    """
    words = np.frombuffer(content[: len(content) // 2 * 2], "<u2").tolist()
    place, now, beats = 0, 0, []
    while place < len(words) and words[place]:
        kind, value = words[place] >> TIME_BITS, words[place] & ((1 << TIME_BITS) - 1)
        place += 1
        if kind == SKIP and place + 1 < len(words):
            high, low = words[place : place + 2]
            now += (high << 16 | low) - (high >> 15 << 32)
            place += 2
        elif kind == TEXT:
            _check_resolution(content[2 * place : 2 * place + value], rate)
            place += (value + 1) // 2
        elif kind not in ATTRIBUTES:
            now += value
            if kind in BEATS:
                beats.append(now)
    if place >= len(words):  # the last word is 0
        raise ValueError("it ends early")
    return np.unique(np.array(beats, dtype=np.float64)) / rate


def _check_resolution(text: bytes, rate: float) -> None:
    if text.startswith(RESOLUTION):
        told = text[len(RESOLUTION) :].strip(b"\0 ").decode("ascii", errors="replace")
        if float(told) != rate:
            raise ValueError(f"its times are in {told} Hz, not the {rate:g} Hz of the record")
