"""What each hot verb imports while it does its work: start-up time is a feature."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ocifw

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

FORBIDDEN = (
    "json re enum typing dataclasses inspect argparse logging pathlib subprocess tempfile importlib.metadata ctypes"
    " pluggy ruamel.yaml jsonschema pyroute2 socket signal contextlib collections functools shutil"
    " importlib.util urllib hashlib random threading traceback textwrap platform"
).split()  # fmt: skip

RUN = """
import sys
sys.path.append(sys.argv[1])
from ocifw.cli import main
status = main(sys.argv[3:], "ocifw")
with open(sys.argv[2], "w") as file:
    file.write("\\n".join([str(status), *sorted(sys.modules)]))
"""

CONFIG = {
    "ociVersion": "1.0.2",
    "process": {
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/sleep", "1000"],
        "env": ["PATH=/bin"],
        "cwd": "/",
        "capabilities": {kind: ["CAP_KILL"] for kind in ("bounding", "effective", "permitted")},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 256, "hard": 256}],
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "box",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "mode=755"],
        },
    ],
    "linux": {
        "resources": {
            "devices": [{"allow": False, "access": "rwm"}],
            "memory": {"limit": 1 << 26},
            "cpu": {"shares": 512},
            "pids": {"limit": 100},
        },
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [
                {"names": ["swapon", "swapoff"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
                {
                    "names": ["personality"],
                    "action": "SCMP_ACT_ERRNO",
                    "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}],
                },
            ],
        },
    },
}


@pytest.fixture
def command(tmp_path):
    """Run a command line in an interpreter as the entry program starts it. Returns the modules it imported."""
    library = str(Path(ocifw.__file__).parents[1])
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("needs busybox-static")
    bin_folder = tmp_path / "rootfs/bin"
    bin_folder.mkdir(parents=True)
    for name in ("proc", "dev"):
        (tmp_path / "rootfs" / name).mkdir()
    shutil.copy(busybox, bin_folder / "busybox")
    for name in ("sleep", "true"):
        (bin_folder / name).symlink_to("busybox")
    config = {
        **CONFIG,
        "linux": {**CONFIG["linux"], "cgroupsPath": f"/ocifw-imports-{os.getpid()}"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))

    def run(*words):
        reap()
        found, output = tmp_path / "modules", tmp_path / "output"
        interpreter = [sys.executable, "-I", "-S", "-c", RUN, library, found]
        # Into a file: the container would hold a pipe open.
        with output.open("wb") as file:
            done = subprocess.run(
                [*interpreter, "--root", tmp_path / "state", *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                check=False,
                timeout=20,
            )
        status, *modules = found.read_text().split("\n")
        assert (done.returncode, status) == (0, "0"), output.read_text()
        return set(modules)

    yield run
    run("delete", "--force", "box")


def reap():
    """Take the status of orphans, where another test has made this process their parent: a container waits for that."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def test_hot_verbs_import_little(command, tmp_path):
    """Every verb that an engine calls often does its whole work without a slow module."""
    create = ("create", "--bundle", tmp_path, "box")
    # The first command may have to link the plugins.
    command(*create)
    command("delete", "--force", "box")
    found = {}
    for words in (
        create,
        ("state", "box"),
        ("start", "box"),
        ("exec", "box", "/bin/true"),
        ("exec", "--detach", "--pid-file", tmp_path / "pid", "box", "/bin/true"),
        ("ps", "box"),
        ("ps", "--format", "json", "box"),
        ("update", "--pids-limit", "90", "box"),
        ("pause", "box"),
        ("resume", "box"),
        ("list",),
        ("kill", "box", "KILL"),
        ("delete", "--force", "box"),
        ("run", "--detach", "--bundle", tmp_path, "box"),
        ("delete", "--force", "box"),
    ):
        imported = command(*words)
        assert "ocifw.cli" in imported
        wrong = imported.intersection(FORBIDDEN)
        if wrong:
            found[" ".join(map(str, words[:2]))] = sorted(wrong)
    assert found == {}
