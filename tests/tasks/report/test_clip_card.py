"""The card of a clip: a picture, people, times, files; and no name that turns into markup."""

from __future__ import annotations

import base64
import re

import cv2
import numpy as np
import pytest
from markdown_it import MarkdownIt

from tasks.clips.discovery import find_clip
from tasks.core.errors import ClipError, FailureReason
from tasks.core.text import markdown_cell, markdown_text
from tasks.mapping.summary import ClipSummary
from tasks.poses.usage import Usage
from tasks.report.clip_card import PICTURE_SIZE, clip_card, failure_card
from tests.video_factory import plain_frames, write_video

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://example.com/x.png)",
    "a | b | `c` **d** # e",
    "&lt;b&gt; &#60;",
    "\n\n# heading\n- item",
    "http://example.com www.example.com a@example.com",
    "mov.\u202egnp",
    "# heading",
    "- item",
    "__strong__ _em_ ~~gone~~",
    "\\[x\\](http://example.com)",
    "싸움 영상",
]

SUMMARY = ClipSummary(
    24, 2, [(3, 0.75), (1, 0.5)], {"poses": 1.5, "overlay": 0.25}, True, Usage(1.9, 640_000_000, 45.0, 1_200_000_000)
)


def rendered(markdown: str) -> str:
    """Return markdown as HTML, by a renderer that knows tables and makes links of bare addresses."""
    return MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table").render(markdown)


@pytest.mark.parametrize("written", [markdown_text, markdown_cell])
@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_is_ever_more_than_text(name, written):
    """In a paragraph, in a table and alone: one piece of text, nothing else."""
    for frame in ("before {} after", "| a |\n|---|\n| {} |", "{}"):
        html = rendered(frame.format(written(name)))
        plain = rendered(frame.format("X"))
        assert re.findall(r"<[^>]*>", html) == re.findall(r"<[^>]*>", plain), html


def test_letters_and_digits_of_every_script_stay_readable():
    """A person searches for the name."""
    assert markdown_text("싸움 영상 2") == "싸움 영상 2"
    assert rendered(markdown_text("a_b-(1).mp4")) == "<p>a_b-(1).mp4</p>\n"
    assert markdown_cell("Fight/싸움_2 (1)-a.mp4") == "Fight/싸움_2 (1)-a.mp4"
    assert markdown_cell("[x](y) <b>") == "\\x5bx\\x5d(y) \\x3cb\\x3e"


def test_the_card_shows_picture_people_times_usage_and_files(tmp_path):
    """Made of the outputs of a clip."""
    path = tmp_path / "clips" / "Fight" / "a|b.mp4"
    path.parent.mkdir(parents=True)
    write_video(path, plain_frames(24, width=160, height=96))
    clip = find_clip(path, tmp_path / "clips", tmp_path / "out")
    clip.overlay_path.parent.mkdir(parents=True)
    write_video(clip.overlay_path, plain_frames(24, width=160, height=96))
    card = clip_card(clip, tmp_path / "out", SUMMARY, poster=12)
    picture = re.search(r"!\[frame 12\]\(data:image/jpeg;base64,([^)]+)\)", card)
    data = np.frombuffer(base64.b64decode(picture[1]), np.uint8)
    assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape == (PICTURE_SIZE[1], PICTURE_SIZE[0], 3)
    html = rendered(card)
    assert "<strong>Fight/a\\x7cb.mp4</strong>: 24 frames, 2 people" in html
    assert html.count("<table>") == 2
    assert re.search(r"<td[^>]*>1</td>\n<td[^>]*>ID 3</td>\n<td[^>]*>0\.750</td>", html)
    assert "Extraction took 1.9 cores, 640 MB, GPU 45 % and 1.2 GB." in html
    assert "annotation: " in html
    assert "overlay: " in html
    assert len(card) < 40_000


def test_a_clip_whose_picture_cannot_be_made_still_has_a_card(tmp_path):
    """The rest of it is worth having."""
    clip = find_clip(tmp_path / "a.mp4", None, tmp_path / "out")
    clip.overlay_path.parent.mkdir(parents=True)
    clip.overlay_path.write_bytes(b"no video")
    stored = ClipSummary(1, 1, [(1, 1.0)], {}, False)
    card = clip_card(clip, tmp_path / "out", stored, poster=0)
    assert "data:" not in card
    assert "the model was not run" in card


def test_a_failed_clip_says_why(tmp_path):
    """Reason and what to do; both may hold what a file holds."""
    clip = find_clip(tmp_path / "<b>.mp4", None, tmp_path / "out")
    html = rendered(failure_card(clip, ClipError(FailureReason.NO_TRACKS, clip.path, "nobody in <b>.mp4; look at it")))
    assert "<b>" not in html
    assert "reason: NO_TRACKS" in html
    assert "nobody in &lt;b&gt;.mp4; look at it" in html
