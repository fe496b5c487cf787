"""The commands that annotate a folder, show its demo, and list what can be set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import (
    FailOnOption,
    FailShare,
    InFlight,
    ModelDir,
    NumWorkers,
    SettingsFile,
    chosen_settings,
    use_model_dir,
)
from flows.cli.output import AsJson, Output, Quiet
from tasks.core.choices import FailOn, Mode, RunMode


def annotate(
    context: typer.Context,
    input: Annotated[Path, typer.Argument(help="Folder of clips (searched recursively), or one clip.")],
    output_root: Annotated[Path, typer.Option(help="Folder below which the input's tree is mirrored.")],
    mode: Annotated[
        RunMode,
        typer.Option(help="parallel: worker processes; demo: a few clips; pool: runs on a server's work pool."),
    ] = RunMode.SINGLE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    settings_file: SettingsFile = None,
    model_dir: ModelDir = None,
    num_workers: NumWorkers = None,
    in_flight: InFlight = 20,
    fail_on: FailOnOption = FailOn.ANY,
    fail_share: FailShare = 0.1,
    demo_count: Annotated[
        int, typer.Option(min=1, max=100_000, help="Clips in mode demo, taken across the folders.")
    ] = 10,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Annotate every clip: poses, tracks, ranking, annotation PKL, overlay video, verified mapping.

    Finished clips are skipped. An option below overrides the same setting of a --settings file.
    """
    # Not at the top of the file: `fightpose --help` answers without what a run needs.
    from flows.cli.running import Work, run_work

    use_model_dir(model_dir)
    if mode == RunMode.ANALYZE:
        # The earlier scripts had it as a mode; it takes none of the settings.
        from flows.cli.outputs import analyze

        analyze(output_root, as_json=as_json, quiet=quiet)
        return
    settings = chosen_settings(context, settings_file)
    # `RunMode` is `Mode` and `analyze`, which was dealt with above.
    work = Work(input, output_root, settings, Mode(mode), num_workers, in_flight, demo_count)
    run_work(work, Output(as_json, quiet), fail_on, fail_share, dry_run)


def demo(
    output_root: Annotated[Path, typer.Option(help="Where clips and outputs go.")] = Path("demo-output"),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fetch four demo clips and the embedded model, annotate them and show what came out."""
    from flows.cli.demo import contact_sheet, fetch_demo_clips
    from flows.cli.output import print_demo_table
    from flows.cli.running import Work, run_clips, tell_outcome
    from tasks.clips.discovery import discover_clips
    from tasks.core.settings import Settings
    from tasks.core.storage import require_writable

    # A folder that cannot be written is reported before anything is fetched.
    require_writable(output_root)
    clips = fetch_demo_clips(output_root / "clips")
    # Beside the clips and not among them, where the search for clips would find the overlays.
    outputs = output_root / "annotated"
    output = Output(as_json, quiet)
    summary = run_clips(Work(clips, outputs, Settings()), output)
    overlays = [clip.overlay_path for clip in discover_clips(clips, outputs).clips if clip.overlay_path.is_file()]
    picture = contact_sheet(overlays, output_root / "demo.png")
    if not (as_json or quiet):
        print_demo_table(summary)
    tell_outcome(summary, outputs, output, picture)
    raise typer.Exit(0 if summary.ok else 1)


def settings(
    example: Annotated[
        bool, typer.Option("--example", help="Print a TOML file with every setting, for `annotate --settings`.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """List every setting with its default and its range, or print an example file of them."""
    from tasks.core.settings import describe

    if example and not as_json:
        # If quiet, too: it is what was asked for.
        typer.echo(describe.example(), nl=False)
        return
    lines = [f"{one.key} = {describe.default_words(one)}: {one.help}" for one in describe.declared()]
    Output(as_json, quiet).tell(describe.rows(), lines)
