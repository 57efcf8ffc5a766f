"""Full disks, folders without permission, threads, forks, Ctrl-C and kill -9: the table of faults.

`docs/reliability.md` tells what each test shows.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from pulsehr import (
    DistilledStudentRegressor,
    PulseTeacherRegressor,
    _checkpoints,
    load_pretrained,
    to_microcontroller,
)
from pulsehr._gradients import _Threads
from pulsehr._plain_files import read_pipeline, write_pipeline
from pulsehr.datasets import make_recordings

# a fork beside threads is what is tested, and Python warns of it
pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)

SMALL = {"max_epochs": 3, "filters": (2, 3, 4), "verbose": 0}
FORK = multiprocessing.get_context("fork")

#: Seconds after which something that waits is taken to wait for ever.
PATIENCE = 120


def rows():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 4, 64)).astype(np.float32), rng.uniform(60, 120, 60)


@pytest.fixture(scope="module")
def students():
    """Two that were fitted alike, but from other seeds."""
    return [DistilledStudentRegressor(**SMALL, random_state=k).fit(*rows()) for k in (0, 1)]


@pytest.fixture(scope="module")
def readings():
    (recording,) = make_recordings(n_subjects=1, duration=200, random_state=0).recordings
    return recording.readings(stride=2.0)


# writers --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Writer:
    """Write the first or the second of two contents into a folder; tell which one is there."""

    write: Callable[[Path, int], None]
    read: Callable[[Path], int | None]


def exporter(students) -> Writer:
    models = [to_microcontroller(student, None) for student in students]

    def read(folder: Path) -> int | None:
        """None: no compiler takes it."""
        if not (folder / "pulsehr.h").exists():
            return None
        names = models[0].files.keys() | models[1].files.keys()
        there = {name: (folder / name).read_text() for name in names if (folder / name).exists()}
        return [model.files for model in models].index(there)

    return Writer(lambda folder, k: models[k].write(folder), read)


def checkpointer(students) -> Writer:
    def checkpoint(folder: Path) -> Any:
        made = _checkpoints.Checkpoint(None, None)
        made.path = folder / "teacher.pt"
        return made

    def read(folder: Path) -> int:
        net: list[Any] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_checkpoints, "_restore", lambda net, state: net.append(state))
            assert checkpoint(folder).restore(FakeNet(net.append))
        (state,) = net
        assert (state["content"] == state["content"][0]).all()
        return int(state["content"][0])

    def write(folder: Path, k: int) -> None:
        state = {"content": torch.full((300_000,), k), "finished": True}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_checkpoints, "_state", lambda net, finished: state)
            checkpoint(folder).save(None)

    return Writer(write, read)


@dataclass
class FakeNet:
    append: Callable[[Any], None]
    device: str = "cpu"


def pipeline_writer(students) -> Writer:
    pipes = [Pipeline([("student", student)]) for student in students]

    def read(folder: Path) -> int:
        pipe, facts = read_pipeline(folder / "pipe.npz")
        X, _ = rows()
        np.testing.assert_array_equal(pipe.predict(X), pipes[facts["seed"]].predict(X))
        return facts["seed"]

    return Writer(
        lambda folder, k: write_pipeline(folder / "pipe.npz", pipes[k], {"seed": k}), read
    )


WRITERS = {
    "to_microcontroller": exporter,
    "checkpoint": checkpointer,
    "write_pipeline": pipeline_writer,
}


@pytest.fixture(params=WRITERS)
def writer(request, students) -> Writer:
    return WRITERS[request.param](students)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def full_disk(n_bytes: int = 1000) -> Iterator[None]:
    """Let no file grow beyond so many bytes: the system refuses as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("n_bytes", [0, 1000])
def test_a_full_disk_is_an_error_and_leaves_what_was_there(n_bytes, writer, tmp_path):
    writer.write(tmp_path, 0)
    before = contents(tmp_path)
    with full_disk(n_bytes), pytest.raises(OSError, match="File too large"):
        writer.write(tmp_path, 1)
    assert contents(tmp_path) == before
    writer.write(tmp_path, 1)
    assert writer.read(tmp_path) == 1


def test_a_full_disk_leaves_nothing_in_a_new_folder(writer, tmp_path):
    with full_disk(), pytest.raises(OSError, match="File too large"):
        writer.write(tmp_path, 1)
    assert contents(tmp_path) == {}


def test_a_folder_without_permission_is_an_error_and_stays_as_it_was(writer, lockable):
    folder, lock = lockable
    writer.write(folder, 0)
    assert writer.read(folder) == 0  # and what is imported late is there
    before = contents(folder)
    lock()
    with pytest.raises(PermissionError, match="Permission denied"):
        writer.write(folder, 1)
    assert contents(folder) == before
    assert writer.read(folder) == 0


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGINT])
def test_what_is_stopped_while_it_writes_leaves_the_old_or_the_new(fault, writer, tmp_path):
    """Twelve times at a random moment; only an export may be left as what no compiler takes."""
    moments = np.random.default_rng(0).uniform(0, 0.1, 12)
    writer.write(tmp_path, 0)
    for moment in moments:
        begun = FORK.Event()
        process = FORK.Process(target=write_in_turn, args=(writer, tmp_path, begun))
        process.start()
        assert begun.wait(PATIENCE)
        time.sleep(moment)
        os.kill(process.pid, fault)
        process.join(PATIENCE)
        assert process.exitcode == (-fault if fault == signal.SIGKILL else 0)
        found = writer.read(tmp_path)
        assert found in (0, 1) or (found is None and (tmp_path / "pulsehr.c").exists())
    writer.write(tmp_path, 1)
    assert writer.read(tmp_path) == 1


def write_in_turn(writer: Writer, folder: Path, begun: Any) -> None:
    pressed = []

    def press(*_: Any) -> None:
        pressed.append(True)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, press)
    try:
        begun.set()
        while not pressed:
            for k in (1, 0):
                writer.write(folder, k)
    except BaseException:
        # a library may answer Ctrl-C by an error of its own, as zipfile does, or by none
        if not pressed:
            raise
    os._exit(0)


def test_an_export_that_was_killed_and_done_again_leaves_nothing_else(students, tmp_path):
    """The temporary files of the killed one are removed by the next."""
    model = to_microcontroller(students[0], None)
    text = model.files["pulsehr_weights.c"]
    (tmp_path / ".pulsehr_weights.c.4711.12").write_text(text)
    model.write(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in contents(tmp_path)} == set(model.files)


# fits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PulseTeacherRegressor, DistilledStudentRegressor])
def test_a_fit_that_is_killed_at_any_moment_goes_on_to_the_same_result(kind, tmp_path):
    model = kind(**{**SMALL, "max_epochs": 6}, random_state=0)
    whole = clone(model).fit(*rows())
    model.set_params(checkpoint=tmp_path)
    for moment in np.random.default_rng(1).uniform(0, 0.3, 8):
        process = FORK.Process(target=clone(model).fit, args=rows())
        process.start()
        time.sleep(moment)
        process.kill()
        process.join(PATIENCE)
    X, _ = rows()
    np.testing.assert_array_equal(model.fit(*rows()).predict(X), whole.predict(X))


def test_a_checkpoint_in_which_a_bit_changed_is_refused(tmp_path):
    model = PulseTeacherRegressor(**SMALL, random_state=0, checkpoint=tmp_path).fit(*rows())
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    weights = model.network_.out.weight.detach().numpy().tobytes()
    changed = bytearray(whole)
    changed[whole.index(weights)] ^= 1
    file.write_bytes(changed)
    with pytest.raises(ValueError, match=rf"{file.name}' cannot be read .*was changed.*: delete"):
        clone(model).fit(*rows())


def test_a_full_disk_while_a_teacher_is_kept_costs_the_keeping_alone(tmp_path):
    student = DistilledStudentRegressor(PulseTeacherRegressor(**SMALL), **SMALL, random_state=0)
    X, y = rows()
    whole = clone(student).fit(X, y)
    student.set_params(memory=joblib.Memory(tmp_path, verbose=0))
    with full_disk(), pytest.warns(Warning, match="Unable to cache to disk"):
        student.fit(X, y)
    np.testing.assert_array_equal(student.predict(X), whole.predict(X))
    again = clone(student).fit(X, y)
    np.testing.assert_array_equal(again.predict(X), whole.predict(X))


# threads and processes ------------------------------------------------------------------------

MODELS = ["student", "student-int8", "teacher"]


@pytest.mark.parametrize("name", MODELS)
def test_threads_predict_with_one_model_what_one_thread_predicts(name, readings):
    model = load_pretrained(name)
    parts = [readings[k : k + 1 + 40 * (k % 2)] for k in range(12)]
    alone = [model.predict(part) for part in parts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(model.predict, parts * 3))
    for part, bpm in zip(together, alone * 3, strict=True):
        np.testing.assert_array_equal(part, bpm)


def test_threads_may_fit_and_predict_at_a_time():
    X, y = rows()
    models = [PulseTeacherRegressor(**SMALL, random_state=k) for k in range(4)]
    alone = [clone(model).fit(X, y).predict(X) for model in models]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda model: clone(model).fit(X, y).predict(X), models))
    np.testing.assert_array_equal(together, alone)


def predict_into(queue: Any, model: Any, readings: Any) -> None:
    queue.put(model.predict(readings))


@pytest.mark.parametrize(
    ("name", "method"), [("student", "fork"), ("teacher", "fork"), ("student", "spawn")]
)
def test_other_processes_predict_the_same(name, method, readings):
    model = load_pretrained(name)
    bpm = model.predict(readings)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=predict_into, args=(queue, model, readings))
    process.start()
    np.testing.assert_array_equal(queue.get(timeout=PATIENCE), bpm)
    process.join(PATIENCE)
    assert process.exitcode == 0


def fit_and_calculate() -> None:
    """Run in a child what waits for threads of torch that a fork does not take along."""
    torch.randn(1000, 1000).exp()
    PulseTeacherRegressor(**SMALL, random_state=0).fit(*rows()).predict(rows()[0])


def test_the_child_of_a_fork_does_not_wait_for_threads_that_it_has_not(readings):
    """Forked while torch has threads of its own, and while another thread is in a fit."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.randn(1000, 1000).exp()  # starts the threads
        with _Threads.lock:
            process = FORK.Process(target=fit_and_calculate)
            process.start()
        process.join(PATIENCE)
        ended = process.exitcode
        process.kill()
    finally:
        torch.set_num_threads(before)
    assert ended == 0


# the table ------------------------------------------------------------------------------------


def test_the_tests_that_the_documentation_names_are_there():
    tests = Path(__file__).parent
    page = (tests.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
    there = "".join(path.read_text(encoding="utf-8") for path in tests.rglob("test_*.py"))
    names = set(re.findall(r"\btest_\w+(?!\.py)\b(?=`)", page))
    assert len(names) > 15
    assert [name for name in sorted(names) if f"def {name}(" not in there] == []
    files = re.findall(r"`(tests/[\w/]+\.py)", page)
    assert [name for name in files if not (tests.parent / name).exists()] == []
