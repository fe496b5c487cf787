"""Explanations of annotations."""

from pathlib import Path

import numpy as np

from tasks.annotations.explain import explain, explain_text
from tasks.annotations.format import build_annotation
from tasks.clips.discovery import Clip
from tasks.core.settings import DEFAULT_WEIGHTS, Settings
from tasks.involvement import rank_involvement, select_people
from tasks.regions.clip_weights import learn_region_weights
from tasks.regions.scores import score_regions
from tests.scenes import person, tracks_of


def annotation():
    """Return the annotation of two fighters and a bystander, three seconds long."""
    frames = np.arange(75)
    late = person(frames, (345, 180), swing=0.2, rate=2.5)
    tracks = tracks_of([person(frames, (300, 180), swing=0.2), late, person(frames, (560, 60), height=60.0)], 75)
    settings = Settings()
    regions = score_regions(tracks)
    weights = learn_region_weights(tracks, regions, settings.scoring)
    people = select_people(rank_involvement(tracks, regions, weights, settings.scoring), settings.selection, Path("a"))
    clip = Clip(Path("a.mp4"), "Fight/a.mp4", "a", 1, "Fight/a", Path("a.pkl"), Path("a_overlay.mp4"))
    return build_annotation(clip, tracks, people, settings, {})


def test_every_person_has_a_row_with_all_that_made_its_rank():
    """Components, partner, region, quality, and when."""
    rows = explain(annotation())
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert {rows[0]["track_id"], rows[1]["track_id"]} == {1, 2}
    assert set(DEFAULT_WEIGHTS) <= rows[0].keys()
    assert rows[0]["partner"] == rows[1]["track_id"]
    assert rows[2]["partner"] is None
    assert rows[0]["region"] == "center_overlap"
    assert rows[2]["region"] == "top_right"
    assert rows[0]["involved"][0][0] == 0
    assert rows[0]["involved"][-1][1] == 3


def test_the_text_names_every_component_and_the_path_of_the_weights():
    """Plain ASCII, one line per component and region."""
    text = explain_text(annotation())
    assert text.isascii()
    for name in (*DEFAULT_WEIGHTS, "center_overlap", "partner", "Fight/a"):
        assert name in text
    assert "0.70 >" in text


def test_annotations_of_other_people_are_explained_as_far_as_they_say_anything():
    """Those of pyskl have keypoints and a label only."""
    bare = {"frame_dir": "x", "label": 0, "keypoint": np.zeros((2, 5, 17, 2))}
    assert explain(bare) == [{"rank": 1}, {"rank": 2}]
    assert "x  label 0" in explain_text(bare)
