"""What the hooks answer: from config.json and the machine's hierarchies to steps."""

from __future__ import annotations

from ocifw.errors import ConfigError, OcifwError, Problem

from . import hierarchies, placement, resources
from .create import CreateCgroup
from .hierarchies import UNIFIED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from ocifw.container import Container
    from ocifw.context import Host, Request
    from ocifw.step import RuntimeStep

    from .hierarchies import Hierarchy, Layout

_PATH_AT = "linux.cgroupsPath"
_DOMAIN = ("memory", "blockIO", "hugepageLimits", "rdma", "unified")


def problems(config: dict[str, Any], request: Request, host: Host) -> Iterator[Problem]:
    """What is wrong with linux.cgroupsPath and linux.resources on this machine."""
    linux = config.get("linux") or {}
    limits = linux.get("resources") or {}
    if request.no_cgroup:
        for key in limits:
            if limits[key] and key != "devices":
                host.warn(f"linux.resources.{key} has no effect: --cgroup-manager is disabled")
        return
    layout = _layout(limits, request, host)
    if layout is None:
        return
    path = linux.get("cgroupsPath") or ""
    if request.systemd_cgroup:
        from .systemd import planning as systemd

        wrong = list(systemd.problems(config, request, host, layout))
        if wrong:
            yield from wrong
            return
    elif path and not placement.clean(path).strip("/"):
        yield Problem(_PATH_AT, f"{path!r} is the root cgroup, not one of the container")
        return
    yield from resources.problems(limits, layout, host)
    yield from _device_problems(limits, layout, host)
    if request.rootless and not path and not request.systemd_cgroup:
        yield from _unlimited(limits, layout, placed(config, request, host)[1])


def _layout(limits: Mapping[str, Any], request: Request, host: Host) -> Layout | None:
    """The mounted hierarchies. None: there are none, and without privileges none is needed.

    Raises OcifwError when there are none and that is not to be tolerated.
    """
    try:
        return hierarchies.layout(host)
    except OcifwError:
        if request.rootless and not set(limits).difference({"devices"}):
            return None
        raise


def _device_problems(limits: Mapping[str, Any], layout: Layout, host: Host) -> Iterator[Problem]:
    from .controllers import devices

    rules = limits.get("devices") or ()
    wrong = list(devices.problems(rules, layout.version))
    for path, message in wrong:
        yield Problem(f"linux.resources.{path}", message)
    if wrong or host.in_user_namespace or devices.is_open(rules):
        return
    if layout.hierarchy("devices") is None:
        yield Problem("linux.resources.devices", resources.cannot_limit("devices"))


def _unlimited(
    limits: Mapping[str, Any], layout: Layout, placed: list[tuple[Hierarchy, str]]
) -> Iterator[Problem]:
    """Limits of controllers in whose hierarchy a caller without privileges cannot make a cgroup."""
    folders = placement.by_controller(placed)
    for name, writes, _ in resources.writes(limits, layout.version):
        if writes and (UNIFIED if layout.unified else name) not in folders:
            yield Problem(f"linux.resources.{resources.key_of(name)}", resources.cannot_limit(name))


def placed(
    config: dict[str, Any], request: Request, host: Host
) -> tuple[int, list[tuple[Hierarchy, str]]]:
    """The version of cgroups, and the hierarchies in which the container gets a cgroup, with its folder."""
    linux = config.get("linux") or {}
    if request.no_cgroup:
        return 1, []
    layout = _layout(linux.get("resources") or {}, request, host)
    if layout is None:
        return 1, []
    path = linux.get("cgroupsPath") or ""
    if request.systemd_cgroup:
        from .systemd import planning as systemd

        return layout.version, systemd.folders(path, request, host, layout)
    found = placement.folders(layout, path, request.id, request.rootless)
    return layout.version, found


def create(config: dict[str, Any], request: Request, host: Host) -> Iterator[RuntimeStep]:
    """The cgroup in every hierarchy, then its limits, before anything runs in it."""
    version, found = placed(config, request, host)
    if not found:
        return
    linux = config.get("linux") or {}
    limits = dict(linux.get("resources") or {})
    rows = tuple([(",".join(h.controllers), h.mountpoint, folder) for h, folder in found])
    made: dict[str, Any] = {"at": _PATH_AT if linux.get("cgroupsPath") else ""}
    if version == 1:
        cpu = limits.get("cpu") or {}
        cpus, mems = (cpu.get("cpus") or "").strip(), (cpu.get("mems") or "").strip()
        made.update(cpus=cpus, mems=mems)
        if cpus or mems:
            # A v1 cpuset is written while it is made: it has to be complete before anybody can join.
            limits["cpu"] = {**cpu, "cpus": "", "mems": ""}
    else:
        made.update(domain=any(map(limits.get, _DOMAIN)))
    if _tight_pids(limits, request):
        limits["pids"] = None
    if request.systemd_cgroup:
        from .systemd import planning as systemd

        yield systemd.create(config, limits, request, version, rows, made)
        limits = systemd.rounded(limits)
    else:
        yield CreateCgroup(rows, **made)
    folders = placement.by_controller(found)
    if version == 2 and host.euid == 0 and config.get("mounts"):
        from .delegation import OwnCgroup, owner

        uid = owner(config)
        if uid:
            yield OwnCgroup(folders[UNIFIED], uid, at="mounts")
    yield from resources.steps(limits, folders, version)
    folder = folders.get("devices" if version == 1 else UNIFIED)
    if folder and not host.in_user_namespace and host.euid == 0:
        rules = limits.get("devices") or ()
        yield _restrict_devices(folder, rules, version, request.compat)


def _restrict_devices(
    folder: str, devices: Iterable[dict[str, Any]], version: int, compat: str
) -> RuntimeStep:
    """The step that restricts devices: by files on v1, by a program on v2."""
    from .controllers.devices import SetDevices, rules_of

    rules, at = rules_of(devices, compat), "linux.resources.devices"
    if version == 1:
        return SetDevices(folder, rules.allow, rules.lines(), at=at)
    from .device_filter import SetDeviceFilter

    return SetDeviceFilter(folder, rules.allow, rules.lines(), at=at)


def _tight_pids(limits: Mapping[str, Any], request: Request) -> bool:
    if not limits.get("pids"):
        return False
    from .controllers.pids import is_tight

    return is_tight(limits["pids"], others=int(request.systemd_cgroup))


def after_clone(config: dict[str, Any], request: Request, host: Host) -> Iterator[RuntimeStep]:
    """A limit of processes that leaves no room for making the container process, once it is made."""
    limits = (config.get("linux") or {}).get("resources") or {}
    tight = {"pids": limits["pids"]} if _tight_pids(limits, request) else {}
    if not tight and not request.systemd_cgroup:
        return
    version, found = placed(config, request, host)
    if found and request.systemd_cgroup:
        from .systemd import planning as systemd

        yield from systemd.after_clone(config, request, tight, version)
    yield from resources.steps(tight, placement.by_controller(found), version)


def joined(config: dict[str, Any], request: Request, host: Host) -> Iterator[tuple[str, str]]:
    """The files by which the process joins its cgroups, and what in config.json put them there.

    Of `exec`: where the container was made, not where config.json would put it by now.
    """
    if request.container is None or not request.is_exec:
        at = _PATH_AT if (config.get("linux") or {}).get("cgroupsPath") else ""
        folders = placement.by_controller(placed(config, request, host)[1])
    else:
        at = ""
        folders = placement.sub_cgroups(noted(request.container), request.cgroup)
        if UNIFIED in folders and not request.cgroup:
            folders[UNIFIED] = _v2_of_init(folders[UNIFIED], request.container.pid, host)
    for path in placement.join_files(folders):
        yield path, at


def _v2_of_init(folder: str, pid: int, host: Host) -> str:
    """Where `exec` can join on v2: the container's cgroup, or that of its first process, below it.

    A container that runs an init of its own moves itself down and enables controllers: then no process may be in the
    container's cgroup itself (EBUSY; cgroups(7), no internal processes).
    """
    try:
        if not host.read(f"{folder}/cgroup.subtree_control").strip():
            return folder
        for line in host.read(f"/proc/{pid}/cgroup").decode("utf-8", "surrogateescape").split("\n"):
            if line.startswith("0::"):
                mountpoint = hierarchies.mountpoint_v2(host)
                current = f"{mountpoint}{placement.clean(line[3:])}"
                return current if current.startswith(f"{folder}/") else folder
    except (FileNotFoundError, ProcessLookupError):
        pass
    return folder


# ---- a container that is there ----------------------------------------------------------------------------------


def noted(container: Container) -> dict[str, str]:
    """The container's cgroups by controller, as CreateCgroup noted them; none for one without cgroups."""
    return dict(container.notes.get("cgroups") or {})


def freezer(container: Container) -> str:
    """The file that tells whether the container is frozen. Raises OcifwError when it cannot be frozen."""
    note = container.notes.get("freezer")
    if not note:
        raise OcifwError("the container cannot be frozen: it has no cgroup with a freezer")
    return str(note["file"])


def update(container: Container, changes: dict[str, Any], host: Host) -> Iterator[RuntimeStep]:
    """The steps of `update`. Raises ConfigError when a value is wrong, OcifwError for a limit without a cgroup."""
    layout = hierarchies.layout(host)
    cpu = changes.get("cpu") or {}
    if cpu.get("idle"):
        # An idle cgroup has no weight: the kernel refuses shares for it.
        changes = {**changes, "cpu": {**cpu, "shares": 0}}
    wrong = list(resources.problems(changes, layout, host, prefix=""))
    if wrong:
        raise ConfigError(wrong)
    stored = (container.config.get("linux") or {}).get("resources") or {}
    files = changes
    if container.notes.get("systemd"):
        from .systemd import planning as systemd

        changes = systemd.completed(changes, stored)
        files = systemd.rounded(changes)
        unit = systemd.update(container.notes["systemd"], changes, stored, layout.version)
    else:
        unit = None
    steps = list(resources.update_steps(files, stored, noted(container), layout.version))
    # What refuses the update comes first, and systemd before the files: it writes them, too, rounded as it likes.
    checks = [step for step in steps if not step.undoable]
    yield from checks
    if unit is not None:
        yield unit
    yield from steps[len(checks) :]
