"""ocifw-mounts: the root filesystem, its mounts and devices, and how the container enters it."""

from __future__ import annotations

from ocifw import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from ocifw.context import Host, Request
    from ocifw.errors import Problem
    from ocifw.steps import ContainerStep, RuntimeStep

    Config = dict[str, Any]

owns = (
    "root",
    "mounts",
    "linux.devices",
    "linux.rootfsPropagation",
    "linux.maskedPaths",
    "linux.readonlyPaths",
)
always = True

# What hooks need is imported when they are called: `exec` asks, too, and has nothing to do here.


@hookimpl
def ocifw_validate(config: Config, request: Request, host: Host) -> Iterable[Problem] | None:
    if request.is_exec:
        return None
    from .check import problems

    return problems(config, request, host)


@hookimpl
def ocifw_prepare(config: Config, request: Request) -> Iterable[RuntimeStep] | None:
    if request.is_exec:
        return None
    from .mounts import open_steps

    return open_steps(config, request)


@hookimpl(trylast=True)
def ocifw_mount(
    mount: Config, index: int, config: Config, request: Request
) -> list[ContainerStep] | None:
    from .mounts import mount_steps

    return mount_steps(mount, index, config, request)


@hookimpl(tryfirst=True)
def ocifw_rootfs(
    config: Config, request: Request, host: Host, mounts: Sequence[Sequence[ContainerStep]]
) -> Iterable[ContainerStep]:
    from .root import rootfs_steps

    return rootfs_steps(config, request, host, mounts)


@hookimpl
def ocifw_pivot_root(config: Config, request: Request) -> list[ContainerStep]:
    from .root import enter_steps

    return enter_steps(config, request)


@hookimpl
def ocifw_finalize(config: Config, request: Request) -> Iterable[ContainerStep] | None:
    if request.is_exec:
        return None
    from .root import finalize_steps

    return finalize_steps(config, request)


@hookimpl
def ocifw_features() -> Mapping[str, Any]:
    from .options import OPTIONS

    return {
        "mountOptions": sorted(OPTIONS),
        "linux": {"mountExtensions": {"idmap": {"enabled": True}}},
    }
