"""Files of pipelines that are damaged, lie or want too much: one error that names them."""

from __future__ import annotations

import io
import json
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest

from pulsehr import _plain_files, load_pretrained
from pulsehr._plain_files import read_pipeline, write_pipeline

NAME = "pipe.npz"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / NAME
    write_pipeline(path, load_pretrained("student"), {"trained on": "a test"})
    return path.read_bytes()


def array(values) -> bytes:
    made = io.BytesIO()
    np.save(made, values)
    return made.getvalue()


def archive(**members: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return made.getvalue()


def text(content) -> bytes:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return archive(text=array(np.frombuffer(raw, np.uint8)))


def header(shape: str, dtype: str = "|u1") -> bytes:
    """An array that says its shape and has one byte."""
    told = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(told).to_bytes(2, "little") + told + b"\0"


def steps(state, kind="PPGWindower"):
    return text({"facts": {}, "steps": {"first": {"!estimator": kind, "state": state}}})


LIES = {
    "nothing": b"",
    "an array alone": array(np.zeros(3)),
    "a pickle": pickle.dumps({"text": 1}),
    "no text": archive(another=array(np.zeros(3))),
    "a member that is no array": archive(text=b"text"),
    "an absurd shape": archive(text=header("(1 << 60,)".replace("1 << 60", str(1 << 60)))),
    "a negative shape": archive(text=header("(-5,)")),
    "a shape that runs something": archive(text=header("__import__('os').getcwd()")),
    "objects": archive(text=header("(1,)", "|O")),
    "text that is no JSON": text(b"{"),
    "text that is not UTF-8": text(b"\xff\xfe"),
    "JSON without steps": text({}),
    "JSON as deep as the stack": text(b"[" * 100_000),
    "an array that is not there": steps({"mean_": {"!array": "x"}}),
    "weights that are none": steps(
        {"weights_": {"a": 1}, "form_": "paper"}, "PulseTeacherRegressor"
    ),
    "a state that is none": steps(3),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_an_error_that_names_it(lie, tmp_path):
    (tmp_path / NAME).write_bytes(LIES[lie])
    with pytest.raises(ValueError, match=rf"read_pipeline: expected .*{NAME}' cannot be read"):
        read_pipeline(tmp_path / NAME)


def test_every_truncation_is_an_error(whole, tmp_path):
    for n_bytes in range(0, len(whole), len(whole) // 150):
        (tmp_path / NAME).write_bytes(whole[:n_bytes])
        with pytest.raises(ValueError, match=NAME), (tmp_path / NAME).open("rb") as file:
            read_pipeline(file)


def test_a_changed_byte_never_changes_what_is_read(whole, tmp_path):
    pipe, facts = read_pipeline(io.BytesIO(whole))
    expected = pickle.dumps((pipe, facts))
    for place in range(0, len(whole), len(whole) // 150):
        changed = bytearray(whole)
        changed[place] ^= 0x11
        try:
            again = read_pipeline(io.BytesIO(bytes(changed)))
        except ValueError:
            continue
        assert pickle.dumps(again) == expected, place


def test_a_bomb_is_not_inflated(tmp_path):
    n_bytes = _plain_files.MAX_BYTES + 1
    (tmp_path / NAME).write_bytes(archive(text=header(f"({n_bytes},)") + bytes(n_bytes)))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"{NAME}' cannot be read .*more than {n_bytes - 1}"):
            read_pipeline(tmp_path / NAME)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_file_that_is_not_there_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError, match=NAME):
        read_pipeline(tmp_path / NAME)
