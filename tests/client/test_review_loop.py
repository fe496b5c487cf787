"""The correction loop as far as training: what was corrected on the review page is what mmaction2 reads.

The page itself is driven in `tests/browser`; here its requests are made without a browser.
"""

from __future__ import annotations

import pytest

from flows.review.service import ReviewService
from tasks.annotations.format import read_annotation, write_annotation
from tasks.review.index import clip_id
from tasks.review.log import Role, SetOrder, SetRole
from tests.review_outputs import make_outputs

pytestmark = pytest.mark.client


def test_the_loader_gives_the_people_in_the_corrected_order(mmaction, tmp_path):
    """The two people that reach the network are those that a person put first, by both files."""
    outputs = make_outputs(tmp_path, 6)
    clip = outputs.clips[0]
    (automatic,) = read_annotation(clip.annotation_path)["annotations"]
    assert automatic["track_ids"].tolist() == [3, 2, 1]
    write_annotation(tmp_path / "before.pkl", [automatic])
    # What the network has to see, laid out by hand: the first two people are IDs 1 and 2.
    by_hand = {key: automatic[key] for key in ("frame_dir", "total_frames", "img_shape", "original_shape", "label")}
    by_hand |= {key: automatic[key][[2, 1]] for key in ("keypoint", "keypoint_score")}
    write_annotation(tmp_path / "wanted.pkl", [by_hand])

    service = ReviewService(outputs.root, "tester")
    service.correct(clip_id(clip.frame_dir), [SetRole(track_id=3, role=Role.BYSTANDER), SetOrder(track_ids=(1, 2))])
    assert service.apply()["problems"] == 0

    merged = read_annotation(outputs.root / "dataset.pkl")
    # By itself: the client compares the first clip of two files.
    alone = [one for one in merged["annotations"] if one["frame_dir"] == clip.frame_dir]
    write_annotation(tmp_path / "merged.pkl", alone)
    wanted = tmp_path / "wanted.pkl"
    answer = mmaction(
        [(outputs.root / "dataset.pkl", name) for name, members in merged["split"].items() if members],
        [(clip.annotation_path, wanted), (tmp_path / "merged.pkl", wanted), (tmp_path / "before.pkl", wanted)],
    )
    assert answer["pairs"][:2] == [0.0, 0.0]
    assert answer["pairs"][2] > 0.1
    assert clip.frame_dir in {name for passed in answer["passes"] for name in passed["names"]}
    assert all(passed["finite"] for passed in answer["passes"])
