"""The integer run on numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pulsehr.firmware import integer
from pulsehr.firmware.graph import Conv, Dense, MeanPool
from pulsehr.firmware.integer import quantize_windows, requantize, run_layer
from pulsehr.firmware.quantization import Format, Products, QuantizedLayer

HALF = 2**30  # the multiplier 0.5


def requantized(total: int, multiplier: int, shift: int) -> int:
    return requantize(
        np.array([total]), np.array([multiplier], np.int32), np.array([shift], np.int8)
    ).item()


@pytest.mark.parametrize(
    ("total", "multiplier", "shift", "expected"),
    [
        (100, HALF, 0, 50),
        (3, HALF, 0, 2),  # 1.5: halves of the first rounding go up,
        (-3, HALF, 0, -1),  # also those of negative numbers
        (6, HALF, -1, 2),  # 3 / 2: halves of the second rounding go away from zero
        (-6, HALF, -1, -2),
        (5, HALF, -1, 2),  # 2.5, 3, 1.5, 2: rounded twice, once would give 1
        (-5, HALF, -1, -1),  # -2.5, -2, -1
        (-7, HALF, -1, -2),  # -3.5, -3, -1.5, -2
        (3, HALF, 1, 3),
        (3, HALF, 4, 24),
        (2**31 - 1, 2**31 - 1, 0, 2**31 - 2),
        (-(2**31), 2**31 - 1, 0, -(2**31) + 1),
        (2**31 - 1, HALF, -30, 1),
        (-(2**31), HALF, -30, -1),
        (123456, 0, 0, 0),
    ],
)
def test_requantization_rounds_twice(total, multiplier, shift, expected):
    assert requantized(total, multiplier, shift) == expected


def test_requantization_equals_a_literal_reading_of_the_rule():
    rng = np.random.default_rng(0)
    sums = rng.integers(-(2**31), 2**31, 2000)
    sums[::2] >>= rng.integers(0, 31, 1000)
    multipliers = rng.integers(2**30, 2**31, 2000).astype(np.int32)
    shifts = rng.integers(-30, 1, 2000).astype(np.int8)
    for total, multiplier, shift, got in zip(
        sums.tolist(),
        multipliers.tolist(),
        shifts.tolist(),
        requantize(sums, multipliers, shifts).tolist(),
        strict=True,
    ):
        high = (total * multiplier + 2**30) // 2**31
        mask = 2**-shift - 1
        threshold = mask // 2 + (high < 0)
        assert got == (high >> -shift) + ((high & mask) > threshold)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2], [2]),  # 1.5
        ([-1, -2], [-2]),
        ([-1, 2], [1]),  # 0.5
        ([1, -2], [-1]),
        ([1, 1, 3], [1, 3]),
        ([-128, -128, -128, -127], [-128, -128]),  # -127.5
        ([127, 127], [127]),
    ],
)
def test_mean_pool_rounds_halves_away_from_zero(values, expected):
    source = Format(8, 1.0, -128)
    shape = (1, len(values), 1)
    layer = QuantizedLayer(MeanPool("p", 2), source, source, shape, (1, len(expected), 1))
    x = np.array(values, np.int8).reshape(1, *shape)
    assert run_layer(layer, x).ravel().tolist() == expected


def one_tap(weight: int, bias: int, relu: bool = False) -> QuantizedLayer:
    """Halve weight * (x - 3) + bias and add -10."""
    products = Products(
        np.full((1, 1, 1, 1), weight, np.int8),
        np.array([bias], np.int32),
        np.array([HALF], np.int32),
        np.array([0], np.int8),
        1000,
    )
    conv = Conv("c", np.zeros((1, 1, 1, 1)), np.zeros(1), relu=relu)
    return QuantizedLayer(
        conv, Format(8, 1.0, 3), Format(8, 1.0, -10), (1, 4, 1), (1, 4, 1), products
    )


def test_conv_of_one_tap_by_hand():
    x = np.array([3, 5, -7, 127], np.int8).reshape(1, 1, 4, 1)
    # (2 (x - 3) + 4) / 2 - 10; the last one saturates not, 116
    assert run_layer(one_tap(2, 4), x).ravel().tolist() == [-8, -6, -18, 116]


def test_outputs_saturate():
    x = np.array([-128, 127, 0, 3], np.int8).reshape(1, 1, 4, 1)
    assert run_layer(one_tap(100, 0), x).ravel().tolist() == [-128, 127, -128, -10]


def test_relu_cuts_at_the_zero_point():
    x = np.array([0, 3, 5, 7], np.int8).reshape(1, 1, 4, 1)
    assert run_layer(one_tap(2, 0, relu=True), x).ravel().tolist() == [-10, -10, -8, -6]


def test_padding_stands_for_zero():
    products = Products(
        np.ones((1, 1, 3, 1), np.int8),
        np.zeros(1, np.int32),
        np.array([HALF], np.int32),
        np.array([1], np.int8),
        1000,
    )
    conv = Conv("c", np.zeros((1, 1, 3, 1)), np.zeros(1), padding=1)
    source = Format(8, 1.0, 100)
    layer = QuantizedLayer(conv, source, Format(8, 1.0, 0), (1, 2, 1), (1, 2, 1), products)
    x = np.array([101, 102], np.int8).reshape(1, 1, 2, 1)
    assert run_layer(layer, x).ravel().tolist() == [3, 3]


def test_windows_round_halves_away_from_zero_and_saturate():
    samples = [[[0.0, 0.25, -0.25, 0.2, 63.6, -65.0, 1e30, -1e300]]]
    got = quantize_windows(np.array(samples), Format(8, 0.5, 0)).ravel().tolist()
    assert got == [0, 1, -1, 0, 127, -128, 127, -128]


def test_windows_just_under_a_half_round_down():
    below = np.nextafter(np.float32(0.5), np.float32(0))
    assert quantize_windows(np.array([[[below]]]), Format(8, 1.0, 0)).item() == 0


@pytest.mark.parametrize("zero_point", [-128, 0, 127])
def test_huge_samples_saturate_at_any_zero_point(zero_point):
    windows = np.array([[[3e38, -3e38]]])
    got = quantize_windows(windows, Format(8, 1e-30, zero_point)).ravel().tolist()
    assert got == [127, -128]


def test_results_do_not_depend_on_the_rows_beside(quantized_student):
    graph = quantized_student(2, 100)
    windows = np.random.default_rng(0).integers(-128, 128, (150, 2, 100)).astype(np.int8)
    together = integer.run(graph, windows)
    alone = np.concatenate([integer.run(graph, windows[i : i + 1]) for i in range(150)])
    np.testing.assert_array_equal(together, alone)
    assert together.dtype == np.int32


def test_single_and_double_precision_give_the_same_integers(quantized_student, monkeypatch):
    graph = quantized_student(4, 100)
    windows = np.random.default_rng(0).integers(-128, 128, (20, 4, 100)).astype(np.int8)
    fast = integer.run(graph, windows)
    monkeypatch.setattr(integer, "FLOAT32_EXACT", 0)
    np.testing.assert_array_equal(integer.run(graph, windows), fast)


def test_dense_of_int16_by_hand():
    products = Products(
        np.array([[127, -1]], np.int8),
        np.array([5], np.int32),
        np.array([HALF], np.int32),
        np.array([1], np.int8),
        2**23,
    )
    dense = Dense("out", np.zeros((1, 2)), np.zeros(1))
    source, target = Format(16, 1.0, 0), Format(32, 1 / 256, 0)
    layer = QuantizedLayer(dense, source, target, (1, 1, 2), (1, 1, 1), products)
    x = np.array([32767, -32768], np.int16).reshape(1, 1, 1, 2)
    got = run_layer(layer, x)
    assert got.item() == 127 * 32767 + 32768 + 5
    assert got.dtype == np.int32


def test_an_empty_batch_gives_no_heart_rate(quantized_student):
    graph = quantized_student(1, 16)
    assert integer.run(graph, np.zeros((0, 1, 16), np.int8)).shape == (0,)
