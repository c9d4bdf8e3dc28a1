"""Executing plans: what is applied is what `plan` prints, and watchers see every phase, on both sides, in order."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from ocifw import cli, creation, document, execute, hookimpl, lifecycle, phases, plan, plugins
from ocifw.context import Context, Globals, Host, Request
from ocifw.errors import OcifwError, StepFailed
from ocifw.steps import Chdir, RuntimeStep, SetUmask

spec = importlib.util.spec_from_file_location(
    "ocifw_test_plan", Path(__file__).with_name("test_plan.py")
)
planning = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = planning
spec.loader.exec_module(planning)

PROCESS = {"args": ["true"], "env": ["PATH=/usr/bin:/bin", "HOME=/"], "cwd": "/"}
CONFIG = {"ociVersion": "1.2.0", "process": PROCESS}


class Leave(RuntimeStep):
    """A step that can be taken back, and notes both in the container's notes."""

    undoable = True
    name: str
    fails: bool = False

    def apply(self, context):
        context.notes.setdefault("did", []).append(self.name)
        if self.fails:
            raise FileNotFoundError(2, "No such file or directory", "/missing")

    def undo(self, context):
        context.notes["did"].append(f"undo {self.name}")


class Recorder:
    """A plugin that answers with one step for each phase, and watches."""

    def __init__(self):
        self.seen = []
        recorder = self

        @hookimpl
        def ocifw_run_phase(phase, side, steps):
            recorder.seen.append((phase.name, side, [step.describe() for step in steps]))

        def answer(phase):
            return [planning.Note(phase.name) if phase.side == phases.RUNTIME else SetUmask(0o22)]

        self.plugins = planning.plugin_set(
            recorder={
                "owns": ("root",),
                "ocifw_run_phase": ocifw_run_phase,
                **{phase.hook: answer(phase) for phase in phases.PHASES if not phase.first_result},
            }
        )


@pytest.fixture
def box(tmp_path, monkeypatch):
    """Globals and a bundle; the plugin set is the test's: `box.plugins = …`."""

    class Box:
        globals = Globals(str(tmp_path / "state"))
        bundle = tmp_path

        def write(self, config):
            (tmp_path / "config.json").write_text(document.dump(config))
            return self

    made = Box()
    made.plugins = planning.plugin_set(rooter={"owns": ("root",)})
    monkeypatch.setattr(plugins, "load", lambda *_: made.plugins)
    monkeypatch.setattr(plugins, "of", lambda *_: made.plugins)
    made.write({**CONFIG, "root": {"path": "."}})
    yield made
    lifecycle.delete(made.globals, "box", force=True)


def end(pid):
    """Wait for the container process, which is a child of whoever called `create`."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def wanted(plan_, names):
    return [
        (phase.name, phase.side, [step.describe() for step in plan_.of(phase)]) for phase in names
    ]


def test_watchers_see_every_phase_of_a_life(box):
    """From prepare to poststop, also after start, whose partner is another command."""
    recorder = Recorder()
    box.plugins = recorder.plugins
    creation_ = creation.Creation(box.globals, "box", str(box.bundle))
    made = creation_.plan()
    container = creation_.run()
    seen = [phase for phase in phases.PHASES if not phase.first_result]
    assert recorder.seen == wanted(made, [phase for phase in seen if phase.number <= 11])
    assert container.status == "created"
    lifecycle.start(box.globals, "box")
    assert end(container.pid) == 0
    assert [name for name, *_ in recorder.seen] == [
        phase.name for phase in seen if phase.number < 15
    ]
    lifecycle.delete(box.globals, "box")
    assert [entry[:2] for entry in recorder.seen] == [(phase.name, phase.side) for phase in seen]
    poststart, poststop = (made.of(phase) for phase in (phases.POSTSTART, phases.POSTSTOP))
    assert recorder.seen[-2][2] == [step.describe() for step in poststart]
    assert recorder.seen[-1][2] == [step.describe() for step in poststop]


def test_without_watchers_nothing_is_reported(box):
    """The program has no step that nobody asked for."""
    creation_ = creation.Creation(box.globals, "box", str(box.bundle))
    assert "Report" not in [type(step).__name__ for step in creation_.plan().program()]


def test_what_is_applied_is_what_plan_prints(box, capfd, monkeypatch):
    """`plan --json` lists the steps that create and start then apply, with their fields, in that order."""
    recorder = Recorder()
    box.plugins = recorder.plugins
    arguments = ["--root", box.globals.root, "plan", "--json", "--bundle", str(box.bundle), "box"]
    assert cli.main(arguments, "ocifw") == 0
    printed = json.loads(capfd.readouterr().out)

    applied = []
    original = execute.apply
    monkeypatch.setattr(
        execute, "apply", lambda step, context: (applied.append(step), original(step, context))
    )
    programs = []
    encode = execute.encode

    def keep(program, slots):
        programs.append(list(program))
        return encode(program, slots)

    monkeypatch.setattr(execute, "encode", keep)
    container = creation.create(box.globals, "box", str(box.bundle))
    lifecycle.start(box.globals, "box")
    assert end(container.pid) == 0
    lifecycle.delete(box.globals, "box")

    def rows(side):
        return [
            (phase["phase"], step["plugin"], step["step"], step["text"])
            for phase in printed
            for step in phase["steps"]
            if step["side"] == side
        ]

    def row(step):
        return step.phase, step.plugin, type(step).__name__, step.describe()

    assert rows("runtime") == [row(step) for step in applied]
    control = ("PassBaton", "Report")
    assert rows("container") == [
        row(step) for step in programs[0] if type(step).__name__ not in control
    ]


def test_steps_are_undone_in_reverse_order(tmp_path):
    """The failing step included, which may have been half done; the error names phase, plugin, object and errno."""
    made = planning.plugin_set(
        one={"ocifw_prepare": [Leave("a"), Leave("b")], "ocifw_attach": [Leave("c")]},
        two={"ocifw_created": [Leave("d", fails=True)]},
    )
    context = Context("box", str(tmp_path), str(tmp_path))
    journal = execute.Journal(str(tmp_path / "journal"))
    execution = execute.Execution(made_plan(made), context, journal)
    with pytest.raises(StepFailed, match=r"^created: two: Leave .*: /missing: .* \(ENOENT\)$"):
        execution.run()
    journal.close()
    undone = ["undo d", "undo c", "undo b", "undo a"]
    assert context.notes["did"] == ["a", "b", "c", "d", *undone]
    assert (context.pid, execution.applied) == (0, [])
    journaled = execute.read_journal(str(tmp_path / "journal"))
    assert [(step.name, step.was_applied, step.plugin) for step in journaled] == [
        ("a", True, "one"), ("b", True, "one"), ("c", True, "one"), ("d", False, "two"),
    ]  # fmt: skip


def test_half_a_line_in_the_journal(tmp_path):
    """What a killed create was about to write is no step."""
    path = tmp_path / "journal"
    journal = execute.Journal(str(path))
    step = Leave("a")
    step.stamp("one", "prepare")
    journal.record(step)
    journal.close()
    whole_line = path.read_bytes()
    for size in range(len(whole_line)):
        path.write_bytes(whole_line + whole_line[:size])
        assert execute.read_journal(str(path)) == [step]
    assert execute.read_journal(str(tmp_path / "none")) == []


def made_plan(plugin_set, config=None, **changes):
    request = Request("create", "box", "/b", "/b/rootfs", "/s", run=True).changed(**changes)
    return plan.make_plan(plugin_set, config or CONFIG, request, Host({}))


def test_container_steps_fail_with_their_origin():
    """An error of ocifw-init names the step, its phase and plugin, and where config.json asked for it."""
    made = planning.plugin_set(one={"ocifw_finalize": [Chdir("/nowhere", at="process.cwd")]})
    execution = execute.Execution(made_plan(made), Context("box", "/b", "/s"), None)
    with pytest.raises(StepFailed) as caught:
        execution.run()
    assert str(caught.value) == (
        "finalize: one: change to working directory /nowhere: chdir: /nowhere:"
        " no such file or directory (ENOENT) [process.cwd]"
    )


@pytest.mark.parametrize("program", ["true", "false", "sleep"])
def test_run_returns_when_the_program_is_executed(program):
    """Whether it has ended by then or not: that is no failure of ocifw."""
    config = {**CONFIG, "process": {**PROCESS, "args": [program, "1000"]}}
    for _ in range(20):
        execution = execute.Execution(
            made_plan(planning.plugin_set(), config), Context("box", "/b", "/s"), None
        )
        pid = execution.run()
        if program == "sleep":
            os.kill(pid, 9)
        assert end(pid) == {"true": 0, "false": 1, "sleep": -9}[program]


def test_programs_that_kill_themselves_at_once():
    """A program that dies by a signal was executed; ocifw-init that dies was not."""
    config = {**CONFIG, "process": {**PROCESS, "args": ["sh", "-c", "kill -9 $$"]}}
    for _ in range(20):
        execution = execute.Execution(
            made_plan(planning.plugin_set(), config), Context("box", "/b", "/s"), None
        )
        assert end(execution.run()) == -9

    class Kill(RuntimeStep):
        def apply(self, context):
            os.kill(context.pid, 9)

    made = planning.plugin_set(one={"ocifw_created": [Kill()]})
    for _ in range(20):
        with pytest.raises(OcifwError, match="container init was killed by signal 9"):
            execute.Execution(made_plan(made), Context("box", "/b", "/s"), None).run()
