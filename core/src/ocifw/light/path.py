"""What `os.path` is in the image. Everything that is not here is that of the real `os.path`, which is imported then."""

from __future__ import annotations

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def join(path: str, *paths: str) -> str:
    """posixpath.join"""
    for part in paths:
        if part.startswith("/") or not path:
            path = part
        elif path.endswith("/"):
            path += part
        else:
            path += "/" + part
    return path


def basename(path: str) -> str:
    """posixpath.basename"""
    return path[path.rfind("/") + 1 :]


def dirname(path: str) -> str:
    """posixpath.dirname"""
    head = path[: path.rfind("/") + 1]
    return head.rstrip("/") or head


def isabs(path: str) -> bool:
    """posixpath.isabs"""
    return path.startswith("/")


def normpath(path: str) -> str:
    """posixpath.normpath"""
    if not path:
        return "."
    # POSIX leaves the meaning of exactly two slashes in the beginning open.
    slashes = 0 if path[0] != "/" else 2 if path[:2] == "//" and path[:3] != "///" else 1
    parts: list[str] = []
    for part in path.split("/"):
        if not part or part == ".":
            continue
        if part != ".." or (not slashes and not parts) or (parts and parts[-1] == ".."):
            parts.append(part)
        elif parts:
            parts.pop()
    return "/" * slashes + "/".join(parts) or "."


def abspath(path: str) -> str:
    """posixpath.abspath"""
    return normpath(path if path.startswith("/") else join(posix.getcwd(), path))


def exists(path: str) -> bool:
    """posixpath.exists"""
    try:
        posix.stat(path)
    except (OSError, ValueError):
        return False
    return True


def lexists(path: str) -> bool:
    """posixpath.lexists"""
    try:
        posix.lstat(path)
    except (OSError, ValueError):
        return False
    return True


def isdir(path: str) -> bool:
    """posixpath.isdir"""
    return _kind(path) == 0o040000


def isfile(path: str) -> bool:
    """posixpath.isfile"""
    return _kind(path) == 0o100000


def _kind(path: str) -> int:
    try:
        return posix.stat(path).st_mode & 0o170000
    except (OSError, ValueError):
        return 0


def realpath(path: str, *, strict: bool = False) -> str:
    """posixpath.realpath; the kernel's own answer, where it has one that leads to the same file."""
    if "\0" not in path:
        try:
            fd = posix.open(path, posix.O_PATH | posix.O_CLOEXEC)
        except OSError:
            fd = -1
        if fd >= 0:
            try:
                found = posix.readlink(f"/proc/self/fd/{fd}")
                if found.startswith("/") and _same(posix.lstat(found), posix.fstat(fd)):
                    return found
            except OSError:
                pass
            finally:
                posix.close(fd)
    return _real().realpath(path, strict=strict)  # type: ignore[no-any-return]


def _same(one: posix.stat_result, other: posix.stat_result) -> bool:
    return one.st_ino == other.st_ino and one.st_dev == other.st_dev


def _real() -> Any:
    # By a call: in the image the statement would import light.os.
    return __import__("os").path


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # what importlib asks every module for
        raise AttributeError(name)
    return getattr(_real(), name)
