"""The controller pids: linux.resources.pids."""

from __future__ import annotations

from ocifw_cgroups.figures import compact, limit_or_max
from ocifw_cgroups.files import read_or

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw_cgroups.files import Write

FEWEST_TO_CLONE = 2
"""While the container process is made, the intermediate process is in the cgroup, too."""


def v1(pids: dict[str, Any]) -> list[Write]:
    limit = pids.get("limit")
    return [] if limit is None else [(("pids.max", pids_max(limit)),)]


v2 = v1


def pids_max(limit: int) -> str:
    """The content of pids.max. 0 is a limit, too: of the container process alone, as systemd's TasksMax has it."""
    return "max" if limit < 0 else str(max(limit, 1))


def is_tight(pids: dict[str, Any], others: int = 0) -> bool:
    """Whether the limit leaves no room for making the container process, so that it is set afterwards.

    others: processes that are in the cgroup at that time, too.
    """
    limit = pids.get("limit")
    return limit is not None and 0 <= limit < FEWEST_TO_CLONE + others


def problems(pids: dict[str, Any], version: int) -> Iterator[tuple[str, str]]:
    if (pids.get("limit") or 0) < -1:
        yield "pids.limit", f"{pids['limit']} is not a number of processes, nor -1 for no limit"


def stats_v1(folder: str) -> dict[str, Any]:
    return compact(
        {
            "current": int(read_or(f"{folder}/pids.current", "0")),
            "limit": limit_or_max(read_or(f"{folder}/pids.max", "max"), 0),
        }
    )


stats_v2 = stats_v1
