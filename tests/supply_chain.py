"""What the default install brings with it: `python -m tests.supply_chain` prints docs/licences.md."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]

LOCK = ROOT / "requirements.lock"

HEAD = """# Licences of what `make install` brings

Made by `make licences` from the packages' own metadata; the platform's part of it may differ elsewhere. None is under
the AGPL. The PyAV wheel (`av`) is BSD itself and carries FFmpeg with libx264 and libx265 inside, which are under the
GPL 2 or later: whoever hands that wheel on, in an image for instance, hands on GPL software. `text-unidecode` leaves
the choice between the Artistic License and the GPL.

| package | licence |
|---|---|
"""


def direct_requirements() -> list[Requirement]:
    """Return the requirements of the default install as pyproject.toml states them."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [Requirement(line) for line in data["project"]["dependencies"]]


def installed_closure() -> dict[str, Distribution]:
    """Return all packages of the default install on this machine by name, those of dependencies included.

    Raises
    ------
    PackageNotFoundError
        If one is not installed.
    """
    waiting = [(requirement, frozenset({""})) for requirement in direct_requirements()]
    found: dict[str, Distribution] = {}
    seen = set()
    while waiting:
        requirement, extras = waiting.pop()
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        name = canonicalize_name(requirement.name)
        wanted = frozenset({"", *requirement.extras})
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        found[name] = distribution(name)
        waiting += [(Requirement(line), wanted) for line in found[name].requires or []]
    return found


def licence_of(package: Distribution) -> str:
    """Return a package's licence in one line: its expression, else its classifiers, else the text's first line."""
    data = package.metadata
    if expression := data.get("License-Expression"):
        return str(expression)
    classified = [
        line.rpartition(" :: ")[2] for line in data.get_all("Classifier", []) if line.startswith("License ::")
    ]
    stated = str(data.get("License") or "").strip().partition("\n")[0]
    return ", ".join(name for name in classified if name != "OSI Approved") or stated or "not stated"


def locked() -> dict[str, tuple[str, int]]:
    """Return version and number of hashes of each package in the lock file."""
    result = {}
    for block in re.split(r"\n(?=\S)", LOCK.read_text(encoding="utf-8")):
        if match := re.match(r"([A-Za-z0-9._-]+)==([^ ;\\]+)", block):
            result[canonicalize_name(match[1])] = (match[2], len(re.findall(r"--hash=sha256:[0-9a-f]{64}", block)))
    return result


def licence_page() -> str:
    """Return docs/licences.md."""
    rows = sorted((name, licence_of(package)) for name, package in installed_closure().items())
    return HEAD + "".join(f"| {name} | {licence} |\n" for name, licence in rows)


if __name__ == "__main__":
    try:
        sys.stdout.write(licence_page())
    except PackageNotFoundError as error:
        sys.exit(f"{error}: run `make install` first")
