"""The controller net_cls (v1 only): linux.resources.network.classID."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw_cgroups.files import Write


def v1(network: dict[str, Any]) -> list[Write]:
    class_id = network.get("classID") or 0
    return [(("net_cls.classid", str(class_id)),)] if class_id else []


def problems(network: dict[str, Any], version: int) -> Iterator[tuple[str, str]]:
    if version == 2 and network.get("classID"):
        yield "network.classID", f"{network['classID']}: cgroup v2 has no net_cls controller"
