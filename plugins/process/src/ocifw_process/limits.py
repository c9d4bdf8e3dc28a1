"""rlimits and oom_score_adj, set from outside while the runtime has the privileges to: prlimit(2), proc(5)."""

from __future__ import annotations

import os
from errno import EACCES, EPERM

from ocifw.errors import Problem, StepFailed, errno_name, errno_text
from ocifw.steps import RuntimeStep, SetRlimit

from .effective import of_process, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw.context import Context, Request
    from ocifw.steps import ContainerStep

RLIMITS = {
    "RLIMIT_CPU": 0,
    "RLIMIT_FSIZE": 1,
    "RLIMIT_DATA": 2,
    "RLIMIT_STACK": 3,
    "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6,
    "RLIMIT_NOFILE": 7,
    "RLIMIT_MEMLOCK": 8,
    "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11,
    "RLIMIT_MSGQUEUE": 12,
    "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14,
    "RLIMIT_RTTIME": 15,
}
"""Numbers of asm-generic/resource.h, which x86, arm, riscv and s390 use."""


class SetRlimits(RuntimeStep):
    """Set resource limits of the container process; each is (type, soft, hard), 2**64-1 is no limit."""

    _text = "set rlimits"
    limits: tuple[tuple[str, int, int], ...]

    def apply(self, context: Context) -> None:
        from ocifw.linux.process import prlimit

        for name, soft, hard in self.limits:
            try:
                prlimit(context.pid, RLIMITS[name], soft, hard)
            except OSError as error:
                number = error.errno or 0
                raise StepFailed(self, number, "prlimit", name) from error

    def describe(self) -> str:
        return f"set {', '.join([name for name, _, _ in self.limits])}"

    def failure(self, number: int, call: str, detail: str) -> str:
        # runc's sentence, which names the number only.
        if detail not in RLIMITS:
            return ""
        limit = f"error setting rlimit type {RLIMITS[detail]}"
        return f"{limit}: {errno_text(number)} ({detail}, {errno_name(number)})"


class SetOomScoreAdj(RuntimeStep):
    """Set oom_score_adj of the container process, -1000 to 1000.

    Who lacks CAP_SYS_RESOURCE may not lower it. That is an error, except for a rootless runtime, which never can: there
    it is a warning, as in rootless engines.
    """

    _text = "set oom_score_adj {score}"
    score: int

    def apply(self, context: Context) -> None:
        path = f"/proc/{context.pid}/oom_score_adj"
        try:
            _write(path, self.score)
        except OSError as error:
            if error.errno not in (EACCES, EPERM) or not _rootless():
                raise
            with open(path, "rb", buffering=0) as file:
                now = int(file.read(16) or b"0")
            if now != self.score:
                context.warn(
                    f"oom_score_adj stays {now}: without CAP_SYS_RESOURCE it cannot be set to {self.score}"
                )


def rlimits(config: dict[str, Any], request: Request) -> Iterator[RuntimeStep]:
    """One step for process.rlimits, none when there are none.

    For `create` they are the last thing that is set: ocifw-init itself needs descriptors, processes and address space
    while it builds the root, more than a container may be given.
    """
    rows = _rows(config, request)
    if rows and not _sets_its_own(config, request):
        yield SetRlimits(rows, at="process.rlimits")


def own_steps(config: dict[str, Any], request: Request) -> list[ContainerStep]:
    """The steps by which the container process sets its limits itself, before it becomes its user; [] otherwise."""
    if not _sets_its_own(config, request):
        return []
    return [
        SetRlimit(RLIMITS[name], soft, hard, at="process.rlimits")
        for name, soft, hard in _rows(config, request)
    ]


def _rows(config: dict[str, Any], request: Request) -> tuple[tuple[str, int, int], ...]:
    limits = of_process(config, request, "rlimits") or ()
    return tuple([(limit["type"], limit["soft"], limit["hard"]) for limit in limits])


def _sets_its_own(config: dict[str, Any], request: Request) -> bool:
    """Whether the limits cannot be the last thing that is set from outside.

    prlimit(2) of another user's process takes CAP_SYS_RESOURCE in its user namespace, which its owner has, and a runtime
    that is root with fewer capabilities (in a container itself) has not.
    """
    if request.is_exec or not (process(config).get("user") or {}).get("uid"):
        return False
    namespaces = (config.get("linux") or {}).get("namespaces") or ()
    return not any(namespace["type"] == "user" for namespace in namespaces)


def problems(config: dict[str, Any]) -> Iterator[Problem]:
    """Types that Linux does not have, and impossible scores."""
    own = process(config)
    for index, limit in enumerate(own.get("rlimits") or ()):
        if limit["type"] not in RLIMITS:
            yield Problem(
                f"process.rlimits[{index}].type", f"unknown rlimit type {limit['type']!r}"
            )
    score = own.get("oomScoreAdj")
    if score is not None and not -1000 <= score <= 1000:
        yield Problem("process.oomScoreAdj", f"{score} is not between -1000 and 1000")


def _rootless() -> bool:
    from ocifw.context import Host

    return os.geteuid() != 0 or Host().in_user_namespace


def _write(path: str, number: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"%d" % number)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)
