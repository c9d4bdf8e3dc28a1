"""The hooks of ocifw-landlock. The step is ocifw's own: `ocifw.steps.RestrictByLandlock`."""

from __future__ import annotations

from ocifw import hookimpl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw.steps import ContainerStep

api = "1"


# Before the other plugins' seals: a seccomp filter may forbid what Landlock needs.
@hookimpl(tryfirst=True)
def ocifw_seal(config: dict[str, Any], settings: dict[str, Any]) -> Iterator[ContainerStep]:
    if settings:
        from .rules import check, restriction

        check(config)
        yield restriction(settings)


@hookimpl
def ocifw_settings_schema() -> dict[str, Any]:
    paths = {"type": "array", "items": {"type": "string", "pattern": "^/"}}
    ports = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 65535}}
    return {
        "type": "object",
        "properties": {
            "read": paths,
            "execute": paths,
            "write": paths,
            "bind": ports,
            "connect": ports,
            "scoped": {"type": "boolean"},
            "least-abi": {"type": "integer", "minimum": 0},
        },
        "additionalProperties": False,
    }
