"""The container's group in resctrl: where it is, what is wrong with what is asked for, and the steps."""

from __future__ import annotations

from ocifw.errors import OcifwError, Problem

from .steps import CompareSchemata, JoinGroup, MakeGroup, WriteSchemata

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from ocifw.container import Container
    from ocifw.context import Host, Request
    from ocifw.steps import RuntimeStep

    Config = dict[str, Any]

AT = "linux.intelRdt"
MOUNTS = "/proc/self/mountinfo"
DEFAULT_GROUP = "/"


def problems(config: Config, request: Request, host: Host) -> Iterator[Problem]:
    """What this machine does not have of what is asked for; runc's texts. Nothing of exec: the group is there."""
    rdt = config["linux"]["intelRdt"]
    root = mountpoint(host)
    if not root:
        yield Problem(
            AT, "intelRdt is specified in config, but resctrl is not mounted on this host"
        )
    if request.is_exec:
        return
    if rdt.get("l3CacheSchema") and not _has(host, root, "L3", "L3CODE"):
        text = "intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled"
        yield Problem(f"{AT}.l3CacheSchema", text)
    if rdt.get("memBwSchema") and not _has(host, root, "MB"):
        text = "intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled"
        yield Problem(f"{AT}.memBwSchema", text)
    if rdt.get("enableMonitoring") and not _has(host, root, "L3_MON"):
        text = "intelRdt.enableMonitoring is specified in config, but Intel RDT monitoring is not enabled"
        yield Problem(f"{AT}.enableMonitoring", text)
    folder = group(rdt, request.id, root)
    if root and rdt.get("closID") and not schemata(rdt) and not host.exists(f"{folder}/schemata"):
        text = f"clos {rdt['closID']!r} does not exist, and no schemata are given to make it with"
        yield Problem(f"{AT}.closID", text)


def make_steps(config: Config, request: Request, host: Host) -> Iterator[RuntimeStep]:
    """Make the group, or make sure that the one that is there is what is asked for; then the monitoring group."""
    rdt = config["linux"]["intelRdt"]
    folder = group(rdt, request.id, mountpoint(host))
    lines = schemata(rdt)
    fresh = not host.exists(f"{folder}/schemata")
    if fresh:
        yield MakeGroup(folder, lines, at=AT)
        for some in writes(rdt):
            yield WriteSchemata(folder, some, at=AT)
    elif lines:
        # config-linux.md: others may be in this group; what it allows them is not the container's to change.
        yield CompareSchemata(folder, lines, at=AT)
    if rdt.get("enableMonitoring"):
        yield MakeGroup(monitor(folder, request.id), (), at=f"{AT}.enableMonitoring")


def join_steps(config: Config, request: Request, host: Host) -> Iterator[RuntimeStep]:
    """Join the group, then the monitoring group: in that order, since moving between groups leaves the latter."""
    rdt = config["linux"]["intelRdt"]
    folder = group(rdt, request.id, mountpoint(host))
    yield JoinGroup(folder, at=AT)
    if rdt.get("enableMonitoring"):
        yield JoinGroup(monitor(folder, request.id), at=f"{AT}.enableMonitoring")


def update_steps(
    container: Container, changes: Mapping[str, Any], host: Host
) -> Iterator[RuntimeStep]:
    """`update`: write new schemata to the group that was made for the container, and to no other."""
    if not changes:
        return
    rdt = (container.config.get("linux") or {}).get("intelRdt")
    made = (container.notes.get("rdt") or {}).get("made") or []
    if rdt is None:
        raise OcifwError(f"container {container.id} has no RDT group: config.json has no {AT}")
    root = mountpoint(host)
    folder = group(rdt, container.id, root)
    if folder not in made:
        raise OcifwError(f"RDT group {folder} was not made for container {container.id}")
    for field, feature, kinds in (
        ("l3CacheSchema", "CAT", ("L3", "L3CODE")),
        ("memBwSchema", "MBA", ("MB",)),
    ):
        if changes.get(field) and not _has(host, root, *kinds):
            raise OcifwError(f"Intel RDT/{feature}: {field} cannot be set on this host")
    for some in writes(changes):
        yield WriteSchemata(folder, some, at=AT)


# ---- what is so -----------------------------------------------------------------------------------------------------


def mountpoint(host: Host) -> str:
    """Where resctrl is mounted, "" for nowhere. proc_pid_mountinfo(5): escapes are octal."""
    for line in host.read(MOUNTS).splitlines():
        before, _, after = line.partition(b" - ")
        fields = before.split(b" ")
        if after.startswith(b"resctrl ") and len(fields) > 4:
            return _unescaped(fields[4]).decode("utf-8", "surrogateescape")
    return ""


def _unescaped(field: bytes) -> bytes:
    for number, byte in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(number, byte)
    return field


def _has(host: Host, root: str, *kinds: str) -> bool:
    return any(host.exists(f"{root}/info/{kind}") for kind in kinds)


def group(rdt: Mapping[str, Any], container_id: str, root: str) -> str:
    """The folder of the group: the closID's, by default the container's own; `/` is everybody's, at the top."""
    name = rdt.get("closID") or container_id
    return root if name == DEFAULT_GROUP else f"{root}/{name}"


def monitor(folder: str, container_id: str) -> str:
    return f"{folder}/mon_groups/{container_id}"


def writes(rdt: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The lines of each write(2), in the specification's order: l3CacheSchema, memBwSchema, then schemata."""
    found = []
    if rdt.get("l3CacheSchema"):
        # Lines for the bandwidth are memBwSchema's: they are filtered out, as the specification demands.
        kept = [line for line in _lines(rdt["l3CacheSchema"]) if not line.startswith("MB:")]
        found.append(tuple(kept))
    if rdt.get("memBwSchema"):
        found.append(tuple(_lines(rdt["memBwSchema"])))
    if rdt.get("schemata"):
        found.append(tuple(rdt["schemata"]))
    return [lines for lines in found if lines]


def schemata(rdt: Mapping[str, Any]) -> tuple[str, ...]:
    """All lines that are asked for, in the order in which they count."""
    return tuple([line for lines in writes(rdt) for line in lines])


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]
