"""Namespaces: setns(2), unshare(2) and the questions of ioctl_nsfs(2). See namespaces(7)."""

from __future__ import annotations

from ._kernel import numbers, syscall

CLONE_NEWTIME = 0x80
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

NS_GET_USERNS = 0xB701
NS_GET_PARENT = 0xB702
NS_GET_NSTYPE = 0xB703
NS_GET_OWNER_UID = 0xB704


def setns(fd: int, nstype: int) -> None:
    """setns(2): `fd` is a namespace file and `nstype` its CLONE_NEW* flag, or (kernel 5.8) a pidfd and several.

    EPERM: no CAP_SYS_ADMIN over the namespace. EINVAL: another type, or a user namespace joined by a process that
    has threads or is in it already.
    """
    syscall(numbers["setns"], fd, nstype)


def unshare(flags: int) -> None:
    """unshare(2). EPERM: no CAP_SYS_ADMIN. ENOSPC: a limit in /proc/sys/user. EINVAL: unknown here, or threads."""
    syscall(numbers["unshare"], flags)


def ns_get_userns(fd: int) -> int:
    """The user namespace that owns a namespace, as a file descriptor. EPERM: it is above the caller's own."""
    return syscall(numbers["ioctl"], fd, NS_GET_USERNS)


def ns_get_parent(fd: int) -> int:
    """The parent of a user or pid namespace, as a file descriptor. EPERM: it is above the caller's own."""
    return syscall(numbers["ioctl"], fd, NS_GET_PARENT)


def ns_get_nstype(fd: int) -> int:
    """The CLONE_NEW* flag of a namespace file. ENOTTY: no namespace file."""
    return syscall(numbers["ioctl"], fd, NS_GET_NSTYPE)


def ns_get_owner_uid(fd: int) -> int:
    """The uid that made a user namespace, as the caller's user namespace sees it."""
    uid = bytearray(4)
    syscall(numbers["ioctl"], fd, NS_GET_OWNER_UID, uid)
    return int.from_bytes(uid, "little")
