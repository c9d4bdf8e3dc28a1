"""Linking: what pluggy decides about a set of plugins, as a table. Not on the hot path; imports what it likes."""

from __future__ import annotations

import importlib
import os
from importlib.metadata import EntryPoint, distributions
from inspect import signature
from typing import TYPE_CHECKING, Any

import pluggy

from . import hookspecs
from .errors import PluginError
from .plugins import FIRST_PARTY, GROUP, Implementation, Plugin, library

if TYPE_CHECKING:
    from collections.abc import Sequence

Found = tuple[str, object, Plugin]


def manager() -> pluggy.PluginManager:
    """A PluginManager that knows ocifw's hooks."""
    plugins = pluggy.PluginManager("ocifw")
    plugins.add_hookspecs(hookspecs)
    return plugins


def discover() -> list[Found]:
    """The plugins of the active set that are installed beside ocifw, in set order, imported.

    Raises PluginError when one cannot be imported, or when two distributions offer the same plugin.
    """
    entries: dict[str, tuple[EntryPoint, str, str]] = {}
    for distribution in distributions(path=[library()]):
        for entry in distribution.entry_points:
            if entry.group != GROUP or entry.name not in FIRST_PARTY:
                continue
            name = distribution.metadata["Name"]
            if entry.name in entries and entries[entry.name][1] != name:
                other = entries[entry.name][1]
                raise PluginError(entry.name, "discovery", f"offered by both {other} and {name}")
            entries[entry.name] = (entry, name, distribution.version)
    found = []
    for plugin in FIRST_PARTY:
        if plugin in entries:
            entry, distribution_name, version = entries[plugin]
            found.append(describe(plugin, entry.module, distribution_name, version))
    return found


def describe(name: str, module_name: str, distribution: str, version: str) -> Found:
    """Import a plugin's module and note what it declares."""
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise PluginError(name, "import", f"{type(error).__name__}: {error}") from error
    file = module.__file__ or ""
    status = os.stat(file)
    owns = tuple(getattr(module, "owns", ()))
    always = bool(getattr(module, "always", False))
    record = Plugin(
        name,
        module_name,
        distribution,
        version,
        owns,
        always,
        file,
        status.st_size,
        status.st_mtime_ns,
    )
    return name, module, record


def link(found: Sequence[Found]) -> dict[str, Any]:
    """The table of a set of plugins: pluggy registers, checks and orders; the table says what came out.

    Raises PluginError for an unknown hook or a parameter that the hook does not have.
    """
    plugins = manager()
    # pluggy calls the last registered first; the set's order is the order of calling.
    for name, module, _ in reversed(found):
        try:
            plugins.register(module, name)
        except pluggy.PluginValidationError as error:
            raise PluginError(name, "registration", str(error)) from error
    try:
        plugins.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(
            plugins.get_name(error.plugin) or "?", "registration", str(error)
        ) from error
    hooks: dict[str, list[tuple[Any, ...]]] = {}
    first_result = []
    for hook in sorted(vars(hookspecs)):
        specification = getattr(vars(hookspecs)[hook], "ocifw_spec", None)
        if specification is None:
            continue
        if specification["firstresult"]:
            first_result.append(hook)
        caller = getattr(plugins.hook, hook)
        rows = [
            implementation(
                found_implementation.plugin_name,
                found_implementation.function,
                found_implementation.wrapper,
            ).values()
            for found_implementation in reversed(caller.get_hookimpls())
        ]
        if rows:
            hooks[hook] = rows
    return {
        "plugins": [record.values() for _, _, record in found],
        "hooks": hooks,
        "first_result": first_result,
    }


def implementation(plugin: str, function: Any, wrapper: bool) -> Implementation:
    """What the table says of one function."""
    return Implementation(plugin, function.__name__, tuple(signature(function).parameters), wrapper)
