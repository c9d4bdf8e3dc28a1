"""Making a cgroup of v2, with the controllers of its parents enabled for it."""

from __future__ import annotations

import os

from ocifw.errors import OcifwError

from .files import read_or, write

_THREADED = ("domain threaded", "threaded")


def make(folder: str, mountpoint: str, domain: bool) -> bool:
    """Make a v2 cgroup and those above it that are missing, and enable every controller from the top down to it.

    False: it was there. domain: raise OcifwError where the cgroup cannot have controllers that are not thread-aware.
    """
    available = [f"+{name}" for name in read_or(f"{mountpoint}/cgroup.controllers", "").split()]
    made = False
    path = mountpoint
    for part in folder[len(mountpoint) :].split("/"):
        if not part:
            continue
        _enable(path, available)
        path = f"{path}/{part}"
        try:
            os.mkdir(path, 0o755)
            made = True
        except FileExistsError:
            made = False
        _check_type(path, domain)
    return made


def _enable(folder: str, wanted: list[str]) -> None:
    """Enable controllers for the cgroups below: all at once, or as many as can be.

    Those that cannot are reported where a limit of theirs is written, whose file is then missing.
    """
    path = f"{folder}/cgroup.subtree_control"
    enabled = read_or(path, "").split()
    missing = [name for name in wanted if name[1:] not in enabled]
    if not missing:
        return
    try:
        write(path, " ".join(missing))
    except OSError:
        for name in missing if len(missing) > 1 else ():
            try:
                write(path, name)
            except OSError:
                pass


def _check_type(folder: str, domain: bool) -> None:
    kind = read_or(f"{folder}/cgroup.type", "domain")
    if kind == "domain invalid":
        if domain:
            raise OcifwError(
                f'cannot enter cgroupv2 "{folder}" with domain controllers -- it is in an invalid state'
            )
        write(f"{folder}/cgroup.type", "threaded")
    elif domain and kind in _THREADED:
        raise OcifwError(
            f'cannot enter cgroupv2 "{folder}" with domain controllers -- it is in {kind} mode'
        )
