"""Where people are looked for: tiles, crops of those in doubt, and what that may cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tasks.core.choices import SecondLook
from tasks.core.settings import PoseSettings, Settings
from tasks.poses import load_model, resolve_model
from tasks.poses.backends.rtmo import sidecar_path
from tasks.poses.crops import crop_box, cut, cut_off, tile_boxes
from tasks.poses.detections import Detections, merge_people
from tasks.poses.second_look import GLANCE_SIDE, NEAR_SIDE, Looker, Zoom
from tasks.video.reading import Image
from tests.tasks.poses.fake_rtmo import save_fake_rtmo
from tests.tasks.poses.fake_top_down import save_top_down
from tests.tasks.poses.test_detections import people
from tests.video_factory import person_image

WIDTH, HEIGHT = 320, 240


class Scene:
    """A model that sees the white box drawn into a frame, and can be blind for some frames.

    Parameters
    ----------
    top
        The score that it gives.
    """

    batch_size = 8
    sure_score = 0.6
    tile_side = 160
    crop_side = 128

    def __init__(self, top: float = 0.5) -> None:
        self.top = top
        self.blind: set[int] = set()
        self.sides: list[int | None] = []

    def cost(self, width: int, height: int, long_side: int | None = None) -> float:
        """Return the pixels of the input."""
        scale = (long_side or 416) / max(width, height)
        return width * scale * height * scale

    def detect(self, images: Sequence[Image], long_side: int | None = None) -> list[Detections]:
        """Find the white box of each image, except where told to be blind."""
        found = []
        for image in images:
            self.sides.append(long_side)
            rows, columns = np.nonzero(image[..., 0] > 250)
            if not len(rows) or (int(image[..., 1].max()) in self.blind and long_side != self.crop_side):
                found.append(Detections.none())
                continue
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            # Whom the edge of a tile cuts it does not know: half bodies have a test of their own.
            if box[0] == 0 or box[1] == 0 or box[2] == image.shape[1] or box[3] == image.shape[0]:
                found.append(Detections.none())
                continue
            found.append(people([[float(v) for v in box]], [self.top]))
        return found


class Whole:
    """A model with a fixed input: it takes images of any sizes, and has no choice of side."""

    batch_size = 4

    def __init__(self) -> None:
        self.calls: list[list[tuple[int, ...]]] = []

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Find someone in the middle of every image."""
        shapes = [image.shape for image in images]
        self.calls.append(shapes)
        return [people([[w * 0.4, h * 0.2, w * 0.6, h * 0.8]], [0.3]) for h, w, _ in shapes]


def frame(x: int = 100, mark: int = 0) -> Image:
    """Return a frame with a white box 30 by 80 pixels at x; `mark` is written into its green channel."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 1] = mark
    image[100:180, x : x + 30, 0] = 255
    return image


def settings(mode: SecondLook = SecondLook.AUTO, budget: float = 3.0) -> PoseSettings:
    """Return resolved settings."""
    return PoseSettings(score_thr=0.1, nms_thr=0.65, second_look=mode, look_budget=budget)


def looker(model: Scene | Whole, mode: SecondLook = SecondLook.AUTO, budget: float = 3.0) -> Looker:
    """Return a fresh looker for frames of the scene."""
    return Looker(model, WIDTH, HEIGHT, 25, settings(mode, budget))


def test_someone_missed_between_two_frames_is_found_in_a_crop() -> None:
    """Seen in frames 0 and 2: the crop of frame 1 lies between the two places."""
    model = Scene()
    model.blind = {7}
    found = looker(model).find([frame(100), frame(110, mark=7), frame(120)])
    assert [len(one) for one in found] == [1, 1, 1]
    assert found[1].bbox[0] == pytest.approx([110, 100, 140, 180])


def test_someone_seen_in_the_batch_before_is_looked_for() -> None:
    """What is known goes from batch to batch."""
    model = Scene()
    model.blind = {7}
    scene = looker(model)
    scene.find([frame(100)])
    assert len(scene.find([frame(102, mark=7)])[0]) == 1


def test_nobody_is_looked_for_who_was_seen_too_long_ago() -> None:
    """A fifth of a second at 25 frames per second is five frames."""
    model = Scene()
    model.blind = {7}
    scene = looker(model)
    scene.find([frame(100)])
    found = scene.find([frame(100, mark=7)] * 8)
    assert [len(one) for one in found] == [1, 1, 1, 1, 1, 0, 0, 0]


def test_who_is_seen_surely_gets_no_crop_unless_asked() -> None:
    """`always` looks at everyone again."""
    sure, always = Scene(top=0.9), Scene(top=0.9)
    looker(sure).find([frame()])
    looker(always, SecondLook.ALWAYS).find([frame()])
    assert Scene.crop_side not in sure.sides
    assert Scene.crop_side in always.sides


def test_off_is_one_pass_over_the_whole_frame() -> None:
    """And nothing else."""
    model = Scene()
    scene = looker(model, SecondLook.OFF)
    scene.find([frame(), frame()])
    assert model.sides == [None, None]
    assert scene.spent == pytest.approx(2)


@pytest.mark.parametrize("budget", [1.0, 1.3, 2.0, 3.0])
@pytest.mark.parametrize("mode", [SecondLook.AUTO, SecondLook.ALWAYS])
def test_the_budget_holds_with_thirty_people(budget: float, mode: SecondLook) -> None:
    """Crops stop where the money ends, the surest bets first."""

    class Crowd(Scene):
        """Sees fifteen people in whatever it is shown."""

        def detect(self, images: Sequence[Image], long_side: int | None = None) -> list[Detections]:
            """Stand them side by side."""
            return [people([[20 * k, 20, 20 * k + 15, 70] for k in range(15)], [0.3] * 15) for _ in images]

    scene = looker(Crowd(), mode, budget)
    frames = 6
    for _ in range(2):
        scene.find([frame()] * 3)
    assert scene.spent <= budget * frames + 1e-6


def test_nobody_costs_no_crops_and_finds_nobody() -> None:
    """An empty frame is looked at once."""
    model = Scene()
    empty = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    assert [len(one) for one in looker(model).find([empty] * 3)] == [0, 0, 0]
    assert Scene.crop_side not in model.sides


def test_a_second_look_that_finds_nothing_takes_nothing_away() -> None:
    """Whom only the first look saw stays as seen."""

    class Shy(Scene):
        """Blind in crops."""

        def detect(self, images: Sequence[Image], long_side: int | None = None) -> list[Detections]:
            """Answer first looks only."""
            found = super().detect(images, long_side)
            return [Detections.none()] * len(images) if long_side == self.crop_side else found

    (found,) = looker(Shy(top=0.2)).find([frame()])
    assert len(found) == 1


@pytest.mark.parametrize("size", [(8, 6), (40, 30), (31, 500)])
def test_frames_smaller_than_a_crop_are_fine(size: tuple[int, int]) -> None:
    """Crops leave such frames on all sides."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[2:4, 2:5, 0] = 255
    scene = Looker(Scene(top=0.3), *size, 25, settings())
    (found,) = scene.find([image])
    assert (found.bbox <= [*size, *size]).all()


def test_a_fixed_input_looks_again_on_request_and_within_the_budget() -> None:
    """A crop costs it a whole pass, so that a budget of three allows two a frame, and a budget below two none."""
    model, poor, once = Whole(), Whole(), Whole()
    scene = looker(model, SecondLook.ALWAYS)
    assert all(len(found) >= 1 for found in scene.find([frame()] * 2))
    assert 2 < scene.spent <= 6
    assert model.calls[0] == [(HEIGHT, WIDTH, 3)] * 2
    looker(poor, SecondLook.ALWAYS, budget=1.2).find([frame()])
    looker(once, SecondLook.AUTO).find([frame()])
    assert poor.calls == once.calls == [[(HEIGHT, WIDTH, 3)]]


@pytest.mark.parametrize("kind", ["rtmo", "rtmo of any size", "top-down"])
def test_every_kind_of_fixed_model_looks_again_on_request(tmp_path: Path, kind: str) -> None:
    """The crops show the person where one pass does, joints no further off, and nobody where nobody is."""
    if kind == "top-down":
        path = save_top_down(tmp_path)
    else:
        path = save_fake_rtmo(tmp_path / "fake.onnx", dynamic=kind != "rtmo")
    if kind == "rtmo of any size":
        sidecar_path(path).write_text('{"input_size": [64, 64]}')
    images = [np.zeros((HEIGHT, WIDTH, 3), np.uint8) for _ in range(4)]
    for number, image in enumerate(images):
        image[97:104, 57 + number : 64 + number, 2] = 255
    images[2][..., 2] = 0
    model = load_model(str(path))
    once, always = (looker(model, mode) for mode in (SecondLook.OFF, SecondLook.ALWAYS))
    first, again = once.find(images), always.find(images)
    assert once.spent == len(images) < always.spent <= 3 * len(images)
    for number in (0, 1, 3):
        assert len(first[number]) >= 1
        truth = np.array([60 + number, 100])
        # A pixel of the input is five of the frame in one pass, and about one in a crop.
        off = [np.linalg.norm(found[number].keypoints[:, 8] - truth, axis=1).min() for found in (first, again)]
        assert off[1] <= max(off[0], 2)
    # The crop of the frame without anybody finds nobody, and that is no error.
    assert len(again[2]) == len(first[2]) == 0


def test_the_same_clip_gives_the_same_people_again() -> None:
    """Nothing leaks from one clip to the next."""
    frames = [frame(100 + 4 * step) for step in range(5)]
    first, second = (looker(Scene()).find(frames) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert (a.bbox == b.bbox).all()
        assert (a.score == b.score).all()


@pytest.mark.parametrize("size", [(640, 360), (360, 640), (7, 5), (1920, 1080)])
def test_tiles_cover_the_frame_and_overlap(size: tuple[int, int]) -> None:
    """Every pixel lies in a tile, and none outside the frame."""
    seen = np.zeros(size[::-1], int)
    boxes = tile_boxes(*size)
    for x1, y1, x2, y2 in boxes:
        assert 0 <= x1 < x2 <= size[0]
        assert 0 <= y1 < y2 <= size[1]
        seen[y1:y2, x1:x2] += 1
    assert len(boxes) == 6
    assert seen.min() >= 1
    assert seen.max() > 1


def test_a_crop_is_a_square_around_the_person() -> None:
    """1.3 times the longer side, and never tiny."""
    assert crop_box(np.array([100, 100, 140, 200], np.float32)) == (55, 85, 185, 215)
    x1, y1, x2, y2 = crop_box(np.array([5, 5, 6, 6], np.float32))
    assert x2 - x1 == y2 - y1 >= 12


@pytest.mark.parametrize("box", [(-3, -2, 5, 6), (6, 4, 14, 12), (-9, -9, -1, -1), (2, 2, 6, 6), (50, 50, 60, 60)])
def test_a_crop_at_the_border_is_black_outside(box: tuple[int, int, int, int]) -> None:
    """The size is that of the box wherever it lies."""
    image = np.full((10, 12, 3), 9, np.uint8)
    part = cut(image, box)
    assert part.shape == (box[3] - box[1], box[2] - box[0], 3)
    inside = max(0, min(box[2], 12) - max(box[0], 0)) * max(0, min(box[3], 10) - max(box[1], 0))
    assert (part[..., 0] == 9).sum() == inside


def test_a_large_person_is_one_person() -> None:
    """Higher than a tile: every tile shows a part, a glance the whole, and nobody is looked at twice."""

    class Near(Scene):
        """Believes in every part of the box, however little of it an image shows."""

        def detect(self, images: Sequence[Image], long_side: int | None = None) -> list[Detections]:
            """Take for a person what is white, with the joints of a whole one."""
            self.sides += [long_side] * len(images)
            found = []
            for image in images:
                rows, columns = np.nonzero(image[..., 0] > 250)
                box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else None
                found.append(people([[float(v) for v in box]], [self.top]) if box else Detections.none())
            return found

    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[20:230, 110:200, 0] = 255
    model = Near(top=0.5)
    found = looker(model).find([image] * 3)
    assert [len(one) for one in found] == [1, 1, 1]
    assert found[0].bbox[0] == pytest.approx([110, 20, 200, 230])
    assert model.sides.count(NEAR_SIDE) == 3


def test_without_large_people_few_frames_get_a_glance() -> None:
    """One of four tiled frames, to notice when somebody comes near."""
    model = Scene()
    looker(model).find([frame()] * 8)
    assert model.sides.count(GLANCE_SIDE) == 2


def test_a_tile_filled_by_one_person_is_left_out() -> None:
    """It would show a part of that person and nobody else."""
    sides = []
    for width in (60, 280):
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        image[5:235, 20 : 20 + width, 0] = 255
        model = Scene()
        looker(model).find([image])
        sides.append(model.sides.count(Scene.tile_side))
    assert sides[0] == 6
    assert sides[1] < 6


def test_a_part_yields_to_the_whole_but_not_to_another_part() -> None:
    """Whatever it scores; only where one is known to be cut off and the other whole."""
    whole, half = people([[100, 100, 140, 220]], [0.3]), people([[95, 100, 140, 160]], [0.6])
    # Joints of another place: nothing but the border of the view tells that both are one person.
    half = Detections(half.bbox, half.score, half.keypoints + np.float32(60), half.keypoint_scores)
    both = Detections.joined([half, whole])
    cut_by = np.array([[False, True], [False, False]])
    assert len(merge_people(both, 0.1, 0.65)) == 2
    merged = merge_people(both, 0.1, 0.65, cut_by)
    assert merged.bbox[:, 3] == pytest.approx([220])
    assert merged.score == pytest.approx([0.6])


def test_only_borders_inside_the_frame_cut_people_off() -> None:
    """The tile's right border does, the frame's left one does not."""
    found = people([[0, 20, 30, 80], [60, 20, 100, 80], [40, 20, 70, 80]], [0.5] * 3)
    assert cut_off(found, (0, 0, 100, 100), 200, 100).tolist() == [False, True, False]


def test_half_a_body_is_not_a_second_person() -> None:
    """A tile's edge cuts someone; the joints of the half lie on those of the whole."""
    whole = people([[100, 100, 140, 220]], [0.4])
    half = Detections(
        np.array([[100, 100, 140, 160]], np.float32),
        np.array([0.3], np.float32),
        np.minimum(whole.keypoints, [140, 160]).astype(np.float32),
        whole.keypoint_scores,
    )
    merged = merge_people(Detections.joined([whole, half]), 0.1, 0.65)
    assert merged.bbox[:, 3] == pytest.approx([220])


def test_who_is_seen_twice_scores_as_when_seen_best() -> None:
    """Looks at one picture err alike: the second adds nothing, whichever of both stays."""
    twice = people([[100, 100, 140, 220], [101, 100, 141, 220]], [0.4, 0.3])
    assert merge_people(twice, 0.1, 0.65).score == pytest.approx([0.4])


@pytest.mark.parametrize(("half_score", "bottom"), [(0.42, 220), (0.7, 160)])
def test_the_whole_body_stays_unless_its_half_scores_far_more(half_score: float, bottom: float) -> None:
    """Either way there is one person, with the higher score."""
    whole = people([[100, 100, 140, 220]], [0.4])
    half = Detections(
        np.array([[100, 100, 140, 160]], np.float32),
        np.array([half_score], np.float32),
        np.minimum(whole.keypoints, [140, 160]).astype(np.float32),
        whole.keypoint_scores,
    )
    merged = merge_people(Detections.joined([whole, half]), 0.1, 0.65)
    assert merged.bbox[:, 3] == pytest.approx([bottom])
    assert merged.score == pytest.approx([half_score])


def test_two_people_side_by_side_stay_two() -> None:
    """Overlapping boxes, other joints."""
    two = people([[100, 100, 140, 220], [115, 100, 155, 220]], [0.4, 0.3])
    assert len(merge_people(two, 0.1, 0.65)) == 2


@pytest.mark.model
def test_the_embedded_model_zooms_and_finds_a_small_person_better() -> None:
    """A figure an eighth of the frame's height is found surely only enlarged."""
    image = person_image(1280, 720, centre=0.3, scale=0.2)
    resolved = Settings().resolve(resolve_model("movenet-multipose").thresholds).poses
    model = load_model("movenet-multipose")
    assert isinstance(model, Zoom)
    best = {}
    for mode in (SecondLook.OFF, SecondLook.AUTO):
        chosen = resolved.model_copy(update={"second_look": mode})
        (found,) = Looker(model, 1280, 720, 25, chosen).find([image])
        best[mode] = float(found.score.max(initial=0))
        if mode is SecondLook.AUTO:
            centre = found.bbox[found.score.argmax()][[0, 2]].mean()
    assert best[SecondLook.AUTO] > best[SecondLook.OFF]
    assert abs(centre - 0.3 * 1280) < 40
