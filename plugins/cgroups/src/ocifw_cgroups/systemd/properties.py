"""linux.resources as properties of a unit: systemd.resource-control(5), by the names and types that D-Bus has.

The conversions are runc's. A row is a property's name, its D-Bus signature, its value, and the version of systemd that it
needs; older ones get the limit by the cgroup's files alone.
"""

from __future__ import annotations

from ocifw_cgroups.controllers import cpu as cpu_controller
from ocifw_cgroups.controllers.pids import pids_max

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from .names import Unit

    Row = tuple[str, str, Any, int]

INFINITY = 2**64 - 1
DEFAULT_PERIOD_US = 100000
_TEN_MS_US = 10000
_SECOND_US = 10**6
_GROUPS = {"c": "char", "b": "block"}


def unit_properties(unit: Unit, container_id: str, version: int) -> Iterator[Row]:
    """What makes the unit one of a container. version: of cgroups."""
    yield "Description", "s", f"ocifw container {container_id}", 0
    if unit.is_slice:
        yield "Wants", "as", [unit.slice], 0
    else:
        yield "Slice", "s", unit.slice, 0
        yield "Delegate", "b", True, 0
    yield "DefaultDependencies", "b", False, 0
    for name in ("CPU", "Memory", "IO" if version == 2 else "BlockIO", "Tasks"):
        yield f"{name}Accounting", "b", True, 0


def limits(resources: Mapping[str, Any], version: int) -> Iterator[Row]:
    """The limits that systemd knows."""
    memory, cpu = resources.get("memory") or {}, resources.get("cpu") or {}
    yield from _memory(memory) if version == 2 else _memory_v1(memory)
    yield from _cpu_share(cpu, version)
    yield from _cpu_quota(cpu)
    pids = resources.get("pids") or {}
    if pids.get("limit") is not None:
        yield "TasksMax", "t", _number(pids_max(pids["limit"])), 0
    if version == 2:
        for key, name in (("cpus", "AllowedCPUs"), ("mems", "AllowedMemoryNodes")):
            if (cpu.get(key) or "").strip():
                yield name, "ay", list(bit_mask(cpu[key])), 244
    elif (resources.get("blockIO") or {}).get("weight"):
        yield "BlockIOWeight", "t", resources["blockIO"]["weight"], 0


def _memory(memory: Mapping[str, Any]) -> Iterator[Row]:
    from ocifw_cgroups.controllers.memory import swap_max

    limit = memory.get("limit") or 0
    if limit:
        yield "MemoryMax", "t", limit if limit > 0 else INFINITY, 0
    reservation = memory.get("reservation") or 0
    if reservation:
        yield "MemoryLow", "t", reservation if reservation > 0 else INFINITY, 0
    swap = swap_max(limit, memory.get("swap") or 0)
    if swap:
        yield "MemorySwapMax", "t", _number(swap), 0


def _memory_v1(memory: Mapping[str, Any]) -> Iterator[Row]:
    limit = memory.get("limit") or 0
    if limit:
        yield "MemoryLimit", "t", limit if limit > 0 else INFINITY, 0


def _number(text: str) -> int:
    return INFINITY if text == "max" else int(text)


def _cpu_share(cpu: Mapping[str, Any], version: int) -> Iterator[Row]:
    shares = cpu.get("shares") or 0
    if version == 1:
        if shares:
            yield "CPUShares", "t", shares, 0
    elif cpu.get("idle"):
        yield "CPUWeight", "t", 0, 252
    elif shares:
        yield "CPUWeight", "t", cpu_controller.weight_of_shares(shares), 0


def _cpu_quota(cpu: Mapping[str, Any]) -> Iterator[Row]:
    quota, period = cpu.get("quota") or 0, cpu.get("period") or 0
    if period:
        yield "CPUQuotaPeriodUSec", "t", period, 242
    if quota > 0:
        yield "CPUQuotaPerSecUSec", "t", _per_second(quota, period or DEFAULT_PERIOD_US), 0
    elif quota or period:
        yield "CPUQuotaPerSecUSec", "t", INFINITY, 0


def _per_second(quota: int, period: int) -> int:
    """µs of CPU time a second, rounded up to 10 ms: systemd stores whole percents."""
    return -(-(quota * _SECOND_US // period) // _TEN_MS_US) * _TEN_MS_US


def rounded(resources: Mapping[str, Any]) -> dict[str, Any]:
    """The resources with the CPU quota as systemd will have it, so that both write the same to the cgroup's file."""
    cpu = resources.get("cpu") or {}
    quota, period = cpu.get("quota") or 0, cpu.get("period") or DEFAULT_PERIOD_US
    if quota <= 0:
        return dict(resources)
    return {
        **resources,
        "cpu": {**cpu, "quota": _per_second(quota, period) * period // _SECOND_US},
    }


def bit_mask(listed: str) -> bytes:
    """A list such as `0-2,7` as bytes, lowest first, without zeros at the end. Raises ValueError."""
    from ocifw_cgroups.controllers.cpuset import numbers

    mask = sum({1 << number for number in numbers(listed)})
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def devices(allow: bool, exceptions: Iterable[str]) -> Iterator[Row]:
    """The rules of `controllers.devices`, as far as systemd can tell them; the cgroup's own filter has all of them.

    systemd can only allow: with everything allowed there is nothing to say.
    """
    if allow:
        yield "DevicePolicy", "s", "auto", 0
        return
    yield "DevicePolicy", "s", "strict", 0
    entries, by_number = [], []
    for text in exceptions:
        kind, numbers, access = text.split(" ")
        major, minor = numbers.split(":")
        if major == minor == "*":
            entries.append([f"{_GROUPS[kind]}-*", access])
        elif minor == "*":
            by_number.append([f"{_GROUPS[kind]}-{major}", access])
        elif major != "*":
            entries.append([f"/dev/{_GROUPS[kind]}/{major}:{minor}", access])
    yield "DeviceAllow", "a(ss)", entries, 0
    if by_number:
        yield "DeviceAllow", "a(ss)", by_number, 240


_UNSET: dict[str, Any] = {"AllowedCPUs": [], "AllowedMemoryNodes": [], "MemoryLow": 0}


def before(rows: Iterable[Row], stored: Iterable[Row]) -> list[Row]:
    """Rows that make the properties of `rows` what they are by `stored`, or what systemd has without being told."""
    old = {row[0]: row for row in stored}
    return [
        old.get(name, (name, signature, _UNSET.get(name, INFINITY), since))
        for name, signature, _, since in rows
    ]
