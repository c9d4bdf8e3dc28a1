"""What every plugin must keep to. Inherit it, and name the plugin:

from ocifw.testing import PluginContract

class TestContract(PluginContract):
    plugin = "ocifw_timezone.plugin"
    configs = (config_of("plain", hostname="box"),)
"""

from __future__ import annotations

import copy
import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from ocifw import linking
from ocifw.context import Context, Host
from ocifw.errors import ConfigError, OcifwError, PlanError, PluginError
from ocifw.imports import heavy_imports
from ocifw.sets import Member
from ocifw.step import ContainerStep, RuntimeStep, from_document

from .bundles import KINDS, config_of
from .planning import linked, module_of, name_of, plan_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, ClassVar

    from ocifw.plan import Plan
    from ocifw.step import Step


class PluginContract:
    """A test class without tests of its own: pytest collects those that inherit it.

    plugin: the module of the entry point. configs: configs that ask something of the plugin, beside those of every kind.
    settings: settings to plan with. without: plugins of ocifw that this one replaces.
    """

    plugin: ClassVar[str]
    configs: ClassVar[tuple[dict[str, Any], ...]] = ()
    settings: ClassVar[dict[str, Any]] = {}
    without: ClassVar[tuple[str, ...]] = ()

    def test_the_plugin_is_accepted(self) -> None:
        """ocifw links it: its hooks exist, with these parameters, its fields exist, and its API version is this one."""
        module = module_of(self.plugin)
        linking.check_declarations(
            name_of(module), module, Member(name_of(module), origin="the test")
        )
        assert any(
            one.plugin == name_of(module)
            for implementations in linked([module], first_party=False).hooks.values()
            for one in implementations
        ), "implements no hook"

    def test_nothing_heavy_is_imported(self) -> None:
        """Importing the plugin imports nothing that would slow every command: see `ocifw.imports.HEAVY_MODULES`."""
        top = importlib.import_module(self.plugin.partition(".")[0])
        ocifw = importlib.import_module("ocifw")
        folders = {str(Path(module.__file__ or "").parents[1]) for module in (top, ocifw)}
        assert heavy_imports(self.plugin, *sorted(folders)) == []

    def test_planning_changes_nothing(self) -> None:
        """Planning writes no file, starts no program and sends nothing: it is done where none of that can be done."""
        from .purity import changes_tried

        for config in self._configs():
            tried = changes_tried([self.plugin], config, self._settings(), self.without)
            assert tried == ""

    def test_the_same_is_planned_twice(self) -> None:
        """Plans are values: the same config, request and machine give equal steps."""
        host = Host()
        for config, _ in self._plans():
            first, second = (self._plan(copy.deepcopy(config), host) for _ in range(2))
            assert [self._own(first)] == [self._own(second)]

    def test_arguments_are_only_read(self) -> None:
        """What hooks are given is as it was afterwards."""
        for config, _ in self._plans():
            before = copy.deepcopy(config)
            self._plan(config)
            assert config == before

    def test_every_owned_field_is_planned(self) -> None:
        """The configs set every field that the plugin owns, so that these tests see all that it does."""
        from ocifw.fields import set_fields

        owns = set(getattr(module_of(self.plugin), "owns", ()))
        for config, _ in self._plans():
            owns -= set(set_fields(config))
        assert not owns, "no config in `configs` sets them"

    def test_steps_say_what_they_do(self) -> None:
        """Every step describes itself in one line, and claims are tuples of texts."""
        for step in self._steps():
            text = step.describe()
            assert text.splitlines() == [text], step
            for claim in step.claims():
                assert [type(word) for word in claim] == [str] * len(claim), step

    def test_container_steps_can_be_encoded(self) -> None:
        """ocifw-init understands every container step."""
        from ocifw.program import assign_slots, encode

        own = [step for step in self._steps() if isinstance(step, ContainerStep)]
        encode(own, assign_slots(own))

    def test_runtime_steps_can_be_written_down(self) -> None:
        """A runtime step comes back from JSON as it was: `delete` undoes it without the plan."""
        for step in self._steps():
            if isinstance(step, RuntimeStep):
                document = json.loads(json.dumps(step.document()))
                again = from_document(document)
                assert json.dumps(again.document()) == json.dumps(step.document())

    def test_undo_tolerates_what_is_not_there(self, tmp_path: Path) -> None:
        """Undoing a step that was never applied, twice, is no error: `create` may have been killed at any moment."""
        for step in self._steps():
            if isinstance(step, RuntimeStep) and step.undoable:
                context = Context(f"contract-{uuid4()}", str(tmp_path), str(tmp_path))
                for _ in range(2):
                    step.undo(context)
                context.close()

    def test_failures_name_plugin_and_hook(self) -> None:
        """Whatever goes wrong in a hook becomes an error with the plugin's name and the hook's."""
        module = module_of(self.plugin)
        active = linked([module], first_party=False)
        named: list[tuple[str, str, str]] = []
        for hook, implementations in active.hooks.items():
            for one in implementations:
                arguments = {name: _Broken() for name in one.arguments}
                try:
                    active.ask(hook, arguments)
                except PluginError as error:
                    named.append((error.plugin, error.hook, hook))
                except (ConfigError, PlanError):
                    pass
        assert named == [(name_of(module), hook, hook) for _, _, hook in named]

    # -- what the tests share --------------------------------------------------------------------------------------

    def _configs(self) -> Iterator[dict[str, Any]]:
        yield from copy.deepcopy(self.configs)
        for kind in KINDS:
            yield config_of(kind)

    def _plans(self) -> Iterator[tuple[dict[str, Any], Plan]]:
        """Pairs of config and plan, of those configs that this machine and the installed plugins can plan."""
        planned = 0
        for config in self._configs():
            try:
                plan = self._plan(config)
            except PluginError:
                raise
            except OcifwError:
                continue
            planned += 1
            yield config, plan
        assert planned, "no config can be planned: is a plugin missing that owns a field?"

    def _plan(self, config: dict[str, Any], host: Host | None = None) -> Plan:
        return plan_of(
            config,
            [self.plugin],
            without=self.without,
            settings=self._settings(),
            host=host,
            id=f"contract-{uuid4()}" if host is None else "contract",
        )

    def _settings(self) -> dict[str, dict[str, Any]]:
        return {name_of(module_of(self.plugin)): self.settings}

    def _own(self, plan: Plan) -> list[Step]:
        return [step for step in plan.steps if step.plugin == name_of(module_of(self.plugin))]

    def _steps(self) -> list[Step]:
        return [step for _, plan in self._plans() for step in self._own(plan)]


class _Broken:
    """An argument on which everything fails."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"{name} of a broken argument")

    def __getitem__(self, name: object) -> Any:
        raise RuntimeError(f"{name!r} of a broken argument")

    def __contains__(self, name: object) -> bool:
        raise RuntimeError(f"{name!r} in a broken argument")
