"""What is wrong with the fields of this plugin: all problems at once, each with its path in config.json."""

from __future__ import annotations

import os
from errno import ENOENT
from os.path import normpath

from ocifw.errors import Problem, errno_text
from ocifw.linux.mount import MS_PRIVATE

from .mounts import bind_source, clean, has_own_mounts, is_bind, is_idmapped, namespace
from .options import parse, propagation
from .root import KINDS, S_IFIFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw.context import Host, Request

    from .options import MountOptions

    Config = dict[str, Any]

# Files below /proc that stand-ins (lxcfs) are mounted on, and that are nobody's security. From runc.
BELOW_PROC = (
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
)
PROC_SUPER_MAGIC = 0x9FA0

_DEVICE_MAJORS = 1 << 12
_DEVICE_MINORS = 1 << 20
_IDS = 2**32 - 1


def problems(config: Config, request: Request, host: Host) -> Iterator[Problem]:
    """Every problem with root, mounts, devices, propagation, masked and read-only paths."""
    yield from _root(config, request)
    own = has_own_mounts(config)
    if not own:
        yield from _without_own_mounts(config, request)
    for index, mount in enumerate(config.get("mounts") or ()):
        yield from _mount(mount, f"mounts[{index}]", config, request, host)
    linux = config.get("linux")
    if not linux:
        return
    yield from _propagation(linux, request)
    for index, device in enumerate(linux.get("devices") or ()):
        yield from _device(device, f"linux.devices[{index}]")
    for field in ("readonlyPaths", "maskedPaths"):
        for index, path in enumerate(linux.get(field) or ()):
            if path[:1] != "/":
                yield Problem(f"linux.{field}[{index}]", f"{path!r} is not an absolute path")


# ---- root ----------------------------------------------------------------------------------------------------------


def _root(config: Config, request: Request) -> Iterator[Problem]:
    path = (config.get("root") or {}).get("path")
    if not path:
        yield Problem("root", "root must be specified")
        return
    try:
        fd = os.open(request.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        text = errno_text(error.errno or ENOENT)
        yield Problem("root.path", f"invalid rootfs: stat {request.rootfs}: {text}")
        return
    os.close(fd)
    if not _is_canonical(path, request):
        yield Problem("root.path", "invalid rootfs: not an absolute path, or a symlink")


def _is_canonical(path: str, request: Request) -> bool:
    """Whether root.path leads to the rootfs without symbolic links; the bundle's own path may have some."""
    if path[0] == "/":
        return normpath(path) == request.rootfs
    if normpath(f"{request.bundle}/{path}") == request.rootfs:
        return True
    return normpath(f"{os.path.realpath(request.bundle)}/{path}") == request.rootfs


def _without_own_mounts(config: Config, request: Request) -> Iterator[Problem]:
    """Everything that mounts: in a mount namespace of others, or the host's, it would be done to them."""
    needs = "needs a mount namespace of the container's own: a new one in linux.namespaces"
    linux = config.get("linux") or {}
    if config.get("mounts"):
        yield Problem("mounts", needs)
    if (config.get("root") or {}).get("readonly"):
        yield Problem("root.readonly", needs)
    if linux.get("rootfsPropagation"):
        yield Problem("linux.rootfsPropagation", needs)
    for field in ("readonlyPaths", "maskedPaths"):
        if linux.get(field):
            text = "unable to restrict sys entries without a private MNT namespace"
            yield Problem(f"linux.{field}", text)
    if request.notify_socket:
        yield Problem("", f"NOTIFY_SOCKET in the environment {needs}")


# ---- mounts --------------------------------------------------------------------------------------------------------


def _mount(
    mount: Config, at: str, config: Config, request: Request, host: Host
) -> Iterator[Problem]:
    destination = mount["destination"]
    options = parse(mount.get("options") or ())
    bind = is_bind(mount, options)
    if not destination:
        yield Problem(f"{at}.destination", "is empty")
        return
    if bind:
        if options.data:
            text = "bind mounts cannot have any filesystem-specific options applied"
            yield Problem(f"{at}.options", f"{text}: {options.data}")
        if not mount.get("source") and not options.remount:
            yield Problem(f"{at}.source", "a bind mount needs a source")
    elif not mount.get("type") and not options.remount:
        yield Problem(f"{at}.type", "a mount that is no bind needs a type")
    if is_idmapped(mount, options):
        yield from _idmapping(mount, at, options, bind, config, host)
    if not options.remount:
        yield from _target(mount, clean(destination), f"{at}.destination", bind, request)


def _target(mount: Config, target: str, at: str, bind: bool, request: Request) -> Iterator[Problem]:
    """Where nothing, or not this, may be mounted. Texts as runc's."""
    if target == "/":
        yield Problem(at, f'mountpoint "/" is on the top of rootfs "{request.rootfs}"')
    elif target[:5] != "/proc":
        return
    elif target == "/proc":
        proc = _may_be_procfs(bind_source(mount, request)) if bind else mount.get("type") == "proc"
        if not proc:
            yield Problem(at, f'"{target}" cannot be mounted because it is not of type proc')
    elif target[5] == "/" and target not in BELOW_PROC:
        yield Problem(at, f'"{target}" cannot be mounted because it is inside /proc')


def _may_be_procfs(path: str) -> bool:
    """Whether a bind's source is on a procfs. A missing one is the step's error, which names it."""
    from ocifw.linux._kernel import numbers, syscall

    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        statfs = bytearray(256)
        syscall(numbers["fstatfs"], fd, statfs)
    finally:
        os.close(fd)
    return int.from_bytes(statfs[:8], "little") == PROC_SUPER_MAGIC


def _idmapping(
    mount: Config, at: str, options: MountOptions, bind: bool, config: Config, host: Host
) -> Iterator[Problem]:
    if not bind or options.remount:
        yield Problem(at, "id-mapped mounts are only supported for bind-mounts")
    if host.euid:
        yield Problem(at, "id-mapped mounts are not supported for rootless containers")
    own = bool(mount.get("uidMappings")), bool(mount.get("gidMappings"))
    if own == (True, True):
        return
    if own != (False, False):
        text = "id-mapped mounts must have both uid and gid mappings specified"
        yield Problem(f"{at}.{'gidMappings' if own[0] else 'uidMappings'}", text)
        return
    linux = config.get("linux") or {}
    user = namespace(config, "user")
    mapped = linux.get("uidMappings") and linux.get("gidMappings")
    if user is None or not (user.get("path") or mapped):
        text = f"option {options.idmap!r} needs mappings, of the mount or of a user namespace"
        yield Problem(f"{at}.options", text)


# ---- linux ---------------------------------------------------------------------------------------------------------


def _propagation(linux: Config, request: Request) -> Iterator[Problem]:
    name = linux.get("rootfsPropagation")
    if not name:
        return
    flags = propagation(name)
    if flags is None:
        yield Problem("linux.rootfsPropagation", f"rootfsPropagation={name} is not supported")
    elif flags & MS_PRIVATE and request.no_pivot:
        text = "rootfsPropagation of [r]private is not safe without pivot_root"
        yield Problem("linux.rootfsPropagation", text)


def _device(device: Config, at: str) -> Iterator[Problem]:
    path, name = device.get("path") or "", device.get("type")
    kind = KINDS.get(name or "")
    if path[:1] != "/" or clean(path) == "/":
        yield Problem(f"{at}.path", f"{path!r} is not the absolute path of a device")
    if kind is None:
        yield Problem(f"{at}.type", f'invalid device type "{name}"')
    elif kind != S_IFIFO:
        for field, limit in (("major", _DEVICE_MAJORS), ("minor", _DEVICE_MINORS)):
            number = device.get(field)
            if number is None or not 0 <= number < limit:
                yield Problem(f"{at}.{field}", f"{number} is not a number from 0 to {limit - 1}")
    for field in ("uid", "gid"):
        if not 0 <= (device.get(field) or 0) < _IDS:
            yield Problem(f"{at}.{field}", f"{device[field]} is not an id from 0 to {_IDS - 1}")
    if not 0 <= (device.get("fileMode") or 0) < 1 << 16:
        yield Problem(f"{at}.fileMode", f"{device['fileMode']} is not a file mode")
