"""The emitted C before cppcheck and its MISRA addon."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from emitted import PIPELINES, call, emitted, require, write

MISRA = Path(__file__).parents[2] / "docs" / "misra.md"

#: Findings of cppcheck that are none, and why.
ACCEPTED = {
    # what the compiler must do is asserted when it compiles
    "shiftNegativeLHS": "the assertion that negative numbers are shifted arithmetically",
    "shiftTooManyBitsSigned": "the sign of an int32_t as -1 or 0",
    # constants and branches of one pipeline, which are others in the next
    "redundantInitialization": "what a filter or a normalisation replaces, where there is one",
    "unsignedLessThanZero": "the residue of a band-pass, which is 0 without one",
    "unusedStructMember": "what the DSP instructions need",
    "missingIncludeSystem": "headers of the C library, which cppcheck knows by itself",
}

CHECK = ["cppcheck", "--quiet", "--std=c11", "--platform=unix32"]


def units_of(name: str, folder: Path) -> list[str]:
    """Write an export: all of one is checked, and the front end of the others, which differs."""
    units = write(emitted(name, "cmsis-nn").sources, folder)
    return units if name == "acc" else [unit for unit in units if unit == "hr_front.c"]


@pytest.mark.parametrize("name", PIPELINES)
def test_cppcheck_finds_nothing(name, tmp_path, missing):
    require(missing, "cppcheck")
    units = units_of(name, tmp_path)
    suppressed = [f"--suppress={finding}" for finding in ACCEPTED]
    kinds = ["--enable=warning,style,performance,portability", "--inconclusive"]
    call([*CHECK, *kinds, *suppressed, "--error-exitcode=1", *units], tmp_path)


def test_cppcheck_finds_a_fault(tmp_path, missing):
    require(missing, "cppcheck")
    files = {"fault.c": "int f(void); int f(void) { int a[3] = {0}; return a[3]; }"}
    with pytest.raises(AssertionError, match="arrayIndexOutOfBounds"):
        call([*CHECK, "--error-exitcode=1", *write(files, tmp_path)], tmp_path)


def misra_findings(units, folder, missing) -> dict[str, str]:
    """Return an example of each rule that is not followed."""
    options = ["--addon=misra", "--suppress=missingIncludeSystem", "--template={id} {file}:{line}"]
    # findings are no failure of the tool
    done = run_quietly([*CHECK, *options, *units], folder)
    if "Did not find addon" in done:
        missing("cppcheck has no MISRA addon: apt-get install cppcheck python3")
    return dict(re.findall(r"^misra-c2012-([\d.]+) (\S+)", done, re.M))


def run_quietly(command, folder) -> str:
    return call(["sh", "-c", '"$@" 2>&1', "sh", *command], folder)


def deviations() -> set[str]:
    return set(re.findall(r"^\| (\d+\.\d+) \|", MISRA.read_text(encoding="utf-8"), re.M))


@pytest.mark.parametrize("name", PIPELINES)
def test_every_rule_of_misra_that_is_not_followed_is_listed(name, tmp_path, missing):
    require(missing, "cppcheck")
    found = misra_findings(units_of(name, tmp_path), tmp_path, missing)
    assert found, "the addon found nothing at all: did it run?"
    unlisted = {rule: place for rule, place in found.items() if rule not in deviations()}
    assert unlisted == {}, f"mend it, or explain it in {MISRA.name}"


def test_a_rule_that_is_broken_is_noticed(tmp_path, missing):
    require(missing, "cppcheck")
    files = {"octal.c": "int f(void);\nint f(void)\n{\n    return 0123;\n}\n"}
    found = misra_findings(write(files, tmp_path), tmp_path, missing)
    assert "7.1" in found
    assert "7.1" not in deviations()
