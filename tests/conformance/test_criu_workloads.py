"""checkpoint and restore of whole programs and with rarer options; test_criu.py has the verbs themselves.

The containers see the machine's own /usr, read-only: Python and Redis are those that are installed on it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from . import test_criu as verbs

box = verbs.box
criu = verbs.criu
checkpoints = verbs.checkpoints

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

PYTHON = "/usr/bin/python3"
needs_python = pytest.mark.skipif(not os.path.exists(PYTHON), reason=f"needs {PYTHON}")

PROCESSES = """
import multiprocessing, pathlib, time

def work(number, told):
    table = {}
    while True:
        table[len(table)] = number
        told.put((number, len(table)))
        time.sleep(0.05)

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    told = context.Queue()
    for number in range(3):
        context.Process(target=work, args=(number, told), daemon=True).start()
    seen = {}
    while True:
        number, count = told.get()
        assert count == seen.get(number, 0) + 1, (number, count, seen)
        seen[number] = count
        pathlib.Path("/tmp/new").write_text(" ".join(str(seen.get(one, 0)) for one in range(3)))
        pathlib.Path("/tmp/new").rename("/tmp/seen")
"""

SERVER = """
import pathlib, socket
server = socket.create_server(("127.0.0.1", 7000))
pathlib.Path("/tmp/ready").write_text("x")
connection, _ = server.accept()
count = 0
while data := connection.recv(1):
    count += 1
    connection.sendall(b"%d " % count)
"""

CLIENT = """
import pathlib, socket, time
connection = socket.create_connection(("127.0.0.1", 7000))
answers = connection.makefile("rb")
expected = 0
while True:
    connection.sendall(b"x")
    expected += 1
    got = b""
    while not got.endswith(b" "):
        got += answers.read(1)
    assert int(got) == expected, (got, expected)
    pathlib.Path("/tmp/new").write_text(str(expected))
    pathlib.Path("/tmp/new").rename("/tmp/seen")
    time.sleep(0.02)
"""

LOCKED = """
import fcntl, pathlib, time
file = open("/tmp/locked", "w")
fcntl.lockf(file, fcntl.LOCK_EX)
pathlib.Path("/tmp/ready").write_text("x")
while True:
    time.sleep(1)
"""


@pytest.fixture
def host_box(box):
    """A box with the machine's /usr in it."""
    for name in ("/usr", "/lib", "/lib64"):
        # CRIU does not follow a link to what it binds, and runc does not do it for it.
        mount = {"type": "bind", "source": os.path.realpath(name), "options": ["rbind", "ro"]}
        box.config["mounts"].append({"destination": name, **mount})
    box.process["env"] += ["PYTHONDONTWRITEBYTECODE=1", "HOME=/tmp"]
    return box


@pytest.fixture
def room(host_box, busybox_rootfs, tmp_path):
    """The same, with a root of its own that has the mount points."""
    rootfs = tmp_path / "rootfs"
    shutil.copytree(busybox_rootfs, rootfs, symlinks=True)
    for name in ("usr", "lib", "lib64"):
        (rootfs / name).mkdir()
    host_box.config["root"]["path"] = str(rootfs)
    return host_box


def read(runtime, container_id, path):
    return runtime("exec", container_id, "cat", path).out


def wait_for_change(runtime, container_id, path):
    before = read(runtime, container_id, path)
    verbs.wait_until(lambda: read(runtime, container_id, path) != before, f"{path} does not change")


def skip_unless_sockets_can_be_dumped(checkpoints, done):
    log = checkpoints.work / "dump.log"
    if done.status and "Can't get 1:16 opt" in log.read_text(errors="replace"):
        pytest.skip(
            "needs a CRIU that knows Linux 6.16, where SO_PASSCRED is for UNIX sockets only"
        )
    assert done.status == 0, done


def python(text):
    """A shell's words that execute a program of Python in the background."""
    return f"{PYTHON} -c '{text}' & "


# ---- programs ------------------------------------------------------------------------------------------------------


@needs_python
@pytest.mark.runc_agrees
def test_python_with_several_processes(runtime, checkpoints, room):
    """Three workers of multiprocessing and their queue, with threads and semaphores, go on without losing an item."""
    container_id = runtime.running(room.sh(verbs.QUIET + f"exec {PYTHON} -c '{PROCESSES}'"))
    verbs.wait_for_file(runtime, container_id, "/tmp/seen")
    checkpoints.checkpoint(container_id)
    restored = checkpoints.restore(room)
    before = [int(word) for word in read(runtime, restored, "/tmp/seen").split()]
    verbs.wait_until(
        lambda: all(
            int(word) > old
            for word, old in zip(read(runtime, restored, "/tmp/seen").split(), before, strict=True)
        ),
        "a worker is silent",
    )
    assert len(runtime.pids(restored)) == 4


@needs_python
def test_a_server_with_a_client(runtime, checkpoints, room):
    """A TCP server and its connected client go on with their dialogue: every answer is the one that was due."""
    waiting = "while ! test -e /tmp/ready; do sleep 0.02; done; "
    script = verbs.QUIET + python(SERVER) + waiting + f"exec {PYTHON} -c '{CLIENT}'"
    container_id = runtime.running(room.sh(script))
    verbs.wait_for_file(runtime, container_id, "/tmp/seen")
    done = checkpoints.checkpoint(container_id, "--tcp-established", check=False)
    skip_unless_sockets_can_be_dumped(checkpoints, done)
    restored = checkpoints.restore(room, "--tcp-established")
    wait_for_change(runtime, restored, "/tmp/seen")


@pytest.mark.runc_agrees
@pytest.mark.skipif(not os.path.exists("/usr/bin/redis-server"), reason="needs redis-server")
def test_redis_with_data(runtime, checkpoints, room):
    """Redis has its keys after a restore, in memory alone, and takes new ones."""
    script = verbs.QUIET + (
        "exec redis-server --bind 127.0.0.1 --save '' --appendonly no --dir /tmp --unixsocket /tmp/redis"
    )
    container_id = runtime.running(room.sh(script))

    def ask(where, *words):
        done = runtime("exec", where, "redis-cli", "-s", "/tmp/redis", *words, check=False)
        return done.out.strip()

    verbs.wait_until(lambda: ask(container_id, "PING") == "PONG", "no Redis")
    assert ask(container_id, "SET", "kept", "here") == "OK"
    assert ask(container_id, "EVAL", "for i=1,1000 do redis.call('RPUSH','list',i) end", "0") == ""
    # A client that has just gone may be in TIME_WAIT of a UNIX socket never: nothing is open.
    done = checkpoints.checkpoint(container_id, "--tcp-established", check=False)
    skip_unless_sockets_can_be_dumped(checkpoints, done)
    restored = checkpoints.restore(room, "--tcp-established")
    assert ask(restored, "GET", "kept") == "here"
    assert ask(restored, "LLEN", "list") == "1000"
    assert ask(restored, "LINDEX", "list", "-1") == "1000"
    assert ask(restored, "INCR", "new") == "1"


def test_a_bind_mount_of_a_symbolic_link(runtime, checkpoints, box, tmp_path):
    """A bind mount whose source is a symbolic link, as /etc/localtime, comes back as what the link leads to."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_text("here")
    (tmp_path / "link").symlink_to("data")
    mount = {"type": "bind", "source": str(tmp_path / "link"), "options": ["rbind"]}
    box.config["mounts"].append({"destination": "/home", **mount})
    checkpoints.checkpoint(verbs.counting(runtime, box))
    restored = checkpoints.restore(box)
    assert read(runtime, restored, "/home/x") == "here"


# ---- options -------------------------------------------------------------------------------------------------------


@pytest.mark.runc_agrees
def test_a_page_server(runtime, checkpoints, box, criu):
    """page-server: memory goes over TCP into the folder of `criu page-server`, the rest into that of the dump."""
    container_id = verbs.counting(runtime, box)
    pages = checkpoints.images.parent / "pages"
    pages.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ready, told = os.pipe()
    words = f"page-server --address 127.0.0.1 --port {port} --status-fd {told} -o server.log"
    server = subprocess.Popen([criu, *words.split(), "-D", pages], pass_fds=[told])
    os.close(told)
    try:
        assert os.read(ready, 1) == b"\0"
        address = ["--page-server", f"127.0.0.1:{port}"]
        done = checkpoints.checkpoint(container_id, *address, check=False)
        log = (checkpoints.work / "dump.log").read_text(errors="replace")
        if done.status and "splice" in log:
            pytest.skip("needs a kernel on which this CRIU can send pages by splice(2)")
        assert done.status == 0, done
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait()
        os.close(ready)
    assert not list(checkpoints.images.glob("pages-*.img"))
    for path in pages.glob("page*.img"):
        shutil.copy(path, checkpoints.images)
    restored = checkpoints.restore(box)
    verbs.wait_for_more(runtime, restored, verbs.number(runtime, restored))


def test_images_are_deduplicated(runtime, checkpoints, box):
    """auto-dedup: the second of two dumps takes out of the first what it has itself."""
    container_id = verbs.counting(runtime, box)
    folder = checkpoints.images.parent
    first = checkpoints.checkpoint(container_id, "--pre-dump", images=folder / "one", check=False)
    if first.status and "memory tracking" in first.err:
        pytest.skip("needs a kernel with soft-dirty memory tracking")
    assert first.status == 0, first

    def blocks():
        return sum(path.stat().st_blocks for path in (folder / "one").glob("pages-*.img"))

    before = blocks()
    verbs.wait_for_more(runtime, container_id, verbs.number(runtime, container_id))
    options = ["--parent-path", "../one", "--auto-dedup"]
    checkpoints.checkpoint(container_id, *options, images=folder / "two")
    assert blocks() < before
    restored = checkpoints.restore(box, images=folder / "two")
    verbs.wait_for_more(runtime, restored, verbs.number(runtime, restored))


@pytest.mark.runc_agrees
@needs_python
def test_file_locks(runtime, checkpoints, room):
    """file-locks: a lock is refused without the option, and held again after the restore."""
    container_id = runtime.running(room.sh(verbs.QUIET + f"exec {PYTHON} -c '{LOCKED}'"))
    verbs.wait_for_file(runtime, container_id, "/tmp/ready")
    assert checkpoints.checkpoint(container_id, check=False).status != 0
    assert runtime.status(container_id) == "running"
    checkpoints.checkpoint(container_id, "--file-locks")
    restored = checkpoints.restore(room, "--file-locks")
    attempt = "import fcntl; fcntl.lockf(open('/tmp/locked', 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    done = runtime("exec", restored, PYTHON, "-c", attempt, check=False)
    assert done.status == 1 and "Resource temporarily unavailable" in done.err, done


def test_a_lock_names_its_option(runtime, checkpoints, room):
    """A dump that a lock prevents says which option permits it."""
    if not os.path.exists(PYTHON):
        pytest.skip(f"needs {PYTHON}")
    container_id = runtime.running(room.sh(verbs.QUIET + f"exec {PYTHON} -c '{LOCKED}'"))
    verbs.wait_for_file(runtime, container_id, "/tmp/ready")
    done = checkpoints.checkpoint(container_id, check=False)
    assert done.status == 1 and "use --file-locks" in done.err, done


@pytest.mark.runc_agrees
def test_an_empty_network_namespace(runtime, checkpoints, box):
    """empty-ns: the network namespace is made anew, and what was configured in the old one is not in it."""
    container_id = verbs.counting(runtime, box)
    pid = runtime.state(container_id)["pid"]
    enter = ["nsenter", f"--net=/proc/{pid}/ns/net"]
    subprocess.run([*enter, "ip", "address", "add", "192.0.2.7/32", "dev", "lo"], check=True)
    subprocess.run([*enter, "ip", "link", "set", "lo", "up"], check=True)
    assert "192.0.2.7" in runtime("exec", container_id, "cat", "/proc/net/fib_trie").out
    checkpoints.checkpoint(container_id, "--empty-ns", "network")
    restored = checkpoints.restore(box, "--empty-ns", "network")
    assert "192.0.2.7" not in runtime("exec", restored, "cat", "/proc/net/fib_trie").out
    verbs.wait_for_more(runtime, restored, verbs.number(runtime, restored))


def test_a_deleted_file_that_is_linked(runtime, checkpoints, make_bundle):
    """link-remap: an open file with another name, deleted by its own, is there again after the restore."""
    bundle = make_bundle(rootfs=True)
    bundle.config["root"]["readonly"] = False
    bundle.config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
    script = verbs.QUIET + (
        "echo kept >/var/a; ln /var/a /var/b; exec 7</var/a; rm /var/a; echo x >/tmp/n; while :; do sleep 0.1; done"
    )
    container_id = runtime.running(bundle.sh(script))
    verbs.wait_for_file(runtime, container_id, "/tmp/n")
    refused = checkpoints.checkpoint(container_id, check=False)
    assert refused.status == 1 and "use --link-remap" in refused.err, refused
    checkpoints.checkpoint(container_id, "--link-remap")
    restored = checkpoints.restore(bundle, "--link-remap")
    assert runtime("exec", restored, "cat", "/proc/1/fd/7").out == "kept\n"


@pytest.mark.runc_agrees
def test_the_original_was_deleted(runtime, checkpoints, box):
    """Images of a container that ran on and was deleted are restored under its id."""
    container_id = verbs.counting(runtime, box)
    checkpoints.checkpoint(container_id, "--leave-running")
    runtime("delete", "--force", container_id)
    checkpoints.restore(box, container_id=container_id)
    verbs.wait_for_more(runtime, container_id, verbs.number(runtime, container_id))


def test_an_id_that_is_in_use(runtime, checkpoints, box):
    """Nothing is restored under the id of a container that there is, and that runs on."""
    container_id = verbs.counting(runtime, box)
    checkpoints.checkpoint(container_id, "--leave-running")
    checkpoints.restore(box, container_id=container_id, check=False)
    assert checkpoints.done.status == 1 and "exists" in checkpoints.done.err, checkpoints.done
    verbs.wait_for_more(runtime, container_id, verbs.number(runtime, container_id))


# ---- what goes wrong -----------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path):
    """A folder that has room for 64 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk(runtime, checkpoints, box, tiny):
    """A dump to a disk that gets full fails with that cause, the container runs on, and the rest is not restored."""
    container_id = verbs.counting(runtime, box)
    done = checkpoints.checkpoint(container_id, images=tiny / "images", check=False)
    assert done.status == 1, done
    assert re.search("disk of the images is full|no space left on device", done.err), done
    verbs.wait_for_more(runtime, container_id, verbs.number(runtime, container_id))
    restored = checkpoints.restore(box, images=tiny / "images", check=False)
    assert checkpoints.done.status == 1, checkpoints.done
    assert restored not in runtime("list", "-q").out


def test_images_of_another_architecture(runtime, checkpoints, box):
    """Real images whose cores say that they are of arm64 are refused before anything is made."""
    checkpoints.checkpoint(verbs.counting(runtime, box))
    for path in checkpoints.images.glob("core-*.img"):
        data = bytearray(path.read_bytes())
        # The first field of core_entry, mtype: X86_64 is 1, AARCH64 is 3 (images/core.proto).
        assert data[12:14] == b"\x08\x01"
        data[13] = 3
        path.write_bytes(data)
    restored = checkpoints.restore(box, check=False)
    assert checkpoints.done.status == 1, checkpoints.done
    assert "of another architecture: AARCH64" in checkpoints.done.err
    assert restored not in runtime("list", "-q").out


@pytest.mark.parametrize("target", ["/etc/shadow", "/proc/1/mem", "socket:[1]", "pipe:[0]"])
def test_tampered_descriptors(runtime, checkpoints, box, target):
    """descriptors.json gives the container nothing but the standard files of `restore`, whatever it names."""
    checkpoints.checkpoint(verbs.counting(runtime, box))
    (checkpoints.images / "descriptors.json").write_text(json.dumps([target] * 3))
    restored = checkpoints.restore(box, check=False)
    if checkpoints.done.status == 0:
        pid = runtime.state(restored)["pid"]
        links = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()}
        assert target not in links
    else:
        assert restored not in runtime("list", "-q").out


def yards():
    """Where CRIU has mounted the cgroup hierarchies in this mount namespace."""
    return [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "cgyard" in line
    ]


def test_a_failed_restore_leaves_no_mounts(runtime, checkpoints, box):
    """The cgroup hierarchies that CRIU mounts in its work folder are gone when a hook makes the restore fail."""
    checkpoints.checkpoint(verbs.counting(runtime, box))
    box.config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    box.write()
    before = yards()
    checkpoints.restore(box, check=False)
    assert checkpoints.done.status == 1, checkpoints.done
    assert yards() == before
    assert not list(checkpoints.work.glob(".criu.cgyard.*"))


def test_a_killed_restore_leaves_no_mounts(runtime, checkpoints, box, tmp_path):
    """After a restore was killed in the middle, `delete --force` takes away what CRIU has mounted in its work folder."""
    checkpoints.checkpoint(verbs.counting(runtime, box))
    reached = tmp_path / "reached"
    script = f"echo >{reached}; exec sleep 1000"
    box.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    box.write()
    before = yards()
    container_id = runtime.id()
    where = ["--image-path", checkpoints.images, "--work-path", checkpoints.work]
    command = ["restore", "--detach", "--bundle", box.path, *where, container_id]
    quiet = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    process = subprocess.Popen(runtime.command(*command), env=checkpoints.env, **quiet)
    verbs.wait_until(reached.exists, "restore does not get there")
    process.kill()
    process.wait()
    runtime("delete", "--force", container_id)
    assert yards() == before
    assert not list(checkpoints.work.glob(".criu.cgyard.*"))


# ---- security modules ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(
    not os.path.exists("/sys/kernel/security/apparmor/profiles"), reason="needs AppArmor"
)
@pytest.mark.runc_agrees
def test_the_profile_comes_back(runtime, checkpoints, box):
    """A container under an AppArmor profile is under it again, and so is what is executed in it."""
    name = f"ocifw-test-{os.getpid()}"
    rules = "file, network, capability, mount, signal, ptrace, umount, unix,"
    text = f"profile {name} flags=(attach_disconnected,mediate_deleted) {{ {rules} }}".encode()
    load = ["apparmor_parser", "--skip-cache"]
    subprocess.run([*load, "--replace"], input=text, check=True)
    try:
        box.process["apparmorProfile"] = name
        checkpoints.checkpoint(verbs.counting(runtime, box))
        restored = checkpoints.restore(box)
        verbs.wait_for_more(runtime, restored, verbs.number(runtime, restored))
        assert runtime("exec", restored, "cat", "/proc/1/attr/current").out == f"{name} (enforce)\n"
        assert (
            f"{name} (enforce)" in runtime("exec", restored, "cat", "/proc/self/attr/current").out
        )
        runtime("delete", "--force", restored)
    finally:
        subprocess.run([*load, "--remove"], input=text, check=True)
