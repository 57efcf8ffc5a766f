"""`LazyWindows`: windows that are cut when they are asked for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pulsehr._cutting import Cutting, Normalization
from pulsehr._rows import group_by_recording
from pulsehr.exceptions import MissingSamplesWarning
from pulsehr.recordings import Reading, Recording

#: Windows that are cut at a time: bounds the memory, and is enough to share what overlaps.
BLOCK_WINDOWS = 1024


@dataclass(frozen=True, eq=False, repr=False)
class LazyWindows:
    """Stand for an array of windows, of which rows are cut when they are asked for.

    What ``PPGWindower(lazy=True)`` returns: an array of the same shape, type and values, as far as
    estimators index it by rows. It holds the recordings and 16 bytes a row. ``numpy.asarray`` cuts
    all rows. Rows that follow each other in time share most samples and are cut several times as
    fast as rows in random order.

    Parameters
    ----------
    recordings : tuple of Recording
        Where the samples are.
    which : ndarray of int, shape (n_windows,)
        Recording of each row.
    instants : ndarray of shape (n_windows,)
        Where the window of each row ends, in seconds.
    cutting : Cutting
        How windows are cut.
    normalization : Normalization
        How they are normalised.

    Examples
    --------
    >>> from pulsehr import PPGWindower
    >>> from pulsehr.datasets import make_recordings
    >>> data = make_recordings(n_subjects=1, duration=60, random_state=0)
    >>> windows = PPGWindower(lazy=True).fit_transform(data.X)
    >>> windows
    LazyWindows(27 windows of 4 channels and 256 times, 1 recording)
    >>> windows[[3, 1]].shape
    (2, 4, 256)
    """

    recordings: tuple[Recording, ...]
    which: NDArray[np.intp]
    instants: NDArray[np.float64]
    cutting: Cutting
    normalization: Normalization

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(n_windows, n_channels, n_times)``."""
        return len(self.which), self.recordings[0].n_channels, self.cutting.n_times

    @property
    def ndim(self) -> int:
        """Always 3."""
        return 3

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Of the windows that are cut."""
        return np.dtype(np.float32)

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Which windows lie over a gap (n_windows,), and are NaN."""
        missing = np.zeros(len(self), np.bool_)
        for number, recording in enumerate(self.recordings):
            if any(len(signal.missing) for signal in recording.signals):
                rows = np.flatnonzero(self.which == number)
                missing[rows] = self.cutting.over_gap(recording, self.instants[rows])
        return missing

    def take(self, rows: NDArray[Any]) -> LazyWindows:
        """Return the windows of a mask or an array of rows, not cut either."""
        return replace(self, which=self.which[rows], instants=self.instants[rows])

    def __len__(self) -> int:
        """Count the windows."""
        return len(self.which)

    def __repr__(self) -> str:
        """Say how many windows there are, and of what shape."""
        n_windows, n_channels, n_times = self.shape
        plural = "s" * (len(self.recordings) != 1)
        return (
            f"LazyWindows({n_windows} windows of {n_channels} channels and {n_times} times, "
            f"{len(self.recordings)} recording{plural})"
        )

    def __getitem__(self, rows: Any) -> NDArray[np.float32]:
        """Cut the windows of some rows.

        Parameters
        ----------
        rows : int, slice, int array or boolean mask of shape (n_windows,)
            In any order, with repeats; also ``(rows, ...)``.

        Returns
        -------
        ndarray of shape (n_rows, n_channels, n_times), float32
            The windows; of shape (n_channels, n_times) for an int.

        Raises
        ------
        IndexError
            If a row is out of range, or anything but rows is indexed.
        """
        if isinstance(rows, tuple) and len(rows) == 2 and rows[1] is Ellipsis:
            rows = rows[0]
        which = None if isinstance(rows, tuple) else self.which[rows]
        if which is None or which.ndim > 1:
            raise IndexError(
                f"LazyWindows: expected rows as int, slice, 1-D ints or mask, got {rows!r}: "
                f"numpy.asarray(windows) cuts all and takes any index"
            )
        if which.ndim == 0:
            window: NDArray[np.float32] = self._cut(which[None], self.instants[rows][None])[0]
            return window
        return self._cut(which, self.instants[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Cut all windows."""
        if copy is False:
            raise ValueError("LazyWindows: windows are cut anew, expected copy=True or None")
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def _cut(self, which: NDArray[np.intp], instants: NDArray[np.float64]) -> NDArray[np.float32]:
        windows = np.empty((len(which), *self.shape[1:]), np.float32)
        for rows, block in self._blocks(which, instants):
            windows[rows] = self.normalization(block)
        return windows

    def raw_blocks(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
        """Yield all rows and their windows before normalisation, some at a time."""
        yield from self._blocks(self.which, self.instants)

    def _blocks(
        self, which: NDArray[np.intp], instants: NDArray[np.float64]
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
        # in order of time, so that windows that overlap come together
        order = np.lexsort((instants, which))
        borders = np.flatnonzero(np.diff(which[order])) + 1
        for one in np.split(order, borders) if len(order) else ():
            recording = self.recordings[which[one[0]]]
            for start in range(0, len(one), BLOCK_WINDOWS):
                rows = one[start : start + BLOCK_WINDOWS]
                yield rows, self.cutting.cut(recording, instants[rows])


def lazy_windows(readings: Sequence[Reading], cutting: Cutting) -> LazyWindows:
    """Check readings and stand for their windows, not normalised.

    Parameters
    ----------
    readings : sequence of Reading
        One per window.
    cutting : Cutting
        How windows are cut.

    Returns
    -------
    LazyWindows
        Nothing of it is cut.

    Raises
    ------
    ValueError
        If there is no window at an instant, or only some recordings have acceleration.
    TypeError
        If a row is no reading.

    Warns
    -----
    MissingSamplesWarning
        If rows lie over gaps, and that is no error.
    """
    groups = group_by_recording(readings)
    recordings = tuple(recording for recording, _ in groups)
    _check_channels(recordings)
    which = np.empty(len(readings), np.intp)
    for number, (_, rows) in enumerate(groups):
        which[rows] = number
    instants = np.array([reading.instant for reading in readings], np.float64)
    for recording, rows in groups:
        cutting.check_instants(recording, instants[rows])
    windows = LazyWindows(recordings, which, instants, cutting, Normalization())
    _check_gaps(windows)
    return windows


def _check_gaps(windows: LazyWindows) -> None:
    missing = windows.missing
    if not missing.any():
        return
    row = int(np.argmax(missing))
    recording, instant = windows.recordings[windows.which[row]], float(windows.instants[row])
    cutting = windows.cutting
    reason = (
        f"the reading at {instant:g} s of recording {recording.name!r} lies over a gap of the "
        f"{cutting.gap_under(recording, instant)}"
    )
    if cutting.missing == "error":
        raise ValueError(
            f"PPGWindower: {reason}: leave it out (readings(window={cutting.window:g}) of a "
            f"recording does), or set missing='nan' for rows of NaN"
        )
    warnings.warn(
        f"PPGWindower: {int(missing.sum())} of {len(missing)} rows lie over gaps and become NaN; "
        f"the first: {reason}",
        MissingSamplesWarning,
        stacklevel=2,
    )


def _check_channels(recordings: Sequence[Recording]) -> None:
    first = recordings[0]
    for other in recordings:
        if other.n_channels != first.n_channels:
            without, with_acc = (first, other) if first.acc is None else (other, first)
            raise ValueError(
                f"PPGWindower: recordings must all have acceleration or all lack it, got "
                f"{with_acc.name!r} with and {without.name!r} without"
            )
