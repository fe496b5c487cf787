"""The commands that work on annotation files, hand them on to other programs, or take in what those made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import SettingsFile, chosen_settings
from flows.cli.output import AsJson, Output, Quiet
from tasks.annotations.convert.formats import OWN_LAYOUT, Layout, help_text
from tasks.core.choices import MOST_PEOPLE
from tasks.core.errors import FightposeError
from tasks.core.region_layout import REGIONS

MOST_EXPLAINED = 10
"""Clips that `explain` prints; a merged data set may hold thousands."""

Annotations = Annotated[Path, typer.Argument(help="PKL of this program, mmaction2, pyskl or the earlier scripts.")]


def explain(annotations: Annotations, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Show why the people of a clip are ranked as they are (docs/scores.md)."""
    from tasks.annotations.explain import explain, explain_text
    from tasks.annotations.format import read_annotation
    from tasks.annotations.validate import require_valid

    read = read_annotation(annotations)["annotations"]
    # All of them before any is printed: a broken one would end the command in the middle of its output.
    for one in read:
        require_valid(one, annotations)
    value = [{"clip": one.get("frame_dir"), "label": one.get("label"), "people": explain(one)} for one in read]
    lines = [line for one in read[:MOST_EXPLAINED] for line in explain_text(one).split("\n")]
    if len(read) > MOST_EXPLAINED:
        lines.append(f"{len(read) - MOST_EXPLAINED} more clips: give the PKL of a clip, or --json for all")
    Output(as_json, quiet).tell(value, lines)


def convert(
    source: Annotated[Path, typer.Argument(help="PKL of any known layout, an output folder, or a folder of PKLs.")],
    destination: Annotated[Path, typer.Argument(help="File for stgcn and pyskl, else a folder (one file per clip).")],
    to: Annotated[Layout, typer.Option(help=help_text())] = OWN_LAYOUT,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse all for one annotation that cannot be converted.")
    ] = False,
    frames: Annotated[
        bool, typer.Option("--frames", help="With coco, from an output folder: write each frame of the clips as JPEG.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Convert annotations to another layout."""
    from tasks.annotations.convert.files import convert_file

    if frames:
        from tasks.annotations.convert.frames import require_clips, write_frames

        if to != Layout("coco"):
            raise FightposeError(f"--frames goes with --to coco; {to} names no images")
        require_clips(source)
    done = convert_file(source, destination, to, strict=strict)
    if frames:
        output = Output(as_json, quiet)
        # Beside a single file, as the names in it are relative to its folder.
        folder = destination if destination.is_dir() else destination.parent
        done.problems.extend(
            write_frames(source, folder, done.annotations, lambda name: output.progress(f"Frames of {name}"))
        )
    written = [str(path) for path in done.files]
    warnings = [f"warning: {problem}" for problem in done.problems]
    Output(as_json, quiet).tell({"files": written, "warnings": done.problems}, written, warnings)


def windows(
    source: Annotated[Path, typer.Argument(help="Output folder of an earlier run, or a PKL.")],
    destination: Annotated[Path, typer.Argument(help="The annotation file to write.")],
    window: Annotated[str, typer.Option(help="Length of a window in frames (100) or seconds (4s).")] = "100",
    stride: Annotated[
        str, typer.Option(help="From one window's start to the next, in the same unit.", show_default="half a window")
    ] = "",
    intervals: Annotated[
        Path | None,
        typer.Option(
            help="CSV with the columns clip, start, stop and label: frames from 0, or seconds as 12.5s; else labels "
            "follow involvement.",
            show_default="none",
        ),
    ] = None,
    label_threshold: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="Share of a video's highest involvement that gives a window its label."),
    ] = 0.5,
    leave_unsure: Annotated[
        bool, typer.Option("--leave-unsure", help="Leave out windows just below the threshold.")
    ] = False,
    max_persons: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_PEOPLE, help="Most people per window, in rank order.", show_default="as the run"),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Cut long clips into windows, each labelled by itself.

    Of an output folder each window ranks its own people, from all tracks of the video; of a PKL it holds those of the
    people in the file who are in it.
    """
    from tasks.annotations.convert.files import window_file
    from tasks.annotations.convert.intervals import interval_table, label_by_table
    from tasks.annotations.convert.sources import identifiers_of
    from tasks.training.windows import WindowPlan, span_of, windows_of_outputs

    # One unit for both: frames and seconds mix only by the frame rate of each clip.
    length, in_seconds = span_of(window)
    step, other_unit = span_of(stride) if stride else (max(length / 2, 0 if in_seconds else 1), in_seconds)
    if other_unit != in_seconds:
        raise FightposeError(f"--window {window} and --stride {stride} have different units; write both in one")
    # Without a table of intervals, a window gets its video's label where involvement is high.
    rule, warnings = None, []
    if intervals is not None:
        table = interval_table(intervals)
        rule, warnings = label_by_table(table), table.report(identifiers_of(source), "")
    # Only an output folder still has the poses of everybody; the people that a PKL leaves out are gone.
    if source.is_dir():
        plan = WindowPlan(length, step, in_seconds, rule, label_threshold, leave_unsure, max_persons)
        report = windows_of_outputs(source, destination, plan)
    elif max_persons is not None:
        raise FightposeError(f"{source}: --max-persons needs an output folder, whose windows rank their own people")
    elif in_seconds:
        # A PKL may come from a program that notes no frame rate.
        raise FightposeError(f"{source}: windows in seconds need an output folder; write frames")
    else:
        report = window_file(source, destination, round(length), round(step), rule, label_threshold)
    Output(as_json, quiet).tell(
        {
            "files": [str(report.path)],
            "windows": report.classes.total(),
            "classes": dict(sorted(report.classes.items())),
            "people": dict(sorted(report.people.items())),
            "empty": report.empty,
            "unsure": report.unsure,
            "warnings": [*warnings, *report.problems],
        },
        [str(report.path), *report.lines()],
        [f"warning: {line}" for line in (*warnings, *report.problems)],
    )


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
    from tasks.annotations.validate import sound_annotation
    from tasks.clips.manifest import read_manifests
    from tasks.core.storage import require_output_root
    from tasks.regions.camera_weights import learn_camera_weights

    require_output_root(output_root)
    # Generators: there may be thousands of annotations, which are read one by one.
    clips = (clip.annotation_path for clip in read_manifests(output_root) if clip.annotation_path.is_file())
    learned = learn_camera_weights((sound_annotation(path) for path in clips), camera_pattern)
    if not sum(learned.clips.values()):
        raise FightposeError(f"no clip of {output_root} has an annotation to learn from; run fightpose annotate first")
    learned.save(out)
    # Five numbers say nothing without the regions that they belong to.
    lines = [f"Written: {out}; use it with: fightpose annotate ... --region-weights {out}", " ".join(REGIONS)]
    lines += [
        f"{camera or 'all clips'}: {' '.join(f'{weight:.2f}' for weight in learned.weights[camera])} ({count} clips)"
        for camera, count in sorted(learned.clips.items())
    ]
    Output(as_json, quiet).tell(learned.model_dump(mode="json"), lines)


def training(
    output_root: Annotated[
        Path, typer.Argument(help="Output folder of an earlier run, or a merged data set such as windows.pkl.")
    ],
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write configs that train STGCN++ on the data set with mmaction2 or pyskl, and a data card for those who get it.

    Configs go into a folder `training` beside the data set; the card is `dataset.md`, with a table of the clips and
    Croissant metadata beside it.
    """
    from tasks.annotations.format import read_annotation
    from tasks.core.errors import FightposeError
    from tasks.mapping.verify import DATASET_NAME
    from tasks.training.card import write_card
    from tasks.training.configs import plan_training, write_configs

    # A file of windows is a data set, too.
    dataset = output_root / DATASET_NAME if output_root.is_dir() else output_root
    if not dataset.is_file():
        raise FightposeError(f"there is no data set {dataset}; run fightpose annotate first")
    data = read_annotation(dataset)
    plan = plan_training(dataset, data)
    configs = write_configs(plan, dataset.with_name("training"))
    written = [str(path) for path in [*configs, *write_card(dataset, data)]]
    # val and test are the same split where a data set has two only.
    train, val, test = plan.splits
    lines = [
        *written,
        f"Train on {train}, choose by {val}, test on {test}; the commands are at the top of each config.",
        "Train both streams and add their scores: each alone is less accurate.",
    ]
    value = {"files": written, "classes": plan.classes, "splits": plan.splits, "notes": plan.notes}
    Output(as_json, quiet).tell(value, lines, [f"warning: {line}" for line in plan.notes])


def import_poses(
    context: typer.Context,
    poses: Annotated[Path, typer.Argument(help="Folder of files of poses, named like the clips.")],
    input: Annotated[Path, typer.Argument(help="Folder of the clips, or one clip.")],
    output_root: Annotated[Path, typer.Option(help="Folder below which the input's tree is mirrored.")],
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Annotate clips with poses that another program found: tracking, ranking, annotation, overlay.

    Takes JSON of AlphaPose, MMPose and COCO, label files of ultralytics, MOT rows with keypoints, TRC files of Sports2D
    and npz arrays. Track IDs of the files are kept; other skeletons are mapped to COCO's 17 joints.
    """
    from flows.runs.imported import import_poses

    output = Output(as_json, quiet)
    settings = chosen_settings(context, settings_file)
    report = import_poses(poses, input, output_root, settings, output.progress)
    lines = [
        f"{len(report.annotated)} annotated, {len(report.failed)} failed, {len(report.without)} without poses",
        f"Outputs: {output_root}",
    ]
    # Failed clips were shown as they came, except where nothing is shown meanwhile.
    wrong = [f"{clip}: {reason}" for clip, reason in report.failed] if quiet else []
    wrong += [f"warning: {line}" for line in report.warnings]
    if report.without:
        wrong.append(f"warning: clips without poses: {len(report.without)}, the first: {report.without[0]}")
    value = {"annotated": report.annotated, "failed": report.failed, "without": report.without}
    output.tell(value | {"warnings": report.warnings, "output_root": str(output_root)}, lines, wrong)
    # Clips without poses are no failure: the folder may hold more than the other program was given.
    raise typer.Exit(1 if report.failed else 0)


def import_review(
    file: Annotated[Path, typer.Argument(help="XML that CVAT exported as 'CVAT for video 1.1'.")],
    output_root: Annotated[Path, typer.Argument(help="Output folder whose annotations were corrected there.")],
    clip: Annotated[
        str, typer.Option(help="The clip, if the file's names do not say it.", show_default="by name")
    ] = "",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Take over corrections that were made in CVAT: roles, ranks, drops, merges, splits, moved joints."""
    from tasks.clips.manifest import read_manifests
    from tasks.clips.names import ClipTable, Row
    from tasks.core.errors import FightposeError
    from tasks.review.apply import automatic_annotation
    from tasks.review.cvat import changes_of, clip_of, read_cvat
    from tasks.review.log import Undo, append_change, read_review, standing_changes

    read = read_cvat(file)
    clips = {one.frame_dir: one for one in read_manifests(output_root)}
    if clip:
        # The same rules as in tables of labels: the end of a clip's path will do where it fits one clip only.
        named = ClipTable(file, [Row(1, clip, clip)])
        found = [name for name in clips if named.find(name)]
        if len(found) != 1:
            raise FightposeError(f"--clip {clip} names {len(found)} clips of {output_root}")
    name = found[0] if clip else clip_of(read, file, list(clips))
    # Corrections are counted from the automatic annotation, whatever was applied since.
    changes, notes = changes_of(automatic_annotation(clips[name], output_root), read.tracks)
    standing = standing_changes(read_review(output_root)).get(name, [])
    # What an earlier file said and this one does not was put right again in CVAT. What was said on the page stays.
    gone = [entry for entry in standing if entry.who == "CVAT" and entry.change not in changes]
    for entry in gone:
        append_change(output_root, name, "CVAT", Undo(entry=entry.id))
    # The same file again changes nothing.
    known = [entry.change for entry in standing]
    new = [change for change in changes if change not in known]
    for change in new:
        append_change(output_root, name, "CVAT", change)
    lines = [f"{name}: {len(new)} corrections", *(f"  {change.words()}" for change in new)]
    lines += [f"  taken back: {entry.change.words()}" for entry in gone]
    lines += [f"Put them into effect: fightpose apply-review {output_root}"] if new or gone else []
    value = {
        "clip": name,
        "changes": [change.model_dump(mode="json") for change in new],
        "taken_back": [entry.change.model_dump(mode="json") for entry in gone],
        "notes": notes,
    }
    Output(as_json, quiet).tell(value, lines, [f"warning: {note}" for note in notes])
