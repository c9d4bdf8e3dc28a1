"""Whoever is killed, and whenever: `delete --force` finds and removes what there is, and no process is left."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import whole

from ocifw import container as containers
from ocifw import creation as creation_module
from ocifw import execute, lifecycle
from ocifw.errors import OcifwError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

FILES = {module.__file__ for module in (containers, creation_module, execute)}


@pytest.fixture
def box(public_folder, rootfs):
    whole.become_subreaper()
    made = whole.Box(public_folder, rootfs, f"/ocifw-kills-{os.getpid()}")
    yield made
    made.close()
    whole.remove_cgroups(made.cgroup)


class Killer:
    """Counts events, and kills this process at the one with the number `at`."""

    def __init__(self, at):
        self.at = at
        self.count = 0

    def event(self):
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1

    def around(self, module, name):
        """An event before and after each call of a module's function."""
        original = getattr(module, name)

        def wrapped(*arguments, **keywords):
            self.event()
            try:
                return original(*arguments, **keywords)
            finally:
                self.event()

        setattr(module, name, wrapped)

    def lines(self):
        """An event when a line of the core's modules for `create` is reached for the first time."""
        seen = set()

        def trace(frame, event, _argument):
            if frame.f_code.co_filename not in FILES:
                return None
            place = (frame.f_code.co_filename, frame.f_lineno)
            if event == "line" and place not in seen:
                seen.add(place)
                self.event()
            return trace

        sys.settrace(trace)


def create_and_die(box, prepare, plan=None):
    """Create in a process that `prepare` has prepared to die. Returns whether it did."""
    creation = box.creation()
    pid = os.fork()
    if pid == 0:
        try:
            prepare()
            box.run(creation, plan)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def delete_and_check(box, machine):
    """Nothing is left after `delete --force`, at once or a moment later: what was told to die may take one."""
    lifecycle.delete(box.globals, "whole", force=True)
    machine.settle()
    box.take_connections()


def kill_everywhere(box, prepare):
    """Kill `create` at its first event, its second, and so on until it survives. Returns how many there were."""
    machine = whole.Machine(box)
    count = 0
    while create_and_die(box, lambda at=count: prepare(Killer(at))):
        delete_and_check(box, machine)
        count += 1
    delete_and_check(box, machine)
    return count


@pytest.mark.slow
def test_create_killed_at_every_step_and_message(box):
    """Before and after each step of the runtime, and before and after each message of the baton."""

    def prepare(killer):
        killer.around(execute, "apply")
        killer.around(execute, "send_message")
        killer.around(execute, "receive_message")

    assert kill_everywhere(box, prepare) > 30


@pytest.mark.slow
def test_create_killed_at_every_line(box):
    """At every line of the core that `create` comes to."""
    assert kill_everywhere(box, lambda killer: killer.lines()) > 100


def test_create_killed_before_it_is_published(box):
    """A create that dies just before it is done leaves a container that is being created; delete --force removes it."""
    machine = whole.Machine(box)

    def prepare():
        containers.Container.save = lambda _: os.kill(os.getpid(), signal.SIGKILL)

    assert create_and_die(box, prepare)
    container = containers.load(box.globals.root, "whole")
    assert container.status == "creating"
    with pytest.raises(OcifwError, match="not stopped: creating"):
        lifecycle.delete(box.globals, "whole")
    with pytest.raises(OcifwError, match="being created"):
        lifecycle.start(box.globals, "whole")
    delete_and_check(box, machine)


def test_create_killed_while_a_hook_runs_in_the_container(box):
    """A container process that waits for a hook does not notice; delete --force ends both."""
    started = box.bundle / "started"
    script = f"echo > {started}; exec sleep 1000"
    box.config["hooks"]["createContainer"] = [whole.hook("/bin/sh", "-c", script)]
    machine = whole.Machine(box)
    creation = box.creation()
    pid = os.fork()
    if pid == 0:
        try:
            box.run(creation)
        finally:
            os._exit(0)
    whole.wait_until(started.exists, "the hook does not run")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    delete_and_check(box, machine)


def test_delete_killed_and_tried_again(box):
    """A delete that is killed at any point can be repeated."""
    machine = whole.Machine(box)
    count, killed = 0, True
    while killed:
        box.run(box.creation())
        killer = Killer(count)
        pid = os.fork()
        if pid == 0:
            for name in ("undo", "read_journal", "apply"):
                killer.around(execute, name)
            for name in ("remove_folder", "unlink", "load"):
                killer.around(containers, name)
            try:
                lifecycle.delete(box.globals, "whole", force=True)
            finally:
                os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        delete_and_check(box, machine)
        count += 1
    assert count > 10


# ---- the container's side ------------------------------------------------------------------------------------------


def create_error(box, **options):
    """Create; the text of its error, or ""."""
    try:
        box.run(box.creation(**options))
    except OcifwError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("run", [False, True], ids=["create", "run"])
def test_container_process_killed_at_every_message(box, monkeypatch, run):
    """Before and after each message, ocifw-init is killed: create says by which signal, and leaves nothing."""
    machine = whole.Machine(box)
    send, receive = execute.send_message, execute.receive_message
    for at in range(60):
        events = [0]

        def kill(at=at, events=events):
            if events[0] == at:
                for pid in whole.children() - machine.children:
                    os.kill(pid, signal.SIGKILL)
            events[0] += 1

        def around(original, kill=kill):
            def wrapped(*arguments):
                kill()
                result = original(*arguments)
                kill()
                return result

            return wrapped

        monkeypatch.setattr(execute, "send_message", around(send))
        monkeypatch.setattr(execute, "receive_message", around(receive))
        said = create_error(box, run=run)
        if said:
            assert "container init was killed by signal 9 (out of memory?" in said, at
            whole.reap()
            machine.check()
            box.take_connections()
        else:
            # Killed after it was created, which is nobody's failure, or not at all.
            assert containers.load(box.globals.root, "whole").pid
            delete_and_check(box, machine)
        if events[0] <= at:
            break
    assert at > 10


def test_intermediate_killed_before_it_tells_the_pid(box, monkeypatch):
    """A container process that the runtime never heard of ends by itself."""
    machine = whole.Machine(box)
    original = execute.receive_message
    first = []

    def receive_message(*arguments):
        if not first:
            first.extend(whole.children() - machine.children)
            os.kill(first[0], signal.SIGKILL)
        return original(*arguments)

    monkeypatch.setattr(execute, "receive_message", receive_message)
    said = create_error(box)
    assert not said or "killed by signal 9" in said
    delete_and_check(box, machine)
