"""Any order of calls with any samples, by libFuzzer; `make fuzz SECONDS=600` searches longer."""

from __future__ import annotations

import pytest
from emitted import PIPELINES, emitted, require
from fuzz import build_fuzzer, fuzz

#: Always the same inputs; a fault ends a search.
RUNS, SEARCH = ("-runs=400", "-seed=1"), ("-runs=30000", "-seed=1")

#: Faults that must be found: the pipeline, what is replaced in its front end, and by what.
FAULTS = {
    "a window is called late too early": (
        "ppg",
        "age <= HR_SLACK ? 1 : 0",
        "age <= HR_SLACK ? 2 : 0",
    ),
    "what a sensor is ahead is forgotten": ("two rates", "late += ahead", "late += 0"),
    "a gap ends early": ("two rates", "gap = HR_N_TIMES + 1", "gap = HR_N_TIMES / 2"),
    "a long gap loses the stride": ("acc", "far -= far % HR_STRIDE", "far -= far % 7"),
    "a refused sample leaves a trace": (
        "acc",
        "< -HR_SLACK - step)) {",
        "< -HR_SLACK - step)) {\n        state->age = 1;",
    ),
    "a lead of all rows overflows": (
        "raw",
        "lead > HR_SLACK - step",
        "lead + step > HR_SLACK",
    ),
    "a ring is one sample short": ("raw", "== length ? 0", "== length - 1 ? 0"),
    "a filter reads beyond its past": ("bandpass", "i < HR_PPG_PAST; ++i", "i <= HR_PPG_PAST; ++i"),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_no_order_of_calls_breaks_the_c(name, tmp_path, missing):
    require(missing, "clang-14")
    done = fuzz(build_fuzzer(emitted(name), tmp_path), *RUNS)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done 400 runs" in done.stderr


@pytest.mark.parametrize("fault", FAULTS)
def test_the_fuzzer_finds_faults(fault, tmp_path, missing):
    require(missing, "clang-14")
    name, old, new = FAULTS[fault]
    model = emitted(name)
    text = model.sources["hr_front.c"]
    assert old in text
    faulty = {**model.sources, "hr_front.c": text.replace(old, new)}
    done = fuzz(build_fuzzer(model, tmp_path, faulty), *SEARCH)
    assert done.returncode != 0
    assert "ERROR: " in done.stderr or "runtime error" in done.stderr
