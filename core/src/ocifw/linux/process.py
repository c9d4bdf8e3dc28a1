"""What the kernel knows and limits of a process: prctl(2), prlimit(2), capget(2), ioprio_set(2), /proc/PID/stat."""

from __future__ import annotations

import os
from _struct import pack, unpack

from ._kernel import numbers, syscall

PR_SET_DUMPABLE = 4
PR_CAPBSET_READ = 23
PR_SET_CHILD_SUBREAPER = 36
PR_GET_CHILD_SUBREAPER = 37
PR_GET_NO_NEW_PRIVS = 39
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_IS_SET = 1

RLIM_INFINITY = 2**64 - 1

IOPRIO_WHO_PROCESS = 1
IOPRIO_WHO_PGRP = 2

_LINUX_CAPABILITY_VERSION_3 = 0x20080522


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """prctl(2). EINVAL: an option or argument that this kernel does not know."""
    return syscall(numbers["prctl"], option, arg2, arg3, arg4, arg5)


def prlimit(pid: int, resource: int, soft: int, hard: int) -> tuple[int, int]:
    """prlimit(2): set a limit of a process (0: the caller) and return the old pair of soft and hard.

    EPERM: raises the hard limit, or another user's process, without CAP_SYS_RESOURCE. EINVAL: soft above hard.
    """
    old = bytearray(16)
    syscall(numbers["prlimit64"], pid, resource, pack("<2Q", soft, hard), old)
    return unpack("<2Q", old)


def get_prlimit(pid: int, resource: int) -> tuple[int, int]:
    """prlimit(2) without a new limit: the pair of soft and hard."""
    limits = bytearray(16)
    syscall(numbers["prlimit64"], pid, resource, None, limits)
    return unpack("<2Q", limits)


def capget(pid: int = 0) -> tuple[int, int, int]:
    """capget(2): the effective, permitted and inheritable sets of a process (0: the caller) as bit masks."""
    header = pack("<Ii", _LINUX_CAPABILITY_VERSION_3, pid)
    sets = bytearray(24)
    syscall(numbers["capget"], bytearray(header), sets)
    low, high = sets[:12], sets[12:]
    e, p, i = (a | b << 32 for a, b in zip(unpack("<3I", low), unpack("<3I", high)))
    return e, p, i


def ioprio_set(which: int, who: int, ioprio: int) -> None:
    """ioprio_set(2): `ioprio` is class << 13 | level. EPERM: the real-time class without CAP_SYS_NICE."""
    syscall(numbers["ioprio_set"], which, who, ioprio)


def sched_setattr(pid: int, attributes: bytes) -> None:
    """sched_setattr(2): `attributes` is the kernel's struct sched_attr."""
    syscall(numbers["sched_setattr"], pid, attributes, 0)


def state(pid: int) -> tuple[str, int]:
    """The state letter (`R`, `S`, `T`, `Z`, …) and the start time of a process, from one reading of proc_pid_stat(5).

    The start time is in clock ticks since boot; with the pid it names the process. FileNotFoundError or
    ProcessLookupError: there is no such process (any more).
    """
    fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = os.read(fd, 4096)
    finally:
        os.close(fd)
    # The second field is the name that the process gave itself: it may hold spaces and parentheses.
    fields = text[text.rindex(b")") + 2 :].split()
    return fields[0].decode(), int(fields[19])


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot. Raises as `state` does."""
    return state(pid)[1]
