"""A create that fails, wherever it fails, leaves nothing behind and says where it was."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import whole

from ocifw import container as containers
from ocifw import execute, lifecycle, phases
from ocifw.errors import OcifwError, PlanError, PluginError, StepFailed
from ocifw.steps import RuntimeStep

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def make_box(public_folder, rootfs):
    """Make a Box; its cgroup parent is removed at the end."""
    made = []
    whole.become_subreaper()

    def make(**options):
        cgroup = f"/ocifw-whole-{os.getpid()}-{len(made)}"
        folder = public_folder / f"box{len(made)}"
        folder.mkdir()
        made.append(whole.Box(folder, rootfs, cgroup, **options))
        return made[-1]

    yield make
    for box in made:
        box.close()
        whole.remove_cgroups(box.cgroup)


def fails(box, plan, phase, where):
    """Create by a plan in which a step of `fault` stands; the error says where, and nothing is left."""
    machine = whole.Machine(box)
    with pytest.raises(StepFailed) as caught:
        box.run(box.creation(), plan)
    text = str(caught.value)
    assert text.startswith(f"{phase.name}: fault: "), (where, text)
    assert whole.MISSING in text and "no such file or directory (ENOENT)" in text, (where, text)
    machine.check()
    box.take_connections()


CONFIGS = [
    pytest.param({}, id="root"),
    pytest.param({"user_namespace": True}, id="user namespace"),
]


@pytest.mark.slow
@pytest.mark.parametrize("options", CONFIGS)
@pytest.mark.parametrize("side", ["runtime", "container"])
def test_create_that_fails_leaves_nothing(make_box, options, side):
    """Before every step of a create, and after the last of each phase, a failing one takes everything back."""
    box = make_box(**options)
    plan = box.creation().plan()
    places = whole.positions(plan, side)
    for phase, place in places:
        fails(box, whole.with_step(plan, place, whole.refusing(phase, side)), phase, place)
    assert len(places) > (10 if side == "runtime" else 70)


@pytest.mark.parametrize("side", ["runtime", "container"])
def test_the_first_and_the_last_step_that_fail(make_box, side):
    """A create that fails at its very beginning, or at its very end, leaves nothing."""
    box = make_box()
    plan = box.creation().plan()
    places = whole.positions(plan, side)
    for phase, place in (places[0], places[-1]):
        fails(box, whole.with_step(plan, place, whole.refusing(phase, side)), phase, place)


def test_start_that_fails(make_box):
    """A step that fails after `start` is reported by it with its phase and plugin; delete removes the container."""
    box = make_box()
    plan = box.creation().plan()
    places = whole.positions(plan, "container", 12, 13)
    # Those before AwaitStart belong to nobody: create has returned, and start has not begun.
    for phase, place in places[1:-1]:
        machine = whole.Machine(box)
        step = whole.refusing(phase, "container")
        container = box.run(box.creation(), whole.with_step(plan, place, step))
        with pytest.raises(StepFailed, match=f"^{phase.name}: fault: .*ENOENT"):
            lifecycle.start(box.globals, "whole")
        whole.wait(container.pid)
        assert container.status == "stopped"
        lifecycle.delete(box.globals, "whole")
        machine.check()
        box.take_connections()


def test_a_process_that_dies_before_start(make_box):
    """When the container process is gone before start, that says so, and delete removes the container."""
    box = make_box()
    plan = box.creation().plan()
    phase, place = whole.positions(plan, "container", 12, 12)[0]
    machine = whole.Machine(box)
    container = box.run(
        box.creation(), whole.with_step(plan, place, whole.refusing(phase, "container"))
    )
    whole.wait(container.pid)
    with pytest.raises(OcifwError, match="cannot start a container that has stopped"):
        lifecycle.start(box.globals, "whole")
    lifecycle.delete(box.globals, "whole")
    machine.check()


def test_planning_that_fails_leaves_nothing(make_box):
    """Errors of plugins and of the planner come before anything is done."""
    box = make_box()
    machine = whole.Machine(box)

    def plan_error():
        raise PlanError("two plugins set the hostname")

    creation = box.creation()
    creation.plan = plan_error
    with pytest.raises(PlanError):
        creation.run()
    machine.check()

    creation = box.creation()

    def ask(hook, arguments, asked=None):
        raise PluginError("fault", hook, "ValueError")

    creation.plugins.ask = ask
    with pytest.raises(PluginError, match="plugin fault: ocifw_validate: ValueError"):
        creation.run()
    machine.check()


class Stubborn(RuntimeStep):
    """A step that cannot be taken back."""

    undoable = True

    def apply(self, context):
        pass

    def undo(self, context):
        raise OSError(16, "busy")


def test_undo_goes_on_and_tells(make_box, capfd):
    """What cannot be taken back is told, and everything else is taken back all the same."""
    box = make_box()
    plan = box.creation().plan()
    plan = whole.with_step(plan, (0, 0), whole.stamped(Stubborn(), phases.PREPARE, "stubborn"))
    plan = whole.with_step(plan, (0, 3), whole.stamped(Stubborn(), phases.PREPARE, "stubborn"))
    phase, place = whole.positions(plan, "container")[-1]
    capfd.readouterr()
    fails(box, whole.with_step(plan, place, whole.refusing(phase, "container")), phase, place)
    assert capfd.readouterr().err.count("prepare: stubborn: undo Stubborn") == 2


def test_state_that_cannot_be_written(make_box, monkeypatch):
    """Errors of the core's own files, at whichever of them, leave nothing either."""
    box = make_box()
    original = containers.write_file
    for name in ("state.json", "pid"):

        def write_file(path, data, mode=0o600, *, name=name):
            if path.endswith(name):
                raise OSError(28, "No space left on device", path)
            original(path, data, mode)

        monkeypatch.setattr(containers, "write_file", write_file)
        machine = whole.Machine(box)
        creation = box.creation()
        with pytest.raises((OSError, OcifwError), match="No space left"):
            creation.run(box.socket_path, box.socket_path, f"{box.bundle}/pid")
        machine.check()
        box.take_connections()


@pytest.mark.parametrize("attribute", ["Journal", "Execution"])
def test_resources_that_run_out(make_box, monkeypatch, attribute):
    """An error between reserving the id and the first step frees the id."""
    box = make_box()

    def fail(*arguments, **keywords):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(execute, attribute, fail)
    machine = whole.Machine(box)
    with pytest.raises(OSError, match="Too many"):
        box.run(box.creation())
    machine.check()


@pytest.mark.slow
def test_few_file_descriptors(make_box):
    """With any number of file descriptors that is too small, create fails with EMFILE and leaves nothing."""
    box = make_box()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # No gaps below: then the limit says how many more there can be.
    fillers = [os.open("/dev/null", os.O_RDONLY)]
    while fillers[-1] < max(whole.open_fds()):
        fillers.append(os.dup(fillers[0]))
    creations = [box.creation() for _ in range(40)]
    plans = [creation.plan() for creation in creations]
    for extra, (creation, plan) in enumerate(zip(creations, plans)):
        machine = whole.Machine(box)
        resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + 1 + extra, hard))
        try:
            box.run(creation, plan)
        except (OSError, OcifwError) as error:
            failure = error
        else:
            failure = None
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if failure is None:
            lifecycle.delete(box.globals, "whole", force=True)
            whole.reap()
            break
        assert "oo many open files" in str(failure), extra
        machine.check()
        box.take_connections()
    for fd in fillers:
        os.close(fd)
    assert failure is None and extra > 2
