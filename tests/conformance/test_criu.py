"""checkpoint and restore, with a CRIU that runs on this kernel: that of the test machine's image, or the installed one.

What the containers do stands in a tmpfs of their own, which the images carry. They close the standard files of the host:
runc cannot dump those.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

QUIET = "exec </dev/null >/tmp/log 2>&1; "
COUNT = (
    QUIET
    + "i=0; while :; do i=$((i+1)); echo $i >/tmp/n.new; mv /tmp/n.new /tmp/n; sleep 0.05; done"
)
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ocifw-vm"


def wait_until(condition, complaint):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, complaint
        time.sleep(0.01)


def criu_version(path):
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return (0, 0)
    found = re.search(r"Version: (\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


@pytest.fixture(scope="session")
def criu():
    """The path of a CRIU 4, whose predecessors fail on new kernels."""
    found = [shutil.which("criu"), *sorted(map(str, CACHE.glob("*/host/criu")))]
    usable = [path for path in found if path and criu_version(path) >= (4, 0)]
    if not usable:
        pytest.skip("needs criu 4 (Debian trixie; ./dev vm builds one)")
    return usable[0]


class Criu:
    """The two verbs of the runtime under test, on one folder of images."""

    def __init__(self, runtime, path, folder):
        self.runtime = runtime
        self.path = path
        self.images = folder / "images"
        self.work = folder / "work"
        self.env = {**os.environ, "PATH": f"{Path(path).parent}:{os.environ['PATH']}"}

    def checkpoint(self, container_id, *options, images=None, **keywords):
        where = ["--image-path", images or self.images, "--work-path", self.work]
        return self.runtime("checkpoint", *where, *options, container_id, env=self.env, **keywords)

    def restore(self, bundle, *options, container_id=None, images=None, **keywords):
        """Restore in the background; returns the id, and what the command did as `self.done`."""
        container_id = container_id or self.runtime.id()
        where = ["--image-path", images or self.images, "--work-path", self.work]
        command = ["restore", "--detach", "--bundle", bundle.path, *where, *options, container_id]
        self.done = self.runtime(*command, env=self.env, **keywords)
        return container_id


@pytest.fixture
def checkpoints(runtime, criu, is_ocifw, tmp_path):
    """The verbs, with a CRIU that works."""
    found = Criu(runtime, criu, tmp_path)
    if is_ocifw:
        features = json.loads(runtime("features", env=found.env).out)
        if "org.opencontainers.runc.checkpoint.enabled" not in features["annotations"]:
            pytest.skip("needs python3-pycriu")
    return found


@pytest.fixture
def box(bundle):
    """A bundle with a tmpfs on /tmp."""
    bundle.config["mounts"].append(
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]}
    )
    return bundle


def number(runtime, container_id):
    """What the counter of a container says."""
    return int(runtime("exec", container_id, "cat", "/tmp/n").out or 0)


def counting(runtime, bundle):
    """The id of a container that counts, and has begun to."""
    container_id = runtime.running(bundle.sh(COUNT))
    wait_for_file(runtime, container_id, "/tmp/n")
    return container_id


def wait_for_file(runtime, container_id, path):
    wait_until(
        lambda: runtime("exec", container_id, "test", "-s", path, check=False).status == 0,
        f"no {path} in {container_id}",
    )


def wait_for_more(runtime, container_id, before):
    wait_until(lambda: number(runtime, container_id) > before, f"{container_id} does not count")


# ---- policy --------------------------------------------------------------------------------------------------------


def test_policy_at_restore(runtime, checkpoints, box, tmp_path):
    """What breaks a rule is not restored; rules that are not in effect any more are told; those that are, bind what follows."""
    profile = tmp_path / "site.yaml"
    profile.write_text(
        "policy:\n  - {deny: exec.user.uid is 1, reason: one is taken, name: no-one}\n"
    )
    profile.chmod(0o644)
    strict = tmp_path / "strict.yaml"
    strict.write_text("policy:\n  - {deny: process.user.uid is 0, reason: nobody is root}\n")
    strict.chmod(0o644)
    container_id = runtime.running(box.sh(COUNT), "--profile", profile)
    wait_for_file(runtime, container_id, "/tmp/n")
    checkpoints.checkpoint(container_id)
    checkpoints.restore(box, "--profile", strict, container_id=container_id, check=False)
    assert checkpoints.done.status != 0
    assert f"{strict}:2:5: deny process.user.uid is 0: nobody is root" in checkpoints.done.err
    assert "does not exist" in runtime("state", container_id, check=False).err
    restored = checkpoints.restore(box, "--profile", profile)
    assert "policy" not in checkpoints.done.err
    refused = runtime("exec", "--user", "1", restored, "true", check=False)
    assert "one is taken" in refused.err
    runtime("delete", "--force", restored)
    checkpoints.restore(box)
    assert f"does not count for this restore: no-one: deny exec.user.uid is 1 ({profile}:2:5)" in (
        checkpoints.done.err
    )


# ---- what works ----------------------------------------------------------------------------------------------------


@pytest.mark.runc_agrees
def test_a_counter_counts_on(runtime, checkpoints, box):
    """A shell that counts goes on where it was, and the container has gone in between."""
    container_id = counting(runtime, box)
    before = number(runtime, container_id)
    checkpoints.checkpoint(container_id)
    assert container_id not in runtime("list", "-q").out
    restored = checkpoints.restore(box, container_id=container_id)
    assert number(runtime, restored) >= before
    wait_for_more(runtime, restored, number(runtime, restored))
    assert runtime.status(restored) == "running"


@pytest.mark.runc_agrees
def test_the_container_runs_on(runtime, checkpoints, box):
    """leave-running: the container counts on, and is dumped once more."""
    container_id = counting(runtime, box)
    checkpoints.checkpoint(container_id, "--leave-running")
    wait_for_more(runtime, container_id, number(runtime, container_id))
    checkpoints.checkpoint(container_id, images=checkpoints.images.parent / "second")


@pytest.mark.runc_agrees
def test_another_id_and_again(runtime, checkpoints, box):
    """A restored container has another id, can be executed in, dumped again, restored again, and killed."""
    checkpoints.checkpoint(counting(runtime, box))
    second = checkpoints.restore(box)
    assert runtime("exec", second, "hostname").out == "box\n"
    before = number(runtime, second)
    again = checkpoints.images.parent / "again"
    checkpoints.checkpoint(second, images=again)
    third = checkpoints.restore(box, images=again)
    wait_for_more(runtime, third, before)
    runtime("kill", third, "KILL")
    runtime.wait_for(third, "stopped")
    runtime("delete", third)


@pytest.mark.runc_agrees
def test_several_processes(runtime, checkpoints, box):
    """A tree of processes comes back with its pids, pipes and memory."""
    script = QUIET + (
        "mkfifo /tmp/f; (while read line; do echo got $line >>/tmp/out; done) </tmp/f & exec 5>/tmp/f;"
        " (i=0; while :; do i=$((i+1)); echo $i >&5; sleep 0.05; done) & echo ready >/tmp/ready; wait"
    )
    container_id = runtime.running(box.sh(script))
    wait_for_file(runtime, container_id, "/tmp/out")
    count = len(runtime.pids(container_id))
    checkpoints.checkpoint(container_id)
    restored = checkpoints.restore(box)
    before = len(runtime("exec", restored, "cat", "/tmp/out").out.splitlines())

    def lines():
        return runtime("exec", restored, "cat", "/tmp/out").out.splitlines()

    wait_until(lambda: len(lines()) > before + 1, "the pipe is silent")
    got = [int(line.split()[1]) for line in lines()]
    assert got == list(range(1, len(got) + 1))
    assert abs(len(runtime.pids(restored)) - count) <= 1


def test_a_connection_stays(runtime, checkpoints, box):
    """tcp-established: server and client in the container's network namespace go on with their connection."""
    script = QUIET + (
        "nc -l -p 7000 -e cat & sleep 0.3; mkfifo /tmp/f; nc 127.0.0.1 7000 </tmp/f >/tmp/echo & exec 5>/tmp/f;"
        " i=0; while :; do i=$((i+1)); echo $i >&5; sleep 0.05; done"
    )
    container_id = runtime.running(box.sh(script))
    wait_for_file(runtime, container_id, "/tmp/echo")
    refused = checkpoints.checkpoint(container_id, check=False)
    assert refused.status != 0
    dumped = checkpoints.checkpoint(container_id, "--tcp-established", check=False)
    log = (checkpoints.work / "dump.log").read_text(errors="replace")
    if dumped.status and "Can't get 1:16 opt" in log:
        pytest.skip(
            "needs a CRIU that knows Linux 6.16, where SO_PASSCRED is for UNIX sockets only"
        )
    assert dumped.status == 0, dumped
    restored = checkpoints.restore(box, "--tcp-established")

    def echoed():
        return len(runtime("exec", restored, "cat", "/tmp/echo").out.splitlines())

    before = echoed()
    wait_until(lambda: echoed() > before + 1, "the connection is silent")


@pytest.mark.runc_agrees
def test_a_bind_mount_is_mapped(runtime, checkpoints, box, tmp_path):
    """A bind mount is not dumped: the restored container sees what its source holds by then."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_text("old")
    box.config["mounts"].append(
        {
            "destination": "/home",
            "type": "bind",
            "source": str(tmp_path / "data"),
            "options": ["rbind"],
        }
    )
    checkpoints.checkpoint(counting(runtime, box))
    (tmp_path / "data" / "x").write_text("new")
    restored = checkpoints.restore(box)
    assert runtime("exec", restored, "cat", "/home/x").out == "new"


@pytest.mark.runc_agrees
def test_a_joined_network_namespace(runtime, checkpoints, box):
    """A network namespace joined by path is the one that has the path when the container is restored."""
    holder = subprocess.Popen(["unshare", "-n", "sleep", "60"])
    try:
        path = f"/proc/{holder.pid}/ns/net"
        wait_until(
            lambda: os.readlink(path) != os.readlink("/proc/self/ns/net"), "no network namespace"
        )
        for namespace in box.linux["namespaces"]:
            if namespace["type"] == "network":
                namespace["path"] = path
        checkpoints.checkpoint(counting(runtime, box))
        restored = checkpoints.restore(box)
        pid = runtime.state(restored)["pid"]
        assert os.readlink(f"/proc/{pid}/ns/net") == os.readlink(path)
    finally:
        holder.kill()
        holder.wait()


def test_a_user_namespace(runtime, checkpoints, box):
    """A container in a user namespace comes back with its ids; of the images its root gets to see nothing."""
    box.linux["namespaces"].append({"type": "user"})
    ids = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    box.linux["uidMappings"] = box.linux["gidMappings"] = ids
    checkpoints.checkpoint(counting(runtime, box))
    restored = checkpoints.restore(box)
    before = number(runtime, restored)
    wait_for_more(runtime, restored, before)
    pid = runtime.state(restored)["pid"]
    assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", "100000", "65536"]
    mode = checkpoints.images.stat()
    assert (mode.st_mode & 0o777, mode.st_gid) == (0o710, 100000)


@pytest.mark.parametrize("own", [True, False])
def test_cgroup_mounts(runtime, checkpoints, box, own):
    """Mounted cgroups come back, in a cgroup namespace and without one, when they are bound from the host's."""
    if not own:
        kinds = box.linux["namespaces"]
        box.linux["namespaces"] = [kind for kind in kinds if kind["type"] != "cgroup"]
    box.config["mounts"].append(
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
    )
    container_id = counting(runtime, box)
    script = (
        "cat /sys/fs/cgroup/pids/cgroup.procs /sys/fs/cgroup/cgroup.procs 2>/dev/null | grep -x 1"
    )
    assert runtime("exec", container_id, "sh", "-c", script).out == "1\n"
    checkpoints.checkpoint(container_id)
    restored = checkpoints.restore(box)
    assert runtime("exec", restored, "sh", "-c", script).out == "1\n"


@pytest.mark.runc_agrees
def test_limits_and_seccomp_come_back(runtime, checkpoints, box):
    """The restored processes are in the container's cgroup, with its limits, and under their seccomp filter."""
    box.linux["resources"]["pids"] = {"limit": 50}
    box.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}],
    }
    checkpoints.checkpoint(counting(runtime, box))
    restored = checkpoints.restore(box)
    pid = runtime.state(restored)["pid"]
    assert box.cgroup_path in Path(f"/proc/{pid}/cgroup").read_text()
    assert (box.cgroup("pids") / "pids.max").read_text() == "50\n"
    assert "Seccomp:\t2" in Path(f"/proc/{pid}/status").read_text()


@pytest.mark.runc_agrees
def test_hooks_run_at_restore(runtime, checkpoints, box, tmp_path):
    """prestart and createRuntime hooks run again, with the new pid; poststart hooks do not; poststop hooks do."""
    log = tmp_path / "hooks"
    box.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {kind} >>{log}; cat >/dev/null"]}]
        for kind in ("prestart", "createRuntime", "poststart", "poststop")
    }
    checkpoints.checkpoint(counting(runtime, box))
    log.write_text("")
    restored = checkpoints.restore(box)
    assert log.read_text().split() == ["prestart", "createRuntime"]
    runtime("delete", "--force", restored)
    assert log.read_text().split()[2:] == ["poststop"]


@pytest.mark.runc_agrees
def test_pipes_are_given_anew(runtime, checkpoints, box, tmp_path):
    """A container whose standard output was a pipe writes to that of `restore` (descriptors.json)."""
    container_id = runtime.id()
    box.sh("exec </dev/null 2>/dev/null; i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done")
    first_read, first_write = os.pipe()
    create = runtime.command("create", "--bundle", box.path, container_id)
    subprocess.run(
        create, stdin=subprocess.DEVNULL, stdout=first_write, stderr=first_write, check=True
    )
    os.close(first_write)
    runtime("start", container_id)
    assert os.read(first_read, 1) == b"1"
    checkpoints.checkpoint(container_id)
    os.close(first_read)
    second_read, second_write = os.pipe()
    restored = runtime.id()
    command = [
        "restore",
        "--detach",
        "--bundle",
        box.path,
        "--image-path",
        checkpoints.images,
        restored,
    ]
    subprocess.run(
        runtime.command(*command),
        stdin=subprocess.DEVNULL,
        stdout=second_write,
        stderr=second_write,
        env=checkpoints.env,
        check=True,
    )
    os.close(second_write)
    assert os.read(second_read, 100)[:1].isdigit()
    os.close(second_read)


def test_files_of_the_host_are_given_anew(runtime, checkpoints, box):
    """Standard files that are files of the host are named in the images, and those of `restore` take their place."""
    box.sh("i=0; while :; do i=$((i+1)); echo $i >/tmp/n; sleep 0.05; done")
    container_id = runtime.running(box)
    wait_for_file(runtime, container_id, "/tmp/n")
    checkpoints.checkpoint(container_id)
    restored = checkpoints.restore(box)
    wait_for_more(runtime, restored, number(runtime, restored))
    pid = runtime.state(restored)["pid"]
    assert os.readlink(f"/proc/{pid}/fd/1") == str(checkpoints.done.out_path)


@pytest.mark.runc_agrees
def test_the_foreground(runtime, checkpoints, box):
    """In the foreground `restore` ends with the container's status, and deletes it."""
    script = QUIET + "echo 1 >/tmp/n; while ! test -e /home/end; do sleep 0.05; done; exit 7"
    home = box.path / "home"
    home.mkdir()
    box.config["mounts"].append(
        {"destination": "/home", "type": "bind", "source": str(home), "options": ["rbind"]}
    )
    container_id = runtime.running(box.sh(script))
    wait_for_file(runtime, container_id, "/tmp/n")
    checkpoints.checkpoint(container_id)
    (home / "end").touch()
    where = ["--bundle", box.path, "--image-path", checkpoints.images]
    done = runtime("restore", *where, container_id, env=checkpoints.env, check=False)
    assert done.status == 7, done
    assert container_id not in runtime("list", "-q").out


@pytest.mark.runc_agrees
def test_a_terminal(runtime, checkpoints, box, tmp_path):
    """The master of a container's terminal goes to the console socket of `restore`."""
    box.process["terminal"] = True
    box.sh("i=0; while :; do i=$((i+1)); echo $i; echo $i >/tmp/n; sleep 0.05; done")

    def listening(name):
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(tmp_path / name))
        server.listen()
        received = []

        def take():
            connection, _ = server.accept()
            received.extend(socket.recv_fds(connection, 100, 1)[1])
            connection.close()
            server.close()

        thread = threading.Thread(target=take)
        thread.start()
        return thread, received

    thread, masters = listening("a")
    container_id = runtime.running(box, "--console-socket", tmp_path / "a")
    thread.join(20)
    wait_for_file(runtime, container_id, "/tmp/n")
    checkpoints.checkpoint(container_id)
    os.close(masters[0])
    thread, masters = listening("b")
    restored = checkpoints.restore(box, "--console-socket", tmp_path / "b")
    thread.join(20)
    assert re.match(rb"\d+\r\n", os.read(masters[0], 100).lstrip(b"\r\n"))
    os.close(masters[0])
    runtime("delete", "--force", restored)


def test_a_chain_of_pre_dumps(runtime, checkpoints, box, is_ocifw):
    """pre-dump writes memory while the container counts on; the last dump needs the earlier ones, and is restored."""
    container_id = counting(runtime, box)
    folder = checkpoints.images.parent
    first = checkpoints.checkpoint(container_id, "--pre-dump", images=folder / "one", check=False)
    if first.status and "memory tracking" in first.err:
        wait_for_more(runtime, container_id, number(runtime, container_id))
        pytest.skip("needs a kernel with soft-dirty memory tracking")
    assert first.status == 0, first
    checkpoints.checkpoint(
        container_id, "--pre-dump", "--parent-path", "../one", images=folder / "two"
    )
    wait_for_more(runtime, container_id, number(runtime, container_id))
    before = number(runtime, container_id)
    checkpoints.checkpoint(container_id, "--parent-path", "../two", images=folder / "three")
    assert os.readlink(folder / "three" / "parent") == "../two"
    restored = checkpoints.restore(box, images=folder / "three")
    wait_for_more(runtime, restored, before)


def test_lazy_pages(runtime, checkpoints, box, make_bundle, criu, tmp_path):
    """lazy-pages: the dump serves memory until the restored container, in another cgroup, has it all."""
    container_id = counting(runtime, box)
    other = make_bundle()
    other.config = json.loads(json.dumps({**box.config, "linux": {**box.linux}}))
    other.config["linux"]["cgroupsPath"] += "-lazy"
    other.write()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ready, told = os.pipe()
    options = ["--lazy-pages", "--page-server", f"127.0.0.1:{port}", "--status-fd", told]
    where = ["--image-path", checkpoints.images, "--work-path", tmp_path / "dump-work"]
    command = runtime.command("checkpoint", *options, *where, container_id)
    with open(tmp_path / "dump.err", "wb") as errors:
        dump = subprocess.Popen(
            command, env=checkpoints.env, pass_fds=[told], stdout=errors, stderr=errors
        )
    os.close(told)
    assert os.read(ready, 1) == b"\0", (tmp_path / "dump.err").read_text()
    os.close(ready)
    work = tmp_path / "lazy"
    work.mkdir()
    daemon = subprocess.Popen(
        [
            criu,
            *f"lazy-pages --page-server --address 127.0.0.1 --port {port} -o lazy.log".split(),
            *["-D", checkpoints.images, "-W", work],
        ]
    )
    try:
        wait_until((work / "lazy-pages.socket").exists, "no lazy-pages daemon")
        restored = runtime.id()
        where = ["--image-path", checkpoints.images, "--work-path", work]
        options = ["--detach", "--lazy-pages", "--bundle", other.path, *where, restored]
        restore = subprocess.Popen(
            runtime.command("restore", *options),
            env=checkpoints.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: restore.poll() is not None or dump.poll(), "lazy restore hangs")
        if dump.poll():
            restore.kill()
            restore.wait()
            runtime("delete", "--force", restored)
            assert "splice" in (tmp_path / "dump.err").read_text()
            pytest.skip("needs a kernel on which this CRIU can serve pages by splice(2)")
        assert restore.wait() == 0, (work / "restore.log").read_text(errors="replace")[-2000:]
        wait_until(lambda: dump.poll() is not None, "the dump does not end")
        assert dump.wait() == 0, (tmp_path / "dump.err").read_text()
        assert daemon.wait() == 0
        wait_for_more(runtime, restored, number(runtime, restored))
    finally:
        for process in (dump, daemon):
            process.kill()
            process.wait()


@pytest.mark.parametrize("ours_first", [True, False])
def test_runc_and_ocifw(runtime, checkpoints, box, ours_first):
    """What one of ocifw and runc has dumped, the other restores."""
    path = shutil.which("runc")
    if path is None:
        pytest.skip("needs runc")
    runc = type(runtime)(path, runtime.root.parent / "runc", bool(runtime.options))
    first, second = (runtime, runc) if ours_first else (runc, runtime)
    try:
        checkpoints.runtime = first
        container_id = counting(first, box)
        before = number(first, container_id)
        checkpoints.checkpoint(container_id)
        checkpoints.runtime = second
        restored = checkpoints.restore(box)
        wait_for_more(second, restored, before)
    finally:
        runc.clean()


# ---- what does not -------------------------------------------------------------------------------------------------


@pytest.mark.runc_agrees
def test_wrong_status(runtime, checkpoints, box):
    """A container that has not been started, or has ended, cannot be dumped."""
    container_id, _ = runtime.create(box.sh(COUNT))
    done = checkpoints.checkpoint(container_id, check=False)
    assert done.status != 0 and "cannot be checkpointed in created state" in done.err
    runtime("start", container_id)
    runtime("kill", container_id, "KILL")
    runtime.wait_for(container_id, "stopped")
    done = checkpoints.checkpoint(container_id, check=False)
    assert done.status != 0 and "cannot be checkpointed in stopped state" in done.err


def test_a_failed_dump_harms_nobody(runtime, checkpoints, box):
    """A dump that CRIU refuses has one cause in its error, and names the log; the container runs on."""
    ours, theirs = socket.socketpair()
    script = "exec >/tmp/log 2>&1; " + COUNT[len(QUIET) :]
    with ours, theirs:
        container_id = runtime.running(box.sh(script), stdin=theirs)
        wait_for_file(runtime, container_id, "/tmp/n")
        done = checkpoints.checkpoint(container_id, check=False)
        assert done.status == 1 and done.err.count("level=error") == 1, done
        assert "socket" in done.err and str(checkpoints.work / "dump.log") in done.err, done
        assert runtime.status(container_id) == "running"
        wait_for_more(runtime, container_id, number(runtime, container_id))


def test_a_page_server_that_is_not_there(runtime, checkpoints, box):
    """The container runs on after a dump to a page server that nobody runs."""
    container_id = counting(runtime, box)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = checkpoints.checkpoint(container_id, "--page-server", f"127.0.0.1:{port}", check=False)
    assert done.status == 1 and "criu failed" in done.err, done
    wait_for_more(runtime, container_id, number(runtime, container_id))


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (shutil.rmtree, "no such file or directory"),
        (lambda images: (images / "inventory.img").unlink(), "inventory.img"),
        (lambda images: [p.unlink() for p in images.glob("core-*")], "holds no processes"),
        (lambda images: (images / "core-1.img").write_bytes(b"x" * 100), "no image of CRIU"),
        (lambda images: (images / "descriptors.json").write_text('["a", 7]'), "descriptors.json"),
        (lambda images: (images / "descriptors.json").write_text("{"), "descriptors.json"),
        (lambda images: (images / "descriptors.json").unlink(), "descriptors.json"),
        (lambda images: (images / "ocifw.json").write_text('{"files": ["mnt[x]"]}'), "ocifw.json"),
        (lambda images: (images / "pages-1.img").write_bytes(b"x"), "incomplete"),
        (lambda images: (images / "pagemap-1.img").write_bytes(b"x"), "no image of CRIU"),
        (lambda images: (images / "mm-1.img").write_bytes(b"x" * 99), "criu failed"),
    ],
)
def test_spoilt_images(runtime, checkpoints, box, spoil, text):
    """Images that are missing or changed are refused, and nothing is left of the container."""
    checkpoints.checkpoint(counting(runtime, box))
    spoil(checkpoints.images)
    restored = checkpoints.restore(box, check=False)
    assert checkpoints.done.status == 1 and text in checkpoints.done.err, checkpoints.done
    assert restored not in runtime("list", "-q").out
    assert "criu-root" not in Path("/proc/mounts").read_text()


def test_a_hook_refuses(runtime, checkpoints, box):
    """A hook that fails at restore is the error, and nothing is left."""
    container_id = counting(runtime, box)
    checkpoints.checkpoint(container_id)
    box.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "echo no >&2; exit 3"]}]
    }
    box.write()
    restored = checkpoints.restore(box, check=False)
    assert checkpoints.done.status == 1 and "exit status 3" in checkpoints.done.err
    assert restored not in runtime("list", "-q").out


def test_a_program_that_is_no_criu(runtime, checkpoints, box, tmp_path):
    """Another program of that name is told from CRIU, and the container runs on."""
    container_id = counting(runtime, box)
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "criu").write_text("#!/bin/sh\nexit 0\n")
    (folder / "criu").chmod(0o755)
    checkpoints.env["PATH"] = f"{folder}:{os.environ['PATH']}"
    done = checkpoints.checkpoint(container_id, check=False)
    assert done.status == 1 and "does not answer as CRIU does" in done.err, done
    wait_for_more(runtime, container_id, number(runtime, container_id))


@pytest.mark.parametrize("moment", ["setup-namespaces", "starting"])
def test_a_killed_restore(runtime, checkpoints, box, tmp_path, moment):
    """After the runtime was killed in the middle, `delete --force` leaves nothing: no process, mount or cgroup."""
    checkpoints.checkpoint(counting(runtime, box))
    reached = tmp_path / "reached"
    if moment == "starting":
        folder = tmp_path / "bin"
        folder.mkdir()
        # Answers the question for its version, and hangs when it is to restore.
        (folder / "criu").write_text(
            f"#!/bin/sh\nif test -e {tmp_path}/asked; then echo >{reached}; exec sleep 1000; fi\n"
            f'touch {tmp_path}/asked; exec {checkpoints.path} "$@"\n'
        )
        (folder / "criu").chmod(0o755)
        checkpoints.env["PATH"] = f"{folder}:{os.environ['PATH']}"
    else:
        script = f"echo >{reached}; exec sleep 1000"
        box.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
        box.write()
    container_id = runtime.id()
    command = ["restore", "--detach", "--bundle", box.path, "--image-path", checkpoints.images]
    process = subprocess.Popen(
        runtime.command(*command, container_id),
        env=checkpoints.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(reached.exists, "restore does not get there")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert runtime.status(container_id) == "creating"
    runtime("delete", "--force", container_id)
    assert container_id not in runtime("list", "-q").out
    assert "criu-root" not in Path("/proc/mounts").read_text()
    assert not box.cgroup("pids").exists()


# ---- the report ----------------------------------------------------------------------------------------------------


def test_the_report(runtime, checkpoints, box):
    """checkpoint --check says whether a container can be dumped, and changes nothing."""
    container_id = counting(runtime, box)
    done = runtime("checkpoint", "--check", "--json", container_id, env=checkpoints.env)
    found = json.loads(done.out)
    assert found["possible"] is True and found["needs"]["architecture"] == os.uname().machine
    names = [check["name"] for check in found["checks"]]
    assert names[:3] == ["status", "packages", "criu"]
    before = number(runtime, container_id)
    wait_for_more(runtime, container_id, before)
    text = runtime("checkpoint", "--check", container_id, env=checkpoints.env).out
    assert text.endswith("can be dumped\n")


def test_the_report_without_criu(runtime, checkpoints, box):
    """Without CRIU the report names the package, and its status is 1."""
    container_id = counting(runtime, box)
    done = runtime(
        "checkpoint", "--check", container_id, env={**os.environ, "PATH": "/nowhere"}, check=False
    )
    assert done.status == 1 and "missing: criu" in done.out, done
