"""containerd's shim drives the runtime; ctr is its user."""

from __future__ import annotations

import json

import pytest
from engines import SIZE, limit, wait_until

SLEEP = ("/bin/sleep", "1000")


def sh(script):
    return ("/bin/sh", "-c", script)


def test_output_and_status(containerd):
    """Output and errors come apart, and the status is the command's."""
    done = containerd.run(command=sh("echo out; echo err >&2; exit 7"), check=False)
    assert (done.status, done.out, done.err) == (7, "out\n", "err\n")


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("nosuch", 'exec: "nosuch": executable file not found in $PATH'),
        ("/nosuch", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
    ],
)
def test_command_that_cannot_run(containerd, command, text):
    """The user reads the runtime's message."""
    done = containerd.run(command=(command,), check=False)
    assert done.status == 1
    assert "OCI runtime create failed" in done.err and text in done.err


def test_task(containerd):
    """A task in the background is listed with its pid, has processes, and is killed and deleted."""
    containerd.start(command=sh("sleep 999 & exec sleep 1000"))
    pid = containerd.pid()
    assert containerd.status() == "RUNNING"
    wait_until(lambda: len(containerd.task("ps", "box").out.splitlines()) == 3, "no two processes")
    pids = [line.split()[0] for line in containerd.task("ps", "box").out.splitlines()[1:]]
    assert str(pid) in pids
    containerd.task("kill", "--signal", "SIGKILL", "box")
    wait_until(lambda: containerd.status() == "STOPPED", "not stopped")
    assert "exit code 137" in containerd.task("rm", "box", check=False).err
    assert containerd.task("ls", "--quiet").out == ""


def test_kill_all(containerd):
    """`kill --all` reaches all processes."""
    containerd.start(command=sh("trap '' TERM; sleep 999 & wait; sleep 0.1; wait; sleep 998"))
    wait_until(lambda: len(containerd.task("ps", "box").out.splitlines()) == 3, "no two processes")
    containerd.task("kill", "--all", "--signal", "SIGKILL", "box")
    wait_until(lambda: containerd.status() == "STOPPED", "not stopped")


def test_kill_of_stopped(containerd):
    """That a task has ended already is told as "not found", which callers take as done."""
    containerd.start(command=("/bin/true",))
    wait_until(lambda: containerd.status() == "STOPPED", "not stopped")
    done = containerd.task("kill", "box", check=False)
    assert done.status == 1
    assert "process already finished" in done.err or "not found" in done.err


def test_exec(containerd):
    """Commands are executed in a task, with their output, input and status."""
    containerd.start(command=SLEEP)
    done = containerd.task(
        "exec", "--exec-id", "e1", "box", *sh("echo out; echo err >&2; exit 5"), check=False
    )
    assert (done.status, done.out, done.err) == (5, "out\n", "err\n")
    done = containerd.task("exec", "--exec-id", "e2", "box", "cat", stdin=b"piped")
    assert done.out == "piped"
    done = containerd.task("exec", "--exec-id", "e3", "--cwd", "/tmp", "--user", "1000", "box", *sh("pwd; id -u"))  # fmt: skip
    assert done.out == "/tmp\n1000\n"
    done = containerd.task("exec", "--exec-id", "e4", "box", "nosuch", check=False)
    assert 'exec: "nosuch": executable file not found in $PATH' in done.err


def test_exec_in_background(containerd):
    """A command can be left in the task, and is among its processes."""
    containerd.start(command=SLEEP)
    containerd.task("exec", "--detach", "--exec-id", "e1", "box", "sleep", "998")
    assert len(containerd.task("ps", "box").out.splitlines()) == 3


def test_terminal(containerd):
    """Task and command get terminals of the caller's size."""
    done = containerd.on_terminal(
        *containerd.run_command("--rm", "--tty", command=sh(f"{SIZE}; tty")), rows=31, columns=97
    )
    assert done.status == 0 and "31 97" in done.out and "/dev/pts/0" in done.out, done
    containerd.start(command=SLEEP)
    done = containerd.on_terminal(
        "task", "exec", "--tty", "--exec-id", "e1", "box", *sh(f"{SIZE}; tty"), rows=29, columns=83
    )
    assert done.status == 0 and "29 83" in done.out and "/dev/pts/0" in done.out, done


def test_pause(containerd):
    """A task is paused and resumed."""
    containerd.start(command=SLEEP)
    containerd.task("pause", "box")
    assert containerd.status() == "PAUSED"
    assert limit(containerd.pid(), "freezer/freezer.state", "cgroup.freeze") in ("FROZEN", "1")
    containerd.task("resume", "box")
    assert containerd.status() == "RUNNING"


def test_metrics(containerd):
    """The shim finds memory and processes in the task's cgroup."""
    containerd.start("--memory-limit", "67108864", command=SLEEP)
    metrics = json.loads(containerd.task("metrics", "--format", "json", "box").out)
    assert int(metrics["pids"]["current"]) == 1
    usage = metrics["memory"]["usage"]
    assert int(usage["limit"] if isinstance(usage, dict) else metrics["memory"]["usage_limit"]) == 1 << 26  # fmt: skip


def test_limits(containerd):
    """Memory and processors are limited in the task's cgroup."""
    containerd.start("--memory-limit", "67108864", "--cpus", "0.5", "--cpu-shares", "512", command=SLEEP)  # fmt: skip
    pid = containerd.pid()
    assert limit(pid, "memory/memory.limit_in_bytes", "memory.max") == "67108864"
    assert limit(pid, "cpu/cpu.cfs_quota_us", "cpu.max") in ("50000", "50000 100000")


def test_checkpoint_that_fails(containerd, folder):
    """A checkpoint that cannot be made is an error, and the task goes on."""
    containerd.start(command=SLEEP)
    done = containerd.task("checkpoint", "--image-path", folder / "missing/sub", "box", check=False)
    if done.status == 0:
        pytest.skip("this machine can make checkpoints")
    assert done.err
    assert containerd.status() == "RUNNING"
    assert containerd.task("exec", "--exec-id", "e1", "box", "echo", "alive").out == "alive\n"


def test_isolation(containerd):
    """Root is read-only, capabilities are dropped, the filter loaded, as options say."""
    out = containerd.run(
        "--read-only", "--cap-drop", "CAP_CHOWN", "--seccomp",
        command=sh("echo > /x; grep -E 'CapEff|Seccomp:' /proc/self/status"), check=False,
    )  # fmt: skip
    assert "Read-only file system" in out.err
    capabilities, seccomp = [line.split()[1] for line in out.out.splitlines()]
    assert int(capabilities, 16) & 1 == 0 and int(capabilities, 16) != 0
    assert seccomp == "2"


def test_mounts_and_devices(containerd, tmp_path):
    """Binds and devices are those of the options."""
    (tmp_path / "file").write_text("host\n")
    done = containerd.run(
        "--mount", f"type=bind,src={tmp_path},dst=/host,options=rbind:ro", "--device", "/dev/fuse",
        command=sh("cat /host/file; echo > /host/file; test -c /dev/fuse && echo device"),
    )  # fmt: skip
    assert done.out == "host\ndevice\n"
    assert "Read-only file system" in done.err


def test_user_namespace(containerd):
    """Ids are mapped, and the command is root in there."""
    done = containerd.run(
        "--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536",
        command=sh("id -u; cat /proc/self/uid_map"),
    )  # fmt: skip
    assert done.out.split() == ["0", "0", "100000", "65536"]


def test_no_pivot(containerd):
    """Also without pivot_root(2) the root is the image's."""
    assert containerd.run("--no-pivot", command=("/bin/ls", "/")).out.split()[:2] == ["bin", "dev"]


def test_joined_namespace(containerd):
    """A namespace is joined by its path."""
    done = containerd.run("--with-ns", "uts:/proc/self/ns/uts", command=("/bin/hostname",), check=False)  # fmt: skip
    assert done.status == 0, done


def test_rootfs_of_a_folder(containerd, image_tree, runtime_path, cgroup_parent):
    """A root filesystem that containerd does not manage is taken."""
    done = containerd(
        "run", "--rm", "--runc-binary", runtime_path, "--cgroup", f"/{cgroup_parent}/box",
        "--rootfs", image_tree, "box", "/bin/echo", "hello",
    )  # fmt: skip
    assert done.out == "hello\n"


def test_runc_root(containerd, folder):
    """The state root is the option's."""
    containerd.start("--runc-root", f"{folder}/state-root", command=SLEEP)
    assert (folder / "state-root/default/box").is_dir()
    containerd.task("rm", "--force", "box", check=False)
    assert list((folder / "state-root/default").iterdir()) == []


def test_by_name(containerd):
    """A runtime in containerd's PATH is found by its name."""
    done = containerd(
        "run", "--rm", "--runc-binary", containerd.runtime_name, "--cgroup",
        f"/{containerd.parent}/box", "--snapshotter", "native",
        containerd.image, "box", "/bin/echo", "hello",
    )  # fmt: skip
    assert done.out == "hello\n"


def test_older_shim(containerd):
    """The older shim, which finds runc in PATH, finds ours under this name."""
    done = containerd(
        "run", "--rm", "--runtime", "io.containerd.runc.v1", "--cgroup",
        f"/{containerd.parent}/box", "--snapshotter", "native",
        containerd.image, "box", "/bin/echo", "hello",
    )  # fmt: skip
    assert done.out == "hello\n"
