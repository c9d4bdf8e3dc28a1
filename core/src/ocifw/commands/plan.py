"""`ocifw plan`: what `create` would do, step by step, without doing any of it."""

from __future__ import annotations

from ocifw.options import FLAG, Option

from .common import CREATE, bundle, preserve_fds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ocifw.context import Globals
    from ocifw.plan import Plan
    from ocifw.step import Step

SUMMARY = "show what create would do, and change nothing"
USAGE = "[container-id]"
DESCRIPTION = """
Each line is a step: its plugin, what it does, and in brackets where config.json asks for it. Steps of a phase on the side
"runtime" are done by ocifw, those on the side "container" by the container's process.
"""
OPTIONS = (*CREATE, Option("json", "", FLAG, False, "print the plan as JSON, with all fields"))
ARGUMENTS = (0, 1)

_WIDTH = 80
_PLUGIN_WIDTH = 14


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> None:
    """Print the plan for a container `arguments[0]`, by default one called `plan`."""
    from ocifw.operations import plan
    from ocifw.output import write

    made = plan(
        globals_,
        arguments[0] if arguments else "plan",
        bundle(options),
        config_file=options["config"],
        no_pivot=options["no-pivot"],
        no_new_keyring=options["no-new-keyring"],
        preserve_fds=preserve_fds(options),
        console=bool(options["console-socket"]),
        pidfd=bool(options["pidfd-socket"]),
    )
    if options["json"]:
        from ocifw.document import dump_pretty

        write(dump_pretty(as_document(made), "  ") + "\n")
    else:
        write("".join([line + "\n" for line in as_lines(made)]))


def as_lines(plan: Plan) -> Iterator[str]:
    """The plan in lines of at most 80 columns, but for words that are longer."""
    from textwrap import wrap

    for phase, steps in plan.phases:
        if not steps:
            continue
        yield f"{phase.number:2} {phase.name} ({phase.side})"
        for step in steps:
            text = _printable(step.describe()) + (f" [{step.at}]" if step.at else "")
            margin = " " * (4 + _PLUGIN_WIDTH)
            first = f"    {step.plugin:{_PLUGIN_WIDTH - 1}} "
            yield from wrap(
                text,
                _WIDTH,
                initial_indent=first,
                subsequent_indent=margin + "  ",
                break_long_words=False,
                break_on_hyphens=False,
            )


def as_document(plan: Plan) -> list[dict[str, Any]]:
    """The plan as JSON: a list of phases with their steps and the steps' fields."""
    return [
        {
            "phase": phase.name,
            "number": phase.number,
            "side": phase.side,
            "verb": phase.verb,
            "steps": [_step(step) for step in steps],
        }
        for phase, steps in plan.phases
    ]


def _step(step: Step) -> dict[str, Any]:
    from ocifw.step import ContainerStep

    return {
        "step": type(step).__name__,
        "plugin": step.plugin,
        "side": "container" if isinstance(step, ContainerStep) else "runtime",
        "at": step.at,
        "text": step.describe(),
        "fields": {name: _plain(name, value) for name, value in step.items()},
    }


def _plain(name: str, value: Any) -> Any:
    """A field as JSON can hold it: bytes as their number. The environment may hold secrets: names only."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if name == "env":
        return [entry.partition("=")[0] for entry in value]
    return value


def _printable(text: str) -> str:
    """On one line: a step's text may hold what config.json says, whatever that is."""
    return "".join([c if c.isprintable() else f"\\x{ord(c):02x}" for c in text])
