"""Every setting of a run, with the earlier scripts' names and defaults.

Thresholds on scores depend on the model (MoveNet's scores run far lower than RTMO's). They are `None` here unless the
user sets them, and `resolve` fills the open ones from the model's entry: an option that the user gives always wins.
"""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.regions.camera_weights import CameraWeights

Share = Field(ge=0.0, le=1.0)


class Thresholds(BaseModel):
    """Score thresholds that go with one model's score range.

    The defaults are the earlier scripts', made for RTMO, whose scores span 0 to 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    score_thr: float = Field(0.3, ge=0.0, le=1.0)
    nms_thr: float = Field(0.35, ge=0.0, le=1.0)
    track_high_thresh: float = Field(0.6, ge=0.0, le=1.0)
    track_low_thresh: float = Field(0.1, ge=0.0, le=1.0)
    track_still_thresh: float = Field(0.6, ge=0.0, le=1.0)
    quality_threshold: float = Field(0.3, ge=0.0, le=1.0)


class _Group(BaseModel):
    """A group of settings: immutable, and a misspelt name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SecondLook(StrEnum):
    """When a frame is looked at again, enlarged, where people are in doubt."""

    OFF = "off"
    AUTO = "auto"
    ALWAYS = "always"


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


class PoseSettings(_Group):
    """How people are found."""

    model: str = Field(
        "movenet-multipose", description="Name in the model table, or a .tflite, .onnx or .json (top-down) file."
    )
    config: str | None = Field(None, description="mmpose config of RTMO (a .py file); then --model is not used.")
    checkpoint: str | None = Field(None, description="mmpose checkpoint (.pth) that goes with the config.")
    device: str = Field("cpu", description="Where the model runs: cpu, or cuda:0 where the backend has it.")
    runtime: Runtime = Field(Runtime.AUTO, description="What runs the model; auto: the fastest that is installed.")
    precision: Precision = Field(
        Precision.AUTO,
        description="auto: fp32, and fp16 for a checkpoint on a GPU; int8 needs `fightpose quantize-model` first.",
    )
    input_shape: InputShape = Field(
        InputShape.SQUARE,
        description="square: as mmpose; fitted: an exported RTMO in OpenVINO leaves the padding of the frame out, "
        "which is faster and shifts scores and joints a little.",
    )
    score_thr: float | None = Field(
        None, ge=0.0, le=1.0, description="Keep people that score above this; empty: the model's own."
    )
    nms_thr: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="Boxes that overlap more (IoU) are one person; empty: the model's own.",
    )
    second_look: SecondLook = Field(
        SecondLook.AUTO,
        description="off: one pass over each frame; auto: enlarged crops where people are in doubt; "
        "always: enlarged crops of everyone.",
    )
    look_budget: float = Field(
        3.0, ge=1.0, le=20.0, description="Most that the looks may cost, as a multiple of one pass over each frame."
    )


class Tracker(StrEnum):
    """The ways to follow people; all but the first come from the optional package `trackers`."""

    FIGHTPOSE = "fightpose"
    BYTETRACK = "bytetrack"
    SORT = "sort"
    OCSORT = "ocsort"


class TrackingSettings(_Group):
    """How people are followed through a clip."""

    tracker: Tracker = Field(Tracker.FIGHTPOSE, description="All but fightpose need the extra 'trackers'.")

    track_high_thresh: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="Detections above this start and extend tracks; empty: the model's own.",
    )
    track_low_thresh: float | None = Field(
        None, ge=0.0, le=1.0, description="Detections above this extend tracks; empty: the model's own."
    )
    track_still_thresh: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="Who never moves and seldom scores this much is taken for a thing; empty: the model's own.",
    )
    track_max_disappeared: int = Field(30, ge=0, description="Frames for which an unseen person is still looked for.")
    track_min_hits: int = Field(3, ge=1, description="Detections before a track counts.")


class SelectionSettings(_Group):
    """Which tracks reach the annotation."""

    min_track_length: int = Field(10, ge=1, description="Shorter tracks (frames) are left out.")
    quality_threshold: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="Tracks of a lower mean joint score are left out; empty: the model's own.",
    )
    max_persons: int = Field(4, ge=1, description="At most this many people per clip, in rank order.")


class Scorer(StrEnum):
    """The ways to score involvement."""

    DEFAULT = "default"
    SEED = "seed"


DEFAULT_WEIGHTS = {
    "movement": 6.0,
    "position": 0.5,
    "interaction": 1.0,
    "temporal_consistency": 0.0,
    "persistence": 1.5,
    "size": 2.0,
    "reliability": 0.5,
    "distinctness": 0.25,
}
"""Weight of each component in the default composite score.

Found on 30 labelled clips of 12 sources, with the detections of several pose models and trackers, and kept round.
The components are logarithms, so that 6.0 (movement) and 2.0 (size) mean speed^1.63 * size: near people weigh more, but
not by their pixels alone. Fits with one source left out give movement, size and persistence most of the weight as well,
but none to interaction, without which one-sided attacks are missed; temporal consistency never earned a weight, and is
kept as an explanation."""


class ScoringSettings(_Group):
    """How involvement is judged."""

    scorer: Scorer = Field(Scorer.DEFAULT, description="seed: the earlier scripts' formulas.")
    adaptive: bool = Field(True, description="Learn the weights of the frame's regions from each clip.")
    region_rate: float = Field(
        0.3,
        ge=0.0,
        le=1.0,
        description="Share of the new observation in each round of learning region weights.",
    )
    region_rounds: int = Field(5, ge=0, description="At most this many rounds.")
    region_tolerance: float = Field(0.05, ge=0.0, description="Stop when the weights change less than this in sum.")
    region_tracks: int = Field(5, ge=1, description="Learn from this many of the most involved tracks.")
    weights: dict[str, float] = Field(
        default_factory=lambda: dict(DEFAULT_WEIGHTS),
        description="Weight of each component of the default scorer; one that is left out counts nothing.",
    )
    camera_weights: CameraWeights | None = Field(
        None, description="Region weights learned from many clips, to start each clip's own from."
    )
    window_seconds: float = Field(1.0, gt=0.0, description="Length of the windows of the score over time.")

    @field_validator("weights")
    @classmethod
    def _known_weights(cls, weights: dict[str, float]) -> dict[str, float]:
        """Refuse names that are no component, and weights that cannot make a mean."""
        unknown = sorted(weights.keys() - DEFAULT_WEIGHTS.keys())
        if unknown:
            raise ValueError(f"no such component: {', '.join(unknown)}; there are {', '.join(DEFAULT_WEIGHTS)}")
        if not all(0 <= w < math.inf for w in weights.values()) or not any(weights.values()):
            raise ValueError("weights must be 0 or more, and at least one above 0")
        return weights


class OverlaySettings(_Group):
    """What the overlay video shows."""

    save_overlayfile: bool = Field(True, description="Write an overlay video per clip.")
    overlay_regions: bool = Field(False, description="Show the five regions with their learned weights.")


class DatasetSettings(_Group):
    """Which class each clip is of, and which clips stay together in the splits of the merged data set.

    None of it alters poses, ranking or overlay. A clip's label is the first that the CSV file, the pattern or the
    folders give; else 1 below a folder `Fight` and 0 elsewhere.
    """

    classes: dict[str, int] = Field(
        default_factory=dict,
        description="Class number by name, such as Fall: 2, of folders (the innermost counts) or of what the pattern "
        "finds; empty: Fight 1, all else 0.",
    )
    labels: Path | None = Field(None, description="CSV file with the columns clip and label; goes before all else.")
    label_pattern: str | None = Field(
        None, description="Regular expression on a clip's path whose first group, or whole match, names the class."
    )
    groups: Path | None = Field(
        None, description="CSV file with the columns clip and group; a group is in one split only."
    )
    group_pattern: str | None = Field(
        None,
        description="Regular expression on a clip's path that finds its camera or source video, which is in one split "
        "only.",
    )

    @field_validator("labels", "groups")
    @classmethod
    def _found_again(cls, path: Path | None) -> Path | None:
        """Make paths absolute: a later retry, from another folder, reads the files again."""
        return path and path.absolute()

    @field_validator("classes")
    @classmethod
    def _class_numbers(cls, classes: dict[str, int]) -> dict[str, int]:
        """Refuse what no network has an output for."""
        if any(number < 0 for number in classes.values()):
            raise ValueError("class numbers start at 0")
        return classes

    @model_validator(mode="after")
    def _one_source_of_each(self) -> DatasetSettings:
        """Refuse settings of which one could never have an effect."""
        if self.label_pattern is not None and not self.classes:
            raise ValueError("label_pattern needs classes: they give the numbers of the names that it finds")
        if self.groups is not None and self.group_pattern is not None:
            raise ValueError("groups and group_pattern exclude each other")
        return self


class LimitSettings(_Group):
    """What one clip may take before it is given up; none of it changes what is found."""

    time_limit: float | None = Field(
        None, gt=0.0, description="Seconds for all steps of a clip; empty: no limit, but a decoder that hangs is ended."
    )
    memory_limit: int = Field(
        4096, ge=64, description="MB that decoding a clip may take, and that the process may grow by meanwhile."
    )


class Settings(_Group):
    """All settings of a run."""

    poses: PoseSettings = PoseSettings()
    tracking: TrackingSettings = TrackingSettings()
    selection: SelectionSettings = SelectionSettings()
    scoring: ScoringSettings = ScoringSettings()
    overlay: OverlaySettings = OverlaySettings()
    dataset: DatasetSettings = DatasetSettings()
    limits: LimitSettings = LimitSettings()

    def resolve(self, model: Thresholds) -> Settings:
        """Return the settings with every open threshold taken from the model's entry."""

        def fill(group: _Group) -> _Group:
            """Fill the fields of one group that are None and have a counterpart in the model's thresholds."""
            opened = {
                name: getattr(model, name)
                for name in type(group).model_fields
                if name in Thresholds.model_fields and getattr(group, name) is None
            }
            return group.model_copy(update=opened)

        return self.model_copy(
            update={
                "poses": fill(self.poses),
                "tracking": fill(self.tracking),
                "selection": fill(self.selection),
            }
        )
