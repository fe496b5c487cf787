"""The Korean catalogue is complete and true to the English texts, and people get the language that they asked for."""

from __future__ import annotations

import json
import os
import re
import string
import subprocess
import sys
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st

from tasks.clips.failures import JSON_LOG, TEXT_LOG, log_failure
from tasks.core.errors import FailureReason
from tasks.language import VARIABLE, Language, language, page_words, translated
from tasks.language.catalogue import FIELD, FOLDER, KNOWN, LONGEST, NESTED
from tests.language.catalogue import catalogue, messages

ROOT = Path(__file__).parents[2]
HANGUL = re.compile(r"[\uac00-\ud7a3]")


@pytest.fixture
def korean(monkeypatch):
    """Let everything be said in Korean."""
    monkeypatch.setenv(VARIABLE, Language.KOREAN)


def entries():
    """Return (English texts, Korean text) of every message of the catalogue."""
    with (FOLDER / "ko/LC_MESSAGES/fightpose.po").open("rb") as file:
        for message in read_po(file, locale="ko"):
            if message.id:
                ids = message.id if isinstance(message.id, tuple) else (message.id,)
                yield ids, message.string[0] if isinstance(message.string, tuple) else message.string


def test_every_message_of_the_code_has_a_korean_text():
    """None is missing, and none is left over: else run `make catalogue` and translate what is new."""
    in_code = {
        (message.id if isinstance(message.id, tuple) else (message.id,)) for message in catalogue() if message.id
    }
    texts = dict(entries())
    assert texts.keys() == in_code
    assert [ids for ids, text in texts.items() if not text] == []


def test_no_field_differs_between_the_languages():
    """Each field of the English text is in the Korean one as often, and no other is."""
    for ids, text in entries():
        for name in ids:
            assert sorted(FIELD.findall(text)) == sorted(FIELD.findall(name)), name
            # Options and commands are typed as they are; a renamed one would lead nowhere.
            assert set(re.findall(r"--[a-z-]+", text)) == set(re.findall(r"--[a-z-]+", name)), name


def test_korean_texts_are_korean():
    """Except for those that hold nothing but fields and commands."""
    same = [text for ids, text in entries() if not HANGUL.search(text)]
    assert sorted(same) == [
        "fightpose verify {output_root}",
        "{kind}: {clip}",
        "{kind}: {clip} ({info})",
        "{where}: {check}",
    ]


def sample(name: str, number: int) -> str:
    """Return a content for a field; one that is a message itself where the field holds nothing else."""
    return "overlay missing" if name in KNOWN else f"a/b {number}"


@pytest.mark.parametrize("message", sorted(text for text in messages() if FIELD.search(text)))
def test_a_text_of_the_code_is_found_again_by_its_form(korean, message):
    """Filled in as the code does, each message gives its own Korean text: no other form takes it."""
    names = FIELD.findall(message)
    values = {name: sample(name, number) for number, name in enumerate(names)}
    text = FIELD.sub(lambda field: values[field[1]], message)
    own = {name: translated(value) if name in NESTED else value for name, value in values.items()}
    wanted = FIELD.sub(lambda field: own[field[1]], page_words()[message])
    # "1 clip" and "{count} clip" say the same.
    assert translated(text) == wanted


def test_an_untrusted_text_costs_no_time(korean):
    """A name of four thousand colons is compared with no form: it is given back at once, and as it is."""
    name = ": " * 2000
    assert translated(name) == name
    assert len(name) > LONGEST


@given(st.text(string.printable, max_size=60))
def test_any_other_text_stays_as_it_is(text):
    """Names of files, and what other programs say; never an error."""
    assert isinstance(translated(text), str)


def test_a_failure_is_korean_for_people_and_english_for_programs(korean, tmp_path):
    """The text log follows the language, the JSON lines do not."""
    info = "the longest track has 7 frames, fewer than --min-track-length 10; lower it, or leave the clip out"
    log_failure(tmp_path, "a.mp4", "clips/a", FailureReason.INSUFFICIENT_LENGTH, info)
    assert json.loads((tmp_path / JSON_LOG).read_text())["info"] == info
    line = (tmp_path / TEXT_LOG).read_text()
    assert "| INSUFFICIENT_LENGTH | 가장 긴 트랙이 7프레임으로, --min-track-length 10보다 짧습니다" in line


def test_what_a_field_holds_is_never_read_as_a_field(korean):
    """A folder may be called as a field is."""
    text = "there is no output folder {folder}/{0}; name the --output-root of an earlier run"
    assert "{folder}/{0}" in translated(text)


def test_a_name_that_is_a_message_stays(korean):
    """Only fields that hold messages are translated in turn."""
    assert "'checked'" not in translated("Written: checked")
    assert translated("Written: checked").endswith("checked")


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, "en"),
        ({"LANG": "ko_KR.UTF-8"}, "ko"),
        ({"LANG": "ko_KR.UTF-8", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "ko:en"}, "ko"),
        ({"LANG": "ko_KR.UTF-8", "LANGUAGE": "en:ko"}, "en"),
        # As gettext has it: no list of preferences counts in the locale C.
        ({"LANG": "C", "LANGUAGE": "ko"}, "en"),
        ({"LC_MESSAGES": "ko_KR.eucKR"}, "ko"),
        ({"LANG": "ko_KR.UTF-8", VARIABLE: "en"}, "en"),
        ({"LANG": "en_US.UTF-8", VARIABLE: "ko"}, "ko"),
        ({VARIABLE: "klingon"}, "en"),
    ],
)
def test_the_language_is_that_of_the_option_or_the_locale(monkeypatch, environment, wanted):
    """By the rules of gettext; the variable of `--lang` before all."""
    for name in ("LANG", "LANGUAGE", "LC_ALL", "LC_MESSAGES", VARIABLE):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert language() == wanted


def test_the_option_works_for_every_command(tmp_path):
    """As typed: the refusal is Korean, the JSON value English."""
    ran = subprocess.run(
        [str(Path(sys.executable).with_name("fightpose")), "verify", "none", "--lang", "ko", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "이전 실행의 --output-root를 지정하세요" in ran.stderr
    assert json.loads(ran.stdout)["error"].startswith("there is no output folder none;")


def test_english_loads_no_catalogue():
    """The usual case does not pay for the other one."""
    code = "import sys, flows.cli.main as main; main.translated('some text'); print('babel' in sys.modules)"
    environment = os.environ | {VARIABLE: "en"}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "False"


def test_a_wheel_brings_the_catalogue_and_every_other_file_of_the_packages(monkeypatch):
    """What setuptools would put into a wheel, asked of setuptools itself: the package data name every file."""
    dist = pytest.importorskip("setuptools.dist")
    monkeypatch.chdir(ROOT)
    # The name of a script, which setuptools asks for when it looks for the newest file.
    distribution = dist.Distribution({"script_name": "setup.py"})
    distribution.parse_config_files()
    # The package data alone: else files that an earlier build listed in its manifest would count, too.
    distribution.include_package_data = False
    command = distribution.get_command_obj("build_py")
    command.ensure_finalized()
    packed = {Path(folder, name) for _, folder, _, names in command.data_files for name in names}
    assert Path("tasks/language/locale/ko/LC_MESSAGES/fightpose.po") in packed
    files = {
        path.relative_to(ROOT)
        for top in ("flows", "tasks")
        for path in (ROOT / top).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"}
    }
    assert files - packed == set()
