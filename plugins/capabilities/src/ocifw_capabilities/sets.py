"""The five capability sets of a process as bit masks: capabilities(7).

config.md: a value that cannot be mapped to the kernel, or cannot be granted, is a warning and not an error.
"""

from __future__ import annotations

from ocifw.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Host

NAMES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
    "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip
"""The kernel's capabilities by number (linux/capability.h, Linux 5.9)."""

BITS = {name: 1 << number for number, name in enumerate(NAMES)}


class Sets(Record):
    """Bit masks."""

    bounding: int = 0
    effective: int = 0
    permitted: int = 0
    inheritable: int = 0
    ambient: int = 0


def wanted(config: dict[str, Any], host: Host) -> Sets:
    """The sets that process.capabilities asks for, without what cannot be granted. Warns, once for each reason.

    A process without `capabilities` gets empty sets.
    """
    asked = (config.get("process") or {}).get("capabilities") or {}
    known = _known(host)
    unknown: set[str] = set()
    masks = {}
    for kind in Sets._fields:
        mask = 0
        for name in asked.get(kind) or ():
            bit = BITS.get(name, 0) & known
            if bit:
                mask |= bit
            else:
                unknown.add(name)
        masks[kind] = mask
    if unknown:
        # runc's sentence.
        host.warn(f"ignoring unknown or unavailable capabilities: [{' '.join(sorted(unknown))}]")

    everything = masks["bounding"] | masks["permitted"] | masks["inheritable"]
    if everything and not _has_user_namespace(config):
        available = _available(host, known)
        _warn(host, "the runtime itself does not have", everything & ~available)
        masks = {kind: mask & available for kind, mask in masks.items()}
    # What capset(2) and prctl(2) demand; EPERM otherwise.
    bounding, permitted = masks["bounding"], masks["permitted"]
    _warn(host, "are effective but not permitted", masks["effective"] & ~permitted)
    _warn(host, "are inheritable but not in the bounding set", masks["inheritable"] & ~bounding)
    inheritable = masks["inheritable"] & bounding
    # No warning about these: buildah asks for an ambient set without an inheritable one each time, runc drops it
    # silently, and podman cannot read a log with a warning beside an error.
    ambient = masks["ambient"] & permitted & inheritable
    return Sets(bounding, masks["effective"] & permitted, permitted, inheritable, ambient)


def _known(host: Host) -> int:
    """The capabilities of the running kernel that have a name here."""
    try:
        last = int(host.read("/proc/sys/kernel/cap_last_cap"))
    except FileNotFoundError:
        last = len(NAMES) - 1
    return (1 << min(last + 1, len(NAMES))) - 1


def _available(host: Host, known: int) -> int:
    """What ocifw-init has in the runtime's own user namespace: for root, execve(2) makes it the bounding set."""
    field = b"CapBnd:" if host.euid == 0 else b"CapAmb:"
    try:
        lines = host.read("/proc/self/status").split(b"\n")
    except FileNotFoundError:
        return known
    for line in lines:
        if line.startswith(field):
            return int(line[len(field) :], 16) & known
    return known


def _has_user_namespace(config: dict[str, Any]) -> bool:
    """Whether the process enters a user namespace: then it has all capabilities there, whoever the runtime is."""
    namespaces = (config.get("linux") or {}).get("namespaces") or ()
    return any(namespace["type"] == "user" for namespace in namespaces)


def _warn(host: Host, reason: str, mask: int) -> None:
    if mask:
        names = [name for name in NAMES if BITS[name] & mask]
        host.warn(f"ignoring capabilities that {reason}: [{' '.join(sorted(names))}]")
