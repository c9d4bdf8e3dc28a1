"""Attacks through the command line: the fixtures of tests/conformance, and a host to protect."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest


def load_conformance_conftest():
    """tests/conformance/conftest.py as a module of its own: pytest gives its fixtures only to its folder."""
    name = "ocifw_conformance_conftest"
    if name not in sys.modules:
        path = Path(__file__).resolve().parents[1] / "conformance" / "conftest.py"
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


conformance = load_conformance_conftest()
globals().update(
    {
        name: value
        for name, value in vars(conformance).items()
        if type(value).__name__ == "FixtureFunctionDefinition"
    }
)


def pytest_collection_modifyitems(config, items):
    for item in items:
        if "security" in item.path.parts:
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="needs root"))
            elif config.getoption("--runtime"):
                item.add_marker(pytest.mark.skip(reason="ocifw's own behaviour"))


class Victim:
    """A folder of the host that no container may change: `assert victim.untouched()`."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        (folder / "ptmx").write_text("keep")
        (folder / "null").write_text("keep")
        (folder / "file").write_text("keep")
        (folder / "below").mkdir()
        # How a link in a root at any depth names it from the host's view.
        self.up = Path("../" * 30 + str(folder).lstrip("/"))
        self.before = self.tree()

    def tree(self):
        found = {}
        for path in sorted(self.folder.rglob("*")):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[path.name] = (
                status.st_mode,
                status.st_uid,
                status.st_gid,
                status.st_rdev,
                content,
            )
        return found

    def untouched(self):
        return self.tree() == self.before


@pytest.fixture
def victim(tmp_path):
    return Victim(tmp_path / "victim")


class Image:
    """A bundle whose root filesystem the attacker made: writable, and with every capability unless a test says less."""

    def __init__(self, bundle):
        self.bundle = bundle
        self.root = Path(bundle.config["root"]["path"])
        bundle.config["root"]["readonly"] = False
        self.process, self.linux, self.config = bundle.process, bundle.linux, bundle.config

    def without_mount(self, *destinations):
        mounts = self.config["mounts"]
        self.config["mounts"] = [
            mount for mount in mounts if not mount["destination"].startswith(destinations)
        ]
        return self

    def mount(self, destination, kind="tmpfs", source="tmpfs", *options):
        entry = {
            "destination": destination,
            "type": kind,
            "source": str(source),
            "options": list(options),
        }
        self.config["mounts"].append(entry)

    def link(self, path, target):
        """Put a symbolic link into the root, in place of what is there."""
        link = self.root / path
        if link.is_dir() and not link.is_symlink():
            link.rmdir()
        else:
            link.unlink(missing_ok=True)
        link.symlink_to(target)

    def sh(self, script):
        return self.bundle.sh(script)

    def write(self):
        return self.bundle.write()


@pytest.fixture
def image(make_bundle):
    return Image(make_bundle(rootfs=True))
