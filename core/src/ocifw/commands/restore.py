"""`ocifw restore`: bring a container back that `checkpoint` wrote to disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocifw.options import Option

from .checkpoint import IMAGES, help_status, image_options
from .common import (
    BUNDLE,
    CONSOLE_SOCKET,
    DETACH,
    NO_PIVOT,
    NO_SUBREAPER,
    PID_FILE,
    PIDFD_SOCKET,
    PROFILE,
    SET,
    absolute,
    bundle,
)

if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Globals

__all__ = ["ARGUMENTS", "DESCRIPTION", "OPTIONS", "SUMMARY", "USAGE", "help_status", "run"]

SUMMARY = "bring a container back from a checkpoint"
USAGE = "<container-id>"
DESCRIPTION = """
The bundle is the one that the container was made from, and the profiles should be, too: their policy is checked as
"ocifw create" checks it, and rules that were in effect and are not any more are told. In the foreground, waits for the
container, deletes it, and exits with its status. Needs the plugin ocifw-criu, and criu.
"""
OPTIONS = (
    BUNDLE,
    PROFILE,
    SET,
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    PID_FILE,
    DETACH,
    NO_SUBREAPER,
    NO_PIVOT,
    *IMAGES,
    Option("lsm-profile", help="TYPE:NAME of the security profile to restore with"),
    Option("lsm-mount-context", help="SELinux context of mounts to restore with"),
)
ARGUMENTS = (1, 1)


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> int:
    """Restore the container `arguments[0]`; returns its exit status, 0 at once when detached."""
    from ocifw.restoring import restore

    values = image_options(options)
    for name in ("console-socket", "pidfd-socket", "pid-file"):
        values[name] = absolute(options[name])
    return restore(globals_, arguments[0], bundle(options), values)
