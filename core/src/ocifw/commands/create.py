"""`ocifw create`: make a container, up to but without its program."""

from __future__ import annotations

from .common import CREATE, bundle, create_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Globals

SUMMARY = "create a container"
USAGE = "<container-id>"
DESCRIPTION = """
Makes the container that config.json in the bundle describes, and holds it just before it executes its program.
"ocifw start" lets it go on, "ocifw delete" takes everything back.

The id must not be in use below the state root.
"""
OPTIONS = (*CREATE,)
ARGUMENTS = (1, 1)


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> None:
    """Create the container `arguments[0]`."""
    from ocifw.creation import create

    create(globals_, arguments[0], bundle(options), **create_options(options))
