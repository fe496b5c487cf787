"""Files of poses as other programs write them: made here by the rules of the program, or by the program itself.

`written/` holds what the programs themselves wrote: ultralytics 8.4.190 (`yolo11n-pose.yaml` with random weights
tracking a clip of noise, `save_txt` and `save_conf`) and Sports2D 0.8.34 (its own writer of TRC files, given the people
of `scene`). MMPose's own files are made and read in `test_inferencer.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.annotations.convert.coco import coco_json
from tasks.core.errors import FightposeError
from tasks.core.skeleton import KEYPOINTS
from tasks.poses.imports import find_pose_files, read_poses
from tasks.poses.imports.joints import coco_joints, joints_by_name
from tests.tasks.samples import sample_annotation

FRAMES, WIDTH, HEIGHT, FPS = 6, 640, 360, 25.0
IDS = (7, 3)
WRITTEN = Path(__file__).with_name("written")
NOSES = [(265.80, 68.21), (585.80, 132.21), (265.80, 68.21), (585.80, 132.21)]
"""Pixels: the first joint of each row of `written/ultralytics`, as the program printed it."""


def scene() -> np.ndarray:
    """Return x, y and score of two people in six frames (T, M, 17, 3); the second misses frame 2, one lacks a joint."""
    joints = np.random.default_rng(0).uniform(20, 300, (FRAMES, 2, 17, 3)).astype(np.float32).round(2)
    joints[..., 2] = np.round(0.5 + joints[..., 2] / 1000, 3)
    joints[2, 1] = 0
    joints[:, 0, 3] = 0
    return joints


def people() -> list[tuple[int, int, np.ndarray, list[float]]]:
    """Return frame, person, joints and box (x1, y1, x2, y2) of each row of the scene."""
    rows = []
    for (frame, person), joints in zip(np.ndindex(FRAMES, 2), scene().reshape(-1, 17, 3), strict=True):
        if joints.any():
            there = joints[joints[:, 2] > 0, :2]
            rows.append((frame, person, joints, [*there.min(0).tolist(), *there.max(0).tolist()]))
    return rows


def xywh(box: list[float]) -> list[float]:
    """Return a box as corner and size."""
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def alphapose() -> Any:
    """Return AlphaPose's list: images by file name, scores above 1, IDs in `idx`."""
    return [
        {"image_id": f"{frame}.jpg", "category_id": 1, "keypoints": joints.ravel().tolist(), "score": 2.9,
         "box": xywh(box), "idx": [IDS[person]]}
        for frame, person, joints, box in people()
    ]  # fmt: skip


def mmpose(first: int, track: bool) -> list[dict[str, Any]]:
    """Return MMPose's list of frames; boxes are lists in lists there."""
    frames = [{"frame_id": frame + first, "instances": []} for frame in range(FRAMES)]
    for frame, person, joints, box in people():
        one = {"keypoints": joints[:, :2].tolist(), "keypoint_scores": joints[:, 2].tolist(), "bbox": [box],
               "bbox_score": 0.9}  # fmt: skip
        frames[frame]["instances"].append(one | ({"track_id": IDS[person]} if track else {}))
    return frames


def coco_results() -> Any:
    """Return COCO's results: images count from 1, nothing but keypoints and score."""
    return [
        {"image_id": frame + 1, "category_id": 1, "keypoints": joints.ravel().tolist(), "score": 0.8}
        for frame, _, joints, _ in people()
    ]


JSON = {
    "AlphaPose": (alphapose(), True),
    "MMPose Inferencer": (mmpose(0, False), False),
    "MMPose demo": ({"meta_info": {}, "instance_info": mmpose(1, True)}, True),
    "COCO results": (coco_results(), False),
}


def check(files: list[Path], followed: bool, scores: bool = True, ids: tuple[int, int] = (2, 1)) -> None:
    """Hold what is read against the scene."""
    found = read_poses(files, FRAMES, WIDTH, HEIGHT, FPS)
    rows = people()
    assert found.poses.frame_index.tolist() == [frame for frame, *_ in rows]
    for index, (_, _, joints, _) in enumerate(rows):
        np.testing.assert_allclose(found.poses.keypoints[index], joints[:, :2], atol=0.01)
        if scores:
            np.testing.assert_allclose(found.poses.keypoint_scores[index], joints[:, 2], atol=1e-4)
        else:
            np.testing.assert_array_equal(found.poses.keypoint_scores[index] > 0, joints[:, 2] > 0)
    assert found.poses.score.max() <= 1
    # IDs count from 1 in the order of the program's.
    wanted = [ids[person] for _, person, *_ in rows]
    assert (found.track_id.tolist() if found.track_id is not None else None) == (wanted if followed else None)


@pytest.mark.parametrize(("value", "followed"), JSON.values(), ids=JSON.keys())
def test_json_of_each_program_is_read(tmp_path, value, followed):
    """Frames, joints, scores and IDs."""
    (tmp_path / "a.json").write_text(json.dumps(value))
    check([tmp_path / "a.json"], followed)


def test_label_files_of_ultralytics_are_read(tmp_path):
    """A file for each frame from 1, in shares of the frame, with score and ID."""
    for frame, person, joints, box in people():
        x, y, w, h = xywh(box)
        shares = joints / np.array([WIDTH, HEIGHT, 1])
        values = [
            0,
            (x + w / 2) / WIDTH,
            (y + h / 2) / HEIGHT,
            w / WIDTH,
            h / HEIGHT,
            *shares.ravel(),
            0.9,
            IDS[person],
        ]
        with (tmp_path / f"clip_{frame + 1}.txt").open("a") as stream:
            stream.write(" ".join(f"{value:.6g}" for value in values) + "\n")
    check(sorted(tmp_path.glob("*.txt")), followed=True)


def test_label_files_that_ultralytics_itself_wrote_are_read():
    """Joints as `Results.keypoints` had them in pixels; its tracker gave IDs in the first frame alone."""
    found = read_poses(sorted((WRITTEN / "ultralytics").glob("*.txt")), 3, WIDTH, HEIGHT, FPS)
    assert found.poses.frame_index.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(found.poses.keypoints[:, 0], NOSES, atol=0.01)
    np.testing.assert_allclose(found.poses.score, 0.000156226, atol=1e-8)
    # IDs that only some people have follow nobody: the tracker of this project does it.
    assert found.track_id is None


def test_ids_without_scores_are_not_taken_for_scores(tmp_path):
    """`save_txt` of its tracker without `save_conf`: the last of 57 columns is the ID."""
    row = [0, 0.5, 0.5, 0.1, 0.1, *[0.5, 0.5, 0.9] * 17]
    for frame, ids in enumerate([(1, 2), (2, 12)], 1):
        lines = [" ".join(f"{value:.6g}" for value in [*row, number]) for number in ids]
        (tmp_path / f"clip_{frame}.txt").write_text("\n".join(lines) + "\n")
    found = read_poses(sorted(tmp_path.glob("*.txt")), FRAMES, WIDTH, HEIGHT, FPS)
    assert found.track_id.tolist() == [1, 2, 2, 3]
    # Without a score of its own a person has that of its joints.
    np.testing.assert_allclose(found.poses.score, 0.9, atol=1e-4)


def test_mot_rows_with_keypoints_are_read(tmp_path):
    """Ten columns and three for each joint; boxes alone are refused."""
    lines = [
        ",".join(f"{value:g}" for value in [frame + 1, IDS[person], *xywh(box), 0.9, -1, -1, -1, *joints.ravel()])
        for frame, person, joints, box in people()
    ]
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n")
    check([tmp_path / "a.txt"], followed=True)
    (tmp_path / "a.txt").write_text("1,1,0,0,5,5,1,-1,-1,-1\n")
    with pytest.raises(FightposeError, match="three for each joint"):
        read_poses([tmp_path / "a.txt"], FRAMES, WIDTH, HEIGHT, FPS)


def test_trc_files_in_pixels_are_read(tmp_path):
    """A file for each person, markers by name and more than are needed."""
    short = [name.title().replace("_", "").replace("Left", "L").replace("Right", "R") for name in KEYPOINTS]
    head = ["PathFileType\t4\t(X/Y/Z)\ta.trc", "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits"]
    head += ["25\t25\t6\t18\tpx", "Frame#\tTime\t" + "\t\t\t".join(["Hip", *short]) + "\t\t"]
    head += ["\t\t" + "\t".join(f"X{i}\tY{i}\tZ{i}" for i in range(18))]
    for person in range(2):
        lines = list(head)
        for frame, joints in enumerate(scene()[:, person]):
            cells = ["1\t1\t0", *(f"{x:g}\t{y:g}\t0" if score else "\t\t" for x, y, score in joints)]
            lines.append(f"{frame}\t{frame / 25}\t" + "\t".join(cells))
        (tmp_path / f"clip_px_person{person:02d}.trc").write_text("\n".join(lines) + "\n")
    check(sorted(tmp_path.glob("*.trc")), followed=True, scores=False, ids=(1, 2))


def sports2d(tmp_path: Path, *, shift: int = 0, scale: float = 1.0) -> list[Path]:
    """Return copies of what Sports2D wrote: frames later by `shift`, or places times `scale`."""
    for path in sorted((WRITTEN / "sports2d").glob("*.trc")):
        lines = path.read_text().splitlines()
        for index in range(5, len(lines)):
            number, seconds, *cells = lines[index].split("\t")
            moved = [f"{float(cell) * scale:.4f}" if cell else "" for cell in cells]
            lines[index] = "\t".join([number, str(float(seconds) + shift / FPS), *moved])
        (tmp_path / path.name).write_text("\n".join(lines) + "\n")
    return sorted(tmp_path.glob("*.trc"))


def test_files_that_sports2d_itself_wrote_are_read():
    """It names metres as the unit of its pixels."""
    files = sorted((WRITTEN / "sports2d").glob("*.trc"))
    assert files[0].read_text().splitlines()[2].split("\t")[4] == "m"
    check(files, followed=True, scores=False, ids=(1, 2))


def test_trc_rows_of_a_part_of_a_clip_stand_at_its_time(tmp_path):
    """Sports2D counts rows from 0 in a `time_range`, too; two frames later they pass the end of the clip."""
    with pytest.raises(FightposeError, match="up to frame 7, counted from 0, but the clip has 6"):
        read_poses(sports2d(tmp_path, shift=2), FRAMES, WIDTH, HEIGHT, FPS)
    found = read_poses(sports2d(tmp_path, shift=2), FRAMES + 2, WIDTH, HEIGHT, FPS)
    assert found.poses.frame_index.min() == 2


def test_trc_files_in_metres_are_refused(tmp_path):
    """By their values."""
    with pytest.raises(FightposeError, match="in metres"):
        read_poses(sports2d(tmp_path, scale=0.01), FRAMES, WIDTH, HEIGHT, FPS)


def test_arrays_are_read(tmp_path):
    """With scores beside the places or as their third coordinate, with and without IDs."""
    joints = scene()
    np.savez(tmp_path / "a.npz", keypoints=joints[..., :2], scores=joints[..., 2], track_ids=np.array(IDS))
    check([tmp_path / "a.npz"], followed=True)
    np.savez(tmp_path / "b.npz", keypoints=joints)
    check([tmp_path / "b.npz"], followed=False)


def test_our_own_export_comes_back_with_scores(tmp_path):
    """COCO and back."""
    annotation = sample_annotation(2, 20)
    (tmp_path / "a.json").write_text(coco_json(annotation))
    found = read_poses([tmp_path / "a.json"], 20, WIDTH, HEIGHT, FPS)
    frames, persons = np.nonzero(annotation["keypoint_score"].any(-1).T)
    np.testing.assert_allclose(found.poses.keypoints, annotation["keypoint"][persons, frames], atol=0.01)
    np.testing.assert_allclose(found.poses.keypoint_scores, annotation["keypoint_score"][persons, frames], atol=1e-3)
    assert found.track_id is not None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"what": 1}, "neither AlphaPose's"),
        ([{"x": 1}], "neither AlphaPose's"),
        ([{"image_id": 1, "keypoints": [1, 2, 0.5] * 19}], "skeleton of 19 joints"),
        ([{"image_id": "face.jpg", "keypoints": [1, 2, 0.5] * 17}], "has no number"),
        ([{"image_id": 900, "keypoints": [1, 2, 0.5] * 17}], "frame 899.*the clip has 6 frames"),
        ([{"frame_id": 0, "instances": [{"keypoints": []}]}], "cannot be read as poses"),
        ("text", "neither AlphaPose's"),
    ],
)
def test_other_json_is_a_clear_error(tmp_path, value, message):
    """With the file and what is wrong."""
    (tmp_path / "a.json").write_text(json.dumps(value))
    with pytest.raises(FightposeError, match=message) as caught:
        read_poses([tmp_path / "a.json"], FRAMES, WIDTH, HEIGHT, FPS)
    assert "a.json" in str(caught.value)


BODY_25 = (
    "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist MidHip RHip RKnee RAnkle LHip LKnee LAnkle REye LEye "
    "REar LEar LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel"
)
COCO_18 = BODY_25[: BODY_25.index(" LBigToe")].replace("MidHip ", "")


@pytest.mark.parametrize(("count", "names"), [(25, BODY_25), (18, COCO_18)])
def test_skeletons_of_openpose_are_mapped_joint_by_joint(count, names):
    """By number of joints as by their names."""
    joints = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
    np.testing.assert_array_equal(coco_joints(joints), joints[joints_by_name(names.split())])


def test_a_joint_that_a_skeleton_lacks_is_named():
    """Sports2D's lower-body model has no ears."""
    with pytest.raises(ValueError, match="no joint left_eye"):
        joints_by_name(["Nose", "RHip"])


def test_files_find_their_clips(tmp_path):
    """By stem, by folder, without what programs add; one that could be of two clips is refused."""
    for name in (
        "Fight/a.json", "b/alphapose-results.json", "labels/c_1.txt", "labels/c_2.txt", "d_px_person00.trc", "x.md"
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    clips = ["set/Fight/a", "set/Walk/b", "set/Walk/c", "set/Walk/d", "set/Walk/e"]
    found = find_pose_files(tmp_path, clips)
    assert {clip: [path.name for path in files] for clip, files in found.items()} == {
        "set/Fight/a": ["a.json"],
        "set/Walk/b": ["alphapose-results.json"],
        "set/Walk/c": ["c_1.txt", "c_2.txt"],
        "set/Walk/d": ["d_px_person00.trc"],
    }
    with pytest.raises(FightposeError, match="could be of"):
        find_pose_files(tmp_path, ["set/Walk/b", "set/Fight/b"])
    (tmp_path / "none").mkdir()
    with pytest.raises(FightposeError, match="no files of poses"):
        find_pose_files(tmp_path / "none", clips)
