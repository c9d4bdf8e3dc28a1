"""exec: what another process in a container gets from the command line, from a document, and from the container."""

from __future__ import annotations

import array
import json
import os
import socket
from pathlib import Path

import pytest

FOREVER = "exec sleep 1000"
STATUS = "cat /proc/self/status"

runc_agrees = pytest.mark.runc_agrees


@pytest.fixture
def container(runtime, bundle):
    """The id of a running container."""
    return runtime.running(bundle.sh(FOREVER))


@pytest.fixture
def process_file(bundle, tmp_path):
    """Write a process document: the container's own process with changes."""

    def write(**changes):
        path = tmp_path / "process.json"
        path.write_text(json.dumps({**bundle.process, **changes}))
        return path

    return write


def fields(status):
    """The fields of /proc/PID/status by name."""
    pairs = (line.partition(":") for line in status.splitlines())
    return {name: value.split() for name, _, value in pairs}


def namespaces(pid):
    folder = f"/proc/{pid}/ns"
    kinds = ("cgroup", "ipc", "mnt", "net", "pid", "uts", "user", "time")
    return {kind: os.readlink(f"{folder}/{kind}") for kind in kinds}


def cgroups(pid):
    return Path(f"/proc/{pid}/cgroup").read_text()


# ---- exit status -------------------------------------------------------------------------------------------------


@runc_agrees
def test_the_processs_status_and_output(runtime, container):
    """exec ends with the process's status and writes what it wrote."""
    done = runtime("exec", container, "sh", "-c", "echo out; echo err >&2; exit 3", check=False)
    assert (done.status, done.out, done.err) == (3, "out\n", "err\n")


@runc_agrees
def test_a_signal_gives_128_and_its_number(runtime, container):
    """A process that a signal ended gives 128+N."""
    assert runtime("exec", container, "sh", "-c", "kill -9 $$", check=False).status == 137


@runc_agrees
def test_stdin_reaches_the_process(runtime, container):
    """What stands on standard input is read by the process, up to its end."""
    assert runtime("exec", container, "cat", stdin=b"one\ntwo").out == "one\ntwo"


@runc_agrees
def test_a_failure_is_255(runtime, container, tmp_path):
    """A process that cannot be run gives 255, the errno's text with the command's name, and no pid file."""
    pid_file = tmp_path / "pid"
    for command, words in (
        ("nonexistent", "executable file not found in $PATH"),
        ("/nonexistent", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
    ):
        done = runtime("exec", "--pid-file", pid_file, container, command, check=False)
        assert done.status == 255 and words in done.err and command in done.err, (command, done)
        assert not pid_file.exists()


@runc_agrees
def test_detached_failure_is_reported(runtime, container, tmp_path):
    """Detached, too, a process that cannot be run is an error and leaves no pid file."""
    pid_file = tmp_path / "pid"
    done = runtime("exec", "-d", "--pid-file", pid_file, container, "nonexistent", check=False)
    assert done.status == 255 and "executable file not found" in done.err
    assert not pid_file.exists()


@runc_agrees
def test_unknown_container(runtime):
    """exec in an unknown container is 255, and says `does not exist`."""
    done = runtime("exec", "unknown", "true", check=False)
    assert done.status == 255 and "does not exist" in done.err


@runc_agrees
def test_stopped_container(runtime, bundle):
    """Nothing can be run in a stopped container."""
    container_id = runtime.running(bundle.sh("true"))
    runtime.wait_for(container_id, "stopped")
    done = runtime("exec", container_id, "true", check=False)
    assert done.status == 255 and "cannot exec in a stopped container" in done.err


@runc_agrees
def test_without_a_command(runtime, container):
    """Neither command nor document is an error."""
    assert runtime("exec", container, check=False).status != 0


@runc_agrees
def test_options_after_the_id_belong_to_the_command(runtime, container):
    """Everything after the id is the command's, options too."""
    assert runtime("exec", container, "echo", "--cwd", "-u", "--").out == "--cwd -u --\n"


# ---- in which status ---------------------------------------------------------------------------------------------


@runc_agrees
def test_in_a_created_container(runtime, bundle):
    """A process can be run in a container that was created and not started."""
    container_id, _ = runtime.create(bundle.sh(FOREVER))
    assert runtime("exec", container_id, "echo", "here").out == "here\n"
    assert runtime.status(container_id) == "created"


@runc_agrees
def test_in_a_paused_container(runtime, container):
    """A process in a paused container is refused: it would hang."""
    runtime("pause", container)
    done = runtime("exec", container, "true", check=False)
    assert done.status == 255
    assert "cannot exec in a paused container (use --ignore-paused to override)" in done.err
    runtime("resume", container)


# ---- detached ----------------------------------------------------------------------------------------------------


@runc_agrees
def test_detached_with_a_pid_file(runtime, container, tmp_path):
    """Detached, exec returns at once; the pid file names the host's pid of the process, which is ours to wait for."""
    pid_file = tmp_path / "pid"
    runtime("exec", "--detach", "--pid-file", pid_file, container, "sleep", "1003")
    pid = int(pid_file.read_text())
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001003\x00"
    parent = fields(Path(f"/proc/{pid}/status").read_text())["PPid"]
    assert parent == [str(os.getpid())]
    assert pid in runtime.pids(container)


@runc_agrees
def test_namespaces_and_cgroups_are_the_containers(runtime, container, tmp_path):
    """The process is in the container's namespaces, cgroups and root."""
    pid_file = tmp_path / "pid"
    runtime("exec", "--detach", "--pid-file", pid_file, container, "sleep", "1003")
    pid, init = int(pid_file.read_text()), runtime.state(container)["pid"]
    assert namespaces(pid) == namespaces(init) != namespaces("self")
    assert cgroups(pid) == cgroups(init) != cgroups("self")
    assert os.path.samefile(f"/proc/{pid}/root", f"/proc/{init}/root")


@runc_agrees
def test_in_a_user_namespace(runtime, bundle):
    """In a container with a user namespace the process is mapped as the container's is."""
    bundle.linux["namespaces"].append({"type": "user"})
    mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = mapping
    container_id = runtime.running(bundle.sh(FOREVER))
    out = runtime("exec", container_id, "sh", "-c", "id -u; cat /proc/self/uid_map").out
    assert out.split() == ["0", "0", "100000", "65536"]
    assert runtime("exec", "-u", "5:6", container_id, "id").out.startswith("uid=5 gid=6")


@runc_agrees
def test_session_and_no_leaked_fds(runtime, container):
    """The process leads a session of its own and has no file descriptors but the three standard ones."""
    out = runtime(
        "exec", container, "sh", "-c", "echo $$; cut -d' ' -f6 /proc/self/stat; ls /proc/self/fd"
    ).out
    pid, session, *fds = out.split()
    assert pid == session
    # The last is that of ls, which reads the folder.
    assert fds == ["0", "1", "2", "3"]


@runc_agrees
def test_preserve_fds(runtime, container, tmp_path):
    """--preserve-fds passes file descriptors from 3 on, in order."""
    path = tmp_path / "passed"
    path.write_text("content")
    through = ["sh", "-c", f'exec "$@" 3<{path}', "sh"]
    command = ["exec", "--preserve-fds", "1", container, "sh", "-c", "cat <&3"]
    assert runtime(*command, through=through).out == "content"


@runc_agrees
def test_preserved_fds_must_be_open(runtime, container):
    """A file descriptor that is to be passed and is not open is an error."""
    assert runtime("exec", "--preserve-fds", "5", container, "true", check=False).status == 255


def test_pidfd_socket(runtime, container, tmp_path):
    """--pidfd-socket gets a pidfd of the process."""
    path = tmp_path / "pidfd.sock"
    pid_file = tmp_path / "pid"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()
        runtime(
            "exec", "-d", "--pidfd-socket", path, "--pid-file", pid_file, container, "sleep", "1003"
        )
        peer, _ = server.accept()
        with peer:
            size = socket.CMSG_SPACE(array.array("i").itemsize)
            payload, [(_, _, data)], _, _ = peer.recvmsg(100, size)
    fd = int.from_bytes(data, "little")
    try:
        assert payload == b"setns"
        info = fields(Path(f"/proc/self/fdinfo/{fd}").read_text())
        assert info["Pid"] == [pid_file.read_text()]
    finally:
        os.close(fd)


# ---- what options change -----------------------------------------------------------------------------------------


@runc_agrees
def test_cwd_and_env(runtime, container):
    """--cwd and --env change directory and environment; the container's own environment stays."""
    command = ["sh", "-c", "pwd; echo $ONE $TWO $TERM"]
    options = ["--cwd", "/tmp", "--env", "ONE=1", "--env", "TWO=2"]
    assert runtime("exec", *options, container, *command).out == "/tmp\n1 2 xterm\n"


@runc_agrees
def test_env_replaces_the_containers(runtime, container):
    """A variable that the container has, too, has the value of the option."""
    assert runtime("exec", "-e", "TERM=other", container, "sh", "-c", "echo $TERM").out == "other\n"


@runc_agrees
def test_a_cwd_that_is_missing(runtime, container):
    """A working directory that is not there is an error that names it."""
    done = runtime("exec", "--cwd", "/missing", container, "true", check=False)
    assert done.status == 255 and "/missing" in done.err and "no such file or directory" in done.err


@runc_agrees
def test_user_and_groups(runtime, container):
    """--user and --additional-gids set ids in numbers, and nothing of root's stays."""
    options = ["--user", "1000:1001", "-g", "7", "-g", "8"]
    status = fields(runtime("exec", *options, container, "cat", "/proc/self/status").out)
    assert status["Uid"] == ["1000"] * 4
    assert status["Gid"] == ["1001"] * 4
    assert status["Groups"] == ["7", "8"]


@runc_agrees
def test_user_without_a_group_keeps_the_containers(runtime, bundle):
    """--user UID alone leaves the group as the container has it."""
    bundle.process["user"] = {"uid": 5, "gid": 6}
    container_id = runtime.running(bundle.sh(FOREVER))
    status = fields(runtime("exec", "-u", "1", container_id, "cat", "/proc/self/status").out)
    assert (status["Uid"][0], status["Gid"][0]) == ("1", "6")


def test_a_user_that_is_no_number(runtime, container):
    """--user takes ids in digits and nothing else; nothing becomes 0 by accident (CVE-2026-30892)."""
    for user in ("-1", "1x", "1:", "1:-1", "1:1:1", "4294967295", "4294967296", "0x1", " 1", "１"):
        done = runtime("exec", "--user", user, container, "id", check=False)
        assert (done.status, done.out) == (255, ""), (user, done)


@runc_agrees
def test_capabilities_of_the_container(runtime, container):
    """Without options the process has the container's capabilities, none of them inheritable."""
    status = fields(runtime("exec", container, "cat", "/proc/self/status").out)
    # CAP_KILL is 5, CAP_NET_BIND_SERVICE 10, CAP_AUDIT_WRITE 29.
    wanted = f"{1 << 5 | 1 << 10 | 1 << 29:016x}"
    assert [status[name] for name in ("CapPrm", "CapEff", "CapBnd")] == [[wanted]] * 3
    assert status["CapInh"] == ["0" * 16]


@runc_agrees
def test_a_capability_more(runtime, container):
    """--cap adds to the bounding, effective and permitted sets, never to the inheritable one (CVE-2022-29162)."""
    status = fields(
        runtime("exec", "--cap", "CAP_CHOWN", container, "cat", "/proc/self/status").out
    )
    wanted = f"{1 | 1 << 5 | 1 << 10 | 1 << 29:016x}"
    assert [status[name] for name in ("CapPrm", "CapEff", "CapBnd")] == [[wanted]] * 3
    assert status["CapInh"] == ["0" * 16]
    assert int(status["CapAmb"][0], 16) & 1 == 0


@runc_agrees
def test_no_new_privs(runtime, bundle):
    """--no-new-privs sets the flag for a process of a container that does not have it."""
    bundle.process["noNewPrivileges"] = False
    container_id = runtime.running(bundle.sh(FOREVER))
    for options, wanted in (([], ["0"]), (["--no-new-privs"], ["1"])):
        status = fields(runtime("exec", *options, container_id, "cat", "/proc/self/status").out)
        assert status["NoNewPrivs"] == wanted


@runc_agrees
def test_cgroup(runtime, container):
    """--cgroup puts the process into a cgroup below the container's."""
    v1 = os.path.exists("/sys/fs/cgroup/pids/tasks")
    controller, root = ("pids", "/sys/fs/cgroup/pids") if v1 else ("", "/sys/fs/cgroup")
    own = cgroups(runtime.state(container)["pid"]).splitlines()
    path = next(line.split(":", 2)[2] for line in own if f":{controller}:" in line)
    below = Path(f"{root}{path}/below")
    below.mkdir()
    option = "pids:below" if v1 else "below"
    out = runtime("exec", "--cgroup", option, container, "cat", "/proc/self/cgroup").out
    assert next(line for line in out.splitlines() if f":{controller}:" in line).endswith("/below")
    below.rmdir()


@runc_agrees
def test_a_cgroup_outside_or_missing(runtime, container):
    """--cgroup never leads out of the container's cgroup, and the cgroup must be there."""
    for path in ("../..", "pids:/../..", "nonexistent", "pids:nonexistent"):
        assert runtime("exec", "--cgroup", path, container, "true", check=False).status == 255, path


@runc_agrees
def test_an_apparmor_profile_or_label_is_not_dropped(runtime, container):
    """A profile that this machine cannot apply is an error, and never left out in silence."""
    if os.path.exists("/sys/kernel/security/apparmor"):
        pytest.skip("needs a kernel without AppArmor")
    done = runtime("exec", "--apparmor", "docker-default", container, "true", check=False)
    assert done.status == 255 and "apparmor" in done.err.lower()


# ---- what the container gives ------------------------------------------------------------------------------------


@runc_agrees
def test_limits_of_the_container(runtime, bundle):
    """rlimits, oom_score_adj, umask and personality are the container's where nothing else is said."""
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    bundle.process["oomScoreAdj"] = 300
    container_id = runtime.running(bundle.sh(FOREVER))
    script = "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; umask"
    assert runtime("exec", container_id, "sh", "-c", script).out.split() == [
        "100",
        "200",
        "300",
        "0022",
    ]


# ---- a document --------------------------------------------------------------------------------------------------


@runc_agrees
def test_process_document(runtime, container, process_file):
    """With --process the process is what the document says."""
    path = process_file(
        args=["sh", "-c", "pwd; id -u; id -g; echo $A; ulimit -n"],
        env=["PATH=/bin", "A=b"],
        cwd="/tmp",
        user={"uid": 3, "gid": 4},
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}],
    )
    out = runtime("exec", "--process", path, container).out
    assert out.split() == ["/tmp", "3", "4", "b", "50"]


def test_process_document_oom_score_adj(runtime, container, process_file):
    """The document's oomScoreAdj counts, unlike in older runc."""
    path = process_file(args=["cat", "/proc/self/oom_score_adj"], oomScoreAdj=500)
    assert runtime("exec", "--process", path, container).out == "500\n"


@runc_agrees
def test_process_document_capabilities(runtime, container, process_file):
    """The document's capabilities are all that the process has."""
    path = process_file(args=["cat", "/proc/self/status"], capabilities={"bounding": ["CAP_KILL"]})
    status = fields(runtime("exec", "-p", path, container).out)
    assert (status["CapEff"], status["CapBnd"]) == (["0" * 16], [f"{1 << 5:016x}"])


@runc_agrees
def test_an_engines_document(runtime, container, repository, tmp_path):
    """The document that containerd's CRI writes can be run."""
    path = repository / "tests/core/engines/cri-1.6-exec.process.json"
    process = json.loads(path.read_text())
    process["args"] = ["echo", "works"]
    process.pop("rlimits", None)
    path = tmp_path / "process.json"
    path.write_text(json.dumps(process))
    assert runtime("exec", "--process", path, container).out == "works\n"


WRONG = [
    ({"args": []}, "args"),
    ({"cwd": "relative"}, "cwd"),
    ({"user": {"uid": 2**32, "gid": 0}}, "user.uid"),
    ({"user": {"uid": -1, "gid": 0}}, "user.uid"),
    ({"rlimits": [{"type": "RLIMIT_WHAT", "soft": 1, "hard": 1}]}, "RLIMIT_WHAT"),
    ({"capabilities": {"bounding": "CAP_KILL"}}, "capabilities.bounding"),
    ({"env": ["NO_EQUALS_SIGN"]}, "env"),
]


def test_wrong_documents(runtime, container, process_file):
    """A document that is wrong is refused with the field that is, in one line, and nothing runs."""
    for changes, words in WRONG:
        done = runtime("exec", "--process", process_file(**changes), container, check=False)
        assert done.status == 255 and words in done.err, (changes, done)
        assert len(done.err.splitlines()) == 1, done


def test_a_document_that_is_missing(runtime, container, tmp_path):
    """A document that is not there is named."""
    done = runtime("exec", "--process", tmp_path / "none.json", container, check=False)
    assert done.status == 255 and "none.json: no such file or directory" in done.err
