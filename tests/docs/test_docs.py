"""What the docs say is true: commands, options, links, file names, the worked example, and both languages alike."""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path

import click
import numpy as np
import pytest
import typer

from flows.cli.main import app
from tasks.core.region_layout import REGIONS
from tasks.core.settings import Settings
from tasks.regions import clip_weights
from tasks.regions.camera_weights import INITIAL_WEIGHTS
from tasks.regions.scores import region_scores_of_points

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "deployments").glob("*.md")])
TWINS = [page for page in PAGES if page.name.endswith(".ko.md")]
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
# It names what there was before.
HISTORY = {"CHANGELOG.md"}
# Of the scripts before this project, on the pages about them.
EARLIER_OPTIONS = {"--input"}
# What a page may name though it is in no tree: outputs, placeholders and files of the user.
PATH = re.compile(r"`((?:tasks|flows|tests|deployments|docker|docs)/[\w./-]+)`")


def ids(page: Path) -> str:
    """Name a page in the list of tests."""
    return str(page.relative_to(ROOT))


@functools.lru_cache
def commands() -> dict[str, click.Command]:
    """Return every command of the command line by its words: `models list`."""
    found: dict[str, click.Command] = {}

    def walk(command: click.Command, words: tuple[str, ...]) -> None:
        """Add a command, or those of a group."""
        subcommands = getattr(command, "commands", None)
        if subcommands is None:
            found[" ".join(words)] = command
        for name, sub in (subcommands or {}).items():
            walk(sub, (*words, name))

    walk(typer.main.get_command(app), ())
    return found


@functools.lru_cache
def options_of(name: str) -> frozenset[str]:
    """Return all spellings of a command's options; `annotate` makes those of the settings only when it is asked."""
    command = commands()[name]
    spellings = {"--help", "-h"}
    for parameter in command.get_params(click.Context(command)):
        spellings.update(parameter.opts)
        spellings.update(parameter.secondary_opts)
    return frozenset(spellings)


def command_lines(text: str) -> list[list[str]]:
    """Return the `fightpose` command lines of a page as words, from code blocks and from inline code.

    >>> command_lines("Run `fightpose verify OUT --deep` now.")
    [['verify', 'OUT', '--deep']]
    """
    lines = [line.strip() for block in FENCE.findall(text) for line in block.splitlines()]
    lines += [line.strip() for line in text.splitlines() if line.startswith("    ")]
    lines += re.findall(r"`((?:\.venv/bin/)?fightpose [^`]+)`", text)
    found = []
    for line in lines:
        match = re.match(r"(?:\.venv/bin/)?fightpose (.+)$", line)
        # Options in brackets are optional; what follows a # is a remark.
        if match:
            found.append(shlex.split(match[1].replace("[", "").replace("]", ""), comments=True))
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=ids)
def test_command_lines_are_understood(page):
    """Each is parsed as typed: the command, its options with their values, and the number of its arguments."""
    for words in command_lines(page.read_text()):
        if words[0].startswith("-") or words[0] in {"COMMAND", "..."}:
            continue
        length = 2 if " ".join(words[:2]) in commands() else 1
        name = " ".join(words[:length])
        if name not in commands():
            # A group of commands (`fightpose models`) lists what it has.
            assert any(key.split()[0] == name for key in commands()), f"no command: {words}"
            continue
        # Only a name in a sentence: `fightpose verify` needs no folder there.
        if len(words) > length:
            try:
                commands()[name].make_context(name, words[length:])
            except (click.exceptions.Exit, SystemExit):
                continue
            except Exception as error:
                pytest.fail(f"fightpose {shlex.join(words)}: {error}")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in HISTORY], ids=ids)
def test_options_named_in_the_text_exist(page):
    """Any inline code that begins with `--` is an option of some command."""
    known = frozenset(["--version", "--install-completion"]).union(*map(options_of, commands()))
    for code in re.findall(r"`(--[^`\n]+)`", FENCE.sub("", page.read_text())):
        named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", code))
        assert named <= known | (EARLIER_OPTIONS if page.name.startswith("earlier-scripts") else set())


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    }


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_and_paths_lead_somewhere(page):
    """Links within the repository, and paths of source files in inline code."""
    text = FENCE.sub("", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.exists(), f"no file {target}"
        assert not anchor or anchor in anchors(file), f"no heading {target}"
    if page.name != "CHANGELOG.md":
        for path in PATH.findall(text):
            # A file that its reader makes from docker/.env.example.
            assert path == "docker/.env" or (ROOT / path).exists(), f"no file {path}"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in {"CHANGELOG.md", "LICENSE.md"}], ids=ids)
def test_make_targets_exist(page):
    """Each `make TARGET` of a page is one of the Makefile."""
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M))
    text = page.read_text()
    named = set(re.findall(r"`make ([a-z0-9-]+)", text)) | set(re.findall(r"^ *make ([a-z0-9-]+)", text, re.M))
    assert named <= targets


@pytest.mark.parametrize("page", TWINS, ids=ids)
def test_both_languages_have_the_same_headings_tables_and_commands(page):
    """As many headings of each level, rows of each table and command lines, in the same order."""
    english = page.with_name(page.name.replace(".ko.md", ".md"))
    shapes = []
    for text in (page.read_text(), english.read_text()):
        plain = FENCE.sub("", text)
        headings = [len(marks) for marks in re.findall(r"^(#+) ", plain, re.M)]
        rows = [line.count(" | ") for line in plain.splitlines() if line.startswith("|")]
        pictures = [target.replace(".ko.md", ".md") for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", plain)]
        shapes.append((headings, rows, pictures, [words[0] for words in command_lines(FENCE.sub("", text)) if words]))
    assert shapes[0][:3] == shapes[1][:3]
    assert sorted(shapes[0][3]) == sorted(shapes[1][3])


def test_every_page_says_what_it_is_for_and_fits_on_two_screens():
    """A heading, then a sentence; pages for users have 110 lines at most."""
    for page in (ROOT / "docs").glob("*.md"):
        lines = page.read_text().splitlines()
        assert lines[0].startswith("# "), page.name
        assert lines[1] == "", page.name
        assert lines[2][:1] not in {"", "#", "|", "!", "`"}, page.name
        if page.name not in {"licences.md", "settings.md", "benchmarks.md"}:
            assert len(lines) <= 115, page.name


def numbers(row: str) -> list[float]:
    """Return the cells of a table row after the first as numbers."""
    return [float(cell.strip(" *").split(",")[-1]) for cell in row.strip("|").split("|")[1:]]


@pytest.mark.parametrize("name", ["regions.md", "regions.ko.md"])
class TestRegionsPage:
    """The numbers of the page on regions come out of the code."""

    def rows(self, name: str) -> list[str]:
        """Return the table rows of the page."""
        return [line for line in (ROOT / "docs" / name).read_text().splitlines() if line.startswith("|")]

    def test_start_weights(self, name):
        """One row per region, in the code's order."""
        table = [row.split("|") for row in self.rows(name) if row.startswith("| `") and "(" in row.split("|")[2]]
        assert [cells[1].strip(" `") for cells in table] == list(REGIONS)
        assert [float(cells[4]) for cells in table] == pytest.approx(list(INITIAL_WEIGHTS))

    def test_example_of_a_point(self, name):
        """A box centre at (352, 234) in a frame of 640 x 360."""
        scores = region_scores_of_points(np.array([(352.0, 234.0)]), 640, 360)[0]
        expected = {
            row.split("|")[1].strip(" `"): numbers(row)[1:]
            for row in self.rows(name)
            # Four columns, the last a number: the table of the example alone.
            if re.fullmatch(r"\| `\w+` \| [.\d, ]+ \| [.\d]+ \| [*.\d]+ \|", row)
        }
        assert set(expected) == {"bottom_right", "center_overlap"}
        for region, (score, weighted) in expected.items():
            at = REGIONS.index(region)
            assert scores[at] == pytest.approx(score, abs=0.0005)
            assert scores[at] * INITIAL_WEIGHTS[at] == pytest.approx(weighted, abs=0.0005)
        assert not scores[[REGIONS.index(region) for region in REGIONS if region not in expected]].any()

    def test_example_of_learning(self, name):
        """Two people; observed use and the weights after the first and the last round."""
        scores = np.array([(0, 0, 0.6, 0, 0.82), (0, 0, 0.5, 0, 0.80)])
        scoring = Settings().scoring
        observed = clip_weights.region_usage(scores)
        path = [INITIAL_WEIGHTS]
        for _ in range(scoring.region_rounds):
            updated = (1 - scoring.region_rate) * path[-1] + scoring.region_rate * observed
            path.append(updated / updated.max())
        # Six columns, five of them numbers with three decimals.
        table = [numbers(row) for row in self.rows(name) if re.fullmatch(r"\| [^|]+(\| \d?\.\d{3} ){5}\|", row)]
        assert len(table) == 4
        for cells, weights in zip(table, (path[0], observed, path[1], path[5]), strict=True):
            assert cells == pytest.approx(list(weights), abs=0.0006)

    def test_constants(self, name):
        """Rounds, rate, tolerance, number of tracks, shares, and what position is worth in the composite score."""
        text, scoring = (ROOT / "docs" / name).read_text(), Settings().scoring
        for value in (f"**{scoring.region_rounds}", f"**.{round(10 * scoring.region_rate)}**"):
            assert value in text
        assert f"**.0{round(100 * scoring.region_tolerance)}**" in text
        assert f"{scoring.region_tracks}" in text
        assert clip_weights.POSITION_SHARE == 0.6
        assert clip_weights.MOVEMENT_SHARE == 0.4
        total = sum(scoring.weights.values())
        assert f"{total:g}" in text
        assert f"**{100 * scoring.weights['position'] / total:.0f} %**" in text
