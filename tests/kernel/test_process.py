"""ocifw-process and ocifw-capabilities on the real kernel."""

from __future__ import annotations

import os

import pytest
from baton import PASS, Container

from ocifw.context import Host, Request
from ocifw.errors import StepFailed
from ocifw.linux.process import get_prlimit
from ocifw.steps import Clone, PassBaton
from ocifw_capabilities import plugin as capabilities
from ocifw_process import affinity, limits, plugin

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
NOBODY = 65534


@pytest.fixture
def sleeper():
    """A process of this user that does nothing, as the container process."""
    pid = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
    yield pid
    os.kill(pid, 9)
    os.waitpid(pid, 0)


def test_rlimits_are_set(context, sleeper):
    """All limits of the step are in force; others are as they were."""
    context.pid = sleeper
    before = get_prlimit(sleeper, 3)
    limits.SetRlimits((("RLIMIT_NOFILE", 17, 18), ["RLIMIT_CORE", 0, 0])).apply(context)
    assert (get_prlimit(sleeper, 7), get_prlimit(sleeper, 4)) == ((17, 18), (0, 0))
    assert get_prlimit(sleeper, 3) == before


def raising(context):
    """Raise a hard limit of another process, without the privilege to."""
    pid = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
    try:
        context.pid = pid
        limits.SetRlimits((("RLIMIT_NOFILE", 5, 5),)).apply(context)
        rows = (("RLIMIT_CORE", 0, 0), ("RLIMIT_NOFILE", 5, 6))
        with pytest.raises(
            StepFailed, match=r"^error setting rlimit type 7: operation not permitted"
        ):
            limits.SetRlimits(rows).apply(context)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


@needs_root
def test_a_limit_that_cannot_be_raised(context, in_child):
    """The error has runc's words and the number of the limit that failed."""
    in_child(lambda: raising(context), uid=NOBODY)


def test_oom_score_adj_is_set(context, sleeper):
    """A higher score can always be set."""
    context.pid = sleeper
    limits.SetOomScoreAdj(777).apply(context)
    with open(f"/proc/{sleeper}/oom_score_adj") as file:
        assert file.read() == "777\n"
    assert context.warnings == []


def lowering(context):
    pid = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
    try:
        context.pid = pid
        limits.SetOomScoreAdj(900).apply(context)
        # An unprivileged process may lower the score to what it was when privileges were last used, but not below.
        limits.SetOomScoreAdj(-1000).apply(context)
        assert len(context.warnings) == 1
        assert "oom_score_adj stays 900" in context.warnings[0]
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


@needs_root
def test_rootless_cannot_lower_the_oom_score(context, in_child):
    """For a rootless runtime a score that cannot be set is a warning, which tells what it is."""
    in_child(lambda: lowering(context), uid=NOBODY)


REQUEST = Request("create", "box", "/", "/", "/")


def credentials(config):
    """The steps of phase `credentials` as both plugins together make them."""
    host = Host()
    wrapper = capabilities.ocifw_credentials(config, host)
    next(wrapper)
    try:
        wrapper.send([plugin.ocifw_credentials(config, REQUEST, host)])
    except StopIteration as stop:
        return [step for answer in stop.value for step in answer]
    raise AssertionError("a second yield")


@needs_root
def test_a_user_with_capabilities(init_fd):
    """Ids, groups, umask, working directory and all five sets are as asked for."""
    kinds = ("bounding", "effective", "permitted", "inheritable", "ambient")
    own = {
        "user": {"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o27},
        "cwd": "/usr",
        "capabilities": {
            **{kind: ["CAP_KILL"] for kind in kinds},
            "bounding": ["CAP_KILL", "CAP_CHOWN"],
        },
    }
    container = Container(init_fd, [Clone(), *credentials({"process": own}), PassBaton(11)], {})
    try:
        container.cloned()
        container.expect(PASS)
        status = container.status()
        assert status["Uid"].split() == ["1000"] * 4
        assert status["Gid"].split() == ["1001"] * 4
        assert status["Groups"].split() == ["5", "6"]
        assert status["Umask"] == "0027"
        assert os.readlink(f"/proc/{container.pid}/cwd") == "/usr"
        sets = [int(status[f"Cap{name}"], 16) for name in ("Bnd", "Eff", "Prm", "Inh", "Amb")]
        assert sets == [0x21, 0x20, 0x20, 0x20, 0x20]
    finally:
        container.end()


@needs_root
def test_without_capabilities_nothing_is_left(init_fd):
    """Root without `capabilities` has no capability at all, not even in its bounding set."""
    container = Container(init_fd, [Clone(), *credentials({}), PassBaton(11)], {})
    try:
        container.cloned()
        container.expect(PASS)
        status = container.status()
        sets = [int(status[f"Cap{name}"], 16) for name in ("Bnd", "Eff", "Prm", "Inh", "Amb")]
        assert sets == [0] * 5
        assert status["Groups"].split() == []
    finally:
        container.end()


@needs_root
def test_everything_that_the_runtime_has(init_fd):
    """A privileged container gets what the runtime has; what it lacks is a warning and no error."""
    every = list(capabilities.NAMES)
    config = {
        "process": {"capabilities": {"bounding": every, "effective": every, "permitted": every}}
    }
    container = Container(init_fd, [Clone(), *credentials(config), PassBaton(11)], {})
    try:
        container.cloned()
        container.expect(PASS)
        with open("/proc/self/status") as file:
            own = dict(
                line.split(":\t") for line in file.read().splitlines() if line.startswith("Cap")
            )
        status = container.status()
        assert status["CapEff"] == status["CapBnd"] == own["CapBnd"]
    finally:
        container.end()


def test_affinity_is_reset(init_fd):
    """A container runs on all CPUs, though its engine was bound to one."""
    cpus = os.sched_getaffinity(0)
    if len(cpus) < 2:
        pytest.skip("needs two CPUs")
    os.sched_setaffinity(0, {min(cpus)})
    try:
        steps = affinity.around_cgroups([Clone()], {}, REQUEST)
        container = Container(init_fd, [*steps, PassBaton(3)], {})
    finally:
        os.sched_setaffinity(0, cpus)
    try:
        container.cloned()
        container.expect(PASS)
        assert os.sched_getaffinity(container.pid) == cpus
    finally:
        container.end()


FINALIZE = {
    "process": {
        "noNewPrivileges": True,
        "scheduler": {"policy": "SCHED_BATCH", "nice": 3},
        "ioPriority": {"class": "IOPRIO_CLASS_IDLE"},
    },
    "linux": {
        "personality": {"domain": "LINUX32"},
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0"},
    },
}


def test_scheduling_personality_and_memory(init_fd):
    """The kernel shows the policy, the nice value, the personality and no_new_privs that were asked for."""
    steps = [Clone(), *plugin.ocifw_finalize(FINALIZE, REQUEST), PassBaton(10)]
    container = Container(init_fd, steps, {})
    try:
        container.cloned()
        container.expect(PASS)
        assert container.status()["NoNewPrivs"] == "1"
        assert os.sched_getscheduler(container.pid) == os.SCHED_BATCH
        assert os.getpriority(os.PRIO_PROCESS, container.pid) == 3
        if os.geteuid() == 0:
            with open(f"/proc/{container.pid}/personality") as file:
                assert int(file.read(), 16) == 8
    finally:
        container.end()
