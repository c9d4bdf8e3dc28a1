"""`ocifw plugin new NAME`: a complete project for a plugin, which installs, runs and passes its tests as it is."""

from __future__ import annotations

from pathlib import Path

from . import __version__, hookspecs
from .errors import OcifwError, errno_text
from .plugins import FIRST_PARTY

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def new(name: str, folder: str = "") -> list[Path]:
    """Make the project in `folder`, by default `./ocifw-NAME`; returns its files. Nothing that is there is overwritten.

    Raises OcifwError for a name that cannot be one, or a folder that has something in it.
    """
    if (
        not name
        or not _LETTERS.issuperset(name)
        or not name[0].isalpha()
        or name[-1] == "-"
        or "--" in name
    ):
        raise OcifwError(f"{name!r} is no name of a plugin: a-z, 0-9, and - between them")
    if name in FIRST_PARTY or name in ("core", "minimal"):
        raise OcifwError(f"{name} is a part of ocifw: choose another name")
    root = Path(folder or f"ocifw-{name}")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise OcifwError(f"{root} exists and is not empty")
    made = []
    try:
        for path, text in files(name).items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            made.append(target)
    except OSError as error:
        raise OcifwError(f"{error.filename}: {errno_text(error.errno or 0)}") from error
    return made


def files(name: str) -> dict[str, str]:
    """The project's files, by path."""
    module = f"ocifw_{name.replace('-', '_')}"
    values = {
        "NAME": name,
        "MODULE": module,
        "SERIES": ".".join(__version__.split(".")[:2]),
        "API": hookspecs.API_VERSION.split(".")[0],
    }
    found = {}
    for path, text in _FILES.items():
        for key, value in values.items():
            path, text = path.replace(f"@{key}@", value), text.replace(f"@{key}@", value)
        found[path] = text
    return found


_FILES = {
    "pyproject.toml": """\
[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "ocifw-@NAME@"
version = "0.1.0"
description = "A plugin of ocifw"
readme = "README.md"
requires-python = ">=3.11"
classifiers = ["Private :: Do Not Upload"]
dependencies = ["ocifw-core==@SERIES@.*"]

# The name in front is what a plugin set calls it.
[project.entry-points.ocifw]
@NAME@ = "@MODULE@.plugin"

[dependency-groups]
test = ["pytest", "ocifw"]

[tool.hatch.build.targets.wheel]
packages = ["src/@MODULE@"]

[tool.pytest.ini_options]
testpaths = ["tests"]
filterwarnings = ["error"]
""",
    "src/@MODULE@/__init__.py": '''\
"""ocifw-@NAME@: a plugin of ocifw."""
''',
    "src/@MODULE@/py.typed": "",
    "src/@MODULE@/plugin.py": '''\
"""The hooks of ocifw-@NAME@, in the order of a container's life: `ocifw.hookspecs` tells which there are.

Here stand hooks and nothing else; what they call stands in modules beside this one. Import at the top only what every start may
cost: neither json, re, typing nor the like (`ocifw plugins verify` tells).
"""

from __future__ import annotations

from ocifw import hookimpl
from ocifw.steps import WriteFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw.context import Request
    from ocifw.steps import ContainerStep

api = "@API@"


@hookimpl
def ocifw_rootfs(settings: dict[str, Any], request: Request) -> Iterator[ContainerStep]:
    """Write a file that tells the container's id, into /run of the container.

    A hook answers with steps and does nothing itself. `settings` is what a profile says to this plugin:

        plugins:
          @NAME@: { path: /run/container-id }
    """
    path = settings.get("path", "/run/container-id")
    yield WriteFile(path, f"{request.id}\\n".encode(), at="annotations")


@hookimpl
def ocifw_settings_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"path": {"type": "string", "pattern": "^/"}},
        "additionalProperties": False,
    }
''',
    "tests/test_plugin.py": '''\
"""Plans are compared as values, without root; one container is real."""

from __future__ import annotations

from ocifw.steps import WriteFile
from ocifw.testing import PluginContract, config_of, steps_of

PLUGIN = "@MODULE@.plugin"


class TestContract(PluginContract):
    """What every plugin of ocifw keeps to."""

    plugin = PLUGIN


def test_the_id_is_written():
    """The container finds its id in /run/container-id."""
    assert steps_of(PLUGIN) == [WriteFile("/run/container-id", b"box\\n")]


def test_the_path_is_a_setting():
    """A profile says where."""
    settings = {"@NAME@": {"path": "/id"}}
    assert steps_of(PLUGIN, settings=settings) == [WriteFile("/id", b"box\\n")]


def test_in_a_real_container(real_containers):
    """A container that runs with the plugin reads its own id."""
    real_containers.set("mine", {"@NAME@": True})
    config = config_of("plain")
    config["mounts"].append({"destination": "/run", "type": "tmpfs", "source": "tmpfs"})
    done = real_containers.run("cat /run/container-id", config, "--set", "mine")
    assert (done.status, done.out) == (0, real_containers.ids[0] + "\\n"), done.err
''',
    "README.md": """\
# ocifw-@NAME@

A plugin of ocifw, the OCI container runtime that is built as a framework of plugins. It writes the
container's id into `/run/container-id` of the container.

## Use

Installing the package changes nothing: a plugin runs when a plugin set names it. In `/etc/ocifw/sets.d/default.yaml`:

    plugins:
      @NAME@: true

Then `ocifw plugins list` shows it as active.

## Develop

    python3 -m venv .venv
    .venv/bin/pip install ocifw pytest
    .venv/bin/pip install .
    .venv/bin/python -m pytest

ocifw loads plugins from the folder that it is installed in, and nothing else: install again after a change.
""",
    ".gitignore": ".venv/\n__pycache__/\ndist/\n",
    ".github/workflows/test.yml": """\
name: test
on: [push, pull_request]
permissions: {}
jobs:
  test:
    runs-on: ubuntu-latest
    strategy:
      matrix:
        python: ["3.11", "3.13"]
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: ${{ matrix.python }}
      - run: python -m venv .venv && .venv/bin/pip install ocifw pytest . && .venv/bin/python -m pytest
      # As root, the tests with real containers run, too.
      - run: sudo .venv/bin/python -m pytest -k real
""",
}
