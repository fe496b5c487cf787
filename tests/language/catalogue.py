"""Find the messages of the code and bring the catalogues up to date: `make catalogue`.

    python -m tests.language.catalogue

Messages are English texts in the code, f-strings included: the name of what a field holds becomes the field's name.
Taken are all errors and the reasons of failed clips, the values of variables called `info`, what is given to
`translated`, what the functions of `SPOKEN` build, the arguments of `_` and `n_` in the scripts of the review page and
in the templates of the report, and the headings of its tables and charts. Logs, help texts and what other programs say
stay English.
"""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po
from jinja2.ext import babel_extract

from tasks.core.errors import FailureReason
from tasks.language.catalogue import FOLDER, Language
from tasks.report.page import CHANGES, CLIPS, FAILED, UNCERTAIN_CLIPS
from tasks.report.tables import read_outputs
from tasks.report.write import all_charts

ROOT = Path(__file__).parents[2]

ERRORS = frozenset({"ClipError", "NoSuchClipError", "FightposeError"})
"""Their last argument says what is wrong and what to do, wherever they are raised."""

SPOKEN: dict[str, tuple[str, ...]] = {
    "flows/cli/files.py": ("training", "import_poses"),
    "flows/cli/output.py": ("finding_lines", "tell_files"),
    "flows/cli/progress.py": ("result_line", "_line_if_due", "_draw_total"),
    "flows/cli/running.py": (
        "STOPPED",
        "tell_outcome",
        "_wrong_lines",
        "_first",
        "_failure_lines",
        "_next_steps",
        "_tell_plan",
    ),
    "flows/cli/outputs.py": ("retry_failed",),
    "flows/runs/local.py": ("workers_line",),
    "flows/runs/plan.py": ("work_words",),
    "flows/runs/mending.py": ("verify_and_mend",),
    "flows/review/app.py": ("_refusal",),
    "tasks/annotations/convert/windows.py": ("lines",),
    "tasks/clips/discovery.py": ("warnings",),
    "tasks/clips/given_splits.py": ("check_given", "divided_groups", "_source"),
    "tasks/clips/labels.py": ("unnamed_warning", "case_warnings", "class_warnings"),
    "tasks/clips/names.py": ("report",),
    "tasks/clips/near_copies.py": ("near_warnings",),
    "tasks/clips/same_content.py": ("contradictions", "copy_warnings"),
    "tasks/core/settings/file.py": ("said", "without_effect"),
    "tasks/mapping/findings.py": ("FindingKind", "headline", "lines"),
    "tasks/mapping/merged.py": ("merge_outputs",),
    "tasks/mapping/verify.py": ("*",),
    "tasks/report/tables.py": ("UNCERTAIN",),
    "tasks/report/write.py": (
        "_made_lines",
        "summary_text",
        "_text_chart",
        "_uncertain_lines",
        "_problem_lines",
        "_change_lines",
        "_rest",
        "change_words",
    ),
    "tasks/tuning/tune.py": ("lines", "_per_source", "_advice"),
    "tasks/review/apply.py": ("lines",),
    "tasks/review/corrections.py": ("*",),
    "tasks/review/log.py": ("_once_each", "_two_people", "words"),
}
"""Functions, classes and constants whose texts are messages, by file; `*` is all."""

HEADER = """\
# What fightpose says to people, by its English text. `make catalogue` adds messages that
# are new in the code and removes those that are gone; fields in braces stay as they are."""

OTHERS = (
    "{count} clip",
    "{count} clips",
    "{count} finding",
    "{count} findings",
    "{count} input",
    "{count} inputs",
    "{count} recorded failure",
    "{count} recorded failures",
    "{count} annotated, {count2} unchanged, {count3} failed",
    *FailureReason,
    "no run has reached this clip yet",
    "role",
    "order",
    "merge",
    "split",
    "swap",
    "drop",
    "warning: {line}",
    # What is left out of {what} and {advice}.
    "label pattern",
    "group pattern",
    "no clips",
    "clips of one class only",
    "there is no column {error}",
    # A setting, or a clip, and what is wrong with it.
    "{where}: {check}",
    "; did you mean [{near}]?",
    "; did you mean {near} in [{homes}]?",
    "; [{parts}] has {join}",
    "; there are {join}",
    "one camera",
    "{count} cameras",
    "{count} row",
    "{count} rows",
    "use --device cpu",
    "use --device cpu or --precision fp32",
    "no NVIDIA GPU",
    "no CUDA device that torch can use",
    # Headings of the report.
    *(heading for columns in (CLIPS, UNCERTAIN_CLIPS, FAILED, CHANGES) for heading, _, _ in columns),
    *(chart.title for chart in all_charts(read_outputs(Path(__file__).parent))),
)
"""Messages that the code puts together from parts."""


def messages() -> dict[str, list[tuple[str, int]]]:
    """Return every message with the places that it comes from."""
    found: dict[str, list[tuple[str, int]]] = {text: [] for text in OTHERS}
    for path in sorted(p for top in ("flows", "tasks") for p in (ROOT / top).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        # A check of settings raises what pydantic asks for.
        errors = ERRORS | {"ValueError"} if name.startswith("tasks/core/settings/") else ERRORS
        for text, line in _of_module(ast.parse(path.read_text()), SPOKEN.get(name, ()), errors):
            found.setdefault(text, []).append((name, line))
    return found


def page_messages() -> Iterator[tuple[str | tuple[str, str], str, int]]:
    """Yield the messages of the review page and the report, those with a plural as pairs, with file and line."""
    for path in sorted((ROOT / "flows/review/static").glob("*.js")):
        source = io.BytesIO(path.read_bytes())
        for line, text, *_ in extract("javascript", source, {"_": None, "n_": (1, 2)}):
            yield text, path.relative_to(ROOT).as_posix(), line
    # Jinja's own extractor reads the templates.
    for path in sorted((ROOT / "tasks/report/templates").glob("*.j2")):
        for line, _, text, *_ in babel_extract(io.BytesIO(path.read_bytes()), ["_"], [], {}):
            yield str(text), path.relative_to(ROOT).as_posix(), line


def _of_module(tree: ast.Module, spoken: tuple[str, ...], errors: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Yield the messages of one module, with their lines."""
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        called = getattr(node.func, "id", "") if isinstance(node, ast.Call) and node.args else ""
        if called in errors:
            yield from _texts(node.args[-1], constants)  # type: ignore[attr-defined]
        elif called == "translated":
            # A single word as well: here it is meant as a message.
            text = node.args[0]  # type: ignore[attr-defined]
            yield from [(text.value, text.lineno)] if isinstance(text, ast.Constant) else _texts(text, constants)
        for root in _roots(node, spoken):
            yield from _texts(root, constants)


def _roots(node: ast.AST, spoken: tuple[str, ...]) -> Iterator[ast.AST]:
    """Yield the parts of the tree below a node of which all texts are messages."""
    if isinstance(node, ast.Assign):
        names = {getattr(target, "id", "") for target in node.targets}
        if names & {"info", *spoken}:
            yield node.value
    named = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in spoken
    # Statements after the docstring.
    if named or (isinstance(node, ast.FunctionDef) and "*" in spoken):
        yield from node.body[1:]  # type: ignore[attr-defined]


def _texts(root: ast.AST, constants: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Yield the texts in a part of the tree: f-strings whole, and sentences within their fields."""
    inside = set()
    for node in ast.walk(root):
        if isinstance(node, ast.JoinedStr):
            inside.update(id(part) for part in node.values if isinstance(part, ast.Constant))
            # The width of a field is no text.
            inside.update(
                id(part)
                for field in node.values
                if isinstance(field, ast.FormattedValue) and field.format_spec is not None
                for part in ast.walk(field.format_spec)
            )
            # A text with braces of its own (JSON, for instance) is no message.
            if not any(isinstance(part, ast.Constant) and "{" in str(part.value) for part in node.values):
                yield from _sentence(_form(node, constants), node.lineno)
        # Names, keys and separators have no blank between letters.
        elif (
            isinstance(node, ast.Constant)
            and id(node) not in inside
            and re.fullmatch(r"[^{]*\w[,;:]? \w[^{]*", str(node.value))
        ):
            yield from _sentence(str(node.value), node.lineno)


def _sentence(text: str, line: int) -> Iterator[tuple[str, int]]:
    """Yield a text, unless it holds no words of its own, or is a line of the log or the end of another text."""
    if text.startswith((";", ",", "%s", "^")):
        return
    if re.search(r"[A-Za-z]{2}", re.sub(r"\{\w+\}", "", text)) or text.startswith("{kind}"):
        yield text, line


def _form(node: ast.JoinedStr, constants: dict[str, str]) -> str:
    """Return an f-string as a message with named fields."""
    text, used = "", set()
    for part in node.values:
        if isinstance(part, ast.Constant):
            text += str(part.value)
        elif isinstance(part, ast.FormattedValue):
            if isinstance(part.value, ast.Name) and part.value.id in constants:
                text += constants[part.value.id]
                continue
            name = field = _name(part.value)
            # A second field of the same name is numbered.
            while field in used:
                field = f"{name}{int(field[len(name) :] or 1) + 1}"
            used.add(field)
            text += "{" + field + "}"
    return text


def _name(node: ast.expr) -> str:
    """Return a name for what a field holds."""
    if isinstance(node, ast.Call):
        function = getattr(node.func, "id", getattr(node.func, "attr", "value"))
        # Escaping and shortening change the look of a value, not what it is.
        return (
            _name(node.args[0])
            if function in {"field_text", "printable", "str", "len"} and node.args
            else function.strip("_")
        )
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    return getattr(node, "id", getattr(node, "attr", "value")).strip("_").lower()


def catalogue() -> Catalog:
    """Return the messages of the code as a catalogue without translations."""
    template = Catalog(project="fightpose", fuzzy=False)
    for text, places in sorted(messages().items()):
        # Without line numbers: they would change with every edit of a file.
        template.add(text, locations=[(name, None) for name in sorted({name for name, _ in places})])
    for text, name, _ in page_messages():
        template.add(text, locations=[(name, None)])
    return template


def update() -> None:
    """Bring the catalogue of each language up to date; messages that are gone are removed."""
    for language in [one for one in Language if one != Language.ENGLISH]:
        path = FOLDER / language / "LC_MESSAGES/fightpose.po"
        known = Catalog(locale=language, project="fightpose", copyright_holder="", header_comment=HEADER)
        if path.exists():
            with path.open("rb") as file:
                known = read_po(file, locale=language)
        known.update(catalogue(), no_fuzzy_matching=True, update_header_comment=False)
        known.header_comment, known.fuzzy = HEADER, False
        known.obsolete.clear()
        buffer = io.BytesIO()
        write_po(buffer, known, width=110, omit_header=False, include_lineno=False, sort_by_file=True)
        # The dates of the header would change with every call.
        changing = (
            "-Date: ",
            "-Translator: ",
            "-Team: ",
            "Report-Msgid-Bugs-To: ",
            "Project-Id-Version: ",
            "Generated-By: ",
        )
        lines = [line for line in buffer.getvalue().decode().splitlines() if not any(name in line for name in changing)]
        path.write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    update()
