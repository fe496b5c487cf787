"""The analysis: right counts, whatever the folder holds, and a page on which no name can do harm."""

import dataclasses
import html.parser
import json
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from tasks.annotations.format import Annotation, build_annotation, write_annotation
from tasks.clips.failures import log_failure
from tasks.core.errors import FailureReason, FightposeError
from tasks.core.storage import write_json
from tasks.language import VARIABLE
from tasks.report.charts import Chart, histogram, png_chart, svg_chart
from tasks.report.tables import best_regions, clip_row, read_outputs, uncertainties
from tasks.report.write import CSV_NAME, PAGE_NAME, TEXT_NAME, compare, write_report
from tests.tasks.samples import SETTINGS, sample_annotation, sample_clip, sample_involvement, sample_tracks

HOSTILE = [
    "Fight/<script>alert(1)<script>.mp4",
    "Fight/\"quoted' & 한글 클립.mp4",
    "NonFight/javascript:alert(1).mp4",
    "NonFight/line\nbreak \x1b[31m.mp4",
]


def put(output_root: Path, relative: str, scores: tuple[float, ...] = (0.9, 0.6, 0.2)) -> str:
    """Write one clip's annotation and overlay as a run would, and return its identifier."""
    clip = sample_clip(relative, output_root=output_root)
    involvement = sample_involvement(list(range(len(scores), 0, -1)))
    involvement = dataclasses.replace(involvement, score=np.array(scores, np.float32))
    annotation = build_annotation(clip, sample_tracks(len(scores)), involvement, SETTINGS, {})
    write_annotation(clip.annotation_path, [annotation])
    clip.overlay_path.write_bytes(b"video")
    seconds = {"probe": 0.5, "poses": 2.0}
    write_json(output_root / ".fightpose" / "receipts" / f"{clip.frame_dir}.json", {"summary": {"seconds": seconds}})
    return clip.frame_dir


def fail(output_root: Path, relative: str, reason: FailureReason) -> None:
    """Log a failure as a run would."""
    clip = sample_clip(relative, output_root=output_root)
    log_failure(output_root, clip.path, clip.frame_dir, reason, "what to do")


class Tags(html.parser.HTMLParser):
    """Collects the tags and link addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]
        assert not any(name.startswith("on") for name, _ in attrs)


def test_empty_output_folder_has_a_report(tmp_path: Path) -> None:
    """No annotation, no failure: a report of zeros."""
    text = write_report(tmp_path).text
    assert "Clips: 0 annotated (0 Fight, 0 No fight), 0 failed, 0 unreadable" in text
    assert len(pd.read_csv(tmp_path / CSV_NAME)) == 0
    assert (tmp_path / PAGE_NAME).read_text(encoding="utf-8").startswith("<!doctype html>")


def test_only_failures_have_a_report(tmp_path: Path) -> None:
    """Every clip failed: the reasons are counted."""
    fail(tmp_path, "Fight/a.mp4", FailureReason.NO_TRACKS)
    fail(tmp_path, "Fight/b.mp4", FailureReason.NO_TRACKS)
    fail(tmp_path, "Fight/c.mp4", FailureReason.EMPTY_VIDEO)
    text = write_report(tmp_path).text
    assert "0 annotated (0 Fight, 0 No fight), 3 failed" in text
    rows = pd.read_csv(tmp_path / CSV_NAME)
    assert rows["reason"].value_counts().to_dict() == {"NO_TRACKS": 2, "EMPTY_VIDEO": 1}


def test_report_counts_what_is_there(tmp_path: Path) -> None:
    """Clips, people, scores, regions, seconds and failures of a folder."""
    put(tmp_path, "Fight/a.mp4")
    put(tmp_path, "NonFight/b.avi", scores=(0.5,))
    fail(tmp_path, "Fight/c.mp4", FailureReason.LOW_QUALITY)
    text = write_report(tmp_path).text
    assert "Clips: 2 annotated (1 Fight, 1 No fight), 1 failed, 0 unreadable" in text
    assert "Frames: 40, people: 4" in text
    assert (tmp_path / TEXT_NAME).read_text(encoding="utf-8") == text + "\n"
    rows = pd.read_csv(tmp_path / CSV_NAME).set_index("clip")
    assert rows.loc["set/Fight/a", "people"] == 3
    assert rows.loc["set/Fight/a", "first_id"] == 3
    assert rows.loc["set/Fight/a", "first_score"] == pytest.approx(0.9)
    assert rows.loc["set/Fight/a", "gap"] == pytest.approx(0.4)
    assert rows.loc["set/Fight/a", "best_region"] == "center_overlap"
    assert rows.loc["set/Fight/a", "overlay"] == "set/Fight/a_enhanced_rtmo_overlay.mp4"
    assert rows.loc["set/Fight/a", "seconds_poses"] == 2.0
    assert rows.loc["set/NonFight/b", "uncertain"] == "one_person"
    assert rows.loc["set/Fight/c", "status"] == "failed"
    assert cv2.imread(str(tmp_path / "analysis_people.png")) is not None


def test_a_failure_that_is_over_is_not_counted(tmp_path: Path) -> None:
    """A clip that failed once and has its annotation now is annotated."""
    fail(tmp_path, "Fight/a.mp4", FailureReason.PROCESSING_ERROR)
    put(tmp_path, "Fight/a.mp4")
    assert "1 annotated (1 Fight, 0 No fight), 0 failed" in write_report(tmp_path).text


def test_a_damaged_annotation_costs_only_itself(tmp_path: Path) -> None:
    """Files that are no annotations, and annotations without what everyone has, are listed as unreadable."""
    put(tmp_path, "Fight/a.mp4")
    folder = tmp_path / "set" / "Fight"
    (folder / "bad_enhanced_stgcn_annotation.pkl").write_bytes(b"no pickle")
    broken: list[Annotation] = [{"frame_dir": "set/Fight/broken"}]
    write_annotation(folder / "broken_enhanced_stgcn_annotation.pkl", broken)
    text = write_report(tmp_path).text
    assert "1 annotated (1 Fight, 0 No fight), 0 failed, 2 unreadable" in text
    assert "set/Fight/bad: unreadable" in text


def test_annotations_of_the_earlier_scripts_are_read(tmp_path: Path) -> None:
    """Their name is known, and keys that they did not write may lack."""
    sample = sample_annotation()
    names = ("frame_dir", "total_frames", "img_shape", "original_shape", "label", "keypoint", "keypoint_score")
    write_annotation(tmp_path / "a_rtmo_bytetrack_pose.pkl", [{name: sample[name] for name in names}])
    clips = read_outputs(tmp_path).clips
    assert clips.loc[0, "status"] == "annotated"
    assert clips.loc[0, "people"] == 3
    assert pd.isna(clips.loc[0, "first_score"])
    write_report(tmp_path)


def test_the_merged_data_set_and_unfinished_files_are_not_clips(tmp_path: Path) -> None:
    """`dataset.pkl` repeats what the single files hold."""
    put(tmp_path, "Fight/a.mp4")
    write_annotation(tmp_path / "dataset.pkl", [sample_annotation()])
    (tmp_path / ".partial-1_enhanced_stgcn_annotation.pkl").write_bytes(b"")
    assert len(read_outputs(tmp_path).clips) == 1


def test_no_name_can_do_harm_on_the_page(tmp_path: Path) -> None:
    """Quotes, tags, line breaks, schemes and Hangul in names: no script, links stay in the folder, CSV can be read."""
    for name in HOSTILE:
        put(tmp_path, name)
    fail(tmp_path, "Fight/<img src=x onerror=alert(1)>.mp4", FailureReason.NO_TRACKS)
    text = write_report(tmp_path).text
    tags = Tags()
    tags.feed((tmp_path / PAGE_NAME).read_text(encoding="utf-8"))
    assert not tags.tags & {"script", "img", "iframe", "link", "object"}
    assert tags.links
    assert all(link.startswith("./set/") for link in tags.links)
    assert "\x1b" not in text
    names = pd.read_csv(tmp_path / CSV_NAME)["clip"].tolist()
    assert "set/Fight/\"quoted' & 한글 클립" in names
    assert "set/NonFight/line\nbreak \x1b[31m" in names


def test_page_fetches_nothing(tmp_path: Path) -> None:
    """The page stands alone: no address of another machine is in it."""
    put(tmp_path, "Fight/a.mp4")
    write_report(tmp_path)
    page = (tmp_path / PAGE_NAME).read_text(encoding="utf-8")
    assert "http:" not in page
    assert "https:" not in page
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page


@pytest.mark.skipif(os.name != "posix", reason="names that are no UTF-8 are POSIX's")
def test_a_name_that_is_no_utf8_does_not_stop_the_report(tmp_path: Path) -> None:
    """Recorders with a legacy encoding leave such names."""
    fail(tmp_path, os.fsdecode(b"Fight/\xb1\xb9.mp4"), FailureReason.NO_TRACKS)
    assert "\\udcb1" in write_report(tmp_path).text


def test_uncertain_clips_say_why() -> None:
    """Each reason on its own, and none for a clear clip."""
    clear = {"people": 4, "gap": 0.2, "seen": 0.9, "filled": 0.0, "quality": 0.8}
    assert uncertainties(clear, 0.3) == []
    for change, reason in (
        ({"people": 1}, "one_person"),
        ({"gap": 0.01}, "close_ranks"),
        ({"seen": 0.3}, "seldom_seen"),
        ({"filled": 0.5}, "much_filled"),
        ({"quality": 0.31}, "low_quality"),
    ):
        assert uncertainties({**clear, **change}, 0.3) == [reason]
    assert uncertainties({**clear, "gap": None, "quality": None}, None) == []


def test_best_region_weighs_the_scores() -> None:
    """The learned weight decides between equal scores."""
    annotation = sample_annotation()
    assert best_regions(annotation) == ["center_overlap"] * 3
    annotation["region_weights"]["top_left"] = 5.0
    assert best_regions(annotation) == ["top_left"] * 3
    assert best_regions({}) == []


def test_shares_of_frames_are_those_of_the_first_two() -> None:
    """The third person's frames do not count."""
    annotation = sample_annotation()
    annotation["keypoint_score"][:2] = 0.5
    annotation["keypoint_score"][2] = 0
    annotation["filled"][:] = False
    annotation["filled"][0, :10] = True
    row = clip_row(annotation)
    assert row["seen"] == 1
    assert row["filled"] == pytest.approx(0.25)


def test_comparison_shows_what_changed(tmp_path: Path) -> None:
    """Other scores, a clip that is new, one that is gone; what stayed is not listed."""
    before, after = tmp_path / "before", tmp_path / "after"
    for root in (before, after):
        put(root, "Fight/same.mp4")
    put(before, "Fight/other.mp4", scores=(0.9, 0.8))
    put(after, "Fight/other.mp4", scores=(0.4, 0.3))
    put(before, "Fight/gone.mp4")
    fail(after, "Fight/new.mp4", FailureReason.NO_TRACKS)
    changes = compare(read_outputs(before).clips, read_outputs(after).clips).set_index("clip")
    assert list(changes.index) == ["set/Fight/gone", "set/Fight/new", "set/Fight/other"]
    assert changes.loc["set/Fight/gone", "status_after"] == "absent"
    assert changes.loc["set/Fight/new", "status_before"] == "absent"
    text = write_report(after, against=before).text
    assert "score 0.90 -> 0.40" in text
    assert "Different from the earlier run" in (after / PAGE_NAME).read_text(encoding="utf-8")


def test_missing_folder_is_one_clear_line(tmp_path: Path) -> None:
    """A path that does not exist is named."""
    with pytest.raises(FightposeError, match="there is no output folder"):
        write_report(tmp_path / "nowhere")


def test_receipts_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    """An identifier in someone else's annotation must not lead out of the output root."""
    root = tmp_path / "out"
    annotation = {**sample_annotation(), "frame_dir": "../../secret"}
    write_annotation(root / "a_enhanced_stgcn_annotation.pkl", [annotation])
    (tmp_path / "secret.json").write_text(json.dumps({"summary": {"seconds": {"poses": 1.0}}}))
    assert "seconds_poses" not in read_outputs(root).clips.columns


def test_charts_of_nothing_are_drawn() -> None:
    """No group, no value: an empty chart in both forms."""
    empty = Chart("failures", "Failed", (), (("", ()),))
    assert svg_chart(empty).startswith("<svg")
    assert png_chart(empty).ndim == 3
    counted = histogram("scores", "Scores", [("", np.array([0.05, 0.99, 1.0, 3.0, np.nan]))])
    assert counted.series[0][1] == (1, 0, 0, 0, 0, 0, 0, 0, 0, 3)


def test_the_page_follows_the_language_and_the_files_for_programs_do_not(tmp_path, monkeypatch):
    """Headings, charts and what to do in Korean; names of clips as they are, also one that is called like a message."""
    put(tmp_path, "Fight/a.mp4")
    clip = sample_clip("Fight/order.mp4", output_root=tmp_path)
    info = "the file is empty (0 bytes); copy it again"
    log_failure(tmp_path, clip.path, clip.frame_dir, FailureReason.EMPTY_VIDEO, info)
    english = write_report(tmp_path)
    files = {name: (tmp_path / name).read_bytes() for name in (CSV_NAME, TEXT_NAME)}
    assert '<html lang="en">' in (tmp_path / PAGE_NAME).read_text()

    monkeypatch.setenv(VARIABLE, "ko")
    report = write_report(tmp_path)
    page = (tmp_path / PAGE_NAME).read_text()
    assert '<html lang="ko">' in page
    for words in (
        "어노테이션이 없는 영상",
        "빈 파일입니다",
        "클래스와 분할",
        "영상별 사람 수",
        "최고 영역",
        "폴더별 5영역",
    ):
        assert words in page
    assert clip.frame_dir in page
    assert report == english
    assert files == {name: (tmp_path / name).read_bytes() for name in files}


def test_no_heading_of_the_page_is_left_in_english(tmp_path, monkeypatch):
    """Every heading of a section, table or chart has Hangul, of whatever the folder holds."""
    put(tmp_path, "Fight/a.mp4", (0.9,))
    fail(tmp_path, "Fight/b.mp4", FailureReason.INSUFFICIENT_LENGTH)
    monkeypatch.setenv(VARIABLE, "ko")
    write_report(tmp_path)
    page = (tmp_path / PAGE_NAME).read_text()
    headings = re.findall(r"<(?:h2|th\b[^>]*|text class=\"title\"[^>]*)>([^<]+)<", page)
    assert len(headings) > 20
    assert [text for text in headings if not re.search("[\uac00-\ud7a3]", text)] == []


def test_what_changed_is_said_in_the_language_of_the_reader(tmp_path, monkeypatch):
    """Change by change on the page; the value for programs stays English."""
    put(tmp_path / "before", "Fight/a.mp4", (0.9,))
    put(tmp_path / "after", "Fight/a.mp4", (0.5, 0.4))
    monkeypatch.setenv(VARIABLE, "ko")
    report = write_report(tmp_path / "after", against=tmp_path / "before")
    page = (tmp_path / "after" / PAGE_NAME).read_text()
    assert "사람 1 -&gt; 2, 점수 0.90 -&gt; 0.50" in page
    assert "people 1 -&gt; 2" not in page
    assert report.value["changes"][0]["what"].startswith("people 1 -> 2, score 0.90 -> 0.50")
