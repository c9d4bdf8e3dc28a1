"""The controller hugetlb: linux.resources.hugepageLimits."""

from __future__ import annotations

from ocifw_cgroups.figures import compact, limit_or_max
from ocifw_cgroups.files import NOTHING, read_or

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from ocifw.context import Host
    from ocifw_cgroups.files import Write

_UNITS_KB = {"KB": 1, "MB": 1024, "GB": 1024 * 1024}


def v1(limits: Sequence[dict[str, Any]]) -> list[Write]:
    return _writes(limits, "limit_in_bytes")


def v2(limits: Sequence[dict[str, Any]]) -> list[Write]:
    return _writes(limits, "max")


def _writes(limits: Sequence[dict[str, Any]], name: str) -> list[Write]:
    """The limit of pages in use, and where the kernel has it (5.7) the limit of reservations, too."""
    writes: list[Write] = []
    for limit in limits:
        value = str(limit["limit"])
        writes.append(((f"hugetlb.{limit['pageSize']}.{name}", value),))
        writes.append(((f"hugetlb.{limit['pageSize']}.rsvd.{name}", value), NOTHING))
    return writes


def problems(limits: Sequence[dict[str, Any]], version: int) -> Iterator[tuple[str, str]]:
    for index, limit in enumerate(limits):
        if not kilobytes(limit["pageSize"]):
            path = f"hugepageLimits[{index}].pageSize"
            yield path, f"{limit['pageSize']!r} is not a page size such as 2MB or 1GB"


def host_problems(limits: Sequence[dict[str, Any]], host: Host) -> Iterator[tuple[str, str]]:
    """Page sizes that this machine does not have."""
    for index, limit in enumerate(limits):
        size = kilobytes(limit["pageSize"])
        if size and not host.exists(f"/sys/kernel/mm/hugepages/hugepages-{size}kB"):
            path = f"hugepageLimits[{index}].pageSize"
            yield path, f"{limit['pageSize']!r}: this machine has no huge pages of this size"


def kilobytes(page_size: str) -> int:
    """The number of kilobytes of a page size such as `2MB`; 0 for anything else."""
    number, unit = page_size[:-2], _UNITS_KB.get(page_size[-2:], 0)
    return int(number) * unit if number.isdecimal() and number[0] != "0" else 0


def stats_v1(folder: str) -> dict[str, Any]:
    return {size: _usage_v1(folder, size) for size in _sizes(folder, ".usage_in_bytes")}


def _usage_v1(folder: str, size: str) -> dict[str, int]:
    def number(name: str) -> int:
        rsvd = read_or(f"{folder}/hugetlb.{size}.rsvd.{name}", "")
        return int(rsvd or read_or(f"{folder}/hugetlb.{size}.{name}", "0"))

    return {
        **compact({"usage": number("usage_in_bytes"), "max": number("max_usage_in_bytes")}),
        "failcnt": number("failcnt"),
    }


def stats_v2(folder: str) -> dict[str, Any]:
    figures = {}
    for size in _sizes(folder, ".current"):
        rsvd = read_or(f"{folder}/hugetlb.{size}.rsvd.current", "")
        usage = int(rsvd or read_or(f"{folder}/hugetlb.{size}.current", "0"))
        events = read_or(f"{folder}/hugetlb.{size}.events", "max 0").split()
        figures[size] = {**compact({"usage": usage}), "failcnt": limit_or_max(events[-1], 0)}
    return figures


def _sizes(folder: str, suffix: str) -> list[str]:
    import os

    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return sorted(
        [
            name[len("hugetlb.") : -len(suffix)]
            for name in names
            if name.startswith("hugetlb.") and name.endswith(suffix) and name.count(".") == 2
        ]
    )
