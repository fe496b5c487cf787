"""Pixels that are not square: sizes, coordinates, and what goes through a clip's records and annotation."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.annotations.format import AnnotationError, build_annotation, in_display
from tasks.annotations.validate import validate_annotation
from tasks.core.pixel_aspect import MAX_RATIO, display_size, stored_size, to_display, to_stored, usable_ratio
from tasks.core.records import Poses, Tracks, VideoInfo
from tasks.core.settings import LimitSettings, PoseSettings
from tasks.poses.stored import poses_path
from tasks.review.clip_view import clip_view
from tasks.review.id_switches import find_suspects
from tasks.review.overlays import overlay_records
from tasks.video.decoder import decode_guarded, probe_guarded
from tasks.video.limits import ClipLimits
from tasks.video.reading import decode_frames, probe_video
from tasks.video.thumbnails import jpeg_of
from tests.tasks.samples import SETTINGS, sample_clip, sample_involvement, sample_tracks

RECORDERS = {
    "2CIF": ((704, 288), Fraction(6, 11), (704, 528)),
    "half D1": ((352, 576), Fraction(24, 11), (768, 576)),
    "D1, 4:3": ((704, 576), Fraction(12, 11), (768, 576)),
    "D1, 16:9": ((720, 576), Fraction(64, 45), (1024, 576)),
    "NTSC": ((720, 480), Fraction(8, 9), (720, 540)),
    "square": ((640, 360), Fraction(1), (640, 360)),
    "nearly square": ((1920, 1088), Fraction(136, 135), (1920, 1088)),
    "nonsense": ((640, 360), Fraction(1, 100), (640, 360)),
    "none": ((640, 360), None, (640, 360)),
}


@pytest.mark.parametrize("name", RECORDERS)
def test_the_forms_of_recorders_have_their_shape(name: str) -> None:
    """No detail is lost: the longer way of a pixel stays."""
    stored, stated, shown = RECORDERS[name]
    ratio = usable_ratio(stated)
    assert display_size(stored, ratio) == shown
    assert stored_size(shown, ratio) == stored


@given(st.integers(2, 8192), st.integers(2, 8192), st.fractions(1 / Fraction(4), 4, max_denominator=200), st.booleans())
def test_the_stored_size_comes_back_exactly(width: int, height: int, stated: Fraction, transposed: bool) -> None:
    """One number beside one size says all."""
    ratio = usable_ratio(stated, transposed)
    assert 1 / MAX_RATIO <= ratio <= MAX_RATIO
    assert stored_size(display_size((width, height), ratio), ratio) == (width, height)


@given(st.integers(16, 4000), st.integers(16, 4000), st.fractions(Fraction(1, 4), 4, max_denominator=60))
def test_coordinates_go_there_and_back(width: int, height: int, stated: Fraction) -> None:
    """Within a thousandth of a pixel; the frame's edges stay its edges."""
    ratio = usable_ratio(stated)
    boxes = np.array([[0, 0, width, height], [1.5, 2.5, width / 3, height / 2]], np.float32)
    shown = to_display(boxes, (width, height), ratio)
    assert shown[0, 2:] == pytest.approx(display_size((width, height), ratio), rel=1e-6)
    assert to_stored(shown, display_size((width, height), ratio), ratio) == pytest.approx(boxes, rel=1e-5, abs=1e-3)
    assert to_display(boxes, (width, height), 1.0) is boxes


def write_anamorphic(path: Path, aspect: Fraction, rotation: int = 0) -> Path:
    """Write a clip of 64x48 stored pixels of a shape, with a bright quarter at the top left."""
    image = np.full((48, 64, 3), 60, np.uint8)
    image[:24, :32] = 220
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("aspect", "rotation", "shown"),
    [
        (Fraction(1, 2), 0, (64, 96)),
        (Fraction(2), 0, (128, 48)),
        (Fraction(1, 2), 90, (96, 64)),
        (Fraction(2), 90, (48, 128)),
    ],
)
@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv", ".avi"])
def test_frames_and_thumbnails_have_square_pixels(
    tmp_path: Path, aspect: Fraction, rotation: int, shown: tuple[int, int], ending: str
) -> None:
    """Also where the picture is turned, its pixels with it; in this process and in the helper."""
    if ending in (".mkv", ".avi") and rotation:
        pytest.skip("the container has no display matrix")
    video = probe_video(write_anamorphic(tmp_path / f"a{ending}", aspect, rotation))
    assert (video.width, video.height) == shown
    limits = ClipLimits(video.path, LimitSettings())
    for frames in (decode_frames(video), decode_guarded(probe_guarded(limits), limits)):
        image = next(iter(frames)).image
        assert image.shape == (shown[1], shown[0], 3)
        # Half of the width and half of the height are bright, wherever that quarter is shown.
        assert (image.mean(axis=2) > 140).mean() == pytest.approx(0.25, abs=0.03)
    import cv2

    still = cv2.imdecode(np.frombuffer(jpeg_of(video.path, 1, (200, 200)), np.uint8), cv2.IMREAD_COLOR)
    lit = still.mean(axis=2) > 30
    assert lit.any(axis=0).sum() / lit.any(axis=1).sum() == pytest.approx(shown[0] / shown[1], rel=0.05)


def anamorphic_tracks(ratio: float) -> Tracks:
    """Return people in a display frame of 640x360 whose stored pixels have a shape."""
    tracks = sample_tracks()
    return replace(tracks, poses=replace(tracks.poses, sample_aspect_ratio=ratio))


@pytest.mark.parametrize("ratio", [6 / 11, 24 / 11, 12 / 11])
def test_annotations_are_in_stored_pixels(ratio: float) -> None:
    """And come back to display geometry for whoever draws or measures."""
    square = build_annotation(sample_clip(), sample_tracks(), sample_involvement([3, 2, 1]), SETTINGS, {})
    one = build_annotation(sample_clip(), anamorphic_tracks(ratio), sample_involvement([3, 2, 1]), SETTINGS, {})
    stored = stored_size((640, 360), ratio)
    assert one["img_shape"] == one["original_shape"] == stored[::-1]
    assert one["sample_aspect_ratio"] == ratio
    assert "sample_aspect_ratio" not in square
    factor = np.array([stored[0] / 640, stored[1] / 360])
    assert one["keypoint"] == pytest.approx(square["keypoint"] * factor, rel=1e-5, abs=1e-3)
    assert one["bbox"] == pytest.approx(square["bbox"] * np.tile(factor, 2), rel=1e-5, abs=1e-3)
    assert validate_annotation(one) == []
    shown = in_display(one)
    # These 360 lines come from no whole number of stored ones, as those of a real clip do.
    assert shown["img_shape"] == pytest.approx((360, 640), abs=1)
    assert shown["keypoint"] == pytest.approx(square["keypoint"], rel=0.005)
    assert in_display(square) is square


def test_what_is_drawn_and_measured_from_an_annotation_has_square_pixels() -> None:
    """The review page, its overlays and its search for exchanged people."""
    square = build_annotation(sample_clip(), sample_tracks(), sample_involvement([3, 2, 1]), SETTINGS, {})
    one = build_annotation(sample_clip(), anamorphic_tracks(6 / 11), sample_involvement([3, 2, 1]), SETTINGS, {})
    assert overlay_records(one)[0].poses.bbox == pytest.approx(overlay_records(square)[0].poses.bbox, rel=0.005)
    seen, plain = clip_view(one, [], []), clip_view(square, [], [])
    assert (seen["width"], seen["height"]) == pytest.approx((640, 360), abs=1)
    assert [one["components"] for one in seen["people"]] == [one["components"] for one in plain["people"]]
    assert seen["people"][0]["boxes"][1] == pytest.approx(plain["people"][0]["boxes"][1], abs=2)
    assert find_suspects(one) == find_suspects(square)


@pytest.mark.parametrize("ratio", [0.0, -1.0, 99.0, float("nan"), float("inf"), "wide", None, [1]])
def test_a_ratio_that_no_pixel_has_is_refused(ratio: object) -> None:
    """Annotations are foreign files."""
    one = build_annotation(sample_clip(), sample_tracks(), sample_involvement([3, 2, 1]), SETTINGS, {})
    one["sample_aspect_ratio"] = ratio
    assert "sample-aspect-ratio" in {problem.rule for problem in validate_annotation(one)}
    with pytest.raises(AnnotationError, match="sample_aspect_ratio is not the shape of a pixel"):
        in_display(one)


def test_stored_poses_keep_ratio_and_times_and_those_of_ordinary_clips_have_neither(tmp_path: Path) -> None:
    """Files of earlier versions and of ordinary clips are the same."""
    poses = sample_tracks().poses
    poses.save(tmp_path / "square.npz")
    with np.load(tmp_path / "square.npz") as data:
        assert not {"sample_aspect_ratio", "times"} & set(data.files)
    times = np.arange(poses.frame_count) ** 1.1 / 25
    replace(poses, sample_aspect_ratio=6 / 11, times=times).save(tmp_path / "odd.npz")
    again = Poses.load(tmp_path / "odd.npz")
    assert again.sample_aspect_ratio == 6 / 11
    assert again.times is not None
    assert again.times == pytest.approx(times)
    assert (Poses.load(tmp_path / "square.npz").sample_aspect_ratio, Poses.load(tmp_path / "square.npz").times) == (
        1,
        None,
    )
    with pytest.raises(ValueError, match="times are not those of"):
        replace(poses, times=times[:-1])


def test_poses_of_clips_that_are_read_in_another_way_are_found_under_another_key(tmp_path: Path) -> None:
    """Those of earlier versions belong to frames of another shape; ordinary clips keep theirs."""
    video = VideoInfo(tmp_path / "a.mp4", "0" * 64, 64, 48, 25.0, 9, "mp4", "h264")
    paths = {
        poses_path(tmp_path, replace(video, revised=revised), "model", PoseSettings()) for revised in (False, True)
    }
    assert len(paths) == 2
    for ratio, revised in ((Fraction(1, 2), True), (Fraction(1), False)):
        assert probe_video(write_anamorphic(tmp_path / "b.mp4", ratio)).revised is revised
