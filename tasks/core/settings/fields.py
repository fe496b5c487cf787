"""What a setting says about itself beside its type: how it is offered, in which unit, what an empty one means.

A setting is declared once, in `tasks.core.settings.model`:

    min_track_length: Annotated[int, Setting(unit="frames")] = Field(10, ge=1, le=FRAMES, description="...")

and `declared` reads it back. The option of the command line, the example file, the table in the docs and (through
pydantic) the keys of settings files and Prefect's form all follow from that one line.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, Union, cast, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

Kind = Literal["flag", "choice", "whole", "number", "text", "path", "texts", "numbers", "file"]
"""How a value is written: `numbers` is name=number pairs, `texts` may be given several times."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a setting says about itself, as an annotation of its field.

    Attributes
    ----------
    unit
        What its number counts, such as frames; shown in help, in the docs and in the example file.
    option
        Name of its option where that differs from the field's, with the dashes.
    empty
        What leaving it empty means.
    file_only
        Why there is no option for it; None if there is one.
    later
        Whether it came after receipts did: at its default it is no part of keys, so that outputs of versions without it
        are still unchanged.
    """

    unit: str = ""
    option: str = ""
    empty: str = ""
    file_only: str | None = None
    later: bool = False


@dataclass(frozen=True, slots=True)
class Declared:
    """One setting as it is declared.

    Attributes
    ----------
    group, name
        Where it is found in files and in the form.
    kind
        How its value is written.
    about
        What it says about itself.
    help
        What it does.
    default
        Its default as a plain value; None for an empty one.
    choices
        The words that it takes; none for other kinds.
    least, most
        Its bounds, both included; None where it has none.
    """

    group: str
    name: str
    kind: Kind
    about: Setting
    help: str
    default: Any
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    annotation: Any = field(default=None, repr=False)

    @property
    def option(self) -> str:
        """The option's name, with the dashes."""
        return self.about.option or f"--{self.name.replace('_', '-')}"

    @property
    def key(self) -> str:
        """Its key in a settings file."""
        return f"{self.group}.{self.name}"


@cache
def declared() -> tuple[Declared, ...]:
    """Return every setting, in the order in which the model declares them.

    Raises
    ------
    TypeError
        If two settings have the same name, which their options could not tell apart.
    """
    # Imported here: the model imports `Setting` from this module.
    from tasks.core.settings.model import Settings

    found = tuple(_walk(Settings))
    names = [one.name for one in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise TypeError(f"settings of the same name: {', '.join(sorted(twice))}")
    return found


def _walk(model: type[BaseModel]) -> Iterator[Declared]:
    """Yield the settings of each group."""
    for group, info in model.model_fields.items():
        groups = info.annotation
        # Every field of the model is a group; a setting outside of one would have no place in a file.
        if not (isinstance(groups, type) and issubclass(groups, BaseModel)):
            raise TypeError(f"{group} is not a group of settings")
        for name, one in groups.model_fields.items():
            yield _declared(group, name, one)


def _declared(group: str, name: str, info: FieldInfo) -> Declared:
    """Read one field."""
    plain = _without_none(info.annotation)
    kind, choices = _kind(plain)
    about = next((note for note in info.metadata if isinstance(note, Setting)), Setting())
    # The types of bounds allow for anything that compares; here they are numbers.
    least = next((float(cast(float, note.ge)) for note in info.metadata if isinstance(note, Ge)), None)
    most = next((float(cast(float, note.le)) for note in info.metadata if isinstance(note, Le)), None)
    # An option's range includes its ends; an open end would be promised by one and refused by the other.
    if any(isinstance(note, Gt | Lt) for note in info.metadata):
        raise TypeError(f"{group}.{name}: give bounds that are included (ge, le)")
    default = info.get_default(call_default_factory=True)
    if isinstance(default, enum.Enum):
        default = default.value
    return Declared(group, name, kind, about, info.description or "", default, choices, least, most, plain)


def _without_none(annotation: Any) -> Any:
    """Return what a setting holds where it is not empty."""
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (one for one in get_args(annotation) if one is not type(None))
    return annotation


def _kind(annotation: Any) -> tuple[Kind, tuple[str, ...]]:
    """Return how values of a type are written, and the words of a choice.

    Raises
    ------
    TypeError
        For a type that no option can show.
    """
    simple: dict[Any, Kind] = {bool: "flag", int: "whole", float: "number", str: "text"}
    if annotation in simple:
        return simple[annotation], ()
    if isinstance(annotation, type) and issubclass(annotation, enum.StrEnum):
        return "choice", tuple(annotation)
    origin = get_origin(annotation)
    if origin in (list, tuple):
        return "texts", ()
    if origin is dict:
        return "numbers", ()
    # A path, or a model that is read from the file that the option names.
    if isinstance(annotation, type):
        return ("file" if issubclass(annotation, BaseModel) else "path"), ()
    raise TypeError(f"no option can show {annotation}")
