"""What the default install brings: locked with hashes, under licences that can be lived with."""

from __future__ import annotations

import re
from importlib.metadata import Distribution

import pytest
from packaging.utils import canonicalize_name

from tests.supply_chain import LOCK, ROOT, direct_requirements, installed_closure, licence_of, licence_page, locked


def test_the_lock_file_satisfies_pyproject():
    """A bound that changes there must be followed here (`make lock`)."""
    versions = locked()
    for requirement in direct_requirements():
        version, _ = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: {version} is locked"


def test_the_lock_file_is_complete():
    """Every package that the default install has on this machine is in it, dependencies of dependencies included."""
    assert installed_closure().keys() - locked().keys() == set()


def test_every_locked_package_has_hashes_and_none_a_place():
    """Where packages come from is the user's configuration; what they are is checked."""
    packages = locked()
    assert len(packages) > 50
    assert [name for name, (_, hashes) in packages.items() if hashes == 0] == []
    assert not re.search(r"://|--(extra-)?index-url|--find-links", LOCK.read_text(encoding="utf-8"))


def test_both_lock_files_agree():
    """What the tests run on is what is delivered: one version of each package, and torch in neither."""
    both = [
        dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in ("requirements.lock", "requirements-dev.lock")
    ]
    delivered, tested = both
    assert {name: tested.get(name) for name in delivered} == delivered
    # Plain torch brings gigabytes of CUDA; only `make install-mmpose` wants it.
    assert "torch" not in tested


@pytest.mark.parametrize("name", sorted(installed_closure()))
def test_no_package_is_under_the_agpl(name):
    """Nor silent about its licence."""
    licence = licence_of(installed_closure()[name])
    assert not re.search(r"AGPL|Affero", licence, re.IGNORECASE)
    assert licence != "not stated"


def test_gpl_stands_only_where_it_is_known():
    """One package leaves the choice to its user; a second one would need a look."""
    gpl = {name for name, package in installed_closure().items() if re.search(r"(?<!L)GPL", licence_of(package))}
    assert gpl <= {"text-unidecode"}


def test_an_agpl_package_would_be_seen(tmp_path):
    """By expression, classifier or free text."""
    for line in ("License-Expression: AGPL-3.0-only", "License: GNU Affero General Public License"):
        (tmp_path / "METADATA").write_text(f"Metadata-Version: 2.4\nName: x\nVersion: 1\n{line}\n")
        assert re.search(r"AGPL|Affero", licence_of(Distribution.at(tmp_path)))


def test_the_licence_page_lists_what_is_installed():
    """Only packages that other platforms or Python versions have, or lack, may differ."""
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| ([a-z0-9-]+) \|", page, re.MULTILINE)) - {"package"}
    assert len(listed ^ installed_closure().keys()) <= 8, "run `make licences`"
    assert page.startswith(licence_page()[:200])
