"""The restricted reader: a corpus of hostile and broken pickles, and all the forms of honest ones."""

import io
import os
import pickle
import pickletools
import struct
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tasks.annotations.safe_pickle import AnnotationError, safe_load

MARKER = Path(os.environ.get("TMPDIR", "/tmp")) / f"fightpose-payload-{os.getpid()}"  # noqa: S108
"""A payload that runs makes this file."""


def loaded(data: bytes):
    """Return what the reader makes of a file of these bytes."""
    with tempfile.NamedTemporaryFile() as stream:
        stream.write(data)
        stream.flush()
        return safe_load(Path(stream.name))


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments, state=None) -> None:
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.call


class Custom:
    """An object of a class that only its author has."""

    def __init__(self) -> None:
        self.value = 1


def text(value: str) -> bytes:
    """Return the instruction that pushes a text."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def binary(value: bytes) -> bytes:
    """Return the instruction that pushes bytes."""
    return b"B" + struct.pack("<I", len(value)) + value


def number(value: int) -> bytes:
    """Return the instruction that pushes a number of up to 255 bytes."""
    raw = pickle.encode_long(value)
    return b"\x8a" + bytes([len(raw)]) + raw


DTYPE = (
    b"cnumpy\ndtype\n"
    + text("f4")
    + b"\x89\x88\x87R(K\x03"
    + text("<")
    + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)
EMPTY_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"


def array(shape: bytes, data: bytes, dtype: bytes = DTYPE) -> bytes:
    """Return the instructions of an array, sound or not."""
    return EMPTY_ARRAY + b"(K\x01" + shape + dtype + b"\x89" + data + b"tb"


def program(body: bytes) -> bytes:
    """Return a complete pickle."""
    return b"\x80\x04" + body + b"."


def laughs(levels: int, end: bytes = b"") -> bytes:
    """Return lists of ten references to the list below, `levels` times."""
    body = b"]" + b"q\x00"
    for level in range(levels):
        body += b"](" + (b"h" + bytes([level])) * 10 + b"eq" + bytes([level + 1])
    return program(body + end)


SOUND = pickle.dumps({"split": {"all": ["a"]}, "annotations": [{"keypoint": np.ones((2, 3, 17, 2), np.float32)}]}, 4)
COMMAND = f"touch {MARKER}"

EXECUTION = {
    "reduce os.system": pickle.dumps(Call(os.system, COMMAND)),
    "reduce os.system, protocol 0": pickle.dumps(Call(os.system, COMMAND), 0),
    "reduce eval": pickle.dumps(Call(eval, f"open({str(MARKER)!r}, 'w')")),
    "reduce exec": pickle.dumps(Call(exec, f"open({str(MARKER)!r}, 'w')")),
    "reduce open": pickle.dumps(Call(io.open, str(MARKER), "w")),
    "reduce __import__": pickle.dumps(Call(__import__, "antigravity")),
    "reduce in the middle of an annotation": pickle.dumps({"annotations": [{"label": Call(os.system, COMMAND)}]}),
    "reduce as a dict key": pickle.dumps({Call(os.system, COMMAND): 1}),
    "reduce after a sound array": pickle.dumps([np.zeros(3), Call(os.system, COMMAND)]),
    "object array": pickle.dumps(np.array([Call(os.system, COMMAND), None], dtype=object)),
    "array of None": pickle.dumps(np.array([None, 1], dtype=object)),
    "global os.system, never called": program(b"cos\nsystem\n"),
    "stack global": program(text("posix") + text("system") + b"\x93" + text(COMMAND) + b"\x85R"),
    "nested attribute": program(text("numpy") + text("ndarray.__class__.__subclasses__") + b"\x93)R"),
    "nested attribute in an allowed module": program(b"cnumpy.core.multiarray\n_reconstruct.__globals__\n"),
    "numpy function that executes": program(b"cnumpy.testing._private.utils\nrunstring\n" + text(COMMAND) + b"}\x86R"),
    "numpy.load": program(b"cnumpy\nload\n" + text(str(MARKER)) + b"\x85R"),
    "numpy.fromfile": program(b"cnumpy\nfromfile\n" + text("/etc/hostname") + b"\x85R"),
    "numpy.memmap": program(b"cnumpy\nmemmap\n" + text(str(MARKER)) + b"\x85R"),
    "builtins.getattr": program(b"cbuiltins\ngetattr\n(cnumpy\nndarray\n" + text("tofile") + b"tR"),
    "inst": program(b"(" + text(COMMAND) + b"ios\nsystem\n"),
    "obj": program(b"(cos\nsystem\n" + text(COMMAND) + b"o"),
    "newobj": program(b"csubprocess\nPopen\n" + text(COMMAND) + b"\x85\x81"),
    "newobj of an allowed class": program(b"cnumpy\nndarray\n(" + number(1 << 40) + b"\x85\x85\x81"),
    "newobj_ex": program(b"csubprocess\nPopen\n)}\x92"),
    "persistent id": program(b"Pposix.system\n"),
    "binary persistent id": program(text("posix.system") + b"Q"),
    "extension registry": program(b"\x82\x01"),
    "out-of-band buffer": b"\x80\x05\x97.",
    "an own class": pickle.dumps(Custom()),
    "a class as data": pickle.dumps([np.ndarray]),
    "state of a dict": program(b"}}" + text("__class__") + b"cos\nsystem\nsb"),
    "state of a dtype with fields": pickle.dumps(np.zeros(2, dtype=[("a", "f4"), ("b", "O")])),
    "codecs other than latin1": program(b"c_codecs\nencode\n" + text("a") + text("bz2") + b"\x86R"),
    "codecs.decode": program(b"c_codecs\ndecode\n" + text("a") + text("zip") + b"\x86R"),
    "calling a text": program(text("os.system") + text(COMMAND) + b"\x85R"),
    "calling an array": program(array(K1 := b"K\x01\x85", b"C\x04abcd") + b")R"),
    "reconstruct of another class": program(
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nmatrix\nK\x00\x85C\x01b\x87R"
    ),
    "set": pickle.dumps({1, 2}),
}

ALLOCATION = {
    "reconstruct of a huge shape": program(
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + number(1 << 40) + b"\x85C\x01b\x87R"
    ),
    "ndarray of a huge shape": program(b"cnumpy\nndarray\n" + number(1 << 40) + b"\x85" + text("b") + b"\x86R"),
    "state of a huge shape": program(array(number(1 << 40) + b"\x85", b"C\x04abcd")),
    "shape whose product overflows": program(array((number(1 << 33) + number(1 << 33)) + b"\x86", b"C\x00")),
    "shape with a zero and a huge size": program(array(b"K\x00" + number(1 << 62) + b"\x86", b"C\x00")),
    "negative shape": program(array(b"J\xff\xff\xff\xff\x85", b"C\x04abcd")),
    "shape of many dimensions": program(array(b"(" + b"K\x01" * 100 + b"t", b"C\x04abcd")),
    "shape of no numbers": program(array(text("x") + b"\x85", b"C\x04abcd")),
    "shape and bytes differ": program(array(b"K\x02\x85", b"C\x04abcd")),
    "text of a claimed 4 GB": b"\x80\x04X\xff\xff\xff\xff.",
    "bytes of a claimed 8 EB": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b".",
    "bytearray of a claimed 1 TB": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
    "frame of a claimed 1 TB": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"N.",
    "number of a claimed 2 GB": b"\x80\x04\x8b\xff\xff\xff\x7f.",
    "number of 100,000 bytes": program(b"\x8b" + struct.pack("<i", 100_000) + b"\x7f" * 100_000),
    "number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "one buffer in a thousand arrays": program(
        binary(b"abcd" * 10_000) + b"q\x000](" + array(number(10_000) + b"\x85", b"h\x00") * 1000 + b"e"
    ),
    "one text encoded a thousand times": program(
        text("x" * 40_000) + b"q\x000](" + (b"c_codecs\nencode\nh\x00" + text("latin1") + b"\x86R") * 1000 + b"e"
    ),
    "text of two million characters": program(text("x" * 2_000_000)),
    "dtype of a gigabyte an item": program(b"cnumpy\ndtype\n" + text("V1073741824") + b"\x89\x88\x87R"),
    "ten billion laughs": laughs(10),
    "laughs as a module's name": laughs(30, text("x") + b"\x93"),
    "laughs as a dtype": program(laughs(30)[2:-1] + b"0cnumpy\ndtype\nh\x1e\x89\x88\x87R"),
    "dtype as data": program(DTYPE),
    "array without its bytes": program(EMPTY_ARRAY),
}

RECURSION = {
    "list that holds itself": program(b"]q\x00h\x00a"),
    "dict that holds itself": program(b"}q\x00" + text("a") + b"h\x00s"),
    "tuple that holds itself through a list": program(b"]q\x00h\x00\x85a"),
    "many nested lists": program(b"]" * 200_000 + b"a" * 199_999),
    "many nested tuples": program(b")" + b"\x85" * 200_000),
    "many nested tuples as a key": program(b"})" + b"\x85" * 200_000 + b"Ns"),
    "nested tuples as a name": program(b")" + b"\x85" * 200_000 + text("x") + b"\x93"),
    "nesting built up by references": program(
        b"]("
        + b"]q\x00"
        + b"".join(b"]" * 20 + b"h" + bytes([i]) + b"a" * 20 + b"q" + bytes([i + 1]) for i in range(200))
        + b"e"
    ),
    "unhashable key": program(b"}]Ns"),
    "keys chosen to collide": program(b"}" + number((2**61 - 1) * 3) + b"Ns"),
}

BROKEN = {
    "empty": b"",
    "text": b"this is no pickle",
    "zip": b"PK\x03\x04" + bytes(100),
    "zeros": bytes(1000),
    "stop only": b".",
    "no stop": SOUND[:-1],
    "bytes after the end": SOUND + b"\x00",
    "two pickles": SOUND + SOUND,
    "unknown protocol": b"\x80\xc8N.",
    "unknown instruction": b"\x80\x04\xffN.",
    "two values left": program(b"NN"),
    "mark missing": program(b"Nt"),
    "stack empty": program(b"a"),
    "memo empty": program(b"h\x07"),
    "memo of an empty stack": program(b"\x94"),
    "append to a dict": program(b"}Na"),
    "item of a list": program(b"]NNs"),
    "odd number of items": program(b"}(Nu"),
    "bad UTF-8": program(b"X\x02\x00\x00\x00\xff\xff"),
    "bad number": b"Iabc\n.",
    "reduce without arguments": program(b"cnumpy\ndtype\nR"),
    "dtype without a name": program(b"cnumpy\ndtype\n)R"),
    "state set twice": program(array(K1, b"C\x04abcd") + b"(K\x01K\x01\x85" + DTYPE + b"\x89C\x04abcdtb"),
    "state too short": program(EMPTY_ARRAY + b"(K\x01tb"),
    "dtype missing": program(array(K1, b"C\x04abcd", dtype=b"N")),
    "memory order unknown": program(
        b"cnumpy.core.numeric\n_frombuffer\n(C\x04abcd" + DTYPE + b"K\x01\x85" + text("Z") + b"tR"
    ),
    **{f"cut off at {part} %": SOUND[: len(SOUND) * part // 100] for part in (1, 5, 10, 25, 50, 75, 90, 99)},
}

CORPUS = {**EXECUTION, **ALLOCATION, **RECURSION, **BROKEN}


def test_the_corpus_is_large_enough():
    """At least fifty hostile or broken files."""
    assert len(CORPUS) >= 100


@pytest.mark.parametrize("name", CORPUS)
def test_hostile_and_broken_files_are_clear_errors(tmp_path, name):
    """Nothing runs, memory stays near the file's size, time stays short, and the error names the file."""
    path = tmp_path / "file.pkl"
    path.write_bytes(CORPUS[name])
    started = time.perf_counter()
    with pytest.raises(AnnotationError, match=r"file\.pkl: .+") as caught:
        safe_load(path)
    assert time.perf_counter() - started < 20
    assert len(str(caught.value)) < len(str(path)) + 400
    assert "\n" not in str(caught.value)
    assert not MARKER.exists()


@pytest.mark.parametrize("name", ALLOCATION)
def test_no_file_makes_more_memory_than_it_has_bytes(name):
    """The peak stays within a few megabytes and a small multiple of the file."""
    tracemalloc.start()
    with pytest.raises(AnnotationError):
        loaded(CORPUS[name])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000 + 6 * len(CORPUS[name])


def test_the_payloads_are_live(tmp_path):
    """The plain reader does run them: the corpus tests what it says."""
    pickle.loads(EXECUTION["reduce os.system"])
    assert MARKER.exists()
    MARKER.unlink()


def test_too_many_instructions_are_refused(monkeypatch):
    """Each byte of a file may make an object of 64."""
    monkeypatch.setattr("tasks.annotations.safe_pickle.FREE_INSTRUCTIONS", 1000)
    with pytest.raises(AnnotationError, match=r"more than 1\d{3} instructions"):
        loaded(program(b"](" + b"}" * 2000 + b"e"))
    # A large file with as many instructions has the bytes for them.
    assert len(loaded(program(b"](" + binary(bytes(20)) * 1500 + b"e"))) == 1500


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path, monkeypatch):
    """The size is looked at first."""
    monkeypatch.setattr("tasks.annotations.safe_pickle.MAX_FILE_BYTES", 10)
    (tmp_path / "a.pkl").write_bytes(SOUND)
    with pytest.raises(AnnotationError, match="more than an annotation file can have"):
        safe_load(tmp_path / "a.pkl")


def test_missing_files_and_folders_are_clear_errors(tmp_path):
    """No traceback for a path that is not there."""
    for path in (tmp_path / "nowhere.pkl", tmp_path):
        with pytest.raises(AnnotationError, match="cannot be read"):
            safe_load(path)


VALUES = {
    "float32": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "float16": np.arange(3, dtype=np.float16),
    "int64": np.array([[-1], [2**60]]),
    "uint8": np.arange(5, dtype=np.uint8),
    "bool": np.array([[True, False]]),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big-endian": np.arange(4, dtype=">i4"),
    "strided": np.arange(10)[::2],
    "empty": np.zeros((0, 17, 2), np.float32),
    "zero-dimensional": np.array(2.5),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("module", ["numpy._core", "numpy.core"])
def test_honest_files_of_every_protocol_and_numpy_are_read(protocol, module):
    """What numpy 1.x and 2.x write, under each protocol; files of numpy 1.x name `numpy.core`."""
    plain = {"가": [1, -1, 2**40, 1.5, True, None, "x", b"", b"raw"], "nested": {"a": (1, (2, 3))}, 3: ()}
    data = pickle.dumps({"arrays": VALUES, "plain": plain, "scalars": [np.float64(0.5), np.int32(7)]}, protocol)
    if module == "numpy.core" and protocol < 4:
        # From protocol 4 on the names are length-prefixed and framed; the hand-made arrays above cover those.
        data = data.replace(b"cnumpy._core.", b"cnumpy.core.")
    result = loaded(data)
    assert result["plain"] == plain
    assert result["scalars"] == [0.5, 7]
    for name, expected in VALUES.items():
        found = result["arrays"][name]
        assert type(found) is np.ndarray
        assert found.dtype == expected.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found, expected)
        assert found.flags.writeable
        assert found.flags.c_contiguous


def test_the_hand_made_array_is_sound():
    """The damage in the corpus is what the error is about, not the frame around it."""
    np.testing.assert_array_equal(loaded(program(array(b"K\x01\x85", b"C\x04\x00\x00\x80?"))), [1.0])
    assert pickletools.optimize(SOUND)


def test_shared_parts_stay_shared():
    """A list that stands in two places is one list, as under the standard reader."""
    part = [1, (2,)]
    result = loaded(pickle.dumps([part, part]))
    assert result[0] is result[1]


def test_mutated_files_are_read_or_refused():
    """Whatever a bit flip, a cut or a splice makes of a sound file: plain data or a clear error, nothing else."""
    rng = np.random.default_rng(7)
    seeds = [SOUND, *(pickle.dumps({"arrays": VALUES, "x": [1, "가", None]}, protocol) for protocol in range(6))]
    refused = 0
    for _ in range(1000):
        data = bytearray(seeds[rng.integers(len(seeds))])
        place = int(rng.integers(len(data)))
        match rng.integers(3):
            case 0:
                data[place] ^= 1 << int(rng.integers(8))
            case 1:
                del data[place : place + int(rng.integers(1, 40))]
            case _:
                data[place:place] = data[int(rng.integers(len(data))) :][: int(rng.integers(1, 60))]
        try:
            loaded(bytes(data))
        except AnnotationError:
            refused += 1
    assert refused > 500


def test_a_file_of_nothing_but_empty_dicts_is_refused_early(tmp_path):
    """One byte each in the file: a megabyte of them took seconds and 250 MB."""
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x04](" + b"}" * 1_000_000 + b"e.")
    with pytest.raises(AnnotationError, match="more dicts and lists"):
        safe_load(path)


SMALL = {
    "none": b"N",
    "empty tuples": b")",
    "marks": b"(",
    "memo": b"\x94",
    "pushed and popped": b"N0",
    "small numbers": b"K\x01",
    "small texts": b"\x8c\x01a",
}
"""The smallest instructions, each of which takes as long as one that makes an array of a megabyte."""


@pytest.mark.parametrize("name", SMALL)
def test_a_file_of_nothing_but_small_instructions_is_refused_early(monkeypatch, name):
    """10 MB of them took a minute: each byte of a file pays for an eighth of an instruction."""
    monkeypatch.setattr("tasks.annotations.safe_pickle.FREE_INSTRUCTIONS", 1000)
    repeated = SMALL[name] * 10_000
    with pytest.raises(AnnotationError, match=rf"more than {1000 + (len(repeated) + 6) // 8} instructions"):
        loaded(b"\x80\x04N(" + repeated + b"e.")


def test_lists_of_numbers_are_read(monkeypatch):
    """Keypoints as lists and not as arrays: nine bytes each, enough for their instructions."""
    monkeypatch.setattr("tasks.annotations.safe_pickle.FREE_INSTRUCTIONS", 1000)
    value = {"keypoint": [[index / 3, index / 7] * 50 for index in range(200)], "label": None}
    for protocol in range(1, pickle.HIGHEST_PROTOCOL + 1):
        assert loaded(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_file_that_is_cut_short_or_empty_is_called_so(tmp_path, protocol):
    """At whatever byte the copy or the disk ended: the words say that the file was whole once."""
    whole = pickle.dumps({"split": {"train": ["a" * 300]}, "annotations": [1.5, 2**40, b"x" * 70_000]}, protocol)
    path = tmp_path / "a.pkl"
    for length in {1, 2, 3, 9, 11, 40, 400, 30_000, len(whole) - 1} - {len(whole)}:
        path.write_bytes(whole[:length])
        with pytest.raises(AnnotationError, match="is cut short"):
            safe_load(path)
    path.write_bytes(b"")
    with pytest.raises(AnnotationError, match="is empty"):
        safe_load(path)
