"""Discovery of clips and the names of their outputs."""

import os
import unicodedata
from pathlib import Path

import pytest

from tasks.clips.discovery import discover_clips, find_clip
from tasks.clips.output_names import is_own_output, output_stems
from tasks.clips.video_files import VIDEO_ENDINGS, may_be_video
from tasks.core.errors import FightposeError


def touch(path: Path) -> Path:
    """Make an empty file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_tree_is_mirrored_under_the_roots_name(tmp_path):
    """The layout of design.md 2, for each overlay container."""
    touch(tmp_path / "set/Fight/cam 1/a.mp4")
    touch(tmp_path / "set/NonFight/b.MOV")
    touch(tmp_path / "set/NonFight/c.mkv")
    found = discover_clips(tmp_path / "set", tmp_path / "out")
    a, b, c = found.clips
    assert a.relative == "Fight/cam 1/a.mp4"
    assert a.frame_dir == "set/Fight/cam 1/a"
    assert a.annotation_path == tmp_path / "out/set/Fight/cam 1/a_enhanced_stgcn_annotation.pkl"
    assert a.overlay_path == tmp_path / "out/set/Fight/cam 1/a_enhanced_rtmo_overlay.mp4"
    assert b.overlay_path.name == "b_enhanced_rtmo_overlay.mov"
    assert c.overlay_path.name == "c_enhanced_rtmo_overlay.mp4"
    assert [clip.label for clip in found.clips] == [1, 0, 0]
    assert found.problems == []


def test_label_counts_the_roots_own_name_but_nothing_above_it(tmp_path):
    """Where the data set happens to lie must not label it."""
    touch(tmp_path / "Fight/cam/a.mp4")
    assert discover_clips(tmp_path / "Fight", tmp_path / "out").clips[0].label == 1
    assert discover_clips(tmp_path / "Fight/cam", tmp_path / "out").clips[0].label == 0


def test_label_needs_the_exact_folder_name(tmp_path):
    """`NonFight`, `Fights` and a file called `Fight.mp4` are no fight folders."""
    touch(tmp_path / "set/NonFight/Fight.mp4")
    touch(tmp_path / "set/Fights/a.mp4")
    assert [clip.label for clip in discover_clips(tmp_path / "set", tmp_path / "out").clips] == [0, 0]


def test_same_stem_in_two_folders_or_two_containers_is_kept_apart(tmp_path):
    """Regression: design.md 2, defect 12 (bare stems as identifiers collide)."""
    for name in ("Fight/x.mp4", "NonFight/x.mp4", "Fight/y.mp4", "Fight/y.avi"):
        touch(tmp_path / "set" / name)
    clips = discover_clips(tmp_path / "set", tmp_path / "out").clips
    assert len({clip.frame_dir for clip in clips}) == 4
    assert len({clip.annotation_path for clip in clips}) == 4
    assert len({clip.overlay_path for clip in clips}) == 4
    assert {clip.stem for clip in clips} == {"x", "y.mp4", "y.avi"}


def test_stems_are_compared_without_case_and_unicode_form():
    """Outputs may be copied to a file system that ignores case or normalises names."""
    nfc = unicodedata.normalize("NFC", "싸움.mp4")
    nfd = unicodedata.normalize("NFD", "싸움.mp4")
    stems = output_stems([nfc, nfd, "A.mp4", "a.MP4", "b.mp4"])
    assert stems["b.mp4"] == "b"
    assert len({unicodedata.normalize("NFC", stem).casefold() for stem in stems.values()}) == 5


def test_a_stem_that_looks_like_anothers_whole_name_is_kept_apart():
    """The rule for shared stems must not collide with a stem that stands alone."""
    stems = output_stems(["a.mp4", "a.avi", "a.avi.mp4"])
    assert stems == {"a.mp4": "a.mp4", "a.avi": "a.avi~2", "a.avi.mp4": "a.avi"}


def test_a_single_file_gets_the_name_it_has_in_a_run_over_its_folder(tmp_path):
    """A retry of one clip must replace its outputs, not add others."""
    for name in ("a.mp4", "a.avi", "b.mp4"):
        touch(tmp_path / "Fight" / name)
    whole = {clip.path: clip for clip in discover_clips(tmp_path / "Fight", tmp_path / "out").clips}
    for path, clip in whole.items():
        assert discover_clips(path, tmp_path / "out").clips == [clip]


def test_a_named_file_is_taken_whatever_its_ending(tmp_path):
    """Recorders write endings of their own; the decoder decides."""
    clip = discover_clips(touch(tmp_path / "cam/record.dav"), tmp_path / "out").clips[0]
    assert clip.overlay_path.name == "record_enhanced_rtmo_overlay.mp4"


def test_hidden_partial_and_own_files_are_passed_over(tmp_path):
    """What is no input is not annotated."""
    for name in (
        "a.mp4",
        "._a.mp4",
        ".git/b.mp4",
        ".partial-0123.mp4",
        "a_enhanced_rtmo_overlay.mp4",
        "a_rtmo_bytetrack_overlay.AVI",
        "notes.txt",
    ):
        touch(tmp_path / "set" / name)
    assert [clip.relative for clip in discover_clips(tmp_path / "set", tmp_path / "out").clips] == ["a.mp4"]
    assert is_own_output("a_enhanced_rtmo_overlay.mp4")
    assert not is_own_output("a_enhanced_rtmo_overlay_of_mine.mp4")


def test_outputs_inside_the_input_are_not_annotated_again(tmp_path):
    """`--output-root` inside the input is common."""
    root = tmp_path / "set"
    touch(root / "a.mp4")
    touch(root / "out/set/a_enhanced_rtmo_overlay.mp4")
    touch(root / "out/set/anything.mp4")
    assert len(discover_clips(root, root / "out").clips) == 1


def test_outputs_beside_their_clips_do_not_hide_the_clips(tmp_path):
    """With the input's parent as output root the mirrored tree is the input itself."""
    touch(tmp_path / "set/a.mp4")
    touch(tmp_path / "set/a_enhanced_rtmo_overlay.mp4")
    assert len(discover_clips(tmp_path / "set", tmp_path).clips) == 1


def test_loops_of_links_end_and_linked_folders_are_taken_once(tmp_path):
    """Real paths win over links; what only a link reaches is taken through the link."""
    touch(tmp_path / "set/Fight/a.mp4")
    touch(tmp_path / "elsewhere/b.mp4")
    (tmp_path / "set/Fight/loop").symlink_to(tmp_path / "set")
    (tmp_path / "set/again").symlink_to(tmp_path / "set/Fight")
    (tmp_path / "set/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "set")
    found = discover_clips(tmp_path / "set", tmp_path / "out")
    assert [clip.relative for clip in found.clips] == ["Fight/a.mp4", "more/b.mp4"]


def test_an_unreadable_folder_and_a_broken_link_are_reported_and_the_rest_goes_on(tmp_path, monkeypatch):
    """One locked folder costs only itself."""
    touch(tmp_path / "set/a.mp4")
    locked = touch(tmp_path / "set/locked/b.mp4").parent
    (tmp_path / "set/gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    scandir = os.scandir

    def refuse(path):
        """Stand in for missing permissions, which do not bind the superuser who may run the tests."""
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = discover_clips(tmp_path / "set", tmp_path / "out")
    assert [clip.relative for clip in found.clips] == ["a.mp4"]
    assert {problem.path.name for problem in found.problems} == {"locked", "gone.mp4"}
    assert any("Permission denied" in problem.info for problem in found.problems)


def test_missing_and_empty_inputs_are_clear_errors(tmp_path):
    """No traceback for a mistyped path."""
    with pytest.raises(FightposeError, match="No such file"):
        discover_clips(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FightposeError, match=r"no clips in .*empty"):
        discover_clips(tmp_path / "empty", tmp_path / "out")


def test_an_unreadable_root_is_a_clear_error(tmp_path, monkeypatch):
    """Nothing can be done then: an error, not an empty run."""
    touch(tmp_path / "set/a.mp4")

    def refuse(path):
        """Refuse every listing."""
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(FightposeError, match="Permission denied"):
        discover_clips(tmp_path / "set", tmp_path / "out")


def test_long_and_undecodable_names_get_outputs_that_can_be_written(tmp_path):
    """The postfix needs room within the file system's 255 bytes."""
    folder = tmp_path / "set"
    folder.mkdir()
    touch(folder / ("가" * 80 + ".mp4"))
    touch(folder / ("가" * 80 + ".avi"))
    touch(folder / os.fsdecode(b"\xff\xfe.mp4"))
    clips = discover_clips(folder, tmp_path / "out").clips
    for clip in clips:
        touch(clip.annotation_path)
        touch(clip.overlay_path)
    assert len({clip.annotation_path for clip in clips}) == 3


def test_the_order_is_the_same_on_every_machine(tmp_path):
    """Directory order differs between machines; the run's order must not."""
    for name in ("b/2.mp4", "b/10.mp4", "a/z.mp4", "가.mp4"):
        touch(tmp_path / "set" / name)
    found = [clip.relative for clip in discover_clips(tmp_path / "set", tmp_path / "out").clips]
    assert found == sorted(found)


def test_dots_in_the_input_path_do_not_change_the_roots_name(tmp_path, monkeypatch):
    """`fightpose annotate .` mirrors under the folder's own name."""
    touch(tmp_path / "set/sub/a.mp4")
    monkeypatch.chdir(tmp_path / "set")
    assert discover_clips(Path(), tmp_path / "out").clips[0].frame_dir == "set/sub/a"
    assert discover_clips(Path("sub/.."), tmp_path / "out").clips[0].frame_dir == "set/sub/a"


def test_a_clip_found_alone_has_the_record_of_the_whole_run(tmp_path):
    """The unit of retry names its outputs as the run over the folder does, even when the clip is gone."""
    for name in ("Fight/a.mp4", "Fight/a.avi", "Fight/A.MP4", "Fight/a.avi.mp4", "Fight/ab.mp4", "b.mp4"):
        touch(tmp_path / "set" / name)
    clips = discover_clips(tmp_path / "set", tmp_path / "out").clips
    assert len({clip.frame_dir for clip in clips}) == 6
    for clip in clips:
        assert find_clip(clip.path, tmp_path / "set", tmp_path / "out") == clip
    assert find_clip(tmp_path / "set/gone/c.mp4", tmp_path / "set", tmp_path / "out").frame_dir == "set/gone/c"
    assert find_clip(tmp_path / "set/b.mp4", None, tmp_path / "out").frame_dir == "set/b"
    with pytest.raises(FightposeError, match="does not lie in"):
        find_clip(tmp_path / "set/b.mp4", tmp_path / "set/Fight", tmp_path / "out")


RECORDERS = [
    ".dav", ".asf", ".3gp", ".mts", ".m2ts", ".h264", ".264", ".h265", ".265", ".hevc", ".mxf", ".vob", ".dv", ".ogv",
    ".mp4", ".avi", ".mov", ".mkv", ".m4v", ".wmv", ".webm", ".mpg", ".mpeg", ".flv", ".ts",
]  # fmt: skip


@pytest.mark.parametrize("ending", RECORDERS)
def test_what_recorders_write_is_a_clip_whatever_the_case_of_its_ending(tmp_path, ending):
    """Passed over, such clips would be missing without a word; their overlay is one that browsers play."""
    touch(tmp_path / f"set/a{ending}")
    touch(tmp_path / f"set/b{ending.upper()}")
    found = discover_clips(tmp_path / "set", tmp_path / "out")
    assert [clip.stem for clip in found.clips] == ["a", "b"]
    assert ending in VIDEO_ENDINGS
    overlay = ending if ending in (".mp4", ".avi", ".mov") else ".mp4"
    assert [clip.overlay_path.suffix for clip in found.clips] == [overlay, overlay]
    assert found.warnings() == []


def test_an_overlay_of_earlier_versions_stays_its_clips_overlay(tmp_path):
    """They wrote .avi for all but mp4 and mov; a new one beside it would be a duplicate."""
    clip_path = touch(tmp_path / "set/a.mkv")
    earlier = touch(tmp_path / "out/set/a_enhanced_rtmo_overlay.avi")
    assert discover_clips(tmp_path / "set", tmp_path / "out").clips[0].overlay_path == earlier
    assert find_clip(clip_path, None, tmp_path / "out").overlay_path == earlier
    # Where somebody made the new one, that counts.
    newer = touch(tmp_path / "out/set/a_enhanced_rtmo_overlay.mp4")
    assert find_clip(clip_path, None, tmp_path / "out").overlay_path == newer
    earlier.unlink()
    newer.unlink()
    assert find_clip(clip_path, None, tmp_path / "out").overlay_path == newer


VIDEOS = {
    "a.gif": b"GIF89a" + bytes(99),
    "mp4.bin": b"\0\0\0\x20ftypisom" + bytes(99),
    "avi": b"RIFF\0\0\0\0AVI LIST" + bytes(99),
    "matroska.dat": b"\x1a\x45\xdf\xa3" + bytes(99),
    "dahua.idx2": b"DHAV\xfd" + bytes(99),
    "hikvision.rec": b"IMKH" + bytes(99),
    "transport.rec": (b"\x47" + bytes(187)) * 4,
    "bluray.part": (bytes(4) + b"\x47" + bytes(187)) * 4,
    "h264.raw": b"\0\0\0\x01\x67" + bytes(99),
    "theora.ogg": b"OggS" + bytes(24) + b"\x80theora" + bytes(99),
}
OTHERS = {
    "text": b"GI am a text about videos",
    "empty": b"",
    "photo.heic": b"\0\0\0\x20ftypheic" + bytes(99),
    "song.m4b": b"\0\0\0\x20ftypM4B " + bytes(99),
    "song.ogg": b"OggS" + bytes(24) + b"\x01vorbis" + bytes(99),
    "wave.snd": b"RIFF\0\0\0\0WAVEfmt " + bytes(99),
    "labels.csv": b"GIF89a is a clip",
    "G.rec": b"\x47" * 100,
}


@pytest.mark.parametrize("name", [*VIDEOS, *OTHERS])
def test_a_file_that_may_be_a_video_is_known_by_its_first_bytes(tmp_path, name):
    """Whatever its ending says."""
    (tmp_path / name).write_bytes((VIDEOS | OTHERS)[name])
    assert may_be_video(tmp_path / name) == (name in VIDEOS)


def test_files_that_may_be_videos_are_reported_where_they_are_left_out(tmp_path):
    """One line with their number; outputs, hidden files and what is no video say nothing."""
    touch(tmp_path / "set/a.mp4")
    for name, data in (VIDEOS | OTHERS).items():
        (tmp_path / "set" / name).write_bytes(data)
    (tmp_path / "set/.hidden").write_bytes(VIDEOS["avi"])
    found = discover_clips(tmp_path / "set", tmp_path / "out")
    assert len(found.clips) == 1
    assert {path.name for path in found.left_out} == set(VIDEOS)
    (line,) = found.warnings()
    assert line.startswith(f"{len(VIDEOS)} files that may be videos are left out: ")
    (tmp_path / "only").mkdir()
    (tmp_path / "only/a.gif").write_bytes(VIDEOS["a.gif"])
    with pytest.raises(FightposeError, match=r"no clips in .*a\.gif may be a video, name it itself"):
        discover_clips(tmp_path / "only", tmp_path / "out")
