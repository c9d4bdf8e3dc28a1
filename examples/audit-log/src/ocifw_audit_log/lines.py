"""One line of JSON for each phase, as it begins, with the time since the first phase and how long the one before took."""

from __future__ import annotations

import os
import time

from ocifw import document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ocifw.context import Context
    from ocifw.phases import Phase
    from ocifw.step import Step

FILE = "/var/log/ocifw-audit.jsonl"

_began: dict[str, tuple[int, int, str]] = {}
"""For each container: when its first phase began, when its last one did, and which that was. Nanoseconds."""


def entry(
    phase: Phase, side: str, steps: Sequence[Step], context: Context, settings: dict[str, Any]
) -> dict[str, Any]:
    """What a line says. With the setting `steps`, also what each step does."""
    now = time.monotonic_ns()
    first, last, before = _began.get(context.id, (now, now, ""))
    _began[context.id] = (first, now, phase.name)
    line: dict[str, Any] = {
        "time_ns": time.time_ns(),
        "container": context.id,
        "phase": phase.name,
        "side": side,
        "steps": len(steps),
        "offset_us": (now - first) // 1000,
    }
    if before:
        line["before"] = {"phase": before, "took_us": (now - last) // 1000}
    if context.pid:
        line["pid"] = context.pid
    if settings.get("steps"):
        line["does"] = [f"{step.plugin}: {step.describe()}" for step in steps]
    return line


def write(path: str, line: dict[str, Any]) -> None:
    """Append a line, by one write(2): lines of containers that are made at the same time do not mix. Mode 0600."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    try:
        os.write(fd, document.dump(line).encode() + b"\n")
    finally:
        os.close(fd)
