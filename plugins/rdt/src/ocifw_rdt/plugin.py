"""The hooks of ocifw-rdt, in the order of a container's life. config-linux.md, IntelRdt; the kernel's resctrl.rst."""

from __future__ import annotations

from ocifw import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from ocifw.container import Container
    from ocifw.context import Host, Request
    from ocifw.errors import Problem
    from ocifw.steps import RuntimeStep

    Config = dict[str, Any]

owns = ("linux.intelRdt",)


@hookimpl
def ocifw_validate(config: Config, request: Request, host: Host) -> Iterable[Problem]:
    from .groups import problems

    return problems(config, request, host)


@hookimpl
def ocifw_prepare(config: Config, request: Request, host: Host) -> Iterable[RuntimeStep]:
    from .groups import make_steps

    return [] if request.is_exec else make_steps(config, request, host)


@hookimpl
def ocifw_attach(config: Config, request: Request, host: Host) -> Iterable[RuntimeStep]:
    from .groups import join_steps

    return join_steps(config, request, host)


@hookimpl
def ocifw_update(
    container: Container, intel_rdt: Mapping[str, Any], host: Host
) -> Iterable[RuntimeStep]:
    if not intel_rdt:
        # Every `update` asks.
        return []
    from .groups import update_steps

    return update_steps(container, intel_rdt, host)


@hookimpl
def ocifw_stats(container: Container, host: Host) -> dict[str, Any] | None:
    if (container.config.get("linux") or {}).get("intelRdt") is None:
        return None
    from .stats import figures

    return {"intel_rdt": figures(container, host)}


@hookimpl
def ocifw_features() -> dict[str, Any]:
    return {"linux": {"intelRdt": {"enabled": True, "schemata": True, "monitoring": True}}}
