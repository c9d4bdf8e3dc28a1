"""The figures of `events --stats`, with the keys of runc's document."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def stats(folders: Mapping[str, str]) -> dict[str, Any]:
    """What the kernel counts for a container. folders: by controller; UNIFIED alone on v2.

    A controller that is not mounted, or whose cgroup is gone, has empty figures.
    """
    from .controllers import blkio, cpu, cpuset, hugetlb, memory, pids

    if set(folders) == {""}:
        folder = folders[""]
        return _document(
            cpu.stats_v2(folder),
            {},
            memory.stats_v2(folder),
            pids.stats_v2(folder),
            blkio.stats_v2(folder),
            hugetlb.stats_v2(folder),
        )
    nowhere = "/nonexistent"

    def at(name: str) -> str:
        return folders.get(name, nowhere)

    return _document(
        {"usage": cpu.stats_v1(at("cpuacct")), "throttling": cpu.throttling_v1(at("cpu"))},
        cpuset.stats_v1(at("cpuset")),
        memory.stats_v1(at("memory")),
        pids.stats_v1(at("pids")),
        blkio.stats_v1(at("blkio")),
        hugetlb.stats_v1(at("hugetlb")),
    )


def _document(
    cpu: dict[str, Any],
    cpuset: dict[str, Any],
    memory: dict[str, Any],
    pids: dict[str, Any],
    blkio: dict[str, Any],
    hugetlb: dict[str, Any],
) -> dict[str, Any]:
    return {
        "cpu": cpu,
        "cpuset": cpuset,
        "memory": memory,
        "pids": pids,
        "blkio": blkio,
        "hugetlb": hugetlb,
        "intel_rdt": {},
        "network_interfaces": None,
    }
