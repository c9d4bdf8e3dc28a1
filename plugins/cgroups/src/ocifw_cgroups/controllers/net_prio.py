"""The controller net_prio (v1 only): linux.resources.network.priorities."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw_cgroups.files import Write


def v1(network: dict[str, Any]) -> list[Write]:
    return [
        (("net_prio.ifpriomap", f"{one['name']} {one['priority']}"),)
        for one in network.get("priorities") or ()
    ]


def problems(network: dict[str, Any], version: int) -> Iterator[tuple[str, str]]:
    if version == 2 and network.get("priorities"):
        yield "network.priorities", "cgroup v2 has no net_prio controller"
