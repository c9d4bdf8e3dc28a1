"""ocifw-cgroups on the real kernel: cgroup v1, and of v2 what a hybrid host has. All below a cgroup of the test's own."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from pathlib import Path

import pytest
from baton import PASS

from ocifw.container import Container
from ocifw.context import Context, Host, Request
from ocifw.errors import OcifwError, StepFailed
from ocifw.step import from_document
from ocifw.steps import BindRootfs, Clone, JoinCgroup, PassBaton, SetHostPropagation, Unshare
from ocifw_cgroups import create, hierarchies, kill, oom, plugin, processes, unified
from ocifw_cgroups.controllers import devices, freezer
from ocifw_cgroups.create import CreateCgroup
from ocifw_cgroups.files import NOTHING, UpdateCgroup, WriteCgroup
from ocifw_cgroups.stats import stats

CLONE_NEWNS, CLONE_NEWCGROUP = 0x20000, 0x2000000
MS_PRIVATE_REC = 0x44000
PATIENCE_S = 10


def mounted_v1():
    try:
        layout = hierarchies.layout(Host())
    except OcifwError:
        return False
    return not layout.unified and layout.hierarchy("pids") is not None


pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not mounted_v1(), reason="needs cgroup v1"),
]


@pytest.fixture
def parent():
    """A cgroupsPath for containers of the test; what is below it is removed in every hierarchy, with its processes."""
    path = f"/ocifw-test-{os.getpid()}"
    yield path
    for hierarchy in hierarchies.layout(Host()).hierarchies:
        folder = f"{hierarchy.mountpoint}{path}"
        if os.path.exists(f"{folder}/freezer.state"):
            for below in processes.subtree(folder):
                freezer.thaw(f"{below}/freezer.state")
        create.remove(folder, kill=True)


def planned(path, **resources):
    """The steps that a config with these resources is prepared by."""
    config = {"linux": {"cgroupsPath": path, "resources": resources}}
    host = Host()
    request = Request("create", "box", "/bundle", "/bundle/rootfs", "/run/box")
    assert list(plugin.ocifw_validate(config, request, host)) == []
    return list(plugin.ocifw_prepare(config, request, host))


@pytest.fixture
def make(parent, context):
    """Make the cgroups of a container: `make(pids={"limit": 5})` returns its folders by controller."""

    def run(name="box", **resources):
        for step in planned(f"{parent}/{name}", **resources):
            step.apply(context)
        return context.notes["cgroups"]

    return run


@pytest.fixture
def sleeper():
    """Start processes that do nothing, in a cgroup: `sleeper(folder)`."""
    started = []

    def start(*folders):
        pid = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
        started.append(pid)
        for folder in folders:
            Path(folder, "cgroup.procs").write_text(str(pid))
        return pid

    yield start
    for pid in started:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def content(folder, name):
    return Path(folder, name).read_text().strip()


def ended(pid):
    """Wait for the end of a child; -N for signal N."""
    fd = os.pidfd_open(pid)
    try:
        import select

        assert select.select([fd], [], [], PATIENCE_S)[0], f"process {pid} does not end"
    finally:
        os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ---- create and remove -------------------------------------------------------------------------------------------


def test_create_and_remove(parent, context):
    """The cgroup is made in every hierarchy, and noted; undo removes it, even from the journal and twice."""
    step = planned(f"{parent}/a/b")[0]
    step.apply(context)
    folders = context.notes["cgroups"]
    expected = {name for h in hierarchies.layout(Host()).hierarchies for name in h.controllers}
    assert set(folders) == expected
    assert all(os.path.isdir(folder) for folder in folders.values())
    assert context.notes["processes"] == [folders["devices"]]
    assert context.notes["freezer"]["file"] == f"{folders['freezer']}/freezer.state"
    os.mkdir(f"{folders['pids']}/below")
    again = from_document(json.loads(json.dumps(step.document())))
    again.undo(context)
    assert not any(os.path.exists(folder) for folder in folders.values())
    assert os.path.isdir(os.path.dirname(folders["pids"])), "the cgroups above stay, as with runc"
    again.undo(context)


def test_a_cpuset_can_be_joined(make, sleeper):
    """Cpus and mems come from the cgroups above; those between, which are new, get them, too."""
    folders = make("deep/er/box")
    root = hierarchies.layout(Host()).hierarchy("cpuset").mountpoint
    for name in ("cpuset.cpus", "cpuset.mems"):
        assert content(folders["cpuset"], name) == content(root, name)
        assert content(os.path.dirname(folders["cpuset"]), name) == content(root, name)
    sleeper(folders["cpuset"])


def test_a_used_cgroup_is_refused(parent, make, sleeper, context):
    """A cgroup with processes is refused with runc's text; nothing is left, and it stays as it was."""
    folders = dict(make())
    os.mkdir(f"{folders['pids']}/below")
    pid = sleeper(f"{folders['pids']}/below")
    os.rmdir(folders["cpu"])
    other = Context("box", "", "")
    step = planned(f"{parent}/box")[0]
    with pytest.raises(OcifwError, match=r"container's cgroup is not empty: 1 process\(es\) found"):
        step.apply(other)
    step.undo(other)
    assert not os.path.exists(folders["cpu"])
    assert processes.pids(folders["pids"]) == [pid]
    assert other.notes == {}


def test_a_frozen_cgroup_is_refused(parent, make):
    """A cgroup that is frozen is refused with runc's text and kept."""
    folders = make()
    freezer.freeze(f"{folders['freezer']}/freezer.state")
    step = planned(f"{parent}/box")[0]
    with pytest.raises(OcifwError, match="container's cgroup unexpectedly frozen"):
        step.apply(Context("box", "", ""))
    step.undo(Context("box", "", ""))
    assert os.path.isdir(folders["freezer"])


def test_an_empty_cgroup_is_used_again(parent, make, context):
    """What an engine made, or a crash left, is no obstacle; it is removed with the container, as runc does."""
    folders = dict(make(pids={"limit": 3}))
    step = planned(f"{parent}/box")[0]
    step.apply(context)
    step.undo(context)
    assert not os.path.exists(folders["pids"])


def test_undo_of_a_killed_create_spares_others(parent, make, sleeper):
    """From the journal alone, without notes, only what is empty is removed."""
    folders = make()
    pid = sleeper(folders["pids"])
    step = from_document(planned(f"{parent}/box")[0].document())
    step.undo(Context("box", "", ""))
    assert not os.path.exists(folders["memory"])
    assert processes.pids(folders["pids"]) == [pid]


def test_failed_create_leaves_no_process(parent, context, sleeper):
    """Undo in the process that made the cgroup ends what a hook may have left in it."""
    step = planned(f"{parent}/box")[0]
    step.apply(context)
    folder = context.notes["cgroups"]["pids"]
    pid = sleeper(folder)
    step.undo(context)
    assert ended(pid) == -signal.SIGKILL
    assert not os.path.exists(folder)


def test_a_cgroup_in_use_cannot_be_removed(make, sleeper, monkeypatch):
    """It is tried for a while; then it is an error that names the cgroup, and the process lives."""
    monkeypatch.setattr(create, "_REMOVAL_PATIENCE_S", 0.01)
    folder = make()["pids"]
    pid = sleeper(folder)
    with pytest.raises(OSError, match=folder) as error:
        create.remove(folder)
    assert error.value.errno == errno.EBUSY
    os.kill(pid, 0)


# ---- limits ------------------------------------------------------------------------------------------------------


def test_limits(make):
    """What config.json says is what the kernel's files say."""
    folders = make(
        memory={"limit": 64 << 20, "swap": 128 << 20, "reservation": 32 << 20, "swappiness": 10},
        cpu={"shares": 512, "quota": 50000, "period": 200000, "cpus": "0", "mems": "0"},
        pids={"limit": 32},
    )
    assert content(folders["memory"], "memory.limit_in_bytes") == str(64 << 20)
    assert content(folders["memory"], "memory.memsw.limit_in_bytes") == str(128 << 20)
    assert content(folders["memory"], "memory.soft_limit_in_bytes") == str(32 << 20)
    assert content(folders["memory"], "memory.swappiness") == "10"
    assert content(folders["cpu"], "cpu.shares") == "512"
    assert content(folders["cpu"], "cpu.cfs_quota_us") == "50000"
    assert content(folders["cpu"], "cpu.cfs_period_us") == "200000"
    assert content(folders["cpuset"], "cpuset.cpus") == "0"
    assert content(folders["pids"], "pids.max") == "32"


MEGABYTE = 1 << 20


@pytest.mark.parametrize(("limit", "swap"), [(10, 20), (100, 150), (300, 400), (300, -1), (-1, 0)])
def test_memory_limits_in_any_order(make, context, limit, swap):
    """Limits fit together whatever they were before; undo brings the old ones back."""
    folder = make(memory={"limit": 80 * MEGABYTE, "swap": 160 * MEGABYTE})["memory"]
    container = Container("/x", {"id": "box", "notes": context.notes, "config": {}})
    wanted = [value * MEGABYTE if value > 0 else value for value in (limit, swap)]
    changes = {"memory": {"limit": wanted[0], "swap": wanted[1]}}
    [step] = plugin.ocifw_update(container, changes, Host())
    step.apply(context)
    unlimited = 1 << 60
    assert int(content(folder, "memory.limit_in_bytes")) == wanted[0] or (
        limit == -1 and int(content(folder, "memory.limit_in_bytes")) > unlimited
    )
    assert int(content(folder, "memory.memsw.limit_in_bytes")) == wanted[1] or (
        swap <= 0 and int(content(folder, "memory.memsw.limit_in_bytes")) > unlimited
    )
    step.undo(context)
    assert content(folder, "memory.limit_in_bytes") == str(80 * MEGABYTE)
    assert content(folder, "memory.memsw.limit_in_bytes") == str(160 * MEGABYTE)


def test_a_failed_update_is_taken_back(make, context):
    """When a value is refused, what was written before is as it was."""
    folders = make(cpu={"shares": 512}, pids={"limit": 7})
    writes = ((("cpu.shares", "300"),), (("cpu.cfs_period_us", "5"),))
    step = UpdateCgroup(folders["cpu"], "cpu", writes)
    path = f"{folders['cpu']}/cpu.cfs_period_us"
    with pytest.raises(StepFailed) as failure:
        step.apply(context)
    assert str(failure.value) == f'failed to write "5": write {path}: invalid argument'
    step.undo(context)
    assert content(folders["cpu"], "cpu.shares") == "512"
    throttle = UpdateCgroup(
        folders["blkio"], "blkio", ((("blkio.throttle.read_bps_device", "511:99 5"),),)
    )
    with pytest.raises(StepFailed, match="no such device"):
        throttle.apply(context)
    throttle.undo(context)


def test_missing_files(make, context):
    """The first alternative that is there is written; none is an error with runc's text, unless none is needed."""
    folder = make()["pids"]
    WriteCgroup(folder, "pids", ((("pids.none", "5"), ("pids.max", "6")),)).apply(context)
    assert content(folder, "pids.max") == "6"
    WriteCgroup(folder, "pids", ((("pids.none", "5"), NOTHING),)).apply(context)
    step = WriteCgroup(folder, "pids", ((("pids.none", "5"),),), at="linux.resources.pids")
    step.stamp("cgroups", "prepare")
    with pytest.raises(StepFailed) as failure:
        step.apply(context)
    assert str(failure.value) == (
        f'prepare: cgroups: failed to write "5": open {folder}/pids.none:'
        " no such file or directory [linux.resources.pids]"
    )


def test_a_limit_below_usage(make, context):
    """The error tells what is used, in runc's words."""
    folder = make()["memory"]
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        Path(folder, "tasks").write_text("0")
        kept = b"x" * (4 * MEGABYTE)
        os.write(writer, kept[:1])
        signal.pause()
    assert os.read(reader, 1) == b"x"
    with pytest.raises(
        StepFailed,
        match=r"unable to set memory limit to 4096 \(current usage: \d+, peak usage: \d+\)",
    ):
        WriteCgroup(folder, "memory", ((("memory.limit_in_bytes", "4096"),),)).apply(context)
    os.kill(pid, signal.SIGKILL)
    assert ended(pid) == -signal.SIGKILL
    os.close(reader)
    os.close(writer)


def test_warnings(make, context):
    """Kernel memory limits are ignored with a warning."""
    make(memory={"kernel": 5})
    assert context.warnings == ["Kernel memory settings are ignored and will be removed"]


# ---- devices -----------------------------------------------------------------------------------------------------


def opens(folder, path):
    """The errno of opening a device from inside a cgroup, 0 for none."""
    pid = os.fork()
    if pid == 0:
        try:
            Path(folder, "tasks").write_text("0")
            os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 255)
    return ended(pid)


def test_devices_are_restricted(make, tmp_path):
    """What is not allowed cannot be opened; the kernel's list is the plan's."""
    device = tmp_path / "kmsg"
    os.mknod(device, 0o20666, os.makedev(1, 11))
    folder = make(devices=[{"allow": False, "access": "rwm"}])["devices"]
    assert sorted(content(folder, "devices.list").split("\n")) == sorted(
        devices.rules_of([]).lines()
    )
    assert opens(folder, "/dev/null") == 0
    assert opens(folder, device) == errno.EPERM
    also = [{"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}]
    assert opens(make("allowed", devices=also)["devices"], device) == 0


def test_privileged_containers_may_use_all(make, context):
    """Everything is allowed, also in a cgroup that was restricted before."""
    folder = make(devices=[])["devices"]
    make(devices=[{"allow": True, "access": "rwm"}])
    assert content(folder, "devices.list") == "a *:* rwm"
    rules = [
        {"allow": True, "access": "rwm"},
        {"allow": False, "type": "c", "major": 1, "minor": 3, "access": "rw"},
    ]
    assert opens(make(devices=rules)["devices"], "/dev/null") == errno.EPERM


# ---- joining -----------------------------------------------------------------------------------------------------


def memberships(pid):
    """A process's cgroup by controller, from /proc."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines}


def test_the_container_process_is_in_its_cgroups(parent, make, context, spawn):
    """ocifw-init joins every hierarchy; a limit of one process holds once the container process is made."""
    make(pids={"limit": 1})
    config = {"linux": {"cgroupsPath": f"{parent}/box", "resources": {"pids": {"limit": 1}}}}
    request, host = Request("create", "box", "/b", "/b/r", "/s"), Host()
    wrapper = plugin.ocifw_clone(config, request, host)
    next(wrapper)
    with pytest.raises(StopIteration) as stop:
        wrapper.send([Clone()])
    container = spawn([*stop.value.value, PassBaton(3)])
    container.cloned()
    container.expect(PASS)
    for step in plugin.ocifw_attach(config, request, host):
        step.apply(context)
    assert set(memberships(container.pid).values()) == {f"{parent}/box"}
    assert processes.pids(context.notes["processes"][0]) == [container.pid]
    assert content(context.notes["cgroups"]["pids"], "pids.max") == "1"


@pytest.mark.parametrize("namespaces", [CLONE_NEWNS, CLONE_NEWNS | CLONE_NEWCGROUP])
def test_mounts(parent, make, spawn, tmp_path, namespaces):
    """The container sees its own cgroup as the root of each hierarchy, read-only, and nothing of v2."""
    folders = make()
    config = {
        "linux": {
            "cgroupsPath": f"{parent}/box",
            "namespaces": [{"type": "cgroup"}] if namespaces & CLONE_NEWCGROUP else [],
        }
    }
    options = ["nosuid", "noexec", "nodev", "relatime", "ro"]
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": options}
    request, host = Request("create", "box", "/b", "/b/r", "/s"), Host()
    steps = plugin.ocifw_mount(mount, 0, config, request, host)
    joins = [
        JoinCgroup(f"{folder}/{'cgroup.procs' if name == '' else 'tasks'}")
        for name, folder in folders.items()
    ]
    container = spawn(
        [
            *joins,
            Unshare(namespaces),
            Clone(),
            SetHostPropagation(MS_PRIVATE_REC),
            BindRootfs(str(tmp_path)),
            *steps,
            PassBaton(7),
        ]
    )
    container.cloned()
    container.expect(PASS)
    seen = {}
    for line in Path(f"/proc/{container.pid}/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[4].startswith(f"{tmp_path}/"):
            seen[fields[4].removeprefix(f"{tmp_path}/sys/fs/cgroup/")] = fields
    assert {"pids", "memory", "systemd"} <= set(seen)
    assert "unified" not in seen
    assert all(
        fields[5] == "ro,nosuid,nodev,noexec,relatime"
        for name, fields in seen.items()
        if not name.startswith(str(tmp_path))
    )
    inside = Path(f"/proc/{container.pid}/root{tmp_path}/sys/fs/cgroup/pids/cgroup.procs")
    assert inside.read_text().split() == [str(container.pid)]


# ---- freezing and killing ------------------------------------------------------------------------------------------


def test_pause_and_resume(make, context, sleeper):
    """A paused container is `frozen` for the core, without this plugin; a resumed one is not."""
    folders = make()
    pid = sleeper(folders["freezer"])
    container = Container("/x", {"id": "box", "notes": context.notes})
    assert not container.frozen()
    [pause] = plugin.ocifw_pause(container)
    pause.apply(context)
    assert container.frozen()
    os.kill(pid, signal.SIGKILL)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0), "a frozen process of v1 does not even die"
    [resume] = plugin.ocifw_resume(container)
    resume.apply(context)
    assert not container.frozen()
    assert ended(pid) == -signal.SIGKILL
    pause.apply(context)
    pause.undo(context)
    assert not container.frozen()


def fork_for_ever():
    """Fork again and again, each process ending as its child goes on: nobody can be caught by listing."""
    while True:
        if os.fork() != 0:
            os._exit(0)


@pytest.mark.parametrize("frozen", [False, True])
def test_kill_all(make, context, sleeper, frozen):
    """Every process is killed, in cgroups below and when frozen, and those that fork all the time."""
    folders = make(pids={"limit": 50})
    below = [f"{folders[name]}/below" for name in ("devices", "freezer")]
    for folder in below:
        os.mkdir(folder)
    pids = [sleeper(folders["devices"], folders["freezer"]), sleeper(*below)]
    restless = os.fork()
    if restless == 0:
        for name in ("pids", "freezer", "devices"):
            Path(folders[name], "tasks").write_text("0")
        fork_for_ever()
    os.waitpid(restless, 0)
    container = Container("/x", {"id": "box", "notes": context.notes})
    if frozen:
        freezer.freeze(context.notes["freezer"]["file"])
    [step] = plugin.ocifw_kill_all(container, signal.SIGKILL)
    step.apply(context)
    assert [ended(pid) for pid in pids] == [-signal.SIGKILL] * 2
    end = time.monotonic() + PATIENCE_S
    while processes.pids(folders["devices"]):
        assert time.monotonic() < end, "somebody escaped"
    assert content(folders["freezer"], "freezer.state") == "THAWED"


def test_kill_all_without_a_freezer(make, sleeper):
    """Without a freezer it is listed again until nobody new is there; a cgroup that is gone has nobody."""
    folder = make()["pids"]
    pids = [sleeper(folder), sleeper(folder)]
    kill.KillCgroup(folder, signal.SIGTERM).apply(Context("box", "", ""))
    assert [ended(pid) for pid in pids] == [-signal.SIGTERM] * 2
    kill.KillCgroup(f"{folder}/gone", signal.SIGKILL, f"{folder}/gone/freezer.state").apply(
        Context("box", "", "")
    )


def test_processes_below_count(make, sleeper):
    """The processes of a container are those of its cgroup and of all below."""
    folder = make()["devices"]
    os.makedirs(f"{folder}/a/b")
    pids = [sleeper(folder), sleeper(f"{folder}/a/b")]
    assert processes.pids(folder) == sorted(pids)
    assert processes.pids(f"{folder}/gone") == []


# ---- figures -----------------------------------------------------------------------------------------------------


def test_stats_have_runcs_keys(make, sleeper):
    """Every key that `runc events --stats` prints on v1, with the kernel's numbers."""
    folders = make(pids={"limit": 20}, memory={"limit": 50 * MEGABYTE})
    sleeper(*[folders[name] for name in ("pids", "memory", "cpuacct", "cpuset")])
    found = stats(folders)
    assert list(found) == [
        "cpu",
        "cpuset",
        "memory",
        "pids",
        "blkio",
        "hugetlb",
        "intel_rdt",
        "network_interfaces",
    ]
    assert found["pids"] == {"current": 1, "limit": 20}
    assert set(found["cpu"]) == {"usage", "throttling"}
    assert {"kernel", "user"} <= set(found["cpu"]["usage"])
    assert set(found["memory"]) >= {"usage", "swap", "kernel", "kernelTCP", "raw"}
    assert found["memory"]["usage"]["limit"] == 50 * MEGABYTE
    assert found["cpuset"]["cpus"] and found["cpuset"]["sched_load_balance"] in (0, 1)
    assert stats({}) == {
        **{key: found[key] for key in ("hugetlb", "intel_rdt", "network_interfaces")},
        **stats({}),
    }


def test_oom_events(make):
    """An out-of-memory kill makes the events readable and is counted once."""
    import select

    folders = make(memory={"limit": 8 * MEGABYTE, "swap": 8 * MEGABYTE})
    events = oom.watch(folders)
    try:
        assert events.read() == 0
        pid = os.fork()
        if pid == 0:
            Path(folders["memory"], "tasks").write_text("0")
            Path("/proc/self/oom_score_adj").write_text("1000")
            _ = b"x" * (64 * MEGABYTE)
            os._exit(0)
        assert ended(pid) == -signal.SIGKILL
        assert select.select([events], [], [], PATIENCE_S)[0]
        assert events.read() >= 1
        assert events.read() == 0
    finally:
        events.close()


# ---- v2, as far as a hybrid host has it ------------------------------------------------------------------------------


@pytest.fixture
def v2_folder(make):
    """The container's cgroup in the v2 hierarchy of a hybrid host."""
    folders = make()
    if "" not in folders:
        pytest.skip("needs a v2 hierarchy")
    return folders[""]


def test_v2_cgroups_are_made(v2_folder):
    """Missing cgroups above are made; one that is there is told apart."""
    assert unified.make(f"{v2_folder}/a/b", v2_folder, domain=True)
    assert os.path.isdir(f"{v2_folder}/a/b")
    assert not unified.make(f"{v2_folder}/a/b", v2_folder, domain=True)


def test_threaded_v2_cgroups_cannot_have_domain_controllers(v2_folder):
    """Below a threaded cgroup limits of memory cannot be: the error says why, in runc's words."""
    os.mkdir(f"{v2_folder}/a")
    Path(f"{v2_folder}/a/cgroup.type").write_text("threaded")
    with pytest.raises(OcifwError, match="with domain controllers -- it is in"):
        unified.make(f"{v2_folder}/a", v2_folder, domain=True)
    assert not unified.make(f"{v2_folder}/a", v2_folder, domain=False)


def test_v2_freezer(v2_folder, sleeper):
    """cgroup.freeze holds every process; the note's file tells when."""
    note = freezer.note({"": v2_folder})
    sleeper(v2_folder)
    freezer.freeze(note["file"])
    assert note["contains"] in Path(note["file"]).read_text()
    freezer.thaw(note["file"])
    assert note["contains"] not in Path(note["file"]).read_text()


def test_v2_kill(v2_folder, sleeper):
    """SIGKILL is one write to cgroup.kill and reaches frozen processes, too."""
    if not os.path.exists(f"{v2_folder}/cgroup.kill"):
        pytest.skip("needs cgroup.kill (kernel 5.14)")
    os.mkdir(f"{v2_folder}/below")
    pids = [sleeper(v2_folder), sleeper(f"{v2_folder}/below")]
    file = freezer.note({"": v2_folder})["file"]
    freezer.freeze(file)
    kill.KillCgroup(v2_folder, signal.SIGKILL, file, unified=True).apply(Context("box", "", ""))
    assert [ended(pid) for pid in pids] == [-signal.SIGKILL] * 2
    assert "frozen 0" in Path(file).read_text()


def test_v2_create_notes(parent, context, v2_folder):
    """A v2 container is noted under the name "" alone, with v2's freezer."""
    step = CreateCgroup((("", v2_folder, f"{v2_folder}/box"),), domain=False)
    step.apply(context)
    assert context.notes == {
        "cgroups": {"": f"{v2_folder}/box"},
        "processes": [f"{v2_folder}/box"],
        "freezer": {"file": f"{v2_folder}/box/cgroup.events", "contains": "frozen 1"},
    }
    step.undo(context)
    assert not os.path.exists(f"{v2_folder}/box")
