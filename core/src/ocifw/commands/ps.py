"""`ocifw ps`: the processes of a container, as the runtime's pid namespace numbers them."""

from __future__ import annotations

import os

from ocifw.errors import OcifwError
from ocifw.options import Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ocifw.context import Globals

SUMMARY = "show the processes of a container"
USAGE = "<container-id> [ps options]"
DESCRIPTION = """
The table is that of ps(1), called with the options after the id (default: -ef), without the lines of processes that are
not the container's.
"""
OPTIONS = (Option("format", "f", default="table", help="'table', or 'json' for a list of pids"),)
ARGUMENTS = (1, None)
REST = True


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> None:
    """Print the processes of the container `arguments[0]`."""
    from ocifw.operations import processes
    from ocifw.output import write

    if options["format"] not in ("table", "json"):
        raise OcifwError("invalid format option")
    pids = processes(globals_, arguments[0])
    if options["format"] == "json":
        from ocifw.document import dump

        write(dump(pids) + "\n")
    else:
        write(select(_ps(arguments[1:] or ["-ef"]), pids))


def _ps(options: Sequence[str]) -> str:
    output = os.memfd_create("ps", os.MFD_CLOEXEC)
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ]
        child = os.posix_spawnp("ps", ["ps", *options], os.environ, file_actions=actions)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        text = os.pread(output, os.fstat(output).st_size, 0).decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        raise OcifwError('exec: "ps": executable file not found in $PATH') from None
    finally:
        os.close(output)
    if status:
        raise OcifwError(f"ps exited with {status}: {text.strip()}")
    return text


def select(table: str, pids: Sequence[int]) -> str:
    """The header of a table of ps(1), and the lines of these pids. Raises OcifwError when it has no column PID."""
    header, *lines = table.splitlines() or [""]
    columns = header.split()
    if "PID" not in columns:
        raise OcifwError("couldn't find PID field in ps output")
    column = columns.index("PID")
    wanted = {str(pid) for pid in pids}
    chosen = [
        line
        for line in lines
        if len(fields := line.split(None, column + 1)) > column and fields[column] in wanted
    ]
    return "".join([line + "\n" for line in [header, *chosen]])
