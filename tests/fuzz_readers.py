"""Fuzz what reads files, with atheris: ``make fuzz SECONDS=600``, or a few runs in the tests.

A file is changed as it is, and what is inside of its compression or archive. A finding is any
exception but an OSError or a ValueError that names the file, a crash, ten seconds or a gigabyte.
"""

from __future__ import annotations

import argparse
import gzip
import io
import pickle
import struct
import sys
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import atheris

with atheris.instrument_imports(include=["pulsehr", "wfdb.io", "zipfile", "json.decoder"]):
    from pulsehr import _checkpoints, _plain_files, load_pretrained
    from pulsehr.datasets import _cache, _matlab, _unpickling, load_empatica, physionet_wrist
    from pulsehr.datasets._optional import optional_library

    optional_library("fuzz", "wfdb")

import numpy as np
import torch
from scipy.io import savemat

sys.path.insert(0, str(Path(__file__).parent / "datasets"))
from python2_pickles import python2_pickle

#: What a reader may want: ten seconds, and a gigabyte beside the 0.4 of the libraries.
LIMITS = ("-timeout=10", "-rss_limit_mb=1400")


@dataclass(frozen=True)
class Reader:
    """Say how a kind of file is read, what good ones are, and what lies inside of them.

    Parameters
    ----------
    name : str
        Of the file.
    read : callable
        Takes the path.
    seeds : sequence of bytes
        Good files, and parts of them in the order of `wraps`.
    wraps : sequence of callables
        Make a file of a part of it.
    called : tuple of str
        What errors may call it beside its name.
    """

    name: str
    read: Callable[[Path], Any]
    seeds: Callable[[], Sequence[tuple[int, bytes]]]
    wraps: Sequence[Callable[[bytes], bytes]] = (bytes,)
    called: tuple[str, ...] = ()


# MATLAB ---------------------------------------------------------------------------------------

SIG = np.arange(240.0).reshape(6, 40)


def matlab_files() -> list[tuple[int, bytes]]:
    """Files with and without compression, numbers, texts and structures."""
    files = []
    for content in ({"sig": SIG}, {"a": {"b": [1, "text"]}, "sig": SIG.astype(np.int8)}):
        for packed in (False, True):
            stream = io.BytesIO()
            savemat(stream, content, do_compression=packed)
            files.append((0, stream.getvalue()))
    return [*files, (1, files[0][1][128:])]


def deflated(content: bytes) -> bytes:
    """Return a file with one compressed variable."""
    packed = zlib.compress(content)
    head = b"".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    return head + struct.pack("<II", 15, len(packed)) + packed


# pipelines ------------------------------------------------------------------------------------


def pipeline_file() -> bytes:
    """Return a small pipeline as a file."""
    pipe = load_pretrained("student")[:1]
    with tempfile.TemporaryDirectory() as folder:
        _plain_files.write_pipeline(Path(folder) / "pipe", pipe, {"trained on": "nothing"})
        return (Path(folder) / "pipe").read_bytes()


def pipeline_files() -> list[tuple[int, bytes]]:
    """Return a small pipeline as a file, the array of its text, and its text."""
    content = pipeline_file()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        array = archive.read("text.npy")
    text = array[np.lib.format.MAGIC_LEN + 2 + int.from_bytes(array[8:10], "little") :]
    return [(0, content), (1, array), (2, text)]


def zipped(content: bytes, name: str = "text.npy", others: bytes | None = None) -> bytes:
    """Return an archive of one part, or another archive with this part changed."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(name, content)
        if others is not None:
            with zipfile.ZipFile(io.BytesIO(others)) as kept:
                for each in kept.namelist():
                    if each != name:
                        archive.writestr(each, kept.read(each))
    return made.getvalue()


def zipped_text(content: bytes) -> bytes:
    """Return an archive of a text."""
    array = io.BytesIO()
    np.save(array, np.frombuffer(content, np.uint8))
    return zipped(array.getvalue())


# checkpoints ----------------------------------------------------------------------------------


def checkpoint_file() -> bytes:
    """Return a state as torch stores it."""
    made = io.BytesIO()
    state = {"network": {"w": torch.arange(6.0).reshape(2, 3)}, "finished": True, "history": [1.5]}
    torch.save(state, made)
    return made.getvalue()


CHECKPOINT = checkpoint_file()
(CHECKPOINT_PICKLE,) = (
    name for name in zipfile.ZipFile(io.BytesIO(CHECKPOINT)).namelist() if name.endswith("data.pkl")
)


def checkpoint_files() -> list[tuple[int, bytes]]:
    """Return a state as torch stores it, and its pickle."""
    with zipfile.ZipFile(io.BytesIO(CHECKPOINT)) as archive:
        return [(0, CHECKPOINT), (1, archive.read(CHECKPOINT_PICKLE))]


def read_checkpoint(path: Path) -> None:
    """Read a state; bringing a net to it is not tried."""
    checkpoint = _checkpoints.Checkpoint(None, None)
    checkpoint.path = path
    checkpoint.restore(SimpleNamespace(device="cpu"))


# pickles --------------------------------------------------------------------------------------


def pickles() -> list[tuple[int, bytes]]:
    """Files of Python 2, as those of the data sets, and of Python 3."""
    content = {
        "signal": {"wrist": {"BVP": np.ones((9, 1)), "ACC": np.arange(6).reshape(2, 3)}},
        "label": np.float64(70.0),
        "subject": "S1",
        "rest": [1, None, True, (2.5, "text")],
    }
    old = [python2_pickle(content, protocol) for protocol in (0, 2)]
    return [(0, made) for made in (*old, *(pickle.dumps(content, k) for k in (2, 4, 5)))]


# exports of an Empatica E4 --------------------------------------------------------------------

BVP = b"1495437325.00\n64.000000\n" + b"".join(b"%d.25\n" % (k % 7) for k in range(64))
ACC = b"1495437325.0, 1495437325.0, 1495437325.0\n32.0, 32.0, 32.0\n" + b"".join(
    b"%d,%d,64\n" % (k % 5, k % 3) for k in range(32)
)


def exported(bvp: bytes = BVP, acc: bytes = ACC, tags: bytes = b"1495437325.5\n") -> bytes:
    """Return the zip file of a session of a second."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {"BVP.csv": bvp, "ACC.csv": acc, "tags.csv": tags}.items():
            archive.writestr(name, content)
    return made.getvalue()


def packed_export(content: bytes) -> bytes:
    """Return a zip file of which one table is compressed once more."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("ACC.csv", ACC)
        archive.writestr("BVP.csv.gz", content)
    return made.getvalue()


def exports() -> list[tuple[int, bytes]]:
    """Whole ones, and each of their tables."""
    tables = BVP, ACC, b"1495437325.5\n", gzip.compress(BVP)
    return [(0, exported()), *enumerate(tables, 1)]


# cached arrays --------------------------------------------------------------------------------


def read_cached(path: Path) -> None:
    """Read a file of the cache: nothing but what was written, or a warning."""
    stored = _cache._stored("fuzz", path)
    if stored is not None and "ppg" in stored:
        np.testing.assert_array_equal(stored["ppg"], SIG)


def cached_files() -> list[tuple[int, bytes]]:
    """One file as the cache writes it."""
    made = io.BytesIO()
    np.savez(made, ppg=SIG)
    return [(0, made.getvalue())]


# WFDB records ---------------------------------------------------------------------------------

CHANNELS = ["wrist_ppg", *physionet_wrist.ACC_CHANNELS["wide_range"]]
HEADER = "s1_walk 4 256 256\n" + "".join(
    f"s1_walk.dat 16 1000.0(0)/{unit} 16 0 0 0 0 {name}\n"
    for name, unit in zip(CHANNELS, ["mV", "m/s^2", "m/s^2", "m/s^2"], strict=True)
)
ANNOTATIONS = np.array([1 << 10 | 200, 59 << 10, 0, 300, 1 << 10, 63 << 10 | 3, 7, 7, 0], "<u2")


def read_header(path: Path) -> None:
    """Read a record of which the header was changed."""
    samples = np.tile(np.array([1, 0, 0, 9807], "<i2"), (256, 1))
    samples[::2] += 1
    path.with_suffix(".dat").write_bytes(samples.tobytes())
    physionet_wrist._read_signals(path, CHANNELS)


READERS = {
    "header": Reader(
        "s1_walk.hea", read_header, lambda: [(0, HEADER.encode())], called=("s1_walk.dat",)
    ),
    "annotations": Reader(
        "s1_walk.atr",
        lambda path: physionet_wrist._read_beats(path.with_suffix(".hea"), 256.0),
        lambda: [(0, ANNOTATIONS.tobytes())],
    ),
    "pickle": Reader(
        "S1.pkl", lambda path: _unpickling.read_pickle("fuzz", path), pickles, (bytes,)
    ),
    "empatica": Reader(
        "S1.zip",
        load_empatica,
        exports,
        (
            bytes,
            exported,
            lambda content: exported(acc=content),
            lambda content: exported(tags=content),
            packed_export,
        ),
        ("BVP.csv", "ACC.csv", "tags.csv", "'S1'"),
    ),
    "cache": Reader("ppg_dalia_S1.npz", read_cached, cached_files),
    "mat": Reader(
        "DATA_01_TYPE01.mat",
        lambda path: _matlab.read_arrays("fuzz", path, {"sig": (6,)}),
        matlab_files,
        (bytes, deflated),
    ),
    "npz": Reader(
        "pipe.npz", _plain_files.read_pipeline, pipeline_files, (bytes, zipped, zipped_text)
    ),
    "checkpoint": Reader(
        "checkpoint.pt",
        read_checkpoint,
        checkpoint_files,
        (bytes, lambda content: zipped(content, CHECKPOINT_PICKLE, CHECKPOINT)),
    ),
}


def try_one(content: bytes, names: Sequence[str], folder: Path) -> None:
    """Read a file that the first two bytes choose reader and wrap of."""
    if len(content) < 2:
        return
    reader = READERS[names[content[0] % len(names)]]
    path = folder / reader.name
    path.write_bytes(reader.wraps[content[1] % len(reader.wraps)](content[2:]))
    try:
        reader.read(path)
    except OSError:
        pass
    except ValueError as error:
        if not any(name in str(error) for name in (reader.name, *reader.called)):
            raise


def write_seeds(names: Sequence[str], corpus: Path) -> None:
    """Write the good files where the fuzzer looks for them."""
    corpus.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        for k, (wrap, content) in enumerate(READERS[name].seeds()):
            (corpus / f"{name}_{k}").write_bytes(bytes([number, wrap]) + content)


def main() -> None:
    """Fuzz in this process until the time or the runs are over, or something is found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", choices=sorted(READERS), help="one alone; else all in turn")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--runs", type=int, default=-1)
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz/readers"))
    arguments = parser.parse_args()
    names = [arguments.reader] if arguments.reader else sorted(READERS)
    folder = arguments.folder.resolve()
    corpus = folder / "_".join(names)
    write_seeds(names, corpus)
    warnings.simplefilter("ignore")  # what readers tell of damaged files is no finding
    options = [
        f"-max_total_time={arguments.seconds}",
        f"-runs={arguments.runs}",
        f"-artifact_prefix={folder}/",
        "-seed=1",
        "-max_len=8192",
        "-print_final_stats=1",
    ]
    with tempfile.TemporaryDirectory(prefix="pulsehr-fuzz-") as scratch:
        place = Path(scratch)
        atheris.Setup(
            [sys.argv[0], *LIMITS, *options, str(corpus)],
            lambda content: try_one(content, names, place),
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
