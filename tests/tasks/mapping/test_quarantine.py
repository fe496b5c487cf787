"""Repair of what the mapping check found."""

from tasks.clips.manifest import read_manifests
from tasks.mapping.findings import FindingKind
from tasks.mapping.quarantine import clips_to_repair, quarantine
from tasks.mapping.verify import verify_mapping
from tests.tasks.mapping.test_verify import run
from tests.video_factory import plain_frames, write_video


def test_corrupt_outputs_are_set_aside_and_their_clips_run_again(tmp_path):
    """What is sound stays; what is moved is found by no one who looks for outputs."""
    clips = run(tmp_path)
    broken, cut, sound = clips["Fight/a.mp4"], clips["Fight/b.avi"], clips["NonFight/a.mov"]
    broken.annotation_path.write_bytes(b"broken")
    write_video(cut.overlay_path, plain_frames(2))
    report = verify_mapping(tmp_path / "out")
    moved = quarantine(report)
    assert [source for source, _ in moved] == [broken.annotation_path, cut.overlay_path, cut.annotation_path]
    assert all(target.exists() and not source.exists() for source, target in moved)
    assert not list((tmp_path / "out/quarantine").rglob("*.pkl"))
    assert sound.annotation_path.exists()
    assert clips_to_repair(report, read_manifests(tmp_path / "out")) == [broken, cut]
    after = verify_mapping(tmp_path / "out")
    assert after.of(FindingKind.UNACCOUNTED) == [cut.frame_dir]
    assert clips_to_repair(after, clips.values()) == [broken, cut]


def test_a_second_quarantine_replaces_nothing(tmp_path):
    """Files of one name are kept side by side; a file that is gone meanwhile is passed over."""
    clip = run(tmp_path)["Fight/a.mp4"]
    targets = []
    for text in (b"first", b"second"):
        clip.annotation_path.write_bytes(text)
        targets += [target for _, target in quarantine(verify_mapping(tmp_path / "out"))]
    assert [target.read_bytes() for target in targets] == [b"first", b"second"]
    clip.annotation_path.write_bytes(b"third")
    report = verify_mapping(tmp_path / "out")
    clip.annotation_path.unlink()
    assert quarantine(report) == []
