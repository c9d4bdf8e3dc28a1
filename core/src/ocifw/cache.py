"""The cache: files that only their owner may have written, written by rename. Reading them is `boot.read_cache`.

It is a convenience: a file that is missing, damaged, stale, or that somebody else could have changed is not used, and
written anew where that is possible. Contents are marshal data and programs, which must never come from anybody else.
"""

from __future__ import annotations

import os

from . import boot
from .boot import is_own, notes


def make_folder() -> str:
    """The cache's folder, made when it is missing; "" when there can be none or it is not this user's own."""
    folder = boot.cache_folder()
    if not folder:
        return ""
    try:
        os.makedirs(os.path.dirname(folder), mode=0o755, exist_ok=True)
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            pass
        status = os.lstat(folder)
    except OSError as error:
        notes.append(f"no cache in {folder}: {error.strerror}")
        return ""
    if not is_own(status, 0o040000) or status.st_uid != os.geteuid():
        notes.append(f"no cache in {folder}: somebody else could write there")
        return ""
    return folder


def write(name: str, data: bytes, keep: int = 16) -> bool:
    """Write a file of the cache. Returns False when there is no place for it: that costs time, not correctness.

    keep: how many files of its kind there may be then, by the name before the last `-`; the oldest are removed.
    """
    from .container import write_file

    folder = make_folder()
    if not folder:
        return False
    try:
        write_file(f"{folder}/{name}", data)
        _remove_oldest(folder, name.rpartition("-")[0] + "-", keep)
    except OSError as error:
        notes.append(f"{folder}/{name} was not written: {error.strerror}")
        return False
    return True


def _remove_oldest(folder: str, prefix: str, keep: int) -> None:
    names = [name for name in os.listdir(folder) if name.startswith(prefix)]
    if len(names) <= keep:
        return
    times = []
    for name in names:
        try:
            times.append((os.stat(f"{folder}/{name}").st_mtime_ns, name))
        except FileNotFoundError:
            pass
    for _, name in sorted(times)[:-keep]:
        try:
            os.unlink(f"{folder}/{name}")
        except FileNotFoundError:
            pass
