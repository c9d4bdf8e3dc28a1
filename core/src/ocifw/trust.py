"""Whether files may be believed: they, and every folder above them, belong to root and only their owner can write there.

A plugin is root's code, and a set file chooses it. Everything is looked at by file descriptor, from / on, so that nobody can
exchange a folder between the look and the use; what was read for the hash is what was looked at.

Trusted owners are root, the caller (for users), and whoever owns ocifw itself: who could write ocifw needs no plugin. The last
is also what the host's root is in a user namespace (user_namespaces(7): an id that is not mapped).
"""

from __future__ import annotations

import os
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import TYPE_CHECKING

from .errors import OcifwError
from .selection import stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Row = tuple[str, tuple[int, ...] | None]

STICKY = 0o1000
LINKS_LIMIT = 40
_READ_BYTES = 1 << 20


class Untrusted(OcifwError):
    """Somebody else could have written this file, or could exchange it. The message names which, and why."""


def owners() -> frozenset[int]:
    """The user ids whose files are believed."""
    return frozenset((0, os.geteuid(), os.stat(os.path.dirname(os.path.abspath(__file__))).st_uid))


def check(path: str, status: os.stat_result, allowed: frozenset[int]) -> None:
    """Raise Untrusted unless a file or folder is its owner's alone, and the owner is one of `allowed`."""
    if status.st_uid not in allowed:
        raise Untrusted(f"{path} belongs to user {status.st_uid}: it must belong to root")
    if S_ISLNK(status.st_mode):
        return
    writable = status.st_mode & 0o022
    # A group of the same number is the user's own: with umask 002 everything is writable for it.
    if status.st_uid and status.st_gid == status.st_uid:
        writable &= 0o002
    # In a sticky folder nobody else can exchange what belongs to a trusted owner.
    if writable and not (S_ISDIR(status.st_mode) and status.st_mode & STICKY):
        raise Untrusted(f"{path} is writable by others (mode {status.st_mode & 0o7777:04o})")


def open_checked(path: str, allowed: frozenset[int] | None = None) -> tuple[int, list[Row]]:
    """An O_PATH descriptor of a file or folder after checking it and all above; and the folders, with their stamps.

    path: absolute. Symbolic links are followed, each after a check of the folder it lies in. Raises Untrusted; OSError when
    it is not there.
    """
    allowed = owners() if allowed is None else allowed
    waiting = [part for part in reversed(path.split("/")) if part]
    above: list[Row] = []
    links = 0
    here = ""
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        check("/", os.fstat(fd), allowed)
        while waiting:
            part = waiting.pop()
            if part == ".":
                continue
            if part == "..":
                here = os.path.dirname(here)
                waiting = [*waiting, *[p for p in reversed(here.split("/")) if p]]
                here, fd = "", _replace(fd, os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
                continue
            inner = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            fd = _replace(fd, inner)
            status = os.fstat(fd)
            check(f"{here}/{part}", status, allowed)
            if S_ISLNK(status.st_mode):
                links += 1
                if links > LINKS_LIMIT:
                    raise Untrusted(f"{path}: too many symbolic links")
                target = os.readlink("", dir_fd=fd)
                rest = [p for p in reversed(target.split("/")) if p]
                if not target.startswith("/"):
                    rest += [p for p in reversed(here.split("/")) if p]
                waiting += rest
                here, fd = "", _replace(fd, os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
                continue
            here = f"{here}/{part}"
            if waiting:
                above.append((here, _owner(status)))
    except BaseException:
        os.close(fd)
        raise
    return fd, list(dict(above).items())


def read(path: str, allowed: frozenset[int] | None = None) -> bytes:
    """The content of a file that was checked. Raises Untrusted, OSError."""
    fd, _ = open_checked(path, allowed)
    try:
        return _content(fd, path)
    finally:
        os.close(fd)


def digest(
    folder: str, names: Iterable[str], allowed: frozenset[int] | None = None
) -> tuple[str, list[Row], list[Row]]:
    """The SHA-256 of files below a folder, after checking each and all folders above.

    names: files and folders relative to `folder`; folders with all that is below; of what the interpreter compiled only the
    owners are checked. Returns the hash, in hex, over names, sizes and contents in order; stamps of what was read; and of
    the folders above. Raises Untrusted.
    """  # fmt: skip
    from hashlib import sha256

    allowed = owners() if allowed is None else allowed
    hashed = sha256()
    rows: list[Row] = []
    fd, above = open_checked(folder, allowed)
    try:
        above.append((folder, _owner(os.fstat(fd))))
        for name in sorted(names):
            for path, inner in _walk(fd, name, folder, allowed):
                full = f"{folder}/{path}"
                try:
                    status = os.fstat(inner)
                    rows.append(
                        (full, (status.st_size, status.st_mtime_ns, status.st_mode, status.st_uid))
                    )
                    if S_ISREG(status.st_mode):
                        content = _content(inner, full)
                        hashed.update(f"{path}\0{len(content)}\0".encode())
                        hashed.update(content)
                finally:
                    os.close(inner)
    finally:
        os.close(fd)
    return hashed.hexdigest(), rows, above


def owner_stamp(path: str) -> tuple[int, ...] | None:
    """Mode and owner of a folder above: its time changes with everything that is installed."""
    found = stamp(path)
    return None if found is None else found[2:]


def _owner(status: os.stat_result) -> tuple[int, ...]:
    return status.st_mode, status.st_uid


def _walk(folder: int, name: str, shown: str, allowed: frozenset[int]) -> Iterator[tuple[str, int]]:
    """Pairs of name and O_PATH descriptor of a file, or of a folder and all below. Who gets one closes it."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    inner = -1
    try:
        status = os.fstat(fd)
        check(f"{shown}/{name}", status, allowed)
        if S_ISDIR(status.st_mode):
            inner = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
            entries = sorted(os.listdir(inner))
        elif not S_ISREG(status.st_mode):
            raise Untrusted(f"{shown}/{name} is neither a file nor a folder")
    except BaseException:
        os.close(fd)
        if inner >= 0:
            os.close(inner)
        raise
    yield name, fd
    if inner < 0:
        return
    try:
        for entry in entries:
            for path, found in _walk(inner, entry, f"{shown}/{name}", allowed):
                if entry == "__pycache__":
                    # Compiled modules are the interpreter's: they are executed, and differ from machine to machine.
                    os.close(found)
                else:
                    yield f"{name}/{path}", found
    finally:
        os.close(inner)


def _content(fd: int, path: str) -> bytes:
    """What is in the file behind an O_PATH descriptor."""
    try:
        file = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    try:
        parts = []
        while part := os.read(file, _READ_BYTES):
            parts.append(part)
    finally:
        os.close(file)
    return b"".join(parts)


def _replace(old: int, new: int) -> int:
    os.close(old)
    return new
