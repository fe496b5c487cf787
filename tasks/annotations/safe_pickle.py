"""Reading pickles that may come from anyone, without running anything that is in them.

A pickle is a program for a stack machine, and the standard one can call whatever is importable. The machine here knows
only the instructions that make plain data: numbers, text, lists, tuples and dicts. The instruction that calls something
(REDUCE) is matched against the few forms in which numpy writes its arrays, dtypes and scalars, under the module names
of numpy 1.x and 2.x, and carried out by code of this module. Nothing is imported and nothing else exists to be called.

Memory stays near the size of the file: an array is made only from bytes that the file holds, every byte of the file
backs at most one byte of array, and the numbers of instructions, of nested levels and of nodes (shared parts counted as
often as they appear) are bounded.

Source of the instruction set: PEP 307, PEP 3154 and the tables of the standard module `pickletools`.
"""

from __future__ import annotations

import os
import pickle
import pickletools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tasks.annotations.pickle_finish import finished
from tasks.annotations.pickle_forms import Box, ByteBudget, Form, RefusedError, Skipped, fill, find_form
from tasks.core.errors import FightposeError

MAX_FILE_BYTES = 16 << 30
"""A four-person annotation of a ten-hour clip takes about 1 GiB; a merged data set of 10,000 short clips less."""

FREE_INSTRUCTIONS = 1_000_000
"""What any file may have: a second or two of work, and some 60 MB of small objects."""

BYTES_PER_INSTRUCTION = 8
"""What a file must have for each instruction beyond the free ones.

Annotations of eight frames have 11 bytes for each instruction, those of ordinary clips 50 and more; a list of floats
has nine. A file of nothing but small instructions would take minutes."""

FREE_CONTAINERS = 20_000
"""Dicts and lists that any file may have; one annotation has about 20."""

BYTES_PER_CONTAINER = 64
"""What a file must have for each dict or list beyond the free ones; the smallest annotation has 250.

An empty dict is one byte in a pickle, 64 in memory, and some microseconds of work."""


class AnnotationError(FightposeError):
    """An annotation file that cannot be read, or data that cannot be written as one."""


SMALL_BYTES = 1 << 16
"""Arrays of up to this size are read where large ones are left out: settings, ranks and scores of a clip."""


def safe_load(path: Path, *, large_arrays: bool = True) -> Any:
    """Read a pickle of plain data and numeric arrays.

    Parameters
    ----------
    path
        The file.
    large_arrays
        Whether to read arrays of more than `SMALL_BYTES`. If not, they have their shape and type, but hold zeros and
        take no memory.

    Returns
    -------
    Any
        Built from dict, list, tuple, str, bytes, int, float, bool, None and numeric or boolean `numpy.ndarray` (in
        native byte order, writable); numpy scalars become Python numbers.

    Raises
    ------
    AnnotationError
        If the file cannot be read, is no complete pickle, or holds anything else.
    """
    try:
        with path.open("rb") as stream:
            return _load(stream, os.fstat(stream.fileno()).st_size, _STEPS if large_arrays else _SKIPPING_STEPS)
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read: {error.strerror or error}") from error
    except RefusedError as error:
        raise AnnotationError(
            f"{path}: {error}; annotate the clip again or take the file from a trusted source"
        ) from error


class _Bounded:
    """A stream that never asks for more than there is.

    `pickletools` asks for as many bytes as an instruction claims to carry, and a buffered file makes room for all of
    them before it reads the first.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size = stream, size
        self.tell, self.readline = stream.tell, stream.readline

    def read(self, count: int) -> bytes:
        """Return at most `count` bytes."""
        # Most reads are smaller than this, and asking for the position costs more than they do.
        if count > 64:
            count = min(count, self._size - self._stream.tell())
        return self._stream.read(count)

    def read_or_skip(self, count: int) -> bytes | Skipped:
        """Return the next bytes if they are few, else leave them out."""
        left = self._size - self._stream.tell()
        if count > left:
            # To the end: there is no more to come, which is how a file that is cut short is told.
            self._stream.seek(left, os.SEEK_CUR)
            raise ValueError("not enough bytes")
        if count <= SMALL_BYTES:
            return self._stream.read(count)
        self._stream.seek(count, os.SEEK_CUR)
        return Skipped(count)


def _load(stream: BinaryIO, size: int, steps: Mapping[bytes, Any]) -> Any:
    """Run the machine over a stream and return what it made."""
    if size > MAX_FILE_BYTES:
        raise RefusedError(f"{size} bytes are more than an annotation file can have")
    if not size:
        raise RefusedError("is empty")
    machine = _Machine(size)
    try:
        _run(machine, stream, size, steps)
        rest = size - stream.tell()
    except RefusedError:
        raise
    except (ValueError, LookupError, TypeError, OverflowError, MemoryError, RecursionError, Warning) as error:
        # What a broken file makes pickletools or the machine stumble over: a short stack, no argument, bad UTF-8;
        # a warning only where the interpreter was told to make errors of them.
        if stream.tell() >= size:
            raise RefusedError("is cut short") from error
        raise RefusedError(
            f"not a complete pickle ({type(error).__name__}: {' '.join(str(error)[:120].split())})"
        ) from error
    if rest:
        raise RefusedError(f"{rest} bytes follow the end of the pickle")
    if len(machine.stack) != 1:
        raise RefusedError("not a complete pickle (more than one value is left)")
    return finished(machine.stack[0], machine.limit)


def _run(machine: _Machine, stream: BinaryIO, size: int, steps: Mapping[bytes, Any]) -> None:
    """Carry out the instructions of a stream up to its STOP.

    A loop of our own over the tables of `pickletools`: its `genops` asks for the position before every instruction,
    which took most of the time of files with millions of them.
    """
    bounded, read, push = _Bounded(stream, size), stream.read, machine.stack.append
    for _ in range(machine.limit):
        code = read(1)
        step = steps.get(code)
        if step is None:
            raise RefusedError(f"holds {_name(code)}, which plain data and arrays do not need")
        name, small, reader, action = step
        # What carries at most 255 bytes cannot claim more than there is room for.
        argument = None if reader is None else reader(stream if small else bounded)
        if action is not None:
            action(machine, argument)
        elif type(argument) is int and not -(2**63) <= argument < 2**64:
            raise RefusedError("holds a number of more than 64 bits")
        else:
            push(argument)
        if name == "STOP":
            return
    raise RefusedError(f"more than {machine.limit} instructions, which take too long to read")


def _name(code: bytes) -> str:
    """Return how a message calls an instruction that is not carried out."""
    if not code:
        raise ValueError("pickle exhausted before seeing STOP")
    known = _OPCODES.get(code)
    return f"the instruction {known.name}" if known else f"an unknown instruction {code!r}"


class _Machine:
    """The stack machine: one instruction at a time, for plain data and numpy's arrays only."""

    def __init__(self, size: int) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.limit = FREE_INSTRUCTIONS + size // BYTES_PER_INSTRUCTION
        self.containers_left = FREE_CONTAINERS + size // BYTES_PER_CONTAINER
        self.size = size
        self.budget = ByteBudget(size)

    def push_container(self, container: dict[Any, Any] | list[Any]) -> None:
        """Push a fresh dict or list.

        Counted as they are made and not at the end: by then the memory would be spent.
        """
        self.containers_left -= 1
        if self.containers_left < 0:
            raise RefusedError("more dicts and lists than an annotation file of its size has")
        self.stack.append(container)

    def claim(self, possible: bool, why: str = "claims a protocol that does not exist") -> None:
        """Refuse a header that cannot be true."""
        if not possible:
            raise RefusedError(why)

    def popped_to_mark(self) -> list[Any]:
        """Take everything above the last mark from the stack."""
        # Without a mark this is an IndexError, which `_load` reports as an incomplete pickle.
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def memoize(self, index: int | None) -> None:
        """Keep the top of the stack under a number, by default the next one."""
        # MEMOIZE counts by itself (PEP 3154); the older instructions carry a number.
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def find_global(self, module: Any, name: Any) -> None:
        """Push what is used here in place of one of numpy's names."""
        form = find_form(module, name)
        if form is None:
            # Only text is shown: the text form of shared nested lists can be larger than any memory.
            shown = ".".join(part[:80] if isinstance(part, str) else "?" for part in (module, name))
            raise RefusedError(f"refers to {shown}, which is neither an array nor plain data")
        self.stack.append(form)

    def append(self, items: list[Any]) -> None:
        """Extend the list on top of the stack."""
        target = self.stack[-1]
        if type(target) is not list:
            raise RefusedError("appends to something that is no list")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        """Add keys and values, in turns, to the dict on top of the stack."""
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise RefusedError("sets items of something that is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Text and small numbers only: a deeply nested tuple overflows the interpreter's stack when it is hashed,
            # and large integers can be chosen so that all hashes are the same.
            if not (type(key) is str or (type(key) is int and -(2**31) <= key < 2**31)):
                raise RefusedError(f"has a dict key of the type {type(key).__name__}")
            target[key] = value

    def reduce(self) -> None:
        """Carry out one of the known forms of a call."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not Form or type(arguments) is not tuple:
            raise RefusedError("calls something that is not one of numpy's constructors")
        self.stack.append(function.make(self.budget, *arguments))

    def build(self) -> None:
        """Fill an array or a dtype that was made empty."""
        state, box = self.stack.pop(), self.stack[-1]
        if type(box) is not Box or type(state) is not tuple:
            raise RefusedError("sets the state of something that is no array")
        fill(self.budget, box, state)


_LITERALS = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
})  # fmt: skip
"""Instructions whose argument is the value that they push."""


def _push(make: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    """Return an action that pushes a fresh value."""
    return lambda machine, _: machine.stack.append(make())


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    """Return an action that makes a tuple of the last few values."""

    def act(machine: _Machine, _: Any) -> None:
        """Replace the values on top of the stack by their tuple."""
        # A slice of a short stack would give a shorter tuple without an error.
        if len(machine.stack) < count:
            raise RefusedError("not a complete pickle (the stack is empty)")
        machine.stack[-count:] = [tuple(machine.stack[-count:])]

    return act


def _dict_from_mark(machine: _Machine, _: Any) -> None:
    """Make a dict of all above the mark (protocol 0)."""
    items = machine.popped_to_mark()
    machine.push_container({})
    machine.set_items(items)


def _set_item(machine: _Machine, _: Any) -> None:
    """Set one item."""
    # The value was pushed last.
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.set_items([key, value])


def _stack_global(machine: _Machine, _: Any) -> None:
    """Look up a name whose parts are on the stack."""
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.find_global(module, name)


_ACTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    # Protocol and frames only help readers that read ahead; what they claim must still be possible.
    "PROTO": lambda machine, protocol: machine.claim(protocol <= pickle.HIGHEST_PROTOCOL),
    "FRAME": lambda machine, length: machine.claim(length <= machine.size, "is cut short"),
    "STOP": lambda machine, _: None,
    "NONE": _push(lambda: None),
    "NEWTRUE": _push(lambda: True),
    "NEWFALSE": _push(lambda: False),
    "EMPTY_DICT": lambda machine, _: machine.push_container({}),
    "EMPTY_LIST": lambda machine, _: machine.push_container([]),
    "EMPTY_TUPLE": _push(tuple),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "POP": lambda machine, _: machine.stack.pop(),
    "POP_MARK": lambda machine, _: machine.popped_to_mark(),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.popped_to_mark())),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "LIST": lambda machine, _: machine.push_container(machine.popped_to_mark()),
    "DICT": _dict_from_mark,
    "APPEND": lambda machine, _: machine.append([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.popped_to_mark()),
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.popped_to_mark()),
    "MEMOIZE": lambda machine, _: machine.memoize(None),
    "PUT": lambda machine, index: machine.memoize(index),
    "BINPUT": lambda machine, index: machine.memoize(index),
    "LONG_BINPUT": lambda machine, index: machine.memoize(index),
    "GET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "GLOBAL": lambda machine, names: machine.find_global(*names.split(" ", 1)),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
}

_OPCODES = {op.code.encode("latin-1"): op for op in pickletools.opcodes}
"""What the standard module knows of each instruction, by its byte."""

_STEPS = {
    code: (
        op.name,
        op.arg is None or op.arg.n >= 0 or op.arg.n == pickletools.TAKEN_FROM_ARGUMENT1,
        op.arg.reader if op.arg else None,
        None if op.name in _LITERALS else _ACTIONS[op.name],
    )
    for code, op in _OPCODES.items()
    if op.name in _LITERALS or op.name in _ACTIONS
}
"""By the instruction's byte: its name, whether it carries at most 255 bytes, what reads its argument, and what it does
(nothing: it pushes its argument)."""


def _skipping(width: int) -> Callable[[_Bounded], bytes | Skipped]:
    """Return a reader of an instruction that carries bytes after their number, which takes `width` bytes."""

    def read(stream: _Bounded) -> bytes | Skipped:
        """Read the number, and the bytes if they are few."""
        number = stream.read(width)
        # A number that is cut short would be taken for a smaller one.
        if len(number) < width:
            raise ValueError("not enough bytes")
        return stream.read_or_skip(int.from_bytes(number, "little"))

    return read


_SKIPPING_STEPS = _STEPS | {
    pickle.BINBYTES: ("BINBYTES", False, _skipping(4), None),
    pickle.BINBYTES8: ("BINBYTES8", False, _skipping(8), None),
}
"""The same without the bytes of large arrays."""
