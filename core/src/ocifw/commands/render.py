"""`ocifw render`: the config.json that counts, with everything that was laid over it."""

from __future__ import annotations

from ocifw.options import Option

from .common import BUNDLE, CONFIG, PROFILE, SET, bundle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Globals

SUMMARY = "write the effective config.json"
USAGE = ""
DESCRIPTION = """
It is an ordinary config.json, which any OCI runtime runs; paths in it stay relative to the bundle. What else a profile says
(settings of plugins, policy) is not in it.
"""
OPTIONS = (
    BUNDLE,
    CONFIG,
    PROFILE,
    SET,
    Option("output", "o", help="file to write, instead of standard output"),
)
ARGUMENTS = (0, 0)


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> None:
    """Write the effective config. Raises OcifwError when the plan, or the policy, does not allow it."""
    from ocifw.container import write_file
    from ocifw.creation import Creation
    from ocifw.document import dump_pretty
    from ocifw.errors import OcifwError, errno_text
    from ocifw.output import write

    creation = Creation(globals_, "render", bundle(options), options["config"])
    creation.plan()
    text = dump_pretty(creation.config, "  ") + "\n"
    if not options["output"]:
        write(text)
        return
    try:
        write_file(options["output"], text.encode(), 0o644)
    except OSError as error:
        raise OcifwError(f"{options['output']}: {errno_text(error.errno or 0)}") from error
