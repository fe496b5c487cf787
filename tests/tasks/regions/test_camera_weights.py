"""Region weights of cameras: grouping, learning, and the file."""

import numpy as np
import pytest

from tasks.core.errors import FightposeError
from tasks.core.region_layout import REGIONS
from tasks.core.settings import ScoringSettings, Settings
from tasks.core.settings.camera_weights import CameraWeights
from tasks.regions.camera_weights import INITIAL_WEIGHTS, camera_of, learn_camera_weights, start_weights


def clip(name: str, region: str, label: int = 1) -> dict[str, object]:
    """Return the part of an annotation that is learned from: two people in one region."""
    breakdown = {r: np.full(2, 0.9 if r == region else 0.05, np.float32) for r in REGIONS}
    return {
        "frame_dir": name,
        "label": label,
        "region_breakdown": breakdown,
        "composite_scores": np.array([0.8, 0.6], np.float32),
    }


@pytest.mark.parametrize(
    ("frame_dir", "pattern", "camera"),
    [
        ("Fight/cam1/a", None, "cam1"),
        ("NonFight/cam1/b", None, "cam1"),
        ("a", None, ""),
        ("Fight/site2_cam07_0001", r"(cam\d+)_", "cam07"),
        ("Fight/site2_cam07_0001", r"cam\d+", "cam07"),
        ("hall/other", r"(cam\d+)_", "hall"),
    ],
)
def test_a_clip_belongs_to_its_folder_or_to_what_the_pattern_finds(frame_dir, pattern, camera):
    """The label folders are not cameras."""
    assert camera_of(frame_dir, pattern) == camera


def test_a_camera_learns_where_its_fights_are():
    """Many fights in the bottom right: that region ends highest for this camera, and the other camera differs."""
    many = [clip(f"Fight/east/{i}", "bottom_right") for i in range(40)]
    learned = learn_camera_weights([*many, clip("Fight/west/0", "top_left")])
    assert start_weights(learned, "NonFight/east/new").argmax() == REGIONS.index("bottom_right")
    assert start_weights(learned, "Fight/west/new").argmax() == REGIONS.index("center_overlap")
    assert learned.clips == {"": 41, "east": 40, "west": 1}
    # An unknown camera starts from what all clips say.
    np.testing.assert_allclose(start_weights(learned, "Fight/north/x"), learned.weights[""])


def test_clips_without_fights_do_not_count_where_there_are_fights():
    """Who is first in a clip without a fight does not fight."""
    fights = [clip(f"Fight/c/{i}", "top_left") for i in range(10)]
    others = [clip(f"NonFight/c/{i}", "bottom_right", label=0) for i in range(90)]
    assert learn_camera_weights([*fights, *others]).clips["c"] == 10


def test_a_pattern_that_finds_no_camera_is_refused():
    """Every clip would belong to its folder without a word; one that finds some is taken, in either Unicode form."""
    clips = [clip("Fight/\u110b\u1161/1", "top_left"), clip("Fight/b/2", "top_left")]
    with pytest.raises(FightposeError, match=r"matches none of the clips, such as Fight"):
        learn_camera_weights(clips, r"cam\d")
    with pytest.raises(FightposeError, match="not a regular expression"):
        learn_camera_weights(clips, "cam(")
    assert learn_camera_weights(clips, "\uc544").clips == {"": 2, "\uc544": 1, "b": 1}
    # Nothing to learn from: the pattern is not what is wrong.
    assert learn_camera_weights([], r"cam\d").clips == {}


def test_annotations_of_other_people_are_passed_over():
    """They lack the scores; nothing is learned, and clips start from the initial weights."""
    learned = learn_camera_weights([{"frame_dir": "a", "label": 1, "keypoint": np.zeros((1, 1, 17, 2))}])
    np.testing.assert_array_equal(start_weights(learned, "a"), INITIAL_WEIGHTS)


def test_the_file_keeps_everything_and_is_small(tmp_path):
    """Saved and loaded, as a setting too."""
    learned = learn_camera_weights([clip("Fight/홀/1", "top_left")], r"홀")
    path = tmp_path / "weights.json"
    learned.save(path)
    assert CameraWeights.load(path) == learned
    settings = Settings(scoring=ScoringSettings(camera_weights=learned))
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"regions": ["a"]}', "not json"])
def test_a_wrong_file_is_one_clear_error(tmp_path, text):
    """Never a traceback of a parser."""
    path = tmp_path / "weights.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FightposeError, match="holds no region weights"):
        CameraWeights.load(path)
    with pytest.raises(FightposeError, match="cannot read"):
        CameraWeights.load(tmp_path / "missing.json")
