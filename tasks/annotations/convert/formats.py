"""The one list of layouts that annotations are converted to: a new export is an entry here and a function.

Nothing heavy is imported here, because the command line reads the list for its help; a writer is named by its module
and found when it is needed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from tasks.core.errors import FightposeError

HERE = "tasks.annotations.convert"


@dataclass(frozen=True, slots=True)
class Format:
    """One layout.

    Attributes
    ----------
    help
        What it is and who reads it, for the command line.
    ending
        Of its files.
    writer
        `module:function`. Of a whole file: takes an annotation and returns one, and all go into one file. Of a
        clip's: takes path and annotation.
    whole
        Whether one file holds all clips; else each clip has its own, named by its identifier.
    needs
        Package that the writer imports and that is not among the requirements; empty for none.
    beside
        `module:function` that takes the destination folder and writes what goes with the clips' files; empty for none.
    """

    help: str
    ending: str
    writer: str
    whole: bool = False
    needs: str = ""
    beside: str = ""

    def function(self) -> Callable[..., Any]:
        """Return the writer."""
        found: Callable[..., Any] = resolve_name(self.writer)
        return found

    def require(self) -> None:
        """Refuse a layout whose package is not installed, before anything is written.

        Raises
        ------
        FightposeError
            With the command that installs it.
        """
        # Looked up, not imported: the import of such a package takes far longer.
        if self.needs and importlib.util.find_spec(self.needs) is None:
            raise FightposeError(
                f"this layout needs the package {self.needs}, which is not installed: pip install {self.needs}"
            )


FORMATS = {
    "stgcn": Format("this program's own PKL, as mmaction2 loads it", ".pkl", f"{HERE}.layouts:to_own", whole=True),
    "pyskl": Format("PKL with pyskl's keys only", ".pkl", f"{HERE}.layouts:to_pyskl", whole=True),
    "pyskl-float16": Format("the same at half the size", ".pkl", f"{HERE}.layouts:to_half", whole=True),
    "persons": Format("the earlier scripts' PKL", ".pkl", f"{HERE}.layouts:write_persons"),
    "csv": Format("a row for each person and frame", ".csv", f"{HERE}.tables:write_csv"),
    "parquet": Format("the same as Parquet", ".parquet", f"{HERE}.tables:write_parquet", needs="pyarrow"),
    "mot": Format("boxes as MOT challenge text", ".txt", f"{HERE}.tables:write_mot"),
    "coco": Format("COCO keypoints JSON", ".json", f"{HERE}.coco:write_coco"),
    "cvat": Format("skeleton tracks for CVAT", ".xml", f"{HERE}.cvat:write_cvat", beside=f"{HERE}.cvat:write_labels"),
}

Layout = StrEnum("Layout", {name.replace("-", "_").upper(): name for name in FORMATS})  # type: ignore[misc]
OWN_LAYOUT = Layout("stgcn")
Layout.__doc__ = "What annotations can be converted to."


def help_text() -> str:
    """Return the list of layouts in words."""
    return "; ".join(f"{name}: {form.help}" for name, form in FORMATS.items())


def file_of(destination: Path, frame_dir: str, form: Format) -> Path:
    """Return the file of one clip below a folder."""
    return destination / f"{frame_dir}{form.ending}"
