"""What of a container is not its own, and is named in the images instead of dumped: bind mounts, namespaces, stdio."""

from __future__ import annotations

import os
from os.path import normpath

from ocifw.linux.openat2 import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

KEYS = {"network": "extRootNetNS", "pid": "extRootPidNS"}
"""The names that runc gives to namespaces joined by path, so that either runtime can restore what the other dumped."""

CGROUPS = ("cgroup", "cgroup2")

FILES = {"network": "net", "pid": "pid", "ipc": "ipc", "uts": "uts", "time": "time"}


def binds(config: dict[str, Any], bundle: str) -> Iterator[tuple[str, str]]:
    """Destination and source of each bind mount of the config, both absolute."""
    for mount in config.get("mounts") or ():
        options = mount.get("options") or ()
        if mount.get("type") == "bind" or "bind" in options or "rbind" in options:
            source = os.path.join(bundle, mount.get("source") or "")
            yield normpath("/" + mount["destination"].lstrip("/")), source


def joined(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Type and path of each namespace that the container joined."""
    for namespace in (config.get("linux") or {}).get("namespaces") or ():
        if namespace.get("path"):
            yield namespace["type"], namespace["path"]


def mounted(pid: int) -> list[tuple[int, str, str, str]]:
    """Of each mount of a process: its id, root, mount point and filesystem type (proc_pid_mountinfo(5))."""
    rows = []
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split()
            kind = fields[fields.index("-") + 1]
            rows.append((int(fields[0]), _plain(fields[3]), _plain(fields[4]), kind))
    return rows


def _plain(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def dumped_mounts(config: dict[str, Any], bundle: str, pid: int) -> list[tuple[str, str]]:
    """Mount point in the container and name in the images, of each mount that CRIU must not look into.

    A bind mount's name is its destination in the config, as with runc; its mount point may be another, behind symbolic
    links of the image. What is a single device of the host (masked files, devices of a user namespace) has that
    device's name. Without a cgroup namespace CRIU cannot mount the container's cgroups, which then are bound, too.
    """
    found: dict[str, str] = {}
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for destination, _ in binds(config, bundle):
            found[_resolved(root, destination)] = destination
    finally:
        os.close(root)
    shares_cgroups = not _has_own_cgroups(config)
    for _, inner, point, kind in mounted(pid):
        if kind == "devtmpfs" and inner.count("/") == 1 and len(inner) > 1:
            found.setdefault(point, f"/dev{inner}")
        elif kind in CGROUPS and shares_cgroups:
            found.setdefault(point, point)
    return list(found.items())


def _has_own_cgroups(config: dict[str, Any]) -> bool:
    namespaces = (config.get("linux") or {}).get("namespaces") or ()
    return any(namespace["type"] == "cgroup" for namespace in namespaces)


def restored_cgroups(
    config: dict[str, Any], folders: dict[str, str], pid: int
) -> list[tuple[str, str]]:
    """Name in the images and folder on this host, of each cgroup that is bound into a container without a cgroup namespace.

    folders: the container's cgroup for each controller. pid: of a process in the host's mount namespace.
    """
    if _has_own_cgroups(config):
        return []
    points = [
        normpath("/" + mount["destination"].lstrip("/"))
        for mount in config.get("mounts") or ()
        if mount.get("type") in CGROUPS
    ]
    found = {}
    for _, _, mountpoint, kind in mounted(pid) if points else ():
        for folder in folders.values():
            if kind in CGROUPS and folder.startswith(f"{mountpoint}/"):
                for point in points:
                    found[f"{point}/{os.path.basename(mountpoint)}"] = folder
                    if kind == "cgroup2":
                        found[point] = folder
    return list(found.items())


def _resolved(root: int, path: str) -> str:
    """Where a path of the container leads to, as its mount namespace names it."""
    try:
        fd = open_in_root(root, path, os.O_PATH)
    except OSError:
        return path
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def restored_mounts(config: dict[str, Any], bundle: str) -> list[tuple[str, str]]:
    """Name in the images and source on this host, of each mount that was named when it was dumped.

    CRIU does not follow a symbolic link that it is to bind, mount(2) does: it gets what the link leads to.
    """
    found = {name: os.path.realpath(source) for name, source in binds(config, bundle)}
    linux = config.get("linux") or {}
    devices = [device["path"] for device in linux.get("devices") or ()]
    usual = ["null", "zero", "full", "random", "urandom", "tty"]
    for path in [*[f"/dev/{name}" for name in usual], *devices]:
        if os.path.exists(path):
            found.setdefault(path, path)
    return list(found.items())


def standard_files(pid: int) -> list[str]:
    """What file descriptors 0 to 2 of a process are, as links tell: runc's descriptors.json."""
    links = []
    for fd in range(3):
        try:
            links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            links.append("")
    return links


def foreign_files(pid: int) -> list[str]:
    """For each of file descriptors 0 to 2 that is a file of no mount of the container: `file[MOUNT:INODE]`, else "".

    Such a file came from who started the container, and is given anew at restore, as a pipe is.
    """
    own = {row[0] for row in mounted(pid)}
    found = []
    for fd in range(3):
        name = ""
        try:
            info = os.stat(f"/proc/{pid}/fd/{fd}")
            mount = _mount_id(pid, fd)
        except OSError:
            found.append("")
            continue
        link = os.readlink(f"/proc/{pid}/fd/{fd}")
        if mount not in own and link.startswith("/"):
            name = f"file[{mount:x}:{info.st_ino:x}]"
        found.append(name)
    return found


def _mount_id(pid: int, fd: int) -> int:
    with open(f"/proc/{pid}/fdinfo/{fd}", "rb") as file:
        for line in file:
            if line.startswith(b"mnt_id:"):
                return int(line.split()[1])
    return -1


def namespace_inode(path: str) -> int:
    """The number by which the kernel names a namespace. OSError: no such file."""
    return os.stat(path).st_ino
