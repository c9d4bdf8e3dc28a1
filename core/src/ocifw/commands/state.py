"""`ocifw state`: what the spec calls the state of a container, as JSON."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocifw.container import Container
    from ocifw.context import Globals

SUMMARY = "show the state of a container"
USAGE = "<container-id>"
DESCRIPTION = ""
OPTIONS = ()
ARGUMENTS = (1, 1)


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> None:
    """Print the state of the container `arguments[0]`."""
    from ocifw.container import load
    from ocifw.document import dump_pretty
    from ocifw.output import write

    write(dump_pretty(state_of(load(globals_.root, arguments[0])), "  ") + "\n")


def state_of(container: Container, owner: str = "") -> dict[str, Any]:
    """The document that runc prints: the spec's state with `rootfs`, `created` and `owner`; pid 0 when stopped."""
    status = container.status
    document: dict[str, Any] = {
        "ociVersion": container.state["ociVersion"],
        "id": container.id,
        "pid": 0 if status == "stopped" else container.pid,
        "status": status,
        "bundle": container.bundle,
        "rootfs": container.state["rootfs"],
        "created": container.created,
    }
    if container.annotations:
        document["annotations"] = container.annotations
    document["owner"] = owner
    return document
