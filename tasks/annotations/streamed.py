"""Writing a file of annotations one by one, so that memory does not hold them all.

A pickle is a row of instructions for a stack machine (PEP 3154, the tables of the standard module `pickletools`), so
that the list of annotations can be written as they come. Each is pickled for itself, without references to what came
before it; readers see the file that `write_annotation` writes. A label that is known only when all windows of a video
are may be given later (`Draft`).
"""

from __future__ import annotations

import io
import pickle
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tasks.annotations.format import Annotation, AnnotationError, ArrayPickler
from tasks.core.storage import atomic_path


@dataclass(frozen=True, slots=True)
class Draft:
    """An annotation without its label, as bytes.

    Attributes
    ----------
    frame_dir
        Its identifier.
    people
        How many it holds.
    instructions
        Those that make it.
    """

    frame_dir: str
    people: int
    instructions: bytes


def draft_of(annotation: Annotation) -> Draft:
    """Return an annotation without its label, as bytes."""
    rest = {key: value for key, value in annotation.items() if key != "label"}
    return Draft(annotation["frame_dir"], len(annotation["keypoint"]), _instructions(rest))


class AnnotationStream:
    """A file that annotations are added to; made by `stream_annotations`.

    Attributes
    ----------
    labels, people
        Number of annotations of each label, and with so many people.
    folder
        Where the file is being written: there is room for what has to wait on disk, too.
    """

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.labels: Counter[int] = Counter()
        self.people: Counter[int] = Counter()
        self.folder = path.parent
        self._path, self._stream, self._names = path, stream, set[str]()
        # A dict whose first key is the list; its items follow one by one.
        stream.write(pickle.PROTO + bytes([4]) + pickle.EMPTY_DICT + pickle.MARK)
        stream.write(_instructions("annotations") + pickle.EMPTY_LIST)

    def add(self, draft: Draft, label: int) -> None:
        """Write one annotation.

        Raises
        ------
        AnnotationError
            If its identifier was written before.
        """
        if draft.frame_dir in self._names:
            raise AnnotationError(f"{self._path}: the identifier {draft.frame_dir} stands twice; nothing was written")
        self._names.add(draft.frame_dir)
        self.labels[label] += 1
        self.people[draft.people] += 1
        # The dict is on top of the stack: it gets one key more, and is then appended to the list below it.
        self._stream.write(draft.instructions + _instructions("label") + _instructions(label))
        self._stream.write(pickle.SETITEM + pickle.APPEND)

    def finish(self, split: Mapping[str, list[str]], classes: Mapping[str, int] | None) -> None:
        """Write what belongs to the file as a whole, see `write_annotation`."""
        self._stream.write(_instructions("split") + _instructions(dict(split)))
        if classes:
            self._stream.write(_instructions("classes") + _instructions(dict(classes)))
        self._stream.write(pickle.SETITEMS + pickle.STOP)


@contextmanager
def stream_annotations(path: Path) -> Iterator[AnnotationStream]:
    """Give a file to add annotations to, which appears under its name when the block ends without an error.

    `AnnotationStream.finish` has to be called at the end of the block.
    """
    with atomic_path(path) as partial, partial.open("wb") as stream:
        yield AnnotationStream(path, stream)


def _instructions(value: Any) -> bytes:
    """Return the instructions that put a value on the stack."""
    stream = io.BytesIO()
    # The last protocol without frames, whose lengths would have to be corrected when parts are joined.
    pickler = ArrayPickler(stream, protocol=3)
    # No references to earlier parts: each is whole in itself, wherever it is put.
    pickler.fast = True
    pickler.dump(value)
    # Without the header (two bytes) and the instruction to stop.
    return stream.getvalue()[2:-1]
