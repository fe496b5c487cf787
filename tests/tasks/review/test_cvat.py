"""Corrections made in CVAT: an export is edited as CVAT would, and what comes back is what was done."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli import main as cli
from tasks.annotations.convert.cvat import cvat_xml
from tasks.annotations.format import read_annotation
from tasks.annotations.validate import validate_annotation
from tasks.core.errors import FightposeError
from tasks.review.apply import apply_review
from tasks.review.corrections import apply_changes
from tasks.review.cvat import changes_of, clip_of, read_cvat
from tasks.review.log import (
    DropPerson,
    MergeTracks,
    MovedJoint,
    MoveJoints,
    Role,
    SetOrder,
    SetRole,
    SplitTrack,
    append_change,
    read_review,
    standing_changes,
)
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


def points_of(skeleton: ElementTree.Element, joint: str) -> ElementTree.Element:
    """Return the element of a joint."""
    return next(one for one in skeleton.findall("points") if one.get("label") == joint)


def seen_frames(annotation, number: int) -> list[int]:
    """Return the frames in which a person is."""
    person = annotation["track_ids"].tolist().index(number)
    return np.flatnonzero(annotation["keypoint_score"][person].any(-1)).tolist()


def test_joints_that_were_moved_placed_or_taken_away_come_back(edited):
    """And end in the corrected annotation: as sure as the surest joint there, in a box that has room for them."""
    before = edited.annotation
    frames = seen_frames(before, 2)
    skeletons = {int(one.get("frame")): one for one in edited.track(2).findall("skeleton")}
    points_of(skeletons[frames[0]], "nose").set("points", "1.00,2.50")
    points_of(skeletons[frames[1]], "left_wrist").set("outside", "1")
    changes, notes = edited.changes()
    moved = MoveJoints(
        track_id=2,
        frames={
            frames[0]: (MovedJoint(name="nose", place=(1.0, 2.5)),),
            frames[1]: (MovedJoint(name="left_wrist", place=None),),
        },
    )
    assert (changes, notes) == ([moved], [])
    applied = apply_changes(before, changes)
    after, person = applied.annotation, before["track_ids"].tolist().index(2)
    assert applied.misfits == []
    assert validate_annotation(after) == []
    assert after["keypoint"][person, frames[0], 0].tolist() == [1.0, 2.5]
    assert after["keypoint_score"][person, frames[0], 0] == before["keypoint_score"][person, frames[0]].max()
    assert (after["bbox"][person, frames[0], :2] <= [1.0, 2.5]).all()
    assert not after["keypoint"][person, frames[1], 9].any()
    assert after["keypoint_score"][person, frames[1], 9] == 0
    # Nothing else changes, and the automatic annotation is as it was.
    rest = np.delete(after["keypoint"], person, axis=0), np.delete(before["keypoint"], person, axis=0)
    assert np.array_equal(*rest)
    assert before["keypoint"][person, frames[0], 0].tolist() != [1.0, 2.5]
    # The joint that was taken away is put back by hand.
    again = MoveJoints(track_id=2, frames={frames[1]: (MovedJoint(name="left_wrist", place=(5.0, 6.0)),)})
    twice = apply_changes(before, [*changes, again]).annotation
    assert twice["keypoint"][person, frames[1], 9].tolist() == [5.0, 6.0]


def test_moved_joints_follow_their_person_through_a_merge(edited):
    """They belong to the automatic pose, whatever its person is called in the end."""
    annotation = edited.annotation
    kept, gone = annotation["track_ids"][:2].tolist()
    # Nobody else is in the frame, so that the pose of the merged person is the one that counts.
    only = seen_frames(annotation, gone)[0]
    annotation["keypoint"][0, only] = annotation["keypoint_score"][0, only] = 0
    changes = [
        MoveJoints(track_id=gone, frames={only: (MovedJoint(name="nose", place=(7.0, 8.0)),)}),
        MergeTracks(into=kept, other=gone),
    ]
    for order in (changes, [changes[1], changes[0].model_copy(update={"track_id": kept})]):
        applied = apply_changes(annotation, order)
        assert applied.misfits == []
        assert applied.annotation["keypoint"][0, only, 0].tolist() == [7.0, 8.0]
    # A place that no annotation may hold is passed over as well.
    far = MoveJoints(track_id=gone, frames={only: (MovedJoint(name="nose", place=(90000.0, 8.0)),)})
    applied = apply_changes(annotation, [far])
    assert applied.misfits == [f"joints: 1 of person {gone} are far outside the frame"]
    assert validate_annotation(applied.annotation) == []
    (misfit,) = apply_changes(annotation, [MoveJoints(track_id=kept, frames={999: ()})]).misfits
    assert misfit == f"joints: person {kept} is not in 1 of these frames"


def test_people_and_poses_drawn_in_cvat_are_counted(edited):
    """They are not left out without a word."""
    skeleton = edited.track(2).find("skeleton")
    edited.track(2).append(ElementTree.fromstring(ElementTree.tostring(skeleton)))  # noqa: S314 - our own text
    edited.track(2).findall("skeleton")[-1].set("frame", "500")
    edited.root.append(ElementTree.fromstring(ElementTree.tostring(edited.track(1))))  # noqa: S314 - our own text
    for attribute in edited.root.findall("track")[-1].findall("skeleton/attribute[@name='track_id']"):
        attribute.text = "99"
    changes, notes = edited.changes()
    assert changes == []
    assert notes == [
        "1 people drawn in CVAT are not taken over",
        "1 poses drawn in CVAT, in frames without the person, are not taken over",
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


def test_what_is_put_right_again_in_cvat_is_taken_back_here(tmp_path):
    """A joint moved in one file and at its place in the next; what was said on the page stays."""
    outputs = make_outputs(tmp_path, 2)
    clip = outputs.clips[1]
    automatic = read_annotation(clip.annotation_path)["annotations"][0]
    said = append_change(
        outputs.root, clip.frame_dir, "A", SetRole(track_id=int(automatic["track_ids"][0]), role=Role.FIGHTER)
    )
    path = tmp_path / f"{clip.frame_dir}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)

    def place(annotation) -> np.ndarray:
        """Return where the joint is, a view: the second person's left shoulder in the frame after their first."""
        person = annotation["track_ids"].tolist().index(automatic["track_ids"][1])
        frame = int(np.flatnonzero(automatic["keypoint_score"][1].any(-1))[1])
        return annotation["keypoint"][person, frame, 5]

    for shift in (40, 0):
        annotation = read_annotation(clip.annotation_path)["annotations"][0]
        place(annotation)[:] = place(automatic) + shift
        path.write_text(cvat_xml(annotation))
        result = CliRunner().invoke(cli.app, ["import-review", str(path), str(outputs.root)])
        assert result.exit_code == 0, result.output
        apply_review(outputs.root)
        corrected = read_annotation(clip.annotation_path)["annotations"][0]
        np.testing.assert_allclose(place(corrected), place(automatic) + shift, atol=0.5)
    assert "taken back" in result.output
    assert said in standing_changes(read_review(outputs.root))[clip.frame_dir]
