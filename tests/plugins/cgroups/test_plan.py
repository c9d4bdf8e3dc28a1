"""The plans of ocifw-cgroups: what the hooks answer, as values."""

from __future__ import annotations

import json
import sys

import pytest

from ocifw.container import Container
from ocifw.errors import ConfigError, OcifwError
from ocifw.linux.mount import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_REC,
    MS_SLAVE,
)
from ocifw.steps import Bind, Clone, JoinCgroup, Mount, SetPropagation, Symlink, Unshare
from ocifw_cgroups import plugin
from ocifw_cgroups.controllers.devices import SetDevices
from ocifw_cgroups.controllers.freezer import Freeze, Thaw
from ocifw_cgroups.controllers.memory import CheckUsage
from ocifw_cgroups.create import CreateCgroup
from ocifw_cgroups.device_filter import SetDeviceFilter
from ocifw_cgroups.files import UpdateCgroup, WriteCgroup
from ocifw_cgroups.kill import KillCgroup

CG = "/sys/fs/cgroup"
SAFE = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
V1_ROWS = (
    ("cpu,cpuacct", f"{CG}/cpu,cpuacct", f"{CG}/cpu,cpuacct/box"),
    ("cpuset", f"{CG}/cpuset", f"{CG}/cpuset/box"),
    ("memory", f"{CG}/memory", f"{CG}/memory/own/memory/box"),
    ("devices", f"{CG}/devices", f"{CG}/devices/box"),
    ("freezer", f"{CG}/freezer", f"{CG}/freezer/box"),
    ("pids", f"{CG}/pids", f"{CG}/pids/box"),
    ("name=systemd", f"{CG}/systemd", f"{CG}/systemd/box"),
)


def linux(path="", namespaces=(), **resources):
    """A config.json with these resources."""
    config = {"linux": {"namespaces": [{"type": one} for one in namespaces]}}
    if path:
        config["linux"]["cgroupsPath"] = path
    if resources:
        config["linux"]["resources"] = resources
    return config


def prepared(config, request, host):
    return list(plugin.ocifw_prepare(config, request, host))


def problems(config, request, host):
    return [str(one) for one in plugin.ocifw_validate(config, request, host)]


def cloned(config, request, host, inner=None):
    """What the wrapper makes of an inner answer."""
    wrapper = plugin.ocifw_clone(config, request, host)
    next(wrapper)
    with pytest.raises(StopIteration) as stop:
        wrapper.send(inner)
    return stop.value.value


# ---- create ------------------------------------------------------------------------------------------------------


def test_a_cgroup_is_made_even_when_nothing_is_set(create_request, v1):
    """Like runc: a cgroup in every hierarchy, with devices restricted to the default ones."""
    create, restrict = prepared({}, create_request(), v1)
    assert create == CreateCgroup(V1_ROWS)
    assert (
        isinstance(restrict, SetDevices) and not restrict.allow and len(restrict.exceptions) == 11
    )


def test_limits_follow(create_request, v1):
    """Each controller that is set is a step, with the place in config.json that asked for it."""
    config = linux(
        "/a",
        memory={"limit": 100, "kernel": 5},
        cpu={"shares": 2, "cpus": "0"},
        pids={"limit": 7},
        devices=[{"allow": True, "access": "rwm"}],
    )
    create, *limits = prepared(config, create_request(), v1)
    assert (create.cpus, create.mems, create.at) == ("0", "", "linux.cgroupsPath")
    warning = "Kernel memory settings are ignored and will be removed"
    assert limits == [
        WriteCgroup(f"{CG}/memory/a", "memory", ((("memory.limit_in_bytes", "100"),),), warning),
        WriteCgroup(f"{CG}/cpu,cpuacct/a", "cpu", ((("cpu.shares", "2"),),)),
        WriteCgroup(f"{CG}/pids/a", "pids", ((("pids.max", "7"),),)),
        SetDevices(f"{CG}/devices/a", True, ()),
    ]
    assert [step.at for step in limits] == [
        "linux.resources.memory",
        "linux.resources.cpu",
        "linux.resources.pids",
        "linux.resources.devices",
    ]


def test_zeros_are_unset(create_request, v1):
    """The zeros that docker sends limit nothing and take no step."""
    config = linux(
        memory={"limit": 0, "swap": 0, "disableOOMKiller": False},
        cpu={"shares": 0, "quota": 0, "period": 0},
        blockIO={"weight": 0},
        hugepageLimits=[],
        network=None,
    )
    assert problems(config, create_request(), v1) == []
    assert [type(step) for step in prepared(config, create_request(), v1)] == [
        CreateCgroup,
        SetDevices,
    ]


def test_a_tight_limit_of_processes_waits_for_the_clone(create_request, v1):
    """With room for one process only, the container process could not be made: the limit is set once it is."""
    config, request = linux(pids={"limit": 0}), create_request()
    assert not [s for s in prepared(config, request, v1) if isinstance(s, WriteCgroup)]
    assert list(plugin.ocifw_attach(config, request, v1)) == [
        WriteCgroup(f"{CG}/pids/box", "pids", ((("pids.max", "1"),),))
    ]
    assert list(plugin.ocifw_attach(linux(pids={"limit": 2}), request, v1)) == []


def test_devices_are_left_alone_in_a_user_namespace(create_request, with_cgroups):
    """The kernel does not let its root change them; the host's restrictions hold."""
    from .conftest import V1_MOUNTS, V1_OWN

    host = with_cgroups(V1_MOUNTS, V1_OWN, {"/proc/self/uid_map": b"0 1000 65536\n"})
    assert [type(step) for step in prepared({}, create_request(), host)] == [CreateCgroup]


def test_v2_plan(create_request, v2):
    """On v2 all limits are written to one folder, and a warning of threaded cgroups is heeded."""
    config = linux("/a", memory={"limit": 100, "swap": 100}, cpu={"cpus": "0"}, pids={"limit": 5})
    create, *limits, restrict = prepared(config, create_request(), v2)
    assert create == CreateCgroup((("", CG, f"{CG}/a"),), domain=True)
    assert isinstance(restrict, SetDeviceFilter) and restrict.folder == f"{CG}/a"
    assert not restrict.allow and len(restrict.exceptions) == 11
    assert [(step.folder, step.controller) for step in limits] == [
        (f"{CG}/a", "cpuset"),
        (f"{CG}/a", "memory"),
        (f"{CG}/a", "pids"),
    ]


def test_joining_comes_first(create_request, hybrid):
    """The process joins every hierarchy before anything else; v2 of a hybrid host, which waits, comes last."""
    steps = cloned(linux("/a"), create_request(), hybrid, [Unshare(1), Clone(2)])
    assert steps[0] == JoinCgroup(f"{CG}/cpu,cpuacct/a/tasks")
    assert steps[-3:] == [JoinCgroup(f"{CG}/unified/a/cgroup.procs"), Unshare(1), Clone(2)]
    assert len(steps) == 10


def test_without_namespaces_it_is_a_plain_child(create_request, v2):
    """Nobody else answered ocifw_clone: the process joins and is cloned."""
    assert cloned({}, create_request(), v2) == [
        JoinCgroup(f"{CG}/user/box/cgroup.procs"),
        Clone(),
    ]


# ---- exec --------------------------------------------------------------------------------------------------------


def existing(notes, **state):
    return Container(
        "/run/ocifw/box", {"id": "box", "pid": 77, "config": {}, "notes": notes, **state}
    )


NOTES = {
    "cgroups": {"pids": "/m/pids/old", "freezer": "/m/freezer/old"},
    "freezer": {"file": "/m/freezer/old/freezer.state", "contains": "FROZEN"},
    "processes": ["/m/pids/old"],
}


def test_exec_joins_where_the_container_is(create_request, v1):
    """The noted cgroups count, not where config.json would put them now; nothing is made."""
    request = create_request(operation="exec", container=existing(NOTES))
    assert prepared(linux("/new"), request, v1) == []
    assert cloned(linux("/new"), request, v1, [Clone()]) == [
        JoinCgroup("/m/pids/old/tasks"),
        JoinCgroup("/m/freezer/old/tasks"),
        Clone(),
    ]


def test_exec_in_a_sub_cgroup(create_request, v1):
    """`--cgroup pids:sub` joins below the container's cgroup; a way out is refused."""
    request = create_request(operation="exec", container=existing(NOTES), cgroup=(("pids", "sub"),))
    assert cloned({}, request, v1)[0] == JoinCgroup("/m/pids/old/sub/tasks")
    request = request.changed(cgroup=(("", "../other"),))
    with pytest.raises(OcifwError, match=r"\.\./other is not a sub cgroup path"):
        cloned({}, request, v1)


@pytest.mark.parametrize(
    ("enabled", "current", "joined"),
    [
        (b"", b"0::/box/init\n", "/box"),
        (b"memory\n", b"0::/box/init\n", "/box/init"),
        (b"memory\n", b"0::/elsewhere\n", "/box"),
        (b"memory\n", b"0::/box/../elsewhere\n", "/box"),
    ],
)
def test_exec_follows_an_init_that_moved(create_request, with_cgroups, enabled, current, joined):
    """When the container's own v2 cgroup cannot have processes, `exec` joins its first process, but never elsewhere."""
    from .conftest import V2_MOUNTS

    host = with_cgroups(
        V2_MOUNTS,
        "0::/\n",
        {f"{CG}/box/cgroup.subtree_control": enabled, "/proc/77/cgroup": current},
    )
    request = create_request(operation="exec", container=existing({"cgroups": {"": f"{CG}/box"}}))
    assert cloned({}, request, host)[0] == JoinCgroup(f"{CG}{joined}/cgroup.procs")


# ---- problems ----------------------------------------------------------------------------------------------------


def test_problems_name_place_and_value(create_request, v1):
    """All of them at once, with paths of config.json."""
    config = linux(
        "/",
        memory={"limit": 9, "swap": 8},
    )
    assert problems(config, create_request(), v1) == [
        "linux.cgroupsPath: '/' is the root cgroup, not one of the container"
    ]
    config = linux(
        memory={"limit": 9, "swap": 8},
        unified={"a": "1"},
        hugepageLimits=[{"pageSize": "2MB", "limit": 1}],
    )
    found = problems(config, create_request(), v1)
    assert found == [
        "linux.resources.memory.swap: 8: memory+swap limit should be >= memory limit (9)",
        "linux.resources.hugepageLimits: cannot set hugetlb limit: container could not join or create cgroup",
        "linux.resources.unified: invalid configuration: cannot use unified on cgroup v1",
    ]


def test_rootless_without_cgroups(create_request, with_cgroups):
    """Without privileges and without cgroups, a container that asks for none is made; one that asks is refused."""
    host = with_cgroups("23 1 254:0 / / rw - ext4 /dev/vda rw\n", "0::/\n", euid=1000)
    request = create_request(rootless=True)
    assert problems({}, request, host) == []
    assert prepared({}, request, host) == []
    assert cloned({}, request, host) == [Clone()]
    with pytest.raises(OcifwError, match="no cgroup mount found"):
        problems(linux(pids={"limit": 5}), request, host)


def test_exec_has_no_resources_to_check(create_request, v1):
    """`exec` is not refused for what `create` was asked."""
    request = create_request(operation="exec", container=existing(NOTES), systemd_cgroup=True)
    assert problems(linux(unified={"a": "1"}), request, v1) == []


# ---- mounts ------------------------------------------------------------------------------------------------------


def mounted(options, request, host, namespaces=(), kind="cgroup"):
    mount = {"destination": "/sys/fs/cgroup", "type": kind, "source": "cgroup", "options": options}
    return plugin.ocifw_mount(mount, 3, linux("/a", namespaces), request, host)


READ_ONLY = ["rprivate", "nosuid", "noexec", "nodev", "relatime", "ro"]


def test_mount_without_a_cgroup_namespace(create_request, hybrid):
    """A tmpfs with the container's own folders bound into it, links for shared hierarchies, nothing of v2."""
    steps = mounted(
        ["nosuid", "noexec", "nodev", "relatime", "ro", "rslave"], create_request(), hybrid
    )
    flags = SAFE | MOUNT_ATTR_RDONLY
    assert steps[:5] == [
        Mount("tmpfs", "tmpfs", CG, attributes=SAFE, options="mode=755"),
        SetPropagation(CG, MS_SLAVE | MS_REC),
        Bind(f"{CG}/cpu,cpuacct/a", f"{CG}/cpu,cpuacct", recursive=False, set=flags),
        Symlink("cpu,cpuacct", f"{CG}/cpu"),
        Symlink("cpu,cpuacct", f"{CG}/cpuacct"),
    ]
    assert steps[-1] == Bind(f"{CG}/systemd/a", f"{CG}/systemd", recursive=False, set=flags)
    assert {step.at for step in steps} == {"mounts[3]"}


def test_mount_with_a_cgroup_namespace(create_request, v1):
    """The hierarchies themselves: their root is the container's cgroup in its namespace."""
    steps = mounted([*READ_ONLY[1:5], "rw"], create_request(), v1, ["cgroup"])
    assert steps[1] == Mount(
        "cgroup", "cgroup", f"{CG}/cpu,cpuacct", attributes=SAFE, options="cpu,cpuacct"
    )
    assert steps[-1] == Mount(
        "cgroup", "systemd", f"{CG}/systemd", attributes=SAFE, options="none,name=systemd"
    )


def test_mount_on_v2(create_request, v2):
    """The v2 hierarchy; without a cgroup namespace the container's folder alone, whatever the user namespace."""
    flags = SAFE | MOUNT_ATTR_RDONLY
    own = Mount("cgroup2", "cgroup", CG, attributes=flags)
    plain = [option for option in READ_ONLY if option != "rprivate"]
    assert mounted(plain, create_request(), v2, ["cgroup", "user"]) == [own]
    bound = Bind(f"{CG}/a", CG, recursive=False, set=flags)
    assert mounted(plain, create_request(), v2) == [bound]
    assert mounted(plain, create_request(), v2, ["user"]) == [bound]
    [without] = mounted(plain, create_request(no_cgroup=True), v2)
    assert without.source == f"{CG}/user/session"


def test_other_mounts_are_not_answered(create_request, v1):
    """Other types, and binds whatever their type says, are somebody else's."""
    assert mounted([], create_request(), v1, kind="tmpfs") is None
    assert mounted(["rbind"], create_request(), v1) is None


# ---- a container that is there -------------------------------------------------------------------------------------


def test_pause_and_resume():
    """Both act on the freezer that was noted; without one they say why."""
    file = NOTES["freezer"]["file"]
    assert list(plugin.ocifw_pause(existing(NOTES))) == [Freeze(file)]
    assert list(plugin.ocifw_resume(existing(NOTES))) == [Thaw(file)]
    with pytest.raises(OcifwError, match="cannot be frozen"):
        list(plugin.ocifw_pause(existing({})))


def test_kill_all():
    """One step for the folder in which processes are counted; a container without cgroups has none."""
    assert list(plugin.ocifw_kill_all(existing(NOTES), 15)) == [
        KillCgroup("/m/pids/old", 15, NOTES["freezer"]["file"])
    ]
    assert list(plugin.ocifw_kill_all(existing({}), 15)) == []
    assert plugin.ocifw_processes(existing({})) is None


def v1_container():
    folders = {name: f"/m/{name}" for name in ("memory", "cpu", "cpuset", "pids", "blkio")}
    return existing({"cgroups": folders})


def test_update_writes_what_is_set(v1):
    """Zeros and devices are left alone; every step can be taken back."""
    changes = json.loads(
        '{"devices": [{"allow": false, "access": "rwm"}], "blockIO": {"weight": 0},'
        ' "memory": {"limit": 83886080, "swap": 83886080, "reservation": 0},'
        ' "cpu": {"shares": 256, "quota": 60000, "period": 0, "cpus": "0"}}'
    )
    steps = list(plugin.ocifw_update(v1_container(), changes, v1))
    assert steps == [
        UpdateCgroup("/m/cpuset", "cpuset", ((("cpuset.cpus", "0"),),)),
        UpdateCgroup(
            "/m/memory",
            "memory",
            (
                (("memory.limit_in_bytes", "83886080"),),
                (("memory.memsw.limit_in_bytes", "83886080"),),
            ),
        ),
        UpdateCgroup("/m/cpu", "cpu", ((("cpu.shares", "256"),), (("cpu.cfs_quota_us", "60000"),))),
    ]
    assert all(step.undoable for step in steps)


def test_update_of_a_period_keeps_the_quota_on_v2(v2):
    """v2 has both in one file: the stored quota is written with the new period."""
    config = {"linux": {"resources": {"cpu": {"quota": 5000}}}}
    container = existing({"cgroups": {"": "/m/box"}}, config=config)
    [step] = plugin.ocifw_update(container, {"cpu": {"period": 20000}}, v2)
    assert step.writes == ((("cpu.max", "5000 20000"),),)


def test_update_checks_usage_when_asked(v2):
    """checkBeforeUpdate on v2 refuses a limit below what is used."""
    container = existing({"cgroups": {"": "/m/box"}})
    changes = {"memory": {"limit": 4096, "checkBeforeUpdate": True}}
    assert next(iter(plugin.ocifw_update(container, changes, v2))) == CheckUsage("/m/box", 4096)


def test_update_to_idle_drops_shares(v1):
    """An idle cgroup has no weight."""
    [step] = plugin.ocifw_update(v1_container(), {"cpu": {"idle": 1, "shares": 512}}, v1)
    assert step.writes == ((("cpu.idle", "1"),),)


def test_update_refuses_what_cannot_be(v1):
    """Wrong values are refused before anything is written, and limits of what the container has no cgroup for."""
    with pytest.raises(ConfigError, match=r"^memory\.swap: 1: memory\+swap limit"):
        list(plugin.ocifw_update(v1_container(), {"memory": {"limit": 2, "swap": 1}}, v1))
    with pytest.raises(OcifwError, match="cannot set pids limit: container could not join"):
        list(plugin.ocifw_update(existing({}), {"pids": {"limit": 2}}, v1))


# ---- as a plugin -------------------------------------------------------------------------------------------------


def test_steps_survive_the_journal(create_request, v1):
    """A step that can be undone is the same after it was written to disk and read back, lists for tuples."""
    from ocifw.step import from_document

    create = prepared({}, create_request(), v1)[0]
    again = from_document(json.loads(json.dumps(create.document())))
    assert again.by_controller() == create.by_controller()


def test_planning_imports_little():
    """No module that costs start-up time is imported by planning, nor controllers that are not set."""
    import subprocess

    code = (
        "import sys\n"
        "from ocifw_cgroups import plugin\n"
        "from ocifw.context import Host, Request\n"
        "request = Request('create', 'box', '/b', '/b/r', '/s')\n"
        "config = {'linux': {'resources': {'pids': {'limit': 5}}}}\n"
        "host = Host()\n"
        "list(plugin.ocifw_validate(config, request, host))\n"
        "list(plugin.ocifw_prepare(config, request, host))\n"
        "heavy = 'json re enum typing dataclasses inspect argparse logging pathlib subprocess tempfile ctypes"
        " pluggy socket signal contextlib collections functools shutil'.split()\n"
        "print([name for name in heavy if name in sys.modules])\n"
        "print(sorted(n for n in sys.modules if n.startswith('ocifw_cgroups.controllers.')))\n"
    )
    paths = [p for p in sys.path if p]
    done = subprocess.run(
        [sys.executable, "-ISc", f"import sys; sys.path[:0] = {paths!r}\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if "no cgroup mount found" in done.stderr:
        pytest.skip("needs mounted cgroups")
    assert done.stdout.split("\n")[:2] == [
        "[]",
        "['ocifw_cgroups.controllers.devices', 'ocifw_cgroups.controllers.pids']",
    ], done.stderr


def test_features():
    """What `ocifw features` tells."""
    assert plugin.ocifw_features()["linux"]["cgroup"] == {
        "v1": True,
        "v2": True,
        "systemd": True,
        "systemdUser": True,
        "rdma": True,
    }
