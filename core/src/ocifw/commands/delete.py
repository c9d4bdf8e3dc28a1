"""`ocifw delete`: take back everything that `create` did."""

from __future__ import annotations

from ocifw.options import FLAG, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Globals

SUMMARY = "delete a container that has ended"
USAGE = "<container-id>"
DESCRIPTION = """
A container that was created and never started is ended first. With --force, so is one that runs, and an id that is
not in use is no error.
"""
OPTIONS = (Option("force", "f", FLAG, False, "end the container by SIGKILL if it runs"),)
ARGUMENTS = (1, 1)


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> None:
    """Delete the container `arguments[0]`."""
    from ocifw.lifecycle import delete

    delete(globals_, arguments[0], options["force"])
