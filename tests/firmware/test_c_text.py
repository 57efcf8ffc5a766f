"""Literals, identifiers and aligned arrays."""

from __future__ import annotations

import numpy as np
import pytest

from pulsehr.firmware.c_text import array, check_prefix, defines, float_literal, integer_literal


@pytest.mark.parametrize("prefix", ["pulsehr", "hr", "Heart_2", "x"])
def test_identifiers_are_prefixes(prefix):
    assert check_prefix(prefix) == prefix


@pytest.mark.parametrize("prefix", ["", "2hr", "_hr", "heart-rate", "hr ", "hr\n", "héart", "a/b"])
def test_other_strings_are_not(prefix):
    with pytest.raises(ValueError, match="prefix must start C identifiers"):
        check_prefix(prefix)


@pytest.mark.parametrize("prefix", ["stdint", "string", "STRING"])
def test_a_prefix_does_not_hide_a_header_of_c(prefix):
    with pytest.raises(ValueError, match="must not be the name of a C header"):
        check_prefix(prefix)


def test_a_prefix_is_a_string():
    with pytest.raises(TypeError, match="prefix must be a str, got int"):
        check_prefix(3)


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.5f"), (512, "512.0f"), (1e-5, "9.99999975e-06f"), (1e10, "1e+10f")]
)
def test_float_literals(value, text):
    assert float_literal(value) == text


def test_float_literals_keep_every_bit():
    for value in np.random.default_rng(0).lognormal(0, 20, 1000).astype(np.float32):
        assert np.float32(float_literal(value)[:-1]) == value


def test_the_smallest_integer_has_a_name():
    assert [integer_literal(value) for value in (-(2**31), 5)] == ["INT32_MIN", "5"]


def test_arrays_are_aligned():
    text = array("static const int8_t x[3]", np.array([[1, -20, 3]]))
    assert text == "static const int8_t x[3] = {\n      1, -20,   3,\n};\n"


def test_arrays_of_long_numbers_fit_the_line():
    text = array("x", np.full(100, -(2**31) + 1))
    assert max(len(line) for line in text.splitlines()) <= 100


def test_macros_are_in_columns():
    text = defines([("A", 1, "one"), ("BB", 20, "two")])
    assert text == "#define A   1 /* one */\n#define BB 20 /* two */\n"
