"""podman and docker run containers: what a user of the command line sees."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from engines import SIZE, limit, wait_until

SLEEP = ("--", "/bin/sleep", "1000")
MIB = 1 << 20


def sh(script):
    return ("--", "/bin/sh", "-c", script)


def test_output_and_status(engine):
    """Output and errors of the command come apart, and its exit status is the engine's."""
    done = engine.run(*sh("echo out; echo err >&2; exit 7"), check=False)
    assert (done.status, done.out, done.err) == (7, "out\n", "err\n")


def test_stdin(engine):
    """What is piped in arrives, to its end."""
    text = b"line\n" * 20000
    assert engine.run("-i", "--", "wc", "-c", stdin=text).out.strip() == str(len(text))


def test_much_output(engine):
    """Ten megabytes of output arrive completely."""
    script = "dd if=/dev/zero bs=1M count=10 2>/dev/null | tr '\\0' x"
    done = engine.run("--log-driver", "none", *sh(script))
    assert len(done.out) == 10 * MIB


@pytest.mark.parametrize(
    ("command", "status", "text"),
    [
        ("nosuch", 127, 'exec: "nosuch": executable file not found in $PATH'),
        ("/nosuch", 127, "no such file or directory"),
        ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
        ("/etc", 126, 'exec: "/etc": '),
    ],
)
def test_command_that_cannot_run(engine, command, status, text):
    """The engine recognizes from the runtime's text why the command cannot run, and ends with 127 or 126."""
    done = engine.run("--", command, check=False)
    assert done.status == status, done
    assert text in done.err


def test_script_without_interpreter(engine):
    """A script whose interpreter is missing ends with a status that is an error, and says so."""
    done = engine.run(*sh("printf '#!/nosuch\\n' > /x; chmod +x /x; exec /x"), check=False)
    assert done.status == 127, done


def test_unknown_option(engine):
    """125 is the engine's own failure."""
    assert engine.run("--nosuchoption", "--", "true", check=False).status == 125


def test_detached(engine):
    """A container in the background has logs, a status, an exit code."""
    engine.start(*sh("echo hello; echo oops >&2; exit 3"))
    assert engine("wait", "box").out.strip() == "3"
    wait_until(lambda: engine.status() == "exited", "never exited")
    done = engine("logs", "box")
    assert (done.out, done.err) == ("hello\n", "oops\n")
    assert engine.inspect("box", "{{.State.ExitCode}}") == "3"


def test_create_then_start(engine):
    """`create` runs nothing, `start --attach` shows the output and has the command's status."""
    engine("create", "--name", "box", *engine.placed(*sh("echo started; exit 5")))
    assert engine.status() == "created"
    done = engine("start", "--attach", "box", check=False)
    assert (done.status, done.out) == (5, "started\n")


def test_restart(engine):
    """A container that was started again runs anew, under the same id."""
    engine.start(*sh("echo run >> /runs; exec sleep 1000"))
    first = engine.pid()
    engine("restart", "--time", "0", "box")
    assert engine.pid() not in (0, first)
    wait_until(
        lambda: engine("exec", "box", "cat", "/runs", check=False).out == "run\nrun\n",
        "not started anew",
    )


def test_stop(engine):
    """`stop` sends SIGTERM, which the command handles."""
    engine.start(*sh("trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"))
    wait_until(lambda: "ready" in engine("logs", "box").out, "not ready")
    engine("stop", "--time", "30", "box")
    assert engine.inspect("box", "{{.State.ExitCode}}") == "9"


def test_stop_by_force(engine):
    """Who ignores SIGTERM is killed after the time given."""
    engine.start(*SLEEP)
    engine("stop", "--time", "1", "box")
    assert engine.status() == "exited"
    assert engine.inspect("box", "{{.State.ExitCode}}") == "137"


@pytest.mark.parametrize("signal", ["USR1", "SIGUSR1", "10"])
def test_kill(engine, signal):
    """`kill` delivers any signal, by name or number."""
    engine.start(*sh("trap 'echo got; exit 4' USR1; echo ready; while :; do sleep 0.05; done"))
    wait_until(lambda: "ready" in engine("logs", "box").out, "not ready")
    engine("kill", "--signal", signal, "box")
    assert engine("wait", "box").out.strip() == "4"


def test_kill_and_remove(engine):
    """`kill` ends it at once, `rm --force` also a running one."""
    engine.start(*SLEEP)
    engine("kill", "box")
    assert engine("wait", "box").out.strip() == "137"
    engine("rm", "box")
    engine.start(*SLEEP)
    engine.remove()
    assert engine("ps", "--all", "--quiet").out == ""


def test_kill_of_stopped(engine):
    """What has ended cannot be killed, and the engine says that it does not run."""
    engine.start("--", "true")
    engine("wait", "box")
    done = engine("kill", "box", check=False)
    assert done.status != 0
    assert re.search("not running|can only kill running", done.err)


def test_pause(engine):
    """A paused container stands still, says so, is not entered, and goes on afterwards."""
    engine.start(*sh("while :; do echo x; sleep 0.02; done"))
    engine("pause", "box")
    assert engine.status() == "paused"
    state = limit(engine.pid(), "freezer/freezer.state", "cgroup.freeze")
    assert state in ("FROZEN", "1")
    assert engine("exec", "box", "true", check=False).status != 0
    before = engine("logs", "box").out
    engine("unpause", "box")
    assert engine.status() == "running"
    wait_until(lambda: len(engine("logs", "box").out) > len(before), "does not go on")


def test_terminal(engine):
    """With a terminal the command has one, of the caller's size."""
    done = engine.on_terminal(
        "run", "--rm", "-it", *engine.placed(*sh(f"{SIZE}; tty; ls -l /dev/console")),
        rows=31, columns=97,
    )  # fmt: skip
    assert done.status == 0, done
    assert "31 97" in done.out
    assert "/dev/pts/0" in done.out
    assert "/dev/console" in done.out


def test_terminal_input(engine):
    """What is typed arrives, and the end of input ends the shell with its status."""
    done = engine.on_terminal(
        "run", "--rm", "-it", *engine.placed("--", "/bin/sh"), stdin=b"echo $((6*7))\nexit 6\n"
    )
    assert done.status == 6, done
    assert "42" in done.out


def test_detached_terminal(engine):
    """A container in the background may have a terminal, which stays open."""
    engine.start("-t", *sh("tty; exec sleep 1000"))
    wait_until(lambda: "/dev/pts/0" in engine("logs", "box").out, "no terminal")
    assert engine.status() == "running"


def test_read_only(engine):
    """With --read-only nothing of the image can be written, and a volume can."""
    done = engine.run(
        "--read-only", "--tmpfs", "/run/x", *sh("echo > /x; echo > /run/x/y && echo volume")
    )
    assert done.out == "volume\n"
    assert "Read-only file system" in done.err


def test_capabilities(engine):
    """The default set lacks CAP_SYS_ADMIN; one can be added, all can be dropped."""

    def effective(*options):
        out = engine.run(*options, *sh("grep CapEff /proc/self/status")).out
        return int(out.split()[1], 16)

    sys_admin, chown = 1 << 21, 1 << 0
    default = effective()
    assert default & chown and not default & sys_admin
    assert effective("--cap-add", "SYS_ADMIN") == default | sys_admin
    assert effective("--cap-drop", "ALL") == 0
    assert effective("--cap-drop", "ALL", "--cap-add", "CHOWN") == chown


def test_user(engine):
    """User, group and supplementary groups are those of the options and the image."""
    assert engine.run("--user", "1000:1000", *sh("id -u; id -g")).out == "1000\n1000\n"
    assert engine.run("--user", "user", *sh("id -un")).out == "user\n"
    out = engine.run("--user", "user", "--group-add", "4242", *sh("id -G")).out
    assert {"1000", "4242"} <= set(out.split())
    status = engine.run("--user", "1000", *sh("grep CapEff /proc/self/status")).out
    assert int(status.split()[1], 16) == 0


def test_environment(engine):
    """Working directory, variables, host name and hosts are the options'."""
    done = engine.run(
        "--workdir", "/tmp", "--env", "A=b c", "--hostname", "named", "--add-host", "peer:10.1.2.3",
        *sh("pwd; echo $A; hostname; grep peer /etc/hosts"),
    )  # fmt: skip
    lines = done.out.splitlines()
    assert lines[:3] == ["/tmp", "b c", "named"]
    assert lines[3].split() == ["10.1.2.3", "peer"]


def test_created_with_a_working_directory(engine):
    """Options of `create` count when the container is started later."""
    engine("create", "--name", "box", "--workdir", "/home", *engine.placed("--", "pwd"))
    assert engine("start", "--attach", "box").out == "/home\n"


def test_default_seccomp(engine):
    """The engine's default filter is loaded: unshare(2) is refused, even to root with the capability unset."""
    done = engine.run(
        *sh("grep Seccomp: /proc/self/status; unshare -m true || echo refused; uname")
    )
    assert done.out.split() == ["Seccomp:", "2", "refused", "Linux"]


def test_seccomp_of_a_file(engine, tmp_path):
    """A profile of the user's is loaded instead."""
    profile = tmp_path / "profile.json"
    profile.write_text(
        json.dumps(
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
                "syscalls": [
                    {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
                ],
            }
        )
    )
    done = engine.run("--security-opt", f"seccomp={profile}", *sh("mkdir /x"), check=False)
    assert done.status == 1
    assert "No space left on device" in done.err
    done = engine.run("--security-opt", "seccomp=unconfined", *sh("grep Seccomp: /proc/1/status"))
    assert done.out.split() == ["Seccomp:", "0"]


def test_no_new_privileges(engine):
    """The option forbids privileges by execve(2)."""
    script = sh("grep NoNewPrivs /proc/self/status")
    assert engine.run(*script).out.split()[1] == "0"
    assert engine.run("--security-opt", "no-new-privileges", *script).out.split()[1] == "1"


def test_masked_paths(engine):
    """What the engine masks reads as nothing, and /proc/sys is read-only."""
    script = "wc -c < /proc/keys; ls /proc/acpi /sys/firmware; echo 1 > /proc/sys/kernel/pid_max"
    done = engine.run(*sh(script), check=False)
    assert done.status != 0
    assert done.out.split()[0] == "0"
    assert "Read-only file system" in done.err


def test_privileged(engine, runtime_has_all_capabilities):
    """A privileged container may mount."""
    done = engine.run(
        "--privileged", *sh("mount -t tmpfs t /tmp && grep -c ' /tmp ' /proc/mounts; echo $?")
    )
    assert done.out.split() == ["1", "0"]


def test_devices(engine):
    """The default devices are there and a given one too; another cannot be opened even when made."""
    done = engine.run(
        "--device", "/dev/null:/dev/extra:rw", "--cap-add", "MKNOD",
        *sh("for d in null zero full random urandom tty extra; do test -c /dev/$d || echo $d; done;"
            "echo x > /dev/extra && echo open; mknod /tmp/kmsg c 1 11; cat /tmp/kmsg"),
        check=False,
    )  # fmt: skip
    assert done.out == "open\n"
    assert "Operation not permitted" in done.err


def test_volumes(engine, tmp_path):
    """A volume is the host's folder; a read-only one cannot be written."""
    (tmp_path / "file").write_text("host\n")
    done = engine.run(
        "-v", f"{tmp_path}:/rw", "-v", f"{tmp_path}:/ro:ro",
        *sh("cat /ro/file; echo from box > /rw/new; echo > /ro/file"),
        check=False,
    )  # fmt: skip
    assert done.status != 0
    assert done.out == "host\n"
    assert "Read-only file system" in done.err
    assert (tmp_path / "new").read_text() == "from box\n"


def test_volume_of_a_file(engine, tmp_path):
    """A single file can be a volume."""
    path = tmp_path / "file"
    path.write_text("one\n")
    assert engine.run("-v", f"{path}:/etc/some/file:ro", "--", "cat", "/etc/some/file").out == "one\n"  # fmt: skip


def test_volume_of_a_name(engine):
    """A named volume keeps what is written, from one container to the next."""
    try:
        engine.run("-v", "data:/data", *sh("echo kept > /data/file"))
        assert engine.run("-v", "data:/data", "--", "cat", "/data/file").out == "kept\n"
    finally:
        engine("volume", "rm", "data")


def test_volume_propagation(engine, folder):
    """Through an rslave volume later mounts of the host are seen, and through a private one they are not."""
    source = folder / "shared"
    source.mkdir()
    for word in (["--bind", str(source), str(source)], ["--make-shared", str(source)]):
        subprocess.run(["mount", *word], check=True)
    try:
        (source / "sub").mkdir()
        engine.start("-v", f"{source}:/slave:rslave", "-v", f"{source}:/private:rprivate", *SLEEP)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(source / "sub")], check=True)
        (source / "sub/seen").touch()
        assert engine("exec", "box", "ls", "/slave/sub").out == "seen\n"
        assert engine("exec", "box", "ls", "/private/sub").out == ""
        engine.remove()
    finally:
        subprocess.run(["umount", "--recursive", str(source)], check=True)
        (source / "sub").rmdir()
        source.rmdir()


def test_tmpfs(engine):
    """A tmpfs has the size and mode of its options."""
    done = engine.run(
        "--tmpfs", "/x:size=1m,mode=700,noexec", "--shm-size", "2m",
        *sh("stat -c %a /x; df -k /x /dev/shm | awk 'NR>1{print $2}'; grep ' /x ' /proc/mounts"),
    )  # fmt: skip
    mode, size, shm, mounted = done.out.splitlines()
    assert (mode, size, shm) == ("700", "1024", "2048")
    assert "noexec" in mounted


def test_sysctl(engine):
    """A namespaced sysctl is set."""
    done = engine.run(
        "--sysctl", "kernel.shm_rmid_forced=1", "--", "cat", "/proc/sys/kernel/shm_rmid_forced"
    )
    assert done.out == "1\n"


def test_ulimit(engine):
    """Limits of the process are the options'."""
    options = ("--ulimit", "nofile=100:200", "--ulimit", "nproc=512:512")
    assert engine.run(*options, *sh("ulimit -n; ulimit -Hn")).out.split() == ["100", "200"]


def test_limits(engine):
    """Memory, processors and pids are limited in the container's cgroup."""
    engine.start(
        "--memory", "64m", "--memory-swap", "64m", "--pids-limit", "20",
        "--cpu-period", "50000", "--cpu-quota", "25000", "--cpuset-cpus", "0", *SLEEP,
    )  # fmt: skip
    pid = engine.pid()
    assert limit(pid, "memory/memory.limit_in_bytes", "memory.max") == str(64 * MIB)
    assert limit(pid, "pids/pids.max", "pids.max") == "20"
    assert limit(pid, "cpu/cpu.cfs_quota_us", "cpu.max") in ("25000", "25000 50000")
    assert limit(pid, "cpuset/cpuset.cpus", "cpuset.cpus") == "0"


def test_cpu_shares(engine):
    """Shares of the processor reach the cgroup, converted for version 2."""
    engine.start("--cpu-shares", "512", *SLEEP)
    assert limit(engine.pid(), "cpu/cpu.shares", "cpu.weight") in ("512", "20", "59")


def test_pids_limit_holds(engine):
    """Over its limit of processes a container cannot fork."""
    script = "i=0; while [ $i -lt 30 ]; do sleep 5 & i=$((i+1)); done"
    done = engine.run("--pids-limit", "10", *sh(script), check=False)
    assert "can't fork" in done.err


def test_out_of_memory(engine):
    """Over its memory a container is killed, and dockerd knows why."""
    engine.start("--memory", "32m", "--memory-swap", "32m", "--", "tail", "/dev/zero")
    assert engine("wait", "box").out.strip() == "137"
    if engine.program == "docker":  # podman 4.3 does not notice it under cgroup v1
        assert engine.inspect("box", "{{.State.OOMKilled}}") == "true"


def test_update(engine):
    """`update` changes the limits of a running container, and leaves the others."""
    engine.start("--memory", "64m", "--memory-swap", "64m", "--pids-limit", "20", *SLEEP)
    engine("update", "--memory", "48m", "--memory-swap", "96m", "--cpu-shares", "256", "box")
    pid = engine.pid()
    assert limit(pid, "memory/memory.limit_in_bytes", "memory.max") == str(48 * MIB)
    assert limit(pid, "cpu/cpu.shares", "cpu.weight") in ("256", "10", "35")
    assert limit(pid, "pids/pids.max", "pids.max") == "20"
    assert engine("exec", "box", "echo", "alive").out == "alive\n"


def test_shared_namespaces(engine):
    """A container can join the namespaces of another, and of the host."""
    engine.start("--ipc", "shareable", *SLEEP)
    pid = engine.pid()
    kinds = ("pid", "net", "ipc")
    options = [
        word for kind in ("pid", "network", "ipc") for word in (f"--{kind}", "container:box")
    ]
    command = ["create", "--name", "second", *list(engine.placed(*options, *SLEEP))]
    if "none" in command:
        at = command.index("none")
        del command[at - 1 : at + 1]
    engine(*command)
    engine("start", "second")

    def namespace(process, kind):
        return subprocess.run(
            ["readlink", f"/proc/{process}/ns/{kind}"], capture_output=True, text=True, check=True
        ).stdout

    second = engine.pid("second")
    for kind in kinds:
        assert namespace(second, kind) == namespace(pid, kind), kind
    assert namespace(second, "mnt") != namespace(pid, "mnt")
    engine.remove("second")
    engine.remove()
    out = engine.run("--pid", "host", *sh("readlink /proc/self/ns/pid")).out
    assert out == namespace("self", "pid")


def test_stop_without_own_pid_namespace(engine):
    """Who shares the host's pid namespace is stopped with all its children."""
    engine.start("--pid", "host", *sh("sleep 1000 & sleep 1000 & echo ready; wait"))
    wait_until(lambda: "ready" in engine("logs", "box").out, "not ready")
    pid = engine.pid()
    children = subprocess.run(
        ["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    assert len(children.split()) == 2
    engine.remove()
    for child in children.split():
        wait_until(lambda child=child: not is_running(child), f"{child} still runs")


def is_running(pid):
    """Whether a process is there and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_init_process(engine):
    """With --init a small init reaps what is orphaned."""
    done = engine.run("--init", *sh("cat /proc/1/comm"), check=False)
    if done.status == 125 or "not found" in done.err:
        pytest.skip("needs the engine's init program")
    assert done.out.strip() in ("docker-init", "podman-init")


def test_top(engine):
    """`top` lists the container's processes."""
    engine.start(*sh("sleep 999 & exec sleep 1000"))
    wait_until(lambda: "sleep 1000" in engine("top", "box").out, "not listed")
    assert "sleep 999" in engine("top", "box").out


def test_stats(engine):
    """`stats` finds the container's memory and processes in its cgroup."""
    engine.start("--memory", "64m", *sh("sleep 999 & echo ready; exec sleep 1000"))
    wait_until(lambda: "ready" in engine("logs", "box").out, "not ready")
    line = engine(
        "stats", "--no-stream", "--format", "{{.MemUsage}} # {{.PIDs}} # {{.CPUPerc}}", "box"
    ).out
    memory, pids, cpu = [word.strip() for word in line.split("#")]
    assert re.match(r"[\d.]+ ?[kKM]i?B / (64MiB|67\.11MB)", memory), memory
    assert pids == "2"
    assert cpu.endswith("%")


def test_health(engine):
    """A health check is a command that the engine executes in the container."""
    engine.start(
        "--health-cmd", "test -e /healthy", "--health-interval", "1s", "--health-retries", "1",
        *sh("touch /healthy; exec sleep 1000"),
    )  # fmt: skip
    if engine.program == "podman":
        wait_until(
            lambda: engine("healthcheck", "run", "box", check=False).status == 0, "not healthy"
        )
        engine("exec", "box", "rm", "/healthy")
        assert engine("healthcheck", "run", "box", check=False).status != 0
    else:
        status = "{{.State.Health.Status}}"
        wait_until(lambda: engine.inspect("box", status) == "healthy", "not healthy")
        engine("exec", "box", "rm", "/healthy")
        wait_until(lambda: engine.inspect("box", status) == "unhealthy", "still healthy")


def test_copy_and_diff(engine, tmp_path):
    """Files go in and out of a running container, and changes are listed."""
    (tmp_path / "in").write_text("content\n")
    engine.start(*SLEEP)
    engine("cp", tmp_path / "in", "box:/copied")
    assert engine("exec", "box", "cat", "/copied").out == "content\n"
    engine("cp", "box:/etc/passwd", tmp_path / "out")
    assert "root:x:0" in (tmp_path / "out").read_text()
    assert "A /copied" in engine("diff", "box").out


def test_many_at_once(engine):
    """Eight containers that start at the same time all do their work."""
    commands = [engine.command("run", "--rm", *engine.placed(*sh(f"echo {i}"))) for i in range(8)]
    running = [
        subprocess.Popen(
            command, env=engine.environment, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for command in commands
    ]  # fmt: skip
    results = [process.communicate(timeout=60) for process in running]
    assert [out for out, _ in results] == [f"{i}\n" for i in range(8)], results


def test_info(engine):
    """The engine knows the runtime's version."""
    if engine.program == "podman":
        version = json.loads(engine("info", "--format", "json").out)["host"]["ociRuntime"][
            "version"
        ]
        assert version.startswith(f"{engine.runtime_name} version ")
    else:
        info = json.loads(engine("info", "--format", "{{json .}}").out)
        assert info["DefaultRuntime"] == engine.runtime_name
        assert info["RuncCommit"]["ID"] not in ("", "N/A")
