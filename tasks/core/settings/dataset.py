"""The settings of the data set: which clips are taken, their classes, and which splits they go to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, field_validator, model_validator

from tasks.core.choices import SplitBy
from tasks.core.settings.base import LARGEST_LABEL, Group
from tasks.core.settings.fields import Setting
from tasks.core.text import shares_of


class DatasetSettings(Group):
    """Which clips are annotated, which class each is of, and which stay together in the splits of the data set.

    None of it alters poses, ranking or overlay. A clip's label is the first that the CSV file, the pattern or the
    folders give; else 1 below a folder `Fight` and 0 elsewhere.
    """

    decides: ClassVar[bool] = False

    include: tuple[str, ...] = Field(
        (),
        description="Only clips whose path below the input, or file name, matches one of these patterns ('Fight/*').",
    )
    exclude: tuple[str, ...] = Field((), description="No clips that match one of these patterns ('*_old.mp4').")
    clip_list: Annotated[Path | None, Setting(option="--list", empty="all clips")] = Field(
        None, description="Text file with one clip per line, its path below the input: only these."
    )
    classes: Annotated[dict[str, int], Setting(empty="Fight=1, all else 0")] = Field(
        default_factory=dict,
        description="Class number by name, such as Fall=2, of folders (the innermost counts) or of what the pattern "
        "finds.",
    )
    labels: Annotated[Path | None, Setting(empty="none")] = Field(
        None, description="CSV file with the columns clip and label; goes before all else."
    )
    label_pattern: Annotated[str | None, Setting(empty="none")] = Field(
        None, description="Regular expression on a clip's path whose first group, or whole match, names the class."
    )
    groups: Annotated[Path | None, Setting(empty="none")] = Field(
        None, description="CSV file with the columns clip and group; a group is in one split only."
    )
    group_pattern: Annotated[str | None, Setting(empty="none")] = Field(
        None,
        description="Regular expression on a clip's path that finds its camera or source video, which is in one split "
        "only.",
    )

    split_by: SplitBy = Field(
        SplitBy.RANDOM,
        description="folder: folders called train, val (valid, validation) or test decide, as in published sets. A "
        "column split in the table of labels or groups decides in any case.",
    )
    split_pattern: Annotated[str | None, Setting(empty="none")] = Field(
        None, description="Regular expression on a clip's path whose first group, or whole match, names its split."
    )
    split: str = Field("70/20/10", description="Shares of train, val and test of clips whose split is not given.")
    split_seed: Annotated[int, Setting(unit="seed")] = Field(
        0, ge=0, le=1_000_000, description="Another number puts clips into other splits."
    )
    folds: Annotated[int, Setting(unit="folds")] = Field(
        0, ge=0, le=100, description="Write dataset.fold1.pkl and so on for cross-validation, whole groups to a fold."
    )

    @field_validator("split")
    @classmethod
    def _shares(cls, split: str) -> str:
        """Refuse text that states no shares."""
        shares_of(split)
        return split

    @field_validator("folds")
    @classmethod
    def _two_folds(cls, folds: int) -> int:
        """Refuse a single fold, which leaves nothing to train on."""
        if folds == 1:
            raise ValueError("one fold leaves nothing to train on; take 2 or more, or 0 for none")
        return folds

    @field_validator("labels", "groups", "clip_list")
    @classmethod
    def _found_again(cls, path: Path | None) -> Path | None:
        """Make paths absolute: a later retry, from another folder, reads the files again."""
        return path and path.absolute()

    @field_validator("classes")
    @classmethod
    def _class_numbers(cls, classes: dict[str, int]) -> dict[str, int]:
        """Refuse numbers that no network has an output for."""
        if not all(0 <= number <= LARGEST_LABEL for number in classes.values()):
            raise ValueError(f"class numbers lie in 0 to {LARGEST_LABEL}")
        return classes

    @model_validator(mode="after")
    def _one_source_of_each(self) -> DatasetSettings:
        """Refuse settings where one could never have an effect."""
        if self.label_pattern is not None and not self.classes:
            raise ValueError("label_pattern needs classes: they give the numbers of the names that it finds")
        if self.groups is not None and self.group_pattern is not None:
            raise ValueError("groups and group_pattern exclude each other")
        return self
