"""The files that MMPose's own Inferencer writes of a video."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.poses.backends.mmpose.compat import importable_mmpose
from tasks.poses.imports import read_poses
from tests.tasks.poses.random_rtmo import pictures, save_random_checkpoint, shipped_config
from tests.video_factory import write_video

pytestmark = pytest.mark.mmpose

FRAMES, WIDTH, HEIGHT, FPS = 3, 320, 240, 25.0


# mmpose, mmengine and torch warn of each other's old names.
@pytest.mark.filterwarnings("ignore")
def test_files_that_the_inferencer_wrote_are_read(tmp_path):
    """Every person of every frame, with the joints and scores that it returned."""
    torch = pytest.importorskip("torch")
    config = shipped_config("rtmo-t")
    checkpoint = save_random_checkpoint(config, tmp_path / "rtmo.pth")
    # mmengine's loader refuses the arrays of `meta` under newer torch; the weights are enough.
    torch.save({"state_dict": torch.load(checkpoint, weights_only=False)["state_dict"]}, checkpoint)
    write_video(tmp_path / "a.mp4", pictures(FRAMES, WIDTH, HEIGHT), fps=round(FPS))
    with importable_mmpose():
        from mmpose.apis import MMPoseInferencer

        inferencer = MMPoseInferencer(pose2d=str(config), pose2d_weights=str(checkpoint), device="cpu", scope="mmpose")
        frames = [
            one["predictions"][0]
            for one in inferencer(str(tmp_path / "a.mp4"), pred_out_dir=str(tmp_path / "written"), show_progress=False)
        ]
    found = read_poses([tmp_path / "written/a.json"], FRAMES, WIDTH, HEIGHT, FPS)
    assert len(frames) == FRAMES
    people = [(number, person) for number, frame in enumerate(frames) for person in frame]
    assert people
    assert found.poses.frame_index.tolist() == [number for number, _ in people]
    joints = np.array([person["keypoints"] for _, person in people])
    np.testing.assert_allclose(found.poses.keypoints, joints, atol=0.01)
    scores = np.array([person["keypoint_scores"] for _, person in people])
    np.testing.assert_allclose(found.poses.keypoint_scores, scores.clip(0, 1), atol=1e-4)
    # It follows nobody.
    assert found.track_id is None
