"""`ocifw run`: create, start, wait and delete in one."""

from __future__ import annotations

from ocifw.options import FLAG, Option

from .common import CREATE, DETACH, NO_SUBREAPER, bundle, create_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Globals

SUMMARY = "create and run a container"
USAGE = "<container-id>"
DESCRIPTION = """
Makes the container that config.json in the bundle describes and starts it. In the foreground, waits for it, passes
signals on to it, deletes it, and exits with its status, or with 128+N when signal N ended it.
"""
OPTIONS = (
    *CREATE,
    DETACH,
    Option("keep", "", FLAG, False, "do not delete the container when it has ended"),
    NO_SUBREAPER,
)
ARGUMENTS = (1, 1)


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> int:
    """Run the container `arguments[0]`; returns its exit status, 0 at once when detached."""
    from ocifw.foreground import run as run_container

    return run_container(
        globals_,
        arguments[0],
        bundle(options),
        detach=options["detach"],
        keep=options["keep"],
        no_subreaper=options["no-subreaper"],
        **create_options(options),
    )
