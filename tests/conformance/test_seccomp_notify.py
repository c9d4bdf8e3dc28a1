"""Seccomp listeners: who is asked about system calls, what is sent to it, and that its answer counts.

The listeners are real ones, in a thread: they take the file descriptor and answer SECCOMP_IOCTL_NOTIF_RECV and _SEND.
"""

from __future__ import annotations

import array
import errno
import fcntl
import json
import os
import select
import socket
import struct
import threading

import pytest

RECEIVE, SEND = 0xC0502100, 0xC0182101
CONTINUE = 1
PATIENCE_S = 10


class Listener:
    """A seccomp agent that answers every call with `answer`: an errno, or None to let it happen."""

    def __init__(self, path, answer):
        self.path, self.answer = path, answer
        self.states, self.rests, self.asked = [], [], []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(path))
        self.socket.listen()
        self.socket.settimeout(PATIENCE_S)
        self.stop, self.stopped = os.pipe()
        self.threads = [threading.Thread(target=self.serve)]
        self.threads[0].start()

    def serve(self):
        while True:
            if self.stop in select.select([self.socket, self.stop], [], [])[0]:
                return
            connection = self.socket.accept()[0]
            connection.settimeout(PATIENCE_S)
            with connection:
                data, ancillary, _, _ = connection.recvmsg(1 << 20, socket.CMSG_SPACE(64))
                fds = array.array("i")
                for level, kind, content in ancillary:
                    assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
                    fds.frombytes(content)
                self.states.append(json.loads(data))
                assert len(fds) == 1
                thread = threading.Thread(target=self.decide, args=(fds[0],))
                self.threads.append(thread)
                thread.start()
                # One message, then the end. runc leaves it open as long as it runs.
                self.rests.append(connection.recv(1))

    def decide(self, fd):
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(self.stop, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if self.stop in ready or ready.get(fd, 0) & select.POLLHUP:
                break
            notice = bytearray(80)
            try:
                fcntl.ioctl(fd, RECEIVE, notice)
            except FileNotFoundError:
                continue
            identity, pid, _, number = struct.unpack_from("<QIIi", notice)
            self.asked.append((pid, number))
            error = 0 if self.answer is None else -self.answer
            flags = CONTINUE if self.answer is None else 0
            try:
                fcntl.ioctl(fd, SEND, struct.pack("<QqiI", identity, 0, error, flags))
            except FileNotFoundError:
                continue
        os.close(fd)

    def close(self):
        os.close(self.stopped)
        for thread in self.threads:
            thread.join()
        os.close(self.stop)
        self.socket.close()


@pytest.fixture
def listen(tmp_path):
    """Start a listener: `listen(answer)`."""
    started = []

    def start(answer=None, name="agent.sock"):
        started.append(Listener(tmp_path / name, answer))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture(params=[True, False], ids=["no_new_privs", "new_privs"])
def asking(request, bundle):
    """A bundle whose filter asks about mkdir(2) and mkdirat(2): `asking(listener)`; with and without noNewPrivileges."""

    def make(listener, script="mkdir /tmp/made", names=("mkdir", "mkdirat"), **fields):
        bundle.process["noNewPrivileges"] = request.param
        bundle.config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
        bundle.linux["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": [f"SCMP_ARCH_{os.uname().machine.upper()}"],
            "listenerPath": str(listener.path),
            "syscalls": [{"names": list(names), "action": "SCMP_ACT_NOTIFY"}],
            **fields,
        }
        return bundle.sh(script)

    return make


def test_the_answer_counts(runtime, asking, listen):
    """A call that the listener refuses fails with its errno."""
    listener = listen(errno.ENOANO)
    done = runtime.run(asking(listener), check=False)
    assert done.status == 1 and os.strerror(errno.ENOANO) in done.err
    assert len(listener.asked) == 1


@pytest.mark.runc_agrees
def test_a_call_may_happen(runtime, asking, listen):
    """A call that the listener lets pass happens."""
    listener = listen()
    done = runtime.run(asking(listener, "mkdir /tmp/made && test -d /tmp/made && echo yes"))
    assert done.out == "yes\n" and listener.asked


@pytest.mark.runc_agrees
def test_the_state(runtime, asking, listen):
    """The listener gets one ContainerProcessState before `create` ends: of a container that is being created."""
    listener = listen()
    bundle = asking(listener, "exec sleep 1000", listenerMetadata='{"a": "b"}')
    bundle.config["annotations"] = {"org.example": "ü"}
    container_id, _ = runtime.create(bundle.write())
    [state] = listener.states
    pid = runtime.state(container_id)["pid"]
    assert state["fds"] == ["seccompFd"] and state["pid"] == pid
    assert state["metadata"] == '{"a": "b"}' and state["ociVersion"]
    inner = state["state"]
    assert inner["id"] == container_id and inner["status"] == "creating" and inner["pid"] == pid
    assert inner["bundle"] == str(bundle.path)
    assert inner["annotations"]["org.example"] == "ü"
    assert listener.rests == [b""]


def test_it_is_not_connected_to_before_its_time(runtime, asking, listen, tmp_path):
    """createRuntime hooks may start the listener: it is connected to after them."""
    listener = listen()
    bundle = asking(
        listener, "mkdir /tmp/made && echo yes", listenerPath=str(tmp_path / "late.sock")
    )
    script = f"ln {tmp_path}/agent.sock {tmp_path}/late.sock"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}
    bundle.config["hooks"] = {"createRuntime": [hook]}
    assert runtime.run(bundle.write()).out == "yes\n"


@pytest.mark.runc_agrees
def test_exec(runtime, asking, listen):
    """A process that is added has a listener of its own, and is told of as one of a running container."""
    listener = listen()
    container_id = runtime.running(asking(listener, "exec sleep 1000"))
    runtime("exec", container_id, "mkdir", "/tmp/other")
    assert len(listener.states) == 2
    state = listener.states[1]
    pid = runtime.state(container_id)["pid"]
    assert state["state"]["status"] == "running" and state["state"]["pid"] == pid
    assert state["pid"] != pid
    assert listener.asked[-1][0] == state["pid"]


def test_the_fd_does_not_reach_the_program(runtime, asking, listen):
    """The program has neither the listener's file descriptor nor the socket."""
    listener = listen()
    done = runtime.run(asking(listener, "ls -l /proc/self/fd | wc -l; ls /proc/$$/task | wc -l"))
    # 0, 1, 2, ls's own folder, and the line `total`; one thread.
    assert done.out.split() == ["5", "1"]


def test_calls_that_send_it_may_be_asked_about(runtime, asking, listen):
    """That sendmsg(2) itself needs an answer does not keep the listener from being sent."""
    listener = listen()
    bundle = asking(listener, "mkdir /tmp/made && echo yes", ("mkdir", "sendmsg", "recvmsg"))
    assert runtime.run(bundle).out == "yes\n"


def test_many_processes_limit(runtime, asking, listen):
    """It works where the container may have no second task."""
    if not os.path.exists("/sys/fs/cgroup/pids/tasks"):
        pytest.skip("needs the cgroup v1 controller pids")
    listener = listen()
    bundle = asking(listener, "")
    bundle.process["args"] = ["/bin/mkdir", "/tmp/made"]
    bundle.linux["resources"]["pids"] = {"limit": 1}
    runtime.run(bundle.write())
    assert listener.asked


@pytest.mark.runc_agrees
def test_nobody_listens(runtime, asking, listen, tmp_path):
    """A socket that nobody listens on is an error, and there is no container."""
    listener = listen()
    bundle = asking(listener, listenerPath=str(tmp_path / "nobody.sock"))
    done = runtime.run(bundle, check=False)
    assert done.status == 1 and "no such file or directory" in done.err
    assert runtime("list", "-q").out == ""


@pytest.mark.runc_agrees
@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]}, "write"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "default action"),
        ({"listenerPath": ""}, "listenerPath"),
    ],
)
def test_what_is_refused(runtime, asking, listen, fields, text):
    """Asking about write(2), or about everything, or nobody, is an error."""
    done = runtime.run(asking(listen(), **fields), check=False)
    assert done.status == 1 and text in done.err


@pytest.mark.runc_agrees
def test_without_notify_the_path_is_ignored(runtime, asking, listen):
    """listenerPath means nothing where no action is SCMP_ACT_NOTIFY."""
    listener = listen()
    bundle = asking(listener, "echo yes", listenerPath="/nonexistent", syscalls=[])
    assert runtime.run(bundle).out == "yes\n" and not listener.states


def test_wait_killable(runtime, asking, listen):
    """The flag WAIT_KILLABLE_RECV goes with a listener, and TSYNC does no harm."""
    listener = listen()
    flags = ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_TSYNC"]
    assert runtime.run(asking(listener, "mkdir /tmp/made && echo yes", flags=flags)).out == "yes\n"
