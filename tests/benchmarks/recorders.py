"""What the forms of older recorders cost: labelled clips as 2CIF, half D1 and interlaced, against square pixels.

    python -m tests.benchmarks.recorders --clips FOLDER --labels FILE [--count 10] [--json FILE]

Each clip is encoded again (H.264, CRF 23) in these forms, and goes through the product with its defaults, but for the
second look at a frame (--second-look for that, too):

square        as many pixels as 2CIF, in square ones: what such a file would show without its form
2CIF          704 x 288 pixels of the shape that gives the clip's own aspect
half D1       352 x 576 pixels, the same
progressive   720 x 576, every second frame: what the interlaced file would be without its form
interlaced    720 x 576, the lines of two frames woven into one, marked as interlaced

The figures are those of `tasks.tuning.figures`, beside those of the clips as they are. --json writes them by form.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from tasks.core.settings import Settings
from tasks.core.storage import write_json
from tasks.poses import extract_poses
from tasks.poses.models import MOVENET, PoseModel, load_model
from tasks.tracking import track_people
from tasks.tuning.figures import ClipScore, Label, score_clip, totals
from tasks.tuning.measure import ranked_boxes
from tasks.video.reading import Image, decode_frames, probe_video
from tests.benchmarks.labelled import load_labels

CRF = "23"
KEYS = ("covered", "p_at_2", "p_at_2_known", "first_fighter", "ap", "identity_kept")


def main() -> None:
    """Measure every form and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder of the labelled clips")
    parser.add_argument("--labels", type=Path, required=True, help="who fights in each clip")
    parser.add_argument("--count", type=int, default=10, help="clips, taken across the sources")
    parser.add_argument("--second-look", action="store_true", help="as by default: about three times as long")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    model = load_model(MOVENET.name)
    look = {} if args.second_look else {"poses": {"second_look": "off"}}
    settings = Settings.model_validate(look).resolve(MOVENET.thresholds)
    result: dict[str, list[ClipScore]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for label, path in across_sources(load_labels(args.labels), args.clips, args.count):
            for form, make in {"as it is": None, **FORMS}.items():
                score = score_form(path, label, make, Path(folder) / "form.mp4", model, settings)
                result.setdefault(form, []).append(score)
                print(f"{label.clip} {form}: {score.covered_boxes} of {score.boxes} covered", flush=True)  # noqa: T201
    table = {form: totals(scores) for form, scores in result.items()}
    for form, figures in table.items():
        print(f"{form:12s} " + "  ".join(f"{key} {figures[key]:.3f}" for key in KEYS))  # noqa: T201
    if args.json:
        write_json(args.json, json.loads(json.dumps(table)))


def across_sources(labels: dict[str, Label], folder: Path, count: int) -> list[tuple[Label, Path]]:
    """Return so many labelled clips that are below a folder, one of each source before the second of any."""
    files = {path.name: path for path in sorted(folder.rglob("*")) if path.name in labels}
    turns: dict[str, list[str]] = {}
    for name in files:
        turns.setdefault(labels[name].source, []).append(name)
    order = [names[turn] for turn in range(len(files)) for names in turns.values() if turn < len(names)]
    return [(labels[name], files[name]) for name in order[:count]]


def score_form(
    path: Path, label: Label, make: Make | None, target: Path, model: PoseModel, settings: Settings
) -> ClipScore:
    """Return the score of a clip in one form, by labels whose boxes and frames follow the form."""
    video = probe_video(path)
    step = 1
    if make is not None:
        images = [frame.image.copy() for frame in decode_frames(video)]
        step = make(images, video.fps, target)
        video, size = probe_video(target), (video.width, video.height)
        label = moved(label, (video.width / size[0], video.height / size[1]), step)
    poses = extract_poses(video, model, settings.poses)
    return score_clip(ranked_boxes(track_people(poses, settings.tracking), settings), label)


def moved(label: Label, factor: tuple[float, float], step: int) -> Label:
    """Return labels for a clip of another size, of which every `step`-th frame is left."""
    scale = np.tile(factor, 2)
    frames = {
        frame // step: [person | {"box": (np.array(person["box"]) * scale).tolist()} for person in people]
        for frame, people in label.frames.items()
    }
    return Label(label.clip, label.source, frames)


Make = Callable[[Sequence[Image], float, Path], int]
"""Writes frames in one form and returns how many of them make one frame of the file."""


def resized(width: int, height: int, square: bool = False, step: int = 1) -> Make:
    """Return a form of another size, whose pixels have the shape that keeps the picture's."""

    def make(images: Sequence[Image], fps: float, target: Path) -> int:
        rows, columns = images[0].shape[:2]
        # As many pixels as asked for, in the picture's own shape.
        shrink = (width * height / (rows * columns)) ** 0.5
        size = (round(columns * shrink / 2) * 2, round(rows * shrink / 2) * 2) if square else (width, height)
        shape = Fraction(columns * size[1], rows * size[0])
        write([shrunk(image, size) for image in images[::step]], fps / step, shape, target)
        return step

    return make


def woven(images: Sequence[Image], fps: float, target: Path) -> int:
    """Write 720x576i: even lines of one frame, odd ones of the next."""
    rows, columns = images[0].shape[:2]
    small = [shrunk(image, (720, 576)) for image in images]
    frames = []
    for first, second in zip(small[::2], small[1::2], strict=False):
        frame = first.copy()
        frame[1::2] = second[1::2]
        frames.append(frame)
    write(frames, fps / 2, Fraction(columns * 576, rows * 720), target, {"x264-params": "tff=1"})
    return 2


def shrunk(image: Image, size: tuple[int, int]) -> Image:
    """Return a picture in another size."""
    found: npt.NDArray[np.uint8] = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return found


def write(
    images: Sequence[Image], fps: float, shape: Fraction, target: Path, options: dict[str, str] | None = None
) -> None:
    """Encode pictures whose pixels have a shape (width / height)."""
    with av.open(str(target), "w") as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options={"crf": CRF, **(options or {})})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.sample_aspect_ratio = shape.limit_denominator(200)
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))


FORMS: dict[str, Make] = {
    "square": resized(704, 288, square=True),
    "2CIF": resized(704, 288),
    "half D1": resized(352, 576),
    "progressive": resized(720, 576, step=2),
    "interlaced": woven,
}


if __name__ == "__main__":
    main()
