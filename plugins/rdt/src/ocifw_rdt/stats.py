"""Figures of the container's groups for `events`, in the form of runc's stats: `intel_rdt`. The kernel's resctrl.rst."""

from __future__ import annotations

import os

from .groups import group, monitor, mountpoint
from .steps import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocifw.container import Container
    from ocifw.context import Host

_CACHE = ("cbm_mask", "min_cbm_bits", "num_closids")
_BANDWIDTH = ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids")


def figures(container: Container, host: Host) -> dict[str, Any]:
    """What resctrl tells: what is possible, what the group allows, what the container uses; without what it lacks."""
    rdt = container.config["linux"]["intelRdt"]
    root = mountpoint(host)
    folder = group(rdt, container.id, root)
    found: dict[str, Any] = {}
    for name, kind, fields in (("l3_cache", "L3", _CACHE), ("mem_bw", "MB", _BANDWIDTH)):
        info = _info(f"{root}/info/{kind}", fields)
        if info:
            found[f"{name}_info"] = info
            found[f"{name}_schema_root"] = _line(f"{root}/schemata", kind)
            found[f"{name}_schema"] = _line(f"{folder}/schemata", kind)
    if rdt.get("enableMonitoring"):
        found.update(_monitored(f"{monitor(folder, container.id)}/mon_data"))
    return found


def _info(folder: str, fields: tuple[str, ...]) -> dict[str, Any]:
    """Numbers are numbers, but for the mask, which is a text in base 16."""
    found: dict[str, Any] = {}
    for field in fields:
        text = _text(f"{folder}/{field}")
        if text:
            found[field] = int(text) if field != "cbm_mask" and text.isdecimal() else text
    return found


def _line(path: str, kind: str) -> str:
    lines = (line.strip() for line in _text(path).splitlines())
    return next((line for line in lines if line.startswith(f"{kind}:")), "")


def _monitored(folder: str) -> dict[str, Any]:
    """An entry for each domain of the cache, in the order of their names."""
    bandwidth: list[dict[str, int]] = []
    occupancy: list[dict[str, int]] = []
    try:
        domains = sorted(os.listdir(folder))
    except FileNotFoundError:
        return {}
    for domain in domains:
        values = {
            name: int(text)
            for name in ("mbm_total_bytes", "mbm_local_bytes", "llc_occupancy")
            if (text := _text(f"{folder}/{domain}/{name}")).isdecimal()
        }
        used = values.pop("llc_occupancy", None)
        if used is not None:
            occupancy.append({"llc_occupancy": used})
        if values:
            bandwidth.append(values)
    return {"mbm_stats": bandwidth, "cmt_stats": occupancy}


def _text(path: str) -> str:
    """ "" for a file that this kernel does not have, or cannot read now."""
    try:
        return read(path).strip()
    except OSError:
        return ""
