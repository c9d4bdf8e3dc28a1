"""What the hooks answer for a container whose cgroup systemd makes."""

from __future__ import annotations

from ocifw.errors import OcifwError, Problem
from ocifw_cgroups.controllers.devices import rules_of

from . import properties
from .names import Unit, unit_of
from .steps import CreateUnit, EndPlaceholder, UpdateUnit
from .variants import annotated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from ocifw.context import Host, Request
    from ocifw.step import RuntimeStep
    from ocifw_cgroups.hierarchies import Hierarchy, Layout

    from .properties import Row

rounded = properties.rounded


def problems(
    config: dict[str, Any], request: Request, host: Host, layout: Layout
) -> Iterator[Problem]:
    """Why systemd cannot make this container's cgroup."""
    if not host.exists("/run/systemd/system"):
        yield Problem("", "--systemd-cgroup: this machine does not run systemd")
        return
    if request.rootless and not layout.unified:
        yield Problem("", "--systemd-cgroup: without privileges it takes cgroup v2")
        return
    own = layout.hierarchies[0].own
    if request.rootless and own.strip("/") and "/user@" not in own:
        # Whoever moves a process must be allowed to write to the closest cgroup above both places (cgroups(7), delegation).
        yield Problem(
            "",
            f"--systemd-cgroup: this command is in the cgroup {own}, outside of user@UID.service, from where only root may"
            " move a process into a user's scope: start it by `systemd-run --user --scope`",
        )
        return
    path = (config.get("linux") or {}).get("cgroupsPath") or ""
    try:
        unit_of(path, request.id, request.rootless)
    except OcifwError as error:
        yield Problem("linux.cgroupsPath", str(error))
    try:
        list(annotated(config.get("annotations") or {}))
    except OcifwError as error:
        yield Problem("annotations", str(error).removeprefix("annotation "))


def folders(path: str, request: Request, host: Host, layout: Layout) -> list[tuple[Hierarchy, str]]:
    """Each hierarchy with the folder of the container's unit in it; where systemd makes none, the runtime does."""
    unit = unit_of(path, request.id, request.rootless)
    found = []
    for hierarchy in layout.hierarchies:
        root = _user_root(host, hierarchy) if request.rootless else _root(host, hierarchy)
        found.append((hierarchy, f"{hierarchy.mountpoint.rstrip('/')}{root}{unit.path}"))
    return found


def _root(host: Host, hierarchy: Hierarchy) -> str:
    """The cgroup below which pid 1 makes its units: "" unless it runs in a container itself."""
    try:
        lines = host.read("/proc/1/cgroup").decode("utf-8", "surrogateescape").split("\n")
    except FileNotFoundError:
        return ""
    for line in lines:
        _, names, path = line.split(":", 2) if line.count(":") >= 2 else ("", None, "")
        if names is not None and names.split(",")[0] == hierarchy.controllers[0]:
            return path.removesuffix("/init.scope").rstrip("/")
    return ""


def _user_root(host: Host, hierarchy: Hierarchy) -> str:
    """The cgroup of the user's systemd: the runtime is usually below it; if not, it is asked."""
    name = f"/user@{host.euid}.service"
    before, found, after = hierarchy.own.partition(name)
    if found and (not after or after.startswith("/")):
        return before + found
    from .bus import Manager

    with Manager(user=True) as manager:
        return manager.control_group()


def create(
    config: dict[str, Any],
    limits: Mapping[str, Any],
    request: Request,
    version: int,
    rows: tuple[tuple[str, str, str], ...],
    made: Mapping[str, Any],
) -> CreateUnit:
    """The step that makes the unit. rows, made: the arguments of CreateCgroup."""
    unit = _unit(config, request)
    wanted: list[Row] = [*properties.unit_properties(unit, request.id, version)]
    if not request.rootless:
        rules = rules_of(limits.get("devices") or (), request.compat)
        wanted += properties.devices(rules.allow, rules.lines())
    wanted += properties.limits(limits, version)
    wanted += [(*row, 0) for row in annotated(config.get("annotations") or {})]
    return CreateUnit(rows, unit=unit.name, properties=tuple(wanted), user=request.rootless, **made)


def _unit(config: dict[str, Any], request: Request) -> Unit:
    path = (config.get("linux") or {}).get("cgroupsPath") or ""
    return unit_of(path, request.id, request.rootless)


def after_clone(
    config: dict[str, Any], request: Request, tight: Mapping[str, Any], version: int
) -> Iterator[RuntimeStep]:
    """The end of the placeholder; then limits that left no room for it."""
    unit = _unit(config, request)
    if not unit.is_slice:
        yield EndPlaceholder(unit.name)
    rows = tuple(properties.limits(tight, version))
    if rows:
        yield UpdateUnit(unit.name, rows, rows, request.rootless)


def completed(changes: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """The changes with both quota and period when one of them changes: systemd's quota is their quotient."""
    cpu, old = changes.get("cpu") or {}, stored.get("cpu") or {}
    if not cpu.get("quota") and not cpu.get("period"):
        return dict(changes)
    both = {key: cpu.get(key) or old.get(key) or 0 for key in ("quota", "period")}
    return {**changes, "cpu": {**cpu, **both}}


def update(
    note: Mapping[str, Any], changes: Mapping[str, Any], stored: Mapping[str, Any], version: int
) -> UpdateUnit | None:
    """The step that changes the unit's properties; None when systemd knows none of the changes."""
    rows = tuple(properties.limits(changes, version))
    if not rows:
        return None
    old = tuple(properties.before(rows, properties.limits(stored, version)))
    return UpdateUnit(note["unit"], rows, old, bool(note["user"]))
