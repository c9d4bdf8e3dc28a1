"""The hooks of ocifw-network. config-linux.md, Network Devices."""

from __future__ import annotations

from ocifw import hookimpl

from . import devices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from ocifw.context import Host, Request
    from ocifw.errors import Problem
    from ocifw.steps import RuntimeStep

owns = ("linux.netDevices",)


@hookimpl
def ocifw_validate(config: dict[str, Any], request: Request, host: Host) -> Iterable[Problem]:
    return [] if request.is_exec else devices.problems(config, host)


@hookimpl
def ocifw_attach(config: dict[str, Any], request: Request) -> Iterator[RuntimeStep]:
    if not request.is_exec:
        yield from devices.steps(config)


@hookimpl
def ocifw_features() -> dict[str, Any]:
    return {"linux": {"netDevices": {"enabled": True}}}
