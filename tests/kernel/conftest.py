"""Steps of plugins on the real kernel: the fixtures of tests/native, and the plugins of the checkout."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import traceback
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]


def load_native_conftest():
    """tests/native/conftest.py as a module: it builds the native parts, and makes `baton` importable."""
    name = "ocifw_native_conftest"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, TESTS / "native" / "conftest.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


for folder in sorted((TESTS.parent / "plugins").iterdir()):
    if importlib.util.find_spec(f"ocifw_{folder.name}") is None:
        sys.path.insert(0, str(folder / "src"))

native = load_native_conftest()
build_folder, init_path, init_fd, spawn = (
    native.build_folder,
    native.init_path,
    native.init_fd,
    native.spawn,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def context(tmp_path):
    """What runtime steps are applied with, for a container `box`; its pid is set by the test."""
    from ocifw.context import Context

    return Context("box", str(tmp_path), str(tmp_path / "state"))


@pytest.fixture
def in_child():
    """Run a function in a throw-away process; its exception is the test's: `in_child(function, uid=1)`.

    uid: become this user, with the gid of the same number and no groups, before; `first` runs as root before that.
    """

    def run(function, uid=0, first=lambda: None):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                first()
                if uid:
                    os.setgroups([])
                    os.setresgid(uid, uid, uid)
                    os.setresuid(uid, uid, uid)
                    # Becoming another user has made the process's own files in /proc root's.
                    from ocifw.linux.process import PR_SET_DUMPABLE, prctl

                    prctl(PR_SET_DUMPABLE, 1)
                function()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    return run


@pytest.fixture
def public_folder():
    """A folder that the root of a user namespace may search, which pytest's own is not. No mount is made in it."""
    with tempfile.TemporaryDirectory(prefix="ocifw-whole-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture(scope="session")
def rootfs():
    """A root filesystem of busybox for all tests: see whole.py."""
    import whole

    with tempfile.TemporaryDirectory(prefix="ocifw-rootfs-") as folder:
        os.chmod(folder, 0o755)
        yield whole.make_rootfs(Path(folder) / "rootfs")
