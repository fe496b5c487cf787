"""The commands that work on annotation files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.output import AsJson, Output, Quiet, tell_files
from tasks.annotations.convert.formats import OWN_LAYOUT, Layout, help_text

Annotations = Annotated[Path, typer.Argument(help="PKL of this program, mmaction2, pyskl or the earlier scripts.")]


def explain(annotations: Annotations, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Show why the people of a clip are ranked as they are (docs/scores.md)."""
    from tasks.annotations.explain import explain, explain_text
    from tasks.annotations.format import read_annotation

    read = read_annotation(annotations)["annotations"]
    value = [{"clip": one.get("frame_dir"), "label": one.get("label"), "people": explain(one)} for one in read]
    Output(as_json, quiet).tell(value, map(explain_text, read))


def convert(
    source: Annotated[Path, typer.Argument(help="PKL of any known layout, an output folder, or a folder of PKLs.")],
    destination: Annotated[Path, typer.Argument(help="File for stgcn and pyskl, else a folder (one file per clip).")],
    to: Annotated[Layout, typer.Option(help=help_text())] = OWN_LAYOUT,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse all for one annotation that cannot be converted.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Convert annotations to another layout."""
    from tasks.annotations.convert.files import convert_file

    done = convert_file(source, destination, to, strict=strict)
    written = [str(path) for path in done.files]
    warnings = [f"warning: {problem}" for problem in done.problems]
    Output(as_json, quiet).tell({"files": written, "warnings": done.problems}, written, warnings)


def windows(
    annotations: Annotations,
    destination: Annotated[Path, typer.Argument(help="The annotation file to write.")],
    window: Annotated[int, typer.Option(min=1, help="Frames per window.")] = 100,
    stride: Annotated[int, typer.Option(min=1, help="Frames from one window to the next.")] = 50,
    intervals: Annotated[
        Path | None,
        typer.Option(
            help="CSV with the columns clip, start, stop and label: frames from 0, or seconds as 12.5s; else labels "
            "follow involvement."
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Cut long clips into windows, each labelled by itself."""
    from tasks.annotations.convert.files import window_file
    from tasks.annotations.convert.intervals import label_by_intervals

    rule = label_by_intervals(intervals) if intervals else None
    tell_files([window_file(annotations, destination, window, stride, rule)], Output(as_json, quiet))


def learn_region_weights(
    output_root: Annotated[Path, typer.Argument(help="Output folder of an earlier run.")],
    out: Annotated[Path, typer.Argument(help="The .json file to write, for `annotate --region-weights`.")],
    camera_pattern: Annotated[
        str | None, typer.Option(help="Regular expression that finds the camera in a clip's path; else its folder.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Learn from finished annotations where each camera sees its fights."""
    from tasks.annotations.format import read_annotation
    from tasks.clips.manifest import read_manifests
    from tasks.regions.camera_weights import learn_camera_weights

    clips = (clip.annotation_path for clip in read_manifests(output_root) if clip.annotation_path.is_file())
    annotations = (annotation for path in clips for annotation in read_annotation(path)["annotations"])
    learned = learn_camera_weights(annotations, camera_pattern)
    learned.save(out)
    lines = [
        f"{camera or 'all clips'}: {' '.join(f'{weight:.2f}' for weight in learned.weights[camera])} ({count} clips)"
        for camera, count in sorted(learned.clips.items())
    ]
    Output(as_json, quiet).tell(learned.model_dump(mode="json"), lines)
