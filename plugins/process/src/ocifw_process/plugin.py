"""The hooks of ocifw-process, in the order of a container's life.

Always asked: a process that says nothing about its user still becomes one, with a umask and without foreign groups.
"""

from __future__ import annotations

from ocifw import hookimpl
from ocifw.steps import MakeConsole, SetNoNewPrivileges

from . import affinity, limits, memory, scheduling, user
from .effective import of_process, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Any

    from ocifw.context import Host, Request
    from ocifw.errors import Problem
    from ocifw.steps import ContainerStep, RuntimeStep

owns = (
    "process.terminal",
    "process.consoleSize",
    "process.user",
    "process.cwd",
    "process.rlimits",
    "process.oomScoreAdj",
    "process.scheduler",
    "process.ioPriority",
    "process.execCPUAffinity",
    "process.noNewPrivileges",
    "linux.personality",
    "linux.memoryPolicy",
)
always = True


@hookimpl
def ocifw_validate(config: dict[str, Any], request: Request, host: Host) -> Iterator[Problem]:
    yield from user.problems(config, host)
    yield from limits.problems(config)
    yield from scheduling.problems(config, request, host)
    yield from affinity.problems(config)
    yield from memory.problems(config)


@hookimpl(wrapper=True, tryfirst=True)
def ocifw_clone(
    config: dict[str, Any], request: Request
) -> Generator[None, list[ContainerStep] | None, list[ContainerStep]]:
    # Outermost, so that the cgroups that others join stand in the list already.
    steps = yield
    return affinity.around_cgroups(steps, config, request)


@hookimpl
def ocifw_attach(config: dict[str, Any], request: Request) -> Iterator[RuntimeStep]:
    score = of_process(config, request, "oomScoreAdj")
    if score is not None:
        yield limits.SetOomScoreAdj(score, at="process.oomScoreAdj")
    if request.is_exec:
        yield from limits.rlimits(config, request)


@hookimpl(tryfirst=True, specname="ocifw_finalize")
def ocifw_finalize_console(config: dict[str, Any], request: Request) -> Iterator[ContainerStep]:
    # Before /dev and the root become read-only: the console is bound on /dev/console.
    own = process(config)
    if own.get("terminal") and request.console:
        size = own.get("consoleSize") or {}
        namespaces = (config.get("linux") or {}).get("namespaces") or ()
        # In a mount namespace of somebody else it would cover somebody else's console.
        private = any(n["type"] == "mount" and not n.get("path") for n in namespaces)
        yield MakeConsole(
            "console",
            size.get("height") or 0,
            size.get("width") or 0,
            mount=private and not request.is_exec,
            at="process.terminal",
        )


@hookimpl
def ocifw_finalize(config: dict[str, Any], request: Request) -> Iterator[ContainerStep]:
    if process(config).get("noNewPrivileges"):
        yield SetNoNewPrivileges(at="process.noNewPrivileges")
    yield from scheduling.steps(config, request)
    yield from memory.steps(config)


@hookimpl
def ocifw_credentials(config: dict[str, Any], request: Request, host: Host) -> list[ContainerStep]:
    return [*limits.own_steps(config, request), *user.steps(config, request, host)]


@hookimpl
def ocifw_created(config: dict[str, Any], request: Request) -> Iterator[RuntimeStep]:
    yield from limits.rlimits(config, request)


@hookimpl
def ocifw_features() -> dict[str, Any]:
    return {"linux": {"memoryPolicy": {"modes": list(memory.MODES), "flags": list(memory.FLAGS)}}}
