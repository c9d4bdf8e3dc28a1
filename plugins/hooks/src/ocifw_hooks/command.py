"""`ocifw hooks list|replay`: how a container's hooks went, and one of them once more.

ocifw hooks list [--format table|json] ID
ocifw hooks replay ID KIND [INDEX]
"""

from __future__ import annotations

import os

from ocifw import container as containers
from ocifw import document
from ocifw.errors import ContainerError, OcifwError, UsageError
from ocifw.linux.memfd import sealed
from ocifw.options import HELP, Option, check_count, parse
from ocifw.output import table, write

from .entries import KINDS, arguments, entry_of
from .run import TimedOut, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocifw.container import Container
    from ocifw.context import Globals

USAGE = """\
usage: ocifw hooks list [--format table|json] ID
       ocifw hooks replay ID KIND [INDEX]

list    shows the hooks of the container that have run: exit status, duration, what they wrote
replay  runs a hook of config.json again, with the same arguments, environment and state on its standard input;
        startContainer hooks run in the container, all others but createContainer in the runtime's namespaces
"""

_STATUS = {"prestart": "creating", "createRuntime": "creating", "poststart": "running"}
_TIMED_OUT = 124


def main(globals_: Globals, words: list[str]) -> int:
    """Run the verb; returns its exit status: of replay, the hook's."""
    if not words or words[0] in ("-h", "--help", "help"):
        write(USAGE)
        return 0 if words else 1
    action = words.pop(0)
    if action == "list":
        options, rest = parse((HELP, Option("format", "f", default="table")), words)
        check_count("hooks list", rest, 1, 1)
        show(containers.load(globals_.root, rest[0]), options["format"])
        return 0
    if action == "replay":
        options, rest = parse((HELP,), words)
        check_count("hooks replay", rest, 2, 3)
        index = rest[2] if len(rest) > 2 else "0"
        if rest[1] not in KINDS or not index.isdecimal():
            raise UsageError(f"hooks replay: expected one of {', '.join(KINDS)} and a number")
        return replay(globals_, containers.load(globals_.root, rest[0]), rest[1], int(index))
    raise UsageError(f"hooks: {action!r} is none of list and replay")


def records(container: Container) -> list[dict[str, Any]]:
    """How each hook went that has run, in order: kind, index, path, status, stdout, stderr, durationMs."""
    found = []
    for record in container.notes.get("hooks") or ():
        kind, _, index = record["at"].removeprefix("hooks.").partition("[")
        rest = {key: value for key, value in record.items() if key != "at"}
        found.append({"kind": kind, "index": int(index.rstrip("]") or 0), **rest})
    return found


def show(container: Container, form: str) -> None:
    """Write the records, as JSON or as a table with what each hook wrote below its line."""
    if form not in ("table", "json"):
        raise OcifwError(f"invalid format option: {form}")
    found = records(container)
    if form == "json":
        write(document.dump(found) + "\n")
        return
    rows = [("HOOK", "STATUS", "MS", "PATH")]
    for one in found:
        name = f"{one['kind']}[{one['index']}]"
        rows.append((name, str(one["status"]), str(one["durationMs"]), one["path"]))
    head, *lines = table(rows).splitlines()
    write(head + "\n")
    for one, line in zip(found, lines):
        write(line + "\n")
        for stream in ("stdout", "stderr"):
            for text in one[stream].splitlines():
                # As JSON has them: a hook's output must not steer the terminal.
                write(f"    {stream}: {document.dump(text)[1:-1]}\n")


def replay(globals_: Globals, container: Container, kind: str, index: int) -> int:
    """Run a hook again and pass its output on; returns its exit status, 124 when it ran too long."""
    entry = entry_of(container.config, kind, index)
    if entry is None:
        raise OcifwError(f"container {container.id} has no hook {kind}[{index}]")
    if kind == "createContainer":
        raise OcifwError(
            "createContainer hooks run in the container's mount namespace before its root is entered:"
            " that cannot be had again"
        )
    if kind == "startContainer":
        return _replay_inside(globals_, container, entry)
    status = _STATUS.get(kind, "stopped")
    pid = container.pid if kind in _STATUS else 0
    stdin = document.dump(_state(container, status, pid)).encode()
    try:
        result, out, err = run(
            entry["path"],
            arguments(entry),
            tuple(entry.get("env") or ()),
            stdin,
            entry.get("timeout") or 0,
        )
    except TimedOut as error:
        result, out, err = _TIMED_OUT, error.out, error.err
    os.write(1, out)
    os.write(2, err)
    return result if result >= 0 else 128 - result


def _replay_inside(globals_: Globals, container: Container, entry: dict[str, Any]) -> int:
    """By `exec`, as the container's user: that is what the hook ran as."""
    from ocifw.foreground import execute

    if container.status not in ("created", "running"):
        raise ContainerError(f"cannot exec in a {container.status} container")
    process = {
        **container.config["process"],
        "args": [entry["path"], *arguments(entry)[1:]],
        "cwd": "/",
        "terminal": False,
    }
    if entry.get("env") is not None:
        process["env"] = entry["env"]
    pid = _pid_inside(container.pid)
    stdin = sealed("hook-stdin", document.dump(_state(container, "created", pid)).encode())
    os.lseek(stdin, 0, os.SEEK_SET)
    os.dup2(stdin, 0)
    os.close(stdin)
    return execute(globals_, container.id, process)


def _state(container: Container, status: str, pid: int) -> dict[str, Any]:
    from ocifw.context import oci_state

    version = container.state["ociVersion"]
    return oci_state(version, container.id, status, pid, container.bundle, container.annotations)


def _pid_inside(pid: int) -> int:
    """The pid of a process in its own pid namespace: the last of NSpid in /proc/PID/status (proc(5))."""
    with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
        for line in file.readall().splitlines():
            if line.startswith(b"NSpid:"):
                return int(line.split()[-1])
    return pid
