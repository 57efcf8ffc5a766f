"""Hold the last samples of a sensor that still measures: put in place, known to be missing, or due.

Samples are counted from the start of the stream. Those before the *front* are settled: each is
there, or missing for good. Memory holds what was not forgotten, however long the stream lasts.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pulsehr._gaps import NO_RUNS, Runs, SensorSignal, joined, runs_of
from pulsehr._stored import StoredSignal

#: Seconds by which a packet may jump ahead: what lies between would have to be held as missing.
MAX_JUMP = 3600.0

#: Samples that there is place for at first.
LEAST_ROOM = 1024

#: What is known of a sample.
DUE, THERE, GIVEN_UP = 0, 1, 2


class LiveSamples:
    """Put packets of samples in place; also the source of a `StoredSignal` of what is settled.

    Parameters
    ----------
    name : {"ppg", "acc"}
        Which sensor.
    rate : float
        In Hz.
    axes : tuple of int
        () or (3,): the shape of a sample.
    """

    def __init__(self, name: str, rate: float, axes: tuple[int, ...]) -> None:
        self.name = name
        self.rate = rate
        self.axes = axes
        self.dtype = np.dtype(np.float32)
        self.front = 0
        self.received = 0  # one after the newest sample that came
        self.missing: Runs = NO_RUNS
        self._given_up = 0  # one after the newest sample that was waited for in vain
        self._first = 0  # number of the first sample that is held
        self._values = np.full((LEAST_ROOM, *axes), np.nan, np.float32)
        self._state = np.full(LEAST_ROOM, DUE, np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all settled samples, held or forgotten."""
        return (self.front, *self.axes)

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        """Return a view of held samples."""
        start, stop, _ = rows.indices(self.front)
        if start < self._first:
            raise IndexError(f"{self.name}: sample {start} is held no longer")
        return self._values[start - self._first : max(start, stop) - self._first]

    @property
    def held(self) -> NDArray[np.float32]:
        """What is settled and not forgotten."""
        return self._values[: self.front - self._first]

    @property
    def signal(self) -> SensorSignal:
        """What is settled."""
        return SensorSignal(self.name, StoredSignal(self), self.rate, self.missing)

    def check_start(self, start: int) -> None:
        """Raise ValueError if a packet jumps too far ahead."""
        ahead = (start - max(self.received, self.front)) / self.rate
        if ahead > MAX_JUMP:
            raise ValueError(
                f"HeartRateStream: {self.name}_start must be the number of the packet's first "
                f"sample since the start, got {start}, {ahead:.0f} s after the last sample: after "
                f"more than {MAX_JUMP:.0f} s begin another stream"
            )

    def too_late(self, start: int, stop: int) -> int:
        """Count the samples of a packet that were given up meanwhile."""
        held = slice(max(start - self._first, 0), max(stop - self._first, 0))
        return int(np.count_nonzero(self._state[held] == GIVEN_UP))

    def place(self, start: int, samples: NDArray[np.float32]) -> int:
        """Put a packet (n_samples, *axes) where it belongs; count what was there already."""
        if len(samples) == 0:
            return 0
        stop = start + len(samples)
        self._make_room(stop)
        skipped = min(max(self.front - start, 0), len(samples))
        held = slice(start + skipped - self._first, stop - self._first)
        if skipped < len(samples):
            new = self._state[held] == DUE
            self._values[held][new] = samples[skipped:][new]
            self._state[held] = THERE
            skipped += int(np.count_nonzero(~new))
        self.received = max(self.received, stop)
        self._settle()
        return skipped

    def give_up(self, stop: int) -> None:
        """Take what is due before sample `stop` for missing."""
        if stop <= self.front:
            return
        self._make_room(stop)
        held = slice(self.front - self._first, stop - self._first)
        state = self._state[held]
        self._values[held][state == DUE] = np.nan
        state[state == DUE] = GIVEN_UP
        self._given_up = stop
        self._settle()

    def forget(self, before: int) -> None:
        """Let go of samples that no reading to come looks at."""
        self.missing = self.missing[self.missing[:, 1] > before]
        drop = min(before, self.front) - self._first
        if drop * 2 < len(self._state):  # moving is for once in a while
            return
        kept = len(self._state) - drop
        for array, nothing in ((self._values, np.nan), (self._state, DUE)):
            array[:kept] = array[drop:].copy()
            array[kept:] = nothing
        self._first += drop

    def _make_room(self, stop: int) -> None:
        wanted = stop - self._first
        room = len(self._state)
        if wanted <= room:
            return
        more = max(wanted, 2 * room) - room
        self._values = np.concatenate(
            [self._values, np.full((more, *self.axes), np.nan, np.float32)]
        )
        self._state = np.concatenate([self._state, np.full(more, DUE, np.uint8)])

    def _settle(self) -> None:
        """Move the front to the first sample that is due."""
        newest = max(self.received, self._given_up)
        due = self._state[self.front - self._first : newest - self._first] == DUE
        settled = int(np.argmax(due)) if due.any() else len(due)
        start, self.front = self.front, self.front + settled
        nan = np.isnan(self[start : self.front]).reshape(settled, math.prod(self.axes))
        lacking = np.asarray(nan.any(axis=1))
        self.missing = joined([self.missing, runs_of(lacking, start)])
