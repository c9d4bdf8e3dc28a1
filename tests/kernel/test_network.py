"""ocifw-network on the real kernel: veth devices between throw-away network namespaces."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

import pytest

from ocifw.context import Context
from ocifw.errors import OcifwError
from ocifw.linux.namespaces import CLONE_NEWNET, unshare
from ocifw_network.devices import SLOT, MoveDevice

pytest.importorskip("pyroute2")
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    # pyroute2 takes half a second to be imported.
    pytest.mark.slow,
]


def ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def ip_in(pid, *words):
    command = ["nsenter", "-t", str(pid), "-n", "ip", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def container():
    """The pid of a process in a network namespace of its own."""
    ready, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        unshare(CLONE_NEWNET)
        os.write(say, b".")
        signal.pause()
        os._exit(0)
    os.read(ready, 1)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ready)
        os.close(say)


@contextlib.contextmanager
def host_with(*addresses):
    """In a network namespace that stands for the host's, with device v0 (of the pair v0, v1); a context for a container."""
    unshare(CLONE_NEWNET)
    ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
    for address in addresses:
        ip("addr", "add", *address.split(), "dev", "v0")
    ip("link", "set", "v0", "up")
    ip("link", "set", "v1", "up")
    with container() as pid:
        context = Context("box", "/", "/", pid=pid)
        yield context
        context.close()


def test_a_device_moves_with_its_addresses(in_child):
    """A device gets its new name, keeps its permanent global addresses, and is up; the host has it no more."""

    def moved():
        addresses = (
            "192.0.2.5/24",
            "2001:db8::5/64 nodad",
            "169.254.9.9/16 scope link",
            "192.0.2.77/24 valid_lft 100 preferred_lft 50",
            "192.0.2.9 peer 198.51.100.1/32",
        )
        with host_with(*addresses) as context:
            MoveDevice("v0", "eth0").apply(context)
            assert "v0" not in ip("-o", "link")
            shown = ip_in(context.pid, "addr", "show", "eth0")
            assert "UP" in shown
            assert "inet 192.0.2.5/24" in shown and "inet6 2001:db8::5/64" in shown
            assert "inet 192.0.2.9 peer 198.51.100.1/32" in shown
            assert "169.254.9.9" not in shown and "192.0.2.77" not in shown

    in_child(moved)


def test_a_device_that_is_not_there(in_child):
    """A missing device is an error that names it."""

    def missing():
        with (
            host_with() as context,
            pytest.raises(OcifwError, match="'nope' does not exist"),
        ):
            MoveDevice("nope", "nope").apply(context)

    in_child(missing)


def test_a_name_that_is_taken(in_child):
    """A name that the container has already is an error, and the device stays as it was."""

    def taken():
        with host_with("192.0.2.5/24") as context:
            step = MoveDevice("v0", "lo")
            with pytest.raises(OcifwError, match="'lo' exists already"):
                step.apply(context)
            step.undo(context)
            assert "192.0.2.5/24" in ip("addr", "show", "v0") and "UP" in ip("link", "show", "v0")

    in_child(taken)


def test_undo_brings_it_back(in_child):
    """When `create` fails, the device is the host's again, under its name and with its addresses."""

    def undone():
        with host_with("192.0.2.5/24", "2001:db8::5/64 nodad") as context:
            step = MoveDevice("v0", "eth0")
            step.apply(context)
            os.kill(context.pid, signal.SIGKILL)
            context.pid = 0
            step.undo(context)
            shown = ip("addr", "show", "v0")
            assert "UP" in shown and "192.0.2.5/24" in shown and "2001:db8::5/64" in shown
            step.undo(context)

    in_child(undone)


def test_delete_does_not_bring_it_back(in_child):
    """A step that is read from the journal does nothing: the device stays where it is."""

    def stays():
        with host_with() as context:
            MoveDevice("v0", "eth0").apply(context)
            later = Context("box", "/", "/")
            MoveDevice("v0", "eth0").undo(later)
            assert SLOT not in later.fds
            assert "eth0" in ip_in(context.pid, "-o", "link")

    in_child(stays)
