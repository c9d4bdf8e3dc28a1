"""The hooks of ocifw-hooks-d: OCI hooks that are configured for all containers, as podman and CRI-O have them."""

from __future__ import annotations

from ocifw import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw.context import Host

api = "1"


@hookimpl
def ocifw_edits(
    config: dict[str, Any], settings: dict[str, Any], host: Host
) -> Iterator[dict[str, Any]]:
    from .folders import FOLDERS, patches

    yield from patches(settings.get("folders") or FOLDERS, config, host)


@hookimpl
def ocifw_settings_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"folders": {"type": "array", "items": {"type": "string", "pattern": "^/"}}},
        "additionalProperties": False,
    }
