"""Mounts: mount(2), umount(2) and the file descriptor interface of Linux 5.2 and later.

Paths are resolved by the caller's own namespaces; `dirfd` may be AT_FDCWD. Every file descriptor is close-on-exec.
All raise OSError, ENOSYS where the kernel lacks the call.
"""

from __future__ import annotations

from _struct import pack
from os import fsencode

from ._kernel import numbers, syscall

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_SYNCHRONOUS = 0x10
MS_REMOUNT = 0x20
MS_MANDLOCK = 0x40
MS_DIRSYNC = 0x80
MS_NOSYMFOLLOW = 0x100
MS_NOATIME = 0x400
MS_NODIRATIME = 0x800
MS_BIND = 0x1000
MS_MOVE = 0x2000
MS_REC = 0x4000
MS_SILENT = 0x8000
MS_UNBINDABLE = 0x20000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000
MS_RELATIME = 0x200000
MS_STRICTATIME = 0x1000000
MS_LAZYTIME = 0x2000000

MNT_FORCE = 1
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x0
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = 0o2000000
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40
FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSPICK_CLOEXEC = 1
FSPICK_EMPTY_PATH = 8
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_SET_FD = 5
FSCONFIG_CMD_CREATE = 6
FSCONFIG_CMD_RECONFIGURE = 7


def mount(source: str, target: str, filesystemtype: str, mountflags: int, data: str = "") -> None:
    """mount(2). Options that are not flags stand in `data`, comma separated."""
    syscall(
        numbers["mount"],
        fsencode(source),
        fsencode(target),
        fsencode(filesystemtype),
        mountflags,
        fsencode(data) if data else None,
    )


def umount2(target: str, flags: int = 0) -> None:
    """umount2(2). EINVAL: nothing is mounted there, or the mount is locked by another user namespace."""
    syscall(numbers["umount2"], fsencode(target), flags)


def open_tree(dirfd: int, path: str, flags: int) -> int:
    """open_tree(2), kernel 5.2: a file descriptor of a mount or, with OPEN_TREE_CLONE, of a detached copy.

    Without OPEN_TREE_CLONE needs no privileges. AT_RECURSIVE copies the mounts below, too.
    """
    return syscall(numbers["open_tree"], dirfd, fsencode(path), flags | OPEN_TREE_CLOEXEC)


def move_mount(from_dirfd: int, from_path: str, to_dirfd: int, to_path: str, flags: int) -> None:
    """move_mount(2), kernel 5.2: attach a detached mount, or move one."""
    syscall(
        numbers["move_mount"], from_dirfd, fsencode(from_path), to_dirfd, fsencode(to_path), flags
    )


def mount_setattr(
    dirfd: int,
    path: str,
    flags: int,
    attr_set: int = 0,
    attr_clr: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
) -> None:
    """mount_setattr(2), kernel 5.12. userns_fd is read with MOUNT_ATTR_IDMAP only.

    EINVAL: an attribute that this kernel, or with MOUNT_ATTR_IDMAP this filesystem, does not know.
    EPERM: an attribute that is locked by the mount namespace it came from.
    """
    attributes = pack("<4Q", attr_set, attr_clr, propagation, userns_fd)
    syscall(numbers["mount_setattr"], dirfd, fsencode(path), flags, attributes, len(attributes))


def fsopen(fsname: str, flags: int = FSOPEN_CLOEXEC) -> int:
    """fsopen(2), kernel 5.2: a context to configure a new filesystem in. ENODEV: unknown filesystem."""
    return syscall(numbers["fsopen"], fsencode(fsname), flags)


def fsconfig(fd: int, command: int, key: str = "", value: str = "", aux: int = 0) -> None:
    """fsconfig(2), kernel 5.2: set a parameter, or make the superblock with FSCONFIG_CMD_CREATE.

    What the filesystem complains about can be read from `fd`, one message a read(2).
    """
    with_value = command == FSCONFIG_SET_STRING
    syscall(
        numbers["fsconfig"],
        fd,
        command,
        fsencode(key) if key else None,
        fsencode(value) if with_value else None,
        aux,
    )


def fsmount(fd: int, flags: int = FSMOUNT_CLOEXEC, attr_flags: int = 0) -> int:
    """fsmount(2), kernel 5.2: a detached mount of the filesystem made in context `fd`."""
    return syscall(numbers["fsmount"], fd, flags, attr_flags)


def fspick(dirfd: int, path: str, flags: int = FSPICK_CLOEXEC) -> int:
    """fspick(2), kernel 5.2: a context to reconfigure the filesystem mounted at `path`."""
    return syscall(numbers["fspick"], dirfd, fsencode(path), flags)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2). EINVAL: `new_root` is no mount point, or the root is the initial ramfs."""
    syscall(numbers["pivot_root"], fsencode(new_root), fsencode(put_old))
