"""The commands about pose models: list, fetch, export and quantize them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import ModelDir, use_model_dir
from flows.cli.output import AsJson, Output, Quiet, tell_files

models_app = typer.Typer(
    help="List pose models, and fetch them.",
    short_help="List pose models, and fetch them",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@models_app.command("list", short_help="List the models that --model takes")
def models_list(as_json: AsJson = False, quiet: Quiet = False) -> None:
    """List the models that `--model` takes; if quiet, their names alone."""
    from flows.cli.output import model_rows, print_models

    rows = model_rows()
    if as_json or quiet:
        # Without `quiet`: the names are the result that was asked for.
        Output(as_json).tell(rows, [row["name"] for row in rows])
    else:
        print_models(rows)


@models_app.command("fetch", short_help="Fetch a model for a machine without network")
def models_fetch(
    name: Annotated[str, typer.Argument(help="Name in the model table.")] = "movenet-multipose",
    checkpoint: Annotated[
        bool, typer.Option("--checkpoint", help="Not the .onnx file of an RTMO but its mmpose checkpoint (.pth).")
    ] = False,
    model_dir: ModelDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fetch a model into the cache, for machines that will have no network."""
    from tasks.poses.models import model_file, resolve_model
    from tasks.poses.published_models import checkpoint_file

    # Before models are looked up: the folder is where they are searched for and kept.
    use_model_dir(model_dir)
    path = checkpoint_file(name) if checkpoint else model_file(resolve_model(name))
    Output(as_json, quiet).tell({"name": name, "file": path}, [str(path)])


def export_model(
    config: Annotated[Path, typer.Argument(help="mmpose config of RTMO.")],
    checkpoint: Annotated[Path, typer.Argument(help="mmpose checkpoint that goes with it.")],
    out: Annotated[Path, typer.Argument(help="The .onnx file to write; a .json with its settings comes beside it.")],
    frames_of: Annotated[
        Path | None, typer.Option(help="A clip with people, to compare the export with mmpose on; else a demo clip.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Export RTMO to ONNX, and keep the file only if it finds mmpose's people."""
    from flows.cli.demo import DEMO_CLIPS
    from tasks.core.download import fetch
    from tasks.poses.export import check_frames
    from tasks.poses.export import export_model as export

    # A demo clip has people in it; frames without any would agree whatever the export does.
    frames = check_frames(frames_of or fetch(DEMO_CLIPS[:1])[0])
    tell_files([export(config, checkpoint, out, frames)], Output(as_json, quiet))


def quantize_model(
    input: Annotated[Path, typer.Argument(help="Your own clips (a folder or one clip), to calibrate on.")],
    model: Annotated[
        str, typer.Option(help="Name (see `models list`), or a .tflite or .onnx file.")
    ] = "movenet-multipose",
    model_dir: ModelDir = None,
    force: Annotated[bool, typer.Option("--force", help="Keep the int8 form even if it finds other people.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make the int8 form of a model for `--precision int8`, and keep it if it finds the same people as fp32."""
    from flows.cli.running import require_input
    from tasks.clips.discovery import discover_clips
    from tasks.poses.models import resolve_model
    from tasks.poses.quantize import calibration_frames
    from tasks.poses.quantize import quantize_model as quantize

    use_model_dir(model_dir)
    require_input(input)
    # Nothing is written beside the clips: the output root that a clip's record needs has no meaning here.
    frames = calibration_frames([clip.path for clip in discover_clips(input, input).clips])
    found = quantize(resolve_model(model), frames, force)
    verdict = "It finds the same people." if found.holds else "It does NOT find the same people: fp32 is better."
    Output(as_json, quiet).tell(asdict(found), [f"int8 against fp32: {found}", verdict])
