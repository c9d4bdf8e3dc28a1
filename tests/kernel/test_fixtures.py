"""Documents that engines wrote, with this machine's paths put into them: planned, created, started, executed in, deleted."""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import whole

from ocifw import container as containers
from ocifw import foreground, lifecycle, phases
from ocifw.linux.process import capget

TESTS = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("ocifw_documents", TESTS / "core" / "documents.py")
documents = importlib.util.module_from_spec(spec)
spec.loader.exec_module(documents)

CONFIGS = [path for path in documents.engine_files() if documents.kind_of(path) == "config"]
PROCESSES = [path for path in documents.engine_files() if documents.kind_of(path) == "process"]
CAP_SYS_RESOURCE = 24
PRIVILEGED = bool(capget()[0] >> CAP_SYS_RESOURCE & 1)
SCRIPT = "sleep 1000; :"

ids = [path.name.partition(".config")[0] for path in CONFIGS]
every_config = pytest.mark.parametrize("path", CONFIGS, ids=ids)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def box(public_folder, rootfs):
    """A Box with a root filesystem of its own, in which mount points are made."""
    whole.become_subreaper()
    own = public_folder / "rootfs"
    shutil.copytree(rootfs, own, symlinks=True)
    made = whole.Box(public_folder, own, f"/ocifw-fixtures-{os.getpid()}")
    yield made
    made.close()
    whole.remove_cgroups(made.cgroup)


def adapt(path, box):
    """A document of an engine as config of this box: what names other machines' files is replaced or left out."""
    config = json.loads(path.read_text())
    linux, process = config["linux"], config["process"]
    config["root"]["path"] = str(box.bundle.parent / "rootfs")
    linux["cgroupsPath"] = f"{box.cgroup}/whole"
    for namespace in linux["namespaces"]:
        namespace.pop("path", None)
    config.pop("hooks", None)
    linux.pop("mountLabel", None)
    # Of kernels and hierarchies that this machine may not have.
    (linux.get("resources") or {}).pop("unified", None)
    for key in ("apparmorProfile", "selinuxLabel"):
        process.pop(key, None)
    process["args"] = ["/bin/sh", "-c", SCRIPT]
    config["mounts"] = [adapted for m in config["mounts"] if (adapted := adapt_mount(m, box))]
    adapt_process(process)
    for row in (linux.get("uidMappings") or [])[:1]:
        for folder, _, _ in os.walk(config["root"]["path"]):
            os.chown(folder, row["hostID"], row["hostID"])
    return config


def adapt_mount(mount, box):
    """A mount that can be made here; None when it needs what only the engine has."""
    options = mount.get("options") or []
    if mount.get("type") == "overlay":
        return None
    if mount.get("type") == "bind" or "bind" in options or "rbind" in options:
        if mount["source"].startswith(("/dev/", "/sys", "/proc")) and os.path.exists(
            mount["source"]
        ):
            return mount
        name = os.path.basename(mount["destination"])
        is_file = "." in name or name in ("hosts", "hostname", "termination-log", "docker-init")
        return {**mount, "source": f"{box.bundle}/source{'/file' if is_file else ''}"}
    return mount


def adapt_process(process):
    """What this test's own process may not raise is taken down to what it may."""
    for limit in process.get("rlimits") or ():
        number = getattr(resource, limit["type"])
        hard = resource.getrlimit(number)[1]
        if hard != resource.RLIM_INFINITY and not PRIVILEGED:
            limit["hard"] = min(limit["hard"], hard)
            limit["soft"] = min(limit["soft"], limit["hard"])
    score = process.get("oomScoreAdj")
    if score is not None and not PRIVILEGED:
        process["oomScoreAdj"] = max(score, int(Path("/proc/self/oom_score_adj").read_text()))


@every_config
def test_engine_documents_can_be_planned(path, box):
    """A plan has the program at its end, a new root, and no step whose plugin is unknown."""
    box.config = adapt(path, box)
    plan = box.creation().plan()
    assert [type(step).__name__ for step in plan.of(phases.SEAL)][-1] == "Execute"
    assert len(plan.of(phases.PIVOT_ROOT)) >= 1
    assert all(step.plugin and step.phase for step in plan.steps)


@needs_root
@every_config
def test_engine_documents_live(path, box):
    """Created, started, executed in, killed and deleted, with nothing left."""
    box.config = adapt(path, box)
    machine = whole.Machine(box)
    container = box.run(box.creation())
    assert container.status == "created"
    lifecycle.start(box.globals, "whole")
    assert container.status == "running"
    process = {**box.config["process"], "args": ["/bin/true"], "terminal": False}
    assert foreground.execute(box.globals, "whole", process) == 0
    lifecycle.kill(box.globals, "whole", 9)
    whole.wait_until(lambda: container.status == "stopped", "it does not end")
    lifecycle.delete(box.globals, "whole")
    machine.settle()


@needs_root
@pytest.mark.parametrize("path", PROCESSES, ids=[path.name for path in PROCESSES])
def test_engine_processes_are_executed(path, box):
    """What engines give to `exec --process` runs in a container."""
    box.config["process"]["terminal"] = False
    process = json.loads(path.read_text())
    adapt_process(process)
    process.update(args=["/bin/true"], cwd="/", terminal=False)
    for key in ("apparmorProfile", "selinuxLabel"):
        process.pop(key, None)
    machine = whole.Machine(box)
    box.run(box.creation())
    lifecycle.start(box.globals, "whole")
    assert foreground.execute(box.globals, "whole", process) == 0
    lifecycle.delete(box.globals, "whole", force=True)
    machine.settle()
    assert list(containers.identifiers(box.globals.root)) == []
