"""What corrections say about the ranking, and weights refitted to them."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.core.errors import FightposeError
from tasks.core.settings import DEFAULT_WEIGHTS, Settings
from tasks.core.settings.file import merged, read_settings, write_weights
from tasks.review.corrections import automatic_roles
from tasks.review.log import DropPerson, MergeTracks, Role, SetLabel, SetRole, SplitTrack, append_change
from tasks.review.stats import ReviewedClip, calibrate, clip_figures, read_stats
from tests.review_outputs import make_outputs
from tests.tasks.samples import sample_annotation

NAMES = list(DEFAULT_WEIGHTS)


def test_figures_of_one_clip():
    """Unsure people are skipped, unknown and dropped ones count as wrong among the first two."""
    assert clip_figures(["fighter", "fighter", "bystander"])["ap"] == 1.0
    figures = clip_figures(["unsure", "bystander", "fighter", "unknown", "fighter"])
    assert figures["p_at_2"] == 0.5
    assert figures["oracle"] == 1.0
    assert figures["ap"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert clip_figures(["nobody", "fighter", "fighter"])["both_in_top2"] == 0.0
    assert clip_figures([])["p_at_2"] == 0.0


def test_an_automatic_person_has_the_role_of_whoever_got_most_of_its_frames():
    """After splits and merges, too; who was dropped is nobody."""
    changes = [
        SplitTrack(track_id=3, frame=5, new_id=8),
        SetRole(track_id=8, role=Role.FIGHTER),
        SetRole(track_id=3, role=Role.BYSTANDER),
        MergeTracks(into=8, other=2),
        DropPerson(track_id=1),
    ]
    assert automatic_roles(sample_annotation(), changes) == ["fighter", "fighter", "nobody"]
    assert automatic_roles(sample_annotation(), []) == ["unknown"] * 3


def test_statistics_of_an_output_root(tmp_path):
    """Counted by clip; a clip without roles is corrected, not judged."""
    outputs = make_outputs(tmp_path, 3)
    for track_id, role in ((3, Role.FIGHTER), (2, Role.BYSTANDER), (1, Role.FIGHTER)):
        append_change(outputs.root, outputs.clips[0].frame_dir, "t", SetRole(track_id=track_id, role=role))
    append_change(outputs.root, outputs.clips[1].frame_dir, "t", SetLabel(label=0))
    append_change(outputs.root, outputs.clips[1].frame_dir, "t", MergeTracks(into=3, other=1))
    stats = read_stats(outputs.root)
    assert (stats.corrected, stats.relabelled, stats.identity) == (2, 1, 1)
    assert [clip.roles for clip in stats.judged] == [["fighter", "bystander", "fighter"]]
    assert stats.figures()["p_at_2"] == 0.5
    assert any("p_at_2" in line for line in stats.lines())
    with pytest.raises(FightposeError, match="no output folder"):
        read_stats(tmp_path / "nowhere")


def clips_where(name: str, count: int) -> list[ReviewedClip]:
    """Return reviewed clips in which fighters lead by one component only, and the others are noise."""
    rng = np.random.default_rng(1)
    clips = []
    for number in range(count):
        components = rng.uniform(0.4, 0.6, (4, len(NAMES)))
        components[:, NAMES.index(name)] = (0.3, 0.9, 0.2, 0.8)
        components[:, NAMES.index("movement")] = (0.9, 0.3, 0.8, 0.2)
        roles = ["bystander", "fighter", "bystander", "fighter"]
        clips.append(ReviewedClip(f"clip{number}", roles, components))
    return clips


def test_weights_follow_what_reviews_show():
    """What told fighters apart gains, what misled loses, none is below 0, and left-out clips are ordered better."""
    found = calibrate(clips_where("interaction", 40))
    assert found.weights["interaction"] > DEFAULT_WEIGHTS["interaction"]
    assert found.weights["movement"] < DEFAULT_WEIGHTS["movement"]
    assert min(found.weights.values()) >= 0
    assert sum(found.weights.values()) == pytest.approx(sum(DEFAULT_WEIGHTS.values()), abs=0.01)
    assert found.before["p_at_2"] < 0.5
    assert found.held_out["p_at_2"] == 1.0


def test_few_reviews_do_not_overturn_the_weights():
    """And too few are refused with what to do."""
    found = calibrate(clips_where("interaction", 5))
    assert found.weights["movement"] == pytest.approx(DEFAULT_WEIGHTS["movement"], rel=0.5)
    with pytest.raises(FightposeError, match="mark more people"):
        calibrate(clips_where("interaction", 4))
    other_scorer = [ReviewedClip("a", ["fighter", "fighter", "bystander"], None)] * 9
    with pytest.raises(FightposeError, match="0 clips"):
        calibrate(other_scorer)


@pytest.mark.parametrize("name", ["weights.json", "weights.toml"])
def test_written_weights_are_settings(tmp_path, name):
    """They replace the default weights as a whole."""
    write_weights(tmp_path / name, {"movement": 2.0, "size": 1.5})
    settings = Settings.model_validate(merged(Settings().model_dump(mode="json"), read_settings(tmp_path / name)))
    assert settings.scoring.weights == {"movement": 2.0, "size": 1.5}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.toml", "[selection]\nmax_person = 3\n", "selection.max_person"),
        ("a.json", '{"scoring": {"weights": {"luck": 1}}}', "no such component: luck"),
        ("a.json", "[1]", "valid dictionary"),
        ("a.json", "[selection]", "neither TOML nor JSON"),
    ],
)
def test_a_settings_file_with_an_error_is_told_in_one_line(tmp_path, name, text, told):
    """The line names the file and the setting."""
    (tmp_path / name).write_text(text)
    with pytest.raises(FightposeError, match=told) as caught:
        read_settings(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(FightposeError, match="cannot read"):
        read_settings(tmp_path / "nowhere.json")
