"""`ocifw start`: let a created container execute its program."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Globals

SUMMARY = "execute the program of a created container"
USAGE = "<container-id>"
DESCRIPTION = ""
OPTIONS = ()
ARGUMENTS = (1, 1)


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> None:
    """Start the container `arguments[0]`."""
    from ocifw.lifecycle import start

    start(globals_, arguments[0])
