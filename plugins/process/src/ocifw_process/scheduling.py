"""Scheduling policy, I/O priority and personality: sched_setattr(2), ioprio_set(2), personality(2)."""

from __future__ import annotations

from _struct import pack

from ocifw.errors import Problem
from ocifw.steps import SetIoPriority, SetPersonality, SetScheduler

from .effective import of_process, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw.context import Host, Request
    from ocifw.steps import ContainerStep

POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
PERSONALITIES = {"LINUX": 0x0000, "LINUX32": 0x0008}

_IO_CLASS_SHIFT = 13
_UTIL_CLAMP = 0x60


def steps(config: dict[str, Any], request: Request) -> Iterator[ContainerStep]:
    """The steps for what is set."""
    scheduler = of_process(config, request, "scheduler")
    if scheduler:
        yield SetScheduler(sched_attr(scheduler), at="process.scheduler")
    priority = of_process(config, request, "ioPriority")
    if priority:
        level = IO_CLASSES[priority["class"]] << _IO_CLASS_SHIFT | (priority.get("priority") or 0)
        yield SetIoPriority(level, at="process.ioPriority")
    personality = (config.get("linux") or {}).get("personality")
    if personality:
        domain = PERSONALITIES[personality.get("domain") or "LINUX"]
        yield SetPersonality(domain, at="linux.personality")


def sched_attr(scheduler: dict[str, Any]) -> bytes:
    """process.scheduler as struct sched_attr of sched_setattr(2); times in nanoseconds.

    The structure's first version (48 bytes), which every kernel takes, unless utilization is clamped (56, Linux 5.3).
    """
    flags = 0
    for name in scheduler.get("flags") or ():
        flags |= FLAGS[name]
    body = pack(
        "<IQiI3Q",
        POLICIES[scheduler["policy"]],
        flags,
        scheduler.get("nice") or 0,
        scheduler.get("priority") or 0,
        scheduler.get("runtime") or 0,
        scheduler.get("deadline") or 0,
        scheduler.get("period") or 0,
    )
    if flags & _UTIL_CLAMP:
        body += pack("<2I", 0, 0)
    return pack("<I", 4 + len(body)) + body


def problems(config: dict[str, Any], request: Request, host: Host) -> Iterator[Problem]:
    """What the kernel would refuse without saying why, beyond what the core checks."""
    own = process(config)
    scheduler = own.get("scheduler") or {}
    policy, priority = scheduler.get("policy"), scheduler.get("priority") or 0
    if policy == "SCHED_ISO":
        yield Problem("process.scheduler.policy", "Linux does not implement SCHED_ISO")
    if policy in ("SCHED_FIFO", "SCHED_RR") and not 1 <= priority <= 99:
        yield Problem("process.scheduler.priority", f"{priority} is not between 1 and 99")
    level = (own.get("ioPriority") or {}).get("priority") or 0
    if not 0 <= level <= 7:
        yield Problem("process.ioPriority.priority", f"{level} is not between 0 and 7")
    personality = (config.get("linux") or {}).get("personality") or {}
    if personality.get("flags"):
        text = "the specification defines no flags"
        if request.compat == "spec":
            yield Problem("linux.personality.flags", text)
        else:
            host.warn(f"linux.personality.flags: ignored: {text}")
