"""The hooks of ocifw-acme-site: containers know at which site of the company they run, by the variable ACME_SITE."""

from __future__ import annotations

from ocifw import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw.context import Host

api = "1"

FILE = "/etc/acme/site"
UNKNOWN = "unknown"


@hookimpl
def ocifw_edits(settings: dict[str, Any], host: Host) -> Iterator[dict[str, Any]]:
    path = settings.get("file", FILE)
    site = host.read(path).decode().strip() if host.exists(path) else UNKNOWN
    yield {"process": {"env": [f"ACME_SITE={site}"]}}


@hookimpl
def ocifw_settings_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"file": {"type": "string", "pattern": "^/"}},
        "additionalProperties": False,
    }
