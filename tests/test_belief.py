"""Belief propagation: sums, medians and beliefs against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pulsehr import _belief
from pulsehr._belief import GRID, OUTLIERS, belief, likelihood, median, transition


def test_transitions_sum_to_one_and_widen_with_time():
    soon, late = transition(1.0, 2.0), transition(4.0, 2.0)
    for spread in (soon, late):
        np.testing.assert_allclose(spread.sum(axis=0), 1.0)
    centre = len(GRID) // 2
    variances = [(GRID - GRID[centre]) ** 2 @ spread[:, centre] for spread in (soon, late)]
    np.testing.assert_allclose(variances, [2, 8], rtol=0.01)


def test_a_reading_is_most_likely_where_it_is_and_possible_everywhere():
    likely = likelihood(np.array([100.0, -5.0, 999.0]), np.full(3, 4.0), np.array([0.0, 0.5, 0.9]))
    assert GRID[likely.argmax(axis=1)].tolist() == [100.0, 30.0, 220.0]
    assert (likely > 0).all()


def test_the_median_is_interpolated():
    beliefs = np.zeros((3, len(GRID)))
    beliefs[0, 70] = 1.0
    beliefs[1, [70, 71]] = 0.5
    beliefs[2, [0, 70]] = 0.2, 0.8
    np.testing.assert_allclose(median(beliefs), [100.0, 100.5, 99.5 + 0.3 / 0.8])


@pytest.mark.parametrize("lookahead", [0.0, 2.0, 9.0])
def test_beliefs_are_those_of_all_paths(lookahead, monkeypatch):
    monkeypatch.setattr(_belief, "GRID", np.array([60.0, 62.0, 64.0, 66.0]))
    transition.cache_clear()
    times, bpm = np.array([0.0, 1.0, 3.0, 4.5, 5.0]), np.array([61.0, 66.0, 60.0, 65.0, 62.0])
    noise = np.array([1.0, 2.0, 3.0, 1.0, 2.0])
    got, _ = belief(times, bpm, noise, 1.3, lookahead)
    likely = likelihood(bpm, noise, np.r_[0.0, np.full(4, OUTLIERS)])
    steps = [transition(step, 1.3) for step in np.diff(times)]
    for k in range(5):
        seen = int((times <= times[k] + lookahead).sum())
        total = np.zeros(4)
        for path in itertools.product(range(4), repeat=seen):
            weight = likely[0, path[0]]
            for j in range(1, seen):
                weight *= steps[j - 1][path[j], path[j - 1]] * likely[j, path[j]]
            total[path[k]] += weight
        np.testing.assert_allclose(got[k], median(total[None] / total.sum())[0])
    transition.cache_clear()


def test_values_beyond_the_grid_and_extreme_noise_stay_finite():
    bpm = np.array([-1e6, 1e6, 0.0, 300.0, 80.0])
    noise = np.array([1e-3, 1e3, 1e-3, 1.0, 5.0])
    for lookahead in (0.0, 4.0):
        tracked, std = belief(2.0 * np.arange(5), bpm, noise, 2.0, lookahead)
        assert ((tracked >= GRID[0] - 0.5) & (tracked <= GRID[-1] + 0.5)).all()
        assert np.isfinite(std).all()
