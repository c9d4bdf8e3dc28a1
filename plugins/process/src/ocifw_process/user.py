"""The process becomes its user: umask, working directory, groups, gid, uid. config.md, User; credentials(7)."""

from __future__ import annotations

from ocifw.errors import Problem
from ocifw.steps import Chdir, ChownStdio, SetGid, SetGroups, SetUid, SetUmask

from .effective import container_process, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw.context import Host, Request
    from ocifw.steps import ContainerStep

DEFAULT_UMASK = 0o022
"""What runc and crun set where the config says nothing; engines count on it. The specification: the caller's stays."""


def steps(config: dict[str, Any], request: Request, host: Host) -> list[ContainerStep]:
    """The steps, in runc's order.

    The working directory is entered twice: as root, for directories that the user may not search, and again as the
    user where root (of a user namespace, or on a network filesystem) was refused.
    """
    own = process(config)
    user = own.get("user") or {}
    uid, gid = user.get("uid") or 0, user.get("gid") or 0
    gids = tuple(user.get("additionalGids") or ())
    cwd = own.get("cwd") or "/"
    umask = user.get("umask")
    if umask is None:
        umask = (container_process(request).get("user") or {}).get("umask")
    if umask is None and request.compat == "runc":
        umask = DEFAULT_UMASK
    found: list[ContainerStep] = []
    if umask is not None:
        found.append(SetUmask(umask, at="process.user.umask"))
    found += [
        Chdir(cwd, tolerate=True, at="process.cwd"),
        ChownStdio(uid, at="process.user.uid"),
    ]
    # Entering a user namespace has dropped the groups already, where setgroups(2) is not denied there.
    if gids or not (_in_user_namespace(config) or _setgroups_denied(host)):
        found.append(SetGroups(gids, at="process.user.additionalGids"))
    return [
        *found,
        SetGid(gid, at="process.user.gid"),
        SetUid(uid, at="process.user.uid"),
        Chdir(cwd, at="process.cwd"),
    ]


def problems(config: dict[str, Any], host: Host) -> Iterator[Problem]:
    """Ids that the user namespace does not have, and groups that nobody may set."""
    user = process(config).get("user") or {}
    gids = user.get("additionalGids") or ()
    uid, gid = user.get("uid") or 0, user.get("gid") or 0
    linux = config.get("linux") or {}
    uid_map = linux.get("uidMappings") or []
    gid_map = linux.get("gidMappings") or []
    in_user_namespace = _in_user_namespace(config)
    if in_user_namespace:
        if uid_map and not _mapped(uid, uid_map):
            yield Problem(
                "process.user.uid", f"cannot setuid to unmapped uid {uid} in user namespace"
            )
        if gid_map and not _mapped(gid, gid_map):
            yield Problem(
                "process.user.gid", f"cannot setgid to unmapped gid {gid} in user namespace"
            )
        for index, group in enumerate(gids):
            if gid_map and not _mapped(group, gid_map):
                yield Problem(
                    f"process.user.additionalGids[{index}]",
                    f"cannot setgroups to unmapped gid {group} in user namespace",
                )
    if not gids:
        return
    single = len(gid_map) == 1 and gid_map[0]["size"] == 1
    if host.euid != 0 and (single or not in_user_namespace):
        yield Problem(
            "process.user.additionalGids",
            "cannot set any additional groups in a rootless container",
        )
    elif _setgroups_denied(host):
        yield Problem(
            "process.user.additionalGids",
            "cannot set any additional groups: setgroups is denied in the runtime's user namespace",
        )


def _in_user_namespace(config: dict[str, Any]) -> bool:
    namespaces = (config.get("linux") or {}).get("namespaces") or ()
    return any(namespace["type"] == "user" for namespace in namespaces)


def _mapped(number: int, mappings: list[dict[str, int]]) -> bool:
    return any(0 <= number - row["containerID"] < row["size"] for row in mappings)


def _setgroups_denied(host: Host) -> bool:
    """Whether setgroups(2) is denied where the runtime runs, and so in every user namespace below."""
    try:
        return host.read("/proc/self/setgroups").strip() == b"deny"
    except FileNotFoundError:
        return False
