"""Real services in a Debian root filesystem. Only `./dev test-workloads` tries them: their Debian is made first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ASKED = os.environ.get("OCIFW_WORKLOADS") == "1"
SUITE = "trixie"
PACKAGES = ("nginx-light", "postgresql", "procps", "python3")
DOCKER = """CAP_AUDIT_WRITE CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_MKNOD CAP_NET_BIND_SERVICE
CAP_NET_RAW CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_CHROOT""".split()

collect_ignore = [] if ASKED else ["test_hardened.py"]

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS.parent / "packaging"))
import chroot  # noqa: E402

sys.path.pop(0)


def load_conformance_conftest():
    """tests/conformance/conftest.py as a module of its own: pytest gives its fixtures only to its folder."""
    import importlib.util

    name = "ocifw_conformance_conftest"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, TESTS / "conformance" / "conftest.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


globals().update(
    {
        name: value
        for name, value in vars(load_conformance_conftest()).items()
        if type(value).__name__ == "FixtureFunctionDefinition"
    }
)


@pytest.fixture(scope="session")
def debian(tmp_path_factory):
    """A Debian with the services, as their packages leave it. What is missing to make it is an error here."""
    archive = chroot.make(chroot.cache() / f"{SUITE}-workloads.tar", SUITE, PACKAGES)
    root = tmp_path_factory.mktemp("debian") / "root"
    chroot.unpack(archive, root)
    root.parent.chmod(0o755)
    yield root
    subprocess.run(["rm", "-rf", "--one-file-system", root], check=True)


@pytest.fixture
def service(bundle, debian):
    """A bundle of this Debian, read-only but for what services write to, with the capabilities that Docker gives."""
    bundle.config["root"] = {"path": str(debian), "readonly": True}
    bundle.config["mounts"] += [
        {"destination": path, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", mode]}
        for path, mode in (
            ("/tmp", "mode=1777"), ("/run", "mode=755"), ("/var/lib/postgresql", "mode=755"),
            ("/var/lib/nginx", "mode=755"), ("/var/log", "mode=755"),
        )
    ]  # fmt: skip
    sets = ("bounding", "effective", "permitted")
    bundle.process["capabilities"] = {kind: list(DOCKER) for kind in sets}
    return bundle
