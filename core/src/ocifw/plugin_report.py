"""What `ocifw plugins` tells about the plugins that are installed, and about the set that is active."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import hookspecs, linking, phases, sets
from .errors import OcifwError
from .imports import heavy_imports
from .plugins import _USUAL_OWNERS, CORE, PluginSet, from_table, load
from .selection import chosen, library

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .linking import Candidate
    from .sets import ActiveSet, Member

COLUMNS = ("plugin", "version", "distribution", "state", "owns")


def rows() -> list[dict[str, str]]:
    """Every plugin that the set names, in its order, then what is installed and in no place of it."""
    selection = chosen()
    active = sets.resolve(selection)
    offered = linking.installed()
    linked = {plugin.name: plugin for plugin in load().plugins}
    found = []
    used = set()
    for member in active.members:
        plugin = linked.get(member.name)
        if plugin is not None:
            used.add((plugin.name, plugin.distribution))
            found.append(
                _row(
                    member.name,
                    plugin.version,
                    plugin.distribution,
                    "active",
                    " ".join(plugin.owns),
                )
            )
        elif member.name in selection.without:
            found.append(_row(member.name, state="left out by --without"))
            used |= {(one.name, one.distribution) for one in offered if one.name == member.name}
        else:
            found.append(_row(member.name, state="not installed"))
    for one in offered:
        if (one.name, one.distribution) not in used:
            state = f"inert: not in set {active.name}"
            found.append(_row(one.name, one.version, one.distribution, state))
    return found


def _row(
    name: str, version: str = "", distribution: str = "", state: str = "", owns: str = ""
) -> dict[str, str]:
    return dict(zip(COLUMNS, (name, version, distribution, state, owns)))


def show(name: str) -> Iterator[tuple[str, str]]:
    """Facts about one plugin of the set, as pairs of what and value. Raises OcifwError for one that is not there."""
    active = load()
    member, candidate = _member(name)
    plugin = next((one for one in active.plugins if one.name == name), None)
    if plugin is None or candidate is None:
        offered = [one for one in linking.installed() if one.name == name]
        if offered:
            one = offered[0]
            raise OcifwError(
                f"plugin {name} ({one.distribution} {one.version}) is inert: plugin set {active.terms.name} does not name it"
            )
        raise OcifwError(f"plugin {name} is not installed")
    yield "plugin", name
    yield "distribution", f"{plugin.distribution} {plugin.version}"
    yield "summary", str(candidate.source.metadata["Summary"] or "")
    yield "module", plugin.module
    yield "file", plugin.file
    yield "sha256", plugin.sha256
    yield "first-party", "yes" if plugin.first_party else "no"
    yield (
        "api",
        str(getattr(active.module(name), "api", "") or f"not declared ({hookspecs.API_VERSION})"),
    )
    yield "named by", member.origin if member else ""
    yield "failure", plugin.failure
    yield "owns", ", ".join(plugin.owns) or "nothing: it is always asked"
    yield "hooks", ", ".join(hooks_of(active, name))


def hooks_of(active: PluginSet, name: str) -> list[str]:
    """The hooks that a plugin implements, wrappers marked."""
    order = list(vars(hookspecs))
    found = [
        (order.index(hook), hook + (" (wrapper)" if one.wrapper else ""))
        for hook, implementations in active.hooks.items()
        for one in implementations
        if one.plugin == name
    ]
    return [text for _, text in sorted(found)]


def verify() -> Iterator[tuple[str, str]]:
    """Pairs of plugin and what is wrong with it, "" for nothing: files and folders, hash, version, imports, hooks."""
    selection = chosen()
    active = sets.resolve(selection)
    try:
        table = linking.link_set(selection)
    except OcifwError as error:
        yield active.name, str(error)
        return
    known = {plugin.name: plugin.sha256 for plugin in load().plugins}
    for plugin in from_table(table).plugins:
        heavy = heavy_imports(plugin.module, library())
        if known.get(plugin.name) != plugin.sha256:
            yield (
                plugin.name,
                f"its files were edited in place: they hash to {plugin.sha256} now: `ocifw plugins link`",
            )
        elif heavy:
            yield (
                plugin.name,
                f"imports {', '.join(heavy)} when it is loaded, which slows every command",
            )
        else:
            yield plugin.name, ""


def which(field: str) -> str:
    """Who handles a field of config.json, as a sentence. Raises OcifwError when nobody does."""
    active = load()
    owners = active.owners
    parts = field.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in owners and (owners[name] != CORE or length == len(parts)):
            return f"{name}: {owners[name]}"
        if name in _USUAL_OWNERS and name not in owners:
            raise OcifwError(
                f"{name}: no active plugin handles it: install the plugin ocifw-{_USUAL_OWNERS[name]}"
            )
    below = sorted(
        f"{name}: {owner}" for name, owner in owners.items() if name.startswith(f"{field}.")
    )
    if below:
        return "\n".join(below)
    raise OcifwError(f"{field}: no field of config.json that a plugin handles")


def graph() -> Iterator[str]:
    """The phases, and below each the plugins in the order in which their steps stand; wrappers stand around."""
    active = load()
    listed = {phase.hook for phase in phases.PHASES}
    for phase in phases.PHASES:
        found = active.hooks.get(phase.hook, ())
        if found:
            yield f"{phase.number:2} {phase.name} ({phase.side}{', the first that answers' * phase.first_result})"
            yield from _implementations(found)
    for hook in vars(hookspecs):
        if hook in active.hooks and hook not in listed:
            yield f"   {hook.removeprefix('ocifw_')}"
            yield from _implementations(active.hooks[hook])


def _implementations(found: Any) -> Iterator[str]:
    depth = 0
    for one in found:
        yield f"      {'  ' * depth}{one.plugin}{' (around what follows)' * one.wrapper}"
        depth += one.wrapper


def _member(name: str) -> tuple[Member | None, Candidate | None]:
    active: ActiveSet = sets.resolve(chosen())
    member = next((one for one in active.members if one.name == name), None)
    if member is None:
        return None, None
    return member, linking._candidate(member, linking.installed(), active.name)
