"""Control groups: made before the container process, joined by it first of all, removed with the container."""

from __future__ import annotations

from ocifw import hookimpl
from ocifw.steps import Clone, JoinCgroup

from . import planning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from typing import Any

    from ocifw.container import Container
    from ocifw.context import Host, Request
    from ocifw.errors import Problem
    from ocifw.step import ContainerStep, RuntimeStep

    from .oom import OomEventsV1, OomEventsV2

owns = ("linux.cgroupsPath", "linux.resources")
always = True


@hookimpl
def ocifw_settings_schema() -> Mapping[str, Any]:
    return {"type": "object", "additionalProperties": False}


@hookimpl
def ocifw_validate(config: dict[str, Any], request: Request, host: Host) -> Iterable[Problem]:
    if not request.is_exec:
        yield from planning.problems(config, request, host)


@hookimpl
def ocifw_prepare(config: dict[str, Any], request: Request, host: Host) -> Iterable[RuntimeStep]:
    if not request.is_exec:
        yield from planning.create(config, request, host)


@hookimpl(wrapper=True)
def ocifw_clone(
    config: dict[str, Any], request: Request, host: Host
) -> Generator[None, list[ContainerStep] | None, list[ContainerStep]]:
    found = yield
    joins = [JoinCgroup(path, at=at) for path, at in planning.joined(config, request, host)]
    return [*joins, *(found or [Clone()])]


@hookimpl
def ocifw_attach(config: dict[str, Any], request: Request, host: Host) -> Iterable[RuntimeStep]:
    if not request.is_exec:
        yield from planning.after_clone(config, request, host)


@hookimpl
def ocifw_mount(
    mount: dict[str, Any], index: int, config: dict[str, Any], request: Request, host: Host
) -> list[ContainerStep] | None:
    from . import hierarchies, mounts

    if not mounts.is_cgroup(mount):
        return None
    layout = hierarchies.layout(host)
    folders = planning.placed(config, request, host)[1]
    return mounts.steps(mount, f"mounts[{index}]", config, layout, folders)


@hookimpl
def ocifw_pause(container: Container) -> Iterable[RuntimeStep]:
    from .controllers.freezer import Freeze

    yield Freeze(planning.freezer(container))


@hookimpl
def ocifw_resume(container: Container) -> Iterable[RuntimeStep]:
    from .controllers.freezer import Thaw

    yield Thaw(planning.freezer(container))


@hookimpl
def ocifw_kill_all(container: Container, signal: int) -> Iterable[RuntimeStep]:
    from .kill import KillCgroup

    folders = planning.noted(container)
    for folder in container.notes.get("processes") or ():
        if folder:
            file = (container.notes.get("freezer") or {}).get("file", "")
            yield KillCgroup(folder, signal, file, unified=set(folders) == {""})


@hookimpl
def ocifw_update(
    container: Container, resources: dict[str, Any], host: Host
) -> Iterable[RuntimeStep]:
    yield from planning.update(container, resources, host)


@hookimpl
def ocifw_processes(container: Container) -> list[int] | None:
    from .processes import pids

    counted = [folder for folder in container.notes.get("processes") or () if folder]
    return pids(counted[0]) if counted else None


@hookimpl
def ocifw_stats(container: Container) -> Mapping[str, Any] | None:
    from .stats import stats

    return stats(planning.noted(container))


@hookimpl
def ocifw_oom(container: Container) -> OomEventsV1 | OomEventsV2 | None:
    from .oom import watch

    return watch(planning.noted(container))


@hookimpl
def ocifw_features() -> Mapping[str, Any]:
    return {
        "linux": {
            "cgroup": {
                "v1": True,
                "v2": True,
                "systemd": True,
                "systemdUser": True,
                "rdma": True,
            }
        },
        # They become properties of the systemd unit.
        "potentiallyUnsafeConfigAnnotations": ["org.systemd.property."],
    }
