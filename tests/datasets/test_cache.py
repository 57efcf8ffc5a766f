"""The cache of what was read: whole or not there, of this source or not used."""

from __future__ import annotations

import multiprocessing
import os
import resource
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pulsehr.datasets._cache import through_cache

#: A user who owns nothing.
NOBODY = 65534
# a fork beside threads is what is tested, and Python warns of it
pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)

FORK = multiprocessing.get_context("fork")

ARRAYS = {"ppg": np.arange(5000, dtype=np.float32), "labels": np.array([70.0, 71.5])}


class Reader:
    """Reads the same arrays of every file, and counts."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, source: Path):
        self.times += 1
        return ARRAYS


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "S1.pkl"
    path.write_bytes(np.random.default_rng(0).bytes(3_000_000))
    return path


@pytest.fixture
def reader():
    return Reader()


def load(cache, source, reader):
    got = through_cache("load_it", cache, "it_S1", source, reader)
    assert got.keys() == ARRAYS.keys()
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(got[name], values)
        assert got[name].dtype == values.dtype


def test_a_source_is_read_once(tmp_path, source, reader):
    for _ in range(3):
        load(tmp_path / "cache", source, reader)
    assert reader.times == 1


def change_a_byte(source):
    data = bytearray(source.read_bytes())
    data[0] ^= 1
    status = source.stat()
    source.write_bytes(data)
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))


def cut(source):
    os.truncate(source, 2_999_999)


def touch(source):
    os.utime(source, ns=(0, source.stat().st_mtime_ns + 1))


@pytest.mark.parametrize("change", [change_a_byte, cut, touch])
def test_a_source_that_changed_is_read_again(tmp_path, source, reader, change):
    load(tmp_path / "cache", source, reader)
    change(source)
    load(tmp_path / "cache", source, reader)
    load(tmp_path / "cache", source, reader)
    assert reader.times == 2


def test_what_another_version_read_is_read_again(tmp_path, source, reader, monkeypatch):
    load(tmp_path / "cache", source, reader)
    monkeypatch.setattr("pulsehr.datasets._cache.__version__", "99.0")
    load(tmp_path / "cache", source, reader)
    load(tmp_path / "cache", source, reader)
    assert reader.times == 2


def test_another_source_of_the_same_name_is_read(tmp_path, source, reader):
    load(tmp_path / "cache", source, reader)
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "S1.pkl"
    other.write_bytes(b"something else")
    load(tmp_path / "cache", other, reader)
    assert reader.times == 2


def test_a_damaged_file_in_the_cache_is_told_and_made_again(tmp_path, source):
    path = tmp_path / "cache" / "it_S1.npz"
    load(tmp_path / "cache", source, Reader())
    whole = path.read_bytes()
    samples = whole.index(ARRAYS["ppg"].tobytes())
    flipped = bytearray(whole)
    flipped[samples + 7000] ^= 0x10
    for damaged in (b"", b"PK", whole[:-1], whole[: len(whole) // 2], bytes(flipped), b"\0" * 999):
        path.write_bytes(damaged)
        reader = Reader()
        with pytest.warns(UserWarning, match=r"load_it: it_S1\.npz in the cache is damaged"):
            load(tmp_path / "cache", source, reader)
        assert reader.times == 1
        assert path.read_bytes() == whole


@pytest.mark.filterwarnings("ignore:load_it. it_S1.npz in the cache is damaged")
def test_no_changed_byte_of_the_cache_ever_changes_what_is_read(tmp_path, source, reader):
    path = tmp_path / "cache" / "it_S1.npz"
    load(tmp_path / "cache", source, reader)
    whole = path.read_bytes()
    for position in [*range(0, len(whole), 97), *range(len(whole) - 400, len(whole), 3)]:
        changed = bytearray(whole)
        changed[position] ^= 0xFF
        path.write_bytes(changed)
        load(tmp_path / "cache", source, reader)


def test_a_compressed_file_in_the_cache_is_never_unpacked(tmp_path, source, reader):
    (tmp_path / "cache").mkdir()
    np.savez_compressed(tmp_path / "cache" / "it_S1.npz", ppg=np.zeros(10_000_000))
    with pytest.warns(UserWarning, match="is damaged .ValueError: it is compressed"):
        load(tmp_path / "cache", source, reader)


def test_objects_in_the_cache_are_never_read(tmp_path, source, reader):
    (tmp_path / "cache").mkdir()
    np.savez(tmp_path / "cache" / "it_S1.npz", ppg=np.array([print], dtype=object))
    with pytest.warns(UserWarning, match="is damaged .ValueError: Object arrays cannot be loaded"):
        load(tmp_path / "cache", source, reader)


def test_a_cache_that_cannot_be_written_is_told_and_the_load_succeeds(tmp_path, source, reader):
    # a file where the folder should be: root may write into every folder
    blocked = tmp_path / "cache"
    blocked.write_bytes(b"")
    with pytest.warns(UserWarning, match=r"it_S1\.npz could not be written to the cache"):
        load(blocked / "inner", source, reader)
    assert reader.times == 1


@contextmanager
def read_only(folder):
    """Take the permission to write into a folder, which root has in any case."""
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


def test_a_read_only_cache_is_read_and_what_cannot_be_written_is_told(reader):
    with tempfile.TemporaryDirectory() as name:  # other users may not enter that of pytest
        folder = Path(name)
        folder.chmod(0o755)
        cache, source = folder / "cache", folder / "S1.pkl"
        source.write_bytes(b"something")
        cache.mkdir()
        message = r"it_S1\.npz could not be written to the cache .*Permission denied"
        with read_only(cache), pytest.warns(UserWarning, match=message):
            load(cache, source, reader)
        assert list(cache.iterdir()) == []
        load(cache, source, reader)
        with read_only(cache):
            load(cache, source, reader)
    assert reader.times == 2


def test_a_folder_without_permission_is_told_and_the_load_succeeds(lockable, reader):
    folder, lock = lockable
    source = folder / "S1.pkl"
    source.write_bytes(bytes(3_000_000))
    (folder / "cache").mkdir()
    lock()
    with pytest.warns(UserWarning, match=r"could not be written to the cache .*Permission denied"):
        load(folder / "cache", source, reader)
    assert list((folder / "cache").iterdir()) == []


def test_a_disk_that_fills_leaves_no_half_of_a_file(tmp_path, source, reader):
    cache = tmp_path / "cache"
    cache.mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.warns(UserWarning, match=r"could not be written to the cache .*File too large"):
            load(cache, source, reader)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(cache.iterdir()) == []
    load(cache, source, reader)
    load(cache, source, reader)
    assert reader.times == 2


def write_often(cache, source, times, begun):
    """Write over and over, as every load finds a source that changed."""
    begun.set()
    for _ in range(times):
        os.utime(source)
        load(cache, source, Reader())


def writer(cache, source, times):
    begun = FORK.Event()
    process = FORK.Process(target=write_often, args=(cache, source, times, begun))
    process.start()
    assert begun.wait(60)
    return process


def test_two_processes_may_load_at_once(tmp_path, source):
    both = [writer(tmp_path / "cache", source, 100) for _ in range(2)]
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["it_S1.npz"]


def test_a_process_killed_while_it_writes_leaves_nothing_that_is_read(tmp_path, source):
    for attempt in range(6):
        process = writer(tmp_path / "cache", source, 1_000_000)
        time.sleep(0.003 * attempt)
        process.kill()
        process.join(60)
        load(tmp_path / "cache", source, Reader())
