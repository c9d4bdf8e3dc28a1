"""`ocifw pause`: freeze all processes of a container."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Globals

SUMMARY = "freeze all processes of a container"
USAGE = "<container-id>"
DESCRIPTION = ""
OPTIONS = ()
ARGUMENTS = (1, 1)


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> None:
    """Freeze the container `arguments[0]`."""
    from ocifw.operations import pause

    pause(globals_, arguments[0])
