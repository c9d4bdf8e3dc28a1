"""The hooks of ocifw-audit-log: it watches, and answers nothing."""

from __future__ import annotations

from ocifw import hookimpl

from . import lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ocifw.context import Context
    from ocifw.phases import Phase
    from ocifw.step import Step

api = "1"


@hookimpl
def ocifw_settings_schema() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"file": {"type": "string", "pattern": "^/"}, "steps": {"type": "boolean"}},
        "additionalProperties": False,
    }


@hookimpl
def ocifw_run_phase(
    phase: Phase, side: str, steps: Sequence[Step], context: Context, settings: dict[str, Any]
) -> None:
    lines.write(
        settings.get("file") or lines.FILE, lines.entry(phase, side, steps, context, settings)
    )
