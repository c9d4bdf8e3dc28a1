"""The steps around the mounts: the rootfs itself, devices and links in /dev, entering the root, closing it."""

from __future__ import annotations

from ocifw.linux.mount import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
)
from ocifw.steps import (
    Bind,
    BindRootfs,
    ChangeRoot,
    MakeDevice,
    MaskPath,
    Mkdir,
    MoveRoot,
    OpenRootfs,
    PivotRoot,
    ReadonlyPath,
    ReopenDevNull,
    SetAttributes,
    SetHostPropagation,
    SetPropagation,
    Symlink,
)

from .mounts import clean, has_own_mounts, is_bind, is_late, namespace
from .options import parse, propagation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from ocifw.context import Host, Request
    from ocifw.steps import ContainerStep

    Config = dict[str, Any]

S_IFIFO = 0o010000
S_IFCHR = 0o020000
S_IFBLK = 0o060000

KINDS = {"c": S_IFCHR, "u": S_IFCHR, "b": S_IFBLK, "p": S_IFIFO}

# config-linux.md, Default Devices. /dev/console is made with the terminal, /dev/ptmx is a link.
DEFAULT_DEVICES = (
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
)

_LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
)
_NOTIFY = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC


def rootfs_steps(
    config: Config, request: Request, host: Host, mounts: Sequence[Sequence[ContainerStep]]
) -> Iterator[ContainerStep]:
    """The rootfs, all mounts, devices and links, in runc's order."""
    own = has_own_mounts(config)
    if own:
        yield SetHostPropagation(host_propagation(config), at=_propagation_at(config))
        yield BindRootfs(request.rootfs, at="root.path")
        for steps in mounts:
            yield from steps
        if request.notify_socket:
            # The folder, not the socket: `start` makes that anew (see its proxy).
            folder = f"{request.state_dir}/notify"
            yield Bind(folder, "/run/notify", recursive=False, set=_NOTIFY)
    else:
        yield OpenRootfs(request.rootfs, at="root.path")
    made = owns_dev(config)
    yield from device_steps(config, bindable=own, dev=made)
    if made:
        yield Symlink("pts/ptmx", "/dev/ptmx", replace=True)
        for target, path in _LINKS:
            yield Symlink(target, path)
        if host.exists("/proc/kcore"):
            yield Symlink("/proc/kcore", "/dev/core")


def enter_steps(config: Config, request: Request) -> list[ContainerStep]:
    """How the rootfs becomes the root."""
    if not has_own_mounts(config):
        return [ChangeRoot()]
    steps: list[ContainerStep] = [MoveRoot() if request.no_pivot else PivotRoot()]
    flags = root_propagation(config)
    # Private it is already: see BindRootfs.
    if flags and not flags & MS_PRIVATE:
        # Only now: before, it would have changed the host's root, where that is shared.
        steps.append(SetPropagation("/", flags, at=_propagation_at(config)))
    return steps


def finalize_steps(config: Config, request: Request) -> Iterator[ContainerStep]:
    """What becomes read-only or hidden once everything is made, in runc's order."""
    if owns_dev(config):
        yield ReopenDevNull()
    directory = clean((config.get("process") or {}).get("cwd") or "/")
    if directory != "/":
        yield Mkdir(directory, at="process.cwd")
    if not has_own_mounts(config):
        return
    yield from _late_mounts(config)
    if (config.get("root") or {}).get("readonly"):
        yield SetAttributes("/", MOUNT_ATTR_RDONLY, at="root.readonly")
    linux = config.get("linux") or {}
    for index, path in enumerate(linux.get("readonlyPaths") or ()):
        yield ReadonlyPath(path, at=f"linux.readonlyPaths[{index}]")
    for index, path in enumerate(linux.get("maskedPaths") or ()):
        yield MaskPath(path, at=f"linux.maskedPaths[{index}]")


def _late_mounts(config: Config) -> Iterator[SetAttributes]:
    """Read-only for the mounts that had to be writable until now, unless a later one covers them."""
    late: dict[str, SetAttributes] = {}
    for index, mount in enumerate(config.get("mounts") or ()):
        options = parse(mount.get("options") or ())
        target = clean(mount["destination"])
        late.pop(target, None)
        if is_bind(mount, options) or options.remount:
            continue
        if options.read_only and is_late(mount.get("type") or "", target):
            below = bool(options.all_set & MOUNT_ATTR_RDONLY)
            late[target] = SetAttributes(
                target, MOUNT_ATTR_RDONLY, recursive=below, at=f"mounts[{index}]"
            )
    yield from late.values()


# ---- propagation ---------------------------------------------------------------------------------------------------


def root_propagation(config: Config) -> int:
    """linux.rootfsPropagation as MS_*; 0 when it is not set."""
    return propagation((config.get("linux") or {}).get("rootfsPropagation") or "") or 0


def host_propagation(config: Config) -> int:
    """The propagation of the host's mounts in the new namespace, before anything is mounted there.

    Only `shared` leaves a way out, which is what it is for. `slave` and `private` are for all of them, also without the
    `r`, which is about the root: a volume's mount that stayed shared would show the host what is mounted on it.
    """
    flags = root_propagation(config)
    if flags & MS_SHARED:
        return flags
    if flags & (MS_PRIVATE | MS_UNBINDABLE):
        # Nothing could be bound any more, were they unbindable themselves.
        return MS_PRIVATE | MS_REC
    return MS_SLAVE | MS_REC


def _propagation_at(config: Config) -> str:
    return "linux.rootfsPropagation" if root_propagation(config) else ""


# ---- devices -------------------------------------------------------------------------------------------------------


def owns_dev(config: Config) -> bool:
    """Whether /dev is the container's own, to be filled; not when the host's, or another folder, is bound there."""
    for mount in config.get("mounts") or ():
        destination = mount["destination"]
        if "dev" not in destination or clean(destination) != "/dev":
            continue
        if is_bind(mount, parse(mount.get("options") or ())):
            return False
    return True


def device_steps(config: Config, bindable: bool, dev: bool) -> Iterator[MakeDevice]:
    """The default devices and linux.devices, which come instead of a default one on the same path.

    bindable: the host's node may be bound where mknod(2) is forbidden. dev: /dev is the container's own; nothing is
    made in one that is bound.
    """
    # In a user namespace mknod(2) fails: what is bound at once needs no attempt.
    bind = bindable and namespace(config, "user") is not None
    devices = (config.get("linux") or {}).get("devices") or ()
    paths = {device["path"] for device in devices}
    if dev:
        for path, major, minor in DEFAULT_DEVICES:
            if path not in paths:
                source = path if bindable else ""
                yield MakeDevice(path, S_IFCHR, major, minor, source=source, bind=bind)
    for index, device in enumerate(devices):
        path = clean(device["path"])
        if not dev and path[:5] == "/dev/":
            continue
        kind = KINDS[device["type"]]
        node = kind != S_IFIFO
        mode = device.get("fileMode")
        yield MakeDevice(
            path,
            kind,
            device.get("major") or 0 if node else 0,
            device.get("minor") or 0 if node else 0,
            # Engines leave the type in: 0o20666.
            0o666 if mode is None else mode & 0o7777,
            device.get("uid") or 0,
            device.get("gid") or 0,
            path if node and bindable else "",
            node and bind,
            at=f"linux.devices[{index}]",
        )
