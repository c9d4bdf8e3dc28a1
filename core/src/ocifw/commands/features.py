"""`ocifw features`: what this runtime and its plugins can do, as the spec's features document."""

from __future__ import annotations

from ocifw.options import FLAG, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Globals

SUMMARY = "show what the runtime supports"
USAGE = ""
DESCRIPTION = """
The document (features.md of the runtime spec) is put together from what the active plugins declare.
"""
OPTIONS = (
    Option("by-plugin", "", FLAG, False, "show what each plugin adds, and which fields it owns"),
)
ARGUMENTS = (0, 0)


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> None:
    """Print the features document."""
    from ocifw.document import dump_pretty
    from ocifw.operations import features, features_by_plugin
    from ocifw.output import write

    document = features_by_plugin() if options["by-plugin"] else features()
    write(dump_pretty(document, "    ") + "\n")
