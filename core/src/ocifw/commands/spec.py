"""`ocifw spec`: write a config.json to start from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ocifw.errors import OcifwError
from ocifw.options import FLAG, Option

if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Globals

SUMMARY = "write a config.json to start from"
USAGE = ""
DESCRIPTION = """
The config runs sh on a terminal, in the root filesystem "rootfs" of the bundle, read-only, with three capabilities and all
namespaces but the user's. A config.json that is there is never overwritten.

To make a root filesystem as well, see "ocifw bundle".
"""
OPTIONS = (
    Option("bundle", "b", help="folder to write it into, by default the current folder"),
    Option("rootless", "", FLAG, False, "for a user without privileges: with a user namespace"),
)
ARGUMENTS = (0, 0)

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/proc/scsi",
)
_READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_SAFE = ("nosuid", "noexec", "nodev")


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> None:
    """Write config.json into the bundle."""
    folder = options["bundle"]
    if folder and not os.path.isdir(folder):
        raise OcifwError(f"chdir {folder}: no such file or directory")
    made = rootless(default()) if options["rootless"] else default()
    write_config(os.path.join(folder, "config.json"), made)


def write_config(path: str, config: dict[str, Any]) -> None:
    """Write a config.json where there is none. Raises OcifwError, with runc's words, where there is one."""
    from ocifw.document import dump_pretty
    from ocifw.output import write

    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o666)
    except FileExistsError:
        name = os.path.basename(path)
        raise OcifwError(f"File {name} exists. Remove it first") from None
    try:
        write(dump_pretty(config, "\t") + "\n", fd)
    finally:
        os.close(fd)


def default() -> dict[str, Any]:
    """What `runc spec` makes, but for: the spec's version, the host name, no ambient capabilities (without inheritable
    ones the kernel refuses them), and powercap masked, whose figures betray secrets (CVE-2020-8694).
    """
    namespaces = ["pid", "network", "ipc", "uts", "mount"]
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        namespaces.append("cgroup")
    return {
        "ociVersion": "1.3.0",
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ],
            "cwd": "/",
            "capabilities": {
                name: list(_CAPABILITIES) for name in ("bounding", "effective", "permitted")
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "ocifw",
        "mounts": [
            mount("/proc", "proc"),
            mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance",
                  "ptmxmode=0666", "mode=0620", "gid=5"),
            mount("/dev/shm", "tmpfs", "shm", *_SAFE, "mode=1777", "size=65536k"),  # noqa: S108 -- the container's own
            mount("/dev/mqueue", "mqueue", "mqueue", *_SAFE),
            mount("/sys", "sysfs", "sysfs", *_SAFE, "ro"),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", *_SAFE, "relatime", "ro"),
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in namespaces],
            "maskedPaths": list(_MASKED_PATHS),
            "readonlyPaths": list(_READONLY_PATHS),
        },
    }  # fmt: skip


def mount(destination: str, kind: str, source: str = "", *options: str) -> dict[str, Any]:
    """One entry of `mounts`."""
    entry: dict[str, Any] = {"destination": destination, "type": kind, "source": source or kind}
    if options:
        entry["options"] = list(options)
    return entry


def rootless(config: dict[str, Any]) -> dict[str, Any]:
    """The same for a user without privileges: a user namespace in which they are root, the host's network, no limits.

    sysfs belongs to the network namespace, and can only be bound when that is the host's.
    """
    linux = config["linux"]
    linux.pop("resources", None)
    kinds = [entry["type"] for entry in linux["namespaces"] if entry["type"] != "network"]
    linux["namespaces"] = [{"type": kind} for kind in [*kinds, "user"]]
    linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    mounts = []
    for entry in config["mounts"]:
        if entry["destination"] == "/sys":
            mounts.append(mount("/sys", "none", "/sys", "rbind", *_SAFE, "ro"))
            continue
        options = [option for option in entry.get("options", ()) if option != "gid=5"]
        mounts.append({**entry, "options": options} if options else entry)
    return {**config, "mounts": mounts, "linux": linux}
