"""Commands that work on annotation and model files."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tasks.errors import FightposeError


class LayoutName(StrEnum):
    """Names of the layouts; repeated from `tasks.convert.files`, whose import would slow `--help` down."""

    STGCN = "stgcn"
    PYSKL = "pyskl"
    PYSKL_HALF = "pyskl-float16"
    PERSONS = "persons"
    CSV = "csv"
    PARQUET = "parquet"
    MOT = "mot"
    COCO = "coco"
    CVAT = "cvat"


Annotations = Annotated[Path, typer.Argument(help="PKL of this program, mmaction2, pyskl or the earlier scripts.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("explain")(explain)
    app.command("convert")(convert)
    app.command("windows")(windows)
    app.command("export-model")(export_model)
    app.command("quantize-model")(quantize_model)
    app.command("learn-region-weights")(learn_region_weights)


def explain(annotations: Annotations) -> None:
    """Show why the people of a clip are ranked as they are."""
    from tasks.annotation import read_annotation
    from tasks.explain import explain_text

    for annotation in read_annotation(annotations)["annotations"]:
        typer.echo(explain_text(annotation))


def convert(
    annotations: Annotations,
    destination: Annotated[Path, typer.Argument(help="File for stgcn and pyskl, else a folder.")],
    to: Annotated[LayoutName, typer.Option(help="What to convert to.")] = LayoutName.STGCN,
) -> None:
    """Convert annotations to another layout, or export their tracks."""
    from tasks.convert.files import Layout, convert_file

    for path in convert_file(annotations, destination, Layout(to)):
        typer.echo(str(path))


def windows(
    annotations: Annotations,
    destination: Annotated[Path, typer.Argument(help="The annotation file to write.")],
    window: Annotated[int, typer.Option(min=1, help="Frames per window.")] = 100,
    stride: Annotated[int, typer.Option(min=1, help="Frames from one window to the next.")] = 50,
    intervals: Annotated[
        Path | None, typer.Option(help="CSV of labelled intervals; else labels follow involvement.")
    ] = None,
) -> None:
    """Cut long clips into windows, each labelled by itself."""
    from tasks.convert.files import window_file
    from tasks.convert.windows import label_by_intervals

    rule = label_by_intervals(intervals) if intervals else None
    typer.echo(str(window_file(annotations, destination, window, stride, rule)))


def export_model(
    config: Annotated[Path, typer.Argument(help="mmpose config of RTMO.")],
    checkpoint: Annotated[Path, typer.Argument(help="mmpose checkpoint that goes with it.")],
    out: Annotated[Path, typer.Argument(help="The .onnx file to write; a .json with its settings comes beside it.")],
    frames_of: Annotated[
        Path | None, typer.Option(help="A clip with people, to compare the export with mmpose on; else a demo clip.")
    ] = None,
) -> None:
    """Export RTMO to ONNX, and keep the file only if it finds mmpose's people."""
    from tasks.demo import DEMO_CLIPS
    from tasks.fetch import fetch
    from tasks.poses.export import check_frames
    from tasks.poses.export import export_model as export

    frames = check_frames(frames_of or fetch(DEMO_CLIPS[:1])[0])
    typer.echo(str(export(config, checkpoint, out, frames)))


def quantize_model(
    input: Annotated[Path, typer.Argument(help="Your own clips (a folder or one clip), to calibrate on.")],
    model: Annotated[
        str, typer.Option(help="Name (see `models list`), or a .tflite or .onnx file.")
    ] = "movenet-multipose",
    model_dir: Annotated[Path | None, typer.Option(help="Folder of model files, where the int8 form is kept.")] = None,
) -> None:
    """Make the int8 form of a model for `--precision int8`, and say whether it finds the same people as fp32."""
    from tasks.outputs import discover_clips
    from tasks.poses.models import resolve_model
    from tasks.poses.quantize import calibration_frames
    from tasks.poses.quantize import quantize_model as quantize

    if model_dir is not None:
        os.environ["FIGHTPOSE_MODEL_DIR"] = str(model_dir)
    if not input.exists():
        raise FightposeError(f"input {input} does not exist; give a folder of clips or one clip")
    found = quantize(
        resolve_model(model), calibration_frames([clip.path for clip in discover_clips(input, input).clips])
    )
    typer.echo(f"int8 against fp32: {found}")
    typer.echo("It finds the same people." if found.holds else "It does NOT find the same people: fp32 is better.")


def learn_region_weights(
    output_root: Annotated[Path, typer.Argument(help="Output folder of an earlier run.")],
    out: Annotated[Path, typer.Argument(help="The .json file to write, for `annotate --region-weights`.")],
    camera_pattern: Annotated[
        str | None, typer.Option(help="Regular expression that finds the camera in a clip's path; else its folder.")
    ] = None,
) -> None:
    """Learn from finished annotations where each camera sees its fights."""
    from tasks.annotation import read_annotation
    from tasks.camera_weights import learn_camera_weights
    from tasks.manifest import read_manifests

    clips = (clip.annotation_path for clip in read_manifests(output_root) if clip.annotation_path.is_file())
    annotations = (annotation for path in clips for annotation in read_annotation(path)["annotations"])
    learned = learn_camera_weights(annotations, camera_pattern)
    learned.save(out)
    for camera, count in sorted(learned.clips.items()):
        weights = " ".join(f"{weight:.2f}" for weight in learned.weights[camera])
        typer.echo(f"{camera or 'all clips'}: {weights} ({count} clips)")
