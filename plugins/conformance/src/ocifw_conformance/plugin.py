"""The hook of ocifw-conformance: a verb, and no part in any container."""

from __future__ import annotations

from ocifw import hookimpl


@hookimpl
def ocifw_commands() -> dict[str, str]:
    return {"conformance": "ocifw_conformance.command:main"}
