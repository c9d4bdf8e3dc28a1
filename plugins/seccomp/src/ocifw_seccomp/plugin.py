"""The hooks of ocifw-seccomp: the filter is loaded as late as the process may still load it."""

from __future__ import annotations

from ocifw import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from typing import Any

    from ocifw.context import Host, Request
    from ocifw.errors import Problem
    from ocifw.step import ContainerStep, RuntimeStep

owns = ("linux.seccomp",)


@hookimpl
def ocifw_validate(config: dict[str, Any]) -> list[Problem]:
    """What is wrong with linux.seccomp."""
    from .cached import is_known

    if is_known(config["linux"]["seccomp"]):
        return []
    from .profile import problems

    return problems(config["linux"]["seccomp"])


@hookimpl
def ocifw_attach(config: dict[str, Any], request: Request) -> Iterator[RuntimeStep]:
    """For exec: connect to who answers for calls that are neither allowed nor forbidden (SCMP_ACT_NOTIFY)."""
    if request.is_exec:
        from .notify import connect_steps

        yield from connect_steps(config, request)


@hookimpl(trylast=True)
def ocifw_create_runtime(config: dict[str, Any], request: Request) -> Iterator[RuntimeStep]:
    """For create: as late as the runtime can, because who was connected to waits for the message and for nobody else."""
    from .notify import connect_steps

    yield from connect_steps(config, request)


@hookimpl(trylast=True)
def ocifw_finalize(config: dict[str, Any], host: Host) -> Iterator[ContainerStep]:
    """Without no_new_privs, loading a filter needs CAP_SYS_ADMIN, which is lost in the next phase (seccomp(2))."""
    if not config["process"].get("noNewPrivileges"):
        from .notify import load_steps

        yield from load_steps(config, host)


@hookimpl(wrapper=True, tryfirst=True)
def ocifw_credentials(
    config: dict[str, Any], host: Host
) -> Generator[None, list[list[ContainerStep]], list[list[ContainerStep]]]:
    """A filter with a listener comes before `create` ends: the engine's listener waits for it (runc's moment)."""
    answers = yield
    if config["process"].get("noNewPrivileges"):
        from .notify import asks, load_steps

        if asks(config):
            answers.append(load_steps(config, host))
    return answers


@hookimpl(trylast=True)
def ocifw_seal(config: dict[str, Any], host: Host) -> Iterator[ContainerStep]:
    """With no_new_privs, the filter comes last, and need not allow what ocifw itself still does before."""
    if config["process"].get("noNewPrivileges"):
        from .notify import asks, load_steps

        if not asks(config):
            yield from load_steps(config, host)


@hookimpl
def ocifw_features() -> dict[str, Any]:
    """linux.seccomp of the features document."""
    from .architectures import KNOWN
    from .profile import ACTIONS, FLAGS, OPERATORS

    return {
        "linux": {
            "seccomp": {
                "enabled": True,
                "actions": sorted(ACTIONS),
                "operators": list(OPERATORS),
                "archs": list(KNOWN),
                "knownFlags": list(FLAGS),
                "supportedFlags": list(FLAGS),
            }
        }
    }
