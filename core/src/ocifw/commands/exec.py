"""`ocifw exec`: run another process in a container."""

from __future__ import annotations

from ocifw.errors import OcifwError
from ocifw.options import FLAG, NUMBERS, TEXTS, Option, integer

from .common import (
    CONSOLE_SOCKET,
    DETACH,
    NO_SUBREAPER,
    PID_FILE,
    PIDFD_SOCKET,
    PRESERVE_FDS,
    absolute,
    preserve_fds,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ocifw.context import Globals

SUMMARY = "run another process in a container"
USAGE = "<container-id> <command> [arguments...] | -p FILE <container-id>"
DESCRIPTION = """
The process is that of the container's config.json with the command's arguments and what the options say, or exactly the
one that FILE describes. In the foreground, waits for it and exits with its status; with 255 when it could not be run.

Everything after the id belongs to the command.
"""
OPTIONS = (
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    PID_FILE,
    Option("process", "p", help="file with the whole process, as in config.json"),
    Option("cwd", help="working directory in the container"),
    Option("env", "e", TEXTS, help="NAME=VALUE to add to the environment; may be repeated"),
    Option("tty", "t", FLAG, False, "give the process a pseudo-terminal"),
    Option("user", "u", help="UID or UID:GID, in numbers"),
    Option("additional-gids", "g", NUMBERS, help="further group id; may be repeated"),
    DETACH,
    Option("process-label", help="SELinux label of the process"),
    Option("apparmor", help="AppArmor profile of the process"),
    Option("no-new-privs", "", FLAG, None, "set no_new_privs for the process"),
    Option("cap", "c", TEXTS, help="capability to add; may be repeated"),
    PRESERVE_FDS,
    Option("cgroup", "", TEXTS, help="[CONTROLLER:]PATH of a cgroup below the container's"),
    Option("ignore-paused", "", FLAG, False, "run it in a paused container, too"),
    NO_SUBREAPER,
)  # fmt: skip
ARGUMENTS = (1, None)
REST = True
FAILURE = "exec failed: "
FAILURE_STATUS = 255

_ID_LIMIT = 2**32 - 2
"""The largest user or group id: the kernel reads 2**32 - 1 as "none"."""


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> int:
    """Run a process in the container `arguments[0]`; returns its exit status, 0 at once when detached."""
    from ocifw.foreground import execute

    container_id, *command = arguments
    if options["process"]:
        from ocifw.document import read

        process = read(absolute(options["process"]), "process.json")
    else:
        from ocifw.container import load

        if not command:
            raise OcifwError("process args cannot be empty")
        stored = load(globals_.root, container_id).config.get("process") or {}
        process = changed(stored, options, command)
    return execute(
        globals_,
        container_id,
        process,
        detach=options["detach"],
        console_socket=absolute(options["console-socket"]),
        pid_file=absolute(options["pid-file"]),
        pidfd_socket=absolute(options["pidfd-socket"]),
        preserve_fds=preserve_fds(options),
        cgroup=cgroups(options["cgroup"]),
        ignore_paused=options["ignore-paused"],
        no_subreaper=options["no-subreaper"],
        foreign=bool(options["process"]),
    )


def changed(
    stored: Mapping[str, Any], options: Mapping[str, Any], command: Sequence[str]
) -> dict[str, Any]:
    """The container's own process, changed as the options say. `stored` stays as it is."""
    process = {**stored, "args": list(command), "terminal": options["tty"]}
    process.setdefault("cwd", "/")
    for field, option in (
        ("cwd", "cwd"),
        ("selinuxLabel", "process-label"),
        ("apparmorProfile", "apparmor"),
    ):
        if options[option]:
            process[field] = options[option]
    if options["env"]:
        process["env"] = [*(process.get("env") or ()), *options["env"]]
    if options["no-new-privs"] is not None:
        process["noNewPrivileges"] = options["no-new-privs"]
    if options["user"] or options["additional-gids"]:
        process["user"] = _user(process.get("user") or {}, options)
    if options["cap"]:
        process["capabilities"] = _capabilities(process.get("capabilities") or {}, options["cap"])
    return process


def _user(stored: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    user = {"uid": 0, "gid": 0, **stored}
    if options["user"]:
        uid, colon, gid = options["user"].partition(":")
        user["uid"] = _id(uid, "uid")
        if colon:
            user["gid"] = _id(gid, "gid")
    if options["additional-gids"]:
        for gid in options["additional-gids"]:
            if not 0 <= gid <= _ID_LIMIT:
                raise OcifwError(f"additional-gids must be a positive number {gid}")
        user["additionalGids"] = [*(user.get("additionalGids") or ()), *options["additional-gids"]]
    return user


def _id(text: str, what: str) -> int:
    """A user or group id: digits, and nothing else. Anything else that is let through ends as 0 (CVE-2026-30892)."""
    number = integer(text) if text[:1] not in ("+", "-") else None
    if number is None or number > _ID_LIMIT:
        raise OcifwError(f'parsing {text} as int for {what} failed: "{text}": invalid syntax')
    return number


def _capabilities(stored: Mapping[str, Any], added: Sequence[str]) -> dict[str, Any]:
    """The sets with more capabilities; never in the inheritable set (CVE-2022-29162).

    The kernel lets a capability be ambient only when it is inheritable (capabilities(7)), so it is only where it was.
    """
    sets = {name: list(names or ()) for name, names in stored.items()}
    inheritable = sets.get("inheritable", [])
    for capability in added:
        for name in ("bounding", "effective", "permitted", "ambient"):
            if name == "ambient" and capability not in inheritable:
                continue
            if capability not in sets.setdefault(name, []):
                sets[name].append(capability)
    return sets


def cgroups(given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of controller ("" is every) and path. Raises OcifwError for a path that leads outside."""
    pairs: dict[str, str] = {}
    for argument in given:
        controllers, colon, path = argument.rpartition(":")
        if ":" in controllers or ".." in path.split("/") or not path.strip("/"):
            raise OcifwError(f"invalid --cgroup argument: {argument}")
        if not colon and len(given) > 1:
            raise OcifwError(
                f"invalid --cgroup argument: {argument} (missing <controller>: prefix)"
            )
        for controller in controllers.split(","):
            pairs[controller] = path
    return tuple(pairs.items())
