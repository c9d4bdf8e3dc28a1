"""Many containers: one after the other, all at once, and several at a time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import whole

from ocifw import container as containers
from ocifw import lifecycle

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.slow,
]

COUNT = 200
AT_A_TIME = 8


@pytest.fixture
def box(public_folder, rootfs):
    whole.become_subreaper()
    made = whole.Box(public_folder, rootfs, f"/ocifw-stress-{os.getpid()}")
    made.config["process"]["terminal"] = False
    # Hooks would be half of the time.
    del made.config["hooks"]
    yield made
    made.close()
    whole.remove_cgroups(made.cgroup)


def test_one_after_the_other(box):
    """Each is created, started, killed and deleted in one process, which is as it was afterwards."""
    machine = whole.Machine(box)
    for number in range(COUNT):
        container = box.run(box.creation(f"c{number}"))
        lifecycle.start(box.globals, container.id)
        lifecycle.kill(box.globals, container.id, 9)
        whole.wait(container.pid)
        lifecycle.delete(box.globals, container.id)
        box.take_connections()
    machine.check()


def test_all_at_once(box):
    """All are there at the same time, are listed sorted, and are deleted without disturbing the others."""
    machine = whole.Machine(box)
    made = [f"c{number}" for number in range(COUNT)]
    for identifier in made:
        box.run(box.creation(identifier))
        box.take_connections()
    assert list(containers.identifiers(box.globals.root)) == sorted(made)
    for number, identifier in enumerate(reversed(made), 1):
        lifecycle.delete(box.globals, identifier, force=True)
        if number % 50 == 0:
            left = list(containers.identifiers(box.globals.root))
            assert left == sorted(made[: COUNT - number])
            loaded = [containers.load(box.globals.root, name) for name in left]
            assert {container.status for container in loaded} <= {"created"}
    machine.settle()


def test_several_at_a_time(box):
    """Processes that create, start, kill and delete at the same time do not see each other."""
    machine = whole.Machine(box)
    creations = [box.creation(f"c{number}") for number in range(COUNT)]

    def live(creation):
        container = box.run(creation)
        lifecycle.start(box.globals, container.id)
        assert containers.load(box.globals.root, container.id).status == "running"
        lifecycle.kill(box.globals, container.id, 9)
        os.waitpid(container.pid, 0)
        lifecycle.delete(box.globals, container.id)

    for first in range(0, COUNT, AT_A_TIME):
        some = [lambda c=creation: live(c) for creation in creations[first : first + AT_A_TIME]]
        assert whole.together(*some) == ["ok"] * len(some)
        box.take_connections()
    machine.settle()
