"""Time how a file of PPG-DaLiA of full size is read, at first and from the cache.

    python benchmarks/ppg_dalia_reading.py [SCRATCH]

Writes a subject as long as the longest ones (2 h 33 min), with chest signals at 700 Hz, as Python 2
did: in protocol 0, which escapes most bytes, and in protocol 2. Each way of reading it is a process
of its own. Times are the best of some: of the processor, with the files in the memory of the
operating system, and on the clock, with the files on the disk alone. Memory is by how much the
process grew at most. Linux only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "datasets"))

#: The longest recordings of the set.
SECONDS = 9212.0

#: How a subject may be read: `pickle.load` is what everybody does.
WAYS = {
    "pickle.load": "pickle.load(open(path, 'rb'), encoding='latin1')",
    "first load": "load_ppg_dalia(folder)",
    "first load, writing the cache": "load_ppg_dalia(folder, cache=new())",
    "from the cache": "load_ppg_dalia(folder, cache=cache)",
}

#: Runs in a process of its own: prints milliseconds of the processor, and on the clock with no file
#: in the memory of the operating system, and MiB by which the process grew.
CODE = """
import itertools, os, pathlib, pickle, re, sys, time, warnings
folder, path, cache, way, times = sys.argv[1:]
from pulsehr.datasets import load_ppg_dalia
fresh = (f"{cache}_{k}_{time.monotonic_ns()}" for k in itertools.count())
new = lambda: next(fresh)
# pickle.load, which is measured beside the loader, leaves its file open
warnings.simplefilter("ignore", ResourceWarning)
def kib(name):
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\\s+(\\d+)", status)[1])
def forget():
    for file in [pathlib.Path(path), *pathlib.Path(cache).glob("*.npz")]:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = kib("VmRSS")
busy, passed = [], []
for _ in range(int(times)):
    start = time.process_time()
    kept = eval(way)
    busy.append(time.process_time() - start)
    del kept
    forget()
    start = time.perf_counter()
    kept = eval(way)
    passed.append(time.perf_counter() - start)
    del kept
print(1000 * min(busy), 1000 * min(passed), (kib("VmHWM") - before) / 1024)
"""


def measured(folder: Path, path: Path, cache: Path, way: str, times: int = 1) -> list[float]:
    """Return the figures that `CODE` prints of a way to read."""
    arguments = [str(folder), str(path), str(cache), way, str(times)]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    return [float(figure) for figure in done.stdout.split()]


def main() -> None:
    """Print times, how many times faster than `pickle.load` they are, and memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scratch", nargs="?", help="folder for 1 GB of files, removed again")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    # the writer lies beside the tests
    from ppg_dalia_files import write_subject

    print("| file | way | processor, ms | times faster | from disk, ms | times faster | MiB |")
    print("|---|---|---|---|---|---|---|")
    for protocol in (0, 2):
        with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
            root, cache = Path(folder), Path(folder) / "cache"
            path = write_subject(root, 1, options.seconds, protocol)
            title = f"protocol {protocol}, {path.stat().st_size / 1e6:.0f} MB"
            measured(root, path, cache, WAYS["from the cache"])  # makes the cache
            base: list[float] = []
            for name, way in WAYS.items():
                busy, passed, mib = measured(root, path, cache, way, 1 if not base else 5)
                base = base or [busy, passed]
                times = [f"{busy:.0f}", f"{base[0] / busy:.1f}", f"{passed:.0f}"]
                cells = [title, name, *times, f"{base[1] / passed:.1f}", f"{mib:.0f}"]
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
