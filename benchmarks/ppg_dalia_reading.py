"""Time how a file of PPG-DaLiA of full size is read, at first and from the cache.

    python benchmarks/ppg_dalia_reading.py [SCRATCH]

Writes a subject as long as the longest ones (2 h 33 min), with chest signals at 700 Hz, as Python 2
did: in protocol 0, which escapes most bytes, and in protocol 2. Each way of reading it is a process
of its own: seconds are those of the reading alone, the best of some, with the file in the memory of
the operating system; memory is by how much the process grew at most.
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

#: Runs in a process of its own: prints the best of the seconds, and MiB of memory.
CODE = """
import itertools, pickle, resource, sys, time, warnings
folder, path, cache, way, times = sys.argv[1:]
from pulsehr.datasets import load_ppg_dalia
fresh = (f"{cache}_{k}_{id(way)}" for k in itertools.count())
new = lambda: next(fresh)
warnings.simplefilter("ignore", ResourceWarning)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seconds = []
for _ in range(int(times)):
    start = time.perf_counter()
    eval(way)
    seconds.append(time.perf_counter() - start)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(min(seconds), grown / 1024)
"""


def measured(
    folder: Path, path: Path, cache: Path, way: str, times: int = 1
) -> tuple[float, float]:
    """Return seconds and MiB of a way to read."""
    arguments = [str(folder), str(path), str(cache), way, str(times)]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    seconds, mib = map(float, done.stdout.split())
    return seconds, mib


def main() -> None:
    """Print seconds, ratios and memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scratch", nargs="?", help="folder for 2 GB of files, removed again")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    # the writer lies beside the tests
    from ppg_dalia_files import write_subject

    print("| file | way | ms | against pickle.load | against first load | memory, MiB |")
    print("|---|---|---|---|---|---|")
    for protocol in (0, 2):
        with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
            root, cache = Path(folder), Path(folder) / "cache"
            path = write_subject(root, 1, options.seconds, protocol)
            title = f"protocol {protocol}, {path.stat().st_size / 1e6:.0f} MB"
            measured(root, path, cache, WAYS["from the cache"])  # makes the cache
            found = {}
            for name, way in WAYS.items():
                times = 1 if name == "pickle.load" else 5
                found[name] = seconds, mib = measured(root, path, cache, way, times)
                ratios = [
                    f"{found[base][0] / seconds:.1f}" if base in found else ""
                    for base in ("pickle.load", "first load")
                ]
                cells = [title, name, f"{1000 * seconds:.1f}", *ratios, f"{mib:.0f}"]
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
