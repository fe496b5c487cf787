"""Every kind of later damage to an output root is found by the deep check, and mended or refused with a reason."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.annotate_dataset import annotate_dataset
from flows.retry_failed import retry_failed
from flows.runs.mending import verify_and_mend
from flows.runs.results import DatasetSummary
from tasks.annotations.dataset import read_split
from tasks.annotations.format import read_annotation
from tasks.annotations.validate import Problem
from tasks.clips.manifest import read_manifests
from tasks.mapping.findings import FindingKind
from tasks.mapping.merged import DATASET_NAME
from tasks.mapping.verify import verify_mapping
from tests.fuzz.plain import flows_without_prefect
from tests.tasks.mapping.plants import PLANTS
from tests.video_factory import plain_frames, write_video

NAMES = ("Fight/a.mp4", "Fight/b.mp4", "NonFight/c.mp4", "NonFight/d.avi")

FOR_A_PERSON = {"second overlay": FindingKind.DUPLICATE}
"""What a mend refuses, because only a person can say which file is the right one."""


@pytest.fixture(scope="module", autouse=True)
def plain() -> Iterator[None]:
    """Run flows without Prefect."""
    with flows_without_prefect():
        yield


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an output root of four clips, as a run left it."""
    folder = tmp_path_factory.mktemp("sound")
    for number, name in enumerate(NAMES):
        path = folder / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # All as long, so that exchanged files have as many frames.
        write_video(path, plain_frames(12, 64 + 16 * number))
    annotate_dataset.fn(folder / "set", folder / "out")
    return folder / "out"


@pytest.fixture
def out(sound: Path, tmp_path: Path) -> Path:
    """Give a copy of it, with the same times."""
    return Path(shutil.copytree(sound, tmp_path / "out"))


def test_nothing_is_found_in_a_sound_output_root(out):
    """Nor in a copy whose times are others."""
    assert verify_mapping(out, deep=True).lines() == []
    for path in out.rglob("*.*"):
        path.touch()
    assert verify_mapping(out, deep=True).lines() == []


@pytest.mark.parametrize("name", PLANTS)
def test_damage_is_found_and_mended_or_refused(out, name):
    """The sides of the split are those from before, and a second mend has nothing to do."""
    sides, clips = read_split(out / DATASET_NAME), read_manifests(out)
    PLANTS[name](out, clips)
    found = []

    def again(names: list[str]) -> DatasetSummary:
        """Note that there was something to mend, and mend it."""
        found.append(names)
        return retry_failed.fn(out, clips=names)

    mended = verify_and_mend(out, True, True, again)
    assert found, "nothing was found"
    if name in FOR_A_PERSON:
        assert [finding.kind for finding in mended.findings] == [FOR_A_PERSON[name]]
        assert all(finding.info for finding in mended.findings)
        return
    assert mended.lines() == []
    assert mended.unmended == []
    assert read_split(out / DATASET_NAME) == read_annotation(out / DATASET_NAME)["split"] == sides


def test_a_mend_that_gives_the_same_finding_is_not_repeated(out, monkeypatch):
    """It is told once with its reason, and no round after that moves the same files and makes them again."""
    wrong = Problem("some-rule", "is as no run can make it")
    monkeypatch.setattr(
        "tasks.mapping.verify.validate_annotation",
        lambda one: [wrong] if one["frame_dir"] == "set/Fight/a" else [],
    )
    rounds: list[list[str]] = []

    def again(names: list[str]) -> DatasetSummary:
        """Note which clips are annotated again."""
        rounds.append(names)
        return retry_failed.fn(out, clips=names)

    first = verify_and_mend(out, True, True, again)
    moved = sorted((out / "quarantine").rglob("*.quarantined"))
    second = verify_and_mend(out, True, True, again)
    assert rounds == [["set/Fight/a"], []]
    assert sorted((out / "quarantine").rglob("*.quarantined")) == moved
    for report in (first, second):
        assert not report.ok
        assert report.unmended == ["set/Fight/a"]
        assert ["annotating it again gave the same result" in line for line in report.lines()] == [True]


def test_there_are_as_many_kinds_of_damage_as_were_tried():
    """55 were planted by hand in the version before."""
    assert len(PLANTS) >= 55
