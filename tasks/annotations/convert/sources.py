"""What annotations are read from: a file of any known layout, an output root, or a folder of annotation files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tasks.annotations.convert.layouts import AnyAnnotations, read_any
from tasks.annotations.format import AnnotationError
from tasks.clips.output_names import ANNOTATION_POSTFIX, EARLIER_ANNOTATION_POSTFIX
from tasks.core.errors import FightposeError


@dataclass(slots=True)
class Source:
    """Annotations of one or more files.

    Attributes
    ----------
    data
        Split and annotations.
    problems
        What was left out or changed, a line each.
    """

    data: AnyAnnotations
    problems: list[str] = field(default_factory=list)


def read_source(path: Path, frame_dir: str | None = None, strict: bool = False) -> Source:
    """Read a file, an output root or a folder.

    Parameters
    ----------
    path
        Of a folder, the annotation files below it are read, and of an output root those of its clips, not its merged
        data set, in which clips that a review excluded are missing.
    frame_dir
        See `tasks.annotations.convert.layouts.read_any`; for a single file only.
    strict
        Refuse the whole if anything in it would be left out.

    Raises
    ------
    AnnotationError
        If nothing can be read, or, if `strict`, not everything.
    """
    if not path.is_dir():
        data = read_any(path, frame_dir, strict)
        if not data.annotations:
            raise AnnotationError(f"{path}: holds no annotations")
        return Source(data, [f"{path}: {problem}" for problem in data.problems])
    files = list(annotation_files(path))
    if not files:
        raise FightposeError(
            f"{path}: no annotation files (*{ANNOTATION_POSTFIX}.pkl) are in this folder; name a PKL or an output "
            "folder"
        )
    # File by file: one that cannot be read costs the others only if nothing may be left out.
    source = Source(AnyAnnotations({}, []))
    for file in files:
        try:
            _add(source, file, read_any(file, _earlier_name(file, path), strict))
        except AnnotationError as error:
            if strict:
                raise
            source.problems.append(str(error))
    if not source.data.annotations:
        # The first reason says more than that nothing could be read; files without a single annotation have none.
        raise AnnotationError([*source.problems, f"{files[0]}: holds no annotations"][0])
    return source


def annotation_files(folder: Path) -> Iterator[Path]:
    """Yield the annotation files below a folder; those in hidden folders are this program's own copies."""
    for postfix in (ANNOTATION_POSTFIX, EARLIER_ANNOTATION_POSTFIX):
        for path in sorted(folder.rglob(f"*{postfix}.pkl")):
            if not any(part.startswith(".") for part in path.relative_to(folder).parts):
                yield path


def identifiers_of(path: Path) -> list[str]:
    """Return the identifiers of the clips of a source; see `read_source`."""
    return [annotation["frame_dir"] for annotation in read_source(path).data.annotations]


def _add(source: Source, file: Path, data: AnyAnnotations) -> None:
    """Add the annotations of one file, except those whose identifier is taken."""
    taken = {annotation["frame_dir"] for annotation in source.data.annotations}
    source.problems += [f"{file}: {problem}" for problem in data.problems]
    for annotation in data.annotations:
        name = annotation["frame_dir"]
        # Which of the two is meant cannot be told; files come in a fixed order, so that the same one is kept each time.
        if name in taken:
            source.problems.append(f"{file}: left out: the identifier {name} is that of another file, too")
            continue
        taken.add(name)
        source.data.annotations.append(annotation)
        for split, members in data.split.items():
            if name in members:
                source.data.split.setdefault(split, []).append(name)


def _earlier_name(file: Path, folder: Path) -> str | None:
    """Return the identifier of an earlier file, which knows only its bare stem; None for one of ours."""
    if not file.stem.endswith(EARLIER_ANNOTATION_POSTFIX):
        return None
    return file.relative_to(folder).with_name(file.stem.removesuffix(EARLIER_ANNOTATION_POSTFIX)).as_posix()
