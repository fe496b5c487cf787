"""The commands that hand a data set on to other programs, or take in what they made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import SettingsFile, chosen_settings
from flows.cli.output import AsJson, Output, Quiet


def training(
    output_root: Annotated[
        Path, typer.Argument(help="Output folder of an earlier run, or a merged data set such as windows.pkl.")
    ],
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write configs that train STGCN++ on the data set with mmaction2 or pyskl, and a data card for whoever gets it.

    Configs go into a folder `training` beside the data set; the card is `dataset.md`, with a table of the clips and
    Croissant metadata beside it.
    """
    from tasks.annotations.format import read_annotation
    from tasks.core.errors import FightposeError
    from tasks.mapping.verify import DATASET_NAME
    from tasks.training.card import write_card
    from tasks.training.configs import plan_training, write_configs

    dataset = output_root / DATASET_NAME if output_root.is_dir() else output_root
    if not dataset.is_file():
        raise FightposeError(f"there is no data set {dataset}; run fightpose annotate first")
    data = read_annotation(dataset)
    plan = plan_training(dataset, data)
    configs = write_configs(plan, dataset.with_name("training"))
    written = [str(path) for path in [*configs, *write_card(dataset, data)]]
    train, val, test = plan.splits
    lines = [
        *written,
        f"Train on {train}, choose by {val}, test on {test}; the commands are at the top of each config.",
    ]
    value = {"files": written, "classes": plan.classes, "splits": plan.splits, "notes": plan.notes}
    Output(as_json, quiet).tell(value, lines, [f"warning: {note}" for note in plan.notes])


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
    wrong = [f"{clip}: {reason}" for clip, reason in report.failed] if quiet else []
    wrong += [f"warning: {line}" for line in report.warnings]
    if report.without:
        wrong.append(f"warning: clips without poses: {len(report.without)}, the first: {report.without[0]}")
    value = {"annotated": report.annotated, "failed": report.failed, "without": report.without}
    output.tell(value | {"warnings": report.warnings, "output_root": str(output_root)}, lines, wrong)
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
    """Take over corrections that were made in CVAT: roles, ranks, deleted people, merged and split tracks."""
    from tasks.clips.manifest import read_manifests
    from tasks.clips.names import ClipTable, Row
    from tasks.core.errors import FightposeError
    from tasks.review.apply import automatic_annotation
    from tasks.review.cvat import changes_of, clip_of, read_cvat
    from tasks.review.log import append_change, read_review, standing_changes

    read = read_cvat(file)
    clips = {one.frame_dir: one for one in read_manifests(output_root)}
    if clip:
        named = ClipTable(file, [Row(1, clip, clip)])
        found = [name for name in clips if named.find(name)]
        if len(found) != 1:
            raise FightposeError(f"--clip {clip} names {len(found)} clips of {output_root}")
    name = found[0] if clip else clip_of(read, file, list(clips))
    changes, notes = changes_of(automatic_annotation(clips[name], output_root), read.tracks)
    known = [entry.change for entry in standing_changes(read_review(output_root)).get(name, [])]
    # The same file again changes nothing.
    new = [change for change in changes if change not in known]
    for change in new:
        append_change(output_root, name, "CVAT", change)
    lines = [f"{name}: {len(new)} corrections", *(f"  {change.kind}: {change}" for change in new)]
    lines += [f"Put them into effect: fightpose apply-review {output_root}"] if new else []
    value = {"clip": name, "changes": [change.model_dump(mode="json") for change in new], "notes": notes}
    Output(as_json, quiet).tell(value, lines, [f"warning: {note}" for note in notes])
