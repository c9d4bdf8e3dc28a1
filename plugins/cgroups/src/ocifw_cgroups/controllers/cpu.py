"""The controllers cpu and cpuacct: linux.resources.cpu without cpus and mems."""

from __future__ import annotations

from ocifw_cgroups.figures import compact, keyed, pressure
from ocifw_cgroups.files import read_or

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw_cgroups.files import Write

MIN_SHARES, MAX_SHARES = 2, 262144
_NANOSECONDS_PER_TICK = 10**7


def v1(cpu: dict[str, Any]) -> list[Write]:
    """cpu.shares, the CFS bandwidth, real-time bandwidth, cpu.idle."""
    writes: list[Write] = []
    idle = cpu.get("idle")
    if cpu.get("shares") and not idle:
        writes.append((("cpu.shares", str(cpu["shares"])),))
    for key, name in (
        ("realtimePeriod", "cpu.rt_period_us"),
        ("realtimeRuntime", "cpu.rt_runtime_us"),
        ("burst", "cpu.cfs_burst_us"),
        ("period", "cpu.cfs_period_us"),
        ("quota", "cpu.cfs_quota_us"),
    ):
        if cpu.get(key):
            writes.append(((name, str(cpu[key])),))
    if idle is not None:
        writes.append((("cpu.idle", str(idle)),))
    return writes


def v2(cpu: dict[str, Any]) -> list[Write]:
    """cpu.idle, cpu.weight, cpu.max.burst, cpu.max. Idle wins over the weight, which the kernel then refuses."""
    writes: list[Write] = []
    idle = cpu.get("idle")
    if idle is not None:
        writes.append((("cpu.idle", str(idle)),))
    weight = weight_of_shares(cpu.get("shares") or 0)
    if weight and not idle:
        writes.append((("cpu.weight", str(weight)),))
    if cpu.get("burst"):
        # Before cpu.max, which may fall below it; after it (files.WriteCgroup does) when it exceeds the old quota.
        writes.append((("cpu.max.burst", str(cpu["burst"])),))
    maximum = cpu_max(cpu.get("quota") or 0, cpu.get("period") or 0)
    if maximum:
        writes.append((("cpu.max", maximum),))
    return writes


def weight_of_shares(shares: int) -> int:
    """cpu.weight (1 to 10000) for cpu.shares (2 to 262144): 1024 is 100, and so are the ends. 0 stays unset.

    A quadratic in the logarithm through three points, as runc has it since cgroups 0.0.6 (crun 1.23, youki 0.5.7):
    the linear one before gave a default container 39.
    """
    if shares == 0:
        return 0
    if shares <= MIN_SHARES:
        return 1
    if shares >= MAX_SHARES:
        return 10000
    from math import ceil, log2

    exponent = log2(shares)
    return ceil(10 ** ((exponent * exponent + 125 * exponent) / 612.0 - 7.0 / 34.0))


def cpu_max(quota: int, period: int) -> str:
    """The content of cpu.max for a quota and a period in µs, 0 being unset; a quota below 0 is no limit.

    A quota alone leaves the period as it is.
    """
    if not quota and not period:
        return ""
    text = str(quota) if quota > 0 else "max"
    return f"{text} {period}" if period else text


def problems(cpu: dict[str, Any], version: int) -> Iterator[tuple[str, str]]:
    shares = cpu.get("shares") or 0
    if version == 1 and shares and not cpu.get("idle"):
        # Outside, the kernel would take the nearest value silently.
        if shares < MIN_SHARES:
            yield "cpu.shares", f"{shares}: the minimum allowed cpu-shares is {MIN_SHARES}"
        elif shares > MAX_SHARES:
            yield "cpu.shares", f"{shares}: the maximum allowed cpu-shares is {MAX_SHARES}"
    quota, burst = cpu.get("quota") or 0, cpu.get("burst") or 0
    if burst and 0 < quota < burst:
        yield "cpu.burst", f"{burst} is above the quota {quota}"
    if cpu.get("idle") not in (None, 0, 1):
        yield "cpu.idle", f"{cpu['idle']} is neither 0 nor 1"
    if version == 2 and (cpu.get("realtimeRuntime") or cpu.get("realtimePeriod")):
        key = "realtimeRuntime" if cpu.get("realtimeRuntime") else "realtimePeriod"
        yield f"cpu.{key}", f"{cpu[key]}: cgroup v2 has no real-time bandwidth"


def stats_v1(folder: str) -> dict[str, Any]:
    """Usage from cpuacct and throttling from cpu, whose folders are one where they are mounted together."""
    ticks = keyed(read_or(f"{folder}/cpuacct.stat", ""))
    rows = [line.split() for line in read_or(f"{folder}/cpuacct.usage_all", "").split("\n")[1:]]
    usage = {
        "total": int(read_or(f"{folder}/cpuacct.usage", "0")),
        "percpu": [int(text) for text in read_or(f"{folder}/cpuacct.usage_percpu", "").split()],
        "percpu_kernel": [int(row[2]) for row in rows],
        "percpu_user": [int(row[1]) for row in rows],
    }
    return {
        **compact(usage),
        "kernel": ticks.get("system", 0) * _NANOSECONDS_PER_TICK,
        "user": ticks.get("user", 0) * _NANOSECONDS_PER_TICK,
    }


def throttling_v1(folder: str) -> dict[str, Any]:
    stat = keyed(read_or(f"{folder}/cpu.stat", ""))
    return compact(
        {
            "periods": stat.get("nr_periods", 0),
            "throttledPeriods": stat.get("nr_throttled", 0),
            "throttledTime": stat.get("throttled_time", 0),
        }
    )


def stats_v2(folder: str) -> dict[str, Any]:
    """cpu.stat has microseconds, runc's document nanoseconds."""
    stat = keyed(read_or(f"{folder}/cpu.stat", ""))
    return {
        "usage": {
            **compact({"total": stat.get("usage_usec", 0) * 1000}),
            "kernel": stat.get("system_usec", 0) * 1000,
            "user": stat.get("user_usec", 0) * 1000,
        },
        "throttling": compact(
            {
                "periods": stat.get("nr_periods", 0),
                "throttledPeriods": stat.get("nr_throttled", 0),
                "throttledTime": stat.get("throttled_usec", 0) * 1000,
            }
        ),
        **pressure(folder, "cpu"),
    }
