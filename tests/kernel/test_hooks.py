"""RunHook on the real kernel, with shell scripts as hooks."""

from __future__ import annotations

import json
import os
import select
import signal
import time

import pytest

from ocifw.errors import StepFailed
from ocifw_hooks import run as running
from ocifw_hooks.run import RunHook


def hook(script, *env, timeout_s=0, status="creating", kind="createRuntime"):
    return RunHook("/bin/sh", ("sh", "-c", script), env, timeout_s, status, kind, 1)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.mark.parametrize(("status", "pid"), [("creating", 4711), ("running", 4711), ("stopped", 0)])
def test_the_state_is_on_stdin(context, out, status, pid):
    """A hook reads the state document, with the container process's pid while there is one."""
    context.pid = 4711
    context.annotations = {"k": "ü"}
    hook(f"cat > {out}", status=status).apply(context)
    assert json.loads(out.read_text()) == {
        "ociVersion": context.oci_version,
        "id": "box",
        "status": status,
        "pid": pid,
        "bundle": context.bundle,
        "annotations": {"k": "ü"},
    }


def test_a_hook_gets_nothing_else(context, out, tmp_path, monkeypatch):
    """No environment but its own, working directory `/`, three descriptors, default signals, a group of its own."""
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.chdir(tmp_path)
    leaked = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    script = (
        'tr "\\0" "\\n" < /proc/$$/environ; pwd; ls /proc/$$/fd; cut -d" " -f5 /proc/$$/stat; echo $$;'
        "grep -E '^Sig(Blk|Ign)' /proc/self/status"
    )
    try:
        hook(f"exec > {out}; {script}", "A=1", "PATH=/usr/bin:/bin").apply(context)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.close(leaked)
    lines = out.read_text().splitlines()
    assert lines[:3] == ["A=1", "PATH=/usr/bin:/bin", "/"]
    # A shell may keep a script or what it saved from 10 on.
    assert [name for name in lines[3:-4] if int(name) < 10] == ["0", "1", "2"]
    group, pid = lines[-4:-2]
    assert group == pid
    # glibc's posix_spawn(3) leaves the two signals that it keeps for itself ignored.
    own = 1 << 31 | 1 << 32
    assert [int(line.split()[1], 16) & ~own for line in lines[-2:]] == [0, 0]
    assert os.getcwd() == str(tmp_path)


def failure(context, step):
    with pytest.raises(StepFailed) as error:
        step.apply(context)
    return str(error.value)


def test_a_failure_carries_status_and_output(context):
    """What runc says: the exit status and both outputs."""
    assert failure(context, hook("echo out; echo err >&2; exit 3")) == (
        "error running createRuntime hook #1: exit status 3, stdout: out\n, stderr: err\n"
    )


def test_a_killed_hook(context):
    """A signal is named as in runc."""
    assert failure(context, hook("kill -9 $$")) == (
        "error running createRuntime hook #1: signal: killed, stdout: , stderr: "
    )


def test_a_missing_hook(context):
    """A hook that cannot be executed names the path and the errno, and leaves no file descriptor open."""
    before = os.listdir("/proc/self/fd")
    step = RunHook("/nonexistent", ("x",), (), 0, "creating", "prestart", 0)
    assert failure(context, step) == (
        "error running prestart hook #0: fork/exec /nonexistent: no such file or directory"
    )
    step = RunHook("/etc/passwd", ("x",), (), 0, "creating", "prestart", 0)
    assert "permission denied" in failure(context, step)
    assert os.listdir("/proc/self/fd") == before


def test_large_output_is_cut(context):
    """A hook may write as much as it likes; the end of it is kept for the error."""
    script = "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done"
    text = failure(context, hook(f"{script}; echo the end; exit 1"))
    assert text.endswith("the end\n, stderr: ")
    assert len(text) < running.OUTPUT_LIMIT_BYTES + 100
    hook(script).apply(context)


def test_stdin_need_not_be_read(context):
    """A state larger than a pipe, which the hook does not read, does no harm."""
    context.annotations = {"k": "x" * 200000}
    hook("exit 0").apply(context)


def gone(pid):
    """Wait until a process is gone; its reaper may be any."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], 10)[0])
    finally:
        os.close(fd)


def test_a_late_hook_is_killed_with_its_children(out):
    """After its timeout the hook's process group is killed."""
    script = f"sleep 1000 & echo $! > {out}.new; mv {out}.new {out}; wait"
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        running.run("/bin/sh", ["sh", "-c", script], ["PATH=/usr/bin:/bin"], b"", 0.2)
    assert time.monotonic() - started < 10
    assert gone(int(out.read_text()))


@pytest.mark.slow
def test_a_timeout_reads_as_in_runc(context):
    """The error names the timeout."""
    assert failure(context, hook("sleep 1000", timeout_s=1)) == (
        "error running createRuntime hook #1: hook ran past specified timeout of 1.0s"
    )


def test_what_a_hook_leaves_behind_is_not_waited_for(context, out):
    """A background process that holds the hook's output open does not hold up the container."""
    hook(f"sleep 1000 & echo $! > {out}; exit 0", "PATH=/usr/bin:/bin", timeout_s=60).apply(context)
    pid = int(out.read_text())
    os.kill(pid, 0)
    os.kill(pid, signal.SIGKILL)


def test_lists_are_as_good_as_tuples(context):
    """A hook read back from the state, where tuples are lists, runs."""
    RunHook("/bin/sh", ["sh", "-c", 'test "$A" = 1'], ["A=1"], 0, "running", "poststart").apply(
        context
    )


def test_how_it_went_is_noted(context):
    """Every hook that ran is in the notes, whether it failed or not: where it comes from, how it ended, what it wrote."""
    step = RunHook(
        "/bin/sh",
        ("sh", "-c", "echo out; echo err >&2"),
        (),
        0,
        "creating",
        "prestart",
        0,
        at="hooks.prestart[0]",
    )
    step.apply(context)
    with pytest.raises(StepFailed):
        hook("echo out; kill -9 $$").apply(context)
    first, second = context.notes["hooks"]
    assert 0 <= first.pop("durationMs") < 10_000
    assert first == {
        "at": "hooks.prestart[0]",
        "path": "/bin/sh",
        "status": 0,
        "stdout": "out\n",
        "stderr": "err\n",
    }
    assert (second["status"], second["stdout"]) == (-9, "out\n")


@pytest.mark.slow
def test_what_a_hook_wrote_before_its_time_was_over(context):
    """A hook that is killed for running too long has its output in the error and in the notes."""
    text = failure(context, hook("echo begun; exec sleep 1000", timeout_s=1))
    assert "hook ran past specified timeout of 1.0s, stdout: begun\n, stderr: " in text
    assert context.notes["hooks"][0]["stdout"] == "begun\n"
