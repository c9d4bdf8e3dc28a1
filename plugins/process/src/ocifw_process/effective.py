"""What applies to a process: what it says itself and, for `exec`, else what the container's own process says.

As runc does: a process that is added to a container gets the container's limits, priorities and umask unless its
document has some of its own; otherwise it would run with those of the engine that calls the runtime.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Request


def process(config: dict[str, Any]) -> dict[str, Any]:
    """The `process` object, {} when there is none."""
    return config.get("process") or {}


def container_process(request: Request) -> dict[str, Any]:
    """The `process` object that the container was created with, for `exec`; else {}."""
    if not request.is_exec or request.container is None:
        return {}
    return process(request.container.config)


def of_process(config: dict[str, Any], request: Request, name: str) -> Any:
    """The value of a property of `process`, or None. Empty lists and objects count as absent."""
    value = process(config).get(name)
    if value is None or value in ([], {}):
        value = container_process(request).get(name)
    return value
