"""The review page in a real browser: seen, filtered, played, corrected, applied, and never deceived by a name."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest

from tasks.annotations.format import build_annotation, read_annotation, write_annotation
from tasks.annotations.other_tracks import other_tracks, save_other_tracks
from tasks.involvement.selection import take
from tasks.language import VARIABLE, Language
from tasks.mapping.receipts import tracks_path
from tasks.review.log import read_review
from tests.review_outputs import Outputs, make_many, make_outputs
from tests.tasks.samples import SETTINGS, sample_involvement, sample_tracks

pytestmark = pytest.mark.browser

HOSTILE = [
    "<img src=x onerror=window.hit=1>",
    "<script>window.hit=1",
    "\"'><svg onload=window.hit=1>",
    "..%2f..%2f..%2fetc%2fpasswd",
    "javascript:window.hit=1",
    "${window.hit=1}{{window.hit=1}}",
    "싸움 영상",
    "mov.\u202egnp",
]

HANGUL = re.compile(r"[\uac00-\ud7a3]")


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    """Give an output root of five clips with overlays in every container."""
    return make_outputs(tmp_path, 5, ["one.mp4", f"{HOSTILE[0]}.mp4", "three.avi", "four.mov"], overlays=True)


def order_shown(page) -> list[int]:
    """Return the IDs of the people in the order in which they are listed."""
    return [int(row.get_attribute("data-person")) for row in page.query_selector_all("li[data-person]")]


def wait_for_order(page, *ids: int) -> None:
    """Wait until the people are listed in an order."""
    script = (
        "ids => [...document.querySelectorAll('li[data-person]')].map(r => +r.dataset.person).join() === ids.join()"
    )
    page.wait_for_function(script, arg=list(ids))


def open_clip(page, name: str) -> None:
    """Open a clip by its card."""
    page.locator(".card", has=page.get_by_text(name, exact=True)).first.click()
    page.wait_for_selector("#clip-name")


def test_ten_thousand_clips_with_hostile_names(open_page, tmp_path):
    """They open at once, are found by filter, search and page, and no name is ever more than text."""
    root = make_many(tmp_path, 10_000, HOSTILE)
    page = open_page(root)
    start = time.perf_counter()
    page.reload()
    page.wait_for_selector(".card")
    seconds = time.perf_counter() - start
    print(f"10,008 clips: first page of the gallery after {seconds:.2f} s")  # noqa: T201 - shown with -s
    # Two seconds are asked for; the margin is for machines that run other tests at the same time.
    assert seconds < 8
    assert page.inner_text("#range") == "1 to 60 of 10,008 clips"

    page.keyboard.press("n")
    page.wait_for_function("() => document.getElementById('range').textContent.startsWith('61 to 120')")
    page.click("[data-filter='flag:switches']")
    page.wait_for_selector("[data-filter='flag:switches'][aria-pressed=true]")
    assert page.inner_text("#range").endswith("of 1,430 clips")
    page.keyboard.press("x")
    page.wait_for_function("() => document.getElementById('range').textContent.endsWith('10,008 clips')")

    for name in HOSTILE:
        page.keyboard.press("/")
        page.fill("#search", name)
        page.keyboard.press("Enter")
        # As text, letter for letter; the mark that turns writing round is shown as an escape.
        page.wait_for_function(
            "name => [...document.querySelectorAll('.card .name')].map((card) => card.textContent).join('|') === name",
            arg=name.replace("\u202e", "\\u202e"),
        )
        page.click(".card")
        page.wait_for_selector("#clip-name")
        page.keyboard.press("Escape")
        page.wait_for_selector(".card")
    assert page.evaluate("window.hit") is None
    assert page.evaluate("document.querySelectorAll('script, svg[onload], img[onerror]').length") == 1


def open_by_keyboard(open_page, outputs):
    """Open the gallery's second clip by keys alone, and return the page."""
    page = open_page(outputs.root)
    page.wait_for_selector(".card .scores")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector("#clip-name")
    assert order_shown(page) == [3, 2, 1]
    return page


def test_the_keyboard_alone_reviews_a_clip(open_page, outputs):
    """Choose, open, play, correct, take back, apply; after a reload everything is as it was."""
    page = open_by_keyboard(open_page, outputs)
    clip = next(c for c in outputs.clips if c.frame_dir == page.inner_text("#clip-name"))
    before = clip.annotation_path.read_bytes()

    page.keyboard.press("3")
    page.keyboard.press("Shift+ArrowUp")
    wait_for_order(page, 3, 1, 2)
    page.keyboard.press("f")
    page.wait_for_selector("li[data-person='1'] button[aria-pressed=true]")
    page.keyboard.press("u")
    page.keyboard.press("u")
    wait_for_order(page, 3, 2, 1)
    page.keyboard.press("Shift+U")
    wait_for_order(page, 3, 1, 2)
    page.keyboard.press("l")
    page.wait_for_selector("#label:has-text('No fight (changed)')")
    page.keyboard.press("t")
    page.keyboard.type("<b>staged</b>")
    page.keyboard.press("Escape")
    page.wait_for_selector(".history :text('note: <b>staged</b>')")
    assert clip.annotation_path.read_bytes() == before

    page.wait_for_selector("#apply:text-is('Apply 1 corrected clip')")
    page.reload()
    wait_for_order(page, 3, 1, 2)
    page.click("#apply")
    page.click("#apply-now")
    page.wait_for_selector("#applied")
    assert "1 annotations corrected" in page.inner_text("#applied")
    page.keyboard.press("Escape")
    annotation = read_annotation(clip.annotation_path)["annotations"][0]
    assert annotation["track_ids"].tolist() == [3, 1, 2]
    assert (annotation["label"], annotation["review"]["note"]) == (0, "<b>staged</b>")
    assert {entry.who for entry in read_review(outputs.root)} == {"tester"}
    page.reload()
    wait_for_order(page, 3, 1, 2)
    assert page.inner_text("#apply") == "Apply"


def test_keys_pressed_faster_than_the_server_answers_act_one_after_the_other(open_page, outputs):
    """The first answer comes late: the second key starts from what the first one made, and nothing shown goes back."""
    page = open_by_keyboard(open_page, outputs)
    page.evaluate(
        """() => {
            const plain = window.fetch;
            window.corrections = 0;
            window.fetch = async (...request) => {
                const answer = await plain(...request);
                if (request[1]?.method === "POST" && ++window.corrections === 1)
                    await new Promise((done) => setTimeout(done, 700));
                return answer;
            };
        }"""
    )
    for key in ("3", "Shift+ArrowUp", "Shift+ArrowUp", "l", "e", "u"):
        page.keyboard.press(key)
    # Three entries stand before the exclusion, too: only when all five were answered is the page at rest.
    page.wait_for_function("() => window.corrections === 5")
    page.wait_for_function("() => document.querySelectorAll('.history li').length === 3")
    page.wait_for_selector("#exclude[aria-pressed='false']")
    assert order_shown(page) == [1, 3, 2]
    assert "No fight (changed)" in page.inner_text("#label")


def test_a_wrong_order_is_corrected_from_the_page_to_the_data_set(open_page, outputs):
    """The whole loop: seen, put right, applied; annotation, data set and overlay are the corrected ones."""
    clip = outputs.clips[0]
    before = clip.overlay_path.read_bytes()
    page = open_page(outputs.root)
    open_clip(page, "one")
    page.wait_for_function("() => document.querySelector('video').readyState >= 2")
    old = page.get_attribute("video", "src")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert order_shown(page) == [3, 2, 1]
    page.click("li[data-person='3']")
    page.keyboard.press("b")
    page.wait_for_selector("li[data-person='3'] button[aria-pressed=true]")
    wait_for_order(page, 2, 1, 3)
    page.click("#apply")
    page.click("#apply-now")
    page.wait_for_selector("#applied")
    assert "1 overlay being drawn again" in page.inner_text("#applied")
    page.keyboard.press("Escape")
    # The page shows the new video by itself, without a reload, at the frame where the old one stood.
    page.wait_for_function("old => document.querySelector('video').getAttribute('src') !== old", arg=old)
    page.wait_for_function("() => document.querySelector('video').readyState >= 2")
    page.wait_for_function("() => document.querySelector('video').currentTime > 5 / 25")
    assert page.inner_text(".counter") == "frame 5 of 20"
    # The file is there a moment before the server counts it.
    page.wait_for_function("() => !document.querySelector('#totals').innerText.includes('being drawn')")
    for path in (clip.annotation_path, outputs.root / "dataset.pkl"):
        annotations = {one["frame_dir"]: one for one in read_annotation(path)["annotations"]}
        corrected = annotations[clip.frame_dir]
        assert corrected["track_ids"].tolist() == [2, 1, 3]
        assert corrected["automatic"]["track_ids"].tolist() == [3, 2, 1]
    assert clip.overlay_path.read_bytes() != before


@pytest.mark.parametrize("name", ["one", "three", "four"])
def test_the_video_plays_and_the_chart_keeps_step(open_page, outputs, name):
    """In every container that overlays have; frames are stepped exactly."""
    page = open_page(outputs.root)
    open_clip(page, name)
    page.wait_for_function("() => document.querySelector('video').readyState >= 2")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('.counter').textContent === 'frame 2 of 20'")
    place = page.get_attribute(".playhead", "transform")
    page.keyboard.press("Space")
    page.wait_for_function("() => document.querySelector('video').currentTime > 0.3")
    page.keyboard.press("Space")
    page.wait_for_function("() => document.querySelector('video').paused")
    frame = int(re.match(r"frame (\d+)", page.inner_text(".counter"))[1])
    assert 2 < frame < 20
    assert page.get_attribute(".playhead", "transform") != place
    # What is shown is the frame that is told: the square in the picture moves two pixels a frame.
    page.evaluate("document.querySelector('video').currentTime = (7 + 0.5) / 25")
    page.wait_for_function("() => document.querySelector('.counter').textContent === 'frame 7 of 20'")
    left = page.evaluate(
        """() => {
          const video = document.querySelector("video"), canvas = document.createElement("canvas");
          [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
          canvas.getContext("2d").drawImage(video, 0, 0);
          const row = canvas.getContext("2d").getImageData(0, 38, canvas.width, 1).data;
          return [...Array(canvas.width).keys()].find((x) => row[4 * x] > 160);
        }"""
    )
    assert abs(left - 14) <= 2


def test_people_are_merged_split_and_dropped_with_the_mouse(open_page, outputs):
    """And each step can be taken back by itself."""
    page = open_page(outputs.root)
    open_clip(page, "one")
    page.wait_for_function("() => document.querySelector('video').readyState >= 2")
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    page.click("li[data-person='2']")
    page.click("li[data-person='2'] >> text=Split")
    wait_for_order(page, 3, 2, 4, 1)
    page.click("li[data-person='3']")
    page.click("li[data-person='3'] >> text=Merge")
    page.click("li[data-person='4']")
    wait_for_order(page, 3, 2, 1)
    page.click("li[data-person='1']")
    page.click("li[data-person='1'] >> text=Drop")
    wait_for_order(page, 3, 2)
    # The oldest of the three: what was built on it does not fit any more, and that is said.
    page.locator(".history li", has_text="from frame 8").get_by_text("Take back").click()
    page.wait_for_selector(".misfits")
    assert "there is no person 4" in page.inner_text(".misfits")


def test_nothing_is_shown_without_the_token(chromium, open_page, outputs):
    """Another browser on this machine sees one line, and what is refused cannot be framed."""
    page = open_page(outputs.root)
    page.wait_for_selector(".card")
    assert "token" not in page.url
    other = chromium.new_context()
    stranger = other.new_page()
    answer = stranger.goto(page.url.partition("#")[0])
    assert answer.status == 403
    assert stranger.inner_text("body") == "Open the address that 'fightpose review' printed."
    other.close()


def keep_two(outputs: Outputs, number: int) -> None:
    """Write a clip's annotation with its first two people, IDs 3 and 2, and keep ID 1 beside it as a run does."""
    clip = outputs.clips[number]
    tracks, ranking = sample_tracks(), sample_involvement([3, 2, 1])
    annotation = build_annotation(clip, tracks, take(ranking, np.arange(2)), SETTINGS, {"model": "test"})
    others = other_tracks(tracks, ranking, annotation["track_ids"])
    save_other_tracks(tracks_path(clip, outputs.root), others, annotation)
    write_annotation(clip.annotation_path, [annotation])


def test_a_switch_is_mended_by_keyboard_and_undone_across_clips(open_page, outputs):
    """To the frame, swap, checked; undo leads back to the clip that was left, and takes both back there."""
    page = open_by_keyboard(open_page, outputs)
    first = page.inner_text("#clip-name")
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("1")
    page.keyboard.press("x")
    page.wait_for_selector(".history :text('from frame 8 on, ID 3 and ID 2 change places')")
    page.keyboard.press("c")
    page.wait_for_function("name => document.getElementById('clip-name').textContent !== name", arg=first)
    page.keyboard.press("u")
    page.wait_for_function("name => document.getElementById('clip-name').textContent === name", arg=first)
    page.wait_for_function("() => document.querySelectorAll('.history li').length === 1")
    page.wait_for_selector("#checked[aria-pressed=false]")
    page.keyboard.press("u")
    page.wait_for_function("() => document.querySelectorAll('.history li').length === 0")
    # With any person of the list, too; the clip was opened again, at its first frame.
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+X")
    page.keyboard.press("3")
    page.wait_for_selector(".history :text('ID 3 and ID 1 change places')")


def test_the_rest_is_folded_and_comes_into_the_annotation(open_page, outputs):
    """Shown by one key, moved up by another, with its own score; applied, it is in the annotation."""
    keep_two(outputs, 0)
    page = open_page(outputs.root)
    open_clip(page, "one")
    assert page.inner_text(".rest summary") == "1 person not in the annotation"
    assert not page.is_visible(".rest li[data-person='1']")
    page.keyboard.press("r")
    page.wait_for_selector(".rest li[data-person='1']", state="visible")
    page.keyboard.press("3")
    page.wait_for_selector(".rest li.chosen[data-person='1']")
    page.keyboard.press("Shift+ArrowUp")
    page.wait_for_function("() => !document.querySelector('.rest')")
    wait_for_order(page, 3, 2, 1)
    page.click("#apply")
    page.click("#apply-now")
    page.wait_for_selector("#applied")
    annotation = read_annotation(outputs.clips[0].annotation_path)["annotations"][0]
    assert annotation["track_ids"].tolist() == [3, 2, 1]
    assert annotation["review"]["joined"] == [1]


def test_the_page_in_korean(open_page, outputs, monkeypatch):
    """With `--lang ko`: roles, actions, keys and the history are Korean, and a correction reaches the annotation."""
    monkeypatch.setenv(VARIABLE, Language.KOREAN)
    page = open_by_keyboard(open_page, outputs)
    assert page.get_attribute("html", "lang") == "ko"
    clip = next(c for c in outputs.clips if c.frame_dir == page.inner_text("#clip-name"))

    # What people read, name by name: roles and actions at the chosen person, panels, keys.
    person = page.inner_text("li[data-person='3']")
    for words in ("싸우는 사람", "주변인", "판단 보류", "위로", "아래로", "바꾸기", "합치기", "나누기", "제외"):
        assert words in person, words
    shown = page.inner_text("body")
    for words in ("시간에 따른 관여도", "순위별 사람", "구성 점수", "5영역", "수정", "확인 표시", "레이블:"):
        assert words in shown, words
    page.keyboard.press("?")
    page.wait_for_selector(":text('나머지 보기')")
    page.keyboard.press("Escape")
    # Names of buttons, options and headings that were left in English would show here; IDs and names of classes may.
    left = [text for text in page.locator("button, h2, h3, option").all_inner_texts() if not HANGUL.search(text)]
    assert [text for text in left if re.search("[A-Za-z]{3}", text)] == []

    # The third in rank, whose ID is 1.
    page.keyboard.press("3")
    page.keyboard.press("d")
    wait_for_order(page, 3, 2)
    page.wait_for_selector(".history :text('ID 1: 제외')")
    page.click("#apply")
    page.click("#apply-now")
    page.wait_for_selector("#applied")
    assert "어노테이션 수정 1개" in page.inner_text("#applied")
    assert read_annotation(clip.annotation_path)["annotations"][0]["track_ids"].tolist() == [3, 2]
