"""What people ask is answered near the README, in both languages, in the words that they meet in the program."""

from __future__ import annotations

import functools
import itertools
import re
from pathlib import Path

import pytest

from tasks.core.errors import FailureReason
from tasks.language.catalogue import FOLDER
from tasks.mapping.findings import FindingKind
from tasks.training.configs import STREAMS
from tests.docs.test_docs import FENCE, HISTORY, PAGES, ROOT, TWINS, anchors, ids

READMES = ("README.md", "README.ko.md")

QUESTIONS: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "why is this person rank 1": (
        "Why is this person rank 1?",
        "이 사람이 왜 1순위인가?",
        ("fightpose explain", "movement", "score_breakdown"),
        ("fightpose explain", "movement", "순위 산출 근거"),
    ),
    "what are the five regions": (
        "What are the five regions",
        "5영역은 무엇이고",
        ("center_overlap", "(.25, .25)", "Adaptive learning"),
        ("center_overlap", "(.25, .25)", "적응적 학습"),
    ),
    "how do I check the mapping": (
        "How do I check the mapping",
        "매핑 검증과",
        ("fightpose verify /data/out", "--quarantine --fix"),
        ("fightpose verify /data/out", "매핑 검증"),
    ),
    "how do I retry failed clips on the GPU pool": (
        "retry failed clips, also on the GPU pool?",
        "실패한 영상을 GPU 풀에서 다시 실행하는 방법은?",
        ("On the GPU pool: *Retry*", "fightpose retry-failed /data/out --mode pool"),
        ("GPU 워크 풀에서는", "fightpose retry-failed /data/out --mode pool"),
    ),
    "which file do I give to mmaction2": (
        "Which file do I give to mmaction2?",
        "mmaction2에 어느 파일을 주는가?",
        ("dataset.pkl",),
        ("dataset.pkl",),
    ),
}
"""Question to its row in the README of each language, and the words of the answer there."""

OF_USERS = {
    "OLD.pkl", "NEW.pkl", "FILE.pkl", "FILE.csv", "FILE.txt", "FILE.toml", "FILE.json", "FILE.xml", "FILE.onnx",
    "OUT.onnx", "CONFIG.py", "CHECKPOINT.pth", "weights.json", "windows.pkl", "movenet-thunder.onnx",
}  # fmt: skip
"""Names that stand for files of the reader's own."""

EARLIER = {
    "enhanced_rtmo_bytetrack_pose_extraction.py",
    "run_enhanced_annotation.py",
    "parallel_processor.py",
    "quick_test.py",
}
"""The scripts before this project, named on the pages about them."""

NAME = re.compile(
    r"[\w./<>*…-]*\.(?:py|md|pkl|txt|jsonl?|html|csv|toml|ya?ml|npz|xml|lock|js|css|po|onnx|pth|service)\b"
)


@functools.lru_cache
def in_korean() -> dict[str, str]:
    """Return the Korean of each message without fields, as people meet it."""
    from babel.messages.pofile import read_po

    with (FOLDER / "ko/LC_MESSAGES/fightpose.po").open("rb") as file:
        return {message.id: message.string for message in read_po(file, locale="ko") if isinstance(message.id, str)}


@functools.lru_cache
def code() -> tuple[str, frozenset[str]]:
    """Return all code and settings of the repository as one text, the docs excepted, and the names of all files."""
    places = [ROOT / name for name in ("tasks", "flows", "tests", "deployments", "docker", "docs", ".ci")]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    files += [path for path in ROOT.iterdir() if path.is_file()]
    kinds = {".py", ".js", ".yaml", ".json", ".toml", ""}
    # Not this file, which names what may be missing.
    text = "\n".join(
        path.read_text(errors="replace") for path in files if path.suffix in kinds and path != Path(__file__)
    )
    configs = {f"{framework}_{stream}.py" for framework, stream in itertools.product(("mmaction2", "pyskl"), STREAMS)}
    return text, frozenset({path.name for path in files} | configs)


def links(page: Path) -> list[Path]:
    """Return the pages that a page leads to."""
    targets = re.findall(r"\]\(([^)\s#]+\.md)(?:#[^)]*)?\)", page.read_text())
    return [(page.parent / target).resolve() for target in targets if "://" not in target]


@pytest.mark.parametrize("language", [0, 1], ids=READMES)
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_answered_within_two_clicks(question, language):
    """The README asks it in its table; the page behind the row, or one click further, has the answer's words."""
    readme = ROOT / READMES[language]
    asked, words = QUESTIONS[question][language], QUESTIONS[question][2 + language]
    (row,) = [line for line in readme.read_text().splitlines() if line.startswith("|") and asked in line]
    # The first click is the link of the row, the second one of that page.
    first = [(ROOT / target).resolve() for target in re.findall(r"\]\(([^)\s#]+\.md)", row)]
    assert first
    reached = [*first, *(page for one in first for page in links(one))]
    pages = [page for page in reached if all(word in page.read_text() for word in words)]
    assert pages, f"no page within two clicks of {readme.name} says {words}"
    # In the reader's language, or marked as English in the row.
    assert language == 0 or pages[0].name.endswith(".ko.md") or "영어" in row


@pytest.mark.parametrize("name", READMES)
def test_the_first_screen_of_the_readme(name):
    """The other language first, one sentence, a picture with its legend, three commands, the tree of outputs."""
    lines = (ROOT / name).read_text().splitlines()
    assert lines[0] == "# fightpose"
    assert "README" in lines[2]
    text = "\n".join(lines)
    # In this order, and all of it above the questions.
    places = [
        text.index(part) for part in ("![", "\n*", "make demo", "fightpose annotate", "fightpose review", "/data/out\n")
    ]
    assert places == sorted(places)
    commands, tree = FENCE.findall(text)[:2]
    assert len(commands.splitlines()) - 2 == 3
    assert tree.splitlines()[1] == "/data/out"


@pytest.mark.parametrize("name", READMES)
def test_the_table_of_everyday_options_has_eight_rows(name):
    """No more: what is rarer belongs on the page of options."""
    rows = re.findall(r"^\| `--.*\|$", (ROOT / name).read_text(), re.M)
    assert len(rows) == 8


def test_the_changelog_is_by_added_changed_fixed():
    """Every version has those headings, in this order, and every line is below one of them."""
    versions = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)
    assert versions[0].strip() == "# Changelog"
    for version in versions[1:]:
        before, *parts = re.split(r"^### ", version, flags=re.M)
        assert len(before.strip().splitlines()) == 1, before
        assert [part.splitlines()[0] for part in parts] == ["Added", "Changed", "Fixed"]


@pytest.mark.parametrize("page", TWINS, ids=ids)
def test_a_korean_page_leads_to_korean_pages(page):
    """Where a page exists in Korean its Korean form is linked; links to English pages say so."""
    text, marked = page.read_text(), set()
    for match in re.finditer(r"\]\(([^)\s#]+\.md)", text):
        target = (page.parent / match[1]).resolve()
        # The page itself in English is linked at its top.
        if target.name.endswith(".ko.md") or target == page.with_name(page.name.replace(".ko.md", ".md")):
            continue
        assert not target.with_name(target.name.replace(".md", ".ko.md")).exists(), f"{target.name} has a Korean form"
        # The first time that it is linked is enough.
        assert target in marked or "영어" in text[match.end() : match.end() + 60], (
            f"{target.name} is not marked as English"
        )
        marked.add(target)


@pytest.mark.parametrize("kind", FindingKind)
def test_every_finding_is_explained(kind):
    """The page of each language has it, the Korean one also in the words of the program."""
    assert str(kind) in (ROOT / "docs/verify.md").read_text()
    korean = (ROOT / "docs/verify.ko.md").read_text()
    assert str(kind) in korean
    assert in_korean()[str(kind)] in korean


@pytest.mark.parametrize("reason", FailureReason)
def test_every_failure_reason_is_explained(reason):
    """With its meaning and what to do about it."""
    for name in ("verify.md", "verify.ko.md"):
        assert re.search(rf"^\| `{reason}` \| .+ \| .+ \|$", (ROOT / "docs" / name).read_text(), re.M)


def test_the_filters_of_the_review_page_are_called_as_on_the_page():
    """In both languages."""
    texts = [(ROOT / "docs" / name).read_text() for name in ("review.md", "review.ko.md")]
    for name in (
        "Uncertain ranking",
        "Likely ID switches",
        "Low quality",
        "Seldom seen",
        "Much filled in",
        "Teaches most first",
    ):
        assert re.search(rf"\b{name}\b", texts[0], re.I), name
        assert in_korean()[name] in texts[1], name


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in HISTORY], ids=ids)
def test_file_names_are_those_of_the_code(page):
    """A file that inline code or a block names is in the repository, or its name is in the code that writes it."""
    shown = page.read_text()
    spans = re.findall(r"`([^`\n]+)`", FENCE.sub("", shown)) + FENCE.findall(shown)
    for span in spans:
        for name in NAME.findall(span):
            # What comes before the last part of a name is the clip, or the folder; folds are numbered.
            base = re.sub(r"\.fold\d", "", re.split(r"[/<>*…]", name)[-1].lstrip("_-"))
            text, names = code()
            earlier = page.name.startswith("earlier-scripts") and base in EARLIER
            found = not base or earlier or base in OF_USERS or base in names or base in text
            # A bare message: the text would fill the screen.
            assert found, f"no file {name}"


def test_the_anchors_of_the_questions_exist():
    """`verify.md#splits-are-kept` and its like lead to headings, Korean ones too."""
    for page in PAGES:
        for name, anchor in re.findall(r"\]\(([^)\s#]*)#([^)\s]+)\)", page.read_text()):
            if "://" not in name:
                assert anchor in anchors(page.parent / name if name else page)
