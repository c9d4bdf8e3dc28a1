"""The controller memory: linux.resources.memory. All sizes in bytes, -1 is no limit, 0 is unset."""

from __future__ import annotations

from ocifw.errors import OcifwError
from ocifw.step import RuntimeStep
from ocifw_cgroups.figures import compact, keyed, limit_or_max, pressure
from ocifw_cgroups.files import NOTHING, read_or

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw.context import Context
    from ocifw_cgroups.files import Write

KERNEL_MEMORY_WARNING = "Kernel memory settings are ignored and will be removed"
_MAX_UINT64 = 2**64 - 1


def v1(memory: dict[str, Any]) -> list[Write]:
    """memory.limit_in_bytes and memory.memsw.limit_in_bytes, of which the second must not fall below the first.

    The order in which they fit is found by trying: see files.WriteCgroup.
    """
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    writes: list[Write] = []
    if limit:
        writes.append((("memory.limit_in_bytes", str(limit)),))
    if swap:
        writes.append((("memory.memsw.limit_in_bytes", str(swap)),))
    elif limit == -1:
        # No limit of memory is none of memory and swap either; not every kernel counts swap.
        writes.append((("memory.memsw.limit_in_bytes", "-1"), NOTHING))
    if memory.get("reservation"):
        writes.append((("memory.soft_limit_in_bytes", str(memory["reservation"])),))
    if memory.get("disableOOMKiller"):
        writes.append((("memory.oom_control", "1"),))
    if memory.get("swappiness") not in (None, -1):
        writes.append((("memory.swappiness", str(memory["swappiness"])),))
    return writes


def v2(memory: dict[str, Any]) -> list[Write]:
    """memory.swap.max, memory.max, memory.low. Swap first: the limit below usage reclaims to it."""
    limit = memory.get("limit") or 0
    writes: list[Write] = []
    swap = swap_max(limit, memory.get("swap") or 0)
    if swap:
        write: Write = (("memory.swap.max", swap),)
        # A kernel that does not count swap has no such file: fine where nothing has to be counted.
        writes.append((*write, NOTHING) if swap in ("max", "0") else write)
    if limit:
        writes.append((("memory.max", max_or(limit)),))
    if memory.get("reservation"):
        writes.append((("memory.low", max_or(memory["reservation"])),))
    return writes


def max_or(value: int) -> str:
    """A limit as v2 writes it."""
    return "max" if value == -1 else str(value)


def swap_max(limit: int, swap: int) -> str:
    """memory.swap.max for a limit of memory and one of memory and swap together; "" leaves it as it is."""
    if limit == -1 and swap == 0:
        return "max"
    if swap in (0, -1):
        return "max" if swap else ""
    return str(swap - limit)


def problems(memory: dict[str, Any], version: int) -> Iterator[tuple[str, str]]:
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    for key in ("limit", "swap", "reservation"):
        if (memory.get(key) or 0) < -1:
            yield f"memory.{key}", f"{memory[key]} is not a number of bytes, nor -1 for no limit"
    if swap > 0 and limit > 0 and swap < limit:
        yield "memory.swap", f"{swap}: memory+swap limit should be >= memory limit ({limit})"
    elif version == 2 and swap > 0 and limit == 0:
        yield "memory.swap", f"{swap}: unable to set swap limit without memory limit"
    elif version == 2 and swap > 0 and limit == -1:
        yield "memory.swap", f"{swap}: unable to set swap limit with unlimited memory"
    swappiness = memory.get("swappiness")
    if swappiness not in (None, -1) and not 0 <= swappiness <= 100:
        yield (
            "memory.swappiness",
            f"invalid memory swappiness value: {swappiness} (valid range is 0-100)",
        )
    if version == 2 and swappiness not in (None, -1):
        yield "memory.swappiness", f"{swappiness}: cgroup v2 has no swappiness"
    if version == 2 and memory.get("disableOOMKiller"):
        yield "memory.disableOOMKiller", "cgroup v2 cannot disable the OOM killer"


class CheckUsage(RuntimeStep):
    """Refuse a limit below what a v2 cgroup uses: memory.checkBeforeUpdate. Without, the kernel kills until it fits."""

    _text = "check that cgroup {folder} uses less memory than {limit}"
    folder: str
    limit: int

    def apply(self, context: Context) -> None:
        usage = int(read_or(f"{self.folder}/memory.current", "0"))
        if usage > self.limit:
            raise OcifwError(f"unable to set memory limit to {self.limit} (current usage: {usage})")


def warning(memory: dict[str, Any]) -> str:
    """What to tell the user about settings that have no effect."""
    return KERNEL_MEMORY_WARNING if memory.get("kernel") or memory.get("kernelTCP") else ""


def stats_v1(folder: str) -> dict[str, Any]:
    raw = keyed(read_or(f"{folder}/memory.stat", ""))
    figures = {
        "usage": _entry_v1(folder, "memory"),
        "swap": _entry_v1(folder, "memory.memsw"),
        "kernel": _entry_v1(folder, "memory.kmem"),
        "kernelTCP": _entry_v1(folder, "memory.kmem.tcp"),
    }
    return compact({"cache": raw.get("cache", 0), **figures, "raw": raw})


def _entry_v1(folder: str, prefix: str) -> dict[str, int]:
    def number(name: str) -> int:
        return int(read_or(f"{folder}/{prefix}.{name}", "0"))

    return {
        "limit": number("limit_in_bytes"),
        **compact({"usage": number("usage_in_bytes"), "max": number("max_usage_in_bytes")}),
        "failcnt": number("failcnt"),
    }


def stats_v2(folder: str) -> dict[str, Any]:
    """Swap as memory and swap together, as v1 counts it."""
    raw = keyed(read_or(f"{folder}/memory.stat", ""))
    events = keyed(read_or(f"{folder}/memory.events", ""))
    usage = int(read_or(f"{folder}/memory.current", "0"))
    peak = int(read_or(f"{folder}/memory.peak", "0"))
    limit = limit_or_max(read_or(f"{folder}/memory.max", "max"), _MAX_UINT64)
    swap_usage = int(read_or(f"{folder}/memory.swap.current", "0"))
    swap_limit = limit_or_max(read_or(f"{folder}/memory.swap.max", "max"), _MAX_UINT64)
    none = {"limit": 0, "failcnt": 0}
    return compact(
        {
            "cache": raw.get("file", 0),
            "usage": {
                "limit": limit,
                **compact({"usage": usage, "max": peak}),
                "failcnt": events.get("max", 0),
            },
            "swap": {
                "limit": min(swap_limit + limit, _MAX_UINT64),
                **compact({"usage": swap_usage + usage}),
                "failcnt": 0,
            },
            "kernel": none,
            "kernelTCP": none,
            "raw": raw,
            **pressure(folder, "memory"),
        }
    )
