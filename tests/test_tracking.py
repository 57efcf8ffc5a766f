"""The paper's post-processing is causal and keeps recordings apart."""

from __future__ import annotations

import numpy as np
import pytest

from pulsehr import Reading, Recording
from pulsehr.tracking import causal_clip, causal_clip_readings


def test_the_first_ten_stay_and_the_rest_are_clipped_to_what_was_clipped():
    clipped = causal_clip([100.0] * 10 + [150.0, 50.0, 101.0])
    assert clipped[:10].tolist() == [100.0] * 10
    assert clipped[10] == pytest.approx(110)
    # the mean of the ten before is now (9 * 100 + 110) / 10 = 101
    assert clipped[11] == pytest.approx(0.9 * 101)
    # and here (8 * 100 + 110 + 90.9) / 10 = 100.09, which 101 is close to
    assert clipped[12] == 101.0


def test_the_future_changes_nothing():
    values = np.random.default_rng(0).uniform(50, 150, size=40)
    changed = np.r_[values[:25], np.full(15, 200.0)]
    np.testing.assert_array_equal(causal_clip(values)[:25], causal_clip(changed)[:25])


def test_recordings_are_clipped_apart_in_order_of_time_whatever_the_rows():
    rng = np.random.default_rng(0)
    recordings = [Recording(ppg=rng.normal(size=960), ppg_rate=16, subject=s) for s in "ab"]
    X = [Reading(recording, 8.0 + k) for recording in recordings for k in range(30)]
    values = rng.uniform(50, 150, size=60)
    expected = np.r_[causal_clip(values[:30]), causal_clip(values[30:])]
    order = rng.permutation(60)
    shuffled = causal_clip_readings([X[k] for k in order], values[order])
    np.testing.assert_array_equal(shuffled, expected[order])


def test_values_and_readings_go_together():
    recording = Recording(ppg=np.sin(np.arange(640)), ppg_rate=32, subject="a")
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        causal_clip_readings(recording.readings(), np.ones(50))
