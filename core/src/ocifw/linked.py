"""The cache of linked plugin sets: one file, written by rename, that only its owner may have written.

It is a convenience: a file that is missing, damaged, stale, or that somebody else could have changed is not used, and
written anew where that is possible. Its content is marshal data, which must never come from anybody untrusted.
"""

from __future__ import annotations

import os
import sys
from marshal import dumps, loads
from stat import S_ISREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORMAT = 1
_LIMIT_BYTES = 1 << 20


def folder() -> str:
    """Where caches lie: /var/cache/ocifw for root, else below the user's own cache folder; "" when there is none."""
    if os.geteuid() == 0:
        return "/var/cache/ocifw"
    base = os.environ.get("XDG_CACHE_HOME") or ""
    if not base.startswith("/"):
        home = os.environ.get("HOME") or ""
        if not home.startswith("/"):
            return ""
        base = f"{home}/.cache"
    return f"{base}/ocifw"


def key() -> tuple[Any, ...]:
    """What the table depends on beside the plugins' files: this interpreter, this ocifw, and what is installed.

    Installing, upgrading or removing a distribution changes the time of the folder it lies in.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    library = os.path.dirname(here)
    specs = os.stat(f"{here}/hookspecs.py")
    return (
        FORMAT,
        sys.hexversion,
        library,
        os.stat(library).st_mtime_ns,
        specs.st_mtime_ns,
        specs.st_size,
    )


def name(of: tuple[Any, ...]) -> str:
    """The name of the cache file: one for each place that ocifw is installed in."""
    digest = 14695981039346656037
    for byte in os.fsencode(f"{of[1]}{of[2]}"):
        digest = (digest ^ byte) * 1099511628211 % 2**64
    return f"plugins-{digest:016x}"


def read(expected: tuple[Any, ...]) -> dict[str, Any] | None:
    """The table that was written with this key, or None."""
    where = folder()
    if not where:
        return None
    try:
        fd = os.open(f"{where}/{name(expected)}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        file = os.fstat(fd)
        if not trusted(file) or file.st_size > _LIMIT_BYTES:
            return None
        data = os.read(fd, file.st_size)
    finally:
        os.close(fd)
    try:
        stored, table = loads(data)  # noqa: S302 -- nobody else could have written it: trusted()
    except (ValueError, EOFError, TypeError):
        return None
    return table if stored == expected and type(table) is dict else None


def write(of: tuple[Any, ...], table: dict[str, Any]) -> bool:
    """Write a table. Returns False when there is no place for it: that costs time, not correctness."""
    from .container import write_file

    where = folder()
    if not where:
        return False
    try:
        os.makedirs(os.path.dirname(where), mode=0o755, exist_ok=True)
        try:
            os.mkdir(where, 0o700)
        except FileExistsError:
            pass
        if not _own_folder(where):
            return False
        write_file(f"{where}/{name(of)}", dumps((of, table)))
    except OSError:
        return False
    return True


def trusted(file: os.stat_result) -> bool:
    """Whether nobody but this user (or root) can have written a file: regular, own, not writable by others."""
    return S_ISREG(file.st_mode) and file.st_uid in (0, os.geteuid()) and not file.st_mode & 0o022


def _own_folder(where: str) -> bool:
    folder_ = os.lstat(where)
    return folder_.st_uid == os.geteuid() and not folder_.st_mode & 0o022
