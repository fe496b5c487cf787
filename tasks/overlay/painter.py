"""The overlay video: who was found, who they are through the clip, and who is thought to fight.

A second pass over the clip draws onto each frame the skeletons in their track's colour (paler and dashed where the row
was filled in and not seen), boxes, `ID:<n>` in yellow on black above the head, rank badges and scores; the fighters of
the moment are emphasised, people who do not reach the annotation are drawn thin. The frames stream: memory does not
grow with the clip.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from tasks.core.prefetch import ahead
from tasks.core.records import BoolArray, FloatArray, Involvement, Tracks, VideoInfo
from tasks.core.settings import OverlaySettings
from tasks.core.skeleton import LIMBS
from tasks.overlay.canvas import (
    BLACK,
    SHIFT,
    SURE_JOINT,
    VISIBLE_JOINT,
    WHITE,
    YELLOW,
    Color,
    Image,
    Levels,
    Sizes,
    draw_box,
    draw_corners,
    draw_joints,
    draw_rim,
    draw_segments,
    fixed_point,
    frame_picture,
    mix,
    palette_colors,
    paste,
    text_box,
)
from tasks.overlay.labels import LabelPlacer, label_anchor
from tasks.overlay.panels import RegionGrid, Row, Scoreboard, Timeline, badge, quiet_corners
from tasks.overlay.privacy import Veil
from tasks.video.writing import VideoWriter

MOMENT_SHARE = 0.6
"""Share of the clip's highest windowed score that a fighter of the moment reaches at least."""

MOMENT_PEOPLE = 2
"""Most fighters of one moment: scores of one clip lie close together, and emphasis on everyone would be none."""

MOST_ROWS = 6
"""Most people in scoreboard and timeline, however many the annotation holds."""

FRAMES_AHEAD = 4
"""Frames that wait to be drawn on, and as many that wait to be encoded; at 4K one is 25 MB."""

GREY: Color = (120, 120, 120)

ESTIMATED_SHARE = 0.6
"""How much of the colour is left where a person was not seen but estimated."""


@dataclass(frozen=True, slots=True)
class _Look:
    """How one track is drawn throughout the clip.

    `colors` are those of faint, middling and sure limbs, `joints` those of the dots on them, `pale` those of rows that
    were filled in; `moment` tells for each time window whether the person is a fighter of the moment; `label` is the
    picture beside the head, `moment_label` the one used at such moments.
    """

    selected: bool
    order: int
    colors: Levels
    joints: Levels
    pale: Levels
    moment: BoolArray
    label: Image
    moment_label: Image


@dataclass(frozen=True, slots=True)
class _People:
    """The people of one frame as shapes to draw, all arrays over the frame's rows.

    `boxes` (n, 4) are whole pixels; `limbs` (n, 18, 2, 2) and `joints` (n, 17, 2) are in fixed point, their levels of
    confidence as `_levels_of` gives them.
    """

    boxes: npt.NDArray[np.int32]
    limbs: npt.NDArray[np.int32]
    limb_levels: npt.NDArray[np.int8]
    joints: npt.NDArray[np.int32]
    joint_levels: npt.NDArray[np.int8]
    filled: BoolArray

    @classmethod
    def of_rows(cls, tracks: Tracks, rows: slice, size: tuple[int, int]) -> _People:
        """Prepare the rows of one frame; all at once, for small steps in numpy cost more than drawing."""
        poses = tracks.poses
        scores = poses.keypoint_scores[rows]
        joints = fixed_point(poses.keypoints[rows], size)
        corners = fixed_point(poses.bbox[rows].reshape(-1, 2, 2), size)
        return cls(
            boxes=corners.reshape(-1, 4) >> SHIFT,
            limbs=joints[:, LIMBS],
            # A limb is as sure as the less sure of its two ends.
            limb_levels=_levels_of(np.minimum(scores[:, LIMBS[:, 0]], scores[:, LIMBS[:, 1]])),
            joints=joints,
            joint_levels=_levels_of(scores),
            filled=tracks.filled[rows],
        )


class OverlayPainter:
    """Draws the overlay of one clip, frame by frame.

    Parameters
    ----------
    tracks
        The people followed through the clip.
    involvement
        The people of the annotation, in rank order. Tracks that it does not name are drawn as background.
    size
        Width and height of the frames in pixels.
    settings
        What is shown.
    """

    def __init__(
        self,
        tracks: Tracks,
        involvement: Involvement,
        size: tuple[int, int],
        settings: OverlaySettings,
    ) -> None:
        self._tracks = tracks
        self._size = size
        self._sizes = Sizes.for_frame(*size)
        self._edges = involvement.window_frames
        colors = track_colors(tracks, involvement)
        rows = _rows(involvement, colors)
        moments = dict(zip(rows, fighters_of_the_moment(involvement.window_score), strict=True))
        self._looks = {
            track_id: self._look(track_id, color, rows.get(track_id), moments.get(track_id))
            for track_id, color in colors.items()
        }
        shown = list(rows.values())[:MOST_ROWS]
        self._timeline = Timeline(shown, involvement.window_frames, self._sizes, size[0])
        self._board = Scoreboard(shown, self._sizes)
        # On a frame too small for the board the people matter more.
        if self._board.width > size[0] // 2 or self._board.height + self._timeline.height > size[1] // 2:
            self._board = Scoreboard([], self._sizes)
        panel = (self._board.width, self._board.height)
        self._corners = quiet_corners(tracks.poses, self._edges, size, panel, self._timeline.height)
        self._veil = Veil(tracks, size, settings.overlay_privacy)
        self._grid: RegionGrid | None = None
        if settings.overlay_regions:
            weights = involvement.region_weights.weights
            # Clear of the board where it begins; labels of the grid do not move when the board does.
            self._grid = RegionGrid(weights, size, self._sizes, self._timeline.height, (*self._corners[0], *panel))

    def _look(self, track_id: int, color: Color, row: Row | None, moment: BoolArray | None) -> _Look:
        """Prepare what a track looks like."""
        sizes = self._sizes
        text = f"ID:{track_id}"
        if row is None:
            # Not in the annotation: paler and smaller, but with the ID, by which a review can add the person.
            color = mix(color, GREY, 0.45)
            label = framed = text_box(text, sizes.small_text, max(1, sizes.pad // 2), YELLOW)
        else:
            parts = [badge(str(row.rank), sizes.text, sizes.pad, color), text_box(text, sizes.text, sizes.pad, YELLOW)]
            # On small frames the label would be wider than the person; the score is in the scoreboard.
            if sizes.text > 8:
                parts.append(text_box(f"{row.score:.2f}", sizes.text, sizes.pad, WHITE))
            label = np.concatenate(parts, axis=1)
            framed = frame_picture(label, max(1, sizes.strong // 2), color)
        dark, middle = mix(color, BLACK, 0.45), mix(color, BLACK, 0.2)
        return _Look(
            selected=row is not None,
            # Below every rank.
            order=row.rank if row else 1_000_000 + track_id,
            colors=(dark, middle, color),
            joints=(mix(dark, WHITE, 0.35), mix(middle, WHITE, 0.35), mix(color, WHITE, 0.35)),
            pale=(mix(dark, GREY, 0.3), mix(middle, GREY, 0.3), mix(color, GREY, 0.3)),
            moment=np.zeros(0, np.bool_) if moment is None else moment,
            label=label,
            moment_label=framed,
        )

    def draw(self, frame_index: int, frame: Image) -> Image:
        """Return a copy of a frame with everything drawn on it.

        Parameters
        ----------
        frame_index
            Number of the frame, from 0 in decode order.
        frame
            (H, W, 3) uint8, BGR.
        """
        image: Image = np.array(self._veil.over(frame_index, frame), np.uint8, order="C")
        if self._grid:
            self._grid.draw(image)
        # -1 before the first edge.
        window = int(np.searchsorted(self._edges, frame_index, side="right")) - 1
        # Rows are sorted by frame, so that those of one frame are a range.
        first, last = np.searchsorted(self._tracks.poses.frame_index, [frame_index, frame_index + 1]).tolist()
        looks = [self._looks[track_id] for track_id in self._tracks.track_id[first:last].tolist()]
        people = _People.of_rows(self._tracks, slice(first, last), self._size)
        by_rank = sorted(range(len(looks)), key=lambda i: looks[i].order)
        # People who were estimated shine through: they are drawn on a layer of their own, below those who were seen.
        estimated = [i for i in by_rank if people.filled[i]]
        if estimated:
            layer = image.copy()
            for i in reversed(estimated):
                self._person(layer, people, i, looks[i], window)
            cv2.addWeighted(layer, ESTIMATED_SHARE, image, 1 - ESTIMATED_SHARE, 0.0, dst=image)
        # The most involved are drawn last, over the others.
        for i in reversed(by_rank):
            if not people.filled[i]:
                self._person(image, people, i, looks[i], window)
        self._timeline.draw(image, frame_index)
        # Frames outside all windows take the corner of the nearest.
        corner = self._corners[max(0, min(window, len(self._corners) - 1))]
        self._board.draw(image, *corner, window)
        self._labels(image, by_rank, first, looks, window, corner)
        return image

    def _person(self, image: Image, people: _People, i: int, look: _Look, window: int) -> None:
        """Draw one person's box and skeleton."""
        sizes = self._sizes
        filled = bool(people.filled[i])
        moment = _at(look.moment, window)
        thickness = sizes.strong if moment else sizes.line if look.selected else sizes.thin
        colors = look.pale if filled else look.colors
        dash = sizes.dash if filled else None

        limbs, levels = people.limbs[i], people.limb_levels[i]
        # A dark rim keeps lines apart from light ground and from one another, whatever their colour.
        if look.selected and not filled:
            draw_box(image, people.boxes[i], BLACK, sizes.thin + 2 * sizes.rim)
            if moment:
                draw_corners(image, people.boxes[i], BLACK, sizes.strong + 2 * sizes.rim)
        draw_box(image, people.boxes[i], colors[1] if look.selected else colors[0], sizes.thin, dash)
        if moment and not filled:
            draw_corners(image, people.boxes[i], colors[2], sizes.strong)
        if not filled:
            draw_rim(image, limbs[levels >= 0], thickness + 2 * sizes.rim)
        for level, color in enumerate(colors):
            draw_segments(image, limbs[levels == level], color, thickness, dash)
        if look.selected and not filled:
            # One pixel more for fighters of the moment, whose thicker limbs would hide the dots.
            radius = sizes.joint + (thickness > sizes.line)
            draw_joints(image, people.joints[i], people.joint_levels[i], look.joints, radius)

    def _labels(
        self, image: Image, by_rank: list[int], first: int, looks: list[_Look], window: int, corner: tuple[int, int]
    ) -> None:
        """Draw the labels, the most involved people choosing their places first; `first` is the frame's first row."""
        poses = self._tracks.poses
        left, top = corner
        # Board and timeline are drawn before the labels, which would cover them.
        taken = [(left, top, left + self._board.width, top + self._board.height)]
        taken.append((0, self._size[1] - self._timeline.height, *self._size))
        gap = self._sizes.pad + self._sizes.joint
        placer = LabelPlacer(self._size, np.array(taken, np.int32), gap)
        placed = []
        for i in by_rank:
            row, look = first + i, looks[i]
            label = look.moment_label if _at(look.moment, window) else look.label
            height, width = label.shape[:2]
            anchor = label_anchor(poses.bbox[row], poses.keypoints[row], poses.keypoint_scores[row])
            x, y = placer.place(anchor, width, height)
            # A label that had to move far from its head gets a line to it.
            if abs(y + height + gap - anchor[1]) > height or abs(x + width / 2 - anchor[0]) > width:
                foot = (x + width / 2, y + (height if y < anchor[1] else 0))
                leader = fixed_point(np.array([[foot, anchor]]), self._size)
                draw_segments(image, leader, look.colors[1], self._sizes.thin)
            placed.append((label, x, y))
        # After all leaders, which would else run through the labels of others.
        for label, x, y in placed:
            paste(image, label, x, y)


def write_overlay(
    frames: Iterable[tuple[Image, float | None]],
    video: VideoInfo,
    tracks: Tracks,
    involvement: Involvement,
    path: Path,
    settings: OverlaySettings,
) -> int:
    """Write a clip's overlay video and return the number of its frames.

    Parameters
    ----------
    frames
        The clip's frames in order, as `tasks.video.reading.decode_frames` yields them: (H, W, 3) uint8 BGR, and the
        time in seconds or None. With times, mp4 and mov keep the input's timing even where its frame rate varies.
    video
        The clip; its size and frame rate become the overlay's.
    tracks
        All people followed through the clip.
    involvement
        The people of the annotation, in rank order. Tracks that it does not name are drawn as background.
    path
        Where to write; the ending chooses container and codec. The file appears when it is complete.
    settings
        What is shown.

    Raises
    ------
    FightposeError
        If there is no frame, the ending is not that of a known container, or its encoder is missing.
    OSError
        If the file cannot be written; worth another try.
    """
    size = (video.width, video.height)
    painter = OverlayPainter(tracks, involvement, size, settings)
    # Decoded in one thread, drawn in another, encoded here.
    with VideoWriter(path, video.fps, size) as writer, ahead(_drawn(painter, frames), FRAMES_AHEAD) as drawn:
        for image, time_s in drawn:
            writer.write(image, time_s)
    return writer.frames_written


def _drawn(
    painter: OverlayPainter, frames: Iterable[tuple[Image, float | None]]
) -> Iterator[tuple[Image, float | None]]:
    """Yield the frames with the people drawn on them."""
    with ahead(frames, FRAMES_AHEAD) as decoded:
        for index, (image, time_s) in enumerate(decoded):
            yield painter.draw(index, image), time_s


def track_colors(tracks: Tracks, involvement: Involvement) -> dict[int, Color]:
    """Return each track's colour: by its ID, moved on where a person of higher rank has that colour already."""
    ranked = involvement.track_ids.tolist()
    known = set(ranked)
    # People of the annotation choose first; everybody is in the list once.
    return palette_colors(ranked + [i for i in tracks.ids.tolist() if i not in known])


def fighters_of_the_moment(window_score: FloatArray) -> BoolArray:
    """Return who is emphasised in each time window, (P, S): its highest scores, where they are high for the clip.

    Parameters
    ----------
    window_score
        (P, S), people in rank order; between equal scores the higher rank decides.
    """
    # Sorting twice gives each person's place in each window, 0 for the highest score.
    place = np.argsort(np.argsort(-window_score, axis=0, kind="stable"), axis=0, kind="stable")
    high = window_score >= MOMENT_SHARE * window_score.max(initial=0.0)
    moments: BoolArray = (place < MOMENT_PEOPLE) & high & (window_score > 0)
    return moments


def _rows(involvement: Involvement, colors: dict[int, Color]) -> dict[int, Row]:
    """Return the ranked people's lines of the panels by track ID, in rank order."""
    # A clip in which nothing happens has no fighters of the moment.
    highest = float(involvement.window_score.max(initial=0.0)) or 1.0
    return {
        track_id: Row(rank, track_id, score, colors[track_id], windows / highest)
        for rank, (track_id, score, windows) in enumerate(
            zip(involvement.track_ids.tolist(), involvement.score.tolist(), involvement.window_score, strict=True), 1
        )
    }


def _levels_of(scores: FloatArray) -> npt.NDArray[np.int8]:
    """Return the level of confidence of each score: -1 is not drawn, then faint (0), middling (1) and sure (2)."""
    levels = np.full(scores.shape, -1, np.int8)
    for edge in (VISIBLE_JOINT, (VISIBLE_JOINT + SURE_JOINT) / 2, SURE_JOINT):
        levels += scores >= edge
    return levels


def _at(moments: BoolArray, window: int) -> bool:
    """Return whether a person is a fighter of the moment in a time window."""
    return 0 <= window < len(moments) and bool(moments[window])
