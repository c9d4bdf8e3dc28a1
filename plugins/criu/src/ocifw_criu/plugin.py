"""The hooks of ocifw-criu: checkpoint, restore, and what is said about both beforehand.

Everything that needs CRIU is imported when it is used.
"""

from __future__ import annotations

from ocifw import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from ocifw.container import Container
    from ocifw.context import Host, Request
    from ocifw.step import RuntimeStep


@hookimpl
def ocifw_settings_schema() -> Mapping[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {"criu": {"type": "string", "pattern": "^/"}},
    }


@hookimpl
def ocifw_checkpoint(
    container: Container, options: Mapping[str, Any], settings: dict[str, Any]
) -> Iterator[RuntimeStep]:
    from . import rpc
    from .dump import plan

    yield plan(container, options, rpc.find(settings, "checkpoint"))


@hookimpl
def ocifw_checkpoint_report(container: Container, settings: dict[str, Any]) -> Mapping[str, Any]:
    from .report import report

    return report(container, settings)


@hookimpl
def ocifw_restore(
    config: dict[str, Any],
    options: Mapping[str, Any],
    settings: dict[str, Any],
    request: Request,
    host: Host,
) -> Iterator[RuntimeStep]:
    from . import rpc
    from .restore import plan

    yield plan(config, options, request, host, rpc.find(settings, "restore"))


@hookimpl
def ocifw_features() -> Mapping[str, Any]:
    from . import rpc

    # It names a file that CRIU reads options from.
    found: dict[str, Any] = {"potentiallyUnsafeConfigAnnotations": ["org.criu.config"]}
    if not rpc.missing({}):
        # runc's annotation, by which engines learn that checkpoints can be made.
        found["annotations"] = {"org.opencontainers.runc.checkpoint.enabled": "true"}
    return found
