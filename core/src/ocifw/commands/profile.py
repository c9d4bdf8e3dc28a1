"""`ocifw profile`: the profiles that there are, what they do, and whether they are right."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ocifw.errors import UsageError
from ocifw.options import FLAG, Option

from .common import CONFIG, PROFILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ocifw.context import Globals
    from ocifw.plugins import PluginSet
    from ocifw.profile import Roots
    from ocifw.profile_report import Ground

SUMMARY = "list, show, compare and check profiles"
USAGE = "list | show <a> | diff <a> <b> | lint <a>... | which | schema"
DESCRIPTION = """
    list            the profiles that can be named, and where they come from
    show PROFILE    its files, what it changes, its policy
    diff A B        what is different with B instead of A, in the config that comes out
    lint PROFILE…   what is wrong with them, and what they extend; exit status 1 when anything is
    which           the profiles that count for the bundle, what chose them, and their files
    schema          the JSON Schema of profiles, for editors

A PROFILE is a name, or a path, which has a slash or ends in .yaml. What profiles do is shown over the bundle's
config.json with --bundle, else over what "ocifw spec" writes.
"""
OPTIONS = (
    Option("bundle", "b", help="folder of a bundle to lay the profiles over"),
    CONFIG,
    PROFILE,
    Option("json", "", FLAG, False, "print it as JSON"),
)
ARGUMENTS = (1, None)

_COUNTS = {"list": (0, 0), "show": (1, 1), "diff": (2, 2), "lint": (1, None), "which": (0, 0), "schema": (0, 0)}  # fmt: skip


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> int:
    """Do what `arguments[0]` says; returns the exit status."""
    from ocifw import plugins
    from ocifw.profile import system_roots

    name, *rest = arguments
    if name not in _COUNTS:
        raise UsageError(f"profile {name}: expected {', '.join(_COUNTS)}")
    least, most = _COUNTS[name]
    if len(rest) < least or (most is not None and len(rest) > most):
        raise UsageError(f"profile {name}: wrong number of arguments")
    subcommands: dict[str, Callable[[_Call], int]] = {
        "list": _list,
        "show": _show,
        "diff": _diff,
        "lint": _lint,
        "which": _which,
        "schema": _schema,
    }
    references = [_reference(word) for word in rest]
    return subcommands[name](_Call(globals_, options, references, plugins.load(), system_roots()))


class _Call:
    """One call of the command, with what all subcommands need."""

    def __init__(
        self,
        globals_: Globals,
        options: dict[str, Any],
        names: list[str],
        active: PluginSet,
        roots: Roots,
    ) -> None:
        self.globals = globals_
        self.options = options
        self.names = names
        self.active = active
        self.roots = roots

    @property
    def bundle(self) -> str:
        from .common import bundle

        return bundle(self.options) if self.options["bundle"] else ""

    @property
    def ground(self) -> Ground:
        from ocifw.profile_report import ground

        return ground(self.bundle, self.options["config"])

    @property
    def rootless(self) -> bool:
        from ocifw.context import Host
        from ocifw.creation import is_rootless

        return is_rootless(self.globals, Host())

    def show(self, document: Any, lines: Iterable[str]) -> int:
        from ocifw.document import dump_pretty
        from ocifw.output import write

        if self.options["json"]:
            write(dump_pretty(document, "  ") + "\n")
        else:
            write("".join([line + "\n" for line in lines]))
        return 0


def _reference(word: str) -> str:
    return os.path.abspath(word) if "/" in word or word.endswith(".yaml") else word


def _list(call: _Call) -> int:
    from ocifw.display import paint
    from ocifw.profile_report import list_document, list_lines

    rows = list_document(call.active, call.roots)
    return call.show(rows, list_lines(rows, paint()))


def _show(call: _Call) -> int:
    from ocifw.display import paint
    from ocifw.profile_report import show_document, show_lines

    shown = show_document(call.names[0], call.ground, call.active, call.roots, call.rootless)
    return call.show(shown, show_lines(shown, paint()))


def _diff(call: _Call) -> int:
    from ocifw.display import paint
    from ocifw.profile_report import diff, diff_lines

    one, other = call.names
    found = diff(one, other, call.ground, call.active, call.roots, call.rootless)
    return call.show([dict(one.items()) for one in found], diff_lines(found, paint()))


def _lint(call: _Call) -> int:
    from ocifw.errors import ConfigError
    from ocifw.profile_compile import compile_profiles

    problems = []
    for name in call.names:
        try:
            compile_profiles([name], call.active, "", call.roots)
        except ConfigError as error:
            problems += error.problems
    call.show([dict(one.items()) for one in problems], [str(one) for one in problems])
    return int(bool(problems))


def _which(call: _Call) -> int:
    from ocifw.profile_report import which_document

    config = call.ground.config if call.bundle else {}
    found = which_document(
        call.globals, config.get("annotations") or {}, call.active, call.roots, call.bundle
    )
    lines = [f"{', '.join(found['profiles'])}, chosen by {found['chosen']}"]
    lines += [f"  {file}" for file in found["files"]]
    return call.show(
        found, lines if found["profiles"] else ["none: config.json is all that counts"]
    )


def _schema(_call: _Call) -> int:
    from ocifw.document import dump_pretty
    from ocifw.output import write
    from ocifw.profile_schema import published

    write(dump_pretty(published(), "  ") + "\n")
    return 0
