"""Speaking with systemd, on a bus of the test's own that answers as systemd does; and the process that holds a place."""

from __future__ import annotations

import os
import socket
import threading

import pytest
from jeepney import (
    DBusAddress,
    HeaderFields,
    Parser,
    new_error,
    new_method_return,
    new_signal,
)

from ocifw.context import Context
from ocifw.errors import OcifwError
from ocifw.linux.pidfd import pidfd_open
from ocifw_cgroups.systemd import bus, steps
from ocifw_cgroups.systemd.properties import INFINITY
from ocifw_cgroups.systemd.steps import UpdateUnit

SYSTEMD = DBusAddress(
    "/org/freedesktop/systemd1", "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager"
)
JOB = "/org/freedesktop/systemd1/job/7"


class Bus:
    """A bus with systemd on it, for one connection at a time. calls: member and body of what was asked of systemd.

    answers: by member, a pair of an error's name and text, or the result of the job that it starts.
    """

    def __init__(self, path):
        self.address = f"unix:path={path},guid=0"
        self.calls, self.answers, self.said = [], {}, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                self.authenticate(connection)
                self.answer_all(connection)

    def authenticate(self, connection):
        lines = connection.makefile("rb", buffering=0)
        assert lines.read(1) == b"\0"
        for answer in (b"DATA", b"OK 0123", b""):
            self.said.append(lines.readline().strip())
            connection.sendall(answer + b"\r\n" if answer else b"")

    def answer_all(self, connection):
        parser, serial = Parser(), iter(range(1, 10000))
        while data := connection.recv(65536):
            parser.add_data(data)
            while (message := parser.get_next_message()) is not None:
                for answer in self.answer(message):
                    answer.header.fields[HeaderFields.sender] = ":1.5"
                    connection.sendall(answer.serialise(serial=next(serial)))

    def answer(self, message):
        member = message.header.fields[HeaderFields.member]
        if message.header.fields[HeaderFields.interface] == SYSTEMD.interface:
            self.calls.append((member, message.body))
        found = self.answers.get(member, "done")
        if isinstance(found, tuple):
            name, text = found
            return [new_error(message, name, "s", (text,))]
        if member == "Hello":
            return [new_method_return(message, "s", (":1.9",))]
        if member == "Get":
            values = {"Version": "257.4-1~deb13u1", "ControlGroup": "/user.slice/u/init.scope"}
            return [new_method_return(message, "v", (("s", values[message.body[1]]),))]
        if member in ("StartTransientUnit", "StopUnit"):
            removed = [
                new_signal(SYSTEMD, "JobRemoved", "uoss", (number, path, message.body[0], result))
                for number, path, result in ((6, "/other", "failed"), (7, JOB, found))
            ]
            return [new_method_return(message, "o", (JOB,)), *removed]
        return [new_method_return(message)]

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    made = Bus(tmp_path / "bus")
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", made.address)
    yield made
    made.close()


def test_a_unit_is_started(systemd):
    """Starting a unit waits for its job, and for no other's; who we are is not said, but what the socket tells."""
    with bus.Manager() as manager:
        manager.start_transient_unit("a.scope", [("TasksMax", ("t", 5)), ("PIDs", ("au", [1]))])
    assert systemd.said == [b"AUTH EXTERNAL", b"DATA", b"BEGIN"]
    assert systemd.calls == [
        ("Subscribe", ()),
        ("StartTransientUnit", ("a.scope", "replace", [("TasksMax", ("t", 5)), ("PIDs", ("au", [1]))], [])),
    ]  # fmt: skip


def test_what_the_manager_tells(systemd):
    """The version's number, and the cgroup that units lie below."""
    with bus.Manager() as manager:
        assert manager.version() == 257
        assert manager.control_group() == "/user.slice/u"


def test_a_job_that_fails(systemd):
    """A job that does not end well is an error that names unit and result."""
    systemd.answers["StartTransientUnit"] = "canceled"
    with (
        bus.Manager() as manager,
        pytest.raises(OcifwError, match=r"StartTransientUnit a.scope: .* canceled"),
    ):
        manager.start_transient_unit("a.scope", [])


def test_a_job_that_never_ends(systemd, monkeypatch):
    """A systemd that does not answer in time is an error."""
    monkeypatch.setattr(bus, "PATIENCE_S", 0.1)
    with bus.Manager() as manager:
        systemd.answers["StopUnit"] = "done"
        monkeypatch.setattr(
            systemd, "answer", lambda message: [new_method_return(message, "o", ("/x",))]
        )
        with pytest.raises(OcifwError, match="timeout waiting for systemd: StopUnit a.scope"):
            manager.stop_unit("a.scope")


def test_what_systemd_refuses(systemd):
    """An error of systemd keeps its name, for those who know what to do about it."""
    systemd.answers["StartTransientUnit"] = (bus.UNIT_EXISTS, "Unit a.scope was already loaded")
    with (
        bus.Manager() as manager,
        pytest.raises(bus.BusError, match="a.scope was already") as error,
    ):
        manager.start_transient_unit("a.scope", [])
    assert error.value.name == bus.UNIT_EXISTS


def test_a_unit_that_is_gone_needs_no_stop(systemd):
    """Stopping is for what is there; systemd is made to forget a failure in any case."""
    systemd.answers["StopUnit"] = (bus.NO_SUCH_UNIT, "Unit a.scope not loaded.")
    systemd.answers["ResetFailedUnit"] = (bus.NO_SUCH_UNIT, "Unit a.scope not loaded.")
    steps.stop("a.scope", user=False)
    assert [member for member, _ in systemd.calls] == ["Subscribe", "StopUnit", "ResetFailedUnit"]
    systemd.answers["StopUnit"] = ("org.freedesktop.DBus.Error.AccessDenied", "Access denied")
    with pytest.raises(bus.BusError, match="StopUnit a.scope: Access denied"):
        steps.stop("a.scope", user=False)


def test_update_and_its_undo(systemd):
    """Properties are set until the next boot, and set back."""
    step = UpdateUnit(
        "a.scope",
        (("TasksMax", "t", 5, 0), ("New", "t", 1, 999)),
        (("TasksMax", "t", INFINITY, 0),),
    )
    step.apply(Context("box", "", ""))
    step.undo(Context("box", "", ""))
    assert systemd.calls == [
        ("SetUnitProperties", ("a.scope", True, [("TasksMax", ("t", 5))])),
        ("SetUnitProperties", ("a.scope", True, [("TasksMax", ("t", INFINITY))])),
    ]


def test_a_bus_that_says_nothing(systemd, monkeypatch):
    """Not even a greeting that never comes is waited for without end."""
    monkeypatch.setattr(bus, "PATIENCE_S", 0.05)
    monkeypatch.setattr(systemd, "answer", lambda message: [])
    with pytest.raises(OcifwError, match="cannot reach systemd over D-Bus"):
        bus.Manager()


def test_no_bus(tmp_path, monkeypatch):
    """A bus that cannot be reached is an error with its address; so is an address that nothing tells."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    with pytest.raises(
        OcifwError, match=f"cannot reach systemd over D-Bus: unix:path={tmp_path}/none"
    ):
        bus.Manager()
    for name in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OcifwError, match="neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR"):
        bus.Manager(user=True)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert bus.user_bus() == "unix:path=/run/user/7/bus"


def test_the_placeholder_ends_when_it_is_told_to():
    """It waits, and leaves nothing behind."""
    context = Context("box", "", "")
    pid = steps._wait_for_death()
    context.fds[steps.PLACEHOLDER] = pidfd_open(pid)
    os.kill(pid, 0)
    steps.end_placeholder(context)
    assert context.fds == {}
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    steps.end_placeholder(context)


def test_the_placeholder_ends_with_the_runtime():
    """When the runtime is killed, nobody holds the scope."""
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        os.write(writer, str(steps._wait_for_death()).encode())
        os._exit(0)
    fd = pidfd_open(int(os.read(reader, 32)))
    os.close(reader)
    os.close(writer)
    try:
        os.waitpid(parent, 0)
        import select

        assert select.select([fd], [], [], 5)[0]
    finally:
        os.close(fd)
