"""linux.resources as writes to files of cgroups, controller by controller."""

from __future__ import annotations

from ocifw.errors import OcifwError, Problem

from .files import UpdateCgroup, WriteCgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType
    from typing import Any

    from ocifw.context import Host
    from ocifw.step import RuntimeStep

    from .files import Write
    from .hierarchies import Layout

_CONTROLLERS = (
    ("cpu", "cpuset"),
    ("memory", "memory"),
    ("cpu", "cpu"),
    ("pids", "pids"),
    ("blockIO", "blkio"),
    ("hugepageLimits", "hugetlb"),
    ("network", "net_cls"),
    ("network", "net_prio"),
    ("rdma", "rdma"),
    ("unified", "unified"),
)
"""Keys of linux.resources with the modules of `controllers` that handle them, in the order in which they are written."""


def module(name: str) -> ModuleType:
    """A module of `controllers`, imported when first needed: most containers set few of them."""
    imported: ModuleType = __import__(f"{__package__}.controllers.{name}", fromlist=["v1"])
    return imported


def _set(resources: Mapping[str, Any]) -> Iterator[tuple[str, Any, ModuleType]]:
    """Controller, value and module of each part of linux.resources that is set."""
    for key, name in _CONTROLLERS:
        value = resources.get(key)
        if value and not (name == "cpuset" and not (value.get("cpus") or value.get("mems"))):
            yield name, value, module(name)


def writes(resources: Mapping[str, Any], version: int) -> Iterator[tuple[str, list[Write], str]]:
    """Controller, writes and a warning for each controller that has to be written to."""
    for name, value, handler in _set(resources):
        function = getattr(handler, f"v{version}", None)
        found = function(value) if function else []
        warning = handler.warning(value) if name == "memory" else ""
        if found or warning:
            yield name, found, warning


def problems(
    resources: Mapping[str, Any], layout: Layout, host: Host, prefix: str = "linux.resources."
) -> Iterator[Problem]:
    """What is wrong with linux.resources on this machine, before anything is done."""
    version = layout.version
    for name, value, handler in _set(resources):
        wrong = list(handler.problems(value, version))
        for path, message in wrong:
            yield Problem(f"{prefix}{path}", message)
        if wrong:
            continue
        function = getattr(handler, f"v{version}", None)
        if not function or not function(value):
            continue
        if layout.hierarchy(name) is None and name != "unified":
            yield Problem(f"{prefix}{key_of(name)}", cannot_limit(name))
        elif name == "hugetlb":
            for path, message in handler.host_problems(value, host):
                yield Problem(f"{prefix}{path}", message)


def key_of(controller: str) -> str:
    """The key of linux.resources that a controller's limits stand under."""
    return next(key for key, name in _CONTROLLERS if name == controller)


def cannot_limit(controller: str) -> str:
    """runc's text about limits of a controller that is not mounted, or in whose hierarchy no cgroup could be made."""
    return f"cannot set {controller} limit: container could not join or create cgroup"


def steps(
    resources: Mapping[str, Any],
    folders: Mapping[str, str],
    version: int,
    kind: type[WriteCgroup] = WriteCgroup,
) -> Iterator[WriteCgroup]:
    """A step for each controller that has to be written to. folders: by controller.

    Raises OcifwError when the container has no cgroup of a controller.
    """
    for name, found, warning in writes(resources, version):
        folder = folders.get("" if version == 2 else name)
        if folder is None:
            if not found:
                continue
            raise OcifwError(cannot_limit(name))
        yield kind(folder, name, tuple(found), warning, at=f"linux.resources.{key_of(name)}")


def update_steps(
    resources: Mapping[str, Any],
    stored: Mapping[str, Any],
    folders: Mapping[str, str],
    version: int,
) -> Iterator[RuntimeStep]:
    """The steps of `update`: what `resources` sets, never devices.

    stored: the container's linux.resources so far. v2 has quota and period in one file, in which a period cannot be
    written alone: the quota is then the stored one.
    """
    changed = {key: value for key, value in resources.items() if key != "devices"}
    cpu = changed.get("cpu") or {}
    if version == 2 and cpu.get("period") and not cpu.get("quota"):
        changed["cpu"] = {**cpu, "quota": (stored.get("cpu") or {}).get("quota") or 0}
    memory = changed.get("memory") or {}
    limit = memory.get("limit") or 0
    if version == 2 and memory.get("checkBeforeUpdate") and limit > 0:
        yield module("memory").CheckUsage(folders[""], limit, at="memory.checkBeforeUpdate")
    yield from steps(changed, folders, version, UpdateCgroup)
