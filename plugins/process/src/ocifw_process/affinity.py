"""On which CPUs the process runs while it moves into its cgroup, and afterwards: process.execCPUAffinity.

The kernel narrows the affinity of a process that enters a cpuset, and never widens what somebody set with
sched_setaffinity(2). So an engine that was started on few CPUs would keep every container on these. Therefore all CPUs
are asked for after the cgroups were joined; the kernel grants those of the cpuset.
"""

from __future__ import annotations

from ocifw.errors import Problem
from ocifw.steps import Clone, JoinCgroup, SetCpuAffinity

from . import lists
from .effective import of_process, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw.context import Request
    from ocifw.steps import ContainerStep

ALL = b"\xff" * (lists.LIMIT // 8)


def around_cgroups(
    steps: list[ContainerStep] | None, config: dict[str, Any], request: Request
) -> list[ContainerStep]:
    """The steps of phase `clone` with the initial affinity first and the final one after the last cgroup."""
    found = list(steps or [Clone()])
    wanted = of_process(config, request, "execCPUAffinity") if request.is_exec else None
    initial = lists.mask((wanted or {}).get("initial") or "")
    final = lists.mask((wanted or {}).get("final") or "")
    joins = [index for index, step in enumerate(found) if isinstance(step, JoinCgroup)]
    after = joins[-1] + 1 if joins else 0
    at = "process.execCPUAffinity"
    found.insert(after, SetCpuAffinity(final or ALL, at=f"{at}.final" if final else ""))
    if initial:
        found.insert(0, SetCpuAffinity(initial, at=f"{at}.initial"))
    return found


def problems(config: dict[str, Any]) -> Iterator[Problem]:
    """Lists that cannot be read."""
    affinity = process(config).get("execCPUAffinity") or {}
    for name in ("initial", "final"):
        try:
            lists.numbers(affinity.get(name) or "")
        except ValueError as error:
            yield Problem(f"process.execCPUAffinity.{name}", str(error))
