"""MATLAB files that lie, are cut off or want too much: one clear error, in bounded memory."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from scipy.io import savemat

from pulsehr.datasets import load_ieee_spc
from pulsehr.datasets._mat_file import MAX_NUMBERS, MAX_VARIABLES, read_variables

SIG = np.random.default_rng(0).normal(size=(6, 3000))
NAME = "DATA_01_TYPE01.mat"

#: Data types and classes of the format.
INT8, UINT8, INT32, UINT32, DOUBLE, MATRIX, COMPRESSED = 1, 2, 5, 6, 9, 14, 15
CELL, STRUCT, OBJECT, CHAR, SPARSE, CLASS_DOUBLE, FUNCTION, OPAQUE = 1, 2, 3, 4, 5, 6, 16, 17


def saved(content=None, **options) -> bytes:
    stream = io.BytesIO()
    savemat(stream, {"sig": SIG} if content is None else content, **options)
    return stream.getvalue()


def header(order="<") -> bytes:
    mark = b"IM" if order == "<" else b"MI"
    return b"made by a test".ljust(124) + struct.pack(order + "H", 0x0100) + mark


def element(kind, content, n_bytes=None, order="<") -> bytes:
    n_bytes = len(content) if n_bytes is None else n_bytes
    return struct.pack(order + "II", kind, n_bytes) + content + bytes(-len(content) % 8)


def variable(
    name=b"sig",
    dims=(6, 3000),
    data=None,
    kind=CLASS_DOUBLE,
    stored=DOUBLE,
    order="<",
    n_bytes=None,
) -> bytes:
    data = np.asfortranarray(SIG).astype(order + "f8").tobytes("F") if data is None else data
    content = (
        element(UINT32, struct.pack(order + "II", kind, 0), order=order)
        + element(INT32, struct.pack(f"{order}{len(dims)}i", *dims), order=order)
        + element(INT8, name, order=order)
        + element(stored, data, n_bytes, order=order)
    )
    return element(MATRIX, content, order=order)


def compressed(content: bytes) -> bytes:
    deflated = zlib.compress(content)
    return struct.pack("<II", COMPRESSED, len(deflated)) + deflated


def read(content: bytes, name="sig") -> np.ndarray:
    return read_variables(io.BytesIO(content), [name])[name].values


@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("do_compression", [False, True])
def test_numbers_of_every_type_are_read_as_they_were_written(dtype, do_compression):
    values = (100 * SIG).astype(dtype)
    content = saved(
        {"first": "text", "sig": values, "last": {"a": 1}}, do_compression=do_compression
    )
    np.testing.assert_array_equal(read(content), values, strict=True)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (7, 1), (2, 3, 4), (0, 0)])
def test_shapes_are_read_as_they_were_written(shape):
    values = np.arange(np.prod(shape), dtype=float).reshape(shape)
    np.testing.assert_array_equal(read(saved({"sig": values})), values, strict=True)


def test_small_numbers_of_a_type_may_be_stored_in_a_smaller_one():
    content = variable(dims=(2, 2), data=bytes([1, 2, 3, 4]), stored=UINT8)
    np.testing.assert_array_equal(read(header() + content), [[1.0, 3.0], [2.0, 4.0]], strict=True)


def test_the_other_byte_order_is_read():
    np.testing.assert_array_equal(read(header(">") + variable(order=">")), SIG, strict=True)


def test_a_byte_order_that_is_not_that_of_the_content_is_an_error():
    with pytest.raises(ValueError, match=r"should have \d+ bytes|no variable at byte 128"):
        read(header() + variable(order=">"))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (CELL, "cell"),
        (STRUCT, "struct"),
        (OBJECT, "object"),
        (CHAR, "char"),
        (SPARSE, "sparse"),
        (FUNCTION, "function"),
    ],
)
def test_variables_of_other_kinds_are_named_and_not_read(kind, text, tmp_path):
    (tmp_path / NAME).write_bytes(header() + variable(kind=kind))
    with pytest.raises(ValueError, match=rf"{NAME} must hold .* got 'sig' {text} \(6, 3000\)"):
        load_ieee_spc(tmp_path)


def test_complex_numbers_are_no_samples(tmp_path):
    savemat(tmp_path / NAME, {"sig": SIG * 1j})
    with pytest.raises(ValueError, match=rf"{NAME} must hold .* got 'sig' complex float64 \(6, "):
        load_ieee_spc(tmp_path)


def test_objects_beside_the_samples_do_not_matter():
    beside = variable(b"table", kind=OPAQUE) + variable(b"f", kind=FUNCTION, dims=(1, 1))
    np.testing.assert_array_equal(read(header() + beside + compressed(variable())), SIG)


BIG = (1 << 30, 1 << 30)
LIES = {
    "nothing": (b"", "ends after 0 bytes"),
    "text alone": (header()[:100], "ends after 100 bytes"),
    "another file": (b"<html>404 Not Found</html>" * 50, "does not start as a MATLAB file"),
    "zeros": (bytes(10_000), "does not start as a MATLAB file"),
    "version 4": (
        struct.pack("<5i", 0, 6, 3000, 0, 4) + b"sig\0" + SIG.tobytes("F"),
        "does not start as a MATLAB file",
    ),
    "variable longer than the file": (header() + variable()[:-8], r"should have \d+ bytes or more"),
    "tag cut off": (header() + variable() + b"\x0e\0\0", "8 bytes should follow, and 3 do"),
    "no variable": (header() + element(DOUBLE, bytes(80)), "no variable at byte 128, .* type 9"),
    "unknown type of data": (header() + variable(stored=200), "data of type 200"),
    "text as data": (header() + variable(stored=16), "data of type 16"),
    "too few data": (header() + variable(data=bytes(80)), "80 bytes of data"),
    "data longer than the variable": (
        header() + variable(data=bytes(80), n_bytes=6 * 3000 * 8),
        "144000 bytes should follow, and 80 do",
    ),
    "negative dimensions": (header() + variable(dims=(-6, -3000)), r"dimensions \(-6, -3000\)"),
    "absurd dimensions": (header() + variable(dims=BIG), r"more than 16777216 numbers"),
    "overflowing dimensions": (header() + variable(dims=(*BIG, 16)), "more than 16777216 numbers"),
    "many dimensions": (header() + variable(dims=(1,) * 100), "400 bytes of type 5 where"),
    "long name": (header() + variable(b"a" * 10_000), "10000 bytes of type 1 where"),
    "numbers that do not fit their class": (
        header() + variable(kind=9),
        "144000 bytes of data of type 9",
    ),
    "one name twice": (header() + 2 * variable(), "two variables are called 'sig'"),
    "too many variables": (
        header() + (MAX_VARIABLES + 1) * variable(b"a", data=b"", dims=(0, 0)),
        "more than 1000 variables",
    ),
    "broken compression": (
        header() + compressed(variable())[:5000] + bytes(200_000),
        "longer than it says, or cut off",
    ),
    "compressed numbers alone": (
        header() + compressed(element(DOUBLE, bytes(80))),
        "compressed data that are no variable",
    ),
    "compressed twice": (
        header() + compressed(compressed(variable())),
        "compressed data that are no variable",
    ),
    "compressed data go on": (
        header() + compressed(variable() + bytes(1000)),
        "longer than it says, or cut off",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_an_error_that_names_it(lie, tmp_path):
    content, reason = LIES[lie]
    (tmp_path / NAME).write_bytes(content)
    message = (
        rf"load_ieee_spc: {NAME} must be a MATLAB file, got one that cannot be read \(.*{reason}"
    )
    with pytest.raises(ValueError, match=message):
        load_ieee_spc(tmp_path)


@pytest.mark.parametrize("do_compression", [False, True])
def test_every_truncation_is_an_error(do_compression):
    whole = saved({"sig": SIG[:, :40]}, do_compression=do_compression)
    for n_bytes in [*range(0, 400), *range(400, len(whole), 7)]:
        if n_bytes == 128:
            continue  # a file without variables
        with pytest.raises((ValueError, zlib.error)):
            read(whole[:n_bytes])


def test_a_changed_byte_of_compressed_samples_is_noticed():
    whole = saved(do_compression=True)
    for place in range(200, len(whole), len(whole) // 50):
        changed = bytearray(whole)
        changed[place] ^= 0x10
        with pytest.raises((ValueError, zlib.error)):
            read(bytes(changed))


@pytest.mark.parametrize(
    "text", [b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM", b"\x89HDF\r\n\x1a\n"]
)
def test_version_7_3_is_told_apart_with_and_without_its_text(text, tmp_path):
    (tmp_path / NAME).write_bytes(text + bytes(1000))
    with pytest.raises(ValueError, match=rf"{NAME} .* got version 7.3 \(HDF5\): save it again"):
        load_ieee_spc(tmp_path)


def bomb(name: bytes, gigabytes: int) -> bytes:
    """A variable of few bytes that says it has few samples and inflates to gigabytes."""
    head = variable(name, dims=(6, MAX_NUMBERS // 6), data=b"", n_bytes=MAX_NUMBERS // 6 * 48)
    deflate = zlib.compressobj()
    start, block = [
        deflate.compress(part) + deflate.flush(zlib.Z_FULL_FLUSH) for part in (head, bytes(1 << 20))
    ]
    content = start + (gigabytes << 10) * block
    return struct.pack("<II", COMPRESSED, len(content)) + content


@pytest.mark.parametrize("name", ["sig", "another"])
def test_a_bomb_is_not_inflated(name, tmp_path):
    """Three gigabytes of zeros; at most some copies of what a variable may have are held."""
    (tmp_path / NAME).write_bytes(header() + bomb(name.encode(), 3))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=NAME):
            load_ieee_spc(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < (3 * MAX_NUMBERS * 8 if name == "sig" else 1 << 20)
