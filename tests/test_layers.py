"""The packages import one way: towards `tasks.core`, as docs/architecture.md draws them."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the bottom up: a package imports itself and packages on lines above its own. Those on one line are independent.
LAYERS = (
    ("tasks.core",),
    ("tasks.language",),
    ("tasks.clips", "tasks.video"),
    ("tasks.tracking",),
    ("tasks.regions",),
    ("tasks.involvement",),
    ("tasks.annotations",),
    ("tasks.overlay", "tasks.poses"),
    ("tasks.mapping",),
    ("tasks.report", "tasks.training"),
    ("tasks.steps",),
    ("tasks.review",),
    ("tasks.tuning",),
    ("flows.engine", "flows.prefect_server"),
    ("flows.runs", "flows.review"),
    ("flows",),
    ("flows.cli",),
)
PLACES = {package: number for number, layer in enumerate(LAYERS) for package in layer}


def package_of(module: str) -> str:
    """Return the package of `LAYERS` that a module belongs to."""
    first_two = ".".join(module.split(".")[:2])
    return first_two if first_two in PLACES else module.split(".")[0]


def imported(path: Path) -> set[str]:
    """Return the project's own modules that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {name for name in found if name.split(".")[0] in {"flows", "tasks"}}


@pytest.mark.parametrize(
    "path",
    sorted(p for top in ("flows", "tasks") for p in (ROOT / top).rglob("*.py")),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_imports_never_run_back(path):
    """Also imports inside functions."""
    own = package_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    back = {
        name
        for name in imported(path)
        if (other := package_of(name)) != own and other in PLACES and name != "tasks" and PLACES[other] >= PLACES[own]
    }
    assert not back


FOREIGN = {"_exit", "_get_bin_enc", "_pose_feats_to_heatmaps", "_create_container_args", "_core", "_private"}
"""Private names of other packages that tests have to use."""


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_use_public_names_only(path):
    """A test that reaches inside breaks with every change inside, and hides that something should be public."""
    private = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in {"flows", "tasks"}:
            private += [alias.name for alias in node.names if alias.name.startswith("_")]
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
            private += [] if own or node.attr in FOREIGN else [node.attr]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # Targets of monkeypatch.
            private += re.findall(r"^(?:flows|tasks)\.[\w.]+\._[a-z]\w*$", node.value)
    assert private == []
