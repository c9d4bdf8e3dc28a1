"""Plans as values: what `create` or `exec` would do with some plugins, without root and without doing it."""

from __future__ import annotations

import atexit
import importlib
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ocifw import linking
from ocifw.container import Container
from ocifw.context import Host, Request
from ocifw.errors import OcifwError
from ocifw.plan import make_plan
from ocifw.plugins import FIRST_PARTY, Plugin, PluginSet, from_table
from ocifw.sets import Member

from .bundles import config_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType
    from typing import Any

    from ocifw.plan import Plan
    from ocifw.step import Step

Rejected = OcifwError
"""What `plan_of` raises when there is no plan: ConfigError, PlanError, PluginError and others of `ocifw.errors`."""


def plan_of(
    config: dict[str, Any] | None = None,
    plugins: Sequence[str | ModuleType] = (),
    *,
    first_party: bool = True,
    without: Sequence[str] = (),
    settings: Mapping[str, dict[str, Any]] | None = None,
    host: Host | None = None,
    exec: dict[str, Any] | None = None,
    **request: Any,
) -> Plan:
    """What `create` would do; with `exec`, a process as in config.json, what `exec` of it in that container would.

    config: by default one that a small container has (`config_of("plain")`). plugins: modules, or their names, called after
    those of ocifw that are installed, if `first_party`, and are not named in `without`. settings: by plugin. host: the
    machine; a made-up one is `Host({path: content})`. Others are fields of `ocifw.context.Request`. Raises Rejected.
    """
    config = config_of("plain") if config is None else config
    active = linked(plugins, first_party=first_party, without=without, settings=settings)
    folder = request.get("bundle") or bundle()
    made = Request(
        **{
            "operation": "create",
            "id": "box",
            "bundle": folder,
            "rootfs": f"{folder}/rootfs",
            "state_dir": "/run/ocifw/box",
            **request,
        }
    )
    if exec is not None:
        state = {"id": made.id, "pid": 77, "bundle": made.bundle, "config": config, "notes": {}}
        made = made.changed(operation="exec", container=Container(made.state_dir, state))
        config = {**config, "process": exec}
    return make_plan(active, config, made, host or Host())


def steps_of(
    plugin: str | ModuleType, config: dict[str, Any] | None = None, **options: Any
) -> list[Step]:
    """The steps of one plugin in the plan, in order; the rest of the plan is ocifw's. See `plan_of`."""
    module = module_of(plugin)
    plan = plan_of(config, [module], **options)
    return [step for step in plan.steps if step.plugin == name_of(module)]


def linked(
    plugins: Sequence[str | ModuleType] = (),
    *,
    first_party: bool = True,
    without: Sequence[str] = (),
    settings: Mapping[str, dict[str, Any]] | None = None,
) -> PluginSet:
    """Plugins linked as for a command, but where they lie and who owns their files. Raises PluginError."""
    modules = []
    if first_party:
        names = [name for name in FIRST_PARTY if name not in without]
        modules = [module for name in names if (module := _installed(f"ocifw_{name}.plugin"))]
    ours = len(modules)
    modules += [module_of(plugin) for plugin in plugins]
    found: list[linking.Found] = []
    for index, module in enumerate(modules):
        name = name_of(module)
        linking.check_declarations(name, module, Member(name, origin="the test"))
        found.append((name, module, _record(name, module, index < ours)))
    linking.check_owners([record for _, _, record in found])
    table = {**linking.link(found), "terms": ("test",)}
    own = from_table(table)
    return PluginSet(
        own.plugins,
        own.hooks,
        own.first_result,
        dict(settings or {}),
        {name: module for name, module, _ in found},
        own.terms,
    )


@cache
def bundle() -> str:
    """The folder of a bundle with an empty root filesystem, which is there for as long as the tests run."""
    folder = tempfile.mkdtemp(prefix="ocifw-plan-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Path(folder, "rootfs").mkdir()
    return folder


def module_of(plugin: str | ModuleType) -> ModuleType:
    """The module of a plugin that is given by its name or as it is."""
    return importlib.import_module(plugin) if isinstance(plugin, str) else plugin


def name_of(module: ModuleType) -> str:
    """The name of a plugin from that of its module: `audit-log` of `ocifw_audit_log.plugin`."""
    top = module.__name__.partition(".")[0]
    return top.removeprefix("ocifw_").replace("_", "-")


def _installed(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def _record(name: str, module: ModuleType, first_party: bool) -> Plugin:
    return Plugin(
        name,
        module.__name__,
        module.__name__.partition(".")[0].replace("_", "-"),
        "0",
        tuple(getattr(module, "owns", ())),
        bool(getattr(module, "always", False)),
        module.__file__ or "",
        0,
        0,
        first_party=first_party,
    )
