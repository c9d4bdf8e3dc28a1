"""`ocifw version`: which ocifw this is, in the form that engines read from runc."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Globals

SUMMARY = "show the version"
USAGE = ""
DESCRIPTION = ""
OPTIONS = ()
ARGUMENTS = (0, 0)


def run(globals_: Globals | None, options: dict[str, Any], arguments: list[str]) -> None:
    """Print the version. docker finds the runtime's version in the line `commit:` when its name is not runc."""
    from ocifw import __version__
    from ocifw.context import SPEC_VERSION
    from ocifw.output import write

    python = ".".join(str(number) for number in sys.version_info[:3])
    write(
        f"ocifw version {__version__}\ncommit: {__version__}\n"
        f"spec: {SPEC_VERSION}\npython: {python}\n"
    )
