"""What a container's process finds: namespaces, names, cgroups, user and what it may do. See test_rootfs.py for files."""

from __future__ import annotations

import array
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

pytestmark = pytest.mark.runc_agrees

FOREVER = "exec sleep 1000"
KINDS = {
    "pid": "pid",
    "network": "net",
    "ipc": "ipc",
    "uts": "uts",
    "mount": "mnt",
    "cgroup": "cgroup",
}
MAPPING = [{"containerID": 0, "hostID": 100000, "size": 65536}]


@pytest.fixture
def output(runtime, bundle):
    """Run a script in the container to its end; returns what it wrote."""

    def run(script, **keywords):
        return runtime.run(bundle.sh(script), **keywords).out

    return run


@pytest.fixture
def status(output):
    """The fields of /proc/self/status in the container by name."""

    def run():
        pairs = (line.partition(":") for line in output("cat /proc/self/status").splitlines())
        return {name: value.split() for name, _, value in pairs}

    return run


def namespace(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def with_user_namespace(bundle):
    bundle.linux["namespaces"].append({"type": "user"})
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = MAPPING
    return bundle


# ---- namespaces --------------------------------------------------------------------------------------------------


def test_new_namespaces(runtime, bundle):
    """Every namespace that is asked for is a new one; a user namespace that is not, is the host's."""
    container_id, _ = runtime.create(bundle.sh(FOREVER))
    pid = runtime.state(container_id)["pid"]
    for kind in KINDS.values():
        assert namespace(pid, kind) != namespace("self", kind), kind
    assert namespace(pid, "user") == namespace("self", "user")


def test_namespaces_that_are_not_asked_for(runtime, bundle):
    """A namespace that the config does not name is the runtime's own."""
    names = ("network", "ipc", "pid")
    bundle.linux["namespaces"] = [n for n in bundle.linux["namespaces"] if n["type"] not in names]
    bundle.config["mounts"] = [
        m for m in bundle.config["mounts"] if m["type"] not in ("mqueue", "sysfs")
    ]
    container_id, _ = runtime.create(bundle.sh(FOREVER))
    pid = runtime.state(container_id)["pid"]
    for kind in ("net", "ipc", "pid"):
        assert namespace(pid, kind) == namespace("self", kind), kind


def test_joined_namespaces(runtime, bundle, make_bundle):
    """A namespace with a path is joined: the pod's way to share them."""
    first, _ = runtime.create(bundle.sh(FOREVER))
    pod = runtime.state(first)["pid"]
    second = make_bundle()
    second.config.pop("hostname")
    second.linux["namespaces"] = [
        {"type": kind, "path": f"/proc/{pod}/ns/{name}"}
        if kind in ("network", "ipc", "uts", "pid")
        else {"type": kind}
        for kind, name in KINDS.items()
    ]
    container_id, _ = runtime.create(second.sh(FOREVER))
    pid = runtime.state(container_id)["pid"]
    for kind in ("net", "ipc", "uts", "pid"):
        assert namespace(pid, kind) == namespace(pod, kind), kind
    for kind in ("mnt", "cgroup"):
        assert namespace(pid, kind) != namespace(pod, kind), kind
    # The first process of a pid namespace takes all others with it.
    runtime("delete", "--force", container_id)


def test_a_namespace_that_is_none(runtime, bundle):
    """A path that is no namespace of the type is an error with the path, and nothing is left."""
    for path in ("/nonexistent", "/proc/self/ns/uts", "/dev/null"):
        for entry in bundle.linux["namespaces"]:
            if entry["type"] == "network":
                entry["path"] = path
        done = runtime.run(bundle.write(), check=False)
        assert done.status == 1, path
    assert runtime("list", "-q").out == ""


def test_hostname(output, bundle):
    """The container has its host name and domain name, and the host keeps its own."""
    before = os.uname().nodename
    assert output("hostname") == "box\n"
    assert os.uname().nodename == before


def test_domainname(output, bundle, is_ocifw):
    """The container has its domain name."""
    if not is_ocifw:
        pytest.skip("runc 1.1 does not know it")
    bundle.config["domainname"] = "example.org"
    assert output("cat /proc/sys/kernel/domainname") == "example.org\n"


def test_the_loopback_interface_is_up(output):
    """A new network namespace has its loopback interface up, and no other."""
    lines = output("ip -o link").splitlines()
    assert "LOOPBACK,UP" in lines[0]
    assert [line for line in lines if "UP" in line] == lines[:1]


def test_pid_1(output):
    """In a new pid namespace the process is number 1, leads its session, and sees no others."""
    out = output("echo $$; cut -d' ' -f4-6 /proc/self/stat; echo /proc/[0-9]*")
    assert out.splitlines() == ["1", "1 1 1", "/proc/1"] or out.splitlines()[0] == "1"
    pids = out.splitlines()[2].split()
    assert pids == ["/proc/1"]


def test_session(output):
    """The process leads a session of its own."""
    assert output("read -r _ _ _ _ group session _ </proc/1/stat; echo $group $session") == "1 1\n"


def test_user_namespace(runtime, bundle):
    """Ids are mapped as the config says; root of the container is nobody special on the host."""
    container_id, _ = runtime.create(with_user_namespace(bundle).sh(FOREVER))
    pid = runtime.state(container_id)["pid"]
    assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", "100000", "65536"]
    assert Path(f"/proc/{pid}/gid_map").read_text().split() == ["0", "100000", "65536"]
    runtime("start", container_id)
    fields = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    assert fields["Uid"].split() == ["100000"] * 4
    assert fields["Gid"].split() == ["100000"] * 4
    assert fields["Groups"].split() in ([], ["100000"])
    for kind in KINDS.values():
        assert namespace(pid, kind) != namespace("self", kind)


def test_inside_a_user_namespace(output, bundle):
    """In a user namespace, devices, mounts and the user work as without."""
    with_user_namespace(bundle)
    bundle.process["user"] = {"uid": 7, "gid": 8, "additionalGids": [9]}
    out = output(
        "id -u; id -g; id -G; echo text >/dev/null && head -c3 /dev/zero | wc -c; test -w /dev/tty && echo tty"
    )
    assert out.split() == ["7", "8", "8", "9", "3", "tty"]


def test_a_user_that_is_not_mapped(runtime, bundle):
    """A user that the user namespace does not have is refused."""
    with_user_namespace(bundle)
    bundle.process["user"] = {"uid": 70000, "gid": 0}
    done = runtime.run(bundle.write(), check=False)
    assert done.status == 1 and "unmapped" in done.err


# ---- the process -------------------------------------------------------------------------------------------------


def test_user(output, bundle):
    """uid, gid, additional groups and umask are the config's."""
    bundle.process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o077}
    assert output("id -u; id -g; id -G; umask").split() == [
        "1000",
        "1001",
        "1001",
        "5",
        "6",
        "0077",
    ]


def test_default_umask_and_no_groups(runtime, output):
    """The umask is 0022 whatever the runtime's is, and no group of the caller stays."""
    script = "umask; grep Groups: /proc/self/status | tr -s '\\t ' ' '"
    out = output(
        script, through=["setpriv", "--groups", "4,20", "sh", "-c", 'umask 077; exec "$@"', "sh"]
    )
    assert out.splitlines()[0] == "0022"
    assert out.splitlines()[1].split() == ["Groups:"]


def test_environment(output, bundle):
    """The environment is the config's and nothing of the runtime's; the last of two values counts."""
    bundle.process["env"] = ["PATH=/bin", "A=1", "B=two words", "A=2", "HOME=/tmp", "EMPTY="]
    env = {**os.environ, "FROM_THE_CALLER": "1"}
    lines = output("env; echo $A", env=env).splitlines()
    assert lines.pop() == "2"
    assert {line for line in lines if not line.startswith(("PWD=", "SHLVL="))} == {
        "PATH=/bin", "A=2", "B=two words", "HOME=/tmp", "EMPTY=",
    }  # fmt: skip


def test_home(runtime, bundle):
    """HOME comes from the container's own /etc/passwd where the environment has none; a user without entry gets `/`."""
    for uid, home in ((0, "/root"), (1000, "/home"), (7, "/")):
        bundle.process["user"] = {"uid": uid, "gid": 0}
        assert runtime.run(bundle.sh("echo $HOME")).out == f"{home}\n"
    container_id = runtime.running(bundle.sh(FOREVER))
    assert runtime("exec", "-u", "1000", container_id, "sh", "-c", "echo $HOME").out == "/home\n"


def test_arguments_reach_it_unchanged(output, bundle, runtime):
    """Arguments are passed as they are, whatever characters they have."""
    arguments = ["a b", "", "*", "ä€", "'\"\\", "-n"]
    bundle.process["args"] = ["/bin/sh", "-c", 'printf "<%s>" "$@"', "sh", *arguments]
    assert runtime.run(bundle.write()).out == "".join(f"<{argument}>" for argument in arguments)


def test_path_of_the_container_is_searched(runtime, bundle, make_bundle):
    """The program is looked for in PATH of the container's environment, inside the root."""
    bundle = make_bundle(rootfs=True)
    folder = Path(bundle.config["root"]["path"], "opt/tools")
    folder.mkdir(parents=True)
    (folder / "tool").write_text("#!/bin/sh\necho found $0\n")
    (folder / "tool").chmod(0o755)
    bundle.process["args"] = ["tool"]
    bundle.process["env"] = ["PATH=/opt/tools:/bin"]
    assert runtime.run(bundle.write()).out == "found /opt/tools/tool\n"


def test_cwd(output, bundle):
    """The process starts in its working directory."""
    bundle.process["cwd"] = "/tmp"
    assert output("pwd") == "/tmp\n"


def test_a_missing_cwd_is_made(runtime, make_bundle):
    """A working directory that is missing is made, as engines expect of it."""
    bundle = make_bundle(rootfs=True)
    bundle.process["cwd"] = "/srv/new/folder"
    bundle.config["root"]["readonly"] = False
    assert runtime.run(bundle.sh("pwd")).out == "/srv/new/folder\n"


def test_cwd_that_only_the_user_may_enter(runtime, make_bundle):
    """A working directory of the user's that root without CAP_DAC_OVERRIDE may not search is entered as the user."""
    bundle = make_bundle(rootfs=True)
    folder = Path(bundle.config["root"]["path"], "home/own")
    folder.mkdir(mode=0o700)
    os.chown(folder, 1000, 1000)
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.process["cwd"] = "/home/own"
    assert runtime.run(bundle.sh("pwd")).out == "/home/own\n"


def test_rlimits_and_oom_score_adj(output, bundle):
    """Resource limits and oom_score_adj are set."""
    bundle.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 111, "hard": 222},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_FSIZE", "soft": 1 << 20, "hard": 1 << 21},
    ]
    bundle.process["oomScoreAdj"] = 321
    out = output("ulimit -n; ulimit -Hn; ulimit -c; ulimit -f; cat /proc/self/oom_score_adj")
    assert out.split() == ["111", "222", "0", "2048", "321"]


def test_oom_score_adj_of_the_caller(output):
    """Without oomScoreAdj the process has the caller's."""
    wanted = Path("/proc/self/oom_score_adj").read_text()
    assert output("cat /proc/self/oom_score_adj") == wanted


def test_capabilities(status):
    """Each set has what the config says; without inheritable ones nothing is ambient."""
    fields = status()
    wanted = [f"{1 << 5 | 1 << 10 | 1 << 29:016x}"]
    assert [fields[f"Cap{name}"] for name in ("Prm", "Eff", "Bnd")] == [wanted] * 3
    assert fields["CapInh"] == fields["CapAmb"] == ["0" * 16]


def test_capabilities_of_a_user(status, bundle):
    """Ambient capabilities are what a program of a user without file capabilities keeps."""
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    names = ["CAP_NET_BIND_SERVICE"]
    bundle.process["capabilities"] = dict.fromkeys(
        ("bounding", "effective", "permitted", "inheritable", "ambient"), names
    )
    fields = status()
    wanted = [f"{1 << 10:016x}"]
    assert [fields[f"Cap{name}"] for name in ("Prm", "Eff", "Bnd", "Inh", "Amb")] == [wanted] * 5


def test_without_capabilities(status, bundle):
    """A config without capabilities gives none at all, root or not."""
    del bundle.process["capabilities"]
    fields = status()
    assert {name: value for name, value in fields.items() if name.startswith("Cap")} == {
        key: ["0" * 16] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    }


def test_unknown_capabilities_are_no_error(runtime, bundle):
    """A capability that the kernel does not know is left out with a warning: engines list newer ones."""
    names = [*bundle.process["capabilities"]["bounding"], "CAP_FROM_THE_FUTURE"]
    bundle.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), names)
    done = runtime.run(bundle.sh("echo ran"))
    assert done.out == "ran\n"


def test_no_new_privs(status, bundle):
    """no_new_privs is set when it is asked for, and only then."""
    assert status()["NoNewPrivs"] == ["1"]
    bundle.process["noNewPrivileges"] = False
    assert status()["NoNewPrivs"] == ["0"]


def test_signals_are_as_in_a_fresh_process(runtime, bundle, is_ocifw):
    """Signals that the caller ignores or blocks are neither ignored nor blocked in the container."""
    if not is_ocifw:
        pytest.skip("runc passes the caller's mask on")
    bundle.process["args"] = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]
    through = ["env", "--ignore-signal=PIPE,HUP,USR1", "--block-signal=TERM,USR2"]
    wanted = ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16]
    assert runtime.run(bundle.write(), through=through).out.split() == wanted
    runtime.running(bundle, through=through)
    runtime.wait_for(runtime.ids[-1], "stopped")
    assert runtime.created.out_path.read_text().split() == wanted


def test_only_stdio_is_open(output):
    """No file descriptor but the three standard ones is open."""
    assert output("ls /proc/self/fd").split() == ["0", "1", "2", "3"]


def test_fds_of_the_caller_are_closed(output):
    """What the caller has open and does not ask to pass on is closed."""
    through = ["sh", "-c", 'exec "$@" 3</etc/passwd 5</etc 9</', "sh"]
    assert output("ls /proc/self/fd", through=through).split() == ["0", "1", "2", "3"]


def test_preserve_fds(runtime, bundle, tmp_path):
    """--preserve-fds N passes 3 to 2+N, and no more."""
    for number in (3, 4, 5):
        (tmp_path / str(number)).write_text(f"file{number}")
    opened = " ".join(f"{number}<{tmp_path}/{number}" for number in (3, 4, 5))
    bundle.sh("cat <&3; cat <&4; test -e /proc/self/fd/5 && ls -l /proc/self/fd/5 || echo closed")
    done = runtime.run(
        bundle, "--preserve-fds", "2", through=["sh", "-c", f'exec "$@" {opened}', "sh"]
    )
    assert done.out.startswith("file3file4") and f"{tmp_path}/5" not in done.out


def test_listen_fds(runtime, bundle, tmp_path):
    """Sockets of systemd's activation are passed on, with LISTEN_FDS and LISTEN_PID for the container."""
    (tmp_path / "3").write_text("socket")
    bundle.sh("echo $LISTEN_FDS $LISTEN_PID; cat <&3")
    script = f'export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@" 3<{tmp_path}/3'
    assert runtime.run(bundle, through=["sh", "-c", script, "sh"]).out == "1 1\nsocket"


def test_dev_null_is_the_containers(runtime, bundle):
    """Standard streams that are the caller's /dev/null become the container's."""
    bundle.sh(
        "test /proc/self/fd/0 -ef /dev/null && test /proc/self/fd/2 -ef /dev/null && echo same"
    )
    runtime.running(bundle, through=["sh", "-c", 'exec "$@" 2>/dev/null', "sh"])
    runtime.wait_for_output("same")


def test_streams_belong_to_the_user(runtime, bundle):
    """The process can open its streams again by their names, as programs that log to /dev/stderr do."""
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.sh("echo again >/dev/stdout; echo error >/dev/stderr")
    read, write = os.pipe()
    process = subprocess.Popen(
        runtime.command("run", "--bundle", bundle.path, runtime.id()), stdout=write, stderr=write
    )
    os.close(write)
    with os.fdopen(read) as file:
        assert sorted(file.read().splitlines()) == ["again", "error"]
    assert process.wait() == 0


def test_keyring(output, runtime, bundle):
    """The process has a session keyring of its own, named after the container; with --no-new-keyring the caller's."""
    if not os.path.exists("/proc/keys"):
        pytest.skip("needs keyrings")
    bundle.linux["maskedPaths"] = []
    out = output("cat /proc/keys")
    if not out:
        pytest.skip("needs a kernel that lists keys")
    assert f"_ses.{runtime.ids[-1]}" in out
    done = runtime.run(bundle.sh("cat /proc/keys"), "--no-new-keyring")
    assert f"_ses.{runtime.ids[-1]}" not in done.out


def test_signals_are_passed_on(runtime, bundle):
    """In the foreground, a signal to the runtime reaches the process, whose exit status is the runtime's."""
    bundle.sh("trap 'echo got; exit 6' TERM; echo ready; while :; do sleep 0.01; done")
    command = runtime.command("run", "--bundle", bundle.path, runtime.id())
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "got\n"
        assert process.wait(10) == 6


@pytest.mark.usefixtures("only_ocifw")
def test_scheduler_and_priorities(output, bundle):
    """Scheduling policy, nice value, I/O priority and personality are set."""
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 7}
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE", "priority": 0}
    bundle.linux["personality"] = {"domain": "LINUX32"}
    script = "cut -d' ' -f19,41 /proc/self/stat; ionice -p 1; uname -m"
    lines = output(script).splitlines()
    assert lines[:2] == ["7 3", "idle"]
    assert lines[2] in ("i686", "armv8l", os.uname().machine)


@pytest.mark.usefixtures("only_ocifw")
def test_time_namespace(runtime, output, bundle):
    """A time namespace has its offsets, for processes of exec, too."""
    bundle.linux["namespaces"].append({"type": "time"})
    bundle.linux["timeOffsets"] = {"boottime": {"secs": 1000000, "nanosecs": 0}}
    host = float(Path("/proc/uptime").read_text().split()[0])
    inside = float(output("cat /proc/uptime").split()[0])
    assert 1000000 <= inside - host < 1000100
    container_id = runtime.running(bundle.sh(FOREVER))
    inside = float(runtime("exec", container_id, "cat", "/proc/uptime").out.split()[0])
    assert 1000000 <= inside - host < 1000100


def test_exec_in_joined_namespaces(runtime, bundle, make_bundle):
    """A process of exec is in the namespaces that its container joined and in those that it made."""
    pod = runtime.state(runtime.running(bundle.sh(FOREVER)))["pid"]
    second = make_bundle()
    for entry in second.linux["namespaces"]:
        if entry["type"] in ("pid", "network"):
            entry["path"] = f"/proc/{pod}/ns/{KINDS[entry['type']]}"
    container_id = runtime.running(second.sh(FOREVER))
    pid = runtime.state(container_id)["pid"]
    script = "for n in pid net ipc uts mnt cgroup; do readlink /proc/self/ns/$n; done"
    found = runtime("exec", container_id, "sh", "-c", script).out.split()
    assert found == [namespace(pid, kind) for kind in ("pid", "net", "ipc", "uts", "mnt", "cgroup")]
    assert found[:2] == [namespace(pod, kind) for kind in ("pid", "net")]
    runtime("delete", "--force", container_id)


def test_without_any_namespace(runtime, make_bundle):
    """A container of a mount namespace alone runs, with everything else the host's."""
    bundle = make_bundle(rootfs=True)
    bundle.linux["namespaces"] = [{"type": "mount"}]
    del bundle.config["hostname"]
    bundle.config["mounts"] = bundle.config["mounts"][:2]
    bundle.linux["maskedPaths"] = bundle.linux["readonlyPaths"] = []
    assert runtime.run(bundle.sh("hostname")).out.strip() == os.uname().nodename


# ---- seccomp -----------------------------------------------------------------------------------------------------

DENY_CHMOD = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
    "syscalls": [
        {"names": ["chmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
        {"names": ["sethostname"], "action": "SCMP_ACT_KILL_PROCESS"},
    ],
}


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_seccomp(runtime, bundle, no_new_privileges):
    """The filter is in force: a call fails with its errno, another ends the process; with and without no_new_privs."""
    bundle.linux["seccomp"] = DENY_CHMOD
    bundle.process["noNewPrivileges"] = no_new_privileges
    bundle.process["capabilities"] = {
        key: ["CAP_SYS_ADMIN"] for key in ("bounding", "effective", "permitted")
    }
    script = "grep ^Seccomp: /proc/self/status; chmod 1 /dev/null; (hostname x); echo $?"
    done = runtime.run(bundle.sh(script))
    assert done.out.split() == ["Seccomp:", "2", str(128 + signal.SIGSYS)]
    assert "No space left on device" in done.err


def test_without_seccomp(status):
    """Without a filter there is none."""
    assert status()["Seccomp"] == ["0"]


def test_dockers_filter(runtime, bundle, repository):
    """With Docker's filter ordinary programs run, and what it forbids fails."""
    path = repository / "tests/core/engines/docker-28.5-v2-default.config.json"
    bundle.linux["seccomp"] = json.loads(path.read_text())["linux"]["seccomp"]
    script = "grep ^Seccomp: /proc/self/status; seq 3 | wc -l; unshare -r true || echo refused"
    assert runtime.run(bundle.sh(script)).out.split() == ["Seccomp:", "2", "3", "refused"]


# ---- cgroups -----------------------------------------------------------------------------------------------------


def v1(bundle, controller, name):
    """The content of a control file of the container's cgroup."""
    if not Path("/sys/fs/cgroup", controller, "tasks").exists():
        pytest.skip(f"needs the cgroup v1 controller {controller}")
    return (bundle.cgroup(controller) / name).read_text().strip()


def test_cgroup_placement(runtime, bundle):
    """The process is in the cgroup that cgroupsPath names, in every hierarchy."""
    container_id, _ = runtime.create(bundle.sh(FOREVER))
    lines = Path(f"/proc/{runtime.state(container_id)['pid']}/cgroup").read_text().splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "rdma", "misc"):
            continue
        assert path.endswith(bundle.cgroup_path), line


def test_cgroup_namespace(output):
    """In a cgroup namespace of its own the container is at the root."""
    for line in output("cat /proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        assert controllers in ("", "rdma", "misc") or path == "/", line


def test_limits(runtime, bundle):
    """Limits of memory, CPU and processes are written, in the kernel's units (of v2: see test_cgroup_v2.py)."""
    if not Path("/sys/fs/cgroup/memory/tasks").exists():
        pytest.skip("needs cgroup v1")
    bundle.linux["resources"] |= {
        "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swappiness": 7},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000},
        "pids": {"limit": 33},
    }
    runtime.create(bundle.sh(FOREVER))
    assert v1(bundle, "memory", "memory.limit_in_bytes") == str(64 << 20)
    assert v1(bundle, "memory", "memory.soft_limit_in_bytes") == str(32 << 20)
    assert v1(bundle, "memory", "memory.swappiness") == "7"
    assert v1(bundle, "cpu", "cpu.shares") == "512"
    assert v1(bundle, "cpu", "cpu.cfs_quota_us") == "50000"
    assert v1(bundle, "cpu", "cpu.cfs_period_us") == "100000"
    assert v1(bundle, "pids", "pids.max") == "33"


def test_pids_limit_works(output, bundle):
    """No more processes can be made than the limit allows."""
    bundle.linux["resources"]["pids"] = {"limit": 5}
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo unlimited"
    done_out = output(script + "; kill $(jobs -p)", check=False)
    assert "unlimited" not in done_out


def test_memory_limit_works(runtime, bundle):
    """A process that needs more memory than the limit is killed."""
    bundle.linux["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
    bundle.linux["namespaces"] = [n for n in bundle.linux["namespaces"] if n["type"] != "pid"]
    bundle.process["args"] = [
        "/bin/sh",
        "-c",
        "exec head -c 67108864 /dev/zero | tail -c 67108864 | wc -c",
    ]
    assert runtime.run(bundle.write()).out != "67108864\n"


def test_device_rules(runtime, bundle):
    """A device that the rules do not allow cannot be opened, whatever its node's mode says; one that they do, can."""
    bundle.linux["devices"] = [
        {"path": "/dev/allowed", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666},
        {"path": "/dev/denied", "type": "c", "major": 1, "minor": 12, "fileMode": 0o666},
    ]
    bundle.linux["resources"]["devices"].append(
        {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rw"}
    )
    bundle.process["capabilities"] = {
        key: ["CAP_SYS_ADMIN"] for key in ("bounding", "effective", "permitted")
    }
    script = ": <>/dev/null && echo null; (: >/dev/allowed) && echo allowed; (: </dev/denied) || echo denied"
    done = runtime.run(bundle.sh(script))
    assert done.out.split() == ["null", "allowed", "denied"]
    assert "/dev/denied: Operation not permitted" in done.err


def test_the_cgroup_is_removed(runtime, bundle):
    """With the container its cgroups go, those that it made itself, too."""
    container_id = runtime.running(bundle.sh(FOREVER))
    folder = bundle.cgroup("pids")
    (folder / "sub").mkdir()
    (folder / "sub/below").mkdir()
    runtime("delete", "--force", container_id)
    assert not folder.exists()


def test_cgroups_path_unset(runtime, bundle, systemd):
    """Without cgroupsPath the cgroup is named after the container."""
    del bundle.linux["cgroupsPath"]
    container_id, _ = runtime.create(bundle.sh(FOREVER))
    pid = runtime.state(container_id)["pid"]
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    path = next(line for line in lines if ":pids:" in line or line.startswith("0::"))
    assert path.endswith(f"/runc-{container_id}.scope" if systemd else f"/{container_id}")


def test_no_cgroup(runtime, bundle):
    """With `--cgroup-manager disabled`, podman's --cgroups=disabled, the container stays in the runtime's cgroup."""
    runtime.options = ["--cgroup-manager", "disabled"]
    bundle.linux["resources"]["pids"] = {"limit": 50}
    container_id, done = runtime.create(bundle.sh(FOREVER))
    assert "linux.resources.pids has no effect" in done.err
    pid = runtime.state(container_id)["pid"]
    assert Path(f"/proc/{pid}/cgroup").read_text() == Path("/proc/self/cgroup").read_text()
    runtime("start", container_id)
    assert runtime("exec", container_id, "echo", "works").out == "works\n"
    assert runtime.pids(container_id) == [pid]


# ---- sysctl ------------------------------------------------------------------------------------------------------


def test_sysctl(output, bundle):
    """Sysctls of the container's namespaces are set, and the host's stay."""
    bundle.linux["sysctl"] = {
        "net.ipv4.ip_forward": "1",
        "net/ipv4/conf/lo/rp_filter": "2",
        "kernel.shmmni": "1234",
        "fs.mqueue.msg_max": "77",
    }
    before = Path("/proc/sys/kernel/shmmni").read_text()
    names = "net/ipv4/ip_forward net/ipv4/conf/lo/rp_filter kernel/shmmni fs/mqueue/msg_max"
    assert output(f"cd /proc/sys; cat {names}").split() == ["1", "2", "1234", "77"]
    assert Path("/proc/sys/kernel/shmmni").read_text() == before


def test_a_sysctl_of_the_host(runtime, bundle):
    """A sysctl that is not of a namespace of the container is refused."""
    for key in ("kernel.panic", "vm.swappiness", "kernel.core_pattern", "fs.file-max"):
        bundle.linux["sysctl"] = {key: "1"}
        done = runtime.run(bundle.write(), check=False)
        assert done.status == 1 and key in done.err, key


# ---- NOTIFY_SOCKET -----------------------------------------------------------------------------------------------


class ServiceManager:
    """A socket as systemd's, to which services say that they are ready."""

    def __init__(self, path):
        self.env = {**os.environ, "NOTIFY_SOCKET": str(path)}
        self.messages = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.thread = threading.Thread(target=self._receive)
        self.thread.start()

    def _receive(self):
        """Read to an empty message. File descriptors are closed: that answers BARRIER=1."""
        while True:
            data, control, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(64))
            for _, _, fds in control:
                for fd in array.array("i", fds):
                    os.close(fd)
            if not data:
                return
            self.messages.append(data.decode().strip())

    def end(self):
        """All messages but BARRIER=1."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.connect(self.socket.getsockname())
            client.send(b"")
        self.thread.join()
        self.socket.close()
        return [message for message in self.messages if message != "BARRIER=1"]


@pytest.fixture
def service_manager(tmp_path, is_ocifw):
    if not is_ocifw:
        pytest.skip("runc 1.1 does not notice here that the container has ended")
    made = ServiceManager(tmp_path / "notify.sock")
    yield made
    if made.thread.is_alive():
        made.end()


SAY_READY = r"""
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(void) {
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    strncpy(to.sun_path, getenv("NOTIFY_SOCKET"), sizeof to.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    const char text[] = "STATUS=soon\nREADY=1";
    if (sendto(fd, text, sizeof text - 1, 0, (struct sockaddr *)&to, sizeof to) < 0)
        return 1;
    pause();
}
"""


@pytest.fixture
def service(make_bundle):
    """A bundle whose program says that it is ready, which none of busybox can."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    made = make_bundle(rootfs=True)
    program = f"{made.config['root']['path']}/bin/service"
    command = ["gcc", "-static", "-o", program, "-x", "c", "-"]
    subprocess.run(command, input=SAY_READY, text=True, check=True)
    made.process["args"] = ["/bin/service"]
    return made.write()


def test_notify_socket(runtime, service, service_manager):
    """With NOTIFY_SOCKET, what the container says of its readiness is passed on, with its pid; `start` waits for it."""
    container_id, _ = runtime.create(service, env=service_manager.env)
    assert service_manager.messages == []
    runtime("start", container_id, env=service_manager.env)
    pid = runtime.state(container_id)["pid"]
    assert service_manager.end() == ["READY=1", f"MAINPID={pid}"]


def test_notify_socket_of_run(runtime, service, service_manager):
    """`run --detach` returns when the container is ready."""
    runtime.run(service, "--detach", env=service_manager.env)
    pid = runtime.state(runtime.ids[-1])["pid"]
    assert service_manager.end() == ["READY=1", f"MAINPID={pid}"]
