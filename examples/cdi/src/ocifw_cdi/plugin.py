"""The hooks of ocifw-cdi. A container gets the devices that its profile names, and those that allowed annotations ask for."""

from __future__ import annotations

from ocifw import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

api = "1"


@hookimpl
def ocifw_edits(config: dict[str, Any], settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    names = [*settings.get("devices", ())]
    allowed = settings.get("annotations")
    if allowed and config.get("annotations"):
        from .names import annotated

        names += annotated(config["annotations"], allowed)
    if names:
        from .edits import patches
        from .registry import Registry

        yield from patches(Registry(settings.get("folders")), names)


@hookimpl
def ocifw_settings_schema() -> dict[str, Any]:
    texts = {"type": "array", "items": {"type": "string"}}
    return {
        "type": "object",
        "properties": {"devices": texts, "annotations": texts, "folders": texts},
        "additionalProperties": False,
    }
