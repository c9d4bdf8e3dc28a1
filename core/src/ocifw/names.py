"""The kernel's flags as words, for plans and errors: nobody reads 0x6c020000."""

from __future__ import annotations

from .linux import mount
from .linux import namespaces as clone

_NAMESPACES = (
    (clone.CLONE_NEWUSER, "user"),
    (clone.CLONE_NEWPID, "pid"),
    (clone.CLONE_NEWNET, "network"),
    (clone.CLONE_NEWIPC, "ipc"),
    (clone.CLONE_NEWUTS, "uts"),
    (clone.CLONE_NEWNS, "mount"),
    (clone.CLONE_NEWCGROUP, "cgroup"),
    (clone.CLONE_NEWTIME, "time"),
)
_PROPAGATION = (
    (mount.MS_SHARED, "shared"),
    (mount.MS_SLAVE, "slave"),
    (mount.MS_PRIVATE, "private"),
    (mount.MS_UNBINDABLE, "unbindable"),
)
_ATTRIBUTES = (
    (mount.MOUNT_ATTR_RDONLY, "ro"),
    (mount.MOUNT_ATTR_NOSUID, "nosuid"),
    (mount.MOUNT_ATTR_NODEV, "nodev"),
    (mount.MOUNT_ATTR_NOEXEC, "noexec"),
    (mount.MOUNT_ATTR_NOATIME, "noatime"),
    (mount.MOUNT_ATTR_STRICTATIME, "strictatime"),
    (mount.MOUNT_ATTR_NODIRATIME, "nodiratime"),
    (mount.MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow"),
)


def namespaces(kinds: int) -> str:
    """CLONE_NEW* flags as config.json's types: `pid, network, mount`; `none` for 0."""
    return ", ".join(_words(kinds, _NAMESPACES)) or "none"


def propagation(flags: int) -> str:
    """MS_SHARED, … with or without MS_REC as the options of mount(8): `rslave`."""
    words = _words(flags & ~mount.MS_REC, _PROPAGATION)
    return ", ".join([f"r{word}" if flags & mount.MS_REC else word for word in words])


def attributes(bits: int) -> str:
    """MOUNT_ATTR_* as the options of mount(8): `ro,nosuid`."""
    return ",".join(_words(bits, _ATTRIBUTES))


def _words(flags: int, table: tuple[tuple[int, str], ...]) -> list[str]:
    """The words of the flags that are set; what no word is known for in hexadecimal."""
    words = [word for flag, word in table if flags & flag]
    for flag, _ in table:
        flags &= ~flag
    return words + ([f"{flags:#x}"] if flags else [])
