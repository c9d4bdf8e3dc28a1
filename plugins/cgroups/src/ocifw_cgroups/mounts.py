"""The container's own view of its cgroups: mounts of type `cgroup`, as runc makes them.

On v1 a tmpfs with a folder for each hierarchy and links for controllers that share one. With a cgroup namespace the
hierarchies are mounted, whose root is then the container's cgroup; without, the container's folders are bound, so that
nothing above them can be seen. On a hybrid host the v2 hierarchy is not shown. On v2 it is the hierarchy itself with a
cgroup namespace, and without the container's folder.
"""

from __future__ import annotations

from ocifw.linux.mount import (
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
)
from ocifw.steps import Bind, ContainerStep, Mount, SetPropagation, Symlink

from .hierarchies import UNIFIED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .hierarchies import Hierarchy, Layout

_SET = {
    "ro": MOUNT_ATTR_RDONLY,
    "nosuid": MOUNT_ATTR_NOSUID,
    "nodev": MOUNT_ATTR_NODEV,
    "noexec": MOUNT_ATTR_NOEXEC,
    "nodiratime": MOUNT_ATTR_NODIRATIME,
    "nosymfollow": MOUNT_ATTR_NOSYMFOLLOW,
    "noatime": MOUNT_ATTR_NOATIME,
    "strictatime": MOUNT_ATTR_STRICTATIME,
}
_CLEAR = {
    "rw": MOUNT_ATTR_RDONLY,
    "suid": MOUNT_ATTR_NOSUID,
    "dev": MOUNT_ATTR_NODEV,
    "exec": MOUNT_ATTR_NOEXEC,
    "diratime": MOUNT_ATTR_NODIRATIME,
    "symfollow": MOUNT_ATTR_NOSYMFOLLOW,
    "atime": MOUNT_ATTR_NOATIME,
    "relatime": MOUNT_ATTR__ATIME,
}
_PROPAGATION = {
    "shared": MS_SHARED,
    "slave": MS_SLAVE,
    "private": MS_PRIVATE,
    "unbindable": MS_UNBINDABLE,
}
_IN_TMPFS = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC


def is_cgroup(mount: dict[str, Any]) -> bool:
    """Whether this is a mount of type `cgroup`; with the option bind or rbind the type means nothing."""
    options = mount.get("options") or ()
    return mount.get("type") == "cgroup" and "bind" not in options and "rbind" not in options


def attributes(options: list[str]) -> tuple[int, list[int]]:
    """The MOUNT_ATTR_* flags of a mount's options, and its propagation. Filesystem options are of no use here."""
    flags, propagation = 0, []
    for option in options:
        flags = flags & ~_CLEAR.get(option, 0) | _SET.get(option, 0)
        name = option[1:] if option[:1] == "r" and option[1:] in _PROPAGATION else option
        if name in _PROPAGATION:
            propagation.append(_PROPAGATION[name] | (MS_REC if name != option else 0))
    return flags, propagation


def steps(
    mount: dict[str, Any],
    at: str,
    config: dict[str, Any],
    layout: Layout,
    folders: list[tuple[Hierarchy, str]],
) -> list[ContainerStep]:
    """The steps that make one mount of type `cgroup`. folders: the container's, by hierarchy."""
    target = mount["destination"]
    flags, propagation = attributes(mount.get("options") or [])
    namespaces = [one["type"] for one in (config.get("linux") or {}).get("namespaces") or ()]
    made: list[ContainerStep] = []
    if layout.unified:
        if "cgroup" in namespaces:
            made.append(Mount("cgroup2", "cgroup", target, attributes=flags, at=at))
        else:
            root = layout.hierarchies[0]
            folder = folders[0][1] if folders else f"{root.mountpoint}{root.own}".rstrip("/")
            made.append(_bind(folder, target, flags, at))
        return made + [SetPropagation(target, one, at=at) for one in propagation]
    made.append(Mount("tmpfs", "tmpfs", target, attributes=_IN_TMPFS, options="mode=755", at=at))
    made += [SetPropagation(target, one, at=at) for one in propagation]
    for hierarchy, folder in folders:
        if hierarchy.controllers == (UNIFIED,):
            continue
        name = hierarchy.mountpoint.rpartition("/")[2]
        inside = f"{target.rstrip('/')}/{name}"
        if "cgroup" in namespaces:
            made.append(_mount_v1(hierarchy, inside, flags, at))
        else:
            made.append(_bind(folder, inside, flags, at))
        for controller in hierarchy.controllers:
            if len(hierarchy.controllers) > 1 and controller != name:
                made.append(Symlink(name, f"{target.rstrip('/')}/{controller}", at=at))
    return made


def _bind(source: str, target: str, flags: int, at: str) -> Bind:
    clear = MOUNT_ATTR__ATIME if flags & MOUNT_ATTR__ATIME else 0
    return Bind(source, target, recursive=False, set=flags, clear=clear, at=at)


def _mount_v1(hierarchy: Hierarchy, target: str, flags: int, at: str) -> Mount:
    from .controllers.named import is_named, mount_source

    options = ",".join(hierarchy.controllers)
    source = "cgroup"
    if is_named(options):
        # `none` says that no controller is wanted: without it the kernel would take all that are free.
        source, options = mount_source(options), f"none,{options}"
    return Mount("cgroup", source, target, attributes=flags, options=options, at=at)
