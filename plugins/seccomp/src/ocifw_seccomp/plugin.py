"""The hooks of ocifw-seccomp: the filter is loaded as late as the process may still load it."""

from __future__ import annotations

from ocifw import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw.context import Host
    from ocifw.errors import Problem
    from ocifw.step import ContainerStep

owns = ("linux.seccomp",)


@hookimpl
def ocifw_validate(config: dict[str, Any]) -> list[Problem]:
    """What is wrong with linux.seccomp."""
    from .profile import problems

    return problems(config["linux"]["seccomp"])


@hookimpl(trylast=True)
def ocifw_finalize(config: dict[str, Any], host: Host) -> Iterator[ContainerStep]:
    """Without no_new_privs, loading a filter needs CAP_SYS_ADMIN, which is lost in the next phase (seccomp(2))."""
    if not config["process"].get("noNewPrivileges"):
        from .compiler import load_filter

        yield from load_filter(config["linux"]["seccomp"], host.machine)


@hookimpl(trylast=True)
def ocifw_seal(config: dict[str, Any], host: Host) -> Iterator[ContainerStep]:
    """With no_new_privs, the filter comes last, and need not allow what ocifw itself still does before."""
    if config["process"].get("noNewPrivileges"):
        from .compiler import load_filter

        yield from load_filter(config["linux"]["seccomp"], host.machine)


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
                "supportedFlags": [name for name, flag in FLAGS.items() if flag],
            }
        }
    }
