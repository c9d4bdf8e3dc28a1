"""Configs that nobody wrote, thrown at validate, plan and create: every answer is a message, and nothing is left behind.

OCIFW_GENERATED_EXAMPLES=N tries N configs in each test instead of some: `OCIFW_GENERATED_EXAMPLES=5000 ./dev test
tests/security/test_generated_configs.py` takes minutes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "kernel"))

import hostile
import whole

from ocifw import program
from ocifw.checkup import as_document, as_lines, check
from ocifw.commands import plan as plan_command
from ocifw.context import Globals
from ocifw.creation import Creation
from ocifw.document import dump
from ocifw.errors import OcifwError, PluginError

EXAMPLES = int(os.environ.get("OCIFW_GENERATED_EXAMPLES") or 0)
SOURCES = [
    json.loads(path.read_text())
    for path in hostile.documents.engine_files()
    if hostile.documents.kind_of(path) == "config"
]
BASE = whole.full_config("", "")
"""What a container can have, without what needs others: a terminal, hooks, a source at a place of its own."""
BASE["process"]["terminal"] = False
del BASE["hooks"], BASE["linux"]["resources"]["cpu"], BASE["process"]["consoleSize"]
BASE["mounts"] = [mount for mount in BASE["mounts"] if "source" not in mount.get("source", "")]
INTERNAL = re.compile(r"Traceback|\b[A-Z]\w*(Error|Exception)\b|msg=\"error: ")
"""What a message looks like that was meant for nobody: a class of Python's."""


def some(default):
    return settings(
        max_examples=EXAMPLES or default,
        deadline=None,
        derandomize=not EXAMPLES,
        suppress_health_check=list(HealthCheck),
        database=None,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bundle with a root filesystem that has traps in it."""
    made = tmp_path_factory.mktemp("generated")
    make_bundle(made)
    return made


def make_bundle(folder, busybox=None):
    roots = ("bin", "dev", "proc", "sys", "tmp", "etc", "full")
    for name in ("source/below", "victim", *(f"rootfs/{one}" for one in roots)):
        (folder / name).mkdir(parents=True)
    (folder / "source/file").write_text("source\n")
    (folder / "source/link").symlink_to("/")
    root = folder / "rootfs"
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    if busybox:
        shutil.copy(busybox, root / "bin/busybox")
        for name in ("sh", "true", "sleep"):
            (root / "bin" / name).symlink_to("busybox")
    (root / "link").symlink_to(folder / "victim")
    (root / "link-up").symlink_to(hostile.UP + str(folder / "victim").lstrip("/"))
    (root / "loop").symlink_to("loop")
    (root / "dev/fifo").write_text("no fifo")
    (root / "dev/x").symlink_to(folder / "victim")
    (folder / "victim/file").write_text("keep\n")


def tree(folder):
    """All that is below a folder: kind, owner and mode, and content."""
    return {
        str(path): (path.lstat().st_mode, path.lstat().st_uid, path.is_file() and path.read_bytes())
        for path in folder.rglob("*")
    }


# ---- in this process -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@some(400)
@given(text=st.one_of(hostile.near(BASE), hostile.texts(SOURCES), hostile.texts(SOURCES)))
def test_validate_and_plan(folder, text):
    """Whatever config.json is, validate lists findings, and plan gives a plan or an error that was meant to be read."""
    (folder / "config.json").write_bytes(text)
    globals_ = Globals(str(folder / "state"))
    findings = check(globals_, str(folder))
    shown = "".join(as_lines(str(folder), findings, lambda words, *_: words))
    dump(as_document(str(folder), findings, False))
    assert not INTERNAL.search(shown), shown
    plan, refusal = None, ""
    try:
        plan = Creation(globals_, "box", str(folder)).plan()
    except PluginError as error:
        raise AssertionError(f"a plugin failed: {error}") from error
    except OcifwError as error:
        refusal = str(error)
    if plan is None:
        event("refused")
        assert refusal and not INTERNAL.search(refusal), refusal
        refusal.encode()
        assert any(one.severity == "error" for one in findings), f"only plan refuses: {refusal}"
        return
    event("planned")
    assert "".join(plan_command.as_lines(plan, lambda words, *_: words)).isprintable()
    dump(plan_command.as_document(plan))
    steps = plan.program()
    program.encode(steps, program.assign_slots(steps))
    assert not (folder / "state").exists()


# ---- on the machine --------------------------------------------------------------------------------------------------


class Arena:
    """Namespaces of its own in which the command runs, whose root cannot be written to but for one folder."""

    SETUP = """
        set -e
        mount -o remount,bind,ro / ; mount -o remount,bind,ro /dev
        mount --bind "$0" "$0"; mount -o remount,bind,rw "$0"
        echo; exec sleep infinity
    """

    def __init__(self, folder, runtime_path):
        self.folder, self.runtime_path = folder, runtime_path
        command = ["unshare", "--mount", "--uts", "--ipc", "--net", "--propagation", "private"]
        self.holder = subprocess.Popen(
            [*command, "sh", "-c", self.SETUP, folder], stdout=subprocess.PIPE
        )
        assert self.holder.stdout.readline() == b"\n"
        self.count = 0

    def close(self):
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()

    def __call__(self, *words):
        """Run ocifw; its status and what it wrote."""
        inside = ["nsenter", "-t", str(self.holder.pid), "-m", "-u", "-i", "-n", "--"]
        command = [*inside, self.runtime_path, "--root", self.folder / "state", *words]
        with open(self.folder / "output", "w+b") as output:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
                timeout=20,
            )
        # Read by its name: the container's process shares the offset.
        return done.returncode, (self.folder / "output").read_text(errors="replace")

    def facts(self):
        """What must be the same after a container as before."""
        pid = self.holder.pid
        processes = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        return {
            # Numbers of mount and parent, and the filesystem's: others may rename the folder that a mount lies on.
            "mounts": [
                " ".join(line.split()[:3])
                for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
            ],
            "processes": processes,
            "hostname": Path("/proc/sys/kernel/hostname").read_text(),
            "swappiness": Path("/proc/sys/vm/swappiness").read_text(),
            "victim": tree(self.folder / "victim"),
            "source": {path: found[0] for path, found in tree(self.folder / "source").items()},
        }


@pytest.fixture(scope="module")
def arena(tmp_path_factory, runtime_path):
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("needs busybox-static")
    folder = tmp_path_factory.mktemp("arena")
    make_bundle(folder, busybox)
    made = Arena(folder, runtime_path)
    yield made
    made.close()


def clear_cgroups(parent):
    """Remove what is above the containers' cgroups, which runtimes leave; returns the containers' own, all called `box`."""
    found = []
    for root in hierarchies():
        for path, _, _ in os.walk(f"{root}{parent}", topdown=False):
            if path.endswith("/box"):
                found.append(path)
            else:
                os.rmdir(path)
    return found


def hierarchies():
    """The folder of each hierarchy."""
    top = Path("/sys/fs/cgroup")
    return (
        [top] if (top / "cgroup.controllers").exists() else [p for p in top.iterdir() if p.is_dir()]
    )


def roots_of_cgroups():
    """The names of all cgroups at the top of the hierarchies that this test may have made."""
    return {
        f"{root}/{entry.name}"
        for root in hierarchies()
        for entry in os.scandir(root)
        if entry.is_dir() and entry.name in ("box", "a", "b", "c", "n" * 255, "é", "generated")
    }


@pytest.fixture(scope="module")
def parent():
    """A cgroup parent of this test alone."""
    name = f"/ocifw-generated-{os.getpid()}"
    yield name
    clear_cgroups(name)


@pytest.mark.slow
@some(60)
@given(text=st.one_of(*[hostile.near(BASE)] * 4, hostile.texts(SOURCES)))
def test_create(arena, parent, text):
    """Whatever config.json is, create makes a container that can be deleted, or says why not; then nothing is left."""
    try:
        text = json.dumps(hostile.confine(json.loads(text), parent)).encode()
    except (ValueError, RecursionError):
        # No JSON: no container.
        pass
    (arena.folder / "config.json").write_bytes(text)
    before, tops = arena.facts(), roots_of_cgroups()
    status, output = arena("create", "--bundle", arena.folder, "generated")
    deleted, said = arena("delete", "--force", "generated")
    reap()
    event(f"create: {status}")
    assert (status, deleted) in ((0, 0), (1, 0)), (status, output, said)
    lines = output.splitlines()
    errors = [line for line in lines if "level=error" in line]
    assert len(errors) == status, output
    assert not INTERNAL.search(output) and all(line.isprintable() for line in lines), output
    assert not INTERNAL.search(said), said
    after = arena.facts()
    # What others unmount is gone here, too.
    assert sorted(set(after.pop("mounts")) - set(before.pop("mounts"))) == []
    different = {
        name: (before[name], after[name]) for name in before if before[name] != after[name]
    }
    assert different == {}
    state = arena.folder / "state"
    assert not state.exists() or os.listdir(state) == []
    assert clear_cgroups(parent) == [] and roots_of_cgroups() == tops


def reap():
    """Take the exit status of what became our child."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
