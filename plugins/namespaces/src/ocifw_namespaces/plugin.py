"""The hooks of ocifw-namespaces, in the order of a container's life.

Always asked: a container without namespaces of its own still gets a session and a keyring of its own.
"""

from __future__ import annotations

from ocifw import hookimpl
from ocifw.steps import (
    BecomeRoot,
    BringUp,
    JoinKeyring,
    NewSession,
    SetDomainname,
    SetHostname,
    SetSysctl,
)

from . import clone, idmap, sysctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from ocifw.context import Host, Request
    from ocifw.errors import Problem
    from ocifw.steps import ContainerStep, RuntimeStep

owns = (
    "linux.namespaces",
    "linux.uidMappings",
    "linux.gidMappings",
    "linux.timeOffsets",
    "linux.sysctl",
    "hostname",
    "domainname",
)
always = True


@hookimpl
def ocifw_validate(config: dict[str, Any], request: Request, host: Host) -> Iterable[Problem]:
    return [] if request.is_exec else clone.problems(config, host)


@hookimpl
def ocifw_clone(config: dict[str, Any], request: Request, host: Host) -> list[ContainerStep]:
    if request.is_exec:
        return clone.join_steps(config, request)
    return clone.create_steps(config, host)


@hookimpl
def ocifw_attach(config: dict[str, Any], request: Request, host: Host) -> Iterator[RuntimeStep]:
    if not request.is_exec and clone.makes(config, "user"):
        yield idmap.plan(config, host)


@hookimpl
def ocifw_enter(config: dict[str, Any], request: Request) -> Iterator[ContainerStep]:
    if clone.has(config, "user"):
        yield BecomeRoot(at="linux.namespaces")
    yield NewSession()
    if not request.no_new_keyring:
        # runc's name for it: tools that look for a container's keyring look for this.
        yield JoinKeyring(f"_ses.{request.id}")
    if not request.is_exec and clone.makes(config, "network"):
        yield BringUp("lo", at="linux.namespaces")


@hookimpl
def ocifw_finalize(config: dict[str, Any], request: Request) -> Iterator[ContainerStep]:
    if request.is_exec:
        return
    if config.get("hostname"):
        yield SetHostname(config["hostname"], at="hostname")
    if config.get("domainname"):
        yield SetDomainname(config["domainname"], at="domainname")
    linux = config.get("linux") or {}
    for key, value in (linux.get("sysctl") or {}).items():
        yield SetSysctl(sysctl.path(key), value, at=f"linux.sysctl.{key}")


@hookimpl
def ocifw_features() -> dict[str, Any]:
    return {"linux": {"namespaces": sorted(clone.KINDS)}}


@hookimpl
def ocifw_hints(error: BaseException) -> Iterator[str]:
    from ocifw.context import Host

    from .hints import hints

    return hints(error, Host())
