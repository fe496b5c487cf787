"""Annotations converted into another layout, or into a file for each clip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name

from tasks.annotations.convert.formats import FORMATS, Format, Layout, file_of
from tasks.annotations.convert.sources import Source, read_source
from tasks.annotations.convert.windows import (
    WindowLabel,
    WindowReport,
    cut_windows,
    label_by_involvement,
    report_of,
    starts_of,
)
from tasks.annotations.format import Annotation, write_annotation
from tasks.core.errors import FightposeError


@dataclass(frozen=True, slots=True)
class Converted:
    """What a conversion wrote.

    Attributes
    ----------
    files
        In the order of the clips.
    problems
        What was left out or changed, a line each.
    annotations
        What was converted, in the same order.
    """

    files: list[Path]
    problems: list[str]
    annotations: list[Annotation]


def convert_file(
    source: Path, destination: Path, layout: Layout, frame_dir: str | None = None, strict: bool = False
) -> Converted:
    """Convert annotations of any known layout.

    Parameters
    ----------
    source
        A file, an output root or a folder of annotations; see `tasks.annotations.convert.sources`.
    destination
        A file for the layouts that hold many clips. For all others a folder, below which each clip has a file named by
        its identifier; a file with the layout's ending is taken, too, if there is one clip.
    layout
        What to convert to.
    frame_dir
        Identifier for an earlier file, which knows only its bare stem.
    strict
        Refuse the whole source for one annotation that cannot be converted.

    Raises
    ------
    AnnotationError
        If the source cannot be read.
    FightposeError
        If the destination does not fit the layout, a package is missing, or a file cannot be written.
    """
    form = FORMATS[layout]
    # A missing package or a wrong destination has to show before a large source is read.
    form.require()
    _require_place(destination, layout, form)
    read = read_source(source, frame_dir, strict)
    try:
        if form.whole:
            convert = form.function()
            write_annotation(destination, [convert(one) for one in read.data.annotations], read.data.split)
            return Converted([destination], read.problems, read.data.annotations)
        return Converted(_write_each(read, destination, layout, form), read.problems, read.data.annotations)
    except OSError as error:
        raise FightposeError(f"cannot write {destination}: {error.strerror or error}") from error


def window_file(
    source: Path,
    destination: Path,
    window: int,
    stride: int,
    label_of: WindowLabel | None = None,
    threshold: float = 0.5,
) -> WindowReport:
    """Cut every clip of an annotation file into windows and write those as one file.

    Parameters
    ----------
    source, destination
        Annotation files; the source may have any known layout.
    window, stride, label_of
        See `tasks.annotations.convert.windows.cut_windows`; labels are by involvement unless said otherwise. The
        windows of a clip are in the splits that the clip is in.
    threshold
        See `tasks.annotations.convert.windows.label_by_involvement`.
    """
    read = read_source(source)
    rule = label_of or label_by_involvement(threshold)
    windows = {clip["frame_dir"]: cut_windows(clip, window, stride, rule) for clip in read.data.annotations}
    # Windows follow their clip, so that overlapping ones are never on both sides of a split.
    split = {
        name: [part["frame_dir"] for member in members for part in windows.get(member, [])]
        for name, members in read.data.split.items()
    }
    parts = [part for parts in windows.values() for part in parts]
    write_annotation(destination, parts, split)
    # Windows that the clips have room for; those that were not written had nobody in them.
    whole = sum(len(starts_of(clip["total_frames"], window, stride)) for clip in read.data.annotations)
    return report_of(destination, parts, whole - len(parts), 0, read.problems)


def _require_place(destination: Path, layout: Layout, form: Format) -> None:
    """Refuse a destination of the wrong kind, before anything is read.

    Raises
    ------
    FightposeError
        If a file is needed and a folder is there, or the other way round, or a folder would be named like a file.
    """
    if form.whole and destination.is_dir():
        raise FightposeError(
            f"{destination} is a folder; {layout} writes one file: name it, such as {destination / 'all.pkl'}"
        )
    # A folder that is there is taken as one, even if its name ends like a file.
    if form.whole or destination.is_dir() or destination.suffix == form.ending:
        return
    if destination.exists():
        raise FightposeError(f"cannot write below {destination}: it is a file; {layout} writes a file for each clip")
    if destination.suffix.lower() in {other.ending for other in FORMATS.values()}:
        raise FightposeError(
            f"{destination}: {layout} writes {form.ending} files, one for each clip; name a folder, or for one clip a "
            f"file that ends in {form.ending}"
        )


def _write_each(read: Source, destination: Path, layout: Layout, form: Format) -> list[Path]:
    """Write a file for each clip, and return them."""
    annotations = read.data.annotations
    as_file = destination.suffix == form.ending and not destination.is_dir()
    if as_file and len(annotations) > 1:
        raise FightposeError(
            f"{destination}: {layout} writes a file for each clip, and there are {len(annotations)}; name a folder"
        )
    write = form.function()
    # Identifiers hold slashes, so that the clips of one folder end up in one folder here, too.
    paths = [destination if as_file else file_of(destination, one["frame_dir"], form) for one in annotations]
    for path, annotation in zip(paths, annotations, strict=True):
        write(path, annotation)
    # What all clips need once, such as CVAT's label definition.
    if form.beside:
        resolve_name(form.beside)(destination.parent if as_file else destination)
    return paths
