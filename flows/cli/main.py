"""The command line.

Exit codes: 0 everything is well; 1 some clips failed, or a check found something (all of it is listed); 2 the request
itself cannot be carried out; 130 ended by Ctrl-C. Every command takes `--json` and `--quiet` (`flows.cli.output`).
`fightpose --help` answers at once: Prefect, OpenVINO and OpenCV are imported by the commands that need them.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from flows.cli import files as cli_files
from flows.cli import review as cli_review
from flows.cli.options import (
    Classes,
    FailOnName,
    FailOnOption,
    FailShare,
    GroupPattern,
    Groups,
    InFlight,
    InputShapeName,
    LabelPattern,
    Labels,
    NumWorkers,
    OutputRoot,
    PrecisionName,
    RetryMode,
    RunMode,
    RuntimeName,
    ScorerName,
    SecondLookName,
    Share,
    TrackerName,
)
from flows.cli.output import AsJson, Output, Quiet
from tasks.core.errors import FightposeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flows.runs.results import DatasetSummary
    from tasks.core.settings import Settings

app = typer.Typer(
    name="fightpose",
    help="Turn folders of surveillance clips into ranked skeleton annotations for STGCN++.",
    no_args_is_help=True,
    # Plain help: in 80 columns the boxed one cuts option names off.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
)
models_app = typer.Typer(help="Pose models: list them, fetch them.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(models_app, name="models")
cli_files.register(app)
cli_review.register(app)


@app.command()
def annotate(
    context: typer.Context,
    input: Annotated[Path, typer.Argument(help="Folder of clips (searched recursively), or one clip.")],
    output_root: Annotated[Path, typer.Option(help="Folder below which the input's tree is mirrored.")],
    mode: Annotated[
        RunMode,
        typer.Option(help="parallel: worker processes; demo: the first clips; pool: runs on a server's work pool."),
    ] = RunMode.SINGLE,
    model: Annotated[
        str, typer.Option(help="Name (see `models list`), or a .tflite, .onnx or .json file.")
    ] = "movenet-multipose",
    config: Annotated[str | None, typer.Option(help="mmpose config of RTMO, in place of --model.")] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="mmpose checkpoint that goes with it, or rtmo-t, -s, -m, -l: the published one.")
    ] = None,
    model_dir: Annotated[
        Path | None, typer.Option(help="Folder of model files; pool workers and retry-failed take FIGHTPOSE_MODEL_DIR.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where the model runs: cpu, or cuda:0.")] = "cpu",
    runtime: Annotated[
        RuntimeName, typer.Option(help="What runs the model; auto: the fastest that is installed (see `doctor`).")
    ] = RuntimeName.AUTO,
    precision: Annotated[
        PrecisionName, typer.Option(help="auto: fp32, and fp16 for a checkpoint on a GPU; int8: after quantize-model.")
    ] = PrecisionName.AUTO,
    input_shape: Annotated[
        InputShapeName, typer.Option(help="fitted: RTMO in OpenVINO leaves padding out; faster, not quite as mmpose.")
    ] = InputShapeName.SQUARE,
    second_look: Annotated[
        SecondLookName, typer.Option(help="Look again, enlarged: never, where people are in doubt, or at everyone.")
    ] = SecondLookName.AUTO,
    look_budget: Annotated[
        float, typer.Option(min=1, max=20, help="Most that all looks may cost, in passes over a frame.")
    ] = 3.0,
    score_thr: Share = None,
    nms_thr: Share = None,
    tracker: Annotated[TrackerName, typer.Option()] = TrackerName.FIGHTPOSE,
    track_high_thresh: Share = None,
    track_low_thresh: Share = None,
    track_max_disappeared: Annotated[int, typer.Option(min=0, help="Frames.")] = 30,
    track_min_hits: Annotated[int, typer.Option(min=1, help="Detections before a track counts.")] = 3,
    min_track_length: Annotated[int, typer.Option(min=1, help="Frames.")] = 10,
    quality_threshold: Share = None,
    max_persons: Annotated[int, typer.Option(min=1, help="People per clip, in rank order.")] = 4,
    scorer: Annotated[ScorerName, typer.Option(help="seed: the earlier scripts' formulas.")] = ScorerName.DEFAULT,
    camera_weights: Annotated[
        Path | None,
        typer.Option("--region-weights", help="File of `learn-region-weights`, to start each clip's weights from."),
    ] = None,
    save_overlayfile: Annotated[bool, typer.Option(help="Write an overlay video per clip.")] = True,
    overlay_regions: Annotated[bool, typer.Option(help="Show the five regions in the overlay.")] = False,
    classes: Classes = None,
    labels: Labels = None,
    label_pattern: LabelPattern = None,
    groups: Groups = None,
    group_pattern: GroupPattern = None,
    time_limit: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds that one clip may take.", show_default="none")
    ] = None,
    memory_limit: Annotated[int, typer.Option(min=64, help="MB that decoding one clip may take.")] = 4096,
    num_workers: NumWorkers = None,
    in_flight: InFlight = 20,
    fail_on: FailOnOption = FailOnName.ANY,
    fail_share: FailShare = 0.1,
    demo_count: Annotated[int, typer.Option(min=1, help="Clips in mode demo.")] = 10,
    as_json: AsJson = False,
    quiet: Quiet = False,
    settings_file: Annotated[
        Path | None, typer.Option("--settings", help="TOML or JSON file of settings; options that are typed win.")
    ] = None,
) -> None:
    """Annotate every clip: poses, tracks, ranking, annotation PKL, overlay video, verified mapping."""
    from flows.cli.settings_options import classes_of, found_again, with_settings_file
    from tasks.core import settings as s
    from tasks.regions.camera_weights import CameraWeights

    if model_dir is not None:
        # By the environment, so that worker processes look there, too.
        os.environ["FIGHTPOSE_MODEL_DIR"] = str(model_dir)
    if mode == RunMode.ANALYZE:
        analyze(output_root, as_json=as_json, quiet=quiet)
        return
    # Of the data set two settings depend on each other; those of a settings file join them below, and are checked then.
    new_settings = s.Settings.model_construct if settings_file else s.Settings
    new_dataset = s.DatasetSettings.model_construct if settings_file else s.DatasetSettings
    chosen = new_settings(
        poses=s.PoseSettings(
            model=found_again(model),
            config=config and found_again(config),
            checkpoint=checkpoint and found_again(checkpoint),
            device=device,
            runtime=s.Runtime(runtime),
            precision=s.Precision(precision),
            input_shape=s.InputShape(input_shape),
            second_look=s.SecondLook(second_look),
            look_budget=look_budget,
            score_thr=score_thr,
            nms_thr=nms_thr,
        ),
        tracking=s.TrackingSettings(
            tracker=s.Tracker(tracker),
            track_high_thresh=track_high_thresh,
            track_low_thresh=track_low_thresh,
            track_max_disappeared=track_max_disappeared,
            track_min_hits=track_min_hits,
        ),
        selection=s.SelectionSettings(
            min_track_length=min_track_length, quality_threshold=quality_threshold, max_persons=max_persons
        ),
        scoring=s.ScoringSettings(
            scorer=s.Scorer(scorer),
            camera_weights=CameraWeights.load(camera_weights) if camera_weights else None,
        ),
        overlay=s.OverlaySettings(save_overlayfile=save_overlayfile, overlay_regions=overlay_regions),
        dataset=new_dataset(
            classes=classes_of(classes),
            labels=labels and labels.absolute(),
            label_pattern=label_pattern,
            groups=groups and groups.absolute(),
            group_pattern=group_pattern,
        ),
        limits=s.LimitSettings(time_limit=time_limit, memory_limit=memory_limit),
    )
    if settings_file is not None:
        chosen = with_settings_file(context, settings_file, chosen)
    summary = _run_dataset(input, output_root, chosen, str(mode), num_workers, demo_count, quiet, in_flight)
    _tell_outcome(summary, output_root, Output(as_json, quiet))
    raise typer.Exit(_exit_code(summary, fail_on, fail_share))


@app.command("retry-failed")
def retry_failed(
    output_root: OutputRoot,
    mode: Annotated[RetryMode, typer.Option(help="parallel: worker processes; pool: a server's work pool.")] = (
        RetryMode.SINGLE
    ),
    default_settings: Annotated[
        bool, typer.Option("--default-settings", help="Not the last run's settings but this version's defaults.")
    ] = False,
    num_workers: NumWorkers = None,
    in_flight: InFlight = 20,
    fail_on: FailOnOption = FailOnName.ANY,
    fail_share: FailShare = 0.1,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Annotate again every clip of the failure log that has no valid annotation."""
    from tasks.core.settings import Settings

    if not output_root.is_dir():
        raise FightposeError(f"there is no output folder {output_root}; name the --output-root of an earlier run")
    settings = Settings() if default_settings else None
    summary = _run_again(output_root, mode, settings, num_workers, in_flight, quiet)
    _tell_outcome(summary, output_root, Output(as_json, quiet))
    raise typer.Exit(_exit_code(summary, fail_on, fail_share))


@app.command()
def up(as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Start a Prefect server with pools, deployments, automations and workers; ends with Ctrl-C."""
    from flows.prefect_server.server import prepare_environment

    # Before Prefect is imported; the server's and the workers' own lines stay out of this terminal.
    prepare_environment(console_level="ERROR")
    from flows.cli.up import run_until_stopped

    raise typer.Exit(run_until_stopped(Output(as_json, quiet)))


@app.command()
def demo(
    output_root: Annotated[Path, typer.Option(help="Where clips and outputs go.")] = Path("demo-output"),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fetch four demo clips and the embedded model, annotate them and show what came out."""
    from flows.cli.demo import contact_sheet, fetch_demo_clips
    from flows.cli.tables import print_demo_table
    from tasks.clips.discovery import discover_clips
    from tasks.core.settings import Settings
    from tasks.core.storage import require_writable

    require_writable(output_root)
    clips = fetch_demo_clips(output_root / "clips")
    outputs = output_root / "annotated"
    summary = _run_dataset(clips, outputs, Settings(), "single", None, 10, quiet)
    overlays = [clip.overlay_path for clip in discover_clips(clips, outputs).clips if clip.overlay_path.is_file()]
    picture = contact_sheet(overlays, output_root / "demo.png")
    output = Output(as_json, quiet)
    if not (as_json or quiet):
        print_demo_table(summary)
    _tell_outcome(summary, outputs, output, picture)
    raise typer.Exit(0 if summary.ok else 1)


@app.command()
def verify(
    output_root: OutputRoot,
    deep: Annotated[
        bool, typer.Option("--deep", help="Check every rule of the annotation contract and every input's content, too.")
    ] = False,
    quarantine: Annotated[bool, typer.Option("--quarantine", help="Move corrupt outputs out of the way.")] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Annotate again what is missing, stale or corrupt, under the last settings.")
    ] = False,
    mode: Annotated[RetryMode, typer.Option(help="Where --fix runs the clips.")] = RetryMode.SINGLE,
    num_workers: NumWorkers = None,
    in_flight: InFlight = 20,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check that every input has its annotation and overlay, or a recorded failure."""
    from tasks.mapping.verify import verify_mapping

    output, failed = Output(as_json, quiet), 0
    report = verify_mapping(output_root, deep=deep)
    if quarantine:
        from tasks.mapping.quarantine import quarantine as move_away

        for source, target in move_away(report):
            output.progress(f"moved {source} to {target}")
    if fix and not report.ok:
        from flows.runs.results import Outcome
        from tasks.clips.manifest import read_manifests
        from tasks.mapping.quarantine import clips_to_repair

        clips = [clip.frame_dir for clip in clips_to_repair(report, read_manifests(output_root))]
        output.progress(f"{report.headline()}; annotating {_clips(len(clips))} again")
        summary = _run_again(output_root, mode, None, num_workers, in_flight, quiet=quiet, clips=clips)
        # Accounted for from now on, yet not mended; the run has named them.
        failed = len(clips) - summary.count(Outcome.ANNOTATED)
        report = verify_mapping(output_root, deep=deep)
    if not (as_json or quiet):
        from flows.cli.tables import print_findings

        print_findings(report)
    output.tell(report.to_value(), [report.headline()], report.lines() if quiet else [])
    raise typer.Exit(0 if report.ok and not failed else 1)


@app.command()
def analyze(
    output_root: OutputRoot,
    against: Annotated[Path | None, typer.Option(help="Output folder of another run, to compare with.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Summarise the annotations of an output folder as text, CSV, charts and an HTML page."""
    from tasks.report.write import write_report

    report = write_report(output_root, against)
    Output(as_json, quiet).tell(report.value, [report.text])


@app.command()
def doctor(
    output_root: Annotated[Path, typer.Option(help="Output folder to be checked.")] = Path(),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check that this machine can do the job; exit code 1 if it cannot."""
    from flows.cli.doctor import run_checks
    from flows.cli.tables import print_checks

    checks = run_checks(output_root)
    if as_json:
        Output(as_json).tell([asdict(check) for check in checks], [])
    else:
        print_checks([check for check in checks if not (quiet and check.ok)])
    raise typer.Exit(0 if all(check.ok for check in checks) else 1)


@models_app.command("list")
def models_list(as_json: AsJson = False, quiet: Quiet = False) -> None:
    """List the models that `--model` takes; if quiet, their names alone."""
    from flows.cli.tables import model_rows, print_models

    rows = model_rows()
    if as_json or quiet:
        Output(as_json).tell(rows, [row["name"] for row in rows])
    else:
        print_models(rows)


@models_app.command("fetch")
def models_fetch(
    name: Annotated[str, typer.Argument(help="Name in the model table.")] = "movenet-multipose",
    checkpoint: Annotated[
        bool, typer.Option("--checkpoint", help="Not the .onnx file of an RTMO but its mmpose checkpoint (.pth).")
    ] = False,
    model_dir: Annotated[Path | None, typer.Option(help="Folder of model files.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fetch a model into the cache, for machines that will have no network."""
    from tasks.poses.models import model_file, resolve_model
    from tasks.poses.published_models import checkpoint_file

    if model_dir is not None:
        os.environ["FIGHTPOSE_MODEL_DIR"] = str(model_dir)
    path = checkpoint_file(name) if checkpoint else model_file(resolve_model(name))
    Output(as_json, quiet).tell({"name": name, "file": path}, [str(path)])


def _run_dataset(
    input: Path,
    output_root: Path,
    settings: Settings,
    mode: str,
    num_workers: int | None,
    demo_count: int,
    quiet: bool,
    in_flight: int = 20,
) -> DatasetSummary:
    """Run the dataset flow and show its progress."""
    from tasks.core.storage import require_writable

    # Before the server is started: a wrong folder should be told at once.
    require_writable(output_root)
    _require_input(input)

    def run() -> DatasetSummary:
        """Run the flow; imported here, because it takes Prefect with it."""
        from flows.annotate_dataset import Mode, annotate_dataset

        summary = annotate_dataset(input, output_root, Mode(mode), settings, num_workers, demo_count, in_flight)
        return cast("DatasetSummary", summary)

    return _with_server(run, quiet, needs_server=mode == "pool")


def _run_again(
    output_root: Path,
    mode: RetryMode,
    settings: Settings | None,
    num_workers: int | None,
    in_flight: int,
    quiet: bool,
    clips: list[str] | None = None,
) -> DatasetSummary:
    """Run the flow over failed clips, or over those named, and show its progress."""

    def run() -> DatasetSummary:
        """Run the flow; imported here, because it takes Prefect with it."""
        from flows.annotate_dataset import Mode
        from flows.retry_failed import retry_failed

        summary = retry_failed(output_root, Mode(mode), settings, num_workers, in_flight, clips=clips)
        return cast("DatasetSummary", summary)

    return _with_server(run, quiet, needs_server=mode == RetryMode.POOL)


def _with_server(run: Callable[[], DatasetSummary], quiet: bool, needs_server: bool) -> DatasetSummary:
    """Run a flow over clips against the user's Prefect server, or a temporary one, and show its progress."""
    from flows.cli.progress import Display, error_console
    from flows.prefect_server.server import prefect_api, prepare_environment, require_named_server

    console = error_console()
    # The display shows what a person needs; Prefect's own lines go to the API, and its worst ones to the console.
    prepare_environment(console_level="CRITICAL")
    if not quiet:
        console.print("Starting the run: loading Prefect and its server (some seconds)", markup=False)
    if needs_server:
        require_named_server()
    with prefect_api():
        from flows.annotate_dataset import on_results

        display = Display(console, quiet)
        on_results(display.on_result)
        try:
            with display.showing():
                return run()
        except KeyboardInterrupt as error:
            console.print("stopped; run the same command again to go on where it ended")
            raise typer.Exit(130) from error
        finally:
            on_results(None)


def _require_input(input: Path) -> None:
    """Refuse an input that is not there before anything is started."""
    if not input.exists():
        raise FightposeError(f"input {input} does not exist; give a folder of clips or one clip")


def _exit_code(summary: DatasetSummary, fail_on: FailOnName, fail_share: float) -> int:
    """Return 1 if something is wrong, failed clips only as far as the user says so."""
    from flows.runs.results import Outcome

    failed, total = summary.count(Outcome.FAILED), len(summary.results)
    most = {FailOnName.NONE: total, FailOnName.ANY: 0, FailOnName.SHARE: fail_share * total}[fail_on]
    return int(bool(summary.problems) or not summary.mapping_ok or failed > most)


def _tell_outcome(summary: DatasetSummary, output_root: Path, output: Output, picture: Path | None = None) -> None:
    """Tell what became of a run, and where things are."""
    from flows.runs.results import Outcome
    from tasks.review.apply import waiting_corrections

    waiting = waiting_corrections(output_root)
    wrong = [*summary.problems, *summary.mapping_lines, *(f"warning: {line}" for line in summary.warnings)]
    counts = ", ".join(f"{summary.count(outcome)} {outcome}" for outcome in Outcome)
    lines = [f"{_clips(len(summary.results))}: {counts}; pose extraction run for {summary.extracted}."]
    # Of a clip that failed nothing is known: the model may have run for it.
    if not summary.extracted and summary.results and not summary.count(Outcome.FAILED):
        lines.append("No pose extraction was needed: nothing is done twice.")
    if waiting:
        lines.append(
            f"{_clips(len(waiting))} with corrections that are not applied: fightpose apply-review {output_root}"
        )
    lines.append(f"Mapping: {'verified' if summary.mapping_ok else 'NOT in order, see above'}")
    lines.append(f"Outputs: {output_root}")
    value = summary.to_value() | {"waiting_corrections": waiting, "output_root": output_root}
    if picture is not None:
        lines.append(f"Picture: {picture}")
        value["picture"] = picture
    output.tell(value, lines, wrong)


def _clips(count: int) -> str:
    """Return a number of clips in words.

    >>> _clips(1)
    '1 clip'
    """
    return f"{count} clip{'' if count == 1 else 's'}"


def main() -> None:
    """Run the command line; errors that the user can act on are one line."""
    from pydantic import ValidationError

    try:
        app()
    except FightposeError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}." for part in first["loc"]).removesuffix(".")
        typer.echo(f"error: {where}{': ' if where else ''}{first['msg'].removeprefix('Value error, ')}", err=True)
        sys.exit(2)
