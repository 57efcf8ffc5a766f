"""A list of readings as scikit-learn and joblib like it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # which makes lists of itself
    from pulsehr.recordings import Reading


class ReadingList(list["Reading"]):
    """A list of readings that takes masks and arrays of rows, and reaches a cluster once.

    joblib lets the tasks of a call share what can be referred to weakly, which a plain list
    cannot: that is sent again with every task, recordings and all.
    """

    def __getitem__(self, rows: Any) -> Any:
        """Return a reading, or those of a slice, a mask or an array of rows."""
        if isinstance(rows, slice):
            return ReadingList(super().__getitem__(rows))
        if isinstance(rows, np.ndarray) and rows.ndim == 1:
            return ReadingList(super(ReadingList, self).__getitem__(k) for k in self._numbers(rows))
        return super().__getitem__(rows)

    def _numbers(self, rows: NDArray[Any]) -> list[int]:
        numbers: list[int] = np.arange(len(self))[rows].tolist()
        return numbers
