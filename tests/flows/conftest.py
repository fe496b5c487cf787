"""Fixtures of the tests of flows and command line."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

# Two annotated clips and an empty one, made with the stand-in model; clips lay below /data then.
ARCHIVE = Path(__file__).parent / "data/outputs_of_0_1.tar.xz"


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """Give the folder that holds `clips` and `out`, with the paths and times that its records name."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    for name in ("clips/fightpose_inputs.json", "failed_videos.jsonl", "enhanced_failed_videos.txt"):
        path = tmp_path / "out" / name
        path.write_text(path.read_text().replace("/data/", f"{tmp_path}/"))
    for path in (tmp_path / "out/.fightpose/receipts").rglob("*.json"):
        receipt = json.loads(path.read_text())
        clip = next((tmp_path / "clips").glob(f"{path.parent.name}/{path.stem}.*"))
        stem = tmp_path / "out/clips" / path.parent.name / path.stem
        files = {
            "input": clip,
            "annotation": Path(f"{stem}_enhanced_stgcn_annotation.pkl"),
            "overlay": Path(f"{stem}_enhanced_rtmo_overlay{clip.suffix}"),
        }
        for part, file in files.items():
            # An archive keeps seconds as floats: too coarse for the nanoseconds of a receipt.
            os.utime(file, ns=(receipt[part]["mtime_ns"],) * 2)
    return tmp_path
