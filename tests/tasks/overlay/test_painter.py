"""The overlay: IDs where they belong, emphasis, and as many frames as the clip has."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from tasks.core.records import Involvement, Poses, Tracks, VideoInfo
from tasks.core.settings import OverlaySettings
from tasks.overlay import painter as overlay
from tasks.overlay.canvas import Sizes, dashes, text_box
from tasks.overlay.labels import LabelPlacer, label_anchor
from tasks.overlay.painter import OverlayPainter, fighters_of_the_moment, track_colors, write_overlay
from tasks.overlay.panels import RegionGrid, quiet_corners
from tests.scenes import ranked_by_id, standing_people

SIZES = [(320, 240), (640, 360), (1280, 720), (1088, 1920), (3840, 2160)]
PLAIN = OverlaySettings()


def grey(size: tuple[int, int]) -> np.ndarray:
    """Return a plain grey frame."""
    return np.full((size[1], size[0], 3), 90, np.uint8)


def painted(tracks: Tracks, involvement: Involvement | None = None) -> np.ndarray:
    """Draw frame 0 of a scene on grey."""
    size = (tracks.poses.width, tracks.poses.height)
    painter = OverlayPainter(tracks, involvement or ranked_by_id(tracks), size, PLAIN)
    return painter.draw(0, grey(size))


def yellow(picture: np.ndarray) -> np.ndarray:
    """Return the mask of pixels in the yellow of the IDs."""
    return (picture[..., 0] < 40) & (picture[..., 1] > 215) & (picture[..., 2] > 215)


def coloured(picture: np.ndarray) -> int:
    """Return how many pixels are drawn on, between the panels at the top and at the bottom, rims and labels aside."""
    height = picture.shape[0]
    middle = picture[int(height * 0.4) : int(height * 0.9)].astype(int)
    return int((middle.max(axis=2) - middle.min(axis=2) > 60).sum())


@pytest.mark.parametrize("size", SIZES)
def test_id_stands_in_yellow_on_black_above_the_topmost_sure_keypoint(size: tuple[int, int]) -> None:
    """Regression: IDs were written under one name and read under another, and no ID ever appeared."""
    tracks = standing_people(size)
    picture = painted(tracks)
    marks = Sizes.for_frame(*size)
    for row in range(2):
        x, y = label_anchor(tracks.poses.bbox[row], tracks.poses.keypoints[row], tracks.poses.keypoint_scores[row])
        reach = 5 * marks.text
        above = picture[int(y) - reach : int(y), max(0, int(x) - reach) : int(x) + reach]
        assert yellow(above).sum() > marks.text
        rows, columns = np.nonzero(yellow(above))
        box = above[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        # Yellow over black has no blue anywhere, not even where the letters' edges are soft.
        assert box[..., 0].max() < 40
        assert (box < 40).all(axis=2).any()


def test_id_of_a_person_with_low_scores_stands_above_the_box() -> None:
    """Models whose joint scores never reach 0.5 do not cost a person the ID."""
    tracks = standing_people((640, 360), people=1, joint_score=0.2)
    anchor = label_anchor(tracks.poses.bbox[0], tracks.poses.keypoints[0], tracks.poses.keypoint_scores[0])
    box = tracks.poses.bbox[0]
    assert anchor == pytest.approx(((box[0] + box[2]) / 2, box[1]))
    # The board in the corner stands at the left edge and is not counted.
    assert yellow(painted(tracks)[: int(box[1]) + 1, 200:]).any()


def test_anchor_is_the_topmost_keypoint_above_one_half() -> None:
    """A higher keypoint of a lower score does not count."""
    tracks = standing_people((640, 360), people=1)
    scores = tracks.poses.keypoint_scores[0].copy()
    scores[:5] = 0.5
    anchor = label_anchor(tracks.poses.bbox[0], tracks.poses.keypoints[0], scores)
    assert anchor == pytest.approx(tuple(tracks.poses.keypoints[0, 5]))


def test_ids_are_drawn_for_people_that_were_not_ranked() -> None:
    """A track that the ranking left out still has its ID, and less weight in the picture than a selected one."""
    tracks = standing_people((640, 360), people=2)
    nobody = ranked_by_id(tracks.select(np.zeros(len(tracks), np.bool_)))
    unranked = painted(tracks, nobody)
    assert yellow(unranked[:, :320]).any()
    assert yellow(unranked[:, 320:]).any()
    changed = [(picture != 90).any(axis=2).sum() for picture in (unranked, painted(tracks))]
    assert changed[0] < changed[1]


def test_fighters_of_the_moment_stand_out() -> None:
    """The same person is drawn stronger in a window of high involvement than in one of low involvement."""
    tracks = standing_people((1280, 720), people=1)
    calm = ranked_by_id(tracks)
    windows = calm.window_score.copy()
    windows[:, 0], windows[:, 1] = 0.9, 0.1
    involvement = dataclasses.replace(calm, window_score=windows)
    painter = OverlayPainter(tracks, involvement, (1280, 720), PLAIN)
    strong, weak = (coloured(painter.draw(i, grey((1280, 720)))) for i in (0, 4))
    assert strong > 1.3 * weak


def test_fighters_of_the_moment_are_two_at_most_and_high_for_the_clip() -> None:
    """Not everyone at once, nobody in a quiet window, none where nobody is, and ties go to the higher rank."""
    scores = np.array([[0.9, 0.3, 0.0, 0.8], [0.8, 0.2, 0.0, 0.8], [0.7, 0.1, 0.6, 0.8]], np.float32)
    expected = [[1, 0, 0, 1], [1, 0, 0, 1], [0, 0, 1, 0]]
    assert fighters_of_the_moment(scores).astype(int).tolist() == expected
    assert not fighters_of_the_moment(np.zeros((2, 3), np.float32)).any()
    assert fighters_of_the_moment(np.zeros((0, 3), np.float32)).shape == (0, 3)
    assert fighters_of_the_moment(np.zeros((2, 0), np.float32)).shape == (2, 0)


def test_missing_joints_are_not_drawn() -> None:
    """A joint of score 0 has coordinates 0, 0: no line may run to the corner of the frame."""
    tracks = standing_people((640, 360), people=1)
    tracks.poses.keypoint_scores[:, 9] = 0
    tracks.poses.keypoints[:, 9] = 0
    picture = painted(tracks)
    # Between the person and the corner with the origin there is nothing but the board at the very edge.
    assert (picture[60:120, 60:240] == 90).all()


def test_rows_that_were_filled_in_look_different() -> None:
    """An estimated skeleton is dashed: it covers fewer pixels than a seen one."""
    tracks = standing_people((640, 360), people=1)
    estimated = dataclasses.replace(tracks, filled=np.ones(len(tracks), np.bool_))
    seen, filled = (coloured(painted(t)) for t in (tracks, estimated))
    assert filled < 0.8 * seen


def test_the_given_frame_stays_as_it_was() -> None:
    """Decoders may reuse their buffer: nothing is drawn on the caller's frame."""
    tracks = standing_people((320, 240))
    frame = grey((320, 240))
    frame.flags.writeable = False
    OverlayPainter(tracks, ranked_by_id(tracks), (320, 240), PLAIN).draw(0, frame)
    assert (frame == 90).all()


def test_frames_with_nobody_and_after_the_end_are_drawn() -> None:
    """Nobody at all, no time window, a frame beyond the last known one: still a picture."""
    tracks = standing_people((320, 240), people=1)
    nobody = tracks.select(np.zeros(len(tracks), np.bool_))
    painter = OverlayPainter(nobody, ranked_by_id(nobody), (320, 240), OverlaySettings(overlay_regions=True))
    for index in (0, 500):
        assert painter.draw(index, grey((320, 240))).shape == (240, 320, 3)


def test_far_off_coordinates_draw_no_wild_lines() -> None:
    """Fixed-point coordinates of far-off joints must not overflow."""
    tracks = standing_people((320, 240), people=1)
    tracks.poses.keypoints[:] += 1e9
    tracks.poses.bbox[:] += 1e9
    picture = painted(tracks)
    assert (picture[100:200, 100:280] == 90).all()


def test_regions_are_shown_only_when_asked_for() -> None:
    """The grid of regions with the learned weights is off by default."""
    tracks = standing_people((640, 360), people=1)
    with_grid = OverlayPainter(tracks, ranked_by_id(tracks), (640, 360), OverlaySettings(overlay_regions=True))
    # The middle of the right edge holds the border between the quadrants and nothing else.
    assert (with_grid.draw(0, grey((640, 360)))[180, 620] != 90).all()
    assert (painted(tracks)[180, 620] == 90).all()


def test_tiny_frames_are_drawn() -> None:
    """A frame smaller than any label."""
    tracks = standing_people((16, 16), people=1)
    painter = OverlayPainter(tracks, ranked_by_id(tracks), (16, 16), OverlaySettings(overlay_regions=True))
    assert painter.draw(0, grey((16, 16))).shape == (16, 16, 3)


def test_labels_of_a_crowd_do_not_cover_each_other() -> None:
    """Twelve people at one place get twelve places for their labels, inside the frame."""
    placer = LabelPlacer((640, 360), np.zeros((0, 4), np.int32), gap=4)
    places = [placer.place((300.0 + i, 200.0), 60, 16) for i in range(12)]
    for i, (x, y) in enumerate(places):
        assert 0 <= x <= 580
        assert 0 <= y <= 344
        assert all(abs(x - u) >= 60 or abs(y - v) >= 16 for u, v in places[:i])


def test_label_stands_centred_above_its_point_and_inside_the_frame() -> None:
    """The wanted place is taken where it is free; at the frame's edge the label stays inside."""
    placer = LabelPlacer((640, 360), np.zeros((0, 4), np.int32), gap=4)
    assert placer.place((300.0, 200.0), 60, 16) == (270, 180)
    assert placer.place((2.0, 3.0), 60, 16) == (0, 0)


def test_colours_of_the_first_ranks_differ() -> None:
    """IDs that share a place in the palette do not share a colour among the first twelve ranks."""
    tracks = standing_people((640, 360), people=25)
    colors = track_colors(tracks, ranked_by_id(tracks))
    assert len(colors) == 25
    assert len({colors[i] for i in range(1, 13)}) == 12


def poses_with_boxes(boxes: list[tuple[int, list[int]]]) -> Poses:
    """Return people of some boxes, each with its frame, in a clip of 40 frames."""
    boxes = sorted(boxes)
    frames = np.array([frame for frame, _ in boxes], np.int32)
    joints = np.zeros((len(boxes), 17), np.float32)
    area = np.array([box for _, box in boxes], np.float32).reshape(-1, 4)
    return Poses(frames, area, joints[:, 0], np.zeros((len(boxes), 17, 2), np.float32), joints, 40, 640, 360, 25.0)


def test_board_keeps_clear_of_people_in_every_window() -> None:
    """It goes to another corner only where that helps, and comes back only when it has to leave again."""
    top_left, top_right, low_left = [0, 0, 100, 100], [540, 0, 640, 100], [0, 280, 100, 340]
    edges = np.array([0, 10, 20, 30, 40], np.int32)
    boxes = [(1, top_left), (1, top_right), (11, top_left), (11, low_left), (12, low_left), (31, top_left)]
    corners = quiet_corners(poses_with_boxes(boxes), edges, (640, 360), (100, 60), 20)
    # Lower right is free throughout.
    assert corners == [(540, 280)] * 4
    boxes += [(frame, [540, 280, 640, 340]) for frame in (20, 21, 22)]
    corners = quiet_corners(poses_with_boxes(boxes), edges, (640, 360), (100, 60), 20)
    # The top right is quietest over the clip, but taken in the first window; lower left is taken in the second.
    assert corners == [(0, 280), (540, 0), (540, 0), (540, 0)]
    assert quiet_corners(poses_with_boxes([]), edges, (640, 360), (100, 60), 20) == [(0, 0)] * 4
    # A clip without windows has one corner all the same.
    assert quiet_corners(poses_with_boxes([]), edges[:0], (640, 360), (100, 60), 20) == [(0, 0)]


@pytest.mark.parametrize("ground", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (80, 92, 255), (255, 196, 64)])
def test_a_skeleton_is_seen_on_any_ground(ground: tuple[int, int, int]) -> None:
    """Also on one that has its own colour: a dark rim or the colour itself stands out."""
    tracks = standing_people((640, 360))
    painter = OverlayPainter(tracks, ranked_by_id(tracks), (640, 360), OverlaySettings())
    frame = np.full((360, 640, 3), ground, np.uint8)
    difference = np.abs(painter.draw(3, frame).astype(int) - frame).max(axis=2)
    for person in (1, 2):
        x1, y1, x2, y2 = tracks.poses.bbox[(tracks.track_id == person) & (tracks.poses.frame_index == 3)][0].astype(int)
        assert (difference[y1:y2, x1:x2] > 70).sum() > 300


def test_estimated_people_are_fainter_than_seen_ones() -> None:
    """Their boxes too: nobody may take them for evidence."""
    seen = standing_people((640, 360))
    guessed = Tracks(seen.poses, seen.track_id, np.ones(len(seen), np.bool_))
    frame = np.full((360, 640, 3), 90, np.uint8)

    def strength(tracks: Tracks) -> float:
        """Return how much of the area of the people changes, and how strongly."""
        drawn = OverlayPainter(tracks, ranked_by_id(tracks), (640, 360), OverlaySettings()).draw(3, frame)
        return float(np.abs(drawn[150:270].astype(int) - 90).mean())

    assert 0 < strength(guessed) < 0.5 * strength(seen)


def test_dashes_begin_and_end_with_their_segment() -> None:
    """Dashes keep both ends of a segment; a point stays a point."""
    segments = np.array([[[0, 0], [800, 0]], [[40, 40], [40, 40]]], np.int32)
    cut = dashes(segments, 6)
    assert cut[0, 0].tolist() == [0, 0]
    assert cut[-2, 1].tolist() == [800, 0]
    assert cut[-1].tolist() == [[40, 40], [40, 40]]


def test_texts_of_one_size_are_equally_high() -> None:
    """Labels of one size line up whatever they say."""
    heights = {text_box(text, 9, 3, (255, 255, 255)).shape[0] for text in ("ID:1", "ID:47", "0.82", "8")}
    assert len(heights) == 1


def clip(size: tuple[int, int]) -> VideoInfo:
    """Return what a clip of a size at 25 frames per second is."""
    return VideoInfo(Path("clip.mp4"), "0" * 64, *size, 25.0, 0, "mp4", "h264")


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".avi"])
def test_video_has_the_clip_s_frames_and_rate(tmp_path: Path, ending: str) -> None:
    """Same number of frames, same rate; the IDs survive encoding."""
    tracks = standing_people((640, 360))
    path = tmp_path / f"overlay{ending}"
    frames = ((grey((640, 360)), None) for _ in range(12))
    assert write_overlay(frames, clip((640, 360)), tracks, ranked_by_id(tracks), path, PLAIN) == 12
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 25
    assert len(pictures) == 12
    # Half of the colour is lost in yuv420p: yellow text on black keeps its brightness.
    head = pictures[5][100:135, 120:200].astype(int)
    assert (head.max(axis=(0, 1))[1:] > 150).all()
    assert (head.min(axis=2) < 40).any()


def test_frame_times_are_kept(tmp_path: Path) -> None:
    """Frames that bring their times, as the decoder yields them, are shown at those times."""
    tracks = standing_people((64, 48), people=1, frames=3)
    path = tmp_path / "overlay.mp4"
    frames = [(grey((64, 48)), time_s) for time_s in (0.0, 0.04, 0.2)]
    write_overlay(frames, clip((64, 48)), tracks, ranked_by_id(tracks), path, PLAIN)
    with av.open(str(path)) as container:
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx([0.0, 0.04, 0.2])


def test_error_while_decoding_leaves_no_half_video(tmp_path: Path) -> None:
    """Regression: early returns left the writer open and half a video under the final name."""
    tracks = standing_people((64, 48), people=1)

    def breaking() -> Iterator[tuple[np.ndarray, float | None]]:
        """Yield one frame, then fail as a damaged clip does."""
        yield grey((64, 48)), 0.0
        raise OSError("damaged")

    with pytest.raises(OSError, match="damaged"):
        write_overlay(breaking(), clip((64, 48)), tracks, ranked_by_id(tracks), tmp_path / "o.mp4", PLAIN)
    assert not list(tmp_path.iterdir())


def test_leaders_do_not_run_through_labels() -> None:
    """In a heap of people, a line from a label to its person passes behind the labels of others."""
    size = (640, 360)
    tracks = standing_people(size, people=6)
    # All in one place: every label but the first has to go elsewhere, past those that are there.
    poses = tracks.poses
    shift = (poses.bbox[:1, :1] - poses.bbox[:, :1]) + 5 * tracks.track_id[:, None]
    moved = poses.bbox + np.concatenate([shift, 0 * shift], axis=1)[:, [0, 1, 0, 1]] + np.array([200, 60, 200, 60])
    heap = dataclasses.replace(
        tracks,
        poses=dataclasses.replace(
            poses, bbox=moved.astype(np.float32), keypoint_scores=np.full_like(poses.keypoint_scores, 0.4)
        ),
    )
    pasted: list[tuple[np.ndarray, int, int]] = []
    original = overlay.paste
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlay, "paste", lambda image, *label: (pasted.append(label), original(image, *label)))
        picture = OverlayPainter(heap, ranked_by_id(heap), size, PLAIN).draw(0, grey(size))
    assert len(pasted) == 6
    for label, x, y in pasted:
        np.testing.assert_array_equal(picture[y : y + label.shape[0], x : x + label.shape[1]], label)


@pytest.mark.parametrize("corner", [0, 1, 2, 3])
def test_region_weights_stand_clear_of_the_board(corner: int) -> None:
    """Regression: in small frames the board covered the weight of the region beside it."""
    size, panel = (320, 240), (90, 48)
    left, top = (0 if corner % 2 == 0 else size[0] - panel[0]), (0 if corner < 2 else size[1] - 20 - panel[1])
    grid = RegionGrid(np.full(5, 0.5, np.float32), size, Sizes.for_frame(*size), 20, (left, top, *panel))
    assert len(grid.labels) == 5
    for picture, x, y in grid.labels:
        apart_x = x >= left + panel[0] or x + picture.shape[1] <= left
        assert apart_x or y >= top + panel[1] or y + picture.shape[0] <= top
