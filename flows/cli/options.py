"""Options that several commands share, and the choices that options offer.

The choices repeat names of `tasks.core.settings` and `flows.annotate_dataset`, whose imports would slow `--help` down.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class RunMode(StrEnum):
    """What `annotate` does with the input."""

    SINGLE = "single"
    PARALLEL = "parallel"
    DEMO = "demo"
    ANALYZE = "analyze"
    POOL = "pool"


class RetryMode(StrEnum):
    """Where `retry-failed` runs the clips."""

    SINGLE = "single"
    PARALLEL = "parallel"
    POOL = "pool"


class FailOnName(StrEnum):
    """When failed clips make the exit code 1."""

    NONE = "none"
    ANY = "any"
    SHARE = "share"


class ScorerName(StrEnum):
    """How involvement is scored."""

    DEFAULT = "default"
    SEED = "seed"


class SecondLookName(StrEnum):
    """When a frame is looked at again."""

    OFF = "off"
    AUTO = "auto"
    ALWAYS = "always"


class RuntimeName(StrEnum):
    """What runs the model."""

    AUTO = "auto"
    OPENVINO = "openvino"
    ONNXRUNTIME = "onnxruntime"
    TORCH = "torch"


class PrecisionName(StrEnum):
    """The numbers in which the model computes."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"


class InputShapeName(StrEnum):
    """Which part of RTMO's input the network works on."""

    SQUARE = "square"
    FITTED = "fitted"


class TrackerName(StrEnum):
    """How people are followed."""

    FIGHTPOSE = "fightpose"
    BYTETRACK = "bytetrack"
    SORT = "sort"
    OCSORT = "ocsort"


OutputRoot = Annotated[Path, typer.Argument(help="Output folder of an earlier run.")]
Share = Annotated[float | None, typer.Option(min=0.0, max=1.0, show_default="the model's own")]
FailOnOption = Annotated[
    FailOnName, typer.Option(help="Exit code 1 for no failed clip, for any, or above --fail-share.")
]
FailShare = Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of failed clips for --fail-on share.")]
NumWorkers = Annotated[int | None, typer.Option(min=1, show_default="what the machine carries")]
InFlight = Annotated[int, typer.Option(min=1, max=200, help="Most clips queued or running at once in mode pool.")]
Classes = Annotated[
    str | None,
    typer.Option(help="Class numbers of folders, or of what --label-pattern finds: Fight=1,NonFight=0,Fall=2."),
]
Labels = Annotated[Path | None, typer.Option(help="CSV file with the columns clip and label.")]
LabelPattern = Annotated[
    str | None, typer.Option(help="Regular expression on a clip's path that finds the name of its class.")
]
Groups = Annotated[
    Path | None, typer.Option(help="CSV file with the columns clip and group: a group is in one split only.")
]
GroupPattern = Annotated[
    str | None,
    typer.Option(help="Regular expression on a clip's path that finds its camera or source: it is in one split only."),
]
