"""Files of cgroup v2 by name: linux.resources.unified."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw_cgroups.files import Write


def v1(unified: dict[str, Any]) -> list[Write]:
    """Nothing: `problems` refuses it."""
    return []


def v2(unified: dict[str, Any]) -> list[Write]:
    """Values as given, one line a write, which is how the kernel takes files with a line for each device."""
    return [
        ((name, line),) for name, value in unified.items() for line in value.split("\n") if line
    ]


def problems(unified: dict[str, Any], version: int) -> Iterator[tuple[str, str]]:
    if version == 1:
        yield "unified", "invalid configuration: cannot use unified on cgroup v1"
        return
    for name in unified:
        if "/" in name or name.startswith("."):
            yield f"unified.{name}", f"{name!r} must be a file name (no slashes)"
