"""Hooks and steps are documented, their examples run, and what plugins rely on does not change unnoticed."""

from __future__ import annotations

import copy
import inspect
import re
import sys
import textwrap
import types

import pytest

from ocifw import guard, hookimpl, hookspecs, phases, steps
from ocifw.container import Container
from ocifw.context import Context, Host, Request
from ocifw.errors import OcifwError, Problem
from ocifw.step import RuntimeStep
from ocifw.testing import config_of, linked

HOOKS = {name: value for name, value in vars(hookspecs).items() if hasattr(value, "ocifw_spec")}
STEPS = steps.vocabulary()


@pytest.fixture(scope="module")
def tests(repository):
    """The text of all tests but this one."""
    paths = [*repository.glob("tests/**/*.py"), *repository.glob("examples/*/tests/*.py")]
    paths += [repository / "core/src/ocifw/scaffold.py"]
    return "\n".join(path.read_text() for path in paths if path.name != "test_hooks.py")


def example(hook):
    return textwrap.dedent(inspect.cleandoc(hook.__doc__).partition("Example::")[2])


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented(name):
    """What it is for, where it runs, what the container process does, what it may and must not, the spec, an example."""
    text = HOOKS[name].__doc__
    parts = (
        "**Runs in**",
        "**The container process**",
        "**May**",
        "**Must not**",
        "Spec:",
        "Example::",
    )
    assert [part for part in parts if part not in text] == []


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_tested(name, tests):
    """Some test speaks of each hook, or of the plan that it is a part of."""
    phase = next((phase for phase in phases.PHASES if phase.hook == name), None)
    assert name in tests or (phase is not None and f"phases.{phase.name.upper()}" in tests)


@pytest.mark.parametrize("kind", STEPS, ids=lambda kind: kind.__name__)
def test_every_step_is_documented_and_tested(kind, tests):
    """Each step has a docstring of its own, a text for plans, and some test speaks of it."""
    assert kind.__doc__ and kind.__doc__ is not steps.ContainerStep.__doc__
    assert kind._text
    assert re.search(rf"\b{kind.__name__}\b", tests)


class Stand:
    """What the examples take for granted: runtime steps of a plugin, called as the examples call them."""

    @staticmethod
    def step(name, fields):
        body = {
            "__annotations__": {f"f{n}": "object" for n in range(fields)},
            "__module__": __name__,
        }
        return type(name, (RuntimeStep,), body)


NAMES = {
    "hookimpl": hookimpl,
    "Problem": Problem,
    **{kind.__name__: kind for kind in STEPS},
    "CLONE_NEWUTS": 0x04000000,
    "CLONE_NEWIPC": 0x08000000,
    "compiled": bytes(8),
    "pids_of": lambda folder: [1],
    "OomEvents": lambda folder: object(),
    **{name: Stand.step(name, 1) for name in
       ("CreateCgroup", "SetOomScoreAdj", "RunHook", "Announce", "Freeze", "Thaw", "Dump", "Restore")},
    **{name: Stand.step(name, 2) for name in ("KillCgroup", "WriteCgroup")},
}  # fmt: skip


def arguments(hook):
    config = config_of("hooks", domainname="a/b")
    config["process"]["oomScoreAdj"] = 5
    notes = {"cgroups": {"freezer": "/f", "pids": "/p", "memory": "/m"}}
    state = {"id": "box", "pid": 7, "bundle": "/b", "config": config, "notes": notes}
    known = {
        "config": config,
        "request": Request("create", "box", "/b", "/b/rootfs", "/s"),
        "host": Host({}),
        "container": Container("/s", state),
        "signal": 9,
        "resources": {"pids": {"limit": 5}},
        "intel_rdt": None,
        "options": {"image-path": "/i"},
        "mounts": [],
        "mount": {"type": "ramdisk", "destination": "/r"},
        "index": 0,
        "error": OcifwError("newuidmap is missing"),
        "phase": phases.ROOTFS,
        "side": "container",
        "steps": [],
        "context": Context("box", "/b", "/s"),
    }
    return {name: known[name] for name in inspect.signature(hook).parameters if name != "settings"}


@pytest.mark.parametrize("name", HOOKS)
def test_every_example_runs(name):
    """A plugin made of a hook's example is linked and answers with what the hook expects."""
    module = types.ModuleType("ocifw_example.plugin")
    module.__file__ = __file__
    exec(example(HOOKS[name]), {**NAMES, "__name__": module.__name__}, module.__dict__)
    active = linked([module], first_party=False, settings={"example": {"devices": ["x"]}})
    assert name in active.hooks, "the example implements another hook"
    answer = active.ask(name, arguments(HOOKS[name]))
    answers = [answer] if HOOKS[name].ocifw_spec["firstresult"] else answer
    if name != "ocifw_run_phase":
        assert answers and all(one for one in answers)
    for one in answers:
        guard.check_answer(name, "example", one)


@pytest.fixture(scope="module")
def generator(repository):
    """tools/generate_docs.py."""
    import importlib.util

    path = list(sys.path)
    spec = importlib.util.spec_from_file_location(
        "generate_docs", repository / "tools/generate_docs.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (lambda api: api["hooks"].pop("ocifw_enter"), ["hook ocifw_enter is gone"]),
        (
            lambda api: api["hooks"]["ocifw_enter"]["parameters"].remove("host"),
            ["hook ocifw_enter was changed"],
        ),
        (lambda api: api["hooks"]["ocifw_enter"]["parameters"].append("more"), []),
        (
            lambda api: api["hooks"]["ocifw_clone"].update(first_result=False),
            ["hook ocifw_clone was changed"],
        ),
        (lambda api: api["steps"].pop("Mkdir"), ["step Mkdir is gone"]),
        (lambda api: api["steps"]["Mkdir"].update(path="Text"), ["step Mkdir was changed"]),
        (lambda api: api["steps"]["Mkdir"].update(new="Flag?"), []),
        (
            lambda api: api["steps"]["Mkdir"].update(new="Flag"),
            ["step Mkdir has a new field without a default"],
        ),
    ],
)
def test_what_breaks_plugins(generator, change, broken):
    """A hook or step that is gone, or takes something else, breaks plugins; additions do not."""
    old = generator.api()
    new = copy.deepcopy(old)
    change(new)
    assert generator.breaks(old, new) == broken


def test_the_contract_is_written_down(generator, repository):
    """docs/api.json is the contract of this version: what it says still holds."""
    import json

    recorded = json.loads((repository / "docs/api.json").read_text())
    assert generator.breaks(recorded, generator.api()) == []
