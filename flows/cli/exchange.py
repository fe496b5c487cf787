"""The commands that hand a data set on to other programs, or take in what they made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
