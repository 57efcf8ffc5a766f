"""Subjects count the same, however many readings they have."""

from __future__ import annotations

import numpy as np
import pytest

from pulsehr import Recording
from pulsehr.metrics import (
    get_scorer,
    group_mean_absolute_errors,
    share_within,
    subject_mean_absolute_error,
)

Y, PREDICTED, SUBJECTS = [60, 70, 80, 90], [61, 72, 83, 90], ["b", "b", "b", "a"]


def test_errors_per_subject_in_order():
    assert group_mean_absolute_errors(Y, PREDICTED, SUBJECTS) == {"a": 0.0, "b": 2.0}


def test_the_mean_of_subjects_is_not_the_pooled_mean():
    assert subject_mean_absolute_error(Y, PREDICTED, SUBJECTS) == 1.0
    assert np.abs(np.subtract(Y, PREDICTED)).mean() == 1.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([60], [61, 62], ["a"]), "inconsistent numbers of samples"),
        (([60], [61], ["a", "b"]), "inconsistent numbers of samples"),
        (([], [], []), "non-empty heart rates"),
        (([[60]], [[61]], ["a"]), "1-D, non-empty heart rates"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        subject_mean_absolute_error(*arguments)


class Told:
    """A regressor that says what it is told."""

    def __init__(self, heart_rate):
        self.heart_rate = heart_rate

    def predict(self, X):
        return np.asarray(self.heart_rate)


def recording_of(n_readings, **names):
    ppg = np.sin(np.arange(32 * (8 + 2 * n_readings)) / 5)
    return Recording(ppg=ppg, ppg_rate=32, **names).readings(stride=2.0)[:n_readings]


def test_the_post_processed_scorer_clips_each_recording_in_order_of_time():
    X = recording_of(11, subject="a")[::-1] + recording_of(2, subject="b")
    # the last of eleven is 50 too high, of which the clip to within 10 % of 100 leaves 10
    predicted = [150.0] + [100.0] * 10 + [104.0, 104.0]
    y = np.full(13, 100.0)
    score = get_scorer("neg_post_processed_mean_absolute_error")(Told(predicted), X, y)
    assert score == pytest.approx(-(10 / 11 + 4) / 2)
    raw = get_scorer("neg_subject_mean_absolute_error")(Told(predicted), X, y)
    assert raw == pytest.approx(-(50 / 11 + 4) / 2)


def test_recordings_without_a_subject_count_each_by_itself():
    X = recording_of(3) + recording_of(1)
    predicted, y = [101.0, 101.0, 101.0, 109.0], np.full(4, 100.0)
    assert get_scorer("neg_subject_mean_absolute_error")(Told(predicted), X, y) == -(1 + 9) / 2


def test_share_within_counts_the_limit_itself():
    assert share_within([60, 60, 60, 60], [65, 55, 65.1, 54.9]) == 0.5
    assert share_within([60, 60], [61, 62], limit=1) == 0.5


def test_missing_heart_rates_are_no_wrong_ones():
    with pytest.raises(ValueError, match=r"got NaN in 1 of 3 rows, the first row 1"):
        share_within([60, 70, 80], [60, np.nan, 80])
    with pytest.raises(ValueError, match=r"leave out readings over gaps"):
        group_mean_absolute_errors([60, 70, 80], [60, np.nan, 80], ["a", "a", "b"])
