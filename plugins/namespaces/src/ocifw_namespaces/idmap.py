"""The user and group id mappings of a new user namespace: user_namespaces(7).

Written by the runtime, from outside, once the container process is in its user namespace. Who lacks CAP_SETUID and
CAP_SETGID may only map the own ids; for more, the set-user-ID programs newuidmap(1) and newgidmap(1) write what
/etc/subuid and /etc/subgid allow.
"""

from __future__ import annotations

import os
from errno import EPERM

from ocifw.errors import OcifwError, StepFailed
from ocifw.steps import RuntimeStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ocifw.context import Context, Host

    Mapping = tuple[int, int, int]

NOT_FOUND = "map is not installed"

_HELPER_FOLDERS = ("/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin")
_HELPER_OUTPUT_BYTES = 4096
# Every signal but SIGKILL, SIGSTOP and the two that glibc keeps for itself.
_SIGNALS = [number for number in range(1, 65) if number not in (9, 19, 32, 33)]


def plan(config: dict[str, Any], host: Host) -> WriteIdMaps:
    """The step that writes linux.uidMappings and linux.gidMappings."""
    linux = config["linux"]
    gids = _triples(linux.get("gidMappings"))
    # Without privileges a single id of the own can be mapped without help, but only when setgroups(2) is denied first:
    # dropping a group could give access that the group is refused (CVE-2014-8989).
    deny = host.euid != 0 and len(gids) == 1 and gids[0][2] == 1
    return WriteIdMaps(_triples(linux.get("uidMappings")), gids, deny, at="linux.uidMappings")


class WriteIdMaps(RuntimeStep):
    """Write uid_map and gid_map of the container process. Mappings are (container id, host id, size)."""

    _text = "map the user namespace's ids"
    uids: tuple[Mapping, ...]
    gids: tuple[Mapping, ...]
    deny_setgroups: bool = False

    def apply(self, context: Context) -> None:
        if self.deny_setgroups:
            _write(f"/proc/{context.pid}/setgroups", "deny")
        try:
            write_id_map(context.pid, "uid", self.uids)
            write_id_map(context.pid, "gid", self.gids)
        except OcifwError as error:
            raise StepFailed(self, EPERM, "", str(error)) from error


def write_id_map(pid: int, kind: str, mappings: Sequence[Mapping]) -> None:
    """Write /proc/PID/{uid,gid}_map in one write, as user_namespaces(7) demands, or have it written.

    kind: "uid" or "gid". The direct way needs CAP_SETUID (or CAP_SETGID) in the parent user namespace, or maps the
    caller's own id; where it is forbidden, newuidmap or newgidmap is asked.
    Raises OcifwError, which says what is missing; OSError(EINVAL) when ranges overlap; OSError(EPERM) when the map was
    written before.
    """
    if not mappings:
        return
    path = f"/proc/{pid}/{kind}_map"
    try:
        _write(
            path, "".join([f"{inside} {outside} {size}\n" for inside, outside, size in mappings])
        )
    except OSError as error:
        if error.errno != EPERM:
            raise
        if uncovered := _not_mapped_here(kind, mappings):
            raise OcifwError(
                f"{kind} {uncovered} is not mapped in the runtime's own user namespace"
            ) from error
        _ask_helper(pid, kind, mappings)


def _ask_helper(pid: int, kind: str, mappings: Sequence[Mapping]) -> None:
    """Let newuidmap(1) or newgidmap(1) write the map. Raises OcifwError with what it said."""
    name = f"new{kind}map"
    program = _helper(name)
    if not program:
        folders = ", ".join(_HELPER_FOLDERS)
        capability = f"CAP_SET{kind.upper()}"
        raise OcifwError(f"the runtime lacks {capability}, and new{kind}{NOT_FOUND} in {folders}")
    numbers = [str(number) for mapping in mappings for number in mapping]
    output = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ]
        child = os.posix_spawn(
            program, [name, str(pid), *numbers], {}, file_actions=actions,
            setsigmask=(), setsigdef=_SIGNALS,
        )  # fmt: skip
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            said = os.pread(output, _HELPER_OUTPUT_BYTES, 0).decode("utf-8", "replace").strip()
            raise OcifwError(f"{program} ended with status {status}: {said}")
    finally:
        os.close(output)


def _helper(name: str) -> str:
    """The absolute path of a helper, never looked for in PATH; "" when there is none."""
    for folder in _HELPER_FOLDERS:
        if os.access(f"{folder}/{name}", os.X_OK):
            return f"{folder}/{name}"
    return ""


def _not_mapped_here(kind: str, mappings: Sequence[Mapping]) -> str:
    """The first host range that the runtime's own user namespace does not have, "" when it has all of them."""
    with open(f"/proc/self/{kind}_map", "rb", buffering=0) as file:
        rows = [[int(word) for word in line.split()] for line in file.readall().splitlines()]
    own = sorted([(inside, inside + size) for inside, _, size in rows])
    for _, outside, size in mappings:
        first, end = outside, outside + size
        for start, stop in own:
            if start <= first < stop:
                first = stop
        if first < end:
            return str(first)
    return ""


def _triples(mappings: list[dict[str, int]] | None) -> tuple[Mapping, ...]:
    return tuple([(row["containerID"], row["hostID"], row["size"]) for row in mappings or ()])


def _write(path: str, text: str) -> None:
    """Write a file of /proc in one write(2). The OSError names the file."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)
