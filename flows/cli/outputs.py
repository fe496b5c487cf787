"""The commands that work on an output folder: verify, retry-failed, analyze and the self-check."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import (
    FailOnOption,
    FailShare,
    InFlight,
    NumWorkers,
    OutputRoot,
    SettingsFile,
    chosen_settings,
)
from flows.cli.output import AsJson, Output, Quiet, finding_lines
from tasks.core.choices import FailOn, Mode, RetryMode
from tasks.core.errors import FightposeError
from tasks.core.storage import require_output_root

if TYPE_CHECKING:
    from flows.runs.results import DatasetSummary


def retry_failed(
    context: typer.Context,
    output_root: OutputRoot,
    mode: Annotated[RetryMode, typer.Option(help="parallel: worker processes; pool: a server's work pool.")] = (
        RetryMode.SINGLE
    ),
    default_settings: Annotated[
        bool,
        typer.Option("--default-settings", help="Start from this version's defaults, not the last run's settings."),
    ] = False,
    settings_file: SettingsFile = None,
    num_workers: NumWorkers = None,
    in_flight: InFlight = 20,
    fail_on: FailOnOption = FailOn.ANY,
    fail_share: FailShare = 0.1,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Annotate again every clip of the failure log that has no valid annotation.

    The settings are those of the last run, except for the options below that are typed.
    """
    from flows.cli.running import exit_code, run_again, tell_outcome
    from flows.runs.origin import require_model_poses
    from tasks.clips.failures import read_failures
    from tasks.core.settings import Settings
    from tasks.mapping.receipts import recorded_settings

    require_output_root(output_root)
    # Before a server is started.
    require_model_poses(output_root)
    if not read_failures(output_root):
        # Without a server, which would take longer to start than there is anything to do.
        Output(as_json, quiet).tell({"ok": True, "clips": []}, ["No clip of this folder has failed: nothing to do."])
        return
    # By default as the rest of the folder was made: clips under other settings do not compare with them.
    base = Settings() if default_settings else recorded_settings(output_root)
    settings = chosen_settings(context, settings_file, base)
    output = Output(as_json, quiet)
    summary = run_again(output_root, settings, Mode(mode), num_workers, in_flight, output)
    tell_outcome(summary, output_root, output)
    raise typer.Exit(exit_code(summary, fail_on, fail_share))


def verify(
    output_root: OutputRoot,
    deep: Annotated[
        bool, typer.Option("--deep", help="Check every rule of the annotation contract and every input's content, too.")
    ] = False,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Move corrupt outputs, and outputs without input, away.")
    ] = False,
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
    from flows.runs.mending import verify_and_mend

    output = Output(as_json, quiet)

    def rerun(clips: list[str]) -> DatasetSummary:
        """Annotate clips again; only here, where there is something to mend, a server starts."""
        from flows.cli.running import run_again
        from flows.runs.origin import require_model_poses

        require_model_poses(output_root)
        return run_again(output_root, None, Mode(mode), num_workers, in_flight, output, clips)

    report = verify_and_mend(output_root, deep, quarantine, rerun if fix else None, output.progress)
    lines = finding_lines(report)
    # If quiet, the findings alone: sums and advice are left out.
    output.tell(report.to_value(), [*lines, report.headline()], report.lines() if quiet else [])
    raise typer.Exit(0 if report.ok else 1)


def purge(
    output_root: OutputRoot,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Remove every file that holds pixels of the clips: overlays, thumbnails, previews and reports with pictures.

    Annotations stay. The clips themselves are never touched.
    """
    from tasks.mapping import purge as purging

    files = purging.pictures_of(output_root)
    # With --json nobody is there to answer.
    if files and not yes and (as_json or not typer.confirm(f"Remove {len(files)} files of {output_root}?")):
        raise FightposeError(f"nothing was removed of {len(files)} files; add --yes to remove them without being asked")
    done = purging.purge(output_root)
    words = f"removed {len(done.files)} files, {done.bytes / 1e6:.1f} MB"
    Output(as_json, quiet).tell({"removed": done.files, "bytes": done.bytes}, [*done.files, words, *purging.LEFT])


def analyze(
    output_root: OutputRoot,
    against: Annotated[Path | None, typer.Option(help="Output folder of another run, to compare with.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Summarise the annotations of an output folder as text, CSV, charts and an HTML page."""
    from tasks.report.write import write_report

    report = write_report(output_root, against)
    Output(as_json, quiet).tell(report.value, report.text.splitlines())


def doctor(
    output_root: Annotated[Path, typer.Option(help="Output folder to be checked.")] = Path(),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check that this machine can do the job; exit code 1 if it cannot."""
    from flows.cli.doctor import run_checks
    from flows.cli.output import print_checks

    checks = run_checks(output_root)
    if as_json:
        Output(as_json).tell([asdict(check) for check in checks], [])
    else:
        print_checks([check for check in checks if not (quiet and check.ok)])
    raise typer.Exit(0 if all(check.ok for check in checks) else 1)
