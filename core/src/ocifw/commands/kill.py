"""`ocifw kill`: send a signal to a container."""

from __future__ import annotations

from ocifw.options import FLAG, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Globals

SUMMARY = "send a signal (default: SIGTERM) to a container's process"
USAGE = "<container-id> [signal]"
DESCRIPTION = """
The signal is a number or a name, with or without SIG: 9, KILL, SIGKILL, RTMIN+3.
"""
OPTIONS = (Option("all", "a", FLAG, False, "send it to all processes of the container"),)
ARGUMENTS = (1, 2)


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> None:
    """Send a signal to the container `arguments[0]`."""
    from ocifw.lifecycle import kill

    number = 15
    if len(arguments) > 1:
        from ocifw.signals import parse

        number = parse(arguments[1])
    kill(globals_, arguments[0], number, options["all"])
