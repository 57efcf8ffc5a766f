"""The Kalman filter by hand, and against the textbook's where nothing is far off."""

from __future__ import annotations

import numpy as np
import pytest

from pulsehr._kalman import GATE, MAX_STD, START_STD, kalman


def test_two_steps_by_hand():
    # V = 400, then 400 + 2 * 2.5 = 405, gain 405 / (405 + 4), V = 405 * 4 / 409
    mean, std = kalman(np.array([0.0, 2.0]), np.array([70.0, 72.6]), np.full(2, 2.0), drift=2.5)
    np.testing.assert_allclose(mean, [70.0, 70 + 2.6 * 405 / 409])
    np.testing.assert_allclose(std, [20.0, np.sqrt(1620 / 409)])


def test_an_outlier_by_hand():
    # V = 405 as before; 60 bpm off counts as if the variance were (60 / GATE)^2
    mean, std = kalman(np.array([0.0, 2.0]), np.array([70.0, 130.0]), np.full(2, 2.0), drift=2.5)
    gain = 405 / (60 / GATE) ** 2
    np.testing.assert_allclose(mean[1], 70 + 60 * gain)
    np.testing.assert_allclose(std[1], np.sqrt(405 * (1 - gain)))


def test_variance_is_bounded():
    times = np.array([0.0, 1e6, 2e6])
    _, std = kalman(times, np.array([70.0, 400.0, -400.0]), np.full(3, 1000.0), drift=1.0)
    assert (std <= MAX_STD).all()


@pytest.mark.parametrize("lookahead", [0.0, 3.0, 100.0])
def test_without_outliers_it_is_the_best_linear_estimate(lookahead):
    rng = np.random.default_rng(0)
    n, drift, first = 12, 1.7, START_STD
    times = np.cumsum(rng.uniform(0.5, 4, n))
    noise = rng.uniform(1, 5, n)
    bpm = rng.normal(80, 5, n)
    mean, std = kalman(times, bpm, noise, drift, lookahead, gate=1e9)
    # all at once: the state at the times, given readings up to the lag; the first is exact but for
    # its noise
    for k in range(n):
        seen = np.flatnonzero(times <= times[k] + lookahead)
        walk = drift * (np.minimum.outer(times[seen], times[seen]) - times[0]) + first**2
        # the first reading starts the state: it tells nothing more
        rest = seen[1:]
        if len(rest) == 0:
            assert (mean[k], std[k]) == (bpm[0], first)
            continue
        prior = walk[np.ix_(rest, rest)] + np.diag(noise[rest] ** 2)
        cross = drift * (np.minimum(times[k], times[rest]) - times[0]) + first**2
        gain = np.linalg.solve(prior, cross)
        wanted = bpm[0] + gain @ (bpm[rest] - bpm[0])
        variance = drift * (times[k] - times[0]) + first**2 - gain @ cross
        np.testing.assert_allclose([mean[k], std[k]], [wanted, np.sqrt(variance)])
