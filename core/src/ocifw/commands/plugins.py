"""`ocifw plugins`: the plugins that are installed, and what the active set makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocifw.errors import OcifwError, UsageError
from ocifw.options import FLAG, Option

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ocifw.context import Globals

SUMMARY = "show and check the installed plugins"
USAGE = "list | show <plugin> | verify | which <field> | graph | link"
DESCRIPTION = """
    list            every plugin of the set, and those that are installed without being in it
    show PLUGIN     one plugin: where it comes from, what it owns, which hooks it implements
    verify          look at all files again: owners, hashes, versions, what is imported
    which FIELD     the plugin that handles a field of config.json
    graph           the phases, with the plugins in the order of their steps
    link            link the set anew, and write the cache

The set is `default`, or the one that `ocifw --set NAME` names.
"""
OPTIONS = (Option("json", "", FLAG, False, "print JSON"),)
ARGUMENTS = (1, 2)


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> int:
    """Do what `arguments[0]` says."""
    name, *rest = arguments
    subcommands: dict[str, tuple[int, Callable[..., int]]] = {
        "list": (0, _list),
        "show": (1, _show),
        "verify": (0, _verify),
        "which": (1, _which),
        "graph": (0, _graph),
        "link": (0, _link),
    }
    if name not in subcommands:
        raise UsageError(f"plugins {name}: expected {', '.join(subcommands)}")
    count, function = subcommands[name]
    if len(rest) != count:
        raise UsageError(f"plugins {name} takes {count or 'no'} argument{'s' * (count != 1)}")
    return function(*rest, as_json=options["json"])


def _list(as_json: bool) -> int:
    from ocifw.output import table, write
    from ocifw.plugin_report import COLUMNS, rows

    found = rows()
    if as_json:
        _json(found)
    else:
        lines = [[row[column] for column in COLUMNS] for row in found]
        write(table([[column.upper() for column in COLUMNS], *lines]))
    return 0


def _show(name: str, as_json: bool) -> int:
    from ocifw.output import write
    from ocifw.plugin_report import show

    facts = list(show(name))
    if as_json:
        _json(dict(facts))
    else:
        write("".join([f"{what + ':':15}{value}\n" for what, value in facts]))
    return 0


def _verify(as_json: bool) -> int:
    from ocifw.output import write
    from ocifw.plugin_report import verify

    found = list(verify())
    if as_json:
        _json([{"plugin": name, "problem": problem} for name, problem in found])
    else:
        write("".join([f"{name}: {problem or 'ok'}\n" for name, problem in found]))
    return int(any(problem for _, problem in found))


def _which(field: str, as_json: bool) -> int:
    from ocifw.output import write
    from ocifw.plugin_report import which

    text = which(field)
    if as_json:
        _json(dict(line.split(": ", 1) for line in text.splitlines()))
    else:
        write(text + "\n")
    return 0


def _graph(as_json: bool) -> int:
    from ocifw.output import write
    from ocifw.plugin_report import graph

    if as_json:
        from ocifw.plugins import load

        _json(
            {
                hook: [{"plugin": one.plugin, "wrapper": one.wrapper} for one in implementations]
                for hook, implementations in load().hooks.items()
            }
        )
    else:
        write("".join([line + "\n" for line in graph()]))
    return 0


def _link(as_json: bool) -> int:
    from ocifw import linked, linking
    from ocifw.image import renew
    from ocifw.output import write
    from ocifw.selection import chosen

    table = linking.link_set(chosen())
    if not linked.write(linked.key(), table):
        raise OcifwError("the cache cannot be written (see --debug)")
    renew()
    if not as_json:
        write(f"linked {len(table['plugins'])} plugins\n")
    return 0


def _json(value: Any) -> None:
    from ocifw.document import dump_pretty
    from ocifw.output import write

    write(dump_pretty(value, "  ") + "\n")
