"""The constants of the front end."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from fronts import front_of, windower

from pulsehr._resampling import resample_at
from pulsehr.firmware.front import SLACK, design_front
from pulsehr.firmware.front_filters import PPG_REACH, decimation_taps, quantized_bandpass
from pulsehr.firmware.front_scaling import Scaling
from pulsehr.firmware.quantization import Format

FORMAT = Format(8, 0.03, 0)


@pytest.mark.parametrize("factor", [2, 3, 5, 8, 40])
def test_taps_sum_to_one_and_are_those_of_the_windower(factor):
    half = decimation_taps(factor).astype(int)
    assert half[0] + 2 * half[1:].sum() == 2**15
    # a unit impulse through the windower's filter
    impulse = np.zeros(20 * factor)
    impulse[10 * factor] = 1
    response = [
        resample_at(np.roll(impulse, k), factor, np.array([10.0]), 1.0)[0, 0]
        for k in range(5 * factor)
    ]
    np.testing.assert_allclose(half / 2**15, response, atol=5 * factor * 2.0**-16)


def test_a_sensor_at_the_rate_of_the_windows_needs_no_filter():
    front = front_of()
    assert front.ppg.factor == front.acc.factor == 1
    assert (len(front.ppg.taps), front.ppg.n_past, front.ppg.lookahead) == (0, 0, 0)


def test_the_lookahead_of_a_filter_fits_the_slack():
    sensor = front_of(factors=(40, 1)).ppg
    assert sensor.lookahead == 5 * 40 - 1
    assert sensor.n_past == 2 * 5 * 40 - 1
    assert sensor.lookahead / sensor.factor < SLACK


@pytest.mark.parametrize(
    ("edges", "rate"), [((0.5, 4), 32), ((0.1, 12), 25), ((0.05, 4), 100), ((1, 15.9), 32)]
)
def test_32_bits_hold_the_worst_stream_of_a_band_pass(edges, rate):
    from scipy.signal import sosfilt

    band = quantized_bandpass(edges, rate)
    sos = np.insert(band.sections / 2**29, 3, 1.0, axis=1)
    impulse = np.zeros(50_000)
    impulse[0] = 1
    for n in (1, 2):
        # the signs of the response, reversed, make the sum of its magnitudes
        worst = np.sign(sosfilt(sos[:n], impulse))[::-1] * 2 * PPG_REACH * 2**band.fraction_bits
        assert np.abs(sosfilt(sos[:n], worst)).max() < 2**31
    assert 4 <= band.fraction_bits <= 6
    assert np.abs(band.sections[:, :3].astype(np.int64)).sum(axis=1).max() <= 4 * 2**29
    assert np.abs(band.sections[:, 3:].astype(np.int64)).sum(axis=1).max() < 3 * 2**29


def test_what_rounding_adds_has_room_where_a_band_pass_amplifies_it():
    from scipy.signal import lfilter

    # near half the rate, a remainder is amplified by millions, but a sample by less than two
    band = quantized_bandpass((0.42, 15.999775), 32.0)
    impulse = np.zeros(1 << 21)
    impulse[0] = 1
    carried = lfilter([1, -1], [1, *band.sections[1, 3:] / 2**29], impulse)
    samples = 2 * PPG_REACH * 2**band.fraction_bits
    assert 1e6 < np.abs(carried).sum() < 2**31 - samples
    assert band.fraction_bits == 3  # samples alone would leave room for 5


def test_a_band_that_settles_too_slowly_is_refused():
    with pytest.raises(ValueError, match=r"settles too slowly .*raise its lower edge"):
        quantized_bandpass((1e-5, 4), 1000)


def test_acceleration_is_scaled_by_hand():
    # 1/4096 g a count, 1/32 g a step, the value is 128 times the deviation: 2**-14 a value
    front = design_front(windower(window=4.0), Format(8, 1 / 32, 3))
    scaling = front.scalings[1]
    assert scaling.multiplier == 2**scaling.shift // 2**14
    assert scaling.offset == 3 * 2**scaling.shift + 2 ** (scaling.shift - 1)
    one_g = 4096 * 128
    assert (one_g * scaling.multiplier + scaling.offset) >> scaling.shift == 32 + 3


def test_a_channel_is_scaled_by_hand():
    # (count / 2 - 5000) / 1234.5 / 0.5, zero point -7
    source = windower(normalize="channel")
    front = design_front(source, Format(8, 0.5, -7), ppg_step=0.5)
    scaling = front.scalings[0]
    for count, steps in ((10_000, 0), (10_000 + 1235, 1), (10_000 - 2469 * 3, -6), (9_000, -1)):
        assert (count * scaling.multiplier + scaling.offset) >> scaling.shift == steps - 7


@pytest.mark.parametrize("normalize", ["window", "channel", None])
@pytest.mark.parametrize("bandpass", [None, (0.5, 4.0)])
@pytest.mark.parametrize("window", [2 / 32, 8.0, 1023.0])
def test_no_sum_leaves_64_bits(window, bandpass, normalize):
    front = front_of(window=window, bandpass=bandpass, normalize=normalize)
    ppg = 2**31 if bandpass else 2**23
    for channel, scaling in enumerate(front.scalings):
        assert 1 <= scaling.shift
        assert 0 <= scaling.multiplier < 2**31
        if (normalize, channel) == ("window", 0):
            continue  # a window sets it
        reach = ppg if channel == 0 else 2**15 * (2 * front.n_times if normalize == "window" else 1)
        assert reach * scaling.multiplier + abs(scaling.offset) < 2**63
        assert reach <= 2**31


@pytest.mark.parametrize(
    ("name", "rate", "got"),
    [
        ("ppg_rate", 50, "50 Hz"),
        ("acc_rate", 16, "16 Hz"),
        ("ppg_rate", 0, "0 Hz"),
        ("acc_rate", np.inf, "inf Hz"),
    ],
)
def test_a_rate_that_is_no_multiple_says_which_would_do(name, rate, got):
    with pytest.raises(
        ValueError,
        match=rf"{name} must be a whole multiple of the windower's "
        rf"32 Hz \(such as .*\), got {got}: take another {name}, or fit",
    ):
        design_front(windower(), FORMAT, **{name: rate})


@pytest.mark.parametrize(("rate", "nominal"), [(63.9999, 64), (64.04, 64), (127.95, 128)])
def test_a_rate_by_a_clock_that_is_a_little_off_says_which_is_meant(rate, nominal):
    with pytest.raises(ValueError, match=rf"32 Hz, got {rate} Hz: pass {nominal}, as the firmware"):
        design_front(windower(), FORMAT, ppg_rate=rate)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("stride", "2", "stride must be a number, got '2'"),
        ("stride", 1e9, "stride must be at most 3600 s"),
        ("acc_step", None, "acc_step must be a number, got None"),
        ("ppg_rate", "fast", "ppg_rate must be a number or None, got 'fast'"),
    ],
)
def test_what_is_no_number_is_named(name, value, message):
    with pytest.raises(ValueError, match=message):
        design_front(windower(), FORMAT, **{name: value})


@pytest.mark.parametrize("stride", [0.0, 0.01, -2.0])
def test_a_stride_off_the_grid_is_refused(stride):
    with pytest.raises(ValueError, match=r"stride must be a whole multiple of .* 1/32 s"):
        design_front(windower(), FORMAT, stride=stride)


def test_decimation_without_a_filter_is_refused():
    unfiltered = windower(antialias=False)
    with pytest.raises(
        ValueError, match=r"fit one with antialias=True, or .* sampling_rate of 32 Hz"
    ):
        design_front(unfiltered, FORMAT, ppg_rate=64)
    assert design_front(unfiltered, FORMAT, ppg_rate=32).ppg.factor == 1


@pytest.mark.parametrize("normalize", ["channel", None])
def test_a_unit_is_wanted_where_it_matters(normalize):
    with pytest.raises(ValueError, match=rf"ppg_step must say .*normalize={normalize!r}"):
        design_front(windower(normalize=normalize), FORMAT)
    assert design_front(windower(normalize=normalize), FORMAT, ppg_step=2).ppg.step == 2


@pytest.mark.parametrize("step", [0.0, -1.0, np.nan, np.inf])
def test_a_step_is_positive(step):
    with pytest.raises(ValueError, match="acc_step must be > 0"):
        design_front(windower(), FORMAT, acc_step=step)
    with pytest.raises(ValueError, match="ppg_step must be > 0"):
        design_front(windower(), FORMAT, ppg_step=step)


def test_steps_beyond_64_bits_are_refused():
    with pytest.raises(ValueError, match=r"one count of channel 1 is .*check ppg_step, acc_step"):
        design_front(windower(), FORMAT, acc_step=1e15)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_an_input_of_another_world_is_refused(scale):
    with pytest.raises(ValueError, match="of the network's input is out of range"):
        design_front(windower(1), Format(8, scale, 0))


def test_two_channels_are_refused():
    with pytest.raises(ValueError, match=r"PPG alone or on PPG and .*got 2 channels"):
        design_front(windower(2), FORMAT)


def test_a_rate_of_acceleration_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="acc_rate must be None"):
        design_front(windower(1), FORMAT, acc_rate=32)


def test_a_window_beyond_64_bits_is_refused():
    with pytest.raises(ValueError, match="at most 32767 samples, got 32768"):
        design_front(windower(window=1024.0), FORMAT)


def test_constants_survive_a_pickle():
    front = pickle.loads(pickle.dumps(front_of(factors=(2, 2), bandpass=(0.5, 4.0))))
    assert front.scalings == front_of(factors=(2, 2), bandpass=(0.5, 4.0)).scalings
    assert isinstance(front.scalings[1], Scaling)
