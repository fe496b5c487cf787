"""Every choice that an option, a settings file, the Prefect form or a parameter of a flow offers.

The one home of these names. It imports nothing heavy: the command line needs them before it may load anything else.
"""

from __future__ import annotations

from enum import StrEnum

MOST_PEOPLE = 100
"""Bound of numbers of people or tracks; an annotation takes memory and disk for each in every frame."""


class Mode(StrEnum):
    """How the clips of a folder are run: on this machine, or (pool) each as a run of its own on the work pool."""

    SINGLE = "single"
    PARALLEL = "parallel"
    DEMO = "demo"
    POOL = "pool"


class RunMode(StrEnum):
    """What `annotate` does with its input: the modes, and the analysis that the earlier scripts offered here."""

    SINGLE = "single"
    PARALLEL = "parallel"
    DEMO = "demo"
    ANALYZE = "analyze"
    POOL = "pool"


class RetryMode(StrEnum):
    """Where clips are run that earlier runs listed: a demo of them would make no sense."""

    SINGLE = "single"
    PARALLEL = "parallel"
    POOL = "pool"


class SplitBy(StrEnum):
    """Where the split of a clip comes from, unless a table or a pattern says it."""

    RANDOM = "random"
    FOLDER = "folder"


class FailOn(StrEnum):
    """Which failed clips make a whole run a failed one."""

    NONE = "none"
    ANY = "any"
    SHARE = "share"


class Runtime(StrEnum):
    """What runs a pose model."""

    AUTO = "auto"
    OPENVINO = "openvino"
    ONNXRUNTIME = "onnxruntime"
    TORCH = "torch"


class Precision(StrEnum):
    """The numbers in which a pose model computes."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"


class InputShape(StrEnum):
    """Which part of RTMO's input the network works on."""

    SQUARE = "square"
    FITTED = "fitted"


class SecondLook(StrEnum):
    """When a frame gets a second pass over enlarged crops."""

    OFF = "off"
    AUTO = "auto"
    ALWAYS = "always"


class Tracker(StrEnum):
    """The ways to follow people; all but the first come from the optional package `trackers`."""

    FIGHTPOSE = "fightpose"
    BYTETRACK = "bytetrack"
    SORT = "sort"
    OCSORT = "ocsort"


class Scorer(StrEnum):
    """The ways to score involvement."""

    DEFAULT = "default"
    SEED = "seed"


class Privacy(StrEnum):
    """What an overlay shows of the people in the picture."""

    OFF = "off"
    HEADS = "heads"
    SKELETON = "skeleton"
