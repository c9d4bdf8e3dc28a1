"""`ocifw explain`: where values of the effective config come from, and what they do."""

from __future__ import annotations

from ocifw.options import FLAG, Option

from .common import BUNDLE, CONFIG, PROFILE, SET, bundle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Globals
    from ocifw.explanation import View

SUMMARY = "show where values of the config come from, and what they do"
USAGE = "[path] | <container-id> <path>"
DESCRIPTION = """
With PATH: the value, where it comes from, what layers did to it, the plugin that owns the field, its steps in the plan, and
what the field means. Without: every value that did not come from config.json, one line each, and what was taken away.

Members of lists are named by position or key: mounts[/tmp], process.env[PATH], linux.namespaces[pid].

With the id of a container it is what the container was created with, and "ocifw update" changed since, from its state; only
the steps are planned anew, and what has changed about the plugins since is told. A single argument that is no field of
config.json is an id.
"""
OPTIONS = (
    BUNDLE,
    CONFIG,
    PROFILE,
    SET,
    Option("json", "", FLAG, False, "print it as JSON"),
)
ARGUMENTS = (0, 2)

_FIELDS = ("ociVersion", "root", "mounts", "process", "hostname", "domainname", "hooks", "annotations", "linux")  # fmt: skip


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> None:
    """Explain a path of a bundle, or of a container."""
    from ocifw.display import paint
    from ocifw.document import dump_pretty
    from ocifw.explanation import as_text, explain, layered, rows_text
    from ocifw.output import write

    view, path = _view(globals_, options, arguments)
    found: Any = explain(view, path) if path else layered(view)
    if options["json"]:
        write(dump_pretty(found, "  ") + "\n")
        return
    lines = as_text(found, paint()) if path else rows_text(found, paint())
    write("".join([line + "\n" for line in lines]))


def _view(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> tuple[View, str]:
    from ocifw import explanation
    from ocifw.container import load
    from ocifw.creation import Creation

    words = list(arguments)
    named = bool(words) and words[0].replace("[", ".").partition(".")[0] not in _FIELDS
    if len(words) == 2 or (named and _is_there(globals_.root, words[0])):
        return explanation.of_container(load(globals_.root, words.pop(0))), "".join(words)
    creation = Creation(globals_, "explain", bundle(options), options["config"])
    return explanation.of_bundle(creation, options["config"]), "".join(words)


def _is_there(root: str, container_id: str) -> bool:
    from ocifw.container import load
    from ocifw.errors import OcifwError

    try:
        load(root, container_id)
    except OcifwError:
        return False
    return True
