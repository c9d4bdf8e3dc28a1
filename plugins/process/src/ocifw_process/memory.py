"""On which NUMA nodes memory is allocated: linux.memoryPolicy, set_mempolicy(2)."""

from __future__ import annotations

from ocifw.errors import Problem
from ocifw.steps import SetMemoryPolicy

from . import lists

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw.steps import ContainerStep

MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
FLAGS = {
    "MPOL_F_NUMA_BALANCING": 1 << 13,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}


def steps(config: dict[str, Any]) -> Iterator[ContainerStep]:
    """The step for linux.memoryPolicy, when it is set."""
    policy = (config.get("linux") or {}).get("memoryPolicy")
    if policy:
        mode = MODES[policy["mode"]]
        for name in policy.get("flags") or ():
            mode |= FLAGS[name]
        nodes = lists.mask(policy.get("nodes") or "")
        yield SetMemoryPolicy(mode, nodes, at="linux.memoryPolicy")


def problems(config: dict[str, Any]) -> Iterator[Problem]:
    """What set_mempolicy(2) would refuse without saying why, beyond what the core checks."""
    policy = (config.get("linux") or {}).get("memoryPolicy") or {}
    at = "linux.memoryPolicy"
    mode, flags = policy.get("mode"), policy.get("flags") or []
    try:
        nodes = lists.numbers(policy.get("nodes") or "")
    except ValueError as error:
        yield Problem(f"{at}.nodes", str(error))
        return
    about_nodes = [flag for flag in flags if flag != "MPOL_F_NUMA_BALANCING"]
    if len(set(about_nodes)) > 1:
        yield Problem(f"{at}.flags", f"{' and '.join(about_nodes)} exclude each other")
    if about_nodes and not nodes:
        yield Problem(f"{at}.flags", f"{about_nodes[0]} needs nodes")
    if "MPOL_F_NUMA_BALANCING" in flags and mode not in ("MPOL_BIND", "MPOL_PREFERRED_MANY"):
        yield Problem(f"{at}.flags", f"MPOL_F_NUMA_BALANCING cannot be combined with {mode}")
