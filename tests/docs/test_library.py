"""docs/library.md, word for word: its blocks are executed in order, on a bundle of busybox."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ROOT = '"/run/mine"'
BUNDLE = '"/srv/box"'


def config(*args):
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": list(args),
            "env": ["PATH=/bin"],
            "cwd": "/",
        },
        "root": {"path": "rootfs", "readonly": True},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
        },
    }


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.skipif(shutil.which("busybox") is None, reason="needs busybox-static")
def test_every_block_runs(repository, tmp_path):
    """The guide is true: what its blocks assert holds."""
    from ocifw import document

    rootfs = tmp_path / "box/rootfs"
    for name in ("bin", "proc", "dev", "sys"):
        (rootfs / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), rootfs / "bin/busybox")
    for name in ("sh", "sleep", "echo"):
        (rootfs / "bin" / name).symlink_to("busybox")
    (tmp_path / "box/config.json").write_text(document.dump(config("sleep", "1000")))
    (tmp_path / "box/hello.json").write_text(document.dump(config("echo", "hello")))
    text = "\n".join(BLOCK.findall((repository / "docs/library.md").read_text()))
    assert (text.count(ROOT), text.count(BUNDLE)) == (1, 1)
    text = text.replace(ROOT, repr(str(tmp_path / "state")))
    text = text.replace(BUNDLE, repr(str(tmp_path / "box")))
    command = [sys.executable, "-W", "error", "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert os.listdir(tmp_path / "state") == []
