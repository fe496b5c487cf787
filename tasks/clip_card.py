"""What the Prefect UI shows of a clip: a picture, the people, where the time went, and where the files are.

File names are foreign text in a page. Every character of them that is neither letter nor digit is written as a numeric
character reference, which markdown takes for text and never for markup (CommonMark 0.31, section 2.5).
"""

from __future__ import annotations

import base64
import logging
from pathlib import Path

from tasks.errors import ClipError, FightposeError
from tasks.failures import escaped
from tasks.outputs import Clip
from tasks.receipts import ClipSummary
from tasks.stills import jpeg_of

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
        Folder below which the outputs stand.
    summary
        What was found in it.
    poster
        The frame to show.
    """
    lines = [*_picture(clip, poster), f"**{literal(clip.relative)}**: {summary.frames} frames, {summary.people} people"]
    lines += ["", "| rank | person | score |", "|---:|---:|---:|"]
    lines += [f"| {rank} | ID {track_id} | {score:.3f} |" for rank, (track_id, score) in enumerate(summary.top, 1)]
    lines += ["", "| step | seconds |", "|---|---:|"]
    lines += [f"| {step} | {seconds:.2f} |" for step, seconds in summary.seconds.items()]
    if summary.usage is not None:
        lines += ["", f"Extraction took {summary.usage.words()}."]
    elif not summary.extracted:
        lines += ["", "The poses were there already; the model was not run."]
    lines += ["", f"- annotation: {literal(str(clip.annotation_path.absolute()))}"]
    if clip.overlay_path.is_file():
        lines.append(f"- overlay: {literal(str(clip.overlay_path.absolute()))}")
    lines.append(f"- look at it and correct it: fightpose review {literal(str(output_root.absolute()))}")
    return "\n".join(lines)


def failure_card(clip: Clip, error: ClipError) -> str:
    """Return the markdown about a clip that has no annotation."""
    return f"**{literal(clip.relative)}**: not annotated\n\n- reason: {error.reason}\n- {literal(error.info)}"


def literal(text: str) -> str:
    """Return text as markdown that shows it letter for letter; what is not printable stands as an escape."""
    return "".join(char if char.isalnum() or char == " " else f"&#{ord(char)};" for char in escaped(text))


def _picture(clip: Clip, poster: int) -> list[str]:
    """Return the picture as lines of markdown; none where neither overlay nor clip gives one."""
    source = clip.overlay_path if clip.overlay_path.is_file() else clip.path
    try:
        data = base64.b64encode(jpeg_of(source, poster, PICTURE_SIZE)).decode("ascii")
    except FightposeError as error:
        logger.debug("%s", error)
        return []
    return [f"![frame {poster}](data:image/jpeg;base64,{data})", ""]
