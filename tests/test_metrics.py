"""Subjects count the same, however many readings they have."""

from __future__ import annotations

import numpy as np
import pytest

from pulsehr.metrics import group_mean_absolute_errors, subject_mean_absolute_error

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
