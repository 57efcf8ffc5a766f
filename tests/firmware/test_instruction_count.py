"""The plug-in of QEMU that counts instructions, and the benchmark that uses it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from pulsehr.firmware.cortex_m import cross_compile, link_image
from pulsehr.firmware.cortex_m_footprint import stack_bytes

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

LOOPS = """
static __attribute__((noinline)) void loop(int n)
{
    for (int i = 0; i < n; ++i) {
        __asm__ volatile("nop");
    }
}
int main(void)
{
    for (int i = 0; i < 3; ++i) {
        count_begin();
        loop(10 * i);
        count_end();
    }
    return 0;
}
"""


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a module of the benchmarks, as a script there would."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module(name)


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
def test_a_loop_is_counted_to_the_instruction(core, qemu, compiler, tmp_path, monkeypatch):
    counting = load("instruction_count", monkeypatch)
    objects = cross_compile({"main.c": counting.MARKERS + LOOPS}, tmp_path, core)
    image = link_image(objects, tmp_path, core)
    plugin = counting.build_plugin(tmp_path)
    finished, regions = counting.count_instructions(image, core, plugin)
    assert (finished.status, finished.stderr) == (0, "")
    assert [set(counts) for counts in regions] == [{"main", "loop"}] * 3
    none, ten, twenty = (counts["loop"] for counts in regions)
    # nop, add, compare and branch; the M55 has a loop instruction for the last three
    assert twenty.instructions - ten.instructions == 10 * {"cortex-m4": 4, "cortex-m55": 2}[core]
    assert none.instructions < ten.instructions
    assert counting.count_instructions(image, core, plugin)[1] == regions


def test_cycles_are_those_of_the_tables(qemu, compiler, tmp_path, monkeypatch):
    counting = load("instruction_count", monkeypatch)
    code = {
        "push {r4-r7, r10, lr}": 7,  # 1 + 6 registers
        "ldr r2, [r1]": 2,
        "ldr r3, [r1, #4]": 1,  # pipelined behind the load before
        "mov r2, #0": 1,
        "strb r3, [r1, r2]": 2,  # the address is a sum of registers
        "strb r3, [r1, #1]": 1,
        "ldrd r2, r3, [r1]": 3,
        "smlad r3, r2, r2, r3": 1,
        "smull r2, r3, r2, r3": 1,
        "vldr s0, [r1]": 2,
        "vmla.f32 s0, s1, s2": 3,
        "vldmia r1, {s0-s3}": 5,
        "udiv r2, r2, r3": 12,  # the most of 2 to 12
        "pop {r4-r7, r10, pc}": 7 + 2,  # and the refill of the pipeline
    }
    lines = "".join(f'"{line}\\n"' for line in code)
    main = f"""
    static int numbers[16];
    __attribute__((naked, noinline)) static void tried(int zero, int *at) {{ __asm__({lines}); }}
    int main(void) {{ count_begin(); tried(0, numbers); count_end(); return 0; }}
    """
    objects = cross_compile({"main.c": counting.MARKERS + main}, tmp_path)
    image = link_image(objects, tmp_path)
    plugin = counting.build_plugin(tmp_path)
    (counts,) = counting.count_instructions(image, "cortex-m4", plugin)[1]
    assert counts["tried"] == (len(code), sum(code.values()))


def test_the_benchmark_counts_the_same_twice(qemu, compiler, tmp_path, monkeypatch):
    networks, exporters, benchmark, counting = (
        load(name, monkeypatch)
        for name in ("firmware_networks", "firmware_exporters", "firmware", "instruction_count")
    )
    plugin = counting.build_plugin(tmp_path)
    export = exporters.pulsehr_c(networks.paper_student(), "cortex-m4", target="portable")
    costs = [benchmark.measure(export, "cortex-m4", "-O2", plugin) for _ in range(2)]
    assert costs[0] == costs[1]
    assert costs[0].instructions > networks.paper_student().n_macs // 4
    assert costs[0].heap_bytes == 0
    objects = cross_compile({**export.files, "infer.c": export.infer}, tmp_path)
    assert 0 < costs[0].stack_bytes <= stack_bytes(objects, "infer")


def test_a_wrong_result_is_not_counted(qemu, compiler, tmp_path, monkeypatch):
    networks, exporters, benchmark, counting = (
        load(name, monkeypatch)
        for name in ("firmware_networks", "firmware_exporters", "firmware", "instruction_count")
    )
    export = exporters.pulsehr_c(networks.paper_student(), "cortex-m4", target="portable")
    export.expected[0] += 1
    with pytest.raises(benchmark.WrongResultError, match=r"computed .* expected"):
        benchmark.measure(export, "cortex-m4", "-O2", counting.build_plugin(tmp_path))


def test_a_peer_that_is_not_there_says_how_to_get_it(tmp_path, monkeypatch):
    exporters = load("firmware_exporters", monkeypatch)
    networks = load("firmware_networks", monkeypatch)
    monkeypatch.setattr(exporters, "PEERS", tmp_path)
    with pytest.raises(exporters.CannotExportError, match="run 'make peers'"):
        exporters.emx_c(networks.small_network(), "cortex-m4", tmp_path, integers=False)
