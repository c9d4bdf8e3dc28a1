"""Options that several verbs have, and what they make of them."""

from __future__ import annotations

import os

from ocifw.errors import OcifwError
from ocifw.options import FLAG, NUMBER, TEXTS, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BUNDLE = Option("bundle", "b", help="folder of the bundle, by default the current folder")
CONFIG = Option("config", "f", default="config.json", help="name of the file with the config")
CONSOLE_SOCKET = Option(
    "console-socket", help="AF_UNIX socket to send the master of the process's pseudo-terminal to"
)
PIDFD_SOCKET = Option("pidfd-socket", help="AF_UNIX socket to send a pidfd of the process to")
PID_FILE = Option("pid-file", help="file to write the process's pid to")
PRESERVE_FDS = Option(
    "preserve-fds", "", NUMBER, 0, "pass N file descriptors from 3 on, beside those of LISTEN_FDS"
)
DETACH = Option("detach", "d", FLAG, False, "do not wait for the process")
NO_SUBREAPER = Option("no-subreaper", "", FLAG, False, "do not reap orphans of the container")
NO_PIVOT = Option(
    "no-pivot", "", FLAG, False, "move the root instead of pivot_root(2), on a ramdisk"
)

PROFILE = Option(
    "profile", "", TEXTS, help="name or path of a profile to lay over the config; may be repeated"
)
SET = Option(
    "set", "", TEXTS, help="PATH=VALUE to lay over the config, after profiles; may be repeated"
)

CREATE = (
    BUNDLE,
    CONFIG,
    PROFILE,
    SET,
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    PID_FILE,
    NO_PIVOT,
    Option("no-new-keyring", "", FLAG, False, "keep the caller's session keyring"),
    PRESERVE_FDS,
)
"""What `create` and `run` have in common."""


def create_options(options: dict[str, Any]) -> dict[str, Any]:
    """The values of CREATE, without the bundle, as `creation.create` and `foreground.run` take them."""
    return {
        "config_file": options["config"],
        "console_socket": absolute(options["console-socket"]),
        "pid_file": absolute(options["pid-file"]),
        "pidfd_socket": absolute(options["pidfd-socket"]),
        "preserve_fds": preserve_fds(options),
        "no_pivot": options["no-pivot"],
        "no_new_keyring": options["no-new-keyring"],
    }


def bundle(options: dict[str, Any]) -> str:
    """The bundle's folder, absolute. Raises OcifwError when it is not there."""
    path = os.path.abspath(options["bundle"] or ".")
    if not os.path.isdir(path):
        raise OcifwError(f"chdir {path}: {_absence(path)}")
    return path


def _absence(path: str) -> str:
    return "not a directory" if os.path.exists(path) else "no such file or directory"


def absolute(path: str) -> str:
    """A path of the command line, which is relative to the caller's folder; "" stays."""
    return os.path.abspath(path) if path else ""


def preserve_fds(options: dict[str, Any]) -> int:
    """The value of --preserve-fds. Raises OcifwError unless it can be a number of file descriptors."""
    number: int = options["preserve-fds"]
    if not 0 <= number <= 65536:
        raise OcifwError(f"--preserve-fds {number}: not a number of file descriptors")
    return number
