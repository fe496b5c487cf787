"""One declaration of a setting reaches the command line, the file, the form and the page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
import typer
from pydantic import ValidationError

from flows.cli.main import app
from tasks.core.settings import Settings
from tasks.core.settings.describe import example, page
from tasks.core.settings.fields import Declared, declared
from tasks.core.settings.file import read_settings, said

ALL = pytest.mark.parametrize("one", declared(), ids=lambda one: one.key)
NUMBERS = [one for one in declared() if one.kind in ("whole", "number")]
ROOT = Path(__file__).parents[4]


@cache
def options(command: str) -> dict[str, str]:
    """Return how the help of a command shows each of its options, by name."""
    found = typer.main.get_command(app).commands[command]
    with found.make_context(command, ["x", "--output-root", "y"], resilient_parsing=True) as context:
        return {
            name: " ".join(" ".join(parameter.get_help_record(context)).split())
            for parameter in found.get_params(context)
            for name in parameter.opts
            if name.startswith("--")
        }


@ALL
def test_a_setting_is_an_option_or_says_why_not(one: Declared):
    """Of both commands that take settings, with the same words, choices and bounds."""
    for command in ("annotate", "retry-failed"):
        assert (one.option in options(command)) == (one.about.file_only is None)
        shown = options(command).get(one.option)
        if shown is not None:
            assert one.help in shown
            assert "|".join(one.choices) in shown
            assert one.most is None or f"<={one.most:g}" in shown.replace(".0", "") or f"<={one.most:.10g}" in shown


@ALL
def test_a_setting_is_in_the_form_the_page_and_the_example(one: Declared):
    """With what it does, in the same words."""
    schema = Settings.model_json_schema()
    # Beside a default, the reference to a group is wrapped by some versions of pydantic.
    name = re.search(r"#/\$defs/(\w+)", str(schema["properties"][one.group]))[1]
    group = schema["$defs"][name]
    assert group["properties"][one.name]["description"] == one.help
    assert f"| `{one.name}` |" in page()
    assert f"\n#{one.name} = " in example()


@pytest.mark.parametrize("one", NUMBERS, ids=lambda one: one.key)
def test_numbers_have_bounds_that_hold_everywhere(one: Declared):
    """Also infinity, no number at all, and numbers that no file could hold."""
    assert one.least is not None
    assert one.most is not None
    assert one.about.unit or one.most <= 5, "a number that is no share needs a unit"
    wrong = [one.least - 1, one.most + 1, float("inf"), float("nan"), 10**30]
    for value in wrong:
        with pytest.raises(ValidationError):
            Settings.model_validate({one.group: {one.name: value}})
    for value in (one.least, one.most):
        Settings.model_validate({one.group: {one.name: value}})


def test_the_example_is_a_settings_file(tmp_path):
    """As it is, and with every setting taken out of its comment."""
    path = tmp_path / "a.toml"
    path.write_text(example(), encoding="utf-8")
    assert {key: value for key, value in read_settings(path).items() if value} == {}
    lines = [
        line[1:] if line.startswith("#") and line[1:2] not in (" ", "") else line for line in example().splitlines()
    ]
    found = tomllib.loads("\n".join(lines))
    assert {(group, name) for group, values in found.items() for name in values} == {
        (one.group, one.name) for one in declared()
    }


def test_the_page_is_the_one_in_the_docs():
    """`make settings` writes it."""
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == page()


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"selection": {"max_person": 3}}, "did you mean max_persons in [selection]?"),
        ({"poses": {"max_persons": 3}}, "did you mean max_persons in [selection]?"),
        ({"max_persons": 3}, "did you mean max_persons in [selection]?"),
        ({"selction": {}}, "did you mean [selection]?"),
        ({"poses": {"zzz": 1}}, "[poses] has model, config"),
        ({"zzz": 1}, "there are [poses], [tracking]"),
    ],
)
def test_a_mistyped_key_names_the_nearest(value, line):
    """Whether the group or the setting was mistyped, or the setting put elsewhere."""
    with pytest.raises(ValidationError) as error:
        Settings.model_validate(value)
    assert line in said(error.value.errors()[0])


def test_settings_load_without_numpy():
    """The command line reads them before it may load anything heavy."""
    code = "import sys, json, tasks.core.settings.describe; print(json.dumps('numpy' in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) is False
