"""Everything that plugins refuse of a config: `create` stops at the first that does, `validate` asks each by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import phases, plan
from .errors import OcifwError, PluginError
from .fields import set_fields
from .policy import PolicyError, check_create

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .creation import Creation
    from .plugins import PluginSet
    from .policy import Violation


def refusals(creation: Creation) -> Iterator[OcifwError]:
    """What each plugin says against the config. What is against the plan as a whole is not among it.

    A plugin that wraps others' answers is not asked without them, and one that fails is not asked on: nothing may be there
    to go by after the first refusal.
    """
    active = creation.plugins
    config = creation.config
    if not config.get("process"):
        config = {**config, "process": {}}
    owners = active.owners
    asked = active.asked([field for field in set_fields(config) if field in owners])
    arguments: dict[str, Any] = {
        "config": config,
        "request": creation.request,
        "host": creation.host,
    }
    yield from _asked(active, "ocifw_validate", arguments, asked)
    mounts: list[Any] = []
    for index, mount in enumerate(config.get("mounts") or ()):
        own = {**arguments, "mount": mount, "index": index}
        try:
            mounts.append(list(active.ask("ocifw_mount", own, asked) or ()))
        except PluginError:
            mounts.append([])
        except OcifwError as error:
            mounts.append([])
            yield error
    arguments = {**arguments, "mounts": mounts}
    for phase in phases.PHASES:
        yield from _asked(active, phase.hook, arguments, asked)


def _asked(
    active: PluginSet, hook: str, arguments: dict[str, Any], asked: frozenset[str]
) -> Iterator[OcifwError]:
    """What each plugin raises, or answers of problems, at one hook."""
    implementations = active.hooks.get(hook, ())
    wrapping = {one.plugin for one in implementations if one.wrapper}
    for one in implementations:
        if one.plugin not in asked or one.plugin in wrapping:
            continue
        alone = frozenset((one.plugin,))
        try:
            if hook == "ocifw_validate":
                plan.validate(active, arguments, alone)
            else:
                active.ask(hook, arguments, alone)
        except PluginError:
            continue
        except OcifwError as error:
            yield error


def config_violations(creation: Creation) -> list[Violation]:
    """The rules about the config that do not hold, for when there is no plan to hold rules against."""
    if creation.effective is None:
        return []
    own = [rule for rule in creation.effective.policy if rule.root != "plan"]
    try:
        check_create(own, creation.config, plan.Plan(creation.request, creation.config, ()))
    except PolicyError as error:
        return error.violations
    return []
