"""`ocifw list`: the containers below the state root."""

from __future__ import annotations

from ocifw.errors import OcifwError
from ocifw.options import FLAG, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw.container import Container
    from ocifw.context import Globals

SUMMARY = "list the containers below the state root"
USAGE = ""
DESCRIPTION = """
Containers whose state cannot be read are named on standard error and left out.
"""
OPTIONS = (
    Option("format", "f", default="table", help="'table' or 'json'"),
    Option("quiet", "q", FLAG, False, "print the ids only"),
)
ARGUMENTS = (0, 0)

_COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> None:
    """Print the containers in the wanted form."""
    from ocifw.document import dump
    from ocifw.output import table, write

    from .state import state_of

    if options["format"] not in ("table", "json"):
        raise OcifwError("invalid format option")
    if options["quiet"]:
        write("".join([f"{container.id}\n" for container in _containers(globals_.root)]))
        return
    states = [state_of(one, _owner(one.state["owner"])) for one in _containers(globals_.root)]
    if options["format"] == "json":
        # An empty list of Go is null, and programs that were written against runc know it.
        write(dump(states or None) + "\n")
        return
    rows = [[str(state[column]) for column in _COLUMNS] for state in states]
    write(table([[column.upper() for column in _COLUMNS], *rows]))


def _containers(root: str) -> Iterator[Container]:
    from ocifw.container import identifiers, load
    from ocifw.errors import NotFound
    from ocifw.output import write

    for container_id in identifiers(root):
        try:
            yield load(root, container_id)
        except NotFound:
            # Deleted since the folder was read.
            continue
        except (OcifwError, OSError) as error:
            write(f"load container {container_id}: {error}\n", 2)


def _owner(uid: int) -> str:
    """The name of a user; `#1234` when the uid has none, as runc writes it."""
    from pwd import getpwuid

    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"
