"""Commands on one container at the same time: each ends in one of the allowed ways, and nothing is left at the end."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import whole

from ocifw import container as containers
from ocifw import foreground, lifecycle, operations
from ocifw.errors import NotFound

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

EXISTS = "container with given ID already exists"
MISSING = "container does not exist"
PROCESS = {"args": ["/bin/true"], "cwd": "/", "env": [], "user": {"uid": 0, "gid": 0}}


@pytest.fixture
def box(public_folder, rootfs):
    whole.become_subreaper()
    made = whole.Box(public_folder, rootfs, f"/ocifw-races-{os.getpid()}")
    made.config["process"]["terminal"] = False
    # Written here, before others read it at the same time.
    made.creation()
    yield made
    made.close()
    whole.remove_cgroups(made.cgroup)


@pytest.fixture
def machine(box):
    """What must be there at the end of each round, and of the test."""
    before = whole.Machine(box)
    yield before
    lifecycle.delete(box.globals, "whole", force=True)
    before.settle()


def create(box):
    return lambda: box.run(box.creation())


def start(box):
    return lambda: lifecycle.start(box.globals, "whole")


def delete(box, force=True):
    return lambda: lifecycle.delete(box.globals, "whole", force)


def moments(end_ms, count=25):
    """Delays spread over as long as the other command takes."""
    return [end_ms * number / count / 1000 for number in range(count)]


def settle(box, machine):
    """The end of a round: delete what is left, and look whether that is all."""
    lifecycle.delete(box.globals, "whole", force=True)
    machine.settle()
    box.take_connections()


@pytest.mark.slow
def test_creates_of_one_id(box, machine):
    """Exactly one wins; the others are told that the id is taken, and do the winner no harm."""
    for _ in range(10):
        results = whole.together(*[create(box)] * 4)
        assert sorted(results) == [EXISTS] * 3 + ["ok"]
        assert containers.load(box.globals.root, "whole").status == "created"
        assert whole.together(start(box)) == ["ok"]
        settle(box, machine)


@pytest.mark.slow
def test_starts_of_one_container(box, machine):
    """Exactly one starts it; the others are told that it runs."""
    for _ in range(10):
        box.run(box.creation())
        results = whole.together(*[start(box)] * 3)
        assert sorted(results) == ["cannot start an already running container"] * 2 + ["ok"]
        settle(box, machine)


@pytest.mark.slow
def test_start_against_delete(box, machine):
    """Started and then deleted, or deleted before it could be started."""
    seen = set()
    for delay in moments(20):
        box.run(box.creation())
        started, deleted = whole.together(start(box), delete(box), delays=[0.002, delay])
        assert deleted == "ok"
        assert started in ("ok", MISSING, "cannot start a container that has stopped") or (
            # Deleted while poststart hooks ran.
            started.startswith("poststart: ")
        )
        seen.add(started)
        assert os.listdir(box.globals.root) == []
        settle(box, machine)
    assert len(seen) > 1, "the delays never made a difference"


@pytest.mark.slow
@pytest.mark.parametrize("force", [True, False])
def test_create_against_delete(box, machine, force):
    """A delete waits for the create, or comes before it; whatever is left is a whole container or none."""
    left = set()
    for delay in moments(40):
        created, deleted = whole.together(create(box), delete(box, force), delays=[0, delay])
        assert created == "ok"
        assert deleted == "ok" or (not force and deleted == MISSING)
        try:
            left.add(containers.load(box.globals.root, "whole").status)
        except NotFound:
            left.add("")
        settle(box, machine)
    assert left <= {"", "created"}
    assert len(left) == 2, "the delays never made a difference"


@pytest.mark.slow
def test_creates_against_deletes(box, machine):
    """Many at once: each create that wins makes a container of its own, never one in the folder of another."""
    for delay in moments(10, 10):
        results = whole.together(
            *[create(box)] * 3, *[delete(box)] * 2, delays=[0, 0, 0.001, delay, 2 * delay]
        )
        assert set(results) <= {"ok", EXISTS}
        assert "ok" in results[:3]
        assert os.listdir(box.globals.root) in ([], ["whole"])
        settle(box, machine)


@pytest.mark.slow
def test_kill_during_create(box, machine):
    """A container that is being created cannot be killed yet; one that is created can."""
    seen = set()
    for delay in moments(40):
        created, killed = whole.together(
            create(box), lambda: lifecycle.kill(box.globals, "whole", 9), delays=[0, delay]
        )
        assert killed in ("ok", MISSING, "container not running")
        assert created == "ok"
        if killed == "ok":
            container = containers.load(box.globals.root, "whole")
            whole.wait_until(lambda c=container: c.status == "stopped", "it is not dead")
        seen.add(killed)
        settle(box, machine)
    assert len(seen) > 1, "the delays never made a difference"


@pytest.mark.slow
def test_exec_against_delete(box, machine):
    """The process is executed, or the container is gone; none survives it."""
    seen = set()
    sleep = {**PROCESS, "args": ["/bin/sleep", "1000"]}
    for delay in moments(25):
        box.run(box.creation())
        start(box)()
        executed, deleted = whole.together(
            lambda: foreground.execute(box.globals, "whole", sleep, detach=True),
            delete(box),
            delays=[0, delay],
        )
        assert deleted == "ok"
        allowed = (MISSING, "cannot exec in a stopped container", "container init was killed by")
        gone = "no such process", "no such file or directory", "no such device"
        assert (
            executed == "ok"
            or executed.startswith(allowed)
            or any(text in executed for text in gone)
        ), executed
        seen.add(executed)
        assert os.listdir(box.globals.root) == []
        settle(box, machine)
    assert len(seen) > 1, "the delays never made a difference"


@pytest.mark.slow
def test_looking_while_containers_come_and_go(box, machine):
    """list, state and ps answer with what there is, or that there is nothing; they never fail otherwise."""

    def look():
        for _ in range(100):
            for identifier in containers.identifiers(box.globals.root):
                assert identifier == "whole"
                try:
                    container = containers.load(box.globals.root, identifier)
                    assert container.status in ("creating", "created", "running", "stopped")
                    operations.processes(box.globals, identifier)
                except NotFound:
                    continue

    def come_and_go():
        for _ in range(10):
            create(box)()
            start(box)()
            delete(box)()

    assert whole.together(come_and_go, look, look) == ["ok"] * 3
    settle(box, machine)
