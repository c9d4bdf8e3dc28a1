"""Builds the native parts from the checkout, so that what is tested is what is written there."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
NATIVE = TESTS.parents[1] / "core" / "native"

if importlib.util.find_spec("ocifw") is None:
    sys.path.insert(0, str(TESTS.parents[1] / "core" / "src"))
sys.path.insert(0, str(TESTS))

INIT_FLAGS = (
    "-std=c11 -Os -Wall -Wextra -Werror -ffreestanding -fno-stack-protector -fno-pie -nostdlib -static -no-pie "
    "-fno-asynchronous-unwind-tables"
).split()


def gcc(*arguments, compiler="gcc"):
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    command = [compiler, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def load_kernel(folder):
    """Build and import ocifw.linux._kernel, before the tests' modules import what needs it."""
    name = "ocifw.linux._kernel"
    if name in sys.modules:
        return
    path = folder / "_kernel.abi3.so"
    include = sysconfig.get_paths()["include"]
    if not Path(include, "Python.h").exists():
        pytest.skip(f"needs Python.h in {include}", allow_module_level=True)
    gcc("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{include}",
        NATIVE / "kernel.c", "-o", path)  # fmt: skip
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[name] = module


temporary = tempfile.TemporaryDirectory(prefix="ocifw-native-")
load_kernel(Path(temporary.name))


@pytest.fixture(scope="session")
def build_folder():
    folder = Path(temporary.name)
    subprocess.run(
        [sys.executable, NATIVE / "generate_ops.py", folder / "ops.h"], check=True, env={}
    )
    return folder


def build_init(folder, compiler, name):
    sources = sorted((NATIVE / "init").glob("*.c"))
    flags = [*INIT_FLAGS, f"-I{folder}", f"-I{NATIVE / 'init'}"]
    gcc(*flags, *sources, "-o", folder / name, compiler=compiler)
    return folder / name


@pytest.fixture(scope="session")
def init_path(build_folder):
    """ocifw-init, built for this machine."""
    return build_init(build_folder, "gcc", "ocifw-init")


@pytest.fixture(scope="session")
def kernel():
    """The extension module ocifw.linux._kernel."""
    return sys.modules["ocifw.linux._kernel"]


@pytest.fixture(scope="session")
def init_fd(init_path):
    from ocifw.linux.init import init_fd

    fd = init_fd(str(init_path))
    yield fd
    os.close(fd)


@pytest.fixture
def spawn(init_fd):
    """Start ocifw-init with steps: `spawn(steps, **fds)`; whatever is left of it at the end is killed."""
    from baton import Container

    started = []

    def start(steps, preserve_fds=0, **fds):
        container = Container(init_fd, steps, fds, preserve_fds)
        started.append(container)
        return container

    yield start
    # The last first: pid 1 of a pid namespace does not end before the others in it were waited for.
    for container in reversed(started):
        container.end()


@pytest.fixture
def box(spawn):
    """An image, and what is around it. Not below pytest's folder: that is closed to the ids of user namespaces."""
    from box import Box

    with tempfile.TemporaryDirectory(prefix="ocifw-box-") as folder:
        os.chmod(folder, 0o711)
        yield Box(spawn, Path(folder))


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
