"""Readings are rows wherever scikit-learn takes rows."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from pulsehr import Reading, Recording
from pulsehr._rows import group_by_recording, readings_in


def make():
    return Recording(ppg=np.sin(np.arange(640) / 5), ppg_rate=32, subject="S1")


def test_readings_are_rows_in_lists_and_object_arrays():
    readings = make().readings()
    array = np.array(readings, dtype=object)
    assert array.shape == (7,)
    assert readings_in(readings) is readings
    assert readings_in(tuple(readings)) == tuple(readings)
    assert readings_in(array).tolist() == readings
    assert readings_in(array[:, None]).tolist() == readings
    assert readings_in([]) is None
    assert readings_in(np.zeros((3, 4))) is None
    assert len(train_test_split(readings, random_state=0)[0]) == 5


def test_rows_are_grouped_by_recording_in_order_of_appearance():
    a, b = make(), make()
    rows = [Reading(b, 8), Reading(a, 8), Reading(b, 10)]
    groups = [(recording, index.tolist()) for recording, index in group_by_recording(rows)]
    assert groups == [(b, [0, 2]), (a, [1])]
    with pytest.raises(TypeError, match="row 1 of X must be a Reading, got int"):
        group_by_recording([rows[0], 3])
