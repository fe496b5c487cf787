"""A purge removes what shows people, all of it and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.errors import FightposeError
from tasks.mapping.purge import pictures_of, purge

PICTURES = (
    "set/Fight/a_enhanced_rtmo_overlay.mp4",
    "set/Fight/b.MOV_enhanced_rtmo_overlay.mov",
    "set/c_enhanced_rtmo_overlay.avi",
    "set/old_rtmo_bytetrack_overlay.avi",
    ".fightpose/review/thumbnails/ab/abc.jpg",
    ".fightpose/review/previews/ab/abc.mp4",
    "quarantine/set/a_enhanced_rtmo_overlay.mp4.quarantined",
)
OTHERS = (
    "set/Fight/a_enhanced_stgcn_annotation.pkl",
    "set/Fight/a.mp4",
    "set/fightpose_inputs.json",
    "dataset.pkl",
    "failed_videos.jsonl",
    ".fightpose/poses/ab/abc.npz",
    ".fightpose/receipts/set/Fight/a.json",
    "quarantine/set/a_enhanced_stgcn_annotation.pkl.quarantined",
    "report.html",
)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Give an output folder with everything in it."""
    for name in (*PICTURES, *OTHERS):
        path = tmp_path / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    return tmp_path / "out"


def names_in(folder: Path) -> set[str]:
    """Return all files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_pictures_go_and_all_else_stays(output: Path) -> None:
    """The clips too, where outputs lie beside them."""
    done = purge(output)
    assert set(done.files) == set(PICTURES)
    assert done.bytes == 5 * len(PICTURES)
    assert names_in(output) == set(OTHERS)
    assert purge(output).files == []


def test_a_report_with_pictures_goes_too(output: Path) -> None:
    """One file that opens offline holds its pictures."""
    (output / "report.html").write_bytes(b'<img src="data:image/jpeg;base64,AAAA">')
    assert "report.html" in purge(output).files


def test_a_link_goes_and_what_it_leads_to_stays(output: Path, tmp_path: Path) -> None:
    """An overlay may have been replaced by a link to the clip."""
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"clip")
    overlay = output / PICTURES[0]
    overlay.unlink()
    overlay.symlink_to(clip)
    assert PICTURES[0] in purge(output).files
    assert not overlay.is_symlink()
    assert clip.read_bytes() == b"clip"


def test_a_folder_that_is_no_output_is_refused(tmp_path: Path) -> None:
    """Somebody may have named the folder of the clips."""
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/a.mp4").write_bytes(b"clip")
    with pytest.raises(FightposeError, match="is not an output folder"):
        pictures_of(tmp_path / "clips")
    with pytest.raises(FightposeError, match="there is no output folder"):
        purge(tmp_path / "gone")


def test_the_command_asks_first_and_says_what_is_left(output: Path) -> None:
    """Whoever says no, or cannot be asked, keeps all."""
    from typer.testing import CliRunner

    from flows.cli.main import app

    asked = CliRunner().invoke(app, ["purge", str(output)], input="n\n")
    assert f"Remove {len(PICTURES)} files" in asked.output
    assert names_in(output) == {*PICTURES, *OTHERS}
    assert CliRunner().invoke(app, ["purge", str(output), "--json"]).exit_code != 0
    assert names_in(output) == {*PICTURES, *OTHERS}
    done = CliRunner().invoke(app, ["purge", str(output), "--yes"])
    assert done.exit_code == 0
    assert f"removed {len(PICTURES)} files" in done.output
    assert "left: annotations" in done.output
    assert names_in(output) == set(OTHERS)
