"""Conditions of profiles: `when` and `requires`, as they are compiled, and what they ask about."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .context import Host, Request


class Facts:
    """What conditions of profiles ask about, read when first needed."""

    def __init__(self, annotations: Mapping[str, str], request: Request, host: Host) -> None:
        self.annotations = annotations
        self.request = request
        self.host = host

    def unmet(self, condition: Mapping[str, Any]) -> str:
        """What of a compiled condition is not so, as `kernel >= 5.10, and this is 4.19`; "" when all of it is."""
        for name, wanted in condition.items():
            if name == "annotations":
                from .policy import glob_match

                for key, patterns in wanted.items():
                    value = self.annotations.get(key)
                    if value is None or not any(glob_match(p, value) for p in patterns):
                        return f"annotation {key} to be {' or '.join(patterns)}"
            elif name == "rootless":
                if self.request.rootless is not wanted:
                    return f"rootless to be {str(wanted).lower()}"
            elif name == "cgroup":
                unified = self.host.exists("/sys/fs/cgroup/cgroup.controllers")
                if wanted != (2 if unified else 1):
                    return f"cgroup version {wanted}"
            elif name == "architecture":
                if self.host.machine not in wanted:
                    return f"architecture {' or '.join(wanted)}, and this is {self.host.machine}"
            elif name == "kernel":
                own = self.host.kernel
                for operator, major, minor in wanted:
                    if not _compare(own, operator, (major, minor)):
                        is_ = f"{own[0]}.{own[1]}"
                        return f"kernel {operator} {major}.{minor}, and this is {is_}"
            elif name == "lsm":
                missing = [module for module in wanted if module not in self._lsms()]
                if missing:
                    return f"LSM {', '.join(missing)}"
        return ""

    def _lsms(self) -> list[str]:
        try:
            return self.host.read("/sys/kernel/security/lsm").decode().strip().split(",")
        except OSError:
            return []


def _compare(own: tuple[int, int], operator: str, other: tuple[int, int]) -> bool:
    return {
        ">=": own >= other,
        ">": own > other,
        "<=": own <= other,
        "<": own < other,
        "==": own == other,
    }[operator]
