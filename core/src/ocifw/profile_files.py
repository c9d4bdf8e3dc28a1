"""Files of profiles: where they are, and reading those that can be trusted."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from . import profile, profile_yaml, trust
from .errors import ConfigError, Problem, errno_text
from .profile import Roots, stamp, stamp_of
from .record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    Stamp = tuple[int, ...] | None

SUFFIX = ".yaml"


class Found(Record):
    """A profile that is there. trust: distribution, administrator or user. hidden: a file of another folder counts."""

    name: str
    file: str
    trust: str
    hidden: bool
    drop_ins: tuple[str, ...]


def available(roots: Roots) -> list[Found]:
    """Every profile that can be named, by name; those that others hide included."""
    found: list[Found] = []
    seen: set[str] = set()
    for kind in ("user", "administrator", "distribution"):
        for folder in reversed(getattr(roots, kind)):
            for file in sorted(_listed(folder)):
                name = file.removesuffix(SUFFIX)
                path = f"{folder}/{file}"
                found.append(Found(name, path, kind, name in seen, tuple(drop_ins(name, roots))))
                seen.add(name)
    return sorted(found, key=lambda one: one.name)


def _listed(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.endswith(SUFFIX) and name[0] != "."]
    except OSError:
        return []


def drop_ins(name: str, roots: Roots) -> list[str]:
    return [
        f"{folder}/{name}.d/{file}"
        for folder in roots.folders
        for file in sorted(_listed(f"{folder}/{name}.d"))
    ]


def read_trusted(path: str, owners: Sequence[int]) -> tuple[bytes, Stamp]:
    """The content of a trusted file, and its stamp. Raises ConfigError for one that is not there or not to be trusted."""
    if path.startswith(f"{profile.SHIPPED}/"):
        # Whoever could write there could write this module.
        return read_plain(path), stamp_of(path)
    if not path.startswith("/"):
        raise ConfigError([Problem("", "must be an absolute path", path)])
    try:
        fd, _ = trust.open_checked(path, frozenset(owners))
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ConfigError([Problem("", "is not a regular file", path)])
            file = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(fd)
        try:
            return _content(file, path), stamp(os.fstat(file))
        finally:
            os.close(file)
    except trust.Untrusted as error:
        raise ConfigError([Problem("", f"is not trusted: {error}", path)]) from None
    except OSError as error:
        raise ConfigError([Problem("", errno_text(error.errno or 0), path)]) from None


def read_plain(path: str) -> bytes:
    """The content of a regular file that nobody trusts."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ConfigError([Problem("", "is not a regular file", path)])
            return _content(fd, path)
        finally:
            os.close(fd)
    except OSError as error:
        raise ConfigError([Problem("", errno_text(error.errno or 0), path)]) from None


def _content(fd: int, path: str) -> bytes:
    limit = profile_yaml.LIMIT_BYTES
    data = b""
    while part := os.read(fd, limit + 1 - len(data)):
        data += part
        if len(data) > limit:
            raise ConfigError([Problem("", f"larger than {limit} bytes", path)])
    return data
