"""What must be so of namespaces that are joined by path: which they are, and how a user namespace maps ids."""

from __future__ import annotations

import os

from ocifw.errors import OcifwError, Problem
from ocifw.linux.namespaces import CLONE_NEWUSER, setns

from . import sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from ocifw.context import Host

    Row = tuple[int, int, int]

FILES = {"network": "net", "ipc": "ipc", "uts": "uts", "user": "user"}
"""Names in /proc/PID/ns of the types that have sysctls of their own."""


def sysctl_problems(settings: Iterable[str], paths: Mapping[str, str]) -> Iterator[Problem]:
    """Sysctls of namespaces that are joined and are the runtime's own: they would be changed for the host.

    paths: by type, of those that are joined.
    """
    own = {kind for kind, path in paths.items() if kind in FILES and is_own(kind, path)}
    for key in settings:
        kind = _kind(sysctl.path(key))
        if kind in own:
            yield Problem("linux.sysctl", f"sysctl {key!r} not allowed in host {kind} namespace")


def _kind(path: str) -> str:
    first, _, rest = path.partition("/")
    if first == "net":
        return "network"
    if first == "user":
        return "user"
    return "uts" if rest in ("domainname", "hostname") else "ipc"


def is_own(kind: str, path: str) -> bool:
    """Whether a namespace file is that of the namespace which the runtime is in. A missing one is not."""
    try:
        theirs, ours = os.stat(path), os.stat(f"/proc/self/ns/{FILES[kind]}")
    except OSError:
        return False
    return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)


def mapping_problems(config: dict[str, Any], path: str, host: Host) -> Iterator[Problem]:
    """Mappings for a user namespace that has some already; engines send both, and are forgiven when they are the same."""
    linux = config["linux"]
    given = _rows(linux.get("uidMappings") or ()), _rows(linux.get("gidMappings") or ())
    if given == ([], []):
        return
    try:
        found = read_maps(path)
    except OSError as error:
        text = f"cannot read the mappings of {path!r}: {(error.strerror or '').lower()}"
        yield Problem("linux.namespaces", text)
        return
    if tuple(map(_merged, found)) == tuple(map(_merged, given)):
        host.warn(
            "linux.uidMappings: config.json has both a user namespace path and matching mappings:"
            " the mappings are not needed"
        )
    else:
        text = (
            "user namespaces enabled, but both namespace path and non-matching mapping specified"
            " -- you may only provide one"
        )
        yield Problem("linux.uidMappings", text)


def _rows(mappings: Iterable[Mapping[str, int]]) -> list[Row]:
    return [(row["containerID"], row["hostID"], row["size"]) for row in mappings]


def _merged(rows: list[Row]) -> list[Row]:
    """In order, and neighbours as one: two ways of saying the same are the same."""
    found: list[Row] = []
    for inside, outside, size in sorted(rows):
        if found:
            a, b, n = found[-1]
            if (a + n, b + n) == (inside, outside):
                found[-1] = (a, b, n + size)
                continue
        found.append((inside, outside, size))
    return found


def read_maps(path: str) -> tuple[list[Row], list[Row]]:
    """uid_map and gid_map of a user namespace, with host ids as the runtime's user namespace has them.

    Only of processes can they be read: one is made that joins it. Raises OSError.
    """
    namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    said, say = os.pipe2(os.O_CLOEXEC)
    wait, go = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _stay_inside(namespace, say, (wait, go))
    for fd in (namespace, say, wait):
        os.close(fd)
    try:
        answer = os.read(said, 16)
        if answer:
            number = int(answer)
            raise OSError(number, os.strerror(number), path)
        return _map(pid, "uid_map"), _map(pid, "gid_map")
    finally:
        os.close(go)
        os.close(said)
        os.waitpid(pid, 0)


def _stay_inside(namespace: int, say: int, until: tuple[int, int]) -> None:
    """The child: join, tell that it is done by closing `say`, or with the errno, and end when the parent lets go."""
    try:
        wait, go = until
        os.close(go)
        try:
            setns(namespace, CLONE_NEWUSER)
        except OSError as error:
            os.write(say, b"%d" % (error.errno or 0))
        os.close(say)
        os.read(wait, 1)
    finally:
        os._exit(0)


def _map(pid: int, name: str) -> list[Row]:
    with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
        lines = (file.readall() or b"").splitlines()
    rows = [tuple(map(int, line.split())) for line in lines]
    if any(len(row) != 3 for row in rows):
        raise OcifwError(f"/proc/{pid}/{name}: not understood")
    return [(row[0], row[1], row[2]) for row in rows]
