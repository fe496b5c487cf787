"""The data card of a merged data set: what a person who is handed it has to know, as text, as a table and as metadata.

Three files beside the data set: `dataset.md` to read, `dataset_clips.csv` with a row for each clip, and
`dataset_croissant.json`, the same for programs. Source of the latter: the Croissant format, version 1.0 (MLCommons).
Nothing in them is measured again: all of it is in the annotations.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tasks.annotations.format import Annotation
from tasks.core.storage import file_sha256, write_text
from tasks.core.text import csv_cell, field_text
from tasks.training.configs import class_names

COLUMNS = ("clip", "label", "class", "split", "frames", "fps", "people", "quality", "model", "sha256", "reviewed")

LIMITS = """\
- Poses, tracks and ranks are estimated by programs. The column `reviewed` is 1 for clips that were corrected by hand.
- The people of a clip are in the order of how much they seem to take part in the fight; consumers keep the first two.
- Joint scores depend on the pose model: compare them within one model only.
- Labels are those of the whole clip, by folder, table or pattern; nobody has checked them frame by frame.
- The clips show real people. Whether the poses may be passed on is for the source of the clips to say."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the card says about one clip; the fields are the columns of the table."""

    clip: str
    label: int
    name: str
    split: str
    frames: int
    fps: float
    people: int
    quality: float
    model: str
    sha256: str
    reviewed: bool

    def values(self) -> list[object]:
        """Return the values in the order of `COLUMNS`; names that a terminal or spreadsheet could misread escaped."""
        return [
            field_text(self.clip), self.label, field_text(self.name), field_text(self.split), self.frames,
            f"{self.fps:.3f}", self.people, f"{self.quality:.3f}", self.model, self.sha256, int(self.reviewed),
        ]  # fmt: skip


def write_card(dataset: Path, data: Mapping[str, Any]) -> list[Path]:
    """Write the data card of a merged data set beside it, and return the files.

    Parameters
    ----------
    dataset
        The merged file.
    data
        Its content.
    """
    rows = rows_of(data)
    table = dataset.with_name(f"{dataset.stem}_clips.csv")
    write_text(table, _table(rows))
    text = dataset.with_suffix(".md")
    write_text(text, card_text(dataset, data, rows))
    metadata = dataset.with_name(f"{dataset.stem}_croissant.json")
    # Last: it names the hashes of the others.
    write_text(metadata, json.dumps(croissant(dataset, table, rows), indent=1) + "\n")
    return [text, table, metadata]


def rows_of(data: Mapping[str, Any]) -> list[Row]:
    """Return what is to be said about each clip, in the order of the data set."""
    # By clip, because the file lists clips by split.
    split = {name: key for key, members in data["split"].items() for name in members}
    labels = [int(one["label"]) for one in data["annotations"]]
    # An empty data set has class 0, so that there is a list of names at all.
    names = class_names(data, max(labels, default=0) + 1)
    return [_row(one, names, split) for one in data["annotations"]]


def _row(one: Annotation, names: list[str], split: Mapping[str, str]) -> Row:
    """Return what is to be said about one clip; what other programs did not write is 0 or empty."""
    made: Any = one.get("provenance")
    provenance: dict[str, Any] = made if isinstance(made, dict) else {}
    scores = one["keypoint_score"]
    seen = scores.any(-1)
    return Row(
        clip=str(one["frame_dir"]),
        label=int(one["label"]),
        name=names[int(one["label"])],
        split=split.get(str(one["frame_dir"]), ""),
        frames=int(one["total_frames"]),
        fps=float(one.get("fps", 0.0)),
        people=len(one["keypoint"]),
        # Mean joint score over the frames in which people are there.
        quality=float(scores[seen].mean()) if seen.any() else 0.0,
        model=str(provenance.get("model", "")),
        sha256=str(provenance.get("video_sha256", "")),
        reviewed="review" in one,
    )


def card_text(dataset: Path, data: Mapping[str, Any], rows: list[Row]) -> str:
    """Return the card as Markdown."""
    # Those of the first clip that has any: one run gives all its clips the same.
    settings: dict[str, Any] = next(
        (one["settings"] for one in data["annotations"] if isinstance(one.get("settings"), dict)), {}
    )
    # The first part of an identifier is the folder that people sort their sources by.
    folders = Counter(row.clip.split("/")[0] for row in rows)
    models = Counter(row.model or "unknown" for row in rows)
    sections = [
        f"# {field_text(dataset.parent.name or 'data set')}: skeletons of people in surveillance clips",
        f"{len(rows)} clips in `{field_text(dataset.name)}`, in the layout of mmaction2's and pyskl's PoseDataset: 17 "
        "COCO keypoints in pixels, people in the order of their involvement. Written by `fightpose training`.",
        "## Clips by class and split",
        _class_table(rows),
        "## What is in it",
        "\n".join(
            [
                f"- Frames: {sum(row.frames for row in rows)}, of {_range([row.frames for row in rows])} a clip; "
                f"{_range([row.fps for row in rows], 3)} frames per second.",
                f"- People: {sum(row.people for row in rows)}, of {_range([row.people for row in rows])} a clip.",
                f"- Quality: mean joint score {np.mean([row.quality for row in rows] or [0]):.2f}.",
                f"- Corrected by hand: {sum(row.reviewed for row in rows)} clips.",
                f"- Pose model: {_counted(models)}.",
                # `#` comes before the first frame in the identifier of a window.
                f"- Windows of longer clips: {sum('#' in row.clip for row in rows)}.",
                # Windows have the hash of their video, and copies of a clip have the same.
                f"- Distinct videos by content: {len({row.sha256 for row in rows if row.sha256})}.",
            ]
        ),
        "## Sources",
        f"Input folders: {_counted(folders)}. Cite the publisher of these clips; this program does not know who that "
        "is.",
        "## Known limits",
        LIMITS,
        "## Settings",
        "```json\n" + json.dumps(settings, indent=1, sort_keys=True) + "\n```",
    ]
    return "\n\n".join(sections) + "\n"


def croissant(dataset: Path, table: Path, rows: list[Row]) -> dict[str, Any]:
    """Return the metadata of a data set under the Croissant format."""
    # ASCII letters and digits only: names become part of addresses and file names elsewhere.
    name = "".join(char if char.isascii() and char.isalnum() else "-" for char in dataset.parent.name) or "fightpose"
    files = [
        {
            "@type": "cr:FileObject",
            "@id": path.name,
            "name": path.name,
            "description": description,
            "contentUrl": path.name,
            "encodingFormat": kind,
            # By which a reader can tell whether the file is the one that is described.
            "sha256": file_sha256(path),
        }
        for path, kind, description in (
            (dataset, "application/octet-stream", "Python pickle: {'split': ..., 'annotations': [...]}"),
            (table, "text/csv", "A row for each clip"),
        )
    ]
    # Columns that are not named here are text.
    kinds = {"label": "sc:Integer", "frames": "sc:Integer", "people": "sc:Integer", "fps": "sc:Float"}
    kinds |= {"quality": "sc:Float", "reviewed": "sc:Integer"}
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"clips/{column}",
            "name": column,
            "dataType": kinds.get(column, "sc:Text"),
            "source": {"fileObject": {"@id": table.name}, "extract": {"column": column}},
        }
        for column in COLUMNS
    ]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        # An identifier of the format rather than a link, hence http.
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": f"Skeletons of people in {len(rows)} surveillance clips, tracked and ranked by involvement",
        "citeAs": "Cite the publisher of the clips",
        "license": "That of the clips",
        "version": "1.0.0",
        # The day on which the data set was merged, wherever the clock of a reader stands.
        "datePublished": datetime.fromtimestamp(dataset.stat().st_mtime, UTC).date().isoformat(),
        "distribution": files,
        "recordSet": [{"@type": "cr:RecordSet", "@id": "clips", "name": "clips", "field": fields}],
    }


# The context that version 1.0 of the format prescribes, word for word.
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def _table(rows: list[Row]) -> str:
    """Return the table of clips as CSV."""
    text = io.StringIO()
    # The csv module ends lines with CRLF otherwise.
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([csv_cell(v) if isinstance(v, str) else v for v in row.values()] for row in rows)
    return text.getvalue()


def _class_table(rows: list[Row]) -> str:
    """Return the numbers of clips by class and split as a table of Markdown."""
    # In the order in which clips name them; those in no split get a column, too, so that the sums are right.
    splits = list(dict.fromkeys(row.split or "none" for row in rows))
    count = Counter((row.label, row.split or "none") for row in rows)
    names = {row.label: row.name for row in rows}
    lines = [f"| class | {' | '.join(map(field_text, splits))} | all |", "|---" * (len(splits) + 2) + "|"]
    for label, name in sorted(names.items()):
        numbers = [count[label, split] for split in splits]
        cells = " | ".join(map(str, [*numbers, sum(numbers)]))
        # `escaped` writes bars, which would end a cell, as escapes.
        lines.append(f"| {label} {field_text(name)} | {cells} |")
    return "\n".join(lines)


def _range(values: list[int] | list[float], digits: int = 0) -> str:
    """Return the least and the greatest value in words."""
    low, high = (f"{edge:.{digits}f}" for edge in (min(values, default=0), max(values, default=0)))
    return low if low == high else f"{low} to {high}"


def _counted(counts: Counter[str]) -> str:
    """Return names and numbers in words, the most frequent first."""
    return ", ".join(f"{field_text(name)} ({count})" for name, count in counts.most_common())
