"""The plan: the order of its steps, what the core adds, changing sides, and what is refused."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ocifw import hookimpl, phases
from ocifw.container import Container
from ocifw.context import Host, Request
from ocifw.errors import ConfigError, PlanError, PluginError, Problem
from ocifw.plan import Plan, environment, make_plan
from ocifw.plugins import PluginSet
from ocifw.steps import (
    AwaitStart,
    Bind,
    Chdir,
    Clone,
    CloseFds,
    Execute,
    LookupExecutable,
    Mkdir,
    Mount,
    PassBaton,
    Report,
    RuntimeStep,
    SendPidfd,
    SetHostname,
)

spec = importlib.util.spec_from_file_location(
    "ocifw_test_plugins", Path(__file__).with_name("test_plugins.py")
)
made_up = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = made_up
spec.loader.exec_module(made_up)

PROCESS = {"args": ["sh", "-c", "true"], "env": ["PATH=/a", "HOME=/", "PATH=/b"], "cwd": "/"}
CONFIG = {"ociVersion": "1.2.0", "process": PROCESS}
REQUEST = Request("create", "box", "/bundle", "/bundle/rootfs", "/state/box")
CORE = [LookupExecutable("sh", "/b"), PassBaton(11), AwaitStart("start"), CloseFds(3)]


class Note(RuntimeStep):
    """A runtime step that only has a name."""

    name: str

    def apply(self, context):
        context.notes.setdefault("applied", []).append(self.name)


def plugin_set(**plugins):
    """A linked plugin set; each plugin is a mapping of hook to what it answers, or to an implementation."""
    found = []
    for name, hooks in plugins.items():
        owns = hooks.pop("owns", ())
        functions = {
            hook: answer if callable(answer) else hookimpl(answering(hook, answer))
            for hook, answer in hooks.items()
        }
        found.append(made_up.found(name, functions, owns, always=True))
    return made_up.linked(found)


def answering(hook, answer):
    def function():
        return answer

    function.__name__ = hook
    return function


def plan(plugins=None, config=None, **changes):
    request = REQUEST.changed(**changes)
    return make_plan(plugins or plugin_set(), config or CONFIG, request, Host({}))


# ---- order -----------------------------------------------------------------------------------------------------------


def test_without_plugins():
    """With no plugin at all, the program is looked up, waits for start, and is executed."""
    made = plan()
    program = made.program()
    assert program[:-1] == [Clone(), *CORE]
    assert program[-1] == Execute(("sh", "-c", "true"), ("PATH=/b", "HOME=/"))
    assert {step.plugin for step in made.steps} == {"core"}


def test_plugins_answer_in_set_order_within_a_phase():
    """Phases have the table's order, plugins within a phase the set's; every step knows plugin and phase."""
    made = plan(
        plugin_set(
            one={"ocifw_enter": [Mkdir("/one")], "ocifw_finalize": [Mkdir("/1")]},
            two={"ocifw_enter": [Mkdir("/two")], "ocifw_rootfs": [Mkdir("/2")]},
        )
    )
    assert [phase for phase, _ in made.phases] == list(phases.PHASES)
    paths = [(s.phase, s.plugin, s.path) for s in made.steps if isinstance(s, Mkdir)]
    assert paths == [
        ("enter", "one", "/one"),
        ("enter", "two", "/two"),
        ("rootfs", "two", "/2"),
        ("finalize", "one", "/1"),
    ]


def test_one_plugin_clones_and_changes_the_root():
    """Of first-result hooks, one plugin's answer is taken, and the others are not asked."""

    @hookimpl
    def ocifw_clone():
        raise AssertionError("asked")

    plugins = plugin_set(
        one={"ocifw_clone": [Clone(1)]},
        two={"ocifw_clone": ocifw_clone, "ocifw_pivot_root": [Chdir("/")]},
    )
    assert plan(plugins).of(phases.CLONE) == [Clone(1)]
    assert plan(plugins).of(phases.PIVOT_ROOT) == [Chdir("/")]


def test_mounts_are_answered_one_by_one():
    """Each entry of mounts goes to the first plugin that takes its kind; ocifw_rootfs gets all answers in order."""

    @hookimpl
    def ocifw_mount(mount, index):
        return [Mkdir(f"/special{index}")] if mount["type"] == "special" else None

    def any_mount(mount, index):
        return [Mkdir(f"/usual{index}")]

    any_mount.__name__ = "ocifw_mount"

    @hookimpl
    def ocifw_rootfs(mounts):
        return [step for answer in mounts for step in answer]

    plugins = plugin_set(
        special={"ocifw_mount": ocifw_mount},
        usual={
            "ocifw_mount": hookimpl(any_mount),
            "ocifw_rootfs": ocifw_rootfs,
            "owns": ("mounts",),
        },
    )
    entries = [{"destination": "/d", "type": kind} for kind in ("proc", "special", "proc")]
    made = plan(plugins, {**CONFIG, "mounts": entries})
    assert made.of(phases.ROOTFS) == [Mkdir("/usual0"), Mkdir("/special1"), Mkdir("/usual2")]
    assert [step.plugin for step in made.of(phases.ROOTFS)] == ["usual", "special", "usual"]


# ---- changing sides --------------------------------------------------------------------------------------------------


def test_the_baton_is_passed_only_where_the_runtime_has_to_act():
    """Each phase of the runtime after the clone costs one exchange if it has steps, and none if it has none."""
    made = plan(
        plugin_set(
            one={
                "ocifw_prepare": [Note("prepare")],
                "ocifw_create_runtime": [Note("a"), Note("b")],
                "ocifw_rootfs": [Mkdir("/x")],
                "ocifw_create_container": [Mkdir("/y")],
                "ocifw_poststart": [Note("poststart")],
                "ocifw_poststop": [Note("poststop")],
            }
        )
    )
    assert made.program()[:-1] == [Clone(), Mkdir("/x"), PassBaton(6), Mkdir("/y"), *CORE]
    assert [step.name for step in made.runtime(phases.CREATE_RUNTIME)] == ["a", "b"]


def test_watched_phases_are_reported():
    """With a watcher, every phase of the container with steps begins with a report; those of the runtime pass the baton."""
    made = plan(plugin_set(one={"ocifw_rootfs": [Mkdir("/x")], "ocifw_attach": [Note("attach")]}))
    assert Report not in {type(step) for step in made.program()}
    assert made.program(watched=True)[:-1] == [
        Clone(),
        PassBaton(3),
        Report(5),
        Mkdir("/x"),
        Report(10),
        CORE[0],
        PassBaton(11),
        AwaitStart("start"),
        Report(12),
        Report(13),
        CloseFds(3),
    ]


def test_run_does_not_wait():
    """`run` has no AwaitStart; the runtime still publishes the container before it is executed."""
    kinds = [type(step) for step in plan(run=True).program()]
    assert kinds == [Clone, LookupExecutable, PassBaton, CloseFds, Execute]


def test_exec_goes_through_its_phases_only():
    """exec builds no root and waits for nothing; plugins are not asked about other phases."""

    @hookimpl
    def ocifw_rootfs():
        raise AssertionError("asked")

    plugins = plugin_set(one={"ocifw_rootfs": ocifw_rootfs, "ocifw_enter": [Mkdir("/x")]})
    made = plan(plugins, operation="exec", run=True, pidfd=True)
    assert [phase for phase, _ in made.phases] == list(phases.EXEC_PHASES)
    assert made.program()[:-1] == [
        Clone(),
        Mkdir("/x"),
        SendPidfd("pidfd", "setns"),
        CORE[0],
        CloseFds(3),
    ]


def test_preserved_descriptors_stay_open():
    """CloseFds begins behind what is preserved and what is passed on by socket activation."""
    made = plan(preserve_fds=2, listen_fds=3)
    assert made.of(phases.SEAL)[0] == CloseFds(8)
    assert {"LISTEN_FDS=3", "LISTEN_PID=1"} <= set(made.of(phases.SEAL)[-1].env)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(phases.PHASES), st.integers(0, 3)), st.booleans())
def test_programs_hold_every_step_in_order(counts, watched):
    """Whatever plugins answer: every container step is in the program once, in order, and no phase passes the baton twice."""
    answers = []
    for phase in phases.PHASES:
        kind = Note if phase.side == phases.RUNTIME else Mkdir
        steps = [kind(f"/{phase.name}{i}") for i in range(counts.get(phase, 0))]
        answers.append((phase, [Clone()] if phase == phases.CLONE else steps))
    made = Plan(REQUEST, CONFIG, answers)
    program = made.program(watched)
    expected = [step for step in made.steps if isinstance(step, (Mkdir, Clone))]
    assert [step for step in program if isinstance(step, (Mkdir, Clone))] == expected
    passed = [step.phase_number for step in program if isinstance(step, (PassBaton, Report))]
    assert passed == sorted(set(passed))
    wanted = {
        phase.number
        for phase in (phases.ATTACH, phases.CREATE_RUNTIME, phases.CREATED)
        if counts.get(phase) or phase == phases.CREATED
    }
    assert {step.phase_number for step in program if isinstance(step, PassBaton)} == wanted


# ---- the environment -------------------------------------------------------------------------------------------------


def test_the_last_value_of_a_name_counts():
    """As execvp(3) and shells see it; entries without `=` are kept as they are."""
    process = {"env": ["A=1", "B=2", "A=3", "odd", "NOTIFY_SOCKET=/host"]}
    request = REQUEST.changed(notify_socket="/run/notify")
    assert environment(process, REQUEST) == ("A=3", "B=2", "odd", "NOTIFY_SOCKET=/host")
    assert environment(process, request)[-1] == "NOTIFY_SOCKET=/run/notify/notify.sock"


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_two_claims_on_one_thing():
    """Two plugins that set the same thing are named, with what they do and where it was asked for."""
    plugins = plugin_set(
        one={"ocifw_finalize": [SetHostname("a", at="hostname")]},
        two={"ocifw_finalize": [SetHostname("b")]},
    )
    with pytest.raises(PlanError) as caught:
        plan(plugins)
    assert str(caught.value) == (
        "hostname is set by two plugins: one (set hostname a, hostname) and two (set hostname b)"
    )


def test_claims_that_are_no_conflict():
    """One plugin may do a thing twice, and what the list `mounts` puts over each other is wanted so."""
    twice = plugin_set(one={"ocifw_finalize": [SetHostname("a"), SetHostname("b")]})
    assert plan(twice).of(phases.FINALIZE)
    listed = [Mount("tmpfs", "t", "/m", at="mounts[0]"), Bind("/s", "/m", at="mounts[1]")]
    over = plugin_set(one={"ocifw_rootfs": listed[:1]}, two={"ocifw_rootfs": listed[1:]})
    assert plan(over).of(phases.ROOTFS) == listed
    own = plugin_set(
        one={"ocifw_rootfs": [Mount("tmpfs", "t", "/m")]}, two={"ocifw_rootfs": listed[1:]}
    )
    with pytest.raises(PlanError, match="^mount /m is set by two plugins: one .* and two"):
        plan(own)


def test_fields_without_an_owner():
    """A field that is set and that no plugin owns is an error that names the plugin to install."""
    config = {
        **CONFIG,
        "hostname": "box",
        "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}},
    }
    with pytest.raises(PlanError) as caught:
        plan(config=config)
    text = str(caught.value)
    assert "hostname: no active plugin handles it: install the plugin ocifw-namespaces" in text
    assert "linux.seccomp: no active plugin handles it: install the plugin ocifw-seccomp" in text
    owner = plugin_set(one={"owns": ("hostname", "linux.seccomp")})
    assert plan(owner, config).of(phases.SEAL)


@pytest.mark.parametrize(
    ("hook", "answer", "text"),
    [
        ("ocifw_rootfs", [Note("x")], "cannot be a step of phase rootfs"),
        ("ocifw_prepare", [Mkdir("/x")], "cannot be a step of phase prepare"),
        ("ocifw_prepare", ["text"], "a plugin: ocifw_prepare: 'text' is not a RuntimeStep"),
        ("ocifw_prepare", "text", "ocifw_prepare: expected steps, not str"),
        ("ocifw_clone", Clone(), "ocifw_clone: expected steps, not Clone"),
    ],
)
def test_answers_that_are_no_steps_of_the_phase(hook, answer, text):
    """Steps of the wrong side, and what is no step, are refused, not skipped."""
    with pytest.raises(PlanError, match=text.replace("(", r"\(")):
        plan(plugin_set(one={hook: answer}))


def test_mounts_of_a_kind_that_nobody_mounts():
    """The entry is named."""
    plugins = plugin_set(one={"owns": ("mounts",)})
    entries = [{"destination": "/d", "type": "strange"}]
    with pytest.raises(PlanError, match=r"^mounts\[0\]: no active plugin mounts 'strange'$"):
        plan(plugins, {**CONFIG, "mounts": entries})


def test_problems_of_all_plugins_are_told_at_once():
    """What plugins find wrong comes before any phase is asked."""

    @hookimpl
    def ocifw_prepare():
        raise AssertionError("asked")

    plugins = plugin_set(
        one={"ocifw_validate": [Problem("a", "is wrong")], "ocifw_prepare": ocifw_prepare},
        two={"ocifw_validate": [Problem("b", "is wrong, too")]},
    )
    with pytest.raises(ConfigError) as caught:
        plan(plugins)
    assert str(caught.value) == "a: is wrong; b: is wrong, too"


def test_a_plugin_that_fails_is_named():
    """Any exception of a plugin names plugin and hook."""

    @hookimpl
    def ocifw_enter():
        raise KeyError("x")

    with pytest.raises(PluginError, match="^plugin one: ocifw_enter: KeyError: 'x'$"):
        plan(plugin_set(one={"ocifw_enter": ocifw_enter}))


def test_exec_asks_who_made_the_containers_process_what_it_is():
    """A field of the container's own process has its owner asked for one that is added and does not name it."""
    plugins = plugin_set(lsm={"owns": ("process.selinuxLabel",), "ocifw_finalize": [Mkdir("/x")]})
    lazy = PluginSet(
        [one.changed(always=False) for one in plugins.plugins],
        plugins.hooks,
        plugins.first_result,
        modules=plugins._modules,
    )
    container = Container("/state/box", {"id": "box", "config": {**CONFIG}})
    changes = {"operation": "exec", "run": True, "container": container}
    assert Mkdir("/x") not in plan(lazy, **changes).steps
    container.state["config"]["process"] = {**CONFIG["process"], "selinuxLabel": "a:b:c:d"}
    assert Mkdir("/x") in plan(lazy, **changes).steps


def test_without_a_process():
    """A container without a process waits for a start that will not come: nothing is looked up or executed."""
    program = plan(config={"ociVersion": "1.2.0"}).program()
    assert program == [Clone(), PassBaton(11), AwaitStart("start"), CloseFds(3)]
