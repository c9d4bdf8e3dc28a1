"""What the tests of plans share: the plugins of the checkout, requests, and a machine that is made up.

Planning imports `ocifw.linux`, whose extension module is built from the checkout where ocifw is not installed.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]


def load_native_conftest():
    """The fixtures and the build of tests/native, which put the core into sys.path and build `_kernel`."""
    name = "ocifw_native_conftest"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, TESTS / "native" / "conftest.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


for folder in sorted((TESTS.parent / "plugins").iterdir()):
    if importlib.util.find_spec(f"ocifw_{folder.name}") is None:
        sys.path.insert(0, str(folder / "src"))
if importlib.util.find_spec("ocifw") is None or not list(
    Path(importlib.util.find_spec("ocifw").origin).parent.glob("linux/_kernel*.so")
):
    load_native_conftest()


@pytest.fixture
def create_request():
    """A request to create container `box`; keyword arguments change it."""
    from ocifw.context import Request

    usual = {
        "operation": "create",
        "id": "box",
        "bundle": "/bundle",
        "rootfs": "/bundle/rootfs",
        "state_dir": "/run/ocifw/box",
    }
    return lambda **changes: Request(**{**usual, **changes})


@pytest.fixture
def exec_request(create_request):
    """A request to add a process to container `box`, whose process has pid 77: `exec_request(config)`."""
    from ocifw.container import Container

    def make(config, **changes):
        state = {"id": "box", "pid": 77, "bundle": "/bundle", "config": config, "notes": {}}
        container = Container("/run/ocifw/box", state)
        return create_request(operation="exec", container=container, **changes)

    return make


@pytest.fixture
def machine():
    """A made-up machine: `machine({path: content}, euid=0)`."""
    from ocifw.context import Host

    return lambda files=None, euid=0: Host(files or {}, euid)
