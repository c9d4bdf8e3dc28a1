"""Which namespaces a container joins and which are made for it: the steps of phase `clone`."""

from __future__ import annotations

from ocifw.errors import Problem
from ocifw.linux.namespaces import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)
from ocifw.steps import Clone, JoinNamespace, JoinNamespaces, SetTimeOffsets, Unshare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw.context import Host, Request
    from ocifw.steps import ContainerStep

    Config = dict[str, Any]

KINDS = {
    "cgroup": CLONE_NEWCGROUP,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "network": CLONE_NEWNET,
    "pid": CLONE_NEWPID,
    "time": CLONE_NEWTIME,
    "mount": CLONE_NEWNS,
    "user": CLONE_NEWUSER,
}
"""The spec's types, in the order in which root joins them."""


def has(config: Config, kind: str) -> bool:
    """Whether the container has a namespace of this type that is not simply the runtime's: made or joined."""
    return kind in _entries(config)


def makes(config: Config, kind: str) -> bool:
    """Whether a new namespace of this type is made for the container."""
    entry = _entries(config).get(kind)
    return entry is not None and not entry[1]


def create_steps(config: Config, host: Host) -> list[ContainerStep]:
    """Join what is given by path, then make the rest.

    Root joins a user namespace last, because its rights over the others (which may belong to the host) end there;
    anybody else joins it first, because that is what gives them rights over the others.

    The kernel makes a user namespace before the others that one call asks for, so they belong to it. Time namespaces
    cannot be made by clone(2), and their offsets must be written before a process is in them: they are unshared
    before, together with the user namespace that gives the right to.
    """
    entries = _entries(config)
    order = list(KINDS)
    if host.euid != 0:
        order = [order[-1], *order[:-1]]
    steps: list[ContainerStep] = []
    made = 0
    for kind in order:
        if kind not in entries:
            continue
        index, path = entries[kind]
        if path:
            steps.append(JoinNamespace(path, KINDS[kind], at=f"linux.namespaces[{index}]"))
        else:
            made |= KINDS[kind]
    offsets = time_offsets(config)
    if made & CLONE_NEWTIME and (offsets or made & CLONE_NEWUSER):
        early = made & (CLONE_NEWTIME | CLONE_NEWUSER)
        steps.append(Unshare(early, at="linux.namespaces"))
        if offsets:
            steps.append(SetTimeOffsets(offsets, at="linux.timeOffsets"))
        made &= ~early
    steps.append(Clone(made, at="linux.namespaces"))
    return steps


def join_steps(config: Config, request: Request) -> list[ContainerStep]:
    """`exec`: join all namespaces that the container has of its own, those it joined itself included."""
    kinds = 0
    for kind in _entries(config):
        kinds |= KINDS[kind]
    if not kinds or request.container is None:
        return [Clone()]
    return [
        JoinNamespaces("container", request.container.pid, kinds, at="linux.namespaces"),
        Clone(),
    ]


def time_offsets(config: Config) -> str:
    """linux.timeOffsets as the lines of /proc/PID/timens_offsets (time_namespaces(7)), "" when there are none."""
    offsets = (config.get("linux") or {}).get("timeOffsets") or {}
    return "".join(
        [
            f"{clock} {offset.get('secs') or 0} {offset.get('nanosecs') or 0}\n"
            for clock, offset in offsets.items()
        ]
    )


def problems(config: Config, host: Host) -> Iterator[Problem]:
    """What this machine cannot do: namespace files that are not there, time namespaces before Linux 5.6."""
    if host.euid != 0 and _made(config) and not has(config, "user"):
        # runc's words. With privileges it would work, but as with runc a user is one who has none.
        yield Problem("linux.namespaces", "rootless container requires user namespaces")
    for kind, (index, path) in _entries(config).items():
        at = f"linux.namespaces[{index}]"
        if path and not host.exists(path):
            yield Problem(f"{at}.path", f"cannot join {path!r}: no such file or directory")
        elif kind == "time" and host.kernel < (5, 6):
            yield Problem(
                f"{at}.type", "this kernel has no time namespaces: they came with Linux 5.6"
            )
        elif path and kind == "user":
            from . import joined

            yield from joined.mapping_problems(config, path, host)
    linux = config.get("linux") or {}
    if linux.get("sysctl"):
        from . import joined

        paths = {kind: path for kind, (_, path) in _entries(config).items() if path}
        yield from joined.sysctl_problems(linux["sysctl"], paths)


def _made(config: Config) -> bool:
    """Whether any namespace is made for the container."""
    return any(not path for _, path in _entries(config).values())


def _entries(config: Config) -> dict[str, tuple[int, str]]:
    """linux.namespaces by type: index and path ("": a new one)."""
    entries = (config.get("linux") or {}).get("namespaces") or ()
    return {entry["type"]: (i, entry.get("path") or "") for i, entry in enumerate(entries)}
