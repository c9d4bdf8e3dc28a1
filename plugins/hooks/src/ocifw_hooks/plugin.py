"""The hooks of ocifw-hooks, in the order of a container's life. config.md, POSIX-platform Hooks."""

from __future__ import annotations

from ocifw import hookimpl

from . import entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw.context import Request
    from ocifw.steps import ContainerStep, RuntimeStep

owns = ("hooks",)


@hookimpl
def ocifw_create_runtime(config: dict[str, Any]) -> Iterator[RuntimeStep]:
    yield from entries.in_runtime(config, "prestart", "creating")
    yield from entries.in_runtime(config, "createRuntime", "creating")


@hookimpl
def ocifw_create_container(config: dict[str, Any], request: Request) -> Iterator[ContainerStep]:
    yield from entries.in_container(config, request, "createContainer", "creating")


@hookimpl
def ocifw_start_container(config: dict[str, Any], request: Request) -> Iterator[ContainerStep]:
    yield from entries.in_container(config, request, "startContainer", "created")


@hookimpl
def ocifw_poststart(config: dict[str, Any]) -> Iterator[RuntimeStep]:
    yield from entries.in_runtime(config, "poststart", "running")


@hookimpl
def ocifw_poststop(config: dict[str, Any]) -> Iterator[RuntimeStep]:
    yield from entries.in_runtime(config, "poststop", "stopped")


@hookimpl
def ocifw_commands() -> dict[str, str]:
    return {"hooks": "ocifw_hooks.command:main"}


@hookimpl
def ocifw_features() -> dict[str, Any]:
    return {"hooks": list(entries.KINDS)}
