"""The plans of ocifw-process, compared as values."""

from __future__ import annotations

import struct

import pytest

from ocifw.errors import Problem, StepFailed
from ocifw.steps import (
    Chdir,
    ChownStdio,
    Clone,
    JoinCgroup,
    JoinNamespaces,
    MakeConsole,
    SetCpuAffinity,
    SetGid,
    SetGroups,
    SetIoPriority,
    SetMemoryPolicy,
    SetNoNewPrivileges,
    SetPersonality,
    SetRlimit,
    SetScheduler,
    SetUid,
    SetUmask,
)
from ocifw_process import affinity, limits, lists, plugin, scheduling

ALL = SetCpuAffinity(b"\xff" * 1024)
MAP = [{"containerID": 0, "hostID": 100000, "size": 1000}]
USER = {"namespaces": [{"type": "user"}], "uidMappings": MAP, "gidMappings": MAP}


def process(linux=None, **properties):
    return {"process": properties, "linux": linux or {}}


# ---- credentials ----


def test_becoming_a_user(create_request, machine):
    """The order is runc's: directory, stdio, groups, gid, uid, and the directory again as the user."""
    own = process(cwd="/w", user={"uid": 7, "gid": 8, "umask": 0o77, "additionalGids": [9, 10]})
    assert plugin.ocifw_credentials(own, create_request(), machine()) == [
        SetUmask(0o77),
        Chdir("/w", tolerate=True),
        ChownStdio(7),
        SetGroups((9, 10)),
        SetGid(8),
        SetUid(7),
        Chdir("/w"),
    ]


def test_without_a_user_the_process_is_root(create_request, machine):
    """An empty user is 0:0 with umask 0022 as in runc, and loses the groups of whoever called the runtime."""
    assert plugin.ocifw_credentials(process(), create_request(), machine()) == [
        SetUmask(0o22),
        Chdir("/", tolerate=True),
        ChownStdio(0),
        SetGroups(()),
        SetGid(0),
        SetUid(0),
        Chdir("/"),
    ]


def test_a_umask_of_0_is_set(create_request, exec_request, machine):
    """A umask of 0 is one that is set; exec takes over the container's, unless it has its own."""
    own = process(user={"umask": 0})
    assert plugin.ocifw_credentials(own, create_request(), machine())[0] == SetUmask(0)
    request = exec_request(own)
    assert plugin.ocifw_credentials(process(), request, machine())[0] == SetUmask(0)
    other = process(user={"umask": 0o27})
    assert plugin.ocifw_credentials(other, request, machine())[0] == SetUmask(0o27)


def test_groups_in_user_namespaces(create_request, machine):
    """In a user namespace groups are dropped on entering, and setgroups(2), which may be denied, is not called for none."""
    steps = plugin.ocifw_credentials(process(USER), create_request(), machine())
    assert not [step for step in steps if isinstance(step, SetGroups)]
    own = process(USER, user={"additionalGids": [3]})
    assert SetGroups((3,)) in plugin.ocifw_credentials(own, create_request(), machine())
    denied = machine({"/proc/self/setgroups": b"deny\n"})
    steps = plugin.ocifw_credentials(process(), create_request(), denied)
    assert not [step for step in steps if isinstance(step, SetGroups)]


def problems(config, request, host):
    return list(plugin.ocifw_validate(config, request, host))


def test_unmapped_ids(create_request, machine):
    """Ids that the user namespace does not have are refused before anything is done, in runc's words."""
    own = process(USER, user={"uid": 1000, "gid": 1001, "additionalGids": [5, 1002]})
    assert problems(own, create_request(), machine()) == [
        Problem("process.user.uid", "cannot setuid to unmapped uid 1000 in user namespace"),
        Problem("process.user.gid", "cannot setgid to unmapped gid 1001 in user namespace"),
        Problem(
            "process.user.additionalGids[1]",
            "cannot setgroups to unmapped gid 1002 in user namespace",
        ),
    ]
    own = process(USER, user={"uid": 999, "gid": 999})
    assert problems(own, create_request(), machine()) == []


def test_additional_groups_without_privileges(create_request, machine):
    """Groups that nobody may set are refused: rootless with a single id, and where setgroups(2) is denied."""
    single = [{"containerID": 0, "hostID": 1000, "size": 1}]
    linux = {**USER, "uidMappings": single, "gidMappings": single}
    own = process(linux, user={"additionalGids": [0]})
    at = "process.user.additionalGids"
    assert problems(own, create_request(), machine(euid=1000)) == [
        Problem(at, "cannot set any additional groups in a rootless container")
    ]
    own = process(USER, user={"additionalGids": [0]})
    assert problems(own, create_request(), machine(euid=1000)) == []
    denied = machine({"/proc/self/setgroups": b"deny\n"})
    assert [problem.path for problem in problems(own, create_request(), denied)] == [at]


# ---- attach and created ----


def test_limits_are_set_last_for_create_and_early_for_exec(create_request, exec_request):
    """rlimits are one step; for create after everything that ocifw-init does itself, for exec before."""
    rows = [
        {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]
    own = process(rlimits=rows, oomScoreAdj=0)
    step = limits.SetRlimits((("RLIMIT_NOFILE", 1, 2), ("RLIMIT_CORE", 0, 0)))
    assert list(plugin.ocifw_attach(own, create_request())) == [limits.SetOomScoreAdj(0)]
    assert list(plugin.ocifw_created(own, create_request())) == [step]
    assert list(plugin.ocifw_attach(own, exec_request({}))) == [limits.SetOomScoreAdj(0), step]


def test_another_user_sets_its_limits_itself(create_request, exec_request, machine):
    """Before the process becomes another user of the runtime's user namespace: it cannot be reached from outside then."""
    own = process(
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}], user={"uid": 1, "gid": 0}
    )
    step = SetRlimit(7, 1, 2)
    assert list(plugin.ocifw_created(own, create_request())) == []
    assert plugin.ocifw_credentials(own, create_request(), machine())[0] == step
    assert step not in plugin.ocifw_credentials(own, exec_request({}), machine())
    own["linux"] = USER
    assert step not in plugin.ocifw_credentials(own, create_request(), machine())
    assert len(list(plugin.ocifw_created(own, create_request()))) == 1


def test_exec_inherits_the_containers_limits(exec_request):
    """A process that says nothing gets the container's limits and priorities, not those of the engine."""
    container = process(
        rlimits=[{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        oomScoreAdj=5,
        ioPriority={"class": "IOPRIO_CLASS_IDLE"},
    )
    request = exec_request(container)
    assert list(plugin.ocifw_attach(process(rlimits=[]), request)) == [
        limits.SetOomScoreAdj(5),
        limits.SetRlimits((("RLIMIT_CORE", 0, 0),)),
    ]
    assert list(plugin.ocifw_finalize(process(), request)) == [SetIoPriority(3 << 13)]


def test_nothing_is_set_that_is_not_asked_for(create_request):
    """Absent and empty properties leave what the process inherited."""
    own = process(rlimits=[])
    assert list(plugin.ocifw_attach(own, create_request())) == []
    assert list(plugin.ocifw_created(own, create_request())) == []
    assert list(plugin.ocifw_finalize(own, create_request())) == []
    assert list(plugin.ocifw_finalize_console(own, create_request(console=True))) == []


def test_limit_problems(create_request, machine):
    """Types that Linux does not have, and impossible scores, are errors."""
    own = process(
        rlimits=[{"type": f"RLIMIT_{name}", "soft": 1, "hard": 1} for name in ("NOFILE", "X")],
        oomScoreAdj=1001,
    )
    assert problems(own, create_request(), machine()) == [
        Problem("process.rlimits[1].type", "unknown rlimit type 'RLIMIT_X'"),
        Problem("process.oomScoreAdj", "1001 is not between -1000 and 1000"),
    ]


def test_a_failed_rlimit_reads_as_in_runc():
    """The error names the number of the limit, as runc's does, and its name."""
    step = limits.SetRlimits((("RLIMIT_NPROC", 1, 1),), at="process.rlimits")
    assert str(StepFailed(step, 1, "prlimit", "RLIMIT_NPROC")) == (
        "error setting rlimit type 6: operation not permitted (RLIMIT_NPROC, EPERM)"
        " [process.rlimits]"
    )


# ---- finalize ----


def test_the_console(create_request, exec_request):
    """A terminal is made when somebody takes its master; on /dev/console only in a mount namespace of its own."""
    mount = {"namespaces": [{"type": "mount"}]}
    own = process(mount, terminal=True, consoleSize={"height": 24, "width": 80})
    asked = create_request(console=True)
    assert list(plugin.ocifw_finalize_console(own, asked)) == [MakeConsole("console", 24, 80, True)]
    assert list(plugin.ocifw_finalize_console(own, create_request())) == []
    assert list(plugin.ocifw_finalize_console(own, exec_request(own, console=True))) == [
        MakeConsole("console", 24, 80, False)
    ]
    shared = process(terminal=True)
    assert list(plugin.ocifw_finalize_console(shared, asked)) == [
        MakeConsole("console", 0, 0, False)
    ]


def test_finalize(create_request):
    """no_new_privs, scheduler, I/O priority, personality and memory policy, in this order."""
    own = process(
        {
            "personality": {"domain": "LINUX32"},
            "memoryPolicy": {
                "mode": "MPOL_BIND",
                "nodes": "0,2-3",
                "flags": ["MPOL_F_STATIC_NODES"],
            },
        },
        noNewPrivileges=True,
        scheduler={"policy": "SCHED_BATCH", "nice": -3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 4},
    )
    assert list(plugin.ocifw_finalize(own, create_request())) == [
        SetNoNewPrivileges(),
        SetScheduler(struct.pack("<IIQiI3Q", 48, 3, 1, -3, 0, 0, 0, 0)),
        SetIoPriority(2 << 13 | 4),
        SetPersonality(8),
        SetMemoryPolicy(2 | 1 << 15, b"\x0d" + bytes(7)),
    ]


def test_sched_attr_of_a_deadline():
    """Times are passed on in nanoseconds; clamping utilization needs the longer structure."""
    attributes = {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3}
    assert scheduling.sched_attr(attributes) == struct.pack("<IIQiI3Q", 48, 6, 0, 0, 0, 1, 2, 3)
    attributes = {"policy": "SCHED_FIFO", "priority": 9, "flags": ["SCHED_FLAG_UTIL_CLAMP_MIN"]}
    assert scheduling.sched_attr(attributes) == struct.pack(
        "<IIQiI3Q2I", 56, 1, 0x20, 0, 9, 0, 0, 0, 0, 0
    )


@pytest.mark.parametrize(
    ("linux", "properties", "path"),
    [
        ({}, {"scheduler": {"policy": "SCHED_ISO"}}, "process.scheduler.policy"),
        ({}, {"scheduler": {"policy": "SCHED_FIFO"}}, "process.scheduler.priority"),
        ({}, {"scheduler": {"policy": "SCHED_RR", "priority": 100}}, "process.scheduler.priority"),
        (
            {},
            {"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}},
            "process.ioPriority.priority",
        ),
        ({}, {"execCPUAffinity": {"initial": "0-"}}, "process.execCPUAffinity.initial"),
        ({}, {"execCPUAffinity": {"final": "3-1"}}, "process.execCPUAffinity.final"),
    ],
)
def test_problems(create_request, machine, linux, properties, path):
    """What the kernel would refuse is an error that names the property."""
    found = problems(process(linux, **properties), create_request(), machine())
    assert [problem.path for problem in found] == [path]


def test_personality_flags(create_request, machine):
    """There are none: the specification's error, of which runc makes a warning."""
    asked = process({"personality": {"flags": ["X"]}})
    [problem] = problems(asked, create_request(compat="spec"), machine())
    assert problem.path == "linux.personality.flags"
    host = machine()
    assert problems(asked, create_request(), host) == []
    assert host.warnings == ["linux.personality.flags: ignored: the specification defines no flags"]


def test_umask_by_compat(create_request, machine):
    """Where nothing is said, the caller's umask stays (the specification), or is 0022 (runc, by default)."""
    host = machine({"/proc/self/setgroups": b"allow\n"})
    for compat, wanted in (("runc", [SetUmask(0o022)]), ("spec", [])):
        steps = plugin.ocifw_credentials(process(), create_request(compat=compat), host)
        assert [step for step in steps if isinstance(step, SetUmask)] == wanted
    asked = process(user={"uid": 0, "gid": 0, "umask": 0})
    steps = plugin.ocifw_credentials(asked, create_request(compat="spec"), host)
    assert SetUmask(0) in steps


STATIC, RELATIVE, BALANCING = (
    "MPOL_F_STATIC_NODES",
    "MPOL_F_RELATIVE_NODES",
    "MPOL_F_NUMA_BALANCING",
)


@pytest.mark.parametrize(
    ("mode", "nodes", "flags", "path"),
    [
        ("MPOL_BIND", "x", [], "nodes"),
        ("MPOL_BIND", "0", [STATIC, RELATIVE], "flags"),
        ("MPOL_PREFERRED", "", [STATIC], "flags"),
        ("MPOL_INTERLEAVE", "0", [BALANCING], "flags"),
    ],
)
def test_memory_policy_problems(create_request, machine, mode, nodes, flags, path):
    """What set_mempolicy(2) would refuse is an error that names the property."""
    policy = {"mode": mode, "nodes": nodes, "flags": flags}
    found = problems(process({"memoryPolicy": policy}), create_request(), machine())
    assert [problem.path for problem in found] == [f"linux.memoryPolicy.{path}"]


# ---- affinity ----


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("", b""),
        ("0", b"\x01" + bytes(7)),
        ("0-2, 7", b"\x87" + bytes(7)),
        ("63", bytes(7) + b"\x80"),
        ("64", bytes(8) + b"\x01" + bytes(7)),
        (" 1 - 3 ,", b"\x0e" + bytes(7)),
    ],
)
def test_masks(text, mask):
    """Lists become little-endian masks of whole words."""
    assert lists.mask(text) == mask


@pytest.mark.parametrize("text", ["a", "-1", "1-2-3", "3-1", "8192", "0x1", "\u0661"])
def test_broken_lists(text):
    """What is no list of numbers is refused."""
    with pytest.raises(ValueError, match="is"):
        lists.numbers(text)


def wrapped(steps, config, request):
    """What the wrapper of ocifw_clone makes of an answer."""
    generator = plugin.ocifw_clone(config, request)
    next(generator)
    with pytest.raises(StopIteration) as stop:
        generator.send(steps)
    return stop.value.value


CGROUPS = [JoinCgroup("/a/tasks"), JoinCgroup("/b/tasks")]


def test_affinity_is_reset_behind_the_cgroups(create_request, exec_request):
    """All CPUs are asked for after the last cgroup was joined: an engine's own affinity is not the container's."""
    assert wrapped([*CGROUPS, Clone(1)], {}, create_request()) == [*CGROUPS, ALL, Clone(1)]
    assert wrapped(None, {}, create_request()) == [ALL, Clone()]
    join = JoinNamespaces("container", 77, 1)
    assert wrapped([*CGROUPS, join, Clone()], {}, exec_request({})) == [
        *CGROUPS,
        ALL,
        join,
        Clone(),
    ]


def test_exec_affinity(create_request, exec_request):
    """For exec the initial CPUs come before the cgroups, the final ones behind; create has neither."""
    own = process(execCPUAffinity={"initial": "0", "final": "1"})
    initial, final = SetCpuAffinity(b"\x01" + bytes(7)), SetCpuAffinity(b"\x02" + bytes(7))
    steps = [*CGROUPS, Clone()]
    assert wrapped(steps, own, exec_request({})) == [initial, *CGROUPS, final, Clone()]
    assert wrapped(steps, process(), exec_request(own)) == [initial, *CGROUPS, final, Clone()]
    assert wrapped(steps, own, create_request()) == [*CGROUPS, ALL, Clone()]
    only = process(execCPUAffinity={"initial": "0"})
    assert wrapped(steps, only, exec_request({})) == [initial, *CGROUPS, ALL, Clone()]
    assert len(affinity.ALL) * 8 == lists.LIMIT
