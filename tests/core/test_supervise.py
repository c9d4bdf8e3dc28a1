"""Waiting in the foreground: signals, orphans, exit status, terminal and readiness, with real processes."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import textwrap

import pytest

from ocifw import notify
from ocifw.errors import OcifwError
from ocifw.linux.pidfd import pidfd_open
from ocifw.terminal import connect_console_socket

PATIENCE_S = 20

START = """
import os, sys
from _signal import pthread_sigmask, SIG_SETMASK, SIG_DFL, signal
from ocifw.supervise import Supervisor
from ocifw.terminal import Console

def child(script):
    "What spawn does: a child with an empty mask, and without Python's dispositions."
    pid = os.fork()
    if pid == 0:
        signal(13, SIG_DFL)
        pthread_sigmask(SIG_SETMASK, [])
        os.execv("/bin/sh", ["sh", "-c", script])
    return pid
"""


class Supervised:
    """A script that supervises, as a process of its own: what it does to its signals must not reach the tests."""

    def __init__(self, script, **options):
        self.process = subprocess.Popen(
            [sys.executable, "-c", START + textwrap.dedent(script)],
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )

    def line(self):
        return self.process.stdout.readline().rstrip("\n")

    def status(self):
        self.process.stdout.read()
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def supervise():
    started = []

    def start(script, **options):
        started.append(Supervised(script, **options))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
        one.process.stdout.close()


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)]
)
def test_exit_status(supervise, script, status):
    """The status is the process's, and 128+N for signal N."""
    running = supervise(f"s = Supervisor(); pid = child({script!r}); sys.exit(s.wait(pid))")
    assert running.status() == status


def test_process_that_ended_before_the_wait(supervise):
    """A process that is over before anybody waits is not missed."""
    running = supervise(
        """
        s = Supervisor(); pid = child("exit 3")
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        sys.exit(s.wait(pid))
        """
    )
    assert running.status() == 3


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "TERM", "USR1", "TSTP", "CONT", "PIPE"])
def test_signals_are_passed_on(supervise, name):
    """Signals to the supervisor reach the process, and do not end or stop the supervisor itself."""
    running = supervise(
        f"""
        s = Supervisor()
        sys.exit(s.wait(child('trap "exit 9" {name}; echo up; while :; do sleep 0.01; done')))
        """
    )
    assert running.line() == "up"
    running.process.send_signal(getattr(signal, f"SIG{name}"))
    assert running.status() == 9


def test_signals_wait_for_the_process(supervise):
    """A signal that comes before the process is there is passed on later, not lost."""
    running = supervise(
        """
        s = Supervisor()
        os.kill(os.getpid(), 12)
        pid = os.fork()
        if pid == 0:
            pthread_sigmask(SIG_SETMASK, [])
            os.execv("/bin/sh", ["sh", "-c", "exec sleep 20"])
        sys.exit(s.wait(pid))
        """
    )
    assert running.status() == 128 + signal.SIGUSR2


def test_urgent_and_child_signals_are_kept(supervise):
    """SIGURG, SIGWINCH and SIGCHLD do not reach the process."""
    running = supervise(
        """
        s = Supervisor()
        sys.exit(s.wait(child('trap "exit 9" URG WINCH; trap "exit 5" USR1; echo up; while :; do sleep 0.01; done')))
        """
    )
    assert running.line() == "up"
    for number in (signal.SIGURG, signal.SIGWINCH, signal.SIGUSR1):
        running.process.send_signal(number)
    assert running.status() == 5


@pytest.mark.parametrize(("subreaper", "orphans"), [(True, "1"), (False, "0")])
def test_subreaper_takes_orphans(supervise, subreaper, orphans):
    """With subreaper an orphan comes to the supervisor, which reaps it; without, it does not."""
    running = supervise(
        f"""
        s = Supervisor(subreaper={subreaper})
        s.wait(child('(sleep 0.02 &)'))
        try:
            print(len(s._ended) or int(os.waitpid(-1, 0)[0] > 0))
        except ChildProcessError:
            print(0)
        """
    )
    assert running.line() == orphans


def test_mask_is_given_back(supervise):
    """After close the caller's mask is as before, and what came too late does not end it."""
    running = supervise(
        """
        before = pthread_sigmask(SIG_SETMASK, [10])
        s = Supervisor(); s.wait(child("exit 0"))
        os.kill(os.getpid(), 15)
        s.close()
        print(sorted(pthread_sigmask(SIG_SETMASK, [])))
        sys.exit(6)
        """
    )
    assert running.line() == "[10]"
    assert running.status() == 6


def test_no_child(supervise):
    """A process whose status another parent gets is an error, and not a made-up status."""
    running = supervise(
        """
        from ocifw.errors import OcifwError
        s = Supervisor(subreaper=False)
        read_end, write_end = os.pipe()
        if os.fork() == 0:
            print(os.spawnv(os.P_NOWAIT, "/bin/sleep", ["sleep", "0.05"]), file=open(write_end, "w"))
            os._exit(0)
        os.close(write_end)
        try:
            s.wait(int(open(read_end).read()))
        except OcifwError as error:
            print(error)
        """
    )
    assert running.line().endswith("went to another parent")


# ---- the terminal ------------------------------------------------------------------------------------------------

TERMINAL = """
s = Supervisor(); console = Console()
theirs = console.container_end()
import fcntl, pty, socket, termios
master, peer = pty.openpty()
pid = os.fork()
if pid == 0:
    pthread_sigmask(SIG_SETMASK, [])
    socket.send_fds(socket.socket(fileno=theirs), [b"/dev/ptmx"], [master])
    os.setsid()
    for fd in (0, 1, 2):
        os.dup2(peer, fd)
    CONTROL
    os.closerange(3, 100)
    os.execv("/bin/sh", ["sh", "-c", SCRIPT])
os.close(master); os.close(peer); os.close(theirs)
try:
    console.receive_master()
    status = s.wait(pid, console)
finally:
    console.close()
s.close()
sys.exit(status)
"""


def terminal_script(script, controlling=True):
    control = "fcntl.ioctl(0, termios.TIOCSCTTY, 0)" if controlling else "pass"
    return TERMINAL.replace("CONTROL", control).replace("SCRIPT", repr(script))


class Terminal:
    """The user's side: a terminal whose foreground program supervises a process with a terminal of its own."""

    def __init__(self, script, rows=24, columns=80, controlling=True):
        self.master, peer = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(peer)
        self.peer = peer
        self.process = subprocess.Popen(
            [sys.executable, "-c", START + terminal_script(script, controlling)],
            stdin=peer, stdout=peer, stderr=peer, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 -- no threads here
        )  # fmt: skip
        self.seen = b""

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def until(self, text):
        while text not in self.seen:
            assert select.select([self.master], [], [], PATIENCE_S)[0], self.seen
            self.seen += os.read(self.master, 65536)
        before, _, self.seen = self.seen.partition(text)
        return before

    def send(self, data):
        os.write(self.master, data)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.peer)


@pytest.fixture
def terminal():
    made = []

    def make(*arguments, **options):
        made.append(Terminal(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_terminal_is_copied(terminal):
    """Keys reach the process's terminal as they are, ^C included, and its output comes back to the last byte."""
    user = terminal(
        'trap "echo interrupted; exit 5" INT; stty -echo; echo ready; read line; echo "<$line>"; read line'
    )
    user.until(b"ready\r\n")
    user.send(b"hello\r")
    user.until(b"<hello>\r\n")
    user.send(b"\x03")
    user.until(b"interrupted\r\n")
    assert user.process.wait(PATIENCE_S) == 5


def test_terminal_is_restored(terminal):
    """While the process runs the user's terminal is raw; afterwards it is as before."""
    user = terminal("echo ready; read line; exit 3")
    user.until(b"ready")
    assert not termios.tcgetattr(user.peer)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
    user.send(b"\r")
    assert user.process.wait(PATIENCE_S) == 3
    assert termios.tcgetattr(user.peer) == user.before


def test_terminal_has_the_users_size(terminal):
    """The process's terminal gets the user's size, and follows it."""
    user = terminal(
        'echo ready; read line; stty size; trap "stty size" WINCH; echo set; while :; do sleep 0.01; done',
        33,
        77,
    )
    user.until(b"ready")
    user.send(b"\r")
    assert b"33 77" in user.until(b"set")
    user.resize(20, 50)
    user.until(b"20 50")


def test_output_after_the_end(terminal):
    """Everything that the process wrote before its end arrives, however much it is."""
    user = terminal("stty -opost; seq 20000; echo end")
    text = user.until(b"end")
    assert text.split() == [str(number).encode() for number in range(1, 20001)]
    assert user.process.wait(PATIENCE_S) == 0


def test_terminal_that_somebody_keeps_open(terminal):
    """A background process that keeps the terminal open does not keep the supervisor waiting."""
    # Were it the controlling terminal, the kernel would hang it up when the session's leader ends.
    user = terminal("sleep 20 & echo $!; exit 2", controlling=False)
    background = int(user.until(b"\r\n"))
    try:
        assert user.process.wait(PATIENCE_S) == 2
    finally:
        os.kill(background, signal.SIGKILL)


def test_terminal_without_a_users_terminal(supervise):
    """Where standard input and output are no terminals, what comes and goes is copied all the same."""
    script = terminal_script('stty -echo; echo ready; read line; echo "<$line>"')
    running = supervise(script, stdin=subprocess.PIPE)
    assert running.line() == "ready"
    running.process.stdin.write("x\n")
    running.process.stdin.close()
    assert running.line() == "<x>"
    assert running.status() == 0


def test_console_socket(tmp_path):
    """The console socket is connected to, also at paths longer than a socket's address."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    for folder in (tmp_path, deep):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            at = os.open(folder, os.O_PATH)
            server.bind(f"/proc/self/fd/{at}/s")
            os.close(at)
            server.listen()
            fd = connect_console_socket(f"{folder}/s")
            assert not os.get_inheritable(fd)
            os.close(fd)
    with pytest.raises(OcifwError, match=r"dial unix .*/none: connect: no such file or directory"):
        connect_console_socket(f"{tmp_path}/none")


# ---- readiness ---------------------------------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path):
    """The service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "host"))
        server.settimeout(PATIENCE_S)
        yield server


@pytest.fixture
def proxy(tmp_path, host):
    made = notify.Proxy(str(tmp_path / "host"), str(tmp_path))
    made.listen()
    yield made
    made.close()


def say(tmp_path, *messages):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as container:
        container.connect(str(tmp_path / "notify/notify.sock"))
        for message in messages:
            container.send(message)


def test_only_readiness_is_passed_on(tmp_path, host, proxy):
    """READY goes to the host with the container's pid; what else the container says does not."""
    say(tmp_path, b"MAINPID=1\nSTATUS=x", b"FDSTORE=1\nREADY=1\nMAINPID=1", b"READY=1")
    assert proxy.forward(42) is False
    assert proxy.forward(42) is True
    assert [host.recv(100), host.recv(100)] == [b"READY=1\n", b"MAINPID=42\n"]
    assert proxy.fileno() == -1
    host.setblocking(False)
    with pytest.raises(BlockingIOError):
        host.recv(100)


def test_every_user_may_say_it(tmp_path, proxy):
    """The socket can be written to by whatever user the service runs as."""
    assert (tmp_path / "notify/notify.sock").stat().st_mode & 0o222 == 0o222


def test_start_waits_for_readiness(tmp_path, host, proxy):
    """`wait` returns when the service manager has read READY: it closes the barrier's file descriptor."""
    say(tmp_path, b"READY=1")
    pid = os.fork()
    if pid == 0:
        proxy.wait(42, pidfd_open(os.getppid()))
        os._exit(17)
    assert [host.recv(100), host.recv(100)] == [b"READY=1\n", b"MAINPID=42\n"]
    data, fds, _, _ = socket.recv_fds(host, 100, 1)
    assert data == b"BARRIER=1"
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    os.close(fds[0])
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 17


def test_start_stops_waiting_at_the_end(proxy):
    """A container that ends without a word ends the waiting."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    fd = pidfd_open(pid)
    proxy.wait(pid, fd)
    os.close(fd)
    os.waitpid(pid, 0)
    assert proxy.fileno() == -1


def test_host_socket_that_is_not_there(tmp_path, proxy):
    """A service manager that cannot be reached is named in the error; a strange address is refused at once."""
    os.unlink(tmp_path / "host")
    say(tmp_path, b"READY=1")
    with pytest.raises(OcifwError, match="NOTIFY_SOCKET .*/host: no such file or directory"):
        proxy.forward(42)
    with pytest.raises(OcifwError, match="neither a path nor an abstract name"):
        notify.Proxy("vsock:2:1", str(tmp_path))


def test_abstract_host_socket(tmp_path):
    """The host's socket may have an abstract name."""
    name = f"ocifw-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(f"\0{name}")
        server.settimeout(PATIENCE_S)
        made = notify.Proxy(f"@{name}", str(tmp_path))
        made.listen()
        say(tmp_path, b"READY=1")
        assert made.forward(1)
        assert server.recv(100) == b"READY=1\n"
