"""Cgroups of an ordinary user on cgroup v2: made by the user's systemd, made below a delegated one, or none."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from ocifw.context import Host
from ocifw.errors import OcifwError
from ocifw_cgroups import hierarchies

FOREVER = "exec sleep 1000"
MB = 1 << 20


def is_delegated():
    """Whether we are in the cgroup of a systemd instance of our own."""
    try:
        layout = hierarchies.layout(Host())
    except OcifwError:
        return False
    own = layout.hierarchies[0].own
    return layout.unified and f"user@{os.geteuid()}.service" in own


pytestmark = pytest.mark.skipif(
    os.geteuid() == 0 or not is_delegated(),
    reason="needs cgroup v2 and an ordinary user with a systemd instance: ./dev vm --user",
)


@pytest.fixture
def bundle(bundle, runtime):
    """What `spec --rootless` makes, with limits, and in no cgroup in particular."""
    runtime("spec", "--rootless", cwd=bundle.path)
    rootfs = bundle.config["root"]["path"]
    bundle.config = json.loads((bundle.path / "config.json").read_text())
    bundle.config["root"]["path"] = rootfs
    bundle.process, bundle.linux = bundle.config["process"], bundle.config["linux"]
    bundle.process["terminal"] = False
    bundle.linux["resources"] = {"memory": {"limit": 64 * MB}, "pids": {"limit": 20}}
    return bundle


def cgroup(runtime, container_id):
    """The path of the container's cgroup, and its folder."""
    pid = runtime.state(container_id)["pid"]
    path = Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::")
    return path, Path(f"/sys/fs/cgroup{path}")


def shown(unit, *names):
    command = ["systemctl", "--user", "show", "--property", ",".join(names), unit]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = dict(line.split("=", 1) for line in done.stdout.splitlines())
    return [found[name] for name in names]


def test_systemd(runtime, bundle):
    """The user's systemd makes a scope with the limits; everything else works on it as for root."""
    runtime.options = ["--systemd-cgroup"]
    container_id = runtime.running(bundle.sh(FOREVER))
    unit = f"runc-{container_id}.scope"
    path, folder = cgroup(runtime, container_id)
    assert path.endswith(f"/user@{os.geteuid()}.service/user.slice/{unit}")
    assert (folder / "memory.max").read_text() == f"{64 * MB}\n"
    assert shown(unit, "MemoryMax", "TasksMax", "Delegate") == [str(64 * MB), "20", "yes"]
    runtime("update", "--pids-limit", "30", container_id)
    assert shown(unit, "TasksMax") == ["30"] and (folder / "pids.max").read_text() == "30\n"
    runtime("pause", container_id)
    assert runtime.status(container_id) == "paused"
    runtime("resume", container_id)
    assert runtime("exec", container_id, "cat", "/proc/self/cgroup").out == "0::/\n"
    runtime("delete", "--force", container_id)
    assert not folder.exists() and shown(unit, "LoadState") == ["not-found"]


def test_a_delegated_cgroup(runtime, bundle):
    """Without systemd's help the cgroup lies beside the runtime's own, where that is delegated."""
    container_id = runtime.running(bundle.sh(FOREVER))
    _, folder = cgroup(runtime, container_id)
    assert folder.name == container_id
    assert (folder / "pids.max").read_text() == "20\n"
    runtime("delete", "--force", container_id)
    assert not folder.exists()


def test_no_cgroup(runtime, bundle):
    """A container without limits needs none."""
    del bundle.linux["resources"]
    runtime.options = ["--cgroup-manager", "disabled"]
    assert runtime.run(bundle.sh("id -u")).out == "0\n"
