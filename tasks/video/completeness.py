"""Whether a file was cut short: bytes of the video are missing at its end.

A clip that lost its tail still decodes in part, and would pass silently for a shorter clip. But many complete files
carry sizes that are not true: cameras append atoms with wrong lengths, tools append text, recorders state a RIFF size
that is a few bytes off. So only what holds the video counts: the atoms mdat, moov and moof of an ISO file (mp4, mov),
and the movi list of an AVI. Where such a part reaches beyond the end of the file, its content decides: the samples that
the index names, or the chunks of the list.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

ODD_BYTES = 16
"""A list that claims at most this much beyond the end of the file lacks no frame: two chunk headers hold no picture."""

_ISO_STARTS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"styp", b"sidx", b"pnot", b"uuid")


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What the sizes in a file say about its end.

    Attributes
    ----------
    size
        Bytes that are there.
    expected
        Bytes that the part that reaches furthest claims.
    missing
        Whether bytes of the video are among those that are not there; else the sizes are odd and the video is whole.
    what
        The part concerned, for messages.
    """

    size: int
    expected: int
    missing: bool
    what: str


def shortfall(path: Path, end_of_samples: Callable[[], int | None]) -> Shortfall | None:
    """Return what is odd about the end of an AVI or ISO file, None where nothing is or the container is another.

    Parameters
    ----------
    path
        The file.
    end_of_samples
        Called at most once: where the last sample of the video ends by the file's index, in bytes; None if unknown.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        head = stream.read(12)
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            return _avi_shortfall(stream, size)
        if head[4:8] in _ISO_STARTS:
            return _iso_shortfall(stream, size, end_of_samples)
    return None


class _Part(NamedTuple):
    """An atom or chunk: its type, where its content begins, and where it should end."""

    kind: bytes
    start: int
    end: int


def _iso_shortfall(stream: BinaryIO, size: int, end_of_samples: Callable[[], int | None]) -> Shortfall | None:
    """Look for atoms of the video that reach beyond the end of an ISO file."""
    kinds = set()
    overlong: _Part | None = None
    for atom in _atoms(stream, 0, size):
        kinds.add(atom.kind)
        if atom.end > size:
            overlong = atom
    if b"mdat" in kinds and not kinds & {b"moov", b"moof"}:
        # Recorders write the index last: without it nothing can be decoded.
        return Shortfall(size, max(size, overlong.end if overlong else 0), True, "its index (moov) is not there")
    if overlong is None:
        return None
    missing = False
    if overlong.kind == b"mdat":
        # Fragments have no list of all samples: there the atom's own length is all there is to go by.
        end = None if b"moof" in kinds else end_of_samples()
        missing = end is None or end > size
    elif overlong.kind in (b"moov", b"moof"):
        # Where all its tracks are there, only lengths are wrong, or tags are cut.
        tracks = [part for part in _atoms(stream, overlong.start, size) if part.kind in (b"trak", b"traf")]
        missing = not tracks or tracks[-1].end > size
    what = f"its last atom ({overlong.kind.decode('latin-1')}) reaches beyond the end of the file"
    return Shortfall(size, overlong.end, missing, what)


def _atoms(stream: BinaryIO, start: int, end: int) -> Iterator[_Part]:
    """Yield the atoms between two places of a file; the last one may reach beyond. Stops at what is no atom."""
    position = start
    while position + 8 <= end:
        stream.seek(position)
        header = stream.read(16)
        length, kind, used = int.from_bytes(header[:4], "big"), header[4:8], 8
        if length == 1:  # a 64-bit length follows the type
            length, used = int.from_bytes(header[8:16], "big"), 16
        if length == 0:  # the atom reaches to the end of the file
            length = end - position
        # Not an atom: trailing bytes of another tool, which say nothing about the video.
        if length < used or not all(32 <= byte < 127 or byte == 0xA9 for byte in kind):
            return
        yield _Part(kind, position + used, position + length)
        position += length


def _avi_shortfall(stream: BinaryIO, size: int) -> Shortfall | None:
    """Look for chunks of the movi lists that are not there; OpenDML files have several RIFF parts."""
    odd: Shortfall | None = None
    for riff in _chunks(stream, 0, size):
        if riff.kind != b"RIFF":
            break
        if riff.end > size:
            odd = Shortfall(size, riff.end, False, "its RIFF size is larger than the file")
        # The type of the list (AVI, AVIX) comes first.
        for part in _chunks(stream, riff.start + 4, min(riff.end, size)):
            if part.kind == b"LIST" and part.end > size and _list_type(stream, part) == b"movi":
                missing = part.end - size > ODD_BYTES or _last_chunk_is_cut(stream, part, size)
                return Shortfall(size, part.end, missing, "its list of frames (movi) is longer than the file")
    return odd


def _list_type(stream: BinaryIO, part: _Part) -> bytes:
    """Return the type of a list: the first four bytes of its content."""
    stream.seek(part.start)
    return stream.read(4)


def _last_chunk_is_cut(stream: BinaryIO, movi: _Part, size: int) -> bool:
    """Tell whether the last chunk of a list reaches beyond the end of the file."""
    last = None
    for chunk in _chunks(stream, movi.start + 4, size):
        last = chunk
    return last is None or last.end > size


def _chunks(stream: BinaryIO, start: int, end: int) -> Iterator[_Part]:
    """Yield the chunks between two places of a RIFF file; the last one may reach beyond."""
    position = start
    while position + 8 <= end:
        stream.seek(position)
        header = stream.read(8)
        length = int.from_bytes(header[4:], "little")
        if length in (0, 0xFFFFFFFF) and header[:4] in (b"RIFF", b"LIST"):
            # Recorders that stream leave 0 or the maximum here: the part reaches to the end.
            length = end - position - 8
        yield _Part(header[:4], position + 8, position + 8 + length)
        # Chunks begin at even places.
        position += 8 + length + length % 2
