"""The unpickler: what arrays and plain containers need is read, all else is refused by name."""

from __future__ import annotations

import collections
import copyreg
import functools
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from python2_pickles import python2_pickle

from pulsehr.datasets._unpickling import read_pickle

RNG = np.random.default_rng(0)

CONTENT = {
    "signal": {
        "wrist": {
            "BVP": RNG.normal(size=(20_000, 1)),
            "ACC": np.asfortranarray(RNG.normal(size=(300, 3))),
        },
        "chest": {"ECG": RNG.normal(size=(50_000, 1))},
    },
    "activity": np.arange(9, dtype=np.int32)[:, None],
    "questionnaire": {"AGE": 34, "Gender": " m\xe9", "SPORT": None, "HEIGHT": 182.5, "n": -70_000},
    "several": [1, (2, 3, 4, 5), True, np.float32(2.5)],
    "subject": "S1",
}


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and a == b


@pytest.fixture
def read(tmp_path):
    def read(data: bytes, keep=None):
        path = tmp_path / "S1.pkl"
        path.write_bytes(data)
        return read_pickle("load_ppg_dalia", path, keep)

    return read


# What is read -------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [0, 2])
def test_files_of_python_2_are_read_as_the_standard_unpickler_reads_them(read, protocol):
    data = python2_pickle(CONTENT, protocol)
    assert same(pickle.loads(data, encoding="latin1"), CONTENT)
    assert same(read(data), CONTENT)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_files_of_python_3_are_read(read, protocol):
    assert same(read(pickle.dumps(CONTENT, protocol)), CONTENT)
    objects = np.array([1, "a", None], dtype=object)
    more = [objects, np.zeros((0, 3)), np.array(["ab", "c"]), np.array([True]), b"", {}]
    for value, expected in zip(read(pickle.dumps(more, protocol)), more, strict=True):
        assert same(value, expected)
    ordered = collections.OrderedDict(a=1)
    assert read(pickle.dumps(ordered, protocol)) == {"a": 1}


def test_foreign_byte_order_is_turned(read):
    values = np.array([1.5, -2.0])
    got = read(python2_pickle(values.astype(">f8")))
    np.testing.assert_array_equal(got, values)
    assert got.dtype.isnative


@pytest.mark.parametrize("protocol", [0, 2])
def test_only_places_that_are_kept_are_there(read, protocol):
    got = read(python2_pickle(CONTENT, protocol), ["signal/wrist", "subject"])
    kept = {"signal": {"wrist": CONTENT["signal"]["wrist"]}, "subject": "S1"}
    assert same(got, kept)


@pytest.mark.parametrize("protocol", [0, 2])
def test_arrays_that_are_not_kept_never_take_memory(read, protocol):
    content = {"chest": np.zeros(1_000_000), "label": np.arange(4.0)}
    data = python2_pickle(content, protocol)
    tracemalloc.start()
    try:
        got = read(data, ["label"])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert same(got, {"label": np.arange(4.0)})
    assert peak < 2e6


# What is refused ----------------------------------------------------------------------------


class Call:
    """Pickled as a call of a function, by a global of any name."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def touch(sentinel: Path) -> str:
    return f"touch {sentinel}"


def of_system(sentinel):
    return b"cos\nsystem\n" + text(touch(sentinel)) + b"\x85R."


def of_stack_global(sentinel):
    return b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + text(touch(sentinel)) + b"\x85R."


def of_instance(sentinel):
    return b"(S'touch " + str(sentinel).encode() + b"'\nios\nsystem\n."


def of_object(sentinel):
    return b"(cos\nsystem\n" + text(touch(sentinel)) + b"o."


def of_newobj(sentinel):
    return b"\x80\x02csubprocess\nPopen\n" + text(touch(sentinel)) + b"\x85\x81."


def of_newobj_ex(sentinel):
    return b"\x80\x04\x8c\nsubprocess\x8c\x05Popen\x93" + text(touch(sentinel)) + b"\x85}\x92."


def of_state(sentinel):
    # a class with __setstate__ that is harmless to make
    return b"\x80\x02cfunctools\npartial\n)\x81" + text(touch(sentinel)) + b"\x85b."


def of_getattr(sentinel):
    return b"c__builtin__\ngetattr\n(cos\n__dict__\n" + text("system") + b"tR."


def of_dotted_name(sentinel):
    name = "f2py.os.system"
    head = b"\x80\x04\x8c\x05numpy" + b"\x8c" + bytes([len(name)]) + name.encode() + b"\x93"
    return head + text(touch(sentinel)) + b"\x85R."


def of_numpy_gadget(sentinel):
    return b"cnumpy.testing._private.utils\nrunstring\n(" + text("0") + b"}tR."


def of_extension(sentinel):
    return b"\x80\x02\x82\x01" + text(touch(sentinel)) + b"\x85R."


def of_persistent_id(sentinel):
    return b"P" + str(sentinel).encode() + b"\n."


def of_binary_persistent_id(sentinel):
    return text("elsewhere") + b"Q."


def of_object_array(sentinel):
    array = np.empty(1, dtype=object)
    array[0] = Call(exec, f"with open({str(sentinel)!r}, 'w'): pass")
    return pickle.dumps(array, 2)


def of_partial(sentinel):
    return pickle.dumps(functools.partial(open, str(sentinel), "w"))


def of_hidden_place(sentinel):
    # in a part that nobody wants
    return pickle.dumps(
        {"chest": Call(exec, f"with open({str(sentinel)!r}, 'w'): pass"), "label": 1}
    )


def of_import(sentinel):
    return b"c__builtin__\n__import__\n" + text("antigravity") + b"\x85R."


def of_numpy_load(sentinel):
    return b"cnumpy\nload\n(" + text(str(sentinel)) + b"NI01\ntR."


def of_subclass(sentinel):
    head = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nmemmap\n(I0\nt"
    return head + text("b") + b"tR."


def of_ndarray(sentinel):
    return b"cnumpy\nndarray\n((I1000000000000\nttR."


HOSTILE = {
    of_system: r"the global 'os\.system'",
    of_stack_global: r"the global 'posix\.system'",
    of_instance: r"an instance of 'os\.system'",
    of_object: r"the global 'os\.system'",
    of_newobj: r"the global 'subprocess\.Popen'",
    of_newobj_ex: r"the global 'subprocess\.Popen'",
    of_state: r"the global 'functools\.partial'",
    of_getattr: r"the global '__builtin__\.getattr'",
    of_dotted_name: r"the global 'numpy\.f2py\.os\.system'",
    of_numpy_gadget: r"the global 'numpy\.testing\._private\.utils\.runstring'",
    of_extension: r"the extension 1 of the registry",
    of_persistent_id: r"the persistent id b'.*sentinel'",
    of_binary_persistent_id: r"the persistent id 'elsewhere'",
    of_object_array: r"the global '__builtin__\.exec'",
    of_partial: r"the global 'functools\.partial'",
    of_hidden_place: r"the global 'builtins\.exec'",
    of_import: r"the global '__builtin__\.__import__'",
    of_numpy_load: r"the global 'numpy\.load'",
    of_subclass: r"the global 'numpy\.memmap'",
    of_ndarray: r"an array made by numpy\.ndarray itself",
}


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.__name__)
def test_hostile_pickles_are_refused_by_name_and_nothing_is_run(read, tmp_path, hostile):
    sentinel = tmp_path / "sentinel"
    copyreg.add_extension("os", "system", 1)
    try:
        with pytest.raises(ValueError, match=HOSTILE[hostile]) as caught:
            read(hostile(sentinel), ["label"])
    finally:
        copyreg.remove_extension("os", "system", 1)
    assert not sentinel.exists()
    assert str(caught.value).startswith("load_ppg_dalia: S1.pkl asks for ")


def test_the_hostile_pickles_would_do_harm_elsewhere(tmp_path):
    for hostile in (of_system, of_instance, of_newobj_ex, of_object_array, of_hidden_place):
        sentinel = tmp_path / hostile.__name__
        data = hostile(sentinel)
        if hostile is of_newobj_ex:
            data = data.replace(b"subprocess\x8c\x05Popen", b"subprocess\x8c\x09getoutput")
            data = data.replace(b"}\x92.", b"R.")
        pickle.loads(data)
        assert sentinel.exists()


#: numpy.dtype of what stands in between.
DTYPE = b"cnumpy\ndtype\n(S'%s'\nI0\nI1\ntR"
STATE = b"(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"


def array(shape: bytes, dtype: bytes, data: bytes) -> bytes:
    return ARRAY + b"(I1\n" + shape + DTYPE % dtype + STATE + b"I00\n" + data + b"tb."


HARMFUL = {
    "system on the stack": (b"S'os.system'\n(tR.", "a call of 'os.system'"),
    "state of a name": (b"cnumpy\ndtype\n}b.", r"a state of 'numpy\.dtype'"),
    "a name as a value": (b"cnumpy\ndtype\n.", r"'numpy\.dtype' that is no value"),
    "a set": (b"\x80\x04\x8f.", "the instruction EMPTY_SET"),
    "a buffer elsewhere": (b"\x80\x05\x97.", "the instruction NEXT_BUFFER"),
    "a dtype of structs": (DTYPE % b"i4,O" + b".", r"the dtype 'i4,O'"),
    "a dtype with fields": (DTYPE % b"V8" + b".", r"the dtype 'V8'"),
    "fields in a state": (DTYPE % b"f8" + b"(I3\nS'|'\nN(S'a'\nt}tb.", "an array with fields"),
    "another encoding": (
        b"c_codecs\nencode\n(" + text("a") + text("zlib_codec") + b"tR.",
        "the encoding 'zlib_codec'",
    ),
    "tuples within tuples as a key": (b"}" + b"N\x85" * 9000 + b"Ns.", "a tuple as the key"),
    "lists within lists": (b"(l" * 40_000 + b"a" * 39_999 + b".", "more than 32 deep"),
    "a list within itself": (b"(lp0\ng0\na.", "more than 32 deep"),
    "a list of lists that doubles": (
        b"]q\x00" + b"".join(b"](h%ch%ceq%c" % (k, k, k + 1) for k in range(30)) + b".",
        "more than 100000 values",
    ),
    "a dict made again and again": (
        b"ccollections\nOrderedDict\nq\x00(]("
        + b"".join(b"J%sN\x86" % k.to_bytes(4, "little") for k in range(10_000))
        + b"etq\x01"
        + b"h\x00h\x01R" * 10_000
        + b".",
        "67108864 bytes of them",
    ),
    "a text encoded again and again": (
        b"c_codecs\nencode\nq\x00X\x00\x00\x01\x00"
        + b"a" * 65_536
        + text("latin1")
        + b"\x86q\x01"
        + b"h\x00h\x01R" * 10_000
        + b".",
        "67108864 bytes of them",
    ),
    "a byte order that is a long text": (
        DTYPE % b"f8" + b"(I3\nS'" + b"<" * 60_000 + b"'\nNNNI-1\nI-1\nI0\ntb.",
        "the byte order of a dtype is none",
    ),
    "numbers of one hash as keys": (
        b"}("
        + b"".join(
            b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"N" for k in range(1, 9000)
        )
        + b"u.",
        "beyond 60 bits as the key",
    ),
    "an endless file": (b"N0" * 150_000 + b".", "more than 100000 instructions"),
    "an array of absurd shape": (
        array(b"(I1000000000000\nt", b"f8", b"S'abc'\n"),
        "an array of 8000000000000 bytes|arrays of more bytes than it has",
    ),
    "objects of absurd shape": (
        array(b"(I1000000000000\nt", b"O8", b"(lNa"),
        "an array of 1000000000000 objects does not hold them",
    ),
    "a negative shape": (array(b"(I-1\nI-8\nt", b"f8", b"S'abc'\n"), "shape of an array is none"),
    "samples that are a number": (array(b"(I1\nt", b"f8", b"I5\n"), "expected a text, got int"),
    "too few samples": (array(b"(I2\nt", b"i1", b"S'a'\n"), "of 2 bytes has 1"),
    "an array without samples": (ARRAY + b".", "the dtype of an array is none"),
    "bytes of absurd length": (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x0f.", r"a text of \d+ bytes"),
    "a text of negative length": (b"T\xff\xff\xff\xff.", "a text of negative length"),
    "a number of absurd length": (b"\x80\x02\x8b\xff\xff\xff\x7f.", "a number of 2147483647 bytes"),
    "digits without end": (b"I" + b"9" * 60_000 + b"\n.", "Exceeds the limit"),
    "a memo that does not end": (b"Nr\xff\xff\xff\xff0j\xfe\xff\xff\xff.", "KeyError|4294967294"),
    "a memo that is empty": (b"h\x07.", "UnpicklingError|7"),
    "a frame of absurd length": (b"\x80\x04\x95" + b"\xff" * 8, "ends early"),
    "a protocol to come": (b"\x80\x63.", "unsupported pickle protocol"),
    "no pickle": (b"\x89PNG\r\n\x1a\n", "UnpicklingError|ends early|code|EOFError|persistent"),
    "a line without end": (b"c" + b"x" * 100_000, "a line is too long"),
    "a text that is no pair of quotes": (b"Sabc\n.", "not in quotes"),
    "a stack that is empty": (b".", "IndexError"),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_files_that_would_take_memory_or_the_stack_are_refused(read, name):
    data, message = HARMFUL[name]
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as caught:
            read(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith("load_ppg_dalia: S1.pkl ")
    assert len(str(caught.value)) < 600
    assert peak < 1e8


def test_one_array_in_many_places_is_refused_before_it_fills_memory(read):
    data = pickle.dumps(np.zeros(100_000))[:-1]  # without STOP
    with pytest.raises(ValueError, match="arrays of more bytes than it has"):
        read(b"\x80\x02](" + data[2:] + b"r\xff\xff\x00\x00" + b"j\xff\xff\x00\x00" * 9 + b"e.")


def test_keys_that_are_not_wanted_are_counted_each_time_they_are_seen(tmp_path):
    keys = b"".join(b"J%sN" % k.to_bytes(4, "little") for k in range(20_000))
    (tmp_path / "S1.pkl").write_bytes(
        b"}" + text("signal") + b"](}q\x00(" + keys + b"u" + b"h\x00" * 20_000 + b"es."
    )
    with pytest.raises(ValueError, match="more than 100000 values"):
        read_pickle("load_ppg_dalia", tmp_path / "S1.pkl", ["signal/wrist/BVP"])


def test_an_empty_file_is_named(read):
    with pytest.raises(ValueError, match=r"load_ppg_dalia: S1\.pkl is empty, expected a pickle"):
        read(b"")


@pytest.mark.parametrize("protocol", [0, 2])
def test_a_file_cut_anywhere_is_refused(read, protocol):
    data = python2_pickle({"BVP": np.zeros(9000), "subject": "S1", "n": [1, 2.5]}, protocol)
    for length in {*range(1, 300, 2), *range(len(data) - 200, len(data)), len(data) // 2}:
        with pytest.raises(ValueError, match=r"S1\.pkl (must be a pickle|asks for)"):
            read(data[:length])


def test_a_file_with_any_byte_changed_is_read_or_refused(read):
    data = bytearray(python2_pickle(CONTENT["several"] + [np.arange(3.0)], 2))
    for position in range(len(data)):
        for change in (0xFF, 0x01):
            damaged = bytearray(data)
            damaged[position] ^= change
            try:
                read(bytes(damaged))
            except ValueError as error:
                message = str(error)
            else:
                message = "load_ppg_dalia: S1.pkl"
            assert message.startswith("load_ppg_dalia: S1.pkl")
