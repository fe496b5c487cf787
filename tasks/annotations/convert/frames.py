"""The frames of clips as images, where an export names them: annotation tools show poses on pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tasks.annotations.convert.coco import frame_name
from tasks.annotations.format import Annotation
from tasks.clips.manifest import read_manifests
from tasks.core.errors import ClipError, FightposeError
from tasks.core.settings import LimitSettings
from tasks.core.storage import atomic_path
from tasks.video.decoder import decode_guarded, probe_guarded
from tasks.video.limits import ClipLimits

QUALITY = 92
"""Of the JPEGs, in percent: artefacts of the clip's own codec are larger."""


def require_clips(output_root: Path) -> None:
    """Refuse a source without a list of its clips, before anything is written.

    Raises
    ------
    FightposeError
        If there are no clips to take frames from.
    """
    if not output_root.is_dir() or not read_manifests(output_root):
        raise FightposeError(f"{output_root}: --frames takes the pictures from the clips; name an output folder")


def write_frames(
    output_root: Path,
    folder: Path,
    annotations: Iterable[Annotation],
    on_clip: Callable[[str], None] = lambda name: None,
) -> list[str]:
    """Write every frame of clips as `<identifier>/<frame from 0, six digits>.jpg`, and return what went wrong.

    Parameters
    ----------
    output_root
        Whose lists say where the clips are.
    folder
        Of the export.
    annotations
        Of the clips.
    on_clip
        Called with the identifier of each clip before it is decoded.

    Raises
    ------
    FightposeError
        If an image cannot be written.
    """
    clips = {clip.frame_dir: clip.path for clip in read_manifests(output_root)}
    problems = []
    for annotation in annotations:
        name = annotation["frame_dir"]
        on_clip(name)
        if name in clips and not clips[name].is_file():
            problems.append(f"{name}: no frames, because there is no file {clips[name]}")
            continue
        try:
            count = _write_clip(clips[name], folder, annotation)
        except KeyError:
            problems.append(f"{name}: no frames, because it is not in the list of clips")
        except ClipError as error:
            problems.append(f"{name}: no frames: {error.info}")
        except OSError as error:
            raise FightposeError(
                f"cannot write the frames of {name} below {folder}: {error.strerror or error}"
            ) from error
        else:
            # The clip was replaced, or is decoded in another way than when it was annotated.
            if count != annotation["total_frames"]:
                problems.append(f"{name}: has {count} frames, its annotation {annotation['total_frames']}")
    return problems


def _write_clip(clip: Path, folder: Path, annotation: Annotation) -> int:
    """Write the frames of one clip and return their number."""
    # Imported here: whoever converts without pictures need not wait for OpenCV.
    import cv2

    height, width = annotation["img_shape"]
    limits = ClipLimits(clip, LimitSettings())
    frames: Any = limits.within(decode_guarded(probe_guarded(limits), limits))
    count = 0
    for count, frame in enumerate(frames, 1):
        image = frame.image
        # Annotations are in stored pixels; frames are decoded with square ones.
        if image.shape[:2] != (height, width):
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        _, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
        # Encoded in memory and then written, since OpenCV itself cannot write every file name.
        with atomic_path(folder / frame_name(annotation, count - 1)) as partial:
            partial.write_bytes(data.tobytes())
    return count
