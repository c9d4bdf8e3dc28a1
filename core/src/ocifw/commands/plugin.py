"""`ocifw plugin new`: begin a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocifw.errors import UsageError
from ocifw.options import Option

if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Globals

SUMMARY = "begin a plugin of your own"
USAGE = "new <name>"
DESCRIPTION = """
Makes a project with one hook, its tests, metadata, a README and a workflow, which can be installed and tested as it is. What is
there is never overwritten.
"""
OPTIONS = (Option("output", "o", help="folder to make it in, by default ./ocifw-NAME"),)
ARGUMENTS = (2, 2)


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> None:
    """Make the project for plugin `arguments[1]`."""
    from ocifw.output import write
    from ocifw.scaffold import new

    if arguments[0] != "new":
        raise UsageError(f"plugin {arguments[0]}: expected new")
    for path in new(arguments[1], options["output"]):
        write(f"{path}\n")
