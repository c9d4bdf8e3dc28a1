"""The steps of one entry of `mounts`, and what the rest of the plugin wants to know about it."""

from __future__ import annotations

from os.path import normpath

from ocifw.linux.mount import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_RDONLY,
)
from ocifw.steps import Bind, Mount, Remount, SetAttributes, SetPropagation

from .options import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Request
    from ocifw.steps import ContainerStep, RuntimeStep

    from .options import MountOptions

    Config = dict[str, Any]

CGROUPS = ("cgroup", "cgroup2")
_REAL_DIRECTORY = ("proc", "sysfs")


# ---- the steps -----------------------------------------------------------------------------------------------------


def mount_steps(
    mount: Config, index: int, config: Config, request: Request
) -> list[ContainerStep] | None:
    """The steps that mount `mounts[index]`; None for cgroups, which are another plugin's."""
    options = parse(mount.get("options") or ())
    target = clean(mount["destination"])
    kind = mount.get("type") or ""
    at = f"mounts[{index}]"
    step: ContainerStep
    if is_bind(mount, options):
        if options.remount:
            step = SetAttributes(target, options.set, options.clear, at=at)
        else:
            step = _bind(mount, index, options, target, request, at)
    elif options.remount:
        step = Remount(target, options.mount_flags(), options.data, at=at)
    elif kind in CGROUPS:
        return None
    elif kind == "sysfs" and not may_mount_sysfs(config):
        step = _sysfs_of_host(options, target, at)
    else:
        step = _mount(mount, kind, options, target, at)
    return [step, *[SetPropagation(target, flags, at=at) for flags in options.propagation]]


def open_steps(config: Config, request: Request) -> list[RuntimeStep]:
    """The steps that open the sources of id-mapped mounts, before the container process exists."""
    mounts = config.get("mounts") or ()
    found = [
        index
        for index, mount in enumerate(mounts)
        if is_idmapped(mount, parse(mount.get("options") or ()))
    ]
    if not found:
        return []
    from .idmapping import open_step

    return [open_step(mounts[index], index, config, request) for index in found]


def _bind(
    mount: Config, index: int, options: MountOptions, target: str, request: Request, at: str
) -> Bind:
    return Bind(
        bind_source(mount, request),
        target,
        recursive=options.bind == "rbind",
        set=options.set,
        clear=options.clear,
        all_set=options.all_set,
        all_clear=options.all_clear,
        tree=tree_slot(index) if is_idmapped(mount, options) else "",
        real_directory=target == "/proc",
        at=at,
    )


def _mount(mount: Config, kind: str, options: MountOptions, target: str, at: str) -> Mount:
    attributes, superblock, all_set = options.set, options.superblock, options.all_set
    if is_late(kind, target):
        attributes &= ~MOUNT_ATTR_RDONLY
        all_set &= ~MOUNT_ATTR_RDONLY
    elif attributes & MOUNT_ATTR_RDONLY:
        # As mount(2) does: the filesystem, too, so that nobody makes it writable by a mount of it elsewhere.
        superblock |= MS_RDONLY
    tmpfs = kind == "tmpfs"
    return Mount(
        kind,
        mount.get("source") or "",
        target,
        superblock,
        attributes,
        options.data,
        all_set,
        options.all_clear,
        copy_mode=tmpfs,
        copy_up=tmpfs and options.copy_up,
        real_directory=kind in _REAL_DIRECTORY,
        at=at,
    )


def _sysfs_of_host(options: MountOptions, target: str, at: str) -> Bind:
    """The host's /sys in place of one of the container's own, read-only with everything below it (CVE-2023-25809)."""
    safe = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
    return Bind(
        "/sys",
        target,
        all_set=safe | options.set | options.all_set,
        real_directory=True,
        at=at,
    )


# ---- what is so ----------------------------------------------------------------------------------------------------


def clean(path: str) -> str:
    """The path in the container's root, absolute and without `.`, `..` and repeated slashes.

    `..` is taken away by name, as runc does; what is left is resolved inside the rootfs when the step runs.
    """
    if path[:1] != "/" or path[-1] == "/" or "/." in path or "//" in path:
        return normpath("/" + path.lstrip("/"))
    return path


def is_bind(mount: Config, options: MountOptions) -> bool:
    """Whether it is a bind: by its options, whatever the type is (config.md, Mounts); or the type says so."""
    return bool(options.bind) or mount.get("type") == "bind"


def bind_source(mount: Config, request: Request) -> str:
    """The absolute path of a bind's source; a relative one is in the bundle."""
    source = mount.get("source") or ""
    return source if source[:1] == "/" else f"{request.bundle}/{source}"


def is_idmapped(mount: Config, options: MountOptions) -> bool:
    """Whether the mount's ids are to be mapped, by its own mappings or by the user namespace's."""
    return bool(options.idmap or mount.get("uidMappings") or mount.get("gidMappings"))


def tree_slot(index: int) -> str:
    """The slot of the detached tree that is bound for an id-mapped `mounts[index]`."""
    return f"mount:{index}"


def is_late(kind: str, target: str) -> bool:
    """Whether a mount becomes read-only only in the end: devices, or other mounts' targets, are still made in it."""
    return kind == "tmpfs" or target == "/dev"


def namespace(config: Config, kind: str) -> Config | None:
    """The entry of linux.namespaces of this type; None when the runtime's own is inherited."""
    for entry in (config.get("linux") or {}).get("namespaces") or ():
        if entry["type"] == kind:
            found: Config = entry
            return found
    return None


def has_own_mounts(config: Config) -> bool:
    """Whether the container gets a new mount namespace: in no other may anything be mounted or unmounted."""
    entry = namespace(config, "mount")
    return entry is not None and not entry.get("path")


def may_mount_sysfs(config: Config) -> bool:
    """Whether the kernel lets the container mount sysfs: its user namespace must own its network namespace.

    A new user namespace owns no network namespace that was there before it.
    """
    user = namespace(config, "user")
    if user is None or user.get("path"):
        return True
    network = namespace(config, "network")
    return network is not None and not network.get("path")
