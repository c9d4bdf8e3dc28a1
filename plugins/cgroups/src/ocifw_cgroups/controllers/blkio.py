"""The controllers blkio (v1) and io (v2): linux.resources.blockIO."""

from __future__ import annotations

from ocifw_cgroups.figures import compact, pressure
from ocifw_cgroups.files import read_or

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw_cgroups.files import Write

MIN_WEIGHT, MAX_WEIGHT = 10, 1000
_THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
)
_STATS = (
    ("ioServiceBytesRecursive", "io_service_bytes"),
    ("ioServicedRecursive", "io_serviced"),
    ("ioQueueRecursive", "io_queued"),
    ("ioServiceTimeRecursive", "io_service_time"),
    ("ioWaitTimeRecursive", "io_wait_time"),
    ("ioMergedRecursive", "io_merged"),
    ("ioTimeRecursive", "time"),
    ("sectorsRecursive", "sectors"),
)


def v1(block: dict[str, Any]) -> list[Write]:
    """Weights, by bfq's files where its scheduler is there, and throttles."""
    writes: list[Write] = []
    if block.get("weight"):
        weight = str(block["weight"])
        writes.append((("blkio.bfq.weight", weight), ("blkio.weight", weight)))
    if block.get("leafWeight"):
        writes.append((("blkio.leaf_weight", str(block["leafWeight"])),))
    for device in block.get("weightDevice") or ():
        if device.get("weight"):
            line = _line(device, device["weight"])
            writes.append((("blkio.bfq.weight_device", line), ("blkio.weight_device", line)))
        if device.get("leafWeight"):
            line = _line(device, device["leafWeight"])
            writes.append((("blkio.leaf_weight_device", line),))
    for key, name, _ in _THROTTLES:
        writes += [((name, _line(device, device["rate"])),) for device in block.get(key) or ()]
    return writes


def v2(block: dict[str, Any]) -> list[Write]:
    """io.bfq.weight as it is, or else io.weight converted; io.max, one key a write."""
    writes: list[Write] = []
    weight = block.get("weight") or 0
    if weight:
        writes.append(
            (("io.bfq.weight", str(weight)), ("io.weight", f"default {io_weight(weight)}"))
        )
    writes += [
        (
            ("io.bfq.weight", _line(device, device["weight"])),
            ("io.weight", _line(device, io_weight(device["weight"]))),
        )
        for device in block.get("weightDevice") or ()
        if device.get("weight")
    ]
    for key, _, word in _THROTTLES:
        writes += [
            (("io.max", _line(device, f"{word}={device['rate']}")),)
            for device in block.get(key) or ()
        ]
    return writes


def io_weight(weight: int) -> int:
    """io.weight (1 to 10000) for a blkio weight (10 to 1000)."""
    return 1 + (weight - MIN_WEIGHT) * 9999 // (MAX_WEIGHT - MIN_WEIGHT) if weight else 0


def _line(device: dict[str, Any], value: object) -> str:
    return f"{device['major']}:{device['minor']} {value}"


def problems(block: dict[str, Any], version: int) -> Iterator[tuple[str, str]]:
    yield from _weights("blockIO", block)
    for index, device in enumerate(block.get("weightDevice") or ()):
        path = f"blockIO.weightDevice[{index}]"
        if not device.get("weight") and not device.get("leafWeight"):
            yield path, "neither weight nor leafWeight is set"
        yield from _weights(path, device)
    if version == 2 and block.get("leafWeight"):
        yield "blockIO.leafWeight", f"{block['leafWeight']}: cgroup v2 has no leaf weight"


def _weights(path: str, weights: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ("weight", "leafWeight"):
        weight = weights.get(key) or 0
        if weight and not MIN_WEIGHT <= weight <= MAX_WEIGHT:
            yield f"{path}.{key}", f"{weight} is not in the range {MIN_WEIGHT} to {MAX_WEIGHT}"


def stats_v1(folder: str) -> dict[str, Any]:
    """The figures of bfq where it counts, else those of the throttling layer."""
    figures: dict[str, Any] = {}
    for prefix in ("blkio.bfq", "blkio", "blkio.throttle"):
        for key, name in _STATS:
            entries = _entries(read_or(f"{folder}/{prefix}.{name}_recursive", ""))
            if entries and key not in figures:
                figures[key] = entries
    return figures


def _entries(text: str) -> list[dict[str, Any]]:
    """Lines `MAJOR:MINOR OPERATION NUMBER` or `MAJOR:MINOR NUMBER` as runc prints them; `Total N` is left out."""
    entries = []
    for line in text.split("\n"):
        device, *rest = line.split()[:3] or [""]
        major, colon, minor = device.partition(":")
        if not colon or not rest:
            continue
        operation = rest[0] if len(rest) == 2 else ""
        entries.append(
            compact(
                {
                    "major": int(major),
                    "minor": int(minor),
                    "op": operation,
                    "value": int(rest[-1]),
                }
            )
        )
    return entries


_IO_STAT = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}


def stats_v2(folder: str) -> dict[str, Any]:
    """io.stat in v1's terms."""
    figures: dict[str, Any] = {}
    for line in read_or(f"{folder}/io.stat", "").split("\n"):
        device, *pairs = line.split() or [""]
        major, _, minor = device.partition(":")
        for pair in pairs:
            word, _, value = pair.partition("=")
            if word in _IO_STAT:
                key, operation = _IO_STAT[word]
                entry = {
                    "major": int(major),
                    "minor": int(minor),
                    "op": operation,
                    "value": int(value),
                }
                figures.setdefault(key, []).append(compact(entry))
    return figures | pressure(folder, "io")
