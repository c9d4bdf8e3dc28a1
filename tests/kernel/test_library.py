"""The library on the real kernel: the whole life of containers, many at a time, in a process that has other things to do."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import whole

import ocifw
from ocifw import document
from ocifw.errors import ContainerError, NotFound, OcifwError, StepFailed, WaitTimeout

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

THREADS = 8
EACH = 25
PATIENCE_S = 60
KILLED = 128 + signal.SIGKILL


class Bundles:
    """Bundles of one rootfs, below a state root and a cgroup of their own."""

    def __init__(self, folder, rootfs, cgroup):
        self.folder = folder
        self.rootfs = rootfs
        self.cgroup = cgroup

    def __call__(self, *args, name="bundle", **changes):
        """A bundle whose program is `args`. changes: of config.json."""
        bundle = self.folder / name
        bundle.mkdir(exist_ok=True)
        config = {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": list(args),
                "env": ["PATH=/bin"],
                "cwd": "/",
                "noNewPrivileges": True,
            },
            "root": {"path": str(self.rootfs), "readonly": True},
            "hostname": "box",
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {
                "namespaces": [
                    {"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")
                ],
                "cgroupsPath": f"{self.cgroup}/{name}",
                "resources": {"pids": {"limit": 50}},
            },
            **changes,
        }
        (bundle / "config.json").write_text(document.dump(config))
        return bundle


@pytest.fixture
def bundles(public_folder, rootfs):
    made = Bundles(public_folder, rootfs, f"/ocifw-library-{os.getpid()}")
    yield made
    whole.remove_cgroups(made.cgroup)


@pytest.fixture
def runtime(public_folder):
    with ocifw.Runtime(public_folder / "state", delete_on_exit=True) as made:
        yield made
    assert os.listdir(made.root) == []


@pytest.fixture
def pipe():
    """A pipe whose reading end tells all that was written, once the writers are gone."""

    class Pipe:
        def __init__(self):
            self.read, self.write = os.pipe()

        def text(self):
            os.close(self.write)
            with os.fdopen(self.read, "rb") as file:
                return file.read().decode()

    return Pipe()


# ---- a life --------------------------------------------------------------------------------------------------------


def test_a_life(runtime, bundles):
    """create, start, exec, pause, resume, update, kill, wait, delete: each does what its command does."""
    container = runtime.create(bundles("sleep", "1000"), "c")
    assert container.status == "created"
    container.start()
    assert container.state()["pid"] == container.pid
    assert container.processes() == [container.pid]
    assert runtime.get("c").id == runtime.list()[0].id == "c"
    process = container.exec(["sh", "-c", "exit 7"])
    assert [process.wait(), process.wait()] == [7, 7]
    container.pause()
    assert container.status == "paused"
    container.resume()
    container.update({"pids": {"limit": 40}})
    assert container.config()["linux"]["resources"]["pids"]["limit"] == 40
    assert container.stats()["pids"]["limit"] == 40
    with pytest.raises(WaitTimeout):
        container.wait(0.01)
    with pytest.raises(ContainerError, match="not stopped"):
        container.delete()
    container.kill("KILL")
    assert container.wait(PATIENCE_S) == KILLED
    assert container.status == "stopped"
    container.delete()
    assert runtime.list() == []
    assert container.wait() == KILLED
    with pytest.raises(NotFound):
        container.start()


def test_run(runtime, bundles, pipe):
    """`run` gives the program its streams and returns its exit status; the container is gone."""
    bundle = bundles("sh", "-c", "cat; echo out; echo err >&2; exit 3")
    with open(bundle / "input", "w+") as stdin:
        stdin.write("in\n")
        stdin.seek(0)
        status = runtime.run(bundle, "c", stdin=stdin, stdout=pipe.write, stderr=subprocess.STDOUT)
    assert (status, pipe.text()) == (3, "in\nout\nerr\n")
    assert runtime.list() == []


def test_run_out_of_time(runtime, bundles):
    """What does not end in time is killed and deleted."""
    with pytest.raises(WaitTimeout, match="container c did not end within 0.05 s"):
        runtime.run(bundles("sleep", "1000"), "c", timeout_s=0.05)
    assert runtime.list() == []
    assert whole.cgroups(bundles.cgroup) == []


def test_exec_streams(runtime, bundles, pipe):
    """A process that is added has its own streams, environment, folder and user."""
    container = runtime.create(bundles("sleep", "1000"), "c")
    container.start()
    process = container.exec(
        ["sh", "-c", "echo $A; pwd -P; id -u; cat"],
        env=["A=b"],
        cwd="/tmp",
        user="12:13",
        stdin=subprocess.DEVNULL,
        stdout=pipe.write,
    )
    assert process.wait(PATIENCE_S) == 0
    assert pipe.text() == "b\n/tmp\n12\n"
    longer = container.exec(["sleep", "1000"])
    longer.kill("KILL")
    assert longer.wait(PATIENCE_S) == KILLED


def test_streams_may_be_swapped(bundles, tmp_path, in_child, public_folder):
    """The descriptors 0 to 2 themselves can be given, in another order."""
    bundle = bundles("sh", "-c", "echo out; echo err >&2")

    def swapped():
        with ocifw.Runtime(public_folder / "other") as runtime:
            for number in (1, 2):
                fd = os.open(tmp_path / str(number), os.O_WRONLY | os.O_CREAT)
                os.dup2(fd, number)
            assert runtime.run(bundle, "c", stdout=2, stderr=1) == 0

    in_child(swapped)
    assert [(tmp_path / name).read_text() for name in ("1", "2")] == ["err\n", "out\n"]


def test_closed_streams(bundles, in_child, public_folder):
    """In a process without descriptors 0 to 2, a program gets /dev/null for each, and nothing of the runtime's."""
    bundle = bundles("sh", "-c", "[ /proc/self/fd/0 -ef /dev/null ]; cat; echo a && echo b >&2")

    def closed():
        with ocifw.Runtime(public_folder / "other") as runtime:
            os.closerange(0, 3)
            assert runtime.run(bundle, "c") == 0

    in_child(closed)


def test_a_program_that_cannot_be_executed(runtime, bundles):
    """An error names it, as the command's does, and nothing is left."""
    with pytest.raises(StepFailed, match="executable file not found"):
        runtime.create(bundles("missing"), "c")
    before = whole.children()
    container = runtime.create(bundles("sleep", "1000"), "c")
    container.start()
    with pytest.raises(StepFailed, match="no such file or directory"):
        container.exec(["/missing"])
    assert whole.children() - before == {container.pid}


def test_profiles_by_name(runtime, bundles):
    """A profile of the runtime counts, and one that a container is given counts instead."""
    hardened = ocifw.Runtime(runtime.root, profiles=["hardened"])
    bundle = bundles("sleep", "1000")
    assert hardened.plan(bundle, "c").config != runtime.plan(bundle, "c").config
    container = runtime.create(bundle, "c", profiles=["hardened"])
    assert container.config() == hardened.plan(bundle, "c").config


def test_another_process_made_it(runtime, bundles, in_child):
    """The container of another process can be waited for, without a status, and be deleted."""
    bundle = bundles("sleep", "1000")
    in_child(lambda: ocifw.Runtime(runtime.root).create(bundle, "c"))
    container = runtime.get("c")
    with pytest.raises(WaitTimeout):
        container.wait(0.01)
    container.kill("KILL")
    assert container.wait(PATIENCE_S) is None
    container.delete()


def test_an_id_used_again(runtime, bundles):
    """A container that somebody else deleted is not mistaken for a new one with its id."""
    bundle = bundles("sleep", "1000")
    first = runtime.create(bundle, "c")
    ocifw.Runtime(runtime.root).get("c").delete()
    second = runtime.create(bundle, "c")
    assert first.wait(PATIENCE_S) == KILLED
    assert second.status == "created"
    second.delete()
    assert second.wait(PATIENCE_S) == KILLED


def test_deleted_at_the_end(bundles, public_folder):
    """With `delete_on_exit`, nothing of what was made outlives the `with`; without, everything does."""
    bundle = bundles("sleep", "1000")
    with ocifw.Runtime(public_folder / "other") as runtime:
        kept = runtime.create(bundle, "kept")
    with pytest.raises(OcifwError, match="closed"):
        kept.start()
    with ocifw.Runtime(public_folder / "other", delete_on_exit=True) as runtime:
        runtime.create(bundles("sleep", "1000", name="more"), "gone")
        runtime.get("kept").start()
    assert [one.id for one in ocifw.Runtime(public_folder / "other").list()] == ["kept"]
    ocifw.Runtime(public_folder / "other").get("kept").delete(force=True)
    os.waitpid(-1, 0)


# ---- in a process that has other things to do ----------------------------------------------------------------------


@pytest.mark.slow
def test_many_threads(runtime, bundles):
    """8 threads make, run, and delete 25 containers each; then the process and the machine are as before."""
    for number in range(THREADS):
        bundles("sh", "-c", f"exit {number}", name=f"b{number}")
    fds, mounts, children = whole.open_fds(), whole.mounts(), whole.children()

    def work(number):
        statuses = []
        for turn in range(EACH):
            container = runtime.create(bundles.folder / f"b{number}", f"c{number}-{turn}")
            container.start()
            statuses.append(container.wait(PATIENCE_S))
            container.delete()
        return statuses

    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(work, range(THREADS))) == [[n] * EACH for n in range(THREADS)]
    assert runtime.list() == []
    assert runtime._children == {}
    assert whole.cgroups(bundles.cgroup) == []
    assert (whole.open_fds(), whole.mounts(), whole.children()) == (fds, mounts, children)


@pytest.mark.slow
def test_many_threads_one_container(runtime, bundles):
    """Of threads that create or start or delete the same container, one succeeds, and the others get errors of ocifw."""
    bundle = bundles("sleep", "1000")

    def outcomes(function):
        def attempt(_):
            try:
                function()
            except OcifwError as error:
                return str(error)
            return "ok"

        with ThreadPoolExecutor(THREADS) as pool:
            return sorted(pool.map(attempt, range(THREADS)))

    found = outcomes(lambda: runtime.create(bundle, "c"))
    assert found == ["container with given ID already exists"] * (THREADS - 1) + ["ok"]
    container = runtime.get("c")
    found = outcomes(container.start)
    assert found == ["cannot start an already running container"] * (THREADS - 1) + ["ok"]
    found = outcomes(lambda: container.exec(["true"]).wait(PATIENCE_S))
    assert found == ["ok"] * THREADS
    found = outcomes(lambda: container.delete(force=True))
    assert found == ["ok"] * THREADS


def test_the_process_is_left_alone(runtime, bundles, tmp_path):
    """Folder, umask, handlers, masks and other children are as before, and hooks change them for no other thread."""
    hook = {
        "path": shutil.which("sh"),
        "args": ["sh", "-c", f"pwd -P > {tmp_path}/hook; sleep 0.1"],
    }
    bundle = bundles("true", hooks={"createRuntime": [hook]})
    other = subprocess.Popen(["true"])
    folders = set()
    over = threading.Event()

    def look():
        while not over.is_set():
            folders.add(os.getcwd())

    def process():
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        handlers = [signal.getsignal(number) for number in signal.valid_signals()]
        umask = next(
            line for line in Path("/proc/self/status").read_text().splitlines() if "Umask" in line
        )
        return os.getcwd(), mask, handlers, umask

    before = process()
    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        assert runtime.run(bundle, "c") == 0
    finally:
        over.set()
        watcher.join()
    assert (tmp_path / "hook").read_text() == "/\n"
    assert process() == before
    assert folders == {os.getcwd()}
    assert other.wait() == 0


def test_children_that_nobody_waits_for(bundles, public_folder, in_child):
    """In a process that ignores SIGCHLD everything works, but there are no statuses."""
    bundle = bundles("sh", "-c", "exit 3")

    def ignoring():
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        with ocifw.Runtime(public_folder / "other") as runtime:
            assert runtime.run(bundle, "c") is None
            container = runtime.create(bundle, "d")
            container.start()
            assert container.wait(PATIENCE_S) is None
            container.delete()
            assert runtime.list() == []

    in_child(ignoring)


def test_not_forked(runtime, bundles, monkeypatch):
    """The process is never forked, whatever hooks there are."""

    def refuse():
        raise AssertionError("forked")

    monkeypatch.setattr(os, "fork", refuse)
    hooks = {
        kind: [{"path": shutil.which("true")}]
        for kind in ("createRuntime", "createContainer", "poststart", "poststop")
    }
    assert runtime.run(bundles("true", hooks=hooks), "c") == 0
