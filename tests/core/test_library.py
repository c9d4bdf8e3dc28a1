"""The library without containers: how it is imported, and what it leaves alone. Containers are in tests/kernel."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest

import ocifw
from ocifw import context, creation, foreground, guard, library, log, plugins, selection
from ocifw.errors import ContainerError, NotFound, OcifwError, WaitTimeout

IMPORTS = """
import sys, ocifw
assert "ocifw.library" not in sys.modules
assert ocifw.Runtime.__module__ == "ocifw.library"
from ocifw import Container, Process, hookimpl
try:
    ocifw.Runtimes
except AttributeError as error:
    assert "Runtimes" in str(error)
else:
    raise AssertionError
"""


@pytest.fixture
def runtime(tmp_path):
    with ocifw.Runtime(tmp_path / "state") as made:
        yield made


@pytest.fixture
def start():
    """Start a shell script as a child; it is killed and waited for at the end."""
    pids = []

    def start(script):
        command = [shutil.which("sh"), "-c", script]
        pids.append(os.posix_spawn(command[0], command, dict(os.environ)))
        return library._Child(pids[-1])

    yield start
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


# ---- the module ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_is_imported_when_it_is_used():
    """`import ocifw` alone does not import the library, and other names are AttributeErrors."""
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)


def test_the_runtime_has_a_root(runtime, tmp_path):
    """The state root is absolute, is not made before a container is, and has no containers then."""
    assert runtime.root == str(tmp_path / "state")
    assert runtime.list() == []
    assert not os.path.exists(runtime.root)


def test_features_are_the_commands(runtime):
    """`features` names the plugins, as the command does."""
    assert "mounts" in runtime.features()["annotations"]["org.ocifw.plugins"]


# ---- errors --------------------------------------------------------------------------------------------------------


def test_errors_are_ocifws(runtime, tmp_path):
    """Whatever goes wrong is an error of ocifw.errors, with the command's text."""
    with pytest.raises(NotFound):
        runtime.get("missing")
    with pytest.raises(ContainerError, match="invalid container ID format"):
        runtime.get("../etc")
    with pytest.raises(OcifwError, match=r"config\.json"):
        runtime.create(tmp_path, "c")
    with pytest.raises(OcifwError, match="state root"):
        ocifw.Runtime("/")
    with pytest.raises(OcifwError, match="cgroup manager"):
        ocifw.Runtime(tmp_path, cgroup_manager="none")
    with pytest.raises(OcifwError, match="one string"):
        ocifw.Runtime(tmp_path, profiles="hardened")
    with pytest.raises(OcifwError, match="missing-set"):
        ocifw.Runtime(tmp_path, plugin_set="missing-set")


def test_an_error_of_the_kernel_is_one_of_ocifws(tmp_path):
    """An OSError inside comes out as an OcifwError that names the file and keeps its cause."""
    (tmp_path / "file").touch()
    runtime = ocifw.Runtime(tmp_path / "file")
    with pytest.raises(OcifwError, match="file: not a directory") as caught:
        runtime.list()
    assert isinstance(caught.value.__cause__, NotADirectoryError)


def test_a_closed_runtime_does_nothing(runtime):
    """After `close`, which may come twice, every method is an error."""
    runtime.close()
    runtime.close()
    with pytest.raises(OcifwError, match="closed"):
        runtime.list()


def test_a_broken_state_is_warned_of(tmp_path):
    """`list` leaves out what cannot be read, and tells `on_warning`, not standard error."""
    warnings = []
    runtime = ocifw.Runtime(tmp_path, on_warning=warnings.append)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/state.json").write_text("{")
    (tmp_path / "fresh").mkdir()
    assert [(one.id, one.status) for one in runtime.list()] == [("fresh", "creating")]
    assert len(warnings) == 1
    assert "broken" in warnings[0]


def test_warnings_go_to_logging(tmp_path, caplog, capfd):
    """Without `on_warning` they go to the logger `ocifw`."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/state.json").write_text("{")
    ocifw.Runtime(tmp_path).list()
    assert "broken" in caplog.text
    assert capfd.readouterr().err == ""


# ---- of each thread its own ----------------------------------------------------------------------------------------


def in_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def test_a_choice_is_the_threads():
    """The plugin set that one thread chooses is not another's."""
    before = selection.choose(name="mine")
    try:
        assert in_thread(lambda: selection.chosen().name) == before.name
    finally:
        selection.choose(name=before.name)


def test_what_is_held_is_the_threads(runtime):
    """While a runtime works, its plugin set is the thread's, loaded once, and nobody's afterwards."""
    with runtime._working():
        assert plugins.load() is plugins.load() is selection.held()
        assert in_thread(selection.held) is None
    assert selection.held() is None
    assert plugins.load() is not runtime._plugins


def test_a_log_is_the_threads(capfd):
    """What one thread listens to, another still writes to standard error."""
    heard = []
    before = log.listen(lambda level, message: heard.append((level, message)))
    try:
        log.warning("mine")
        in_thread(lambda: log.warning("yours"))
    finally:
        log.listen(before)
    assert heard == [("warning", "mine")]
    assert "yours" in capfd.readouterr().err


def test_a_plugin_does_not_get_the_callers_alarm(runtime):
    """The time limit of plugins uses no signal in the library, not even in the main thread."""
    seen = []
    judge = guard.Guard((), 1.0)
    implementation = plugins.Implementation("p", "f", (), False)
    record = lambda: seen.append(signal.getsignal(signal.SIGALRM))  # noqa: E731
    judge.within_limit("hook", implementation, record)
    with runtime._working():
        judge.within_limit("hook", implementation, record)
    assert seen == [guard._time_up, signal.getsignal(signal.SIGALRM)]


def test_a_library_has_no_service_manager(tmp_path, monkeypatch):
    """NOTIFY_SOCKET and LISTEN_FDS are of commands: a creation is told otherwise."""
    (tmp_path / "config.json").write_text(
        '{"ociVersion": "1.0.2", "root": {"path": "/"}, "process": {"args": ["a"], "cwd": "/"}}'
    )
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    monkeypatch.setenv("LISTEN_FDS", "2")
    globals_ = context.Globals(str(tmp_path / "state"))
    ours = creation.Creation(globals_, "c", str(tmp_path), listen_fds=0, notify_socket="")
    theirs = creation.Creation(globals_, "c", str(tmp_path))
    assert (ours.request.notify_socket, ours.request.listen_fds) == ("", 0)
    assert (theirs.request.notify_socket, theirs.request.listen_fds) == ("/run/notify", 2)


# ---- streams -------------------------------------------------------------------------------------------------------


def test_streams(tmp_path):
    """Numbers, files, DEVNULL and STDOUT become descriptors, open only as long as they are needed."""
    with open(tmp_path / "file", "w") as file:
        with library._fds((subprocess.DEVNULL, file, subprocess.STDOUT)) as fds:
            assert os.readlink(f"/proc/self/fd/{fds[0]}") == "/dev/null"
            assert fds[1:] == (file.fileno(), file.fileno())
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fds[0])
    with library._fds((None, None, subprocess.STDOUT)) as fds:
        assert fds == (-1, -1, 1)


@pytest.mark.parametrize("stream", [-1, 99_999, subprocess.STDOUT])
def test_what_is_no_stream(stream):
    """A number that is no open file, and STDOUT for anything but stderr, are errors that name the stream."""
    with pytest.raises(OcifwError, match="stdin"), library._fds((stream, None, None)):
        pass


# ---- children ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -9 $$", 137), ("true", 0)])
def test_a_status_is_kept(start, script, status):
    """The exit status, or 128 and the signal, as often as it is asked for."""
    child = start(script)
    assert [child.wait(None, "it"), child.wait(0, "it")] == [status, status]
    child.drop()


def test_a_timeout_leaves_it_running(start):
    """WaitTimeout is a TimeoutError; the process lives on and can be waited for again."""
    child = start("sleep 100")
    with pytest.raises(TimeoutError, match="it did not end within 0.01 s") as caught:
        child.wait(0.01, "it")
    assert isinstance(caught.value, WaitTimeout)
    child.drop()
    child.kill(signal.SIGTERM, "it")
    assert child.wait(None, "it") == 128 + signal.SIGTERM
    with pytest.raises(ContainerError, match="it is not running"):
        child.kill(signal.SIGTERM, "it")


def test_a_zombie_is_not_running(start):
    """What has ended cannot be sent a signal, even before it was waited for."""
    child = start("exit 5")
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ContainerError, match="not running"):
        child.kill(0, "it")
    child.drop()
    assert child.wait(None, "it") == 5


def test_somebody_else_waited(start):
    """A status that went elsewhere is None."""
    child = start("exit 5")
    os.waitpid(child.pid, 0)
    assert child.wait(None, "it") is None


def test_many_threads_wait(start):
    """All get the same status, at the same time."""
    child = start("sleep 0.05; exit 6")
    statuses = []
    threads = [
        threading.Thread(target=lambda: statuses.append(child.wait(20, "it"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [6] * 8


def test_waiting_lets_others_work(start):
    """A thread that waits does not hold the interpreter."""
    child = start("sleep 100")
    thread = threading.Thread(target=child.wait, args=(None, "it"))
    thread.start()
    child.kill(signal.SIGKILL, "it")
    thread.join(20)
    assert not thread.is_alive()


# ---- exec ----------------------------------------------------------------------------------------------------------


def test_exec_is_refused_in_time(runtime):
    """A process for a container that is not there is NotFound, before anything is done."""
    container = ocifw.Container(runtime, "c", None)
    with pytest.raises(NotFound):
        container.exec(["true"])
    with pytest.raises(OcifwError, match="args cannot be empty"):
        container.exec([])
    with pytest.raises(OcifwError, match="one string"):
        container.exec("true")
    with pytest.raises(NotFound):
        foreground.Addition(runtime._globals, "c", {})
