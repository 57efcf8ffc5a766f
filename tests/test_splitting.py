"""Early stopping watches whole subjects, or stretches of time away from training rows."""

from __future__ import annotations

import numpy as np
import pytest

from pulsehr._splitting import GAP, hold_out


def test_subjects_never_cross_the_split():
    groups = np.repeat(list("abcdefghij"), 30)
    train, valid = hold_out(300, groups, 0.2, np.random.RandomState(0))
    assert len(set(groups[valid])) == 2
    assert not set(groups[train]) & set(groups[valid])
    assert len(train) + len(valid) == 300


@pytest.mark.parametrize("n_rows", [50, 333, 2000])
@pytest.mark.parametrize("groups", [None, "one"])
def test_without_subjects_stretches_of_time_are_held_out(n_rows, groups):
    groups = groups and np.full(n_rows, groups)
    train, valid = hold_out(n_rows, groups, 0.2, np.random.RandomState(0))
    assert 0.1 * n_rows <= len(valid) <= 0.2 * n_rows
    # no training row shares samples with a validation row
    assert np.abs(train[:, None] - valid).min() > GAP
    # stretches, not single rows
    assert np.sum(np.diff(valid) > 1) < 8


@pytest.mark.parametrize(("n_rows", "fraction"), [(100, 0.0), (4, 0.2), (6, 0.2)])
def test_all_rows_train_without_a_fraction_or_with_too_few(n_rows, fraction):
    train, valid = hold_out(n_rows, None, fraction, np.random.RandomState(0))
    assert train.tolist() == list(range(n_rows))
    assert len(valid) == 0
