"""The controller rdma: linux.resources.rdma."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw_cgroups.files import Write


def v1(rdma: dict[str, Any]) -> list[Write]:
    """rdma.max, a line for each device; what is not limited is `max`."""
    writes: list[Write] = []
    for device, limits in rdma.items():
        handles, objects = _number(limits, "hcaHandles"), _number(limits, "hcaObjects")
        writes.append((("rdma.max", f"{device} hca_handle={handles} hca_object={objects}"),))
    return writes


v2 = v1


def _number(limits: dict[str, Any], key: str) -> str:
    return "max" if limits.get(key) is None else str(limits[key])


def problems(rdma: dict[str, Any], version: int) -> Iterator[tuple[str, str]]:
    for device, limits in rdma.items():
        if limits.get("hcaHandles") is None and limits.get("hcaObjects") is None:
            yield f"rdma.{device}", "neither hcaHandles nor hcaObjects is set"
