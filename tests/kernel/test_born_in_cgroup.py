"""ocifw-init is started in its cgroup v2 (clone3, CLONE_INTO_CGROUP), and moves there where the kernel cannot do that."""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import whole

from ocifw import execute, phases
from ocifw.context import Request
from ocifw.errors import StepFailed
from ocifw.linux import init
from ocifw.plan import Plan
from ocifw.steps import Clone, Execute, JoinCgroup, SetCpuAffinity

ALL_CPUS = b"\xff" * 128


def mountpoint(kind, option=""):
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, target, fstype, options, *_ = line.split(" ")
        if fstype == kind and (not option or option in options.split(",")):
            return target
    return None


pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def cgroup():
    """Make a cgroup below a mountpoint; removed in the end."""
    made = []

    def make(where, what):
        if where is None:
            pytest.skip(f"needs {what}")
        folder = f"{where}/ocifw-born-{os.getpid()}"
        os.mkdir(folder)
        made.append(folder)
        return folder

    yield make
    for folder in made:
        os.rmdir(folder)


@pytest.fixture
def unified(cgroup):
    return cgroup(mountpoint("cgroup2"), "a cgroup2 mount")


@pytest.fixture
def run(context, init_path, monkeypatch, cgroup):
    """Execute a program that begins with these steps; returns the execution, which is ended with the test."""
    monkeypatch.setattr(init.init_fd, "__defaults__", (str(init_path),))
    started = []

    def execute_(*steps):
        request = Request("create", "box", "/b", "/b/r", "/s", run=True)
        program = Execute(("/bin/sleep", "1000"), ())
        plan = Plan(request, {}, [(phases.CLONE, [*steps, Clone()]), (phases.SEAL, [program])])
        started.append(execute.Execution(plan, context, None))
        started[-1].run()
        return started[-1]

    yield execute_
    for execution in started:
        if execution.context.pid:
            os.kill(execution.context.pid, signal.SIGKILL)
            os.waitpid(execution.context.pid, 0)


def members(folder):
    return [int(line) for line in Path(f"{folder}/cgroup.procs").read_text().split()]


def test_is_born_there(run, unified, context):
    """The process is in the cgroup without having moved there."""
    execution = run(JoinCgroup(f"{unified}/cgroup.procs"))
    assert members(unified) == [context.pid]
    assert not any(isinstance(step, JoinCgroup) for step in execution.program)


def test_a_v1_hierarchy_is_moved_to(run, cgroup, context):
    """The kernel knows only v2 at clone; for v1 the step is executed."""
    folder = cgroup(mountpoint("cgroup", "pids"), "cgroup v1 with pids")
    execution = run(JoinCgroup(f"{folder}/cgroup.procs"))
    assert members(folder) == [context.pid]
    assert isinstance(execution.program[0], JoinCgroup)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EBUSY])
def test_without_clone3(run, unified, context, monkeypatch, number):
    """Where clone3 fails, whatever the reason, the process moves into its cgroup."""

    def refuse(init_fd, baton, preserve_fds, cgroup, *streams, real=execute.spawn):
        if cgroup >= 0:
            raise OSError(number, os.strerror(number))
        return real(init_fd, baton, preserve_fds, cgroup, *streams)

    monkeypatch.setattr(execute, "spawn", refuse)
    run(JoinCgroup(f"{unified}/cgroup.procs"))
    assert members(unified) == [context.pid]


def test_the_order_of_others_stays(run, unified, context):
    """After a step of another kind, the process is where it is told to be when it is told to."""
    execution = run(SetCpuAffinity(ALL_CPUS), JoinCgroup(f"{unified}/cgroup.procs"))
    assert members(unified) == [context.pid]
    assert isinstance(execution.program[1], JoinCgroup)


def test_a_missing_cgroup_is_the_steps_failure(run):
    """The error is that of the step, with the path."""
    with pytest.raises(StepFailed, match="/nonexistent/cgroup.procs.*no such file"):
        run(JoinCgroup("/nonexistent/cgroup.procs"))


def test_spawn_refuses_what_is_no_cgroup(init_path):
    """A folder that is no cgroup gives an error, and starts nothing."""
    from ocifw.linux._kernel import spawn

    folder = os.open("/", os.O_PATH)
    fd = os.open(init_path, os.O_RDONLY)
    before = whole.children()
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            spawn(fd, 2, 0, folder)
        assert whole.children() == before
    finally:
        os.close(folder)
        os.close(fd)
