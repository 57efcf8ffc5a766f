"""The emitted C under every compiler: no warning, the same bits, no variables, C++ as well."""

from __future__ import annotations

from pathlib import Path

import pytest
from emitted import FRONTS, PIPELINES, WARNINGS, call, emitted, public_headers, require, write
from networks import random_network, random_windows_of
from test_same_bits import program, run_on_host

from pulsehr.firmware.cortex_m import CORES, cross_compile, link_image, run_image, support_files

#: The targets differ in the kernels and in sizes, not in the front end.
EXPORTS = [*((name, "portable") for name in FRONTS), *((n, "cmsis-nn") for n in ("student", "acc"))]

#: How clang is told what a core is.
CLANG_CORES = {
    "cortex-m3": ("--target=thumbv7m-none-eabi",),
    "cortex-m4": ("--target=thumbv7em-none-eabi",),
    "cortex-m55": ("--target=thumbv8.1m.main-none-eabi",),
}

#: Where Debian keeps the headers of newlib for compilers other than its own gcc.
NEWLIB = Path("/usr/include/newlib")


def clang_flags(core: str) -> list[str]:
    flags = [*CLANG_CORES[core], *CORES[core].flags, "-std=c11", "-ffreestanding"]
    return [*flags, "-isystem", str(NEWLIB)]


def need_clang_for_arm(missing) -> None:
    require(missing, "clang-14")
    if not NEWLIB.is_dir():
        missing(f"there is no {NEWLIB}: apt-get install libnewlib-dev")


@pytest.mark.parametrize("compiler", ["gcc", "clang-14"])
@pytest.mark.parametrize(("name", "target"), EXPORTS)
def test_no_warning_on_this_machine(name, target, compiler, tmp_path, missing):
    require(missing, compiler)
    units = write(emitted(name, target).sources, tmp_path)
    for optimize in ("-O0", "-O2", "-Os"):
        call([compiler, "-std=c11", *WARNINGS, optimize, "-c", *units], tmp_path)


@pytest.mark.parametrize("compiler", ["gcc", "clang-14"])
def test_no_warning_where_cmsis_nn_runs(compiler, tmp_path, cmsis_nn, host_headers, missing):
    require(missing, compiler)
    units = write(emitted("student", "cmsis-nn").sources, tmp_path)
    includes = [f"-isystem{path}" for path in (host_headers, *cmsis_nn.include_dirs)]
    call([compiler, "-std=c11", *WARNINGS, "-DHR_CMSIS_NN=2", *includes, "-c", *units], tmp_path)


@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("name", ["student", "two rates", "bandpass"])
def test_no_warning_for_cortex_m(name, core, tmp_path, arm_gcc, cmsis_nn):
    for optimize in ("-O0", "-O2", "-Os"):
        cross_compile(
            emitted(name, "cmsis-nn").sources,
            tmp_path,
            core,
            optimize,
            [*WARNINGS, "-Wcast-align=strict"],
            include_dirs=cmsis_nn.include_dirs,
        )


@pytest.mark.parametrize("core", CLANG_CORES)
@pytest.mark.parametrize("name", ["student", "two rates", "bandpass"])
def test_no_warning_of_clang_for_cortex_m(name, core, tmp_path, missing):
    need_clang_for_arm(missing)
    units = write(emitted(name).sources, tmp_path)
    flags = [*clang_flags(core), *WARNINGS, "-munaligned-access"]
    for optimize in ("-O0", "-O2", "-Os"):
        call(["clang-14", *flags, optimize, "-c", *units], tmp_path)


@pytest.mark.parametrize("instructions", ["-marm", "-mthumb"])
def test_the_kernels_assemble_for_larger_arm_cores(instructions, tmp_path, arm_gcc):
    units = write(emitted("student").sources, tmp_path)
    flags = ["-std=c11", "-mcpu=cortex-a7", instructions, "-O2"]
    call(["arm-none-eabi-gcc", *flags, *WARNINGS, "-c", *units], tmp_path)


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("access", ["-munaligned-access", "-mno-unaligned-access"])
def test_what_clang_compiles_gives_the_same_bits(core, access, tmp_path, qemu, missing):
    need_clang_for_arm(missing)
    made = program([random_case(seed) for seed in range(12)], "portable")
    units = write(made.files, tmp_path)
    call(["clang-14", *clang_flags(core), access, "-O2", "-c", *units], tmp_path)
    rest = {"main.c": made.main, "semihosting.h": support_files()["semihosting.h"]}
    objects = [*cross_compile(rest, tmp_path, core), *(tmp_path / f"{u[:-2]}.o" for u in units)]
    finished = run_image(link_image(objects, tmp_path, core), core)
    assert finished.status == 0
    assert [int(line) for line in finished.stdout.split()] == made.expected


def random_case(seed):
    graph = random_network(seed)
    return graph, random_windows_of(graph, seed)


@pytest.mark.parametrize(
    "flags",
    [
        ("gcc", "-O3", "-flto", "-fstrict-aliasing", "-funroll-loops"),
        ("gcc", "-O0", "-funsigned-char"),
        ("gcc", "-O2", "-ftrapv"),
        ("clang-14", "-O3", "-fstrict-aliasing"),
    ],
    ids=" ".join,
)
def test_any_way_of_compiling_gives_the_same_bits(flags, tmp_path, missing):
    require(missing, flags[0])
    made = program([random_case(seed) for seed in range(12)], "portable")
    assert run_on_host(made, tmp_path, flags[0], list(flags[1:])) == made.expected


def test_link_time_optimisation_gives_the_same_bits_on_cortex_m(tmp_path, qemu):
    made = program([random_case(seed) for seed in range(12)], "portable")
    header = {"semihosting.h": support_files()["semihosting.h"]}
    files = {**made.files, **header, "main.c": made.main}
    objects = cross_compile(files, tmp_path, "cortex-m4", "-O3", ["-flto"])
    finished = run_image(link_image(objects, tmp_path, "cortex-m4"), "cortex-m4")
    assert [int(line) for line in finished.stdout.split()] == made.expected


# ---------------------------------------------------------------------------------- C++


CPP = """
{includes}
{includes}
static {prefix}_state state;

int main()
{{
    static std::int32_t arena[{upper}_ARENA_BYTES / 4 + 1];
    static const std::int8_t window[{upper}_INPUT_BYTES] = {{}};
    std::int32_t bpm_q8 = 0;
    int status = {prefix}_init(&state);

    for (int i = 0; status == {upper}_OK; ++i) {{
        status = {prefix}_push(&state, i % 40{axes});
    }}
    if (status != {upper}_READY || {prefix}_heart_rate(&state, &bpm_q8) != {upper}_OK) {{
        return 1;
    }}
    return {prefix}_predict(window, arena, &bpm_q8) == {upper}_OK ? 0 : 2;
}}
"""


@pytest.mark.parametrize(
    ("compilers", "standard"),
    [
        (("gcc", "g++"), "c++11"),
        (("gcc", "g++"), "c++20"),
        (("clang-14", "clang++-14"), "c++11"),
        (("clang-14", "clang++-14"), "c++20"),
    ],
)
@pytest.mark.parametrize("name", ["ppg", "acc"])
def test_the_headers_are_clean_in_cpp(name, compilers, standard, tmp_path, missing):
    require(missing, *compilers)
    model = emitted(name)
    units = write(model.sources, tmp_path)
    includes = "".join(f'#include "{header}"\n' for header in public_headers(model))
    axes = ", 1, 2, 3" if model.front_end.n_channels == 4 else ""
    text = "#include <cstdint>\n" + CPP.format(
        includes=includes, prefix="hr", upper="HR", axes=axes
    )
    (tmp_path / "main.cpp").write_text(text)
    call([compilers[0], "-std=c11", "-c", *units], tmp_path)
    strict = "-Wall -Wextra -Wconversion -Wshadow -Wundef -pedantic -Werror".split()
    objects = [f"{unit[:-2]}.o" for unit in units]
    call([compilers[1], f"-std={standard}", *strict, "-o", "main", "main.cpp", *objects], tmp_path)
    call([tmp_path / "main"], tmp_path)


@pytest.mark.parametrize("name", FRONTS)
def test_each_header_stands_alone(name, tmp_path, missing):
    require(missing, "gcc", "g++")
    model = emitted(name)
    write(model.sources, tmp_path)
    for header in public_headers(model):
        text = f'#include "{header}"\n#include "{header}"\n'
        for file, compiler in (("one.c", ["gcc", "-std=c11"]), ("one.cpp", ["g++", "-std=c++11"])):
            (tmp_path / file).write_text(text)
            call([*compiler, *("-Wall", "-Wextra", "-pedantic", "-Werror", "-c", file)], tmp_path)


# ------------------------------------------------------------------------------ targets


@pytest.mark.parametrize("name", FRONTS)
def test_big_endian_is_refused_when_compiled(name, tmp_path, arm_gcc):
    units = write(emitted(name).sources, tmp_path)
    flags = ["-mcpu=cortex-m4", "-mthumb", "-std=c11", "-mbig-endian", "-fsyntax-only"]
    with pytest.raises(AssertionError, match=r"#error .*[Bb]ig.endian"):
        call(["arm-none-eabi-gcc", *flags, *units], tmp_path)


@pytest.mark.parametrize("name", FRONTS)
def test_nothing_is_kept_between_calls(name, tmp_path, arm_gcc):
    # so two models, and two states of one, may interrupt each other
    for path in cross_compile(emitted(name).sources, tmp_path, "cortex-m4"):
        lines = call(["arm-none-eabi-nm", path.name], tmp_path).splitlines()
        kinds = {line.split()[-1]: line.split()[-2] for line in lines}
        writable = [symbol for symbol, kind in kinds.items() if kind in "bBdDcCsSgG"]
        assert writable == []


@pytest.mark.parametrize("name", FRONTS)
def test_every_symbol_starts_with_the_prefix(name, tmp_path, arm_gcc):
    for path in cross_compile(emitted(name).sources, tmp_path, "cortex-m4"):
        names = call(["arm-none-eabi-nm", "--defined-only", "--extern-only", path.name], tmp_path)
        assert all(line.split()[-1].startswith("hr_") for line in names.splitlines())


def test_two_pipelines_in_one_program_do_not_clash(tmp_path, missing):
    require(missing, "gcc")
    files: dict[str, str] = {}
    calls = includes = ""
    for number, name in enumerate(PIPELINES):
        model = emitted(name, prefix=f"m{number}")
        files |= model.sources
        includes += "".join(f'#include "{header}"\n' for header in public_headers(model))
        calls += (
            f"    static m{number}_state s{number};\n    if (m{number}_init(&s{number}) != 0) {{"
        )
        calls += f" return {number + 1}; }}\n"
    files["main.c"] = f"{includes}\nint main(void)\n{{\n{calls}    return 0;\n}}\n"
    units = write(files, tmp_path)
    call(["gcc", "-std=c11", *WARNINGS, "-o", "main", *units], tmp_path)
    call([tmp_path / "main"], tmp_path)
