"""The runtime's side of the protocol in native/README.md, as small as tests need it."""

from __future__ import annotations

import os
import select
import signal
import struct
from typing import NamedTuple

from ocifw.linux._kernel import receive_message, send_message, spawn
from ocifw.linux.memfd import sealed
from ocifw.linux.unix import socketpair
from ocifw.program import assign_slots, encode

PROGRAM, GO, FDS = 1, 2, 3
CLONED, PASS, ERROR, WARNING, REPORT, OUTPUT = 10, 11, 12, 13, 14, 15
PATIENCE_S = 20


class Message(NamedTuple):
    kind: int
    step: int
    error: int
    value: int
    call: str = ""
    detail: str = ""


def receive(fd):
    """The next message, None at the end of the file."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    assert poll.poll(PATIENCE_S * 1000), "ocifw-init says nothing"
    data, fds = receive_message(fd, 8192)
    assert not fds
    if not data:
        return None
    head = struct.unpack_from("<IIiI", data)
    text = data[16:].decode().split("\0")
    return Message(*head, *(text[:2] if data[16:] else ()))


def send(fd, kind, slots=(), fds=()):
    send_message(fd, struct.pack(f"<IIiI{len(slots)}I", kind, 0, 0, len(slots), *slots), fds)


class Container:
    """One run of ocifw-init. `pid` is the container process once CLONED came, before that the intermediate."""

    def __init__(self, init_fd, steps, fds, preserve_fds=0, program=None):
        self.slots = assign_slots(steps)
        self.baton, theirs = socketpair()
        self.pid = self.intermediate = spawn(init_fd, theirs, preserve_fds)
        self.children = {self.pid}
        self.outputs = []
        os.close(theirs)
        memory = sealed("program", encode(steps, self.slots) if program is None else program)
        names = list(fds)
        send(
            self.baton, PROGRAM, [self.slots[n] for n in names], [memory, *(fds[n] for n in names)]
        )
        os.close(memory)

    def receive(self):
        message = receive(self.baton)
        while message and message.kind == OUTPUT:
            self.outputs.append(message)
            message = receive(self.baton)
        if message and message.kind == CLONED:
            self.pid = message.value
            self.children.add(self.pid)
        return message

    def expect(self, kind):
        message = self.receive()
        assert message is not None and message.kind == kind, message
        return message

    def cloned(self):
        """Receive CLONED and wait for the intermediate."""
        self.expect(CLONED)
        assert self.wait(self.intermediate) == 0

    def go(self, **fds):
        send(self.baton, GO, [self.slots[n] for n in fds], list(fds.values()))

    def status(self):
        """/proc/PID/status as a dict."""
        with open(f"/proc/{self.pid}/status") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)

    def wait(self, pid=None):
        """The exit status, -N for signal N."""
        pid = pid or self.pid
        fd = os.pidfd_open(pid)
        try:
            assert select.select([fd], [], [], PATIENCE_S)[0], "ocifw-init does not end"
        finally:
            os.close(fd)
        self.children.discard(pid)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def close(self):
        """What the runtime's death does."""
        if self.baton >= 0:
            os.close(self.baton)
        self.baton = -1

    def end(self):
        self.close()
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
