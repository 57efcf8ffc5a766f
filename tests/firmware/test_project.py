"""The exported folder: what is in it, that its builds run, and what they print."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from exports import FRONTS, STRICT, call, exported

from pulsehr import Reading, Recording
from pulsehr.firmware.cortex_m import CORES

MODELS = ["alone", *FRONTS]
WARNINGS = " ".join(STRICT[1:])


@pytest.fixture(scope="module")
def graphs(quantized_student):
    return {n: quantized_student(n, 64, (4, 3, 5)) for n in (1, 4)}


@pytest.fixture(scope="module")
def model_of(graphs):
    def make(name, **parameters):
        front = FRONTS.get(name)
        return exported(graphs[(front or {}).get("n_channels", 4)], front, **parameters)

    return make


def check(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def recorded(model):
    """Make a recording of the sensors of a model."""
    front, rng = model.front_end, np.random.default_rng(4)
    seconds = np.arange(0, 9, 1 / front.ppg.rate)
    acc = {}
    if front.acc is not None:
        noise = rng.normal([0, 0, 1], 0.2, size=(round(9 * front.acc.rate), 3))
        acc = {"acc": noise, "acc_rate": front.acc.rate}
    ppg = 50 * np.sin(2 * np.pi * 1.3 * seconds) + rng.normal(size=len(seconds)) + 5000
    return Recording(ppg=ppg, ppg_rate=front.ppg.rate, **acc)


def without(recording, seconds):
    """Return a recording without the samples of the PPG at some seconds."""
    ppg = np.array(recording.ppg)
    ppg[[round(t * recording.ppg_rate) for t in seconds]] = np.nan
    acc = {} if recording.acc is None else {"acc": recording.acc, "acc_rate": recording.acc_rate}
    return Recording(ppg=ppg, ppg_rate=recording.ppg_rate, **acc)


# ------------------------------------------------------------------------------ what is there


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("target", ["portable", "cmsis-nn"])
def test_the_files_of_the_layout_for_c(name, target, model_of):
    model = model_of(name, target=target)
    front = set() if name == "alone" else {"hr_front.c", "hr_front_tables.h"}
    quantize = {"hr_quantize.c", "hr_quantize.h"} if name == "alone" else set()
    cmsis_nn = {"hr_cmsis_nn.c"} if target == "cmsis-nn" else set()
    library = {"hr.c", "hr.h", "hr_network.h"}
    library |= {f"hr_{part}.{end}" for part in ("kernels", "self_test", "weights") for end in "ch"}
    assert set(model.sources) == library | front | quantize | cmsis_nn
    around = {"CMakeLists.txt", "LICENSE", "Makefile", "README.md", "example/main.c"}
    around |= {f"zephyr/{file}" for file in ("CMakeLists.txt", "Kconfig", "module.yml")}
    qemu = ("cortex_m.ld", "main.c", "semihosting.c", "semihosting.h", "startup.c")
    assert set(model.files) == {*model.sources, *around, *(f"qemu/{file}" for file in qemu)}
    assert model.files["hr.h"] is model.sources["hr.h"]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("layout", ["c", "arduino"])
def test_files_are_complete_and_say_who_wrote_them(name, layout, model_of):
    for path, text in model_of(name, layout=layout, target="cmsis-nn").files.items():
        assert "Written by pulsehr" in text[:400], path
        assert not re.search(r"@\w+@", text), path
        assert text.isascii(), path
        assert text.endswith("\n"), path
        assert "\n\n\n" not in text, path
        if path.endswith((".c", ".h", ".ino")):
            assert "SPDX-License-Identifier: BSD-3-Clause" in text.split("*/")[0], path
            assert max(map(len, text.splitlines())) <= 100, path


@pytest.mark.parametrize("layout", ["c", "arduino"])
def test_the_same_model_gives_the_same_bytes(layout, model_of):
    first, second = (model_of("everything", layout=layout).files for _ in range(2))
    assert list(first.items()) == list(second.items())


def test_the_readme_wires_the_sensors(model_of):
    two = model_of("paper").files["README.md"]
    assert "/* at 64 Hz, every 15625 us */\nestimate(hr_push_ppg(&state, ppg));" in two
    assert "/* at 32 Hz, every 31250 us */\nestimate(hr_push_acc(&state, acc_x" in two
    assert "a heart rate every 2 s out" in two
    one = model_of("one rate").files["README.md"]
    assert "estimate(hr_push(&state, ppg, acc_x, acc_y, acc_z));" in one
    assert "estimate(hr_push(&state, ppg));" in model_of("ppg alone").files["README.md"]
    assert "input is a normalised window" in model_of("alone").files["README.md"]
    for name in MODELS:
        assert len(model_of(name).files["README.md"].splitlines()) <= 80


def test_the_readme_says_when_the_first_heart_rate_comes(model_of):
    # 64 rows: sample 63 of 32 Hz, or sample 126 + 9 of 64 Hz, whose filter looks 9 samples ahead
    for name, seconds in (("one rate", "1.97"), ("paper", "2.11")):
        page = model_of(name).files["README.md"]
        assert f"first heart rate comes {seconds} s after `hr_init`" in page


def test_the_readme_says_how_two_sensors_stay_together(model_of):
    two = model_of("paper").files["README.md"]
    assert "Empty FIFOs in turn, the PPG first, at most 250 ms at a time" in two
    assert "`HR_ERROR_AHEAD`: keep the sample, or time is shifted" in two
    for skip in ("hr_skip_ppg(&state, n_ppg - 1)", "hr_skip_acc(&state, n_acc"):
        assert f"estimate({skip}" in two
    assert "hr_skip(&state, n)" in model_of("one rate").files["README.md"]
    assert "FIFOs" not in model_of("ppg alone").files["README.md"]


def test_the_header_has_periods_and_status_codes(model_of):
    header = " ".join(model_of("everything").files["hr.h"].split())
    for macro in ("WINDOW_MS 2000", "STRIDE_MS 2000", "PPG_PERIOD_US 10417", "ACC_PERIOD_US 7812"):
        assert f"#define HR_{macro} " in header
    for status in (
        "OK 0",
        "READY 1",
        "ERROR_NULL (-1)",
        "ERROR_ALIGNMENT (-2)",
        "ERROR_AHEAD (-5)",
    ):
        assert f"#define HR_{status} " in header
    assert "HR_READY" not in model_of("alone").files["hr.h"]


def test_the_folder_has_the_license_of_the_project(model_of):
    text = (Path(__file__).parents[2] / "LICENSE").read_text()
    for layout in ("c", "arduino"):
        files = model_of("paper", layout=layout, target="cmsis-nn").files
        assert files["LICENSE"].endswith(text)
        assert "the weights are yours. CMSIS-NN has its own license" in files["README.md"]


def test_an_unknown_layout_is_refused(model_of):
    with pytest.raises(ValueError, match=r"layout must be one of \['arduino', 'c'\], got 'mbed'"):
        model_of("alone", layout="mbed")


def test_two_models_in_one_folder_are_refused(model_of, tmp_path):
    model_of("paper", prefix="rest").write(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(
        FileExistsError, match=r"with prefix 'rest', not 'run'.*a folder of its own"
    ):
        model_of("paper", prefix="run").write(tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------ this machine


@pytest.mark.parametrize("name", MODELS)
def test_make_builds_the_example_and_tests(name, model_of, tmp_path, compiler, tool):
    model_of(name).write(tmp_path)
    made = call([tool("make"), "test", f"CC={compiler}", f"CFLAGS={WARNINGS}"], tmp_path)
    assert check(made).endswith("self-test: as expected\n")


@pytest.mark.parametrize("lost", [(), (0,), (1.01, 1.5)], ids=["whole", "start", "gap"])
@pytest.mark.parametrize("name", FRONTS)
def test_the_example_prints_what_predict_gives(name, lost, model_of, tmp_path, compiler, tool):
    model = model_of(name)
    model.write(tmp_path)
    recording = without(recorded(model), lost)
    counts = [array for array in model.samples(recording) if array is not None]
    files = ["ppg.csv", "acc.csv"][: len(counts)]
    for file, array in zip(files, counts, strict=True):
        holed = np.ma.filled(array.astype(float), np.nan)
        np.savetxt(tmp_path / file, holed, fmt="%.0f", delimiter=",")
    check(call([tool("make"), f"CC={compiler}"], tmp_path))
    printed = check(call(["build/hr_example", *files], tmp_path))
    rows = re.findall(r"^(\d+\.\d\d) s (\S+) bpm$", printed, re.M)
    front = model.front_end
    instants = (front.n_times + front.stride * np.arange(len(rows))) / front.sampling_rate
    assert len(rows) >= 3
    np.testing.assert_array_equal([float(seconds) for seconds, _ in rows], instants)
    readings = [Reading(recording, t) for t in instants]
    wanted = model.predict(readings)
    np.testing.assert_array_equal([float(bpm) for _, bpm in rows], wanted)
    assert np.isnan(wanted).any() == bool(lost)


def test_the_example_of_a_student_alone_takes_windows(model_of, tmp_path, compiler, tool):
    model = model_of("alone")
    model.write(tmp_path)
    windows = np.random.default_rng(0).integers(-128, 128, (4, 256))
    np.savetxt(tmp_path / "windows.csv", windows, fmt="%d", delimiter=",")
    check(call([tool("make"), f"CC={compiler}"], tmp_path))
    printed = check(call(["build/hr_example", "windows.csv"], tmp_path))
    # the middle of the interval that becomes each integer
    samples = (windows - model.graph.input_format.zero_point) * model.graph.input_format.scale
    np.testing.assert_array_equal(
        [float(line.split()[0]) for line in printed.splitlines()], model.predict(samples)
    )


def test_the_example_refuses_what_it_cannot_read(model_of, tmp_path, compiler, tool):
    model_of("paper").write(tmp_path)
    check(call([tool("make"), f"CC={compiler}"], tmp_path))
    for arguments in (["one"], ["no-such-file", "acc.csv"]):
        done = call(["build/hr_example", *arguments], tmp_path)
        assert done.returncode == 2
        assert done.stderr


@pytest.mark.parametrize("line", ["", "1.5", "1,2", "99999999999", "1;2;3;4", "1,2,40000"])
@pytest.mark.parametrize("bad", ["ppg.csv", "acc.csv"])
def test_the_example_names_the_line_that_it_cannot_read(
    bad, line, model_of, tmp_path, compiler, tool
):
    model_of("paper").write(tmp_path)
    check(call([tool("make"), f"CC={compiler}"], tmp_path))
    (tmp_path / "ppg.csv").write_text("5\n" * 20)
    (tmp_path / "acc.csv").write_text("1, 2; -3\r\n" * 20)
    assert check(call(["build/hr_example", "ppg.csv", "acc.csv"], tmp_path)) == ""
    lines = (tmp_path / bad).read_text().splitlines()
    (tmp_path / bad).write_text("\n".join([*lines[:2], line, *lines[2:]]))
    done = call(["build/hr_example", "ppg.csv", "acc.csv"], tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{bad}: line 3: ")


@pytest.mark.parametrize("damage", ["1 2 3\n", "1 x\n", "200\n"])
def test_the_example_names_the_window_that_it_cannot_read(
    damage, model_of, tmp_path, compiler, tool
):
    model_of("alone").write(tmp_path)
    check(call([tool("make"), f"CC={compiler}"], tmp_path))
    (tmp_path / "windows.csv").write_text(" ".join(["1"] * 256) + "\n" + damage)
    done = call(["build/hr_example", "windows.csv"], tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("windows.csv: window 2: ")


def test_make_test_fails_on_a_damaged_weight(model_of, tmp_path, compiler, tool):
    model_of("alone").write(tmp_path)
    path = tmp_path / "hr_weights.c"
    text = path.read_text()
    found = re.search(r"_out_weights\[\d+\] = \{\s*(-?\d+)", text)
    damaged = str(int(found[1]) ^ 64)
    path.write_text(text[: found.start(1)] + damaged + text[found.end(1) :])
    done = call([tool("make"), "test", f"CC={compiler}"], tmp_path)
    assert done.returncode != 0
    assert "self-test: vector 1 differs" in done.stdout


@pytest.mark.parametrize("target", ["portable", "cmsis-nn"])
def test_cmake_builds_and_ctest_passes(target, model_of, tmp_path, compiler, tool):
    model_of("everything", target=target).write(tmp_path)
    configure = [tool("cmake"), "-S", ".", "-B", "out", f"-DCMAKE_C_COMPILER={compiler}"]
    check(call([*configure, f"-DCMAKE_C_FLAGS={WARNINGS}"], tmp_path))
    check(call(["cmake", "--build", "out"], tmp_path))
    assert "100% tests passed" in check(call(["ctest", "--test-dir", "out"], tmp_path))


def test_cmake_builds_with_cmsis_nn(model_of, tmp_path, compiler, tool, cmsis_nn, host_headers):
    model_of("alone", target="cmsis-nn").write(tmp_path)
    folder, core = (path.parent for path in cmsis_nn.include_dirs)
    options = {
        "CMAKE_C_COMPILER": compiler,
        "CMAKE_C_FLAGS": f"-I{host_headers} -w",
        "HR_CMSIS_NN": "2",
        "CMSIS_NN_DIR": str(folder),
        "CMSIS_CORE_DIR": str(core),
    }
    configure = [tool("cmake"), "-S", ".", "-B", "out"]
    check(call([*configure, *(f"-D{key}={value}" for key, value in options.items())], tmp_path))
    check(call(["cmake", "--build", "out"], tmp_path))
    assert "100% tests passed" in check(call(["ctest", "--test-dir", "out"], tmp_path))
    wrong = call([*configure, "-DCMSIS_NN_DIR=/nowhere"], tmp_path)
    assert "CMSIS_NN_DIR=/nowhere has no Include/arm_nnfunctions.h" in wrong.stderr


TWO_MODELS = """cmake_minimum_required(VERSION 3.13)
project(firmware LANGUAGES C CXX)
add_subdirectory(rest)
add_subdirectory(run)
add_executable(main main.cpp)
target_link_libraries(main rest run)
"""
CXX_MAIN = """
#include "rest_self_test.h"
#include "rest.h"
#include "run.h"
#include "run_self_test.h"
#include "run_kernels.h"
#include "run_network.h"
#include "run_weights.h"
static rest_state a;
static run_state b;
static uint32_t memory[REST_SELF_TEST_BYTES / 4 + RUN_SELF_TEST_BYTES / 4 + 2];
int main()
{
    static_assert(sizeof a == REST_STATE_BYTES && sizeof b == RUN_STATE_BYTES, "states");
    int32_t bpm_q8 = 0;
    if (rest_init(&a) != REST_OK || run_init(&b) != RUN_OK) { return 1; }
    if (rest_push_ppg(&a, 1) < 0) { return 2; }
    if (run_heart_rate(&b, &bpm_q8) != RUN_ERROR_NOT_READY) { return 3; }
    return rest_self_test(memory) != 0 || run_self_test(memory) != 0 ? 4 : 0;
}
"""


def test_two_pipelines_in_one_firmware_of_cpp(model_of, tmp_path, tool):
    model_of("everything", prefix="rest").write(tmp_path / "rest")
    model_of("ppg alone", prefix="run").write(tmp_path / "run")
    (tmp_path / "CMakeLists.txt").write_text(TWO_MODELS)
    (tmp_path / "main.cpp").write_text(CXX_MAIN)
    flags = "-Wall -Wextra -Wconversion -Wundef -pedantic -Werror"
    tool("g++")
    configure = [tool("cmake"), "-S", ".", "-B", "out", f"-DCMAKE_CXX_FLAGS={flags}"]
    check(call(configure, tmp_path))
    check(call(["cmake", "--build", "out"], tmp_path))
    check(call([str(tmp_path / "out" / "main")], tmp_path))
    assert not list((tmp_path / "out").rglob("*_example"))


# ------------------------------------------------------------------------------ Cortex-M


def heart_rates(printed):
    return [
        int(bpm) for bpm in re.findall(r"^\d+ ms (-?\d+) / 256 = -?\d+\.\d\d bpm$", printed, re.M)
    ]


@pytest.mark.parametrize("name", MODELS)
def test_make_qemu_tests_and_prints_heart_rates(name, model_of, tmp_path, qemu, tool):
    model_of(name).write(tmp_path)
    printed = check(call([tool("make"), "qemu", f"CFLAGS={WARNINGS}"], tmp_path))
    assert "self-test: as expected" in printed
    assert len(heart_rates(printed)) == (6 if name == "alone" else 3)


@pytest.mark.parametrize("core", CORES)
def test_make_qemu_knows_the_cores(core, model_of, tmp_path, qemu, tool):
    model_of("paper").write(tmp_path)
    printed = check(call([tool("make"), "qemu", f"CORE={core}"], tmp_path))
    assert {*CORES[core].flags, CORES[core].machine} <= set(printed.split())
    assert "self-test: as expected" in printed


def test_make_names_the_cores(model_of, tmp_path, tool):
    model_of("paper").write(tmp_path)
    done = call([tool("make"), "qemu", "CORE=cortex-m0"], tmp_path)
    assert "CORE must be one of cortex-m3, cortex-m4" in done.stderr


def test_make_qemu_runs_on_helium_by_cmsis_nn(model_of, tmp_path, qemu, tool, cmsis_nn):
    model_of("paper", target="cmsis-nn").write(tmp_path)
    folder, core = (path.parent for path in cmsis_nn.include_dirs)
    names = {"CMSIS_NN_DIR": str(folder), "CMSIS_CORE_DIR": str(core)}
    done = call([tool("make"), "qemu", "CORE=cortex-m55"], tmp_path, **names)
    assert "self-test: as expected" in check(done)


def test_make_asks_for_cmsis_nn_on_helium(model_of, tmp_path, arm_gcc, tool):
    model_of("paper", target="cmsis-nn").write(tmp_path)
    done = call([tool("make"), "size", "CORE=cortex-m55"], tmp_path)
    assert "set CMSIS_NN_DIR (and CMSIS_CORE_DIR) to your copy" in done.stderr
    flags = "CFLAGS=-O2 -DHR_CMSIS_NN=0"
    check(call([tool("make"), "size", "CORE=cortex-m55", flags], tmp_path))


def test_make_size_prints_the_flash_that_is_measured(model_of, tmp_path, arm_gcc, tool):
    for name in ("paper", "alone"):
        model = model_of(name)
        model.write(tmp_path / name)
        printed = check(call([tool("make"), "size"], tmp_path / name))
        text, data, bss = map(int, printed.splitlines()[-1].split()[:3])
        assert text + data == model.flash_bytes
        assert bss < 8  # where the linker aligns the end of a section


def test_big_endian_is_refused_by_the_compiler(model_of, tmp_path, arm_gcc):
    model_of("paper").write(tmp_path)
    done = call([arm_gcc, "-mbig-endian", "-mcpu=cortex-m4", "-fsyntax-only", "hr.c"], tmp_path)
    assert done.returncode != 0
    assert "hr needs a little-endian target" in done.stderr


# ------------------------------------------------------------------------------ Zephyr, Arduino

ZEPHYR = """
function(zephyr_library_named)
endfunction()
function(zephyr_library_sources)
  foreach(file ${ARGN})
    message("source ${file}")
  endforeach()
endfunction()
function(zephyr_include_directories folder)
  message("include ${folder}")
endfunction()
set(CONFIG_HEART_RATE_HR y)
set(CMAKE_CURRENT_SOURCE_DIR ${CMAKE_CURRENT_LIST_DIR}/zephyr)
include(zephyr/CMakeLists.txt)
"""


def test_the_zephyr_module_names_what_is_there(model_of, tmp_path, tool):
    model = model_of("paper")
    model.write(tmp_path)
    (tmp_path / "stub.cmake").write_text(ZEPHYR)
    said = call([tool("cmake"), "-P", "stub.cmake"], tmp_path).stderr.split("\n")
    sources = {line.split("/")[-1] for line in said if line.startswith("source ../")}
    assert sources == {name for name in model.sources if name.endswith(".c")}
    assert f"include {tmp_path}/zephyr/.." in said
    module = model.files["zephyr/module.yml"]
    assert re.search(r"^build:\n  cmake: zephyr\n  kconfig: zephyr/Kconfig$", module, re.M)
    assert "\nconfig HEART_RATE_HR\n\tbool " in model.files["zephyr/Kconfig"]
    assert "imply" not in model.files["zephyr/Kconfig"]
    assert "imply CMSIS_NN " in model_of("paper", target="cmsis-nn").files["zephyr/Kconfig"]


ARDUINO_H = """
#include <cmath>
#include <cstdint>
#include <cstdio>
#define constrain(x, low, high) ((x) < (low) ? (low) : (x) > (high) ? (high) : (x))
enum { A0, A1, A2, A3 };
static unsigned long clock_us = 4294900000ul; /* about to overflow on 32 bits */
static unsigned long micros() { return clock_us += 500; }
inline void delay(unsigned long milliseconds) { clock_us += 1000 * milliseconds; }
static int analogRead(int pin)
{
    return 512 + static_cast<int>(100 * std::sin(0.000008 * static_cast<double>(clock_us) + pin));
}
struct {
    void begin(long) {}
    void print(const char *text) { std::printf("%s", text); }
    void print(unsigned long value) { std::printf("%lu", value); }
    void print(double value) { std::printf("%.2f", value); }
    void println(const char *text) { std::printf("%s\\n", text); }
    void println(int value) { std::printf("%d\\n", value); }
} Serial;
"""


@pytest.mark.parametrize("name", MODELS)
def test_the_arduino_library_compiles_as_it_lies_and_its_sketch_runs(
    name, model_of, tmp_path, compiler, tool
):
    model = model_of(name, layout="arduino")
    model.write(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [
        "LICENSE",
        "README.md",
        "examples",
        "library.properties",
        "src",
    ]
    assert {path.name for path in (tmp_path / "src").iterdir()} == set(model.sources)
    sketch = (tmp_path / "examples" / "hr_example" / "hr_example.ino").read_text()
    main = f'#include "Arduino.h"\n{sketch}\nint main() {{ setup(); {LOOPS} }}\n'
    (tmp_path / "Arduino.h").write_text(ARDUINO_H)
    (tmp_path / "main.cpp").write_text(main)
    units = sorted(str(path) for path in (tmp_path / "src").glob("*.c"))
    # without an include path, as each file finds its neighbours
    check(call([compiler, *STRICT, "-c", *units], tmp_path))
    objects = [path.name for path in tmp_path.glob("*.o")]
    check(call([tool("g++"), "-Wall", "-Isrc", "-o", "main", "main.cpp", *objects], tmp_path))
    printed = check(call([str(tmp_path / "main")], tmp_path))
    assert printed.startswith("self-test: 0\n")
    assert len(re.findall(r"^\d+\.\d\d bpm", printed, re.M)) >= 3


LOOPS = "for (int k = 0; k < 20000; ++k) { loop(); } return 0;"


def test_the_properties_of_the_arduino_library(model_of):
    text = model_of("paper", layout="arduino").files["library.properties"]
    pairs = dict(line.split("=", 1) for line in text.splitlines() if not line.startswith("#"))
    assert re.fullmatch(r"\d+\.\d+\.\d+", pairs["version"])
    assert pairs["name"] == "hr heart rate"
    assert pairs["includes"] == "hr.h"
    assert {"samd", "rp2040", "esp32", "nrf52"} < set(pairs["architectures"].split(","))
    assert "avr" not in pairs["architectures"]
    required = {"author", "maintainer", "sentence", "paragraph", "category", "url"}
    assert required <= set(pairs)


def test_what_an_earlier_export_left_is_removed_and_nothing_else(model_of, tmp_path):
    model_of("paper").write(tmp_path)
    (tmp_path / "mine.c").write_text("/* not of an export */")
    alone = model_of("alone")
    alone.write(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*alone.files, "mine.c"}
