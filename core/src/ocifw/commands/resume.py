"""`ocifw resume`: let the processes of a paused container go on."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Globals

SUMMARY = "let the processes of a paused container go on"
USAGE = "<container-id>"
DESCRIPTION = ""
OPTIONS = ()
ARGUMENTS = (1, 1)


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> None:
    """Thaw the container `arguments[0]`."""
    from ocifw.operations import resume

    resume(globals_, arguments[0])
