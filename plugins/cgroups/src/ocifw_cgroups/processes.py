"""The processes of a cgroup and of all cgroups below it."""

from __future__ import annotations

import os
from errno import ENODEV, ENOENT, EOPNOTSUPP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PREFERRED = ("devices", "pids", "name=systemd", "")


def subtree(folder: str) -> Iterator[str]:
    """A cgroup and all below it, children before their parents. One that is gone is nothing."""
    try:
        entries = os.scandir(folder)
    except OSError as error:
        if error.errno not in (ENOENT, ENODEV):
            raise
        return
    with entries:
        below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    for path in below:
        yield from subtree(path)
    yield folder


def pids(folder: str) -> list[int]:
    """The pids of the processes in a cgroup and below, sorted, as the runtime's pid namespace has them.

    Those of other pid namespaces read as 0 and are left out.
    """
    found: set[int] = set()
    for path in subtree(folder):
        try:
            with open(f"{path}/cgroup.procs", "rb", buffering=0) as file:
                found.update([int(pid) for pid in file.readall().split()])
        except OSError as error:
            # EOPNOTSUPP: a threaded cgroup of v2, whose processes its domain's file names.
            if error.errno not in (ENOENT, ENODEV, EOPNOTSUPP):
                raise
    found.discard(0)
    return sorted(found)


def counted_in(folders: dict[str, str]) -> str:
    """The folder in which a container's processes are counted: runc's choice first. "" when there is none."""
    for name in PREFERRED:
        if name in folders:
            return folders[name]
    return next(iter(folders.values()), "")
