"""Where in a frame people are looked for, and the second look at those who are in doubt.

One pass over a whole frame misses people who are small, in contact or half hidden: in the network's input they are a
few dozen pixels tall, or are behind somebody who scores higher. Three remedies, each bounded in cost:

- a first look at *tiles*, overlapping parts of the frame, each scaled to a small input, in place of the whole frame;
- a *glance* at the whole frame where somebody is too large for a tile, which would show a part of that person only;
- a second look at *crops*, one per person who is in doubt: seen with a low score, or seen a moment before or after and
  not now. The crop is centred where the person should be, and filled by that person alone.

Frames are handled in batches, so that a person seen later in the batch is looked for in the frames before it as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from tasks.core.choices import SecondLook
from tasks.core.geometry import box_area, iou, overlap
from tasks.core.records import BoolArray, FloatArray
from tasks.core.settings import PoseSettings
from tasks.poses.crops import Box, Look, crop_box, cut, cut_off, tile_boxes
from tasks.poses.detections import Detections, clean, merge_people, suppress_duplicates
from tasks.poses.models import PoseModel
from tasks.video.reading import Image

TILE_SHARE = 0.5
"""Most of the budget that tiles may take on average; what is left goes to crops."""

GLANCE_SIDE = 256
"""Input side, pixels, of a glance at a whole frame: it finds people who are near."""

NEAR_SIDE = 320
"""The same where somebody is too large for a tile: then the joints are read from it, too."""

SCOUT_EVERY = 4
"""Of so many frames with tiles, one gets a glance, to see whether somebody is too large for a tile."""

LARGE = 0.8
"""Who is larger than this share of a tile, in width or height, is seen better in a glance."""

SOUND, LIKELY = 0.4, 0.3
"""Scores with which somebody so large is surely there, and with which they are in other frames of the batch."""

FILLED = 0.6
"""A tile that one large person covers by more than this shows nothing but a part of that person."""

SAME_CROP = 0.8
"""Crops of one frame that overlap more (IoU) show the same: one of them is enough."""

LINK_IOU = 0.25
"""Boxes in successive frames that overlap at least this much may be one person."""

HOLD_S = 0.2
"""Seconds for which someone is looked for before and after having been seen."""

FADE = 0.9
"""Factor per frame on the evidence for a person: the past counts less than the present."""


@runtime_checkable
class Zoom(Protocol):
    """A pose model whose input size can be chosen per image.

    Attributes
    ----------
    sure_score
        Who scores this much needs no second look.
    tile_side, crop_side
        Lengths in pixels to which the longer side of a tile and of a crop are scaled.
    """

    sure_score: float
    tile_side: int
    crop_side: int

    def detect(self, images: Sequence[Image], long_side: int | None = None) -> list[Detections]:
        """Return the people of each image, whose longer side is scaled to `long_side` (None: the model's own)."""
        ...

    def cost(self, width: int, height: int, long_side: int | None = None) -> float:
        """Return what an image costs, in any unit that is the same for all sizes."""
        ...


class FixedInput:
    """A model whose input has one size, as a `Zoom`: every look costs one pass, whatever it shows."""

    sure_score = 0.6
    """RTMO's scores span 0 to 1; its detections above this start tracks."""

    tile_side = 0
    crop_side = 0

    def __init__(self, model: PoseModel) -> None:
        self._model = model

    def detect(self, images: Sequence[Image], long_side: int | None = None) -> list[Detections]:
        """Return the people of each image; crops of many frames and sizes make one batch."""
        return self._model.detect(images)

    def cost(self, width: int, height: int, long_side: int | None = None) -> float:
        """Return 1: the input is as large for a crop as for the whole frame."""
        return 1.0


class Sight(NamedTuple):
    """What one look shows: its people, and who of them is cut off by its border or larger than a tile, (N,) bool."""

    people: Detections
    cut_off: BoolArray
    large: BoolArray

    def sound(self) -> FloatArray:
        """Return the boxes of the large people who are surely there."""
        return self.people.bbox[self.large & (self.people.score >= SOUND)]

    def only_large(self, sound: FloatArray) -> Sight:
        """Return the large people alone who are where one of the batch surely is, given by boxes."""
        near = (iou(self.people.bbox[:, None], sound[None]) > LINK_IOU).any(axis=1) & self.large
        return Sight(self.people.select(near), self.cut_off[near], self.large[near])


@dataclass(slots=True)
class _Sighted:
    """Someone seen in the current batch or just before it.

    Attributes
    ----------
    frames, boxes, scores
        Where and how surely, per sighting; frames count from the start of the batch and are negative before it.
    evidence
        Sum of scores, fading with time.
    """

    frames: list[int] = field(default_factory=list)
    boxes: list[FloatArray] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    evidence: float = 0.0

    def see(self, frame: int, box: FloatArray, score: float) -> None:
        """Add a sighting."""
        self.frames.append(frame)
        self.boxes.append(box)
        self.scores.append(score)
        self.evidence += score


class Looker:
    """Finds the people of a clip, batch by batch; a new one for every clip.

    Parameters
    ----------
    model
        A loaded model.
    width, height, fps
        Frame size in pixels, frames per second.
    settings
        With `score_thr` and `nms_thr` resolved to numbers.

    Attributes
    ----------
    spent
        What all looks so far cost, as a multiple of one pass over one frame.
    """

    def __init__(self, model: PoseModel, width: int, height: int, fps: float, settings: PoseSettings) -> None:
        if settings.score_thr is None or settings.nms_thr is None:
            raise ValueError("thresholds are not resolved; use Settings.resolve")
        self._score_thr, self._nms_thr = settings.score_thr, settings.nms_thr
        self._width, self._height = width, height
        self._hold = max(1, round(HOLD_S * fps))
        self._zoom: Zoom = model if isinstance(model, Zoom) else FixedInput(model)
        self._budget = settings.look_budget
        self._mode = settings.second_look
        if self._mode is SecondLook.AUTO and isinstance(self._zoom, FixedInput):
            # A crop costs a whole pass here, and no such model's gain could be measured: only on request.
            self._mode = SecondLook.OFF
        self._sure = self._zoom.sure_score if self._mode is SecondLook.AUTO else np.inf
        self._one_pass = self._zoom.cost(width, height)
        self._tiles = tile_boxes(width, height)
        self._done = 0
        self._known: list[_Sighted] = []
        self.spent = 0.0

    def find(self, images: Sequence[Image]) -> list[Detections]:
        """Return the people of the next frames of the clip, duplicates merged.

        Parameters
        ----------
        images
            (H, W, 3) uint8 BGR, all of the clip's size.
        """
        seen: list[list[Sight]] = [[] for _ in images]
        spent = self.spent
        self._look_first(images, seen)
        self._done += len(images)
        if self._mode is SecondLook.OFF:
            return [suppress_duplicates(sights[0].people, self._score_thr, self._nms_thr) for sights in seen]
        # What the first looks left of the batch's budget, in passes over one frame.
        left = self._budget * len(images) - (self.spent - spent)
        people = self._link(self._merged(seen))
        self._take(images, self._second_looks(people, len(images), left), seen)
        found = self._merged(seen)
        self._remember(self._link(found), len(images))
        return [people.select(people.score >= self._score_thr) for people in found]

    def _merged(self, seen: list[list[Sight]]) -> list[Detections]:
        """Return the people of each frame from all looks at it, down to half the threshold.

        A second look, or another frame, may show more surely who is not sure enough yet to be kept.
        """
        merged = []
        for sights in seen:
            people = Detections.joined([sight.people for sight in sights])
            part, large = (np.concatenate([sight[k] for sight in sights]) for k in (1, 2))
            merged.append(merge_people(people, self._score_thr / 2, self._nms_thr, part[:, None] & large[None]))
        return merged

    def _remember(self, people: list[_Sighted], frames: int) -> None:
        """Keep the last sighting of those who were seen lately, for the next batch."""
        lately = [one for one in people if one.frames[-1] >= frames - self._hold]
        self._known = [
            _Sighted([one.frames[-1] - frames], one.boxes[-1:], one.scores[-1:], one.evidence) for one in lately
        ]

    def _look_first(self, images: Sequence[Image], seen: list[list[Sight]]) -> None:
        """Take the looks that do not depend on what was seen before: the whole frame, or tiles where the model zooms.

        Where tiles would take most of the budget, only every second or third frame gets them. The others get a glance
        at the whole frame: people it misses are looked for in crops, at the places given by their neighbours.

        A glance at every fourth tiled frame tells whether somebody is too large for a tile. Only then do all frames of
        the batch get one, and count on it for those people: it sees them whole, where tiles show halves.
        """
        whole = (0, 0, self._width, self._height)
        frames = range(len(images))
        if self._mode is SecondLook.OFF or isinstance(self._zoom, FixedInput):
            self._take(images, [Look(frame, whole, None) for frame in frames], seen)
            return
        tiles = [Look(0, box, self._zoom.tile_side) for box in self._tiles]
        # One frame in so many is tiled, so that tiles take `TILE_SHARE` of the budget at most.
        every = int(np.ceil(sum(map(self._cost, tiles)) / (TILE_SHARE * self._budget)))
        # Counted from the clip's start: the rhythm does not begin again with each batch.
        tiled = [frame for frame in frames if (self._done + frame) % every == 0]
        glances = [Look(frame, whole, GLANCE_SIDE) for frame in frames]
        self._take(images, [glances[frame] for frame in frames if frame not in tiled], seen)
        scouts = tiled[::SCOUT_EVERY]
        self._take(images, [glances[frame] for frame in scouts], seen)
        if any(len(sight.sound()) for frame in scouts for sight in seen[frame]):
            self._take(images, [Look(frame, whole, NEAR_SIDE) for frame in tiled], seen)
        sound = np.concatenate([np.zeros((0, 4), np.float32), *(one.sound() for frame in tiled for one in seen[frame])])
        for frame in tiled:
            # Everybody else is larger in the tiles, and so better seen there.
            seen[frame] = [sight.only_large(sound) for sight in seen[frame]]
        # A tile filled by such a person would show a part of a body, at the cost of a whole tile.
        looks = [
            look._replace(frame=frame) for frame in tiled for look in tiles if not self._filled(look.box, seen[frame])
        ]
        self._take(images, looks, seen)

    def _filled(self, tile: Box, sights: list[Sight]) -> bool:
        """Tell whether one large person fills a tile, which would then show a part of that person only."""
        box = np.array(tile, np.float32)
        return any(bool(np.any(overlap(one.people.bbox, box) > FILLED * box_area(box))) for one in sights)

    def _cost(self, look: Look) -> float:
        """Return what a look costs, as a multiple of one pass over the frame."""
        x1, y1, x2, y2 = look.box
        return self._zoom.cost(x2 - x1, y2 - y1, look.long_side) / self._one_pass

    def _take(self, images: Sequence[Image], looks: Sequence[Look], seen: list[list[Sight]]) -> None:
        """Take some looks and add what they show to what is seen in their frames."""
        # A call of the model takes one input side for all of its images.
        for side in dict.fromkeys(look.long_side for look in looks):
            batch = [look for look in looks if look.long_side == side]
            for look, people in zip(batch, self._detect(images, batch, side), strict=True):
                people = clean(people.shifted(*look.box[:2]), self._width, self._height)
                seen[look.frame].append(Sight(people, self._cut_off(look, people), self._large(look, people)))
        self.spent += sum(map(self._cost, looks))

    def _detect(self, images: Sequence[Image], batch: Sequence[Look], side: int | None) -> list[Detections]:
        """Return what some looks of one input side show, in pixels of their boxes."""
        return self._zoom.detect([cut(images[look.frame], look.box) for look in batch], side)

    def _cut_off(self, look: Look, people: Detections) -> BoolArray:
        """Tell who may be cut off by the border of a tile; crops have room around the person they are for."""
        if look.box not in self._tiles:
            return np.zeros(len(people), bool)
        return cut_off(people, look.box, self._width, self._height)

    def _large(self, look: Look, people: Detections) -> BoolArray:
        """Tell who, in a look at the whole frame, is surely there and larger than a tile."""
        x1, y1, x2, y2 = self._tiles[0]
        tile = np.array([x2 - x1, y2 - y1], np.float32)
        whole = look.box == (0, 0, self._width, self._height)
        large = ((people.bbox[:, 2:] - people.bbox[:, :2]) > LARGE * tile).any(axis=1)
        return np.asarray(whole & large & (people.score >= LIKELY), bool)

    def _link(self, frames: list[Detections]) -> list[_Sighted]:
        """Link what was found in the frames of a batch into people, going on from those known before it."""
        # Imported here: a run that has nothing to do would spend most of its two seconds on scipy.
        from scipy.optimize import linear_sum_assignment

        # Copies: each batch is linked twice, from the same people known before it.
        people = [_Sighted(one.frames[:], one.boxes[:], one.scores[:], one.evidence) for one in self._known]
        for frame, found in enumerate(frames):
            for one in people:
                one.evidence *= FADE
            taken = np.zeros(len(found), bool)
            if people and len(found):
                # With the last box of each, so that somebody missed for some frames goes on from there.
                fit = iou(np.stack([one.boxes[-1] for one in people])[:, None], found.bbox[None])
                for person, row in zip(*linear_sum_assignment(fit, maximize=True), strict=True):
                    # The assignment leaves nobody over, and so pairs people who do not even touch.
                    if fit[person, row] > LINK_IOU:
                        people[person].see(frame, found.bbox[row], float(found.score[row]))
                        taken[row] = True
            for row in np.flatnonzero(~taken):
                people.append(_Sighted())
                people[-1].see(frame, found.bbox[row], float(found.score[row]))
        return people

    def _second_looks(self, people: list[_Sighted], frames: int, left: float) -> list[Look]:
        """Return the crops that are worth their cost, the most promising first, until the budget is spent."""
        wanted = [
            (-promise, frame, crop_box(box))
            for one in people
            for frame in range(frames)
            for promise, box in self._promise(one, frame)
        ]
        looks: list[Look] = []
        # By promise alone: the sort is stable, so that equal ones keep the order of people.
        for _, frame, box in sorted(wanted, key=lambda want: want[0]):
            look = Look(frame, box, self._zoom.crop_side or None)
            # Where nothing is planned yet, a box without area, which overlaps nothing.
            planned = np.array([other.box for other in looks if other.frame == frame] or [(0, 0, 0, 0)], np.float32)
            if iou(np.array(box, np.float32), planned).max() > SAME_CROP:
                continue
            left -= self._cost(look)
            # Crops are square and cost the same: no later one would fit either.
            if left < 0:
                break
            looks.append(look)
        return looks

    def _promise(self, one: _Sighted, frame: int) -> list[tuple[float, FloatArray]]:
        """Return how promising it is to look for someone in a frame, and where; empty if it is not."""
        frames = np.array(one.frames)
        away = np.abs(frames - frame)
        nearest = int(away.argmin())
        # Who is not seen in this very frame scores 0 in it: there a crop promises most.
        score = one.scores[nearest] if away[nearest] == 0 else 0.0
        # Where everybody gets a second look, `_sure` is infinite and the score does not matter.
        promise = one.evidence * (1 - score / self._sure) / (1 + 0.15 * away[nearest])
        if away[nearest] > self._hold or promise < self._score_thr:
            return []
        boxes = np.stack(one.boxes)
        return [(promise, np.array([np.interp(frame, frames, boxes[:, side]) for side in range(4)], np.float32))]
