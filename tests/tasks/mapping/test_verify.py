"""The check of outputs against inputs and against each other."""

import os
import pickle
import time
import unicodedata
from pathlib import Path

import pytest

from tasks.annotations.dataset import merge_dataset
from tasks.annotations.format import read_annotation, write_annotation
from tasks.clips.discovery import Clip, discover_clips
from tasks.clips.failures import log_failure
from tasks.clips.manifest import write_manifest
from tasks.core.errors import FailureReason, FightposeError
from tasks.core.settings import DatasetSettings, Settings
from tasks.core.storage import file_sha256
from tasks.mapping.findings import FindingKind
from tasks.mapping.frame_counts import decode
from tasks.mapping.pairs import check_avi_pkl_mapping, find_missing_files, get_files_by_extension, remove_postfix
from tasks.mapping.receipts import record_settings, write_receipt
from tasks.mapping.summary import ClipSummary
from tasks.mapping.verify import verify_mapping
from tests.tasks.samples import sample_annotation
from tests.video_factory import plain_frames, write_video

NAMES = ("Fight/a.mp4", "Fight/b.avi", "NonFight/a.mov")
FRAMES = 6
SUMMARY = ClipSummary(frames=FRAMES, people=1, top=[], seconds={}, extracted=True)


def annotated(clip: Clip, frames: int = FRAMES, **changes) -> None:
    """Write an annotation and an overlay of a clip."""
    annotation = sample_annotation(1, frames) | {"frame_dir": clip.frame_dir, "label": clip.label} | changes
    write_annotation(clip.annotation_path, [annotation])
    write_video(clip.overlay_path, plain_frames(frames))


def run(tmp_path: Path, names=NAMES, key: str = "key") -> dict[str, Clip]:
    """Stand in for a run: inputs, their list, and sound outputs of all."""
    for name in names:
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, plain_frames(FRAMES))
        os.utime(path, (1, 1))
    found = discover_clips(tmp_path / "set", tmp_path / "out")
    write_manifest(tmp_path / "out", found.root, found.clips, key)
    for clip in found.clips:
        annotated(clip)
        write_receipt(clip, tmp_path / "out", "hash", key, True, SUMMARY)
    return {clip.relative: clip for clip in found.clips}


def kinds(tmp_path: Path) -> list[tuple[FindingKind, str]]:
    """Return the findings of the check."""
    return [(finding.kind, finding.clip) for finding in verify_mapping(tmp_path / "out").findings]


def test_a_sound_run_has_no_findings(tmp_path):
    """All containers, and one stem in two folders."""
    others = [
        f"Fight/{number}{ending}" for number, ending in enumerate((".mkv", ".m4v", ".ts", ".mpg", ".MP4", ".AVI"))
    ]
    run(tmp_path, (*NAMES, *others))
    report = verify_mapping(tmp_path / "out")
    assert report.findings == []
    assert report.ok
    assert (report.inputs, report.matched, report.failed) == (9, 9, [])
    assert report.to_value()["ok"] is True
    assert report.headline() == "9 inputs: 9 with annotation and overlay, 0 recorded failures, 0 findings"


def test_missing_outputs_are_found_on_either_side(tmp_path):
    """An overlay without annotation, an annotation without overlay, an input with neither."""
    clips = run(tmp_path)
    clips["Fight/a.mp4"].annotation_path.unlink()
    clips["Fight/b.avi"].overlay_path.unlink()
    clips["NonFight/a.mov"].annotation_path.unlink()
    clips["NonFight/a.mov"].overlay_path.unlink()
    assert kinds(tmp_path) == [
        (FindingKind.MISSING_ANNOTATION, "set/Fight/a"),
        (FindingKind.MISSING_OVERLAY, "set/Fight/b"),
        (FindingKind.UNACCOUNTED, "set/NonFight/a"),
    ]
    assert find_missing_files(clips.values()) == list(clips.values())


def test_a_recorded_failure_accounts_for_a_clip(tmp_path):
    """It needs no outputs; those of an earlier run do not matter either."""
    clips = run(tmp_path)
    clips["Fight/a.mp4"].annotation_path.unlink()
    clips["Fight/a.mp4"].overlay_path.unlink()
    write_manifest(tmp_path / "out", tmp_path / "set", list(clips.values()), "other settings")
    # Made again under the new settings: the one that fits is not among the failed.
    write_receipt(clips["NonFight/a.mov"], tmp_path / "out", "hash", "other settings", True, SUMMARY)
    for name in ("Fight/a.mp4", "Fight/b.avi"):
        log_failure(tmp_path / "out", clips[name].path, clips[name].frame_dir, FailureReason.NO_TRACKS)
    report = verify_mapping(tmp_path / "out")
    assert report.ok
    assert report.failed == ["set/Fight/a", "set/Fight/b"]
    assert report.matched == 1


def test_an_annotation_that_wants_no_overlay_needs_none(tmp_path):
    """The run was told `--no-save-overlayfile`."""
    clip = run(tmp_path)["Fight/a.mp4"]
    annotated(clip, settings={"overlay": {"save_overlayfile": False}})
    clip.overlay_path.unlink()
    report = verify_mapping(tmp_path / "out")
    assert report.ok
    assert "3 with annotation, 1 of them without overlay as was set" in report.headline()
    assert report.to_value()["undrawn"] == 1


def test_outputs_without_input_are_orphans(tmp_path):
    """The list of inputs does not name them."""
    clip = run(tmp_path)["Fight/a.mp4"]
    for path in (clip.annotation_path, clip.overlay_path):
        path.with_name(path.name.replace("a_", "z_", 1)).write_bytes(path.read_bytes())
    assert (FindingKind.ORPHAN, "set/Fight/z") in kinds(tmp_path)


def test_several_outputs_of_one_stem_are_duplicates(tmp_path):
    """The annotation is compared with the overlay that belongs to the clip."""
    clip = run(tmp_path)["Fight/a.mp4"]
    write_video(clip.overlay_path.with_suffix(".avi"), plain_frames(2))
    assert kinds(tmp_path) == [(FindingKind.DUPLICATE, "set/Fight/a")]


def test_files_are_opened(tmp_path):
    """Regression: design.md 2, defect 10 (the mapping never opened a file)."""
    clips = run(tmp_path)
    clips["Fight/a.mp4"].annotation_path.write_bytes(b"no pickle")
    clips["Fight/b.avi"].overlay_path.write_bytes(b"no video")
    write_video(clips["NonFight/a.mov"].overlay_path, plain_frames(FRAMES - 1))
    assert kinds(tmp_path) == [
        (FindingKind.UNREADABLE_ANNOTATION, "set/Fight/a"),
        (FindingKind.UNREADABLE_OVERLAY, "set/Fight/b"),
        (FindingKind.FRAME_COUNT, "set/NonFight/a"),
    ]


def test_a_hostile_annotation_is_not_run(tmp_path):
    """Verification reads what may come from anyone."""
    clip = run(tmp_path)["Fight/a.mp4"]
    marker = tmp_path / "executed"
    clip.annotation_path.write_bytes(b"cos\nsystem\n(Vtouch " + str(marker).encode() + b"\ntR.")
    assert kinds(tmp_path) == [(FindingKind.UNREADABLE_ANNOTATION, "set/Fight/a")]
    assert not marker.exists()


def test_an_annotation_of_another_clip_is_found(tmp_path):
    """A file copied under a wrong name."""
    clips = run(tmp_path)
    clips["Fight/a.mp4"].annotation_path.write_bytes(clips["Fight/b.avi"].annotation_path.read_bytes())
    assert kinds(tmp_path) == [(FindingKind.WRONG_CLIP, "set/Fight/a")]


def test_a_file_of_several_annotations_is_no_clips(tmp_path):
    """One file for each video."""
    clip = run(tmp_path)["Fight/a.mp4"]
    clip.annotation_path.write_bytes(pickle.dumps({"split": {}, "annotations": []}))
    assert kinds(tmp_path) == [(FindingKind.UNREADABLE_ANNOTATION, "set/Fight/a")]


def test_an_input_that_changed_makes_its_annotation_stale(tmp_path):
    """It was replaced after the run."""
    clip = run(tmp_path)["Fight/a.mp4"]
    newer = clip.annotation_path.stat().st_mtime + 10
    os.utime(clip.path, (newer, newer))
    assert kinds(tmp_path) == [(FindingKind.STALE, "set/Fight/a")]


def test_outputs_of_other_settings_are_stale_until_they_are_made_again(tmp_path):
    """A run that asked for other settings was broken off; a later one of single clips under their own is meant."""
    clips = run(tmp_path)
    write_manifest(tmp_path / "out", tmp_path / "set", list(clips.values())[:2], "other key")
    again = clips["Fight/b.avi"]
    write_receipt(again, tmp_path / "out", "hash", "a third key", True, SUMMARY)
    assert kinds(tmp_path) == [(FindingKind.STALE, "set/Fight/a")]
    assert "other settings" in verify_mapping(tmp_path / "out").lines()[0]


@pytest.mark.parametrize("skew", [-3600, 3600])
def test_what_is_stale_does_not_depend_on_the_clocks_of_machines(tmp_path, monkeypatch, skew):
    """The machine of the run over the folder may be an hour off against that of a worker."""
    clips = run(tmp_path)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + skew)
    write_manifest(tmp_path / "out", tmp_path / "set", list(clips.values())[:2], "other key")
    monkeypatch.setattr(time, "time", lambda: now - skew)
    write_receipt(clips["Fight/b.avi"], tmp_path / "out", "hash", "a third key", True, SUMMARY)
    assert kinds(tmp_path) == [(FindingKind.STALE, "set/Fight/a")]


def test_lists_and_receipts_without_settings_make_nothing_stale(tmp_path):
    """What wrote them knew none."""
    clips = run(tmp_path)
    for path in (tmp_path / "out/.fightpose/receipts").rglob("a.json"):
        path.write_text('{"annotation": {}}')
    write_manifest(tmp_path / "out", tmp_path / "set", [clips["Fight/b.avi"]])
    assert verify_mapping(tmp_path / "out").ok


def test_one_stem_in_two_containers_is_kept_apart(tmp_path):
    """Regression: design.md 2, defect 12; both clips have outputs of their own, as in `tasks.clips.discovery`."""
    clips = run(tmp_path, ("Fight/x.mp4", "Fight/x.avi", "NonFight/x.mp4"))
    report = verify_mapping(tmp_path / "out")
    assert report.ok
    assert report.matched == 3
    clips["Fight/x.avi"].overlay_path.unlink()
    assert kinds(tmp_path) == [(FindingKind.MISSING_OVERLAY, "set/Fight/x.avi")]


def test_korean_names_in_either_unicode_form_are_equal(tmp_path):
    """Outputs that went through a system that decomposes names still belong to their inputs."""
    name = unicodedata.normalize("NFC", "싸움/복도 1.mp4")
    clip = run(tmp_path, (name,))[name]
    for path in (clip.annotation_path, clip.overlay_path):
        target = Path(unicodedata.normalize("NFD", str(path)))
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
        assert not path.exists()
    report = verify_mapping(tmp_path / "out")
    assert report.ok
    assert report.matched == 1


def test_endings_are_taken_in_any_case(tmp_path):
    """Some tools write .PKL and .MP4."""
    clip = run(tmp_path)["Fight/a.mp4"]
    for path in (clip.annotation_path, clip.overlay_path):
        path.rename(path.with_suffix(path.suffix.upper()))
    assert verify_mapping(tmp_path / "out").ok


def test_earlier_outputs_are_recognised_and_paired_among_themselves(tmp_path):
    """Their postfixes and an output root without a list of inputs."""
    folder = tmp_path / "out/Fight"
    folder.mkdir(parents=True)
    for name in (
        *("a_rtmo_bytetrack_pose.pkl", "a_rtmo_bytetrack_overlay.avi", "b_rtmo_bytetrack_pose.pkl"),
        *("c_rtmo_bytetrack_overlay.mp4", "d_rtmo_bytetrack_pose.PKL", "d_rtmo_bytetrack_overlay.MOV"),
    ):
        (folder / name).touch()
    pairs = check_avi_pkl_mapping(tmp_path / "out")
    assert [key.stem for key in pairs.matched] == ["Fight/a", "Fight/d"]
    assert [key.stem for key in pairs.without_overlay] == ["Fight/b"]
    assert [key.stem for key in pairs.without_annotation] == ["Fight/c"]
    assert pairs.duplicates == []
    assert kinds(tmp_path) == [(FindingKind.MISSING_OVERLAY, "Fight/b"), (FindingKind.MISSING_ANNOTATION, "Fight/c")]
    assert verify_mapping(tmp_path / "out").headline().startswith("no list of inputs")


def test_postfixes_are_removed_at_the_end_only():
    """Regression: design.md 2, defect 10 (`str.replace` stripped them from the middle of names)."""
    postfix = "_rtmo_bytetrack_pose"
    assert remove_postfix("a_rtmo_bytetrack_pose", postfix) == "a"
    assert remove_postfix("a_rtmo_bytetrack_pose_2", postfix) == "a_rtmo_bytetrack_pose_2"
    assert remove_postfix("a_rtmo_bytetrack_pose_rtmo_bytetrack_pose", postfix) == "a_rtmo_bytetrack_pose"


def test_a_postfix_within_a_name_is_part_of_the_name(tmp_path):
    """A clip whose own name holds a postfix is mapped like any other."""
    name = "Fight/x_enhanced_stgcn_annotation_take2.mp4"
    run(tmp_path, (name,))
    report = verify_mapping(tmp_path / "out")
    assert report.ok
    assert report.matched == 1


def test_files_are_listed_by_ending(tmp_path):
    """Recursive, sorted, whatever the case; hidden and unfinished files are none."""
    for name in ("b.PKL", "sub/a.pkl", ".c.pkl", ".partial-1.pkl", "d.txt", ".hidden/e.pkl"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert get_files_by_extension(tmp_path, [".pkl"]) == [tmp_path / "b.PKL", tmp_path / "sub/a.pkl"]
    assert get_files_by_extension(tmp_path / "nowhere", [".pkl"]) == []


def test_lines_are_printable_whatever_the_names_are(tmp_path):
    """No file name sends control sequences to a terminal or breaks the JSON."""
    name = "Fight/\x1b[31mred\n" + os.fsdecode(b"\xff") + ".mp4"
    clip = run(tmp_path, (name,))[name]
    assert verify_mapping(tmp_path / "out").ok
    clip.overlay_path.unlink()
    report = verify_mapping(tmp_path / "out")
    assert report.of(FindingKind.MISSING_OVERLAY) == [clip.frame_dir]
    assert report.lines()[0].isprintable()
    assert report.rows()[0]["clip"].isprintable()
    assert report.to_value()["findings"][0]["clip"] == clip.frame_dir


def test_an_empty_or_missing_folder_is_a_clear_error(tmp_path):
    """Nothing found is not the same as nothing wrong."""
    with pytest.raises(FightposeError, match="nothing to verify"):
        verify_mapping(tmp_path)
    with pytest.raises(FightposeError, match="no output folder"):
        verify_mapping(tmp_path / "nowhere")


def test_an_overlay_is_decoded_once_as_long_as_it_stays_what_it_is(tmp_path, monkeypatch):
    """The deep check decodes again: a file may rot without changing its size or its time."""
    clip = run(tmp_path)["Fight/a.mp4"]
    decoded: list[str] = []

    def counted(path: Path) -> tuple[int, float]:
        """Decode, and remember the name."""
        decoded.append(path.name)
        return decode(path)

    monkeypatch.setattr("tasks.mapping.frame_counts.decode", counted)
    assert verify_mapping(tmp_path / "out").ok
    assert len(decoded) == 3
    assert verify_mapping(tmp_path / "out").ok
    assert len(decoded) == 3
    write_video(clip.overlay_path, plain_frames(FRAMES - 1))
    assert kinds(tmp_path) == [(FindingKind.FRAME_COUNT, "set/Fight/a")]
    assert decoded[3:] == [clip.overlay_path.name]
    verify_mapping(tmp_path / "out", deep=True)
    assert len(decoded) == 7
    (tmp_path / "out/.fightpose/decoded.json").write_text('{"set": 3}')
    assert kinds(tmp_path) == [(FindingKind.FRAME_COUNT, "set/Fight/a")]
    assert len(decoded) == 10


def deep(tmp_path: Path) -> list[tuple[FindingKind, str]]:
    """Return kinds and details of what the deep check finds."""
    return [(finding.kind, finding.info) for finding in verify_mapping(tmp_path / "out", deep=True).findings]


def test_the_deep_check_finds_nothing_in_a_sound_run(tmp_path):
    """Annotations, overlays and the merged data set."""
    clips = run(tmp_path)
    merge_dataset(clips.values(), tmp_path / "out/dataset.pkl")
    assert deep(tmp_path) == []


def test_the_deep_check_holds_annotations_against_the_contract(tmp_path):
    """A NaN passes the shallow check, which looks at names and frame counts."""
    clip = run(tmp_path)["Fight/a.mp4"]
    annotated(clip, fps=float("nan"))
    assert verify_mapping(tmp_path / "out").ok
    assert {kind for kind, _ in deep(tmp_path)} == {FindingKind.INVALID, FindingKind.FRAME_RATE}


def test_the_deep_check_compares_frame_rates(tmp_path):
    """An overlay at another speed is no use for checking by eye."""
    clip = run(tmp_path)["Fight/a.mp4"]
    write_video(clip.overlay_path, plain_frames(FRAMES), fps=12)
    assert [kind for kind, _ in deep(tmp_path)] == [FindingKind.FRAME_RATE]


def test_the_deep_check_counts_the_input_s_frames(tmp_path):
    """An annotation and its overlay that were cut alike agree with each other."""
    clip = run(tmp_path)["Fight/a.mp4"]
    annotated(clip, FRAMES - 2)
    write_receipt(clip, tmp_path / "out", "hash", "key", True, SUMMARY)
    assert verify_mapping(tmp_path / "out").ok
    assert deep(tmp_path) == [(FindingKind.FRAME_COUNT, f"input {FRAMES}, annotation {FRAMES - 2}")]


def test_the_deep_check_finds_an_input_of_other_content(tmp_path):
    """Whatever its time says; an input that is gone, or was never hashed, says nothing."""
    clips = run(tmp_path)
    clip, gone = clips["Fight/a.mp4"], clips["Fight/b.avi"]
    for one in (clip, gone):
        annotated(one, provenance={"video_sha256": file_sha256(one.path)})
        write_receipt(one, tmp_path / "out", file_sha256(one.path), "key", True, SUMMARY)
    assert deep(tmp_path) == []
    gone.path.unlink()
    was = file_sha256(clip.path)
    write_video(clip.path, plain_frames(FRAMES, width=96))
    os.utime(clip.path, (1, 1))
    # An earlier version's receipt: it took the size and time of what had replaced the clip meanwhile.
    write_receipt(clip, tmp_path / "out", was, "key", True, SUMMARY)
    assert verify_mapping(tmp_path / "out").ok
    assert deep(tmp_path) == [(FindingKind.STALE, "the input's content changed; run annotate again")]
    clip.path.write_bytes(b"no video")
    os.utime(clip.path, (1, 1))
    ((kind, info),) = deep(tmp_path)
    assert kind is FindingKind.STALE
    assert info == "the input changed; run annotate again"


@pytest.mark.parametrize("ending", [".mp4", ".avi", ".mov"])
def test_an_overlay_cut_short_in_its_bytes_is_found(tmp_path, ending):
    """As a copy that was broken off leaves it: it does not open, or has fewer frames."""
    clip = run(tmp_path, (f"Fight/a{ending}",))[f"Fight/a{ending}"]
    whole = clip.overlay_path.read_bytes()
    clip.overlay_path.write_bytes(whole[: len(whole) // 2])
    assert [kind in (FindingKind.UNREADABLE_OVERLAY, FindingKind.FRAME_COUNT) for kind, _ in deep(tmp_path)] == [True]


def test_the_deep_check_finds_a_merged_data_set_that_is_older_than_an_annotation(tmp_path):
    """Another label, or other joints, in the clip's own file."""
    clips = run(tmp_path)
    merge_dataset(clips.values(), tmp_path / "out/dataset.pkl")
    annotated(clips["Fight/a.mp4"], label=2)
    moved = sample_annotation(1, FRAMES)["keypoint"]
    moved[moved > 0] += 1
    annotated(clips["Fight/b.avi"], keypoint=moved)
    for clip in clips.values():
        # A run wrote them, and did not come to merging.
        write_receipt(clip, tmp_path / "out", "hash", "key", True, SUMMARY)
    found = deep(tmp_path)
    assert [info.split(" ")[0] for kind, info in found if kind is FindingKind.DATASET] == ["set/Fight/a", "set/Fight/b"]
    assert len(found) == 2


def test_the_deep_check_finds_a_source_on_both_sides_of_a_split(tmp_path):
    """By the rule for groups that the last run was given."""
    clips = run(tmp_path, [f"Fight/cam1_{number}.mp4" for number in range(5)])
    merge_dataset(clips.values(), tmp_path / "out/dataset.pkl")
    assert deep(tmp_path) == []
    record_settings(tmp_path / "out", Settings(dataset=DatasetSettings(group_pattern="cam[0-9]+")))
    ((kind, info),) = deep(tmp_path)
    assert kind is FindingKind.DATASET
    assert info == "group-leak: the group cam1 stands in the splits test, train, val"
    record_settings(tmp_path / "out", Settings(dataset=DatasetSettings(groups=tmp_path / "gone.csv")))
    ((kind, info),) = deep(tmp_path)
    assert kind is FindingKind.DATASET
    assert "gone.csv" in info


def test_a_failed_clip_s_earlier_annotation_is_not_missed_in_the_data_set(tmp_path):
    """It is left out of it on purpose."""
    clips = run(tmp_path)
    failed = clips.pop("Fight/a.mp4")
    write_manifest(tmp_path / "out", tmp_path / "set", [failed], "other settings")
    log_failure(tmp_path / "out", failed.path, failed.frame_dir, FailureReason.NO_TRACKS)
    merge_dataset(clips.values(), tmp_path / "out/dataset.pkl")
    assert deep(tmp_path) == []


def test_the_deep_check_finds_a_split_leak_and_a_clip_left_out(tmp_path):
    """The merged data set must hold every annotation, each in one split."""
    clips = run(tmp_path)
    path = tmp_path / "out/dataset.pkl"
    merge_dataset(list(clips.values())[:2], path)
    data = read_annotation(path)
    data["split"]["test"] = data["split"]["train"]
    write_annotation(path, data["annotations"], data["split"])
    found = deep(tmp_path)
    assert {kind for kind, _ in found} == {FindingKind.DATASET}
    assert any(info.startswith("split-leak") for _, info in found)
    assert any("set/NonFight/a has an annotation, but is not in it" in info for _, info in found)
    path.write_bytes(b"broken")
    assert [kind for kind, _ in deep(tmp_path)] == [FindingKind.DATASET]
