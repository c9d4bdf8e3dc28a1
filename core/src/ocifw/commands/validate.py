"""`ocifw validate`: whether a bundle can be run here, without making anything."""

from __future__ import annotations

from ocifw.options import FLAG, Option

from .common import BUNDLE, CONFIG, PROFILE, SET, bundle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Globals

SUMMARY = "check a bundle: its config, profiles and policy, and what this machine can do"
USAGE = "[bundle]"
DESCRIPTION = """
Checks config.json against the schema and the spec's rules, the profiles, the config that comes out with every plugin that owns
one of its fields, the policy, and this machine: kernel, cgroup controllers, security modules, ranges of ids, files, programs.
Unknown properties, which the spec wants ignored, are warnings.

Exit status:

    0   a container can be made; there may be warnings, unless --strict
    1   something is wrong
    2   the command line cannot be understood
"""
OPTIONS = (
    BUNDLE,
    CONFIG,
    PROFILE,
    SET,
    Option("strict", "", FLAG, False, "count warnings as errors"),
    Option("json", "", FLAG, False, "print the findings as JSON"),
)
ARGUMENTS = (0, 1)
USAGE_STATUS = 2


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> int:
    """Print what is wrong with the bundle; returns the exit status."""
    from ocifw.checkup import ERROR, as_document, as_lines, check
    from ocifw.display import paint
    from ocifw.document import dump_pretty
    from ocifw.output import write

    path = bundle({**options, "bundle": arguments[0] if arguments else options["bundle"]})
    found = check(globals_, path, options["config"])
    failed = any(options["strict"] or one.severity == ERROR for one in found)
    if options["json"]:
        write(dump_pretty(as_document(path, found, failed), "  ") + "\n")
    else:
        write("".join([line + "\n" for line in as_lines(path, found, paint())]))
    return int(failed)
