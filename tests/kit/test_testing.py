"""ocifw.testing: each test of the contract fails for a plugin that breaks it; bundles, plans and the recording runtime."""

from __future__ import annotations

import sys
import types

import pytest

from ocifw import phases
from ocifw.errors import OcifwError
from ocifw.steps import Mkdir, RestrictByLandlock
from ocifw.testing import KINDS, PluginContract, RecordingRuntime, config_of, plan_of, steps_of

HEAD = """
import os
from ocifw import hookimpl
from ocifw.steps import Mkdir, RuntimeStep

class Leave(RuntimeStep):
    undoable = True
    path: str
    def apply(self, context):
        open(self.path, "w").close()
    def undo(self, context):
        if os.path.exists(self.path):
            os.unlink(self.path)

"""
GOOD = HEAD + "@hookimpl\ndef ocifw_rootfs(config):\n    yield Mkdir('/x')\n\n" + (
    "@hookimpl\ndef ocifw_prepare(request):\n    yield Leave('/tmp/ocifw-contract-' + request.id)\n"
)  # fmt: skip


@pytest.fixture
def contract(tmp_path, monkeypatch):
    """`contract(source)` is the contract of a plugin with this source, in a module that can be imported."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(source, name="kept", **attributes):
        package = tmp_path / f"ocifw_{name}"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "plugin.py").write_text(source)
        return type(
            "Contract", (PluginContract,), {"plugin": f"ocifw_{name}.plugin", **attributes}
        )()

    yield make
    for module in [name for name in sys.modules if name.startswith(("ocifw_kept", "ocifw_bad"))]:
        del sys.modules[module]


def names():
    return [name for name in vars(PluginContract) if name.startswith("test_")]


def check(made, name, tmp_path):
    test = getattr(made, name)
    return (
        test(tmp_path)
        if "tmp_path" in test.__code__.co_varnames[: test.__code__.co_argcount]
        else test()
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_a_good_plugin_keeps_the_contract(contract, name, tmp_path):
    """A plugin with steps on both sides passes every test of the contract."""
    check(contract(GOOD), name, tmp_path)


BROKEN = {
    "test_the_plugin_is_accepted": "x = 1",
    "test_nothing_heavy_is_imported": "import json\n" + GOOD,
    "test_planning_changes_nothing": HEAD
    + "@hookimpl\ndef ocifw_rootfs(config):\n    open('/tmp/ocifw-impure', 'w').close()\n    yield Mkdir('/x')\n",
    "test_the_same_is_planned_twice": HEAD
    + "import itertools\ncount = itertools.count()\n@hookimpl\ndef ocifw_rootfs():\n    yield Mkdir(f'/{next(count)}')\n",
    "test_arguments_are_only_read": HEAD
    + "@hookimpl\ndef ocifw_rootfs(config):\n    config['hostname'] = 'x'\n    yield Mkdir('/x')\n",
    "test_every_owned_field_is_planned": "owns = ('linux.personality',)\n" + GOOD,
    "test_steps_say_what_they_do": HEAD
    + "class Odd(RuntimeStep):\n    def describe(self):\n        return 'a\\nb'\n"
    "@hookimpl\ndef ocifw_prepare():\n    yield Odd()\n",
    "test_container_steps_can_be_encoded": HEAD + "@hookimpl\ndef ocifw_rootfs():\n    yield Mkdir('/x', mode=-1)\n",
    "test_runtime_steps_can_be_written_down": HEAD + "@hookimpl\ndef ocifw_prepare():\n    yield Leave(b'bytes')\n",
    "test_undo_tolerates_what_is_not_there": HEAD
    + "class Careless(RuntimeStep):\n    undoable = True\n    path: str\n"
    "    def undo(self, context):\n        os.unlink(self.path)\n"
    "@hookimpl\ndef ocifw_prepare():\n    yield Careless('/nowhere/at/all')\n",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_the_contract_notices(contract, name, tmp_path):
    """Each test of the contract fails for a plugin that does what it forbids."""
    made = contract(BROKEN[name], "bad", without=("process",) if "owned" in name else ())
    with pytest.raises((AssertionError, OcifwError, OSError, TypeError)):
        check(made, name, tmp_path)


@pytest.mark.slow
def test_a_plugin_that_replaces_one(contract):
    """A plugin that owns what one of ocifw's owns is tested without that one, with configs that set its fields."""
    source = "owns = ('process.oomScoreAdj',)\nalways = False\n" + GOOD
    config = config_of("minimal")
    config["process"]["oomScoreAdj"] = 5
    made = contract(source, "bad", without=("process",), configs=(config,))
    made.test_every_owned_field_is_planned()
    made.test_planning_changes_nothing()


def test_every_kind_of_bundle(tmp_path):
    """Each kind of config is valid, and a fresh one each time."""
    from ocifw import validate

    for kind in KINDS:
        config = config_of(kind)
        validate.check(config, "config", kind)
        config["process"]["args"].append("changed")
        assert config_of(kind)["process"]["args"] != config["process"]["args"]


def test_changes_of_a_config():
    """Changes merge with mappings and replace everything else."""
    config = config_of("plain", hostname="x", process={"cwd": "/tmp"})
    assert (config["hostname"], config["process"]["cwd"], config["process"]["args"]) == (
        "x",
        "/tmp",
        ["sh"],
    )


def test_bundles(bundles):
    """A bundle has what a container needs to run: config.json, a root filesystem, its mounts."""
    import json

    folder = bundles("user", hostname="x")
    config = json.loads((folder / "config.json").read_text())
    assert (folder / "rootfs/etc/passwd").exists() and config["hostname"] == "x"
    assert "/usr" in [mount["destination"] for mount in config["mounts"]]


def plugin(source, name="ocifw_kept"):
    module = types.ModuleType(f"{name}.plugin")
    module.__file__ = __file__
    module.__dict__["__name__"] = f"{name}.plugin"
    sys.modules[module.__name__] = module
    exec(source, module.__dict__)
    return module


def test_the_steps_of_one_plugin():
    """steps_of are those of the plugin alone, with their phases."""
    first, second = steps_of(plugin(GOOD))
    assert (second, first.phase, second.phase) == (Mkdir("/x"), "prepare", "rootfs")


def test_exec_is_planned(plan_of):
    """With `exec` the plan is that of a process that is added: only some phases."""
    plan = plan_of(None, exec=config_of("plain")["process"])
    assert plan.request.is_exec and phases.ROOTFS not in [phase for phase, _ in plan.phases]


def test_the_recording_runtime(recording_runtime):
    """It walks a plan as the real one does: both sides in turns, and back again, in reverse order, when a step fails."""
    plan = plan_of(None, [plugin(GOOD)])
    assert recording_runtime.create(plan)
    assert [str(event) for event in recording_runtime.of("kept")] == [
        "apply prepare: kept: Leave path='/tmp/ocifw-contract-box'",
        "execute rootfs: kept: make directory /x",
    ]
    order = [event.step.phase for event in recording_runtime.events]
    numbers = {phase.name: phase.number for phase in phases.PHASES}
    assert [numbers[name] for name in order] == sorted(numbers[name] for name in order)
    recording_runtime.delete()
    assert recording_runtime.events[-1].what == "undo" or "undo" in {
        e.what for e in recording_runtime.events
    }
    failing = RecordingRuntime()
    assert not failing.create(plan, lambda step: step == Mkdir("/x"))
    whats = [event.what for event in failing.of("kept")]
    assert whats == ["apply", "fail", "undo"]


def test_nothing_is_imported_for_others():
    """pytest imports ocifw's plugin everywhere: it brings nothing but itself."""
    from ocifw.imports import imported_by
    from ocifw.selection import library

    brought = [name for name in imported_by("ocifw.testing", library()) if not name.startswith("_")]
    assert set(brought) <= {"ocifw", "ocifw.testing", "__future__"}


def test_names_of_testing():
    """What is not there is an AttributeError; what is, is found."""
    import ocifw.testing

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        ocifw.testing.nothing  # noqa: B018 -- it raises
    assert all(getattr(ocifw.testing, name) for name in ocifw.testing.__all__)


def test_the_landlock_step_claims():
    """Two plugins that restrict by Landlock are refused: their rulesets would add up to what neither means."""
    assert RestrictByLandlock((), (), 0).claims() == (("landlock",),)
