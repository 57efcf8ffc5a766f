"""The spectral peak finds the strongest rhythm and knows its limits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from pulsehr import PPGWindower
from pulsehr.baselines import SpectralPeakRegressor
from pulsehr.datasets import make_recordings

TIMES = np.arange(256) / 32


def sine(bpm):
    return np.sin(2 * np.pi * bpm / 60 * TIMES + 1)


@pytest.mark.parametrize("bpm", [45.0, 72.0, 133.0, 200.0])
def test_a_sine_is_found_within_a_step(bpm):
    drift = 5 * TIMES
    windows = (sine(bpm) + drift)[None, None]
    found = SpectralPeakRegressor().fit(windows, [bpm]).predict(windows)
    assert found == pytest.approx(bpm, abs=1.0)


def test_acceleration_is_not_used():
    windows = np.stack([sine(70), *3 * [10 * sine(150)]])[None]
    assert SpectralPeakRegressor().fit(windows, [70]).predict(windows) == pytest.approx(70, abs=1)


def test_rhythms_outside_the_limits_are_not_taken():
    windows = (sine(70) + 3 * sine(20) + 3 * sine(300))[None, None]
    assert SpectralPeakRegressor().fit(windows, [70]).predict(windows) == pytest.approx(70, abs=2)


def test_lazy_windows_give_the_same_peaks():
    data = make_recordings(n_subjects=2, duration=60, random_state=0)
    eager, lazy = (
        make_pipeline(PPGWindower(lazy=lazy), SpectralPeakRegressor()).fit(data.X, data.y)
        for lazy in (False, True)
    )
    np.testing.assert_array_equal(lazy.predict(data.X), eager.predict(data.X))
