"""constraints.txt pins everything from elsewhere, with hashes and without addresses."""

from __future__ import annotations

import re
import tomllib

import pytest


@pytest.fixture(scope="module")
def lock(repository):
    """The lock's requirements: name to the whole requirement."""
    text = re.sub(r"\\\n", " ", (repository / "constraints.txt").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {re.split(r"[=\s]", line)[0]: line for line in lines}


def normal(requirement):
    """The name of a requirement, as package indexes normalise it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def test_every_requirement_is_pinned_with_hashes(lock):
    """Each line has one exact version and at least one SHA-256."""
    pattern = re.compile(r"[a-z0-9-]+==[\w.]+( ; [^-]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*")
    assert [line for line in lock.values() if not pattern.fullmatch(line)] == []


def test_no_addresses(repository):
    """The lock names no index and no file."""
    text = (repository / "constraints.txt").read_text()
    assert re.findall(r"://|index-url|find-links|@ ", text) == []


def test_everything_that_is_needed_is_locked(lock, repository):
    """What the distributions and the developer's tools ask for is in the lock."""
    root = tomllib.loads((repository / "pyproject.toml").read_text())
    needed = {normal(name) for group in root["dependency-groups"].values() for name in group}
    for path in [repository / "core", *(repository / "plugins").iterdir()]:
        project = tomllib.loads((path / "pyproject.toml").read_text())
        for requirement in project["project"]["dependencies"] + project["build-system"]["requires"]:
            needed.add(normal(requirement))
    needed = {name for name in needed if not name.startswith("ocifw")}
    assert sorted(needed - lock.keys()) == []
