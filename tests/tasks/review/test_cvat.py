"""Corrections made in CVAT: an export is edited as CVAT would, and what comes back is what was done."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from flows.cli import main as cli
from tasks.annotations.convert.cvat import cvat_xml
from tasks.annotations.format import read_annotation
from tasks.core.errors import FightposeError
from tasks.review.apply import apply_review
from tasks.review.cvat import changes_of, clip_of, read_cvat
from tasks.review.log import DropPerson, MergeTracks, Role, SetOrder, SetRole, SplitTrack, read_review
from tests.review_outputs import make_outputs
from tests.tasks.samples import sample_annotation


class Edited:
    """An export in CVAT's hands."""

    def __init__(self, path: Path, people: int = 3) -> None:
        self.path, self.annotation = path, sample_annotation(people, 20)
        self.root = ElementTree.fromstring(cvat_xml(self.annotation))  # noqa: S314 - our own text

    def track(self, number: int) -> ElementTree.Element:
        """Return the track of a person."""
        return next(
            one for one in self.root.findall("track")
            if one.findtext("skeleton/attribute[@name='track_id']") == str(number)
        )  # fmt: skip

    def set(self, number: int, name: str, value: str) -> None:
        """Give a person an attribute."""
        for attribute in self.track(number).findall(f"skeleton/attribute[@name='{name}']"):
            attribute.text = value

    def changes(self) -> tuple[list, list[str]]:
        """Save, and return the corrections that are read."""
        self.path.write_text(ElementTree.tostring(self.root, encoding="unicode"))
        return changes_of(self.annotation, read_cvat(self.path).tracks)


@pytest.fixture
def edited(tmp_path):
    """Three people; IDs 3, 2, 1 in rank order."""
    return Edited(tmp_path / "a.xml")


def test_an_export_that_nobody_changed_has_no_corrections(edited):
    """Nor notes."""
    assert edited.changes() == ([], [])


def test_roles_and_ranks_come_back(edited):
    """By attribute."""
    edited.set(2, "role", "fighter")
    edited.set(1, "role", "bystander")
    edited.set(3, "rank", "2")
    edited.set(2, "rank", "1")
    assert edited.changes()[0] == [
        SetRole(track_id=2, role=Role.FIGHTER),
        SetRole(track_id=1, role=Role.BYSTANDER),
        SetOrder(track_ids=(2, 3, 1)),
    ]


def test_a_deleted_person_is_dropped(edited):
    """The others stay."""
    edited.root.remove(edited.track(2))
    assert edited.changes() == ([DropPerson(track_id=2)], [])


def test_merged_tracks_are_one_person(edited):
    """CVAT moves the shapes of one track into the other."""
    one, other = edited.track(3), edited.track(1)
    frames = {int(skeleton.get("frame")) for skeleton in other.findall("skeleton")}
    for skeleton in one.findall("skeleton"):
        if int(skeleton.get("frame")) in frames:
            one.remove(skeleton)
    one.extend(other.findall("skeleton"))
    edited.root.remove(other)
    changes, _ = edited.changes()
    assert changes[0] == MergeTracks(into=3, other=1)


def test_a_split_track_is_two_people(edited):
    """The later part has the same ID in CVAT."""
    track = edited.track(3)
    late = ElementTree.SubElement(edited.root, "track", track.attrib)
    for skeleton in [one for one in track.findall("skeleton") if int(one.get("frame")) >= 10]:
        track.remove(skeleton)
        late.append(skeleton)
    scores = edited.annotation["keypoint_score"][0]
    first = next(frame for frame in range(10, 20) if scores[frame].any())
    assert edited.changes()[0] == [SplitTrack(track_id=3, frame=first, new_id=4)]


def test_moved_joints_and_new_people_are_counted(edited):
    """They are not taken over without a word."""
    edited.track(2).find("skeleton/points").set("points", "1.00,1.00")
    edited.root.append(ElementTree.fromstring(ElementTree.tostring(edited.track(1))))  # noqa: S314 - our own text
    for attribute in edited.root.findall("track")[-1].findall("skeleton/attribute[@name='track_id']"):
        attribute.text = "99"
    _, notes = edited.changes()
    assert notes == [
        "1 people drawn in CVAT are not taken over",
        "1 joints were moved in CVAT; their places are not taken over",
    ]


@pytest.mark.parametrize(
    "text", ["", "no xml", "<a/>", "<annotations/>", "<!DOCTYPE a [<!ENTITY b 'c'>]><annotations>&b;</annotations>"]
)
def test_other_files_are_clear_errors(tmp_path, text):
    """With the file's name; entities are never expanded."""
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(FightposeError, match=r"a\.xml"):
        read_cvat(tmp_path / "a.xml")


def test_the_command_writes_corrections_once_and_they_are_put_into_effect(tmp_path):
    """The clip is known by the file's path; the same file again adds nothing."""
    outputs = make_outputs(tmp_path, 2)
    clip = outputs.clips[1]
    (annotation,) = read_annotation(clip.annotation_path)["annotations"]
    path = tmp_path / f"{clip.frame_dir}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(cvat_xml(annotation))
    assert clip_of(read_cvat(path), path, [one.frame_dir for one in outputs.clips]) == clip.frame_dir
    root = ElementTree.parse(path).getroot()  # noqa: S314 - our own file
    root.remove(root.findall("track")[0])
    path.write_text(ElementTree.tostring(root, encoding="unicode"))
    for count in (1, 1):
        result = CliRunner().invoke(cli.app, ["import-review", str(path), str(outputs.root)])
        assert result.exit_code == 0, result.output
        assert len(read_review(outputs.root)) == count
    apply_review(outputs.root)
    (corrected,) = read_annotation(clip.annotation_path)["annotations"]
    assert corrected["track_ids"].tolist() == annotation["track_ids"].tolist()[1:]
