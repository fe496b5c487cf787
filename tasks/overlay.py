"""The overlay video: who was found, who they are through the clip, and who is thought to fight.

A second pass over the clip draws onto each frame the skeletons in their track's colour (paler and dashed where the row
was filled in and not seen), boxes, `ID:<n>` in yellow on black above the head, rank badges and scores; the fighters of
the moment stand out, people beyond the selected ranks step back. The frames stream: memory does not grow with the clip.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.overlay_canvas import (
    BLACK,
    LIMBS,
    PALETTE,
    SURE_JOINT,
    VISIBLE_JOINT,
    WHITE,
    YELLOW,
    Color,
    Image,
    Sizes,
    box_segments,
    corner_segments,
    draw_joints,
    draw_segments,
    fixed_point,
    mix,
    paste,
    text_box,
)
from tasks.overlay_labels import LabelPlacer, label_anchor
from tasks.overlay_panels import RegionGrid, Row, Scoreboard, Timeline, badge, quiet_corner
from tasks.records import BoolArray, FloatArray, Involvement, Tracks
from tasks.settings import OverlaySettings, SelectionSettings
from tasks.video_writer import VideoWriter

MOMENT_SHARE = 0.6
"""A person is a fighter of the moment from this share of the clip's highest windowed score on."""

MOST_ROWS = 6
"""Most people in scoreboard and timeline, however many are selected."""

GREY: Color = (120, 120, 120)


@dataclass(frozen=True, slots=True)
class _Look:
    """How one track is drawn throughout the clip.

    `colors` are those of faint, middling and sure joints; `moment` tells for each time window whether the person is a
    fighter of the moment; `label` is the picture beside the head, `moment_label` the one used at such moments.
    """

    selected: bool
    order: int
    colors: tuple[Color, Color, Color]
    moment: BoolArray
    label: Image
    moment_label: Image


class OverlayPainter:
    """Draws the overlay of one clip, frame by frame.

    Parameters
    ----------
    tracks
        The people followed through the clip.
    involvement
        Their scores and ranks. Tracks that it does not name are drawn as people in the background.
    size
        Width and height of the frames in pixels.
    settings
        What is shown.
    selected_ids
        The tracks that reach the annotation. None: the first ones in rank order, as many as an annotation holds.
    """

    def __init__(
        self,
        tracks: Tracks,
        involvement: Involvement,
        size: tuple[int, int],
        settings: OverlaySettings,
        selected_ids: Collection[int] | None = None,
    ) -> None:
        self._tracks = tracks
        self._size = size
        self._sizes = Sizes.for_frame(*size)
        self._edges = involvement.window_frames
        if selected_ids is None:
            selected_ids = involvement.track_ids[: SelectionSettings().max_persons].tolist()
        selected = {int(track_id) for track_id in selected_ids}
        colors = track_colors(tracks, involvement)
        rows = _rows(involvement, selected, colors)
        self._looks = {track_id: self._look(track_id, color, rows.get(track_id)) for track_id, color in colors.items()}
        shown = list(rows.values())[:MOST_ROWS]
        self._timeline = Timeline(shown, involvement.window_frames, self._sizes, size[0])
        self._board = Scoreboard(shown, self._sizes)
        # On a frame too small for the board the people matter more.
        if self._board.width > size[0] // 2 or self._board.height + self._timeline.height > size[1] // 2:
            self._board = Scoreboard([], self._sizes)
        panel = (self._board.width, self._board.height)
        self._corner = quiet_corner(tracks.poses.bbox, size, panel, self._timeline.height)
        self._grid: RegionGrid | None = None
        if settings.overlay_regions:
            weights = involvement.region_weights.weights
            self._grid = RegionGrid(weights, size, self._sizes, self._timeline.height)

    def _look(self, track_id: int, color: Color, row: Row | None) -> _Look:
        """Prepare what a track looks like."""
        sizes = self._sizes
        text = f"ID:{track_id}"
        if row is None:
            dim = mix(color, GREY, 0.45)
            label = text_box(text, sizes.small_text, max(1, sizes.pad // 2), YELLOW)
            never = np.zeros(0, np.bool_)
            return _Look(False, 1_000_000 + track_id, _levels(dim), never, label, label)
        parts = [badge(str(row.rank), sizes.text, sizes.pad, color), text_box(text, sizes.text, sizes.pad, YELLOW)]
        # On small frames the label would be wider than the person; the score stands in the scoreboard.
        if sizes.text > 8:
            parts.append(text_box(f"{row.score:.2f}", sizes.text, sizes.pad, WHITE))
        label = np.concatenate(parts, axis=1)
        edge = max(1, sizes.strong // 2)
        framed = np.pad(label, ((edge, edge), (edge, edge), (0, 0)))
        framed[:edge], framed[-edge:], framed[:, :edge], framed[:, -edge:] = color, color, color, color
        moment: BoolArray = row.windows >= MOMENT_SHARE
        return _Look(True, row.rank, _levels(color), moment, label, framed)

    def draw(self, frame_index: int, frame: Image) -> Image:
        """Return a copy of a frame with everything drawn on it.

        Parameters
        ----------
        frame_index
            Number of the frame, from 0 in decode order.
        frame
            (H, W, 3) uint8, BGR.
        """
        image: Image = np.array(frame, np.uint8, order="C")
        if self._grid:
            self._grid.draw(image)
        window = int(np.searchsorted(self._edges, frame_index, side="right")) - 1
        first, last = np.searchsorted(self._tracks.poses.frame_index, [frame_index, frame_index + 1])
        rows = range(int(first), int(last))
        looks = {row: self._looks[int(self._tracks.track_id[row])] for row in rows}
        # The most involved are drawn last, over the others.
        for row in sorted(rows, key=lambda row: -looks[row].order):
            self._person(image, row, looks[row], window)
        self._timeline.draw(image, frame_index)
        self._board.draw(image, *self._corner, window)
        self._labels(image, sorted(rows, key=lambda row: looks[row].order), looks, window)
        return image

    def _person(self, image: Image, row: int, look: _Look, window: int) -> None:
        """Draw one person's box and skeleton."""
        sizes, poses = self._sizes, self._tracks.poses
        filled = bool(self._tracks.filled[row])
        moment = _at(look.moment, window)
        thickness = sizes.strong if moment else sizes.line if look.selected else sizes.thin
        colors = look.colors
        if filled:
            colors = (mix(colors[0], WHITE, 0.4), mix(colors[1], WHITE, 0.4), mix(colors[2], WHITE, 0.4))
        dash = sizes.dash if filled else None

        box = fixed_point(poses.bbox[row].reshape(2, 2), self._size).ravel()
        draw_segments(image, box_segments(box), colors[1] if look.selected else colors[0], sizes.thin, dash)
        if moment:
            draw_segments(image, corner_segments(box), colors[2], sizes.strong)

        scores = poses.keypoint_scores[row]
        points = fixed_point(poses.keypoints[row], self._size)
        limb_scores = scores[LIMBS].min(axis=1)
        visible = limb_scores >= VISIBLE_JOINT
        limbs = points[LIMBS]
        if look.selected and not filled:
            # A dark rim keeps the lines apart from light clothes and from one another.
            draw_segments(image, limbs[visible], BLACK, thickness + 2)
        level = _level_of(limb_scores)
        for number, color in enumerate(colors):
            draw_segments(image, limbs[visible & (level == number)], color, thickness, dash)
        if look.selected and not filled:
            seen = scores >= VISIBLE_JOINT
            draw_joints(image, points[seen], _level_of(scores[seen]), colors, sizes.joint + (thickness > sizes.line))

    def _labels(self, image: Image, rows: list[int], looks: dict[int, _Look], window: int) -> None:
        """Draw the labels, the most involved people choosing their places first."""
        poses = self._tracks.poses
        left, top = self._corner
        taken = [(left, top, left + self._board.width, top + self._board.height)]
        taken.append((0, self._size[1] - self._timeline.height, *self._size))
        gap = self._sizes.pad + self._sizes.joint
        placer = LabelPlacer(self._size, np.array(taken, np.int32), gap)
        for row in rows:
            look = looks[row]
            label = look.moment_label if _at(look.moment, window) else look.label
            height, width = label.shape[:2]
            anchor = label_anchor(poses.bbox[row], poses.keypoints[row], poses.keypoint_scores[row])
            x, y = placer.place(anchor, width, height)
            if abs(y + height + gap - anchor[1]) > height or abs(x + width / 2 - anchor[0]) > width:
                foot = (x + width / 2, y + (height if y < anchor[1] else 0))
                leader = fixed_point(np.array([[foot, anchor]]), self._size)
                draw_segments(image, leader, look.colors[1], self._sizes.thin)
            paste(image, label, x, y)


def write_overlay(
    frames: Iterable[Image | tuple[Image, float | None]],
    tracks: Tracks,
    involvement: Involvement,
    path: Path,
    fps: float,
    size: tuple[int, int],
    settings: OverlaySettings,
    selected_ids: Collection[int] | None = None,
) -> int:
    """Write a clip's overlay video and return the number of its frames.

    Parameters
    ----------
    frames
        The clip's frames in order, (H, W, 3) uint8 BGR, each alone or with its time in seconds, as `decode_frames`
        yields them. With times, mp4 and mov keep the input's timing even where its frame rate varies.
    tracks
        The people followed through the clip.
    involvement
        Their scores and ranks.
    path
        Where to write; the ending chooses container and codec. The file appears when it is complete.
    fps
        Frames per second.
    size
        Width and height of the frames in pixels.
    settings
        What is shown.
    selected_ids
        The tracks that reach the annotation. None: the first ones in rank order, as many as an annotation holds.

    Raises
    ------
    FightposeError
        If there is no frame, the ending is not that of a known container, or its encoder is missing.
    OSError
        If the file cannot be written; worth another try.
    """
    painter = OverlayPainter(tracks, involvement, size, settings, selected_ids)
    with VideoWriter(path, fps, size) as writer:
        for index, item in enumerate(frames):
            image, time_s = item if isinstance(item, tuple) else (item, None)
            writer.write(painter.draw(index, image), time_s)
    return writer.frames_written


def track_colors(tracks: Tracks, involvement: Involvement) -> dict[int, Color]:
    """Return each track's colour: by its ID, moved on where a person of higher rank has that colour already."""
    ranked = involvement.track_ids.tolist()
    known = set(ranked)
    colors: dict[int, Color] = {}
    free: list[int] = []
    for track_id in ranked + [i for i in tracks.ids.tolist() if i not in known]:
        free = free or list(range(len(PALETTE)))
        wanted = (track_id - 1) % len(PALETTE)
        chosen = wanted if wanted in free else free[0]
        free.remove(chosen)
        colors[track_id] = PALETTE[chosen]
    return colors


def _rows(involvement: Involvement, selected: set[int], colors: dict[int, Color]) -> dict[int, Row]:
    """Return the selected people's lines of the panels by track ID, in rank order."""
    chosen = [i for i, track_id in enumerate(involvement.track_ids.tolist()) if track_id in selected]
    highest = float(involvement.window_score[chosen].max(initial=0.0))
    # A clip in which nothing happens has no fighters of the moment.
    shares = involvement.window_score / (highest or 1.0)
    return {
        track_id: Row(chosen_rank, track_id, float(involvement.score[i]), colors[track_id], shares[i])
        for chosen_rank, (i, track_id) in enumerate(((i, int(involvement.track_ids[i])) for i in chosen), start=1)
    }


def _levels(color: Color) -> tuple[Color, Color, Color]:
    """Return a colour's three steps of confidence: dark for faint joints, full for sure ones."""
    return mix(color, BLACK, 0.45), mix(color, BLACK, 0.2), color


def _level_of(scores: FloatArray) -> npt.NDArray[np.int64]:
    """Return the step of confidence (0, 1, 2) of each score."""
    return np.digitize(scores, ((VISIBLE_JOINT + SURE_JOINT) / 2, SURE_JOINT)).astype(np.int64)


def _at(moments: BoolArray, window: int) -> bool:
    """Return whether a person is a fighter of the moment in a time window."""
    return 0 <= window < len(moments) and bool(moments[window])
