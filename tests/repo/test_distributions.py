"""Every distribution is complete, and they agree with each other."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib

import pytest

import ocifw


def load(path):
    return tomllib.loads(path.read_text())


@pytest.fixture(scope="module")
def plugins(repository):
    """The folders of the plugins."""
    return sorted(path for path in (repository / "plugins").iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def root(repository):
    """The meta package's pyproject.toml."""
    return load(repository / "pyproject.toml")


def test_every_plugin_is_a_distribution(plugins):
    """A plugin has a pyproject.toml named like its folder, a README, and one entry point to its plugin.py."""
    for folder in plugins:
        name = folder.name
        project = load(folder / "pyproject.toml")["project"]
        assert project["name"] == f"ocifw-{name}"
        assert project["entry-points"] == {"ocifw": {name: f"ocifw_{name}.plugin"}}
        assert (folder / "README.md").read_text().startswith(f"# ocifw-{name}\n")
        assert (folder / "src" / f"ocifw_{name}" / "__init__.py").exists(), name
        assert (folder / "src" / f"ocifw_{name}" / "plugin.py").exists(), name
        assert (folder / "src" / f"ocifw_{name}" / "py.typed").exists(), name


def test_the_meta_package_needs_every_part(plugins, root):
    """`pip install .` installs the core and every plugin, and nothing else."""
    wanted = {f"ocifw-{folder.name}": f"plugins/{folder.name}" for folder in plugins}
    wanted["ocifw-core"] = "core"
    given = dict(
        re.fullmatch(r"(\S+) \{env:OCIFW_PIN:@ \{root:uri\}/(.*)\}", requirement).groups()
        for requirement in root["project"]["dependencies"]
    )
    assert given == wanted


def test_mypy_knows_every_plugin(plugins, root):
    """The type checker finds every plugin's sources."""
    wanted = ["core/src", *(f"plugins/{folder.name}/src" for folder in plugins)]
    assert root["tool"]["mypy"]["mypy_path"] == [f"$MYPY_CONFIG_FILE_DIR/{path}" for path in wanted]


def test_one_version(plugins, root, repository):
    """All distributions have the version of the core, and plugins ask for the core of that series."""
    assert (
        f'__version__ = "{ocifw.__version__}"'
        in (repository / "core/src/ocifw/__init__.py").read_text()
    )
    series = ".".join(ocifw.__version__.split(".")[:2])
    assert root["project"]["version"] == ocifw.__version__
    for folder in plugins:
        project = load(folder / "pyproject.toml")["project"]
        assert project["version"] == ocifw.__version__, folder.name
        assert f"ocifw-core=={series}.*" in project["dependencies"], folder.name


def test_one_licence(plugins, repository):
    """Every distribution carries the licence it names."""
    text = (repository / "LICENSE").read_text()
    for folder in [repository / "core", *plugins]:
        assert (folder / "LICENSE").read_text() == text, folder.name
        assert load(folder / "pyproject.toml")["project"]["license"] == "Apache-2.0", folder.name


def test_what_is_imported_is_declared(plugins):
    """A plugin imports no other plugin: they meet in the plan."""
    for folder in plugins:
        others = "|".join(f"ocifw_{other.name}" for other in plugins if other != folder)
        pattern = re.compile(rf"^\s*(from|import) ({others})\b", re.MULTILINE)
        for path in folder.rglob("*.py"):
            assert not pattern.search(path.read_text()), path


def test_installed_entry_points(plugins):
    """Where ocifw is installed as a whole, its entry points are those of the checkout."""
    try:
        importlib.metadata.distribution("ocifw")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs an installed ocifw")
    points = importlib.metadata.entry_points(group="ocifw")
    assert {point.name for point in points} == {folder.name for folder in plugins}
