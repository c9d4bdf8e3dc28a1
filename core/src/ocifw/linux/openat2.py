"""openat2(2): opening files below a folder whose content is not trusted."""

from __future__ import annotations

import errno
import os
from _struct import pack

from ._kernel import numbers, syscall

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

_SYMLINKS_LIMIT = 40
_ATTEMPTS = 32


def openat2(dirfd: int, path: str, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2), kernel 5.6. The file descriptor is close-on-exec.

    EAGAIN: something was renamed meanwhile, so that `..` could not be resolved safely; ask again.
    EXDEV: the path leaves what `resolve` allows. ELOOP: a symbolic link where it allows none.
    """
    how = pack("<3Q", flags | os.O_CLOEXEC, mode, resolve)
    return syscall(numbers["openat2"], dirfd, os.fsencode(path), how, len(how))


def open_in_root(root: int, path: str, flags: int, mode: int = 0) -> int:
    """Open `path` as if the folder behind the file descriptor `root` were `/`, `..` and symbolic links included.

    Kernels before 5.6 (and filters that do not know the call) get the same by opening one component after the other.
    """
    for _ in range(_ATTEMPTS):
        try:
            return openat2(root, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
        except OSError as error:
            if error.errno in (errno.ENOSYS, errno.EPERM):
                return _walk(root, path, flags, mode)
            if error.errno != errno.EAGAIN:
                raise
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)


def _walk(root: int, path: str, flags: int, mode: int) -> int:
    """What openat2(2) does, by steps: never by asking the kernel for `..`, which a rename could lead outside."""
    parts = path.split("/")[::-1]
    folders = [os.dup(root)]
    links = 0
    try:
        while parts:
            part = parts.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if len(folders) > 1:
                    os.close(folders.pop())
                continue
            last = not any(rest not in ("", ".") for rest in parts)
            target = _link_target(folders[-1], part)
            if target is None and last:
                return os.open(part, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folders[-1])
            if target is not None and last and flags & os.O_NOFOLLOW:
                return os.open(part, flags | os.O_CLOEXEC, mode, dir_fd=folders[-1])
            if target is None:
                search = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                folders.append(os.open(part, search, dir_fd=folders[-1]))
                continue
            links += 1
            if links > _SYMLINKS_LIMIT:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                while len(folders) > 1:
                    os.close(folders.pop())
            parts += target.split("/")[::-1]
        # The path ended in a folder that is open already: a reopening through "." is the folder itself.
        return os.open(".", flags | os.O_CLOEXEC, mode, dir_fd=folders[-1])
    finally:
        for folder in folders:
            os.close(folder)


def _link_target(folder: int, name: str) -> str | None:
    """The text of a symbolic link; None when it is none, or is not there."""
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise
