"""`ocifw sets`: plugin sets, which say what is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocifw.errors import OcifwError, UsageError
from ocifw.options import Option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ocifw.context import Globals
    from ocifw.sets import ActiveSet

SUMMARY = "show, check and lock plugin sets"
USAGE = "list | show [set] | check [set] | lock [set]"
DESCRIPTION = """
    list          the sets that there are, and the files they are in
    show [SET]    one set, with all that it extends
    check [SET]   whether it can be used: its plugins, their owners, versions and hashes, its profile
    lock [SET]    the set with exact versions and hashes, as a set file

Without SET it is the one that `ocifw --set NAME` names, or `default`.
"""
OPTIONS = (Option("output", "o", help="lock: the file to write, instead of standard output"),)
ARGUMENTS = (1, 2)


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> int:
    """Do what `arguments[0]` says."""
    from ocifw.output import write
    from ocifw.selection import choose

    name, *rest = arguments
    subcommands: dict[str, Callable[[], Iterator[str]]] = {
        "list": _list,
        "show": _show,
        "check": _check,
        "lock": _lock,
    }
    if name not in subcommands:
        raise UsageError(f"sets {name}: expected {', '.join(subcommands)}")
    if rest:
        if name == "list":
            raise UsageError("sets list takes no arguments")
        choose(name=rest[0])
    text = "".join([line + "\n" for line in subcommands[name]()])
    if options["output"]:
        _write(options["output"], text)
    else:
        write(text)
    return 0


def _list() -> Iterator[str]:
    from ocifw.output import table
    from ocifw.selection import DEFAULT, chosen
    from ocifw.sets import found

    rows = [["SET", "STATE", "FILE"]]
    known = list(found(chosen().where()))
    if not any(one.name == DEFAULT for one in known):
        rows.append([DEFAULT, "active", "(built in)"])
    rows += [[one.name, one.state, one.path] for one in known]
    yield table(rows).rstrip("\n")


def _show() -> Iterator[str]:
    active = _resolved()
    yield f"set:           {active.name}"
    if active.description:
        yield f"description:   {active.description}"
    yield f"files:         {', '.join(active.files) or '(built in)'}"
    yield f"profile:       {active.profile or '(none)'}"
    yield f"policy:        {', '.join(active.policy) or '(none)'}"
    yield f"on-change:     {active.on_change}"
    yield f"time-limit-s:  {active.time_limit_s:g}"
    yield "plugins:"
    for member in active.members:
        wants = [f"version {member.version}"] * bool(member.version)
        wants += ["hash"] * bool(member.sha256) + ["required"] * member.required
        wants += ["failure: warn"] * (member.failure == "warn")
        yield f"  {member.name:16}{', '.join(wants) or 'as installed':28}{member.origin}".rstrip()


def _check() -> Iterator[str]:
    from ocifw import linking
    from ocifw.plugins import from_table
    from ocifw.selection import chosen

    active = _resolved()
    linked = from_table(linking.link_set(chosen()))
    absent = [m.name for m in active.members if m.name not in {p.name for p in linked.plugins}]
    for profile in (active.profile, *active.policy):
        if profile:
            _check_profile(profile, linked)
    yield f"plugin set {active.name}: {len(linked.plugins)} plugins can be used"
    if absent:
        yield f"not installed, and not required: {', '.join(absent)}"


def _check_profile(name: str, linked: Any) -> None:
    from ocifw.profile import load, system_roots

    load((name,), linked, "", system_roots())


def _lock() -> Iterator[str]:
    from ocifw import linking
    from ocifw.plugins import from_table
    from ocifw.selection import chosen

    active = _resolved()
    linked = from_table(linking.link_set(chosen()))
    members = {member.name: member for member in active.members}
    yield f"# Written by `ocifw sets lock {active.name}`: exactly these plugins."
    if active.description:
        yield f"description: {_quoted(active.description)}"
    yield "extends: none"
    if active.profile:
        yield f"profile: {_quoted(active.profile)}"
    if len(active.policy) > 1:
        raise OcifwError(
            f"{', '.join(active.policy)}: a locked set can have one policy: make one profile of them"
        )
    if active.policy:
        yield f"policy: {_quoted(active.policy[0])}"
    yield f"on-change: {active.on_change}"
    yield f"time-limit-s: {active.time_limit_s:g}"
    yield "plugins:"
    for plugin in linked.plugins:
        yield f"  {plugin.name}:"
        yield f"    distribution: {_quoted(plugin.distribution)}"
        yield f"    version: {_quoted('==' + plugin.version)}"
        yield f"    sha256: {_quoted(plugin.sha256)}"
        if members[plugin.name].failure != "fail":
            yield f"    failure: {plugin.failure}"


def _resolved() -> ActiveSet:
    from ocifw.selection import chosen
    from ocifw.sets import resolve

    return resolve(chosen())


def _quoted(text: str) -> str:
    from ocifw.document import dump

    return dump(text)


def _write(path: str, text: str) -> None:
    """Whole or not at all, and only once the set has been read: the file may be its own."""
    import os

    from ocifw.container import write_file
    from ocifw.errors import errno_text

    try:
        write_file(os.path.abspath(path), text.encode(), 0o644)
    except OSError as error:
        raise OcifwError(f"{path}: {errno_text(error.errno or 0)}") from error
