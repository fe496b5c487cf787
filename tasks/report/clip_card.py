"""What the Prefect UI shows of a clip: a picture, the people, where the time went, and where the files are.

File names are foreign text in a page. Every punctuation character of them is written with a backslash, which markdown
takes for text and never for markup (CommonMark 0.31, section 2.4); that also keeps bare addresses from becoming links.
Character references would do as well, but Prefect's UI shows them as they are written.
"""

from __future__ import annotations

import base64
import logging
from pathlib import Path

from tasks.clips.discovery import Clip
from tasks.core.errors import ClipError, FightposeError
from tasks.core.text import markdown_text
from tasks.mapping.summary import ClipSummary
from tasks.video.thumbnails import jpeg_of

logger = logging.getLogger(__name__)

PICTURE_SIZE = (240, 135)
"""Width and height of the picture, pixels: some 8 KB in the server's database for each clip."""


def clip_card(clip: Clip, output_root: Path, summary: ClipSummary, poster: int) -> str:
    """Return the markdown about a clip that was annotated.

    Parameters
    ----------
    clip
        The clip, whose outputs are there.
    output_root
        Folder of the outputs.
    summary
        What was found in it.
    poster
        The frame to show.
    """
    lines = [
        *_picture(clip, poster),
        f"**{markdown_text(clip.relative)}**: {summary.frames} frames, {summary.people} people",
    ]
    lines += ["", "| rank | person | score |", "|---:|---:|---:|"]
    lines += [f"| {rank} | ID {track_id} | {score:.3f} |" for rank, (track_id, score) in enumerate(summary.top, 1)]
    lines += ["", "| step | seconds |", "|---|---:|"]
    lines += [f"| {step} | {seconds:.2f} |" for step, seconds in summary.seconds.items()]
    # Seconds of extraction mean little unless it is said whether the model ran.
    if summary.usage is not None:
        lines += ["", f"Extraction took {summary.usage.words()}."]
    elif not summary.extracted:
        lines += ["", "The poses were there already; the model was not run."]
    # Absolute, as the page is read from other folders and machines.
    lines += ["", f"- annotation: {markdown_text(str(clip.annotation_path.absolute()))}"]
    if clip.overlay_path.is_file():
        lines.append(f"- overlay: {markdown_text(str(clip.overlay_path.absolute()))}")
    lines.append(f"- look at it and correct it: fightpose review {markdown_text(str(output_root.absolute()))}")
    return "\n".join(lines)


def failure_card(clip: Clip, error: ClipError) -> str:
    """Return the markdown about a clip that has no annotation."""
    return (
        f"**{markdown_text(clip.relative)}**: not annotated\n\n- reason: {error.reason}\n- {markdown_text(error.info)}"
    )


def _picture(clip: Clip, poster: int) -> list[str]:
    """Return the picture as lines of markdown; none without an overlay: the clip itself is a foreign video."""
    if not clip.overlay_path.is_file():
        return []
    try:
        data = base64.b64encode(jpeg_of(clip.overlay_path, poster, PICTURE_SIZE)).decode("ascii")
    except FightposeError as error:
        # The clip has not failed: its card is of use without a picture, too.
        logger.debug("%s", error)
        return []
    return [f"![frame {poster}](data:image/jpeg;base64,{data})", ""]
