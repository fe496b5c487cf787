"""One annotation file converted into another layout, or into a file for each of its clips."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from tasks.annotations.convert.layouts import read_any, to_persons, to_pyskl
from tasks.annotations.convert.reviewers import coco_json, cvat_xml
from tasks.annotations.convert.tables import mot_text, write_csv, write_parquet
from tasks.annotations.convert.windows import WindowLabel, cut_windows, label_by_involvement
from tasks.annotations.format import Annotation, write_annotation
from tasks.core.errors import FightposeError
from tasks.core.storage import atomic_path, write_text


class Layout(StrEnum):
    """What an annotation file can be converted to."""

    STGCN = "stgcn"
    PYSKL = "pyskl"
    PYSKL_HALF = "pyskl-float16"
    PERSONS = "persons"
    CSV = "csv"
    PARQUET = "parquet"
    MOT = "mot"
    COCO = "coco"
    CVAT = "cvat"


def convert_file(source: Path, destination: Path, layout: Layout, frame_dir: str | None = None) -> list[Path]:
    """Convert an annotation file of any known layout.

    Parameters
    ----------
    source
        See `tasks.annotations.convert.layouts.read_any`.
    destination
        A file for `stgcn` and `pyskl`, which hold many clips; for all others a folder, below which each clip has a
        file named by its identifier.
    layout
        What to convert to.
    frame_dir
        Identifier for an earlier file, which knows only its bare stem.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    AnnotationError
        If the source cannot be read.
    FightposeError
        If a file cannot be written.
    """
    data = read_any(source, frame_dir)
    try:
        if layout in _WHOLE:
            annotations = [_WHOLE[layout](annotation) for annotation in data["annotations"]]
            write_annotation(destination, annotations, data["split"])
            return [destination]
        ending, write = _SINGLE[layout]
        paths = [destination / f"{annotation['frame_dir']}{ending}" for annotation in data["annotations"]]
        for path, annotation in zip(paths, data["annotations"], strict=True):
            write(path, annotation)
    except OSError as error:
        raise FightposeError(f"cannot write below {destination}: {error.strerror or error}") from error
    return paths


def window_file(source: Path, destination: Path, window: int, stride: int, label_of: WindowLabel | None = None) -> Path:
    """Cut every clip of an annotation file into windows and write those as one file.

    Parameters
    ----------
    source, destination
        Annotation files; the source may have any known layout.
    window, stride, label_of
        See `tasks.annotations.convert.windows.cut_windows`; labels are by involvement unless said otherwise. The
        windows of a clip stand in the splits that the clip stands in.
    """
    data = read_any(source)
    rule = label_of or label_by_involvement()
    windows = {clip["frame_dir"]: cut_windows(clip, window, stride, rule) for clip in data["annotations"]}
    split = {
        name: [part["frame_dir"] for member in members for part in windows.get(member, [])]
        for name, members in data["split"].items()
    }
    write_annotation(destination, [part for parts in windows.values() for part in parts], split)
    return destination


def _write_persons(path: Path, annotation: Annotation) -> None:
    """Write one clip in the earlier scripts' layout."""
    with atomic_path(path) as partial:
        partial.write_bytes(pickle.dumps(to_persons(annotation), protocol=4))


_WHOLE: dict[Layout, Callable[[Annotation], Annotation]] = {
    Layout.STGCN: lambda annotation: annotation,
    Layout.PYSKL: to_pyskl,
    Layout.PYSKL_HALF: lambda annotation: to_pyskl(annotation, half=True),
}

# The ending of a clip's file, and what writes it.
_SINGLE: dict[Layout, tuple[str, Callable[[Path, Annotation], None]]] = {
    Layout.PERSONS: (".pkl", _write_persons),
    Layout.CSV: (".csv", write_csv),
    Layout.PARQUET: (".parquet", write_parquet),
    Layout.MOT: (".txt", lambda path, annotation: write_text(path, mot_text(annotation))),
    Layout.COCO: (".json", lambda path, annotation: write_text(path, coco_json(annotation))),
    Layout.CVAT: (".xml", lambda path, annotation: write_text(path, cvat_xml(annotation))),
}
