"""`ocifw bundle`: make a whole bundle, with a root filesystem, out of what is on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocifw.options import FLAG, Option

if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Globals

SUMMARY = "make a bundle with a root filesystem, without downloads"
USAGE = "<folder>"
DESCRIPTION = """
The root filesystem is made from one of:

    host          folders and links only; the host's /usr is mounted on it, read-only
    busybox       a static busybox with a link for each of its programs
    FILE.tar[.*]  what "docker export" or "podman export" writes
    FOLDER        a root filesystem that is there, used where it is

Nothing that is there is overwritten.
"""
OPTIONS = (
    Option("from", default="host", help="'host', 'busybox', a tar archive or a folder"),
    Option(
        "rootless", "", FLAG, False, "for a user without privileges, as 'ocifw spec --rootless'"
    ),
)
ARGUMENTS = (1, 1)


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> None:
    """Make the bundle `arguments[0]`."""
    from ocifw.bundle import make_bundle

    make_bundle(arguments[0], options["from"], rootless=options["rootless"])
