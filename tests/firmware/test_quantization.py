"""Ranges into scales, zero points, multipliers and shifts."""

from __future__ import annotations

import numpy as np
import pytest
from students import SHAPES, random_student, random_windows

from pulsehr.firmware import integer
from pulsehr.firmware.graph import Conv, Dense, Graph, MeanPool, measure_ranges
from pulsehr.firmware.lowering import lower
from pulsehr.firmware.quantization import SUM_MAX, quantize, split_multiplier

RANGES = {"input": (-1.0, 1.55), "conv": (0.0, 2.55), "dense": (-3.2767, 1.0)}


def tiny(conv_weight=1.0, conv_bias=0.0, dense_weight=1.0, out_weight=1.0, out_bias=60.0) -> Graph:
    """One number through conv, pool, dense and out."""
    return Graph(
        (1, 1),
        (
            Conv("conv", np.full((1, 1, 1, 1), conv_weight), np.array([conv_bias]), relu=True),
            MeanPool("pool", 2),
            Dense("dense", np.full((1, 1), dense_weight), np.zeros(1)),
            Dense("out", np.full((1, 1), out_weight), np.array([out_bias])),
        ),
    )


def test_formats_follow_the_ranges():
    quantized = quantize(tiny(), RANGES)
    assert quantized.input_format.scale == np.float32(0.01)
    assert quantized.input_format.zero_point == -28
    conv, pool, dense, out = (layer.target for layer in quantized.layers)
    assert (conv.bits, conv.scale, conv.zero_point) == (8, pytest.approx(0.01), -128)
    assert pool is conv
    # int16 reaches twice the range
    assert (dense.bits, dense.scale, dense.zero_point) == (16, pytest.approx(2e-4), 0)
    assert (out.bits, out.scale, out.zero_point) == (32, 1 / 256, 0)


def test_a_range_is_widened_to_zero():
    quantized = quantize(tiny(), {**RANGES, "input": (1.0, 2.55)})
    assert quantized.input_format.scale == np.float32(0.01)
    assert quantized.input_format.zero_point == -128


def test_weights_are_symmetric_with_a_scale_for_each_output():
    weights = np.array([[1.27, -0.634], [-0.0127, 0.00006]])
    graph = Graph(
        (1, 2), (Dense("dense", weights, np.zeros(2)), Dense("out", np.ones((1, 2)), np.zeros(1)))
    )
    products = quantize(graph, RANGES).layers[0].products
    assert products.weights.tolist() == [[127, -63], [-127, 1]]


def test_bias_is_in_steps_of_the_sums():
    products = quantize(tiny(conv_weight=1.27, conv_bias=0.5), RANGES).layers[0].products
    assert products.weights.item() == 127
    assert products.bias.item() == 5000  # 0.5 / (0.01 * 0.01)


@pytest.mark.parametrize(
    ("factor", "multiplier", "shift"),
    [
        (0.5, 2**30, 0),
        (0.75, 3 * 2**29, 0),
        (1.0, 2**30, 1),
        (3.0, 3 * 2**29, 2),
        (2.0**-31, 2**30, -30),
        (2.0**-32, 0, 0),
        (1 - 2.0**-40, 2**30, 1),
    ],
)
def test_a_factor_splits_into_multiplier_and_shift(factor, multiplier, shift):
    got = split_multiplier(np.array([factor]))
    assert (got[0].item(), got[1].item()) == (multiplier, shift)


def test_ranges_of_pools_and_of_the_heart_rate_are_not_needed():
    assert set(RANGES) == {"input", "conv", "dense"}
    quantize(tiny(), RANGES)


@pytest.mark.parametrize("name", ["input", "conv", "dense"])
@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (None, "no range of '{}'"),
        ((np.nan, 1), r"range of '{}' must be finite \(min, max\), got \(nan, 1\)"),
        ((0, np.inf), r"range of '{}' must be finite"),
        ((1, -1), r"range of '{}' must be finite \(min, max\), got \(1, -1\)"),
    ],
)
def test_a_wrong_range_is_named(name, limits, message):
    ranges = {key: value for key, value in RANGES.items() if key != name}
    if limits is not None:
        ranges[name] = limits
    with pytest.raises(ValueError, match=message.format(name)):
        quantize(tiny(), ranges)


@pytest.mark.parametrize("name", ["input", "conv", "dense"])
@pytest.mark.parametrize("limits", [(0.0, 0.0), (0.0, 1e-30), (-1e-30, 0.0), (-5.0, -5.0)])
def test_an_empty_or_tiny_range_works(name, limits):
    quantized = quantize(tiny(), {**RANGES, name: limits})
    bpm = integer.run(quantized, np.zeros((3, 1, 1), dtype=np.int8)) / 256
    assert np.isfinite(bpm).all()


@pytest.mark.parametrize("bias", [0.0, 0.5, 1e6])
def test_weights_that_are_all_zero_leave_the_bias(bias):
    graph = tiny(conv_weight=0.0, conv_bias=bias, out_weight=0.0, out_bias=72.25)
    quantized = quantize(graph, {**RANGES, "conv": (0.0, bias)})
    window = np.full((1, 1, 1), 5, dtype=np.int8)
    assert integer.run(quantized, window) == 72.25 * 256
    conv = quantized.layers[0]
    value = integer.run_layer(conv, window[..., np.newaxis]).item() - conv.target.zero_point
    assert value * conv.target.scale == pytest.approx(bias, rel=0.01)


def test_a_network_of_zeros_works():
    quantized = quantize(tiny(0.0, 0.0, 0.0, 0.0, 0.0), dict.fromkeys(RANGES, (0.0, 0.0)))
    assert integer.run(quantized, np.ones((1, 1, 1), dtype=np.int8)) == 0


def test_sums_beyond_32_bits_are_refused():
    n = 70_000  # 70000 * 127 * 255 > 2**31
    layers = (
        Dense("dense", np.ones((1, n)), np.zeros(1)),
        Dense("out", np.ones((1, 1)), np.zeros(1)),
    )
    with pytest.raises(ValueError, match=r"sums of layer 'dense' could reach .* beyond 32 bits"):
        quantize(Graph((1, n), layers), {"input": (0.0, 1.0), "dense": (0.0, 1.0)})


def test_a_heart_rate_beyond_32_bits_is_refused():
    with pytest.raises(ValueError, match="sums of layer 'out' could reach"):
        quantize(tiny(out_weight=1e9), RANGES)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_sum_of_a_student_comes_near_32_bits(shape, quantized_student):
    for layer in quantized_student(*shape).layers:
        if layer.products is not None:
            assert layer.products.largest_sum <= SUM_MAX


def test_weights_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="weights of layer 'dense' must be finite"):
        quantize(tiny(dense_weight=np.nan), RANGES)


def test_the_last_layer_must_be_dense():
    graph = Graph((1, 2), (MeanPool("pool", 2),))
    with pytest.raises(ValueError, match="last layer 'pool' must be dense"):
        quantize(graph, RANGES)


@pytest.mark.parametrize("shape", SHAPES)
def test_integers_stay_close_to_float_on_calibrated_ranges(shape):
    graph = lower(random_student(*shape), shape)
    windows = random_windows(100, shape)
    quantized = quantize(graph, measure_ranges(graph, windows))
    expected = graph.run(windows)
    got = integer.run(quantized, integer.quantize_windows(windows, quantized.input_format)) / 256
    # an int8 input has a step of 1/255 of its range; ten layers add their own
    assert np.abs(got - expected).mean() < max(0.03 * np.ptp(expected), 0.1)


def test_published_student_keeps_its_error_in_integers(published):
    windows = published.windows
    quantized = quantize(published.graph, measure_ranges(published.graph, windows))
    got = integer.run(quantized, integer.quantize_windows(windows, quantized.input_format)) / 256
    error = np.abs(published.expected_bpm - published.heart_rate).mean()
    assert np.abs(got - published.expected_bpm).mean() < 1.5
    assert np.abs(got - published.heart_rate).mean() < error + 0.5


def test_the_heart_rate_moves_in_steps_under_a_twentieth_bpm(published):
    windows = published.windows
    quantized = quantize(published.graph, measure_ranges(published.graph, windows))
    out = quantized.layers[-1]
    # one integer step of any input of the last layer, in bpm
    steps = np.abs(out.layer.weights).max() * out.source.scale
    assert max(steps, out.target.scale) <= 0.05
    got = integer.run(quantized, integer.quantize_windows(windows, quantized.input_format))
    assert len(np.unique(got)) > 0.9 * len(windows)
