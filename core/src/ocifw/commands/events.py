"""`ocifw events`: figures about a container, and its out-of-memory events, as lines of JSON."""

from __future__ import annotations

import os
from select import POLLIN, poll
from typing import TYPE_CHECKING

from ocifw.errors import ContainerError, OcifwError
from ocifw.options import FLAG, Option

if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Globals

SUMMARY = "show figures and out-of-memory events of a container"
USAGE = "<container-id>"
DESCRIPTION = """
Prints one JSON object a line, {"type": "stats" or "oom", "id": ..., "data": ...}, until the container ends.
"""
OPTIONS = (
    Option("interval", default="5s", help="time between figures: 500ms, 5s, 1m30s"),
    Option("stats", "", FLAG, False, "print the figures once and exit"),
)
ARGUMENTS = (1, 1)

_UNITS_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9,
             "h": 3600 * 10**9}  # fmt: skip


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> None:
    """Print events of the container `arguments[0]`."""
    from ocifw.operations import stats

    container_id = arguments[0]
    interval_ms = max(1, duration_ns(options["interval"]) // 10**6)
    if options["stats"]:
        _print("stats", container_id, stats(globals_, container_id))
    else:
        _follow(globals_, container_id, interval_ms)


def _follow(globals_: Globals, container_id: str, interval_ms: int) -> None:
    from time import monotonic

    from ocifw.container import load
    from ocifw.operations import oom, stats

    waiting = poll()
    source = oom(globals_, container_id)
    try:
        pidfd = load(globals_.root, container_id).pidfd()
    except ProcessLookupError:
        raise ContainerError(f"container with id {container_id} is not running") from None
    waiting.register(pidfd, POLLIN)
    if source is not None:
        waiting.register(source.fileno(), POLLIN)
    try:
        due = monotonic() + interval_ms / 1000
        while True:
            ready = {fd for fd, _ in waiting.poll(max(0.0, due - monotonic()) * 1000)}
            if source is not None and source.fileno() in ready:
                for _ in range(source.read()):
                    _print("oom", container_id, None)
            if pidfd in ready:
                return
            if monotonic() >= due:
                due = max(due + interval_ms / 1000, monotonic())
                try:
                    _print("stats", container_id, stats(globals_, container_id))
                except ContainerError:
                    # It ended meanwhile; its last out-of-memory events may still be there.
                    continue
    finally:
        os.close(pidfd)
        if source is not None:
            source.close()


def _print(kind: str, container_id: str, data: Any) -> None:
    from ocifw.document import dump
    from ocifw.output import write

    event = {"type": kind, "id": container_id}
    write(dump(event if data is None else {**event, "data": data}) + "\n")


def duration_ns(text: str) -> int:
    """A duration of Go, `1m30s` or `1.5s`, in nanoseconds. Raises OcifwError unless it is one, and more than 0."""
    rest, total = text, 0
    while rest:
        count = len(rest) - len(rest.lstrip("0123456789."))
        number, rest = rest[:count], rest[count:]
        unit = rest[: len(rest) - len(rest.lstrip("nuµmsh"))]
        whole, _, fraction = number.partition(".")
        if unit not in _UNITS_NS or not (whole + fraction).isdigit():
            raise OcifwError(f'invalid value "{text}" for flag -interval: parse error')
        total += int(whole + fraction) * _UNITS_NS[unit] // 10 ** len(fraction)
        rest = rest[len(unit) :]
    if total <= 0:
        raise OcifwError("duration interval must be greater than 0")
    return total
