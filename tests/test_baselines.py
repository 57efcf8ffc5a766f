"""The spectral peak finds the strongest rhythm, and without motion the strongest of the pulse."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from pulsehr import PPGWindower
from pulsehr.baselines import MotionAwareSpectralRegressor, SpectralPeakRegressor
from pulsehr.datasets import make_recordings

PEAKS = pytest.mark.parametrize("peak", [SpectralPeakRegressor, MotionAwareSpectralRegressor])
TIMES = np.arange(256) / 32


def sine(bpm):
    return np.sin(2 * np.pi * bpm / 60 * TIMES + 1)


@PEAKS
@pytest.mark.parametrize("bpm", [45.0, 72.0, 133.0, 200.0])
def test_a_sine_is_found_within_a_step(peak, bpm):
    drift = 5 * TIMES
    windows = (sine(bpm) + drift)[None, None]
    found = peak().fit(windows, [bpm]).predict(windows)
    assert found == pytest.approx(bpm, abs=1.0)


def test_acceleration_is_not_used():
    windows = np.stack([sine(70), *3 * [10 * sine(150)]])[None]
    assert SpectralPeakRegressor().fit(windows, [70]).predict(windows) == pytest.approx(70, abs=1)


@PEAKS
def test_rhythms_outside_the_limits_are_not_taken(peak):
    windows = (sine(70) + 3 * sine(20) + 3 * sine(300))[None, None]
    assert peak().fit(windows, [70]).predict(windows) == pytest.approx(70, abs=2)


@PEAKS
def test_lazy_windows_give_the_same_peaks(peak):
    data = make_recordings(n_subjects=2, duration=60, random_state=0)
    eager, lazy = (
        make_pipeline(PPGWindower(lazy=lazy), peak()).fit(data.X, data.y) for lazy in (False, True)
    )
    np.testing.assert_array_equal(lazy.predict(data.X), eager.predict(data.X))


def moving(bpm, size, *, of_pulse=60):
    """A pulse and an artefact 1.5 times as large, whose motion has an amplitude of `size` g."""
    motion = np.stack([size * sine(bpm), 0 * TIMES, size * sine(bpm)])
    return np.concatenate([[sine(of_pulse) + 1.5 * sine(bpm)], motion])[None]


def motion_aware(windows, **parameters):
    return MotionAwareSpectralRegressor(**parameters).fit(windows, [60]).predict(windows)


def test_a_rhythm_of_the_wrist_is_not_taken_for_the_pulse():
    windows = moving(150, size=0.5)
    assert SpectralPeakRegressor().fit(windows, [60]).predict(windows) == pytest.approx(150, abs=1)
    assert motion_aware(windows) == pytest.approx(60, abs=1)


def test_motion_is_attenuated_alike_whatever_its_axes():
    windows = moving(150, size=0.5)
    turned = windows[:, [0, 2, 3, 1]] * np.array([1, -1, 1, -1])[:, None]
    np.testing.assert_array_equal(motion_aware(turned), motion_aware(windows))


def test_acceleration_far_below_rest_attenuates_nothing():
    assert motion_aware(moving(150, size=1e-4)) == pytest.approx(150, abs=1)
    assert motion_aware(moving(150, size=1e-4), rest=1e-6) == pytest.approx(60, abs=1)


def test_without_attenuation_and_harmonic_it_is_the_spectral_peak():
    data = make_recordings(n_subjects=1, duration=60, random_state=0)
    windows = PPGWindower().fit_transform(data.X)
    plain = SpectralPeakRegressor().fit(windows, data.y).predict(windows)
    parameters = {"attenuation": 0, "harmonic": 0}
    aware = MotionAwareSpectralRegressor(**parameters).fit(windows, data.y).predict(windows)
    np.testing.assert_array_equal(aware, plain)


def test_a_harmonic_tells_a_pulse_from_a_larger_sine():
    windows = (sine(60) + 0.6 * sine(120) + 1.2 * sine(170))[None, None]
    assert motion_aware(windows) == pytest.approx(60, abs=1)
    assert motion_aware(windows, harmonic=0) == pytest.approx(170, abs=1)


def test_half_the_rate_of_a_sine_is_not_taken():
    windows = sine(160)[None, None]
    assert motion_aware(windows) == pytest.approx(160, abs=1)


@pytest.mark.parametrize("n_channels", [1, 4])
def test_a_flat_window_gives_a_heart_rate_within_the_limits(n_channels):
    found = motion_aware(np.zeros((1, n_channels, 256)))
    assert 40 <= found[0] <= 210


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"attenuation": -1}, "attenuation must be >= 0, got -1"),
        ({"harmonic": -0.5}, "harmonic must be >= 0, got -0.5"),
        ({"rest": 0}, "rest must be > 0, got 0"),
        ({"resolution": 0}, "resolution must be > 0, got 0"),
        ({"low": 200, "high": 100}, "expected 0 < low < high <= 960 bpm"),
        ({"high": 1000}, "half the sampling rate"),
        ({"sampling_rate": 0}, "sampling_rate must be a number > 0, got 0"),
    ],
)
def test_a_parameter_out_of_its_range_is_an_error(parameters, message):
    with pytest.raises(ValueError, match=message):
        motion_aware(moving(150, size=0.5), **parameters)
