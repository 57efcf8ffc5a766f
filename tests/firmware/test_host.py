"""Finding and running the C compiler of this machine."""

from __future__ import annotations

import pytest

from pulsehr.firmware.host import compile_library, find_compiler


def test_cc_may_hold_options(monkeypatch, compiler):
    monkeypatch.setenv("CC", f"{compiler} -g0")
    assert find_compiler() == [compiler, "-g0"]


def test_an_empty_cc_counts_as_none(monkeypatch, compiler):
    monkeypatch.setenv("CC", " ")
    assert find_compiler() == [compiler]


def test_a_missing_compiler_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"no C compiler found.*apt-get install gcc.*set CC"):
        find_compiler()


def test_a_wrong_cc_is_not_replaced_silently(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(RuntimeError, match="tried CC='no-such-compiler'"):
        find_compiler()


def test_what_the_compiler_says_is_passed_on(tmp_path, compiler):
    with pytest.raises(RuntimeError, match=r"could not compile the model:[\s\S]*nonsense"):
        compile_library({"a.c": "nonsense"}, tmp_path)
