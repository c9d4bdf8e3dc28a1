"""Terminals: a console socket for engines, and the caller's own terminal in the foreground."""

from __future__ import annotations

import array
import fcntl
import json
import os
import pty
import select
import socket
import subprocess
import termios
import time

import pytest

pytestmark = pytest.mark.runc_agrees

PATIENCE_S = 20


class Terminal:
    """The master of a pseudo-terminal, and what was read from it."""

    def __init__(self, fd):
        self.fd, self.output = fd, b""

    def read_until(self, text=None):
        """Read until a text came; without one, until the other side is closed. Returns all that was read."""
        deadline = time.monotonic() + PATIENCE_S
        while text is None or text not in self.output:
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"no {text!r} in {self.output!r}"
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                data = b""
            if not data:
                assert text is None, f"no {text!r} in {self.output!r}"
                break
            self.output += data
        return self.output.decode()

    def write(self, data):
        os.write(self.fd, data)

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, array.array("H", [rows, columns, 0, 0]).tobytes())


class ConsoleSocket:
    """What an engine listens on for the master of a container's terminal."""

    def __init__(self, path):
        self.path = str(path)
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.server.bind(self.path)
        self.server.listen()
        self.server.settimeout(PATIENCE_S)
        self.payload = b""
        self.terminals = []

    def receive(self):
        connection, _ = self.server.accept()
        with connection:
            self.payload, control, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(64))
        fds = [fd for _, _, data in control for fd in array.array("i", data)]
        self.terminals += map(Terminal, fds)
        assert len(fds) == 1
        return self.terminals[-1]

    def close(self):
        for terminal in self.terminals:
            os.close(terminal.fd)
        self.server.close()


@pytest.fixture
def console(tmp_path):
    made = ConsoleSocket(tmp_path / "console.sock")
    yield made
    made.close()


class Caller:
    """A runtime that runs on a terminal of its own, as a user's shell starts it."""

    def __init__(self, command, **keywords):
        master, slave = pty.openpty()
        self.mode = termios.tcgetattr(slave)
        self.slave = slave
        self.terminal = Terminal(master)
        self.terminal.resize(33, 77)
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, **keywords
        )

    def wait(self):
        return self.process.wait(PATIENCE_S)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.slave)
        os.close(self.terminal.fd)


@pytest.fixture
def call(runtime):
    """Start a command of the runtime on a terminal."""
    callers = []

    def start(*arguments, **keywords):
        callers.append(Caller(runtime.command(*arguments), **keywords))
        return callers[-1]

    yield start
    for caller in callers:
        caller.close()


@pytest.fixture
def tty_bundle(bundle):
    bundle.process["terminal"] = True
    return bundle


# ---- console socket ----------------------------------------------------------------------------------------------


def test_the_master_is_sent(runtime, tty_bundle, console):
    """`create` has sent the master of a terminal when it returns; the process has the other side as 0, 1 and 2."""
    script = "test -t 0 && test -t 1 && test -t 2 && echo three; read line; echo got $line"
    container_id, _ = runtime.create(tty_bundle.sh(script), "--console-socket", console.path)
    terminal = console.receive()
    assert os.isatty(terminal.fd)
    assert console.payload
    runtime("start", container_id)
    terminal.read_until(b"three")
    terminal.write(b"input\n")
    terminal.read_until(b"got input")


def test_the_terminal_is_of_the_containers_devpts(runtime, tty_bundle, console):
    """The terminal is /dev/pts/0 of the container's own devpts, and the same as /dev/console and /dev/tty."""
    script = "tty; stat -c %t:%T /dev/console; echo to-tty >/dev/tty; echo to-console >/dev/console; echo end"
    container_id, _ = runtime.create(tty_bundle.sh(script), "--console-socket", console.path)
    terminal = console.receive()
    runtime("start", container_id)
    lines = terminal.read_until(b"end").split()
    assert lines == ["/dev/pts/0", "88:0", "to-tty", "to-console", "end"]


def test_console_size(runtime, tty_bundle, console):
    """consoleSize of the config is the terminal's first size; later the engine changes it through the master."""
    tty_bundle.process["consoleSize"] = {"height": 11, "width": 22}
    script = "stty size; read line; stty size; echo end"
    container_id, _ = runtime.create(tty_bundle.sh(script), "--console-socket", console.path)
    terminal = console.receive()
    runtime("start", container_id)
    terminal.read_until(b"11 22")
    terminal.resize(44, 55)
    terminal.write(b"\n")
    assert "44 55" in terminal.read_until(b"end")


def test_the_terminal_belongs_to_the_user(runtime, tty_bundle, console):
    """The terminal is owned by the process's user, who can open it again."""
    tty_bundle.process["user"] = {"uid": 1000, "gid": 1000}
    script = "stat -c %u $(tty); echo again > $(tty); echo end"
    container_id, _ = runtime.create(tty_bundle.sh(script), "--console-socket", console.path)
    terminal = console.receive()
    runtime("start", container_id)
    assert terminal.read_until(b"end").split() == ["1000", "again", "end"]


def test_a_detached_run(runtime, tty_bundle, console):
    """`run --detach` sends the terminal, too."""
    runtime.run(
        tty_bundle.sh("echo hello; exec sleep 1000"), "-d", "--console-socket", console.path
    )
    console.receive().read_until(b"hello")


def test_controlling_terminal(runtime, tty_bundle, console):
    """It is the controlling terminal: its keys become signals."""
    script = "trap 'echo interrupted; exit' INT; echo ready; while :; do sleep 0.01; done"
    container_id, _ = runtime.create(tty_bundle.sh(script), "--console-socket", console.path)
    terminal = console.receive()
    runtime("start", container_id)
    terminal.read_until(b"ready")
    terminal.write(b"\x03")
    terminal.read_until(b"interrupted")


def test_exec_sends_a_master(runtime, bundle, console):
    """A detached exec with a terminal sends its master; it is a terminal of the container's."""
    container_id = runtime.running(bundle.sh("exec sleep 1000"))
    command = ["exec", "--tty", "--detach", "--console-socket", console.path]
    runtime(*command, container_id, "sh", "-c", "tty; test -t 2 && echo yes; exec sleep 1001")
    assert console.receive().read_until(b"yes").split() == ["/dev/pts/0", "yes"]


def test_exec_of_a_document_with_a_terminal(runtime, bundle, console, repository, tmp_path):
    """The document that podman writes for `exec -t` is run with its terminal and size."""
    container_id = runtime.running(bundle.sh("exec sleep 1000"))
    path = repository / "tests/core/engines/podman-4.3-exec-tty.process.json"
    process = json.loads(path.read_text())
    process["args"] = ["sh", "-c", "tty; sleep 1000"]
    process.pop("rlimits", None)
    document = tmp_path / "process.json"
    document.write_text(json.dumps(process))
    command = ["exec", "--process", document, "--detach", "--console-socket", console.path]
    runtime(*command, container_id)
    console.receive().read_until(b"/dev/pts/0")


# ---- the caller's terminal ---------------------------------------------------------------------------------------


def test_foreground_run(runtime, tty_bundle, call):
    """In the foreground the container's terminal is joined to the caller's, and the status is the process's."""
    tty_bundle.sh("test -t 1 && echo yes; read line; echo got $line; exit 5")
    caller = call("run", "--bundle", tty_bundle.path, runtime.id())
    caller.terminal.read_until(b"yes")
    caller.terminal.write(b"input\n")
    caller.terminal.read_until(b"got input")
    assert caller.wait() == 5


def test_foreground_size(runtime, tty_bundle, call):
    """The container's terminal has the caller's size, and follows it."""
    tty_bundle.sh(
        "trap 'stty size; echo end; exit' WINCH; stty size; echo ready; while :; do sleep 0.01; done"
    )
    caller = call("run", "--bundle", tty_bundle.path, runtime.id())
    assert "33 77" in caller.terminal.read_until(b"ready")
    caller.terminal.resize(44, 88)
    os.kill(caller.process.pid, 28)
    assert "44 88" in caller.terminal.read_until(b"end")
    assert caller.wait() == 0


def test_raw_mode_is_restored(runtime, tty_bundle, call):
    """While the container runs the caller's terminal is raw; afterwards it is as before."""
    tty_bundle.sh("echo ready; read line")
    caller = call("run", "--bundle", tty_bundle.path, runtime.id())
    caller.terminal.read_until(b"ready")
    raw = termios.tcgetattr(caller.slave)
    assert not raw[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
    caller.terminal.write(b"\n")
    assert caller.wait() == 0
    assert termios.tcgetattr(caller.slave) == caller.mode


def test_raw_mode_is_restored_after_a_failure(runtime, tty_bundle, call):
    """The caller's terminal is as before after a program that cannot be run, too."""
    tty_bundle.process["args"] = ["/nonexistent"]
    caller = call("run", "--bundle", tty_bundle.write().path, runtime.id())
    caller.terminal.read_until(b"no such file or directory")
    assert caller.wait() == 1
    assert termios.tcgetattr(caller.slave) == caller.mode


def test_all_output_arrives(runtime, tty_bundle, call):
    """What a process writes at last before it ends arrives, however much it is."""
    tty_bundle.sh("seq 1 20000")
    caller = call("run", "--bundle", tty_bundle.path, runtime.id())
    caller.terminal.read_until(b"\n20000\r\n")
    assert caller.wait() == 0
    assert caller.terminal.output.decode().split() == [str(number) for number in range(1, 20001)]


def test_foreground_exec(runtime, bundle, call):
    """exec -t joins the process's terminal to the caller's, with its size, keys and status."""
    container_id = runtime.running(bundle.sh("exec sleep 1000"))
    script = (
        "trap 'echo interrupted; exit 9' INT; stty size; echo ready; while :; do sleep 0.01; done"
    )
    caller = call("exec", "-t", container_id, "sh", "-c", script)
    assert "33 77" in caller.terminal.read_until(b"ready")
    caller.terminal.write(b"\x03")
    caller.terminal.read_until(b"interrupted")
    assert caller.wait() == 9
    assert termios.tcgetattr(caller.slave) == caller.mode


def test_without_a_terminal_of_the_caller(runtime, tty_bundle, is_ocifw):
    """A foreground container with a terminal runs without one of the caller's, too."""
    if not is_ocifw:
        pytest.skip("runc refuses it")
    done = runtime.run(tty_bundle.sh("test -t 1 && echo yes; exit 3"), check=False)
    assert (done.status, done.out_path.read_bytes()) == (3, b"yes\r\n")


# ---- mismatches --------------------------------------------------------------------------------------------------

NEEDS_SOCKET = "cannot allocate tty if runc will detach without setting console socket"
NEEDS_TERMINAL = "cannot use console socket if runc will not detach or allocate tty"


def test_a_terminal_without_anybody(runtime, tty_bundle):
    """Detached, a terminal needs a console socket."""
    tty_bundle.sh("true")
    for command in (["create"], ["run", "--detach"]):
        done = runtime(*command, "--bundle", tty_bundle.path, runtime.id(), check=False)
        assert done.status == 1 and NEEDS_SOCKET in done.err, (command, done)


def test_a_socket_without_a_terminal(runtime, bundle, tty_bundle, console):
    """A console socket needs a terminal, and is for a process that nobody waits for."""
    tty_bundle.sh("true")
    command = ["run", "--bundle", tty_bundle.path, "--console-socket", console.path]
    assert NEEDS_TERMINAL in runtime(*command, runtime.id(), check=False).err
    bundle.process["terminal"] = False
    bundle.write()
    command[0] = "create"
    assert NEEDS_TERMINAL in runtime(*command, runtime.id(), check=False).err


def test_exec_mismatches(runtime, bundle, console):
    """exec has the same rules, and fails with 255."""
    container_id = runtime.running(bundle.sh("exec sleep 1000"))
    done = runtime("exec", "-t", "-d", container_id, "true", check=False)
    assert done.status == 255 and NEEDS_SOCKET in done.err
    done = runtime(
        "exec", "-d", "--console-socket", console.path, container_id, "true", check=False
    )
    assert done.status == 255 and NEEDS_TERMINAL in done.err


def test_a_socket_that_nobody_listens_on(runtime, tty_bundle, tmp_path):
    """A console socket that is not there is named."""
    options = ["--bundle", tty_bundle.sh("true").path, "--console-socket", tmp_path / "none"]
    done = runtime("create", *options, runtime.id(), check=False)
    assert done.status == 1 and "none" in done.err and "no such file or directory" in done.err
