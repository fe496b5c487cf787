"""The few calls that an honest pickle of arrays makes, carried out without calling anything that the pickle names.

numpy writes an array as a call that makes an empty one, followed by its state (version, shape, dtype, memory order,
bytes); a dtype in the same way; a scalar as a call. Protocol 5 has a call that takes the bytes at once, and protocols 0
to 2 write bytes as encoded text. `find_form` recognises these calls by the names in the pickle and `Form.make` does
what they would have done.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

# numpy's own limit is 32 before version 2 and 64 since.
_MAX_DIMENSIONS = 32

_DTYPE = re.compile(r"[<>=|]?(b1|\?|[iu][1248]|f[248])")


class RefusedError(Exception):
    """What is wrong with a pickle, without the name of the file."""


@dataclass(frozen=True, slots=True)
class Form:
    """A name that honest pickles use, and what a call of it does here."""

    name: str
    make: Callable[..., Any]


class Box:
    """An array or dtype under construction.

    Pickle makes an empty one, lets others refer to it and fills it later, so they need an object that stays.
    """

    def __init__(self, value: np.ndarray | np.dtype | None) -> None:
        self.value = value


@dataclass(frozen=True, slots=True)
class Skipped:
    """So many bytes of a file that were not read."""

    count: int

    def __len__(self) -> int:
        return self.count


class ByteBudget:
    """The bytes that may still be made: all that the file holds, once.

    A memoised buffer of 10 MB to which a thousand arrays refer would otherwise become 10 GB.
    """

    def __init__(self, size: int) -> None:
        self._left = size
        # Old protocols write an array's bytes as text, so that they are made twice: from the text, then as the array.
        # The text is in the file, too, and has at most its size; counted together, noise would not fit.
        self._text_left = size

    def spend_text(self, count: int) -> None:
        """Account for bytes about to be made from text."""
        self._text_left -= count
        if self._text_left < 0:
            raise RefusedError("uses the same text for several arrays, as only a decompression bomb does")

    def spend(self, count: int) -> None:
        """Account for bytes about to be made."""
        self._left -= count
        if self._left < 0:
            raise RefusedError("uses the same bytes for several arrays, as only a decompression bomb does")


def find_form(module: Any, name: Any) -> Form | None:
    """Return what a name of a pickle means here, None for every name that honest pickles of arrays do not use."""
    return _FORMS.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None


def fill(budget: ByteBudget, box: Box, state: tuple[Any, ...]) -> None:
    """Give an array or a dtype that was made empty its state."""
    if isinstance(box.value, np.dtype):
        # (version, order, subdtype, names, fields, itemsize, alignment, flags)
        if len(state) < 5 or state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise RefusedError("holds an array of a structured dtype; only numbers and booleans are read")
        box.value = box.value.newbyteorder(state[1])
    elif box.value is None and len(state) == 5:
        _, shape, dtype, fortran, raw = state
        box.value = _array(budget, raw, dtype, shape, fortran=bool(fortran))
    else:
        raise RefusedError("sets the state of an array twice, or not as numpy does")


def _array(budget: ByteBudget, raw: Any, dtype: Any, shape: Any, *, fortran: bool) -> np.ndarray:
    """Make an array of bytes of the file.

    Every claim is checked against the bytes at hand before anything of that size is made.
    """
    if type(raw) is str:
        # Python 2 wrote bytes as text of the same code points.
        raw = raw.encode("latin-1")
    if (
        type(dtype) is not Box
        or not isinstance(dtype.value, np.dtype)
        or not isinstance(raw, bytes | bytearray | Skipped)
    ):
        raise RefusedError("holds an array that is not numeric")
    dimensions = shape if type(shape) is tuple else (shape,)
    # Two negative sizes would have a product that fits the bytes.
    if len(dimensions) > _MAX_DIMENSIONS or not all(type(size) is int and size >= 0 for size in dimensions):
        raise RefusedError("holds an array of an impossible shape")
    if math.prod(dimensions) * dtype.value.itemsize != len(raw):
        raise RefusedError(f"holds an array whose shape {dimensions} does not go with its {len(raw)} bytes")
    budget.spend(len(raw))
    if isinstance(raw, Skipped):
        # One zero that stands for all values: it takes no memory, and numpy refuses to write to it.
        return np.broadcast_to(np.zeros((), dtype.value.newbyteorder("=")), dimensions)
    # Bytes other than 0 and 1 in a boolean array are undefined behaviour in numpy.
    flat = np.frombuffer(raw, np.uint8) != 0 if dtype.value.kind == "b" else np.frombuffer(raw, dtype.value)
    # The copy makes it writable, contiguous and of native byte order.
    shaped = flat.reshape(dimensions, order="F" if fortran else "C")
    return np.array(shaped, dtype=flat.dtype.newbyteorder("="), order="C")


def _new_array(_: ByteBudget, *arguments: Any) -> Box:
    """Carry out `_reconstruct(ndarray, (0,), b"b")` and `ndarray((0,), "b")`: an empty array, filled by its state."""
    shape, kind = arguments[-2:]
    # `_reconstruct` names a class first, and a subclass would be code of somebody else.
    if len(arguments) == 3 and arguments[0] is not _NDARRAY:
        raise RefusedError("makes an array of another class than numpy.ndarray")
    # numpy starts with an empty array each time; another shape would claim memory without bytes for it.
    if shape != (0,) or kind not in ("b", b"b"):
        raise RefusedError("makes an array before it gives the array's bytes")
    return Box(None)


def _new_dtype(_: ByteBudget, spec: Any, *__: Any) -> Box:
    """Carry out `dtype("f4", False, True)`."""
    if type(spec) is bytes:
        spec = spec.decode("latin-1")
    # Neither dtypes of objects nor structured ones match.
    if type(spec) is not str or not _DTYPE.fullmatch(spec):
        raise RefusedError("holds an array that is not of numbers or booleans")
    return Box(np.dtype(spec))


def _scalar(budget: ByteBudget, dtype: Any, raw: Any) -> Any:
    """Carry out `scalar(dtype, bytes)`: a Python number."""
    return _array(budget, raw, dtype, (), fortran=False).item()


def _from_buffer(budget: ByteBudget, raw: Any, dtype: Any, shape: Any, order: Any) -> Box:
    """Carry out `_frombuffer(buffer, dtype, shape, order)`."""
    if order not in ("C", "F"):
        raise RefusedError("holds an array of an unknown memory order")
    return Box(_array(budget, raw, dtype, shape, fortran=order == "F"))


def _encode(budget: ByteBudget, text: Any, encoding: Any) -> bytes:
    """Carry out `_codecs.encode(text, "latin1")`, by which the old protocols write bytes."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise RefusedError("encodes text otherwise than old pickles do")
    budget.spend_text(len(text))
    return text.encode("latin-1")


def _no_bytes(_: ByteBudget) -> bytes:
    """Carry out `bytes()`, by which the old protocols write no bytes at all."""
    return b""


_NDARRAY = Form("ndarray", _new_array)

# numpy 1.x keeps its private names in numpy.core, numpy 2.x in numpy._core.
_FORMS = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): Form("dtype", _new_dtype),
    **{(f"{core}.multiarray", "_reconstruct"): Form("array", _new_array) for core in ("numpy.core", "numpy._core")},
    **{(f"{core}.multiarray", "scalar"): Form("scalar", _scalar) for core in ("numpy.core", "numpy._core")},
    **{(f"{core}.numeric", "_frombuffer"): Form("buffer", _from_buffer) for core in ("numpy.core", "numpy._core")},
    ("_codecs", "encode"): Form("encode", _encode),
    ("builtins", "bytes"): Form("bytes", _no_bytes),
    ("__builtin__", "bytes"): Form("bytes", _no_bytes),
}
