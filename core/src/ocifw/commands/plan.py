"""`ocifw plan`: what `create` would do, step by step, without doing any of it."""

from __future__ import annotations

from ocifw.options import FLAG, Option

from .common import CREATE, bundle, preserve_fds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from ocifw.context import Globals
    from ocifw.display import Paint
    from ocifw.phases import Phase
    from ocifw.plan import Plan
    from ocifw.step import Step

SUMMARY = "show what create would do, and change nothing"
USAGE = "[container-id] [file.svg]"
DESCRIPTION = """
Each line is a step: its plugin, what it does, and in brackets where config.json asks for it. Steps of a phase on the side
"runtime" are done by ocifw, those on the side "container" by the container's process.
"""
OPTIONS = (
    *CREATE,
    Option("json", "", FLAG, False, "print the plan as JSON, with all fields"),
    Option("diff", help="name or path of a profile: show what would be different with it instead"),
    Option("graph", "", FLAG, False, "show a tree of phases, plugins and steps, or write FILE.svg"),
)
ARGUMENTS = (0, 2)

_WIDTH = 80
_PLUGIN_WIDTH = 14


def run(globals_: Globals, options: dict[str, Any], arguments: list[str]) -> None:
    """Print the plan for a container `arguments[0]`, by default one called `plan`."""
    from ocifw.display import paint
    from ocifw.output import write

    file, rest = _svg_file(options, arguments)
    container_id = rest[0] if rest else "plan"
    made = _plan(globals_, container_id, options)
    if options["diff"]:
        other = _plan(_instead(globals_, options["diff"]), container_id, options)
        if options["json"]:
            from ocifw.document import dump_pretty

            write(dump_pretty(diff_document(made, other), "  ") + "\n")
        else:
            write("".join([line + "\n" for line in diff_lines(made, other, paint())]))
    elif file:
        from ocifw.graph import svg

        _write(file, svg(made))
    elif options["graph"]:
        from ocifw.graph import tree

        write("".join([line + "\n" for line in tree(made, paint())]))
    elif options["json"]:
        from ocifw.document import dump_pretty

        write(dump_pretty(as_document(made), "  ") + "\n")
    else:
        write("".join([line + "\n" for line in as_lines(made, paint())]))


def _svg_file(options: dict[str, Any], arguments: list[str]) -> tuple[str, list[str]]:
    """The file that --graph names, and the other arguments. Raises UsageError for what is too much."""
    from ocifw.errors import UsageError

    files = [word for word in arguments if options["graph"] and word.endswith(".svg")]
    rest = [word for word in arguments if word not in files]
    if len(files) > 1 or len(rest) > 1:
        raise UsageError(f"{arguments[-1]}: expected [container-id], and with --graph a FILE.svg")
    if options["graph"] + options["json"] + bool(options["diff"]) > 1 and not (
        options["json"] and options["diff"]
    ):
        raise UsageError("--graph goes neither with --json nor with --diff")
    return (files[0] if files else ""), rest


def _plan(globals_: Globals, container_id: str, options: dict[str, Any]) -> Plan:
    from ocifw.operations import plan

    return plan(
        globals_,
        container_id,
        bundle(options),
        config_file=options["config"],
        no_pivot=options["no-pivot"],
        no_new_keyring=options["no-new-keyring"],
        preserve_fds=preserve_fds(options),
        console=bool(options["console-socket"]),
        pidfd=bool(options["pidfd-socket"]),
    )


def _instead(globals_: Globals, profile: str) -> Globals:
    """The same command line with another profile."""
    import os

    changed: Globals = globals_.changed(
        profiles=(os.path.abspath(profile) if "/" in profile else profile,)
    )
    return changed


def _write(path: str, text: str) -> None:
    from ocifw.container import write_file
    from ocifw.errors import OcifwError, errno_text

    try:
        write_file(path, text.encode(), 0o644)
    except OSError as error:
        raise OcifwError(f"{path}: {errno_text(error.errno or 0)}") from error


def as_lines(plan: Plan, paint: Paint | None = None) -> Iterator[str]:
    """The plan in lines of at most 80 columns, but for words that are longer."""
    from textwrap import wrap

    from ocifw.display import Paint

    paint = paint or Paint(False)

    for phase, steps in plan.phases:
        if not steps:
            continue
        colour = "green" if phase.side == "container" else "cyan"
        yield paint(f"{phase.number:2} {phase.name} ({phase.side})", "bold", colour)
        for step in steps:
            text = _printable(step.describe()) + (f" [{step.at}]" if step.at else "")
            margin = " " * (4 + _PLUGIN_WIDTH)
            first = f"    {step.plugin:{_PLUGIN_WIDTH - 1}} "
            lines = wrap(
                text,
                _WIDTH,
                initial_indent=first,
                subsequent_indent=margin + "  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
            yield paint(first, "yellow") + lines[0][len(first) :]
            yield from lines[1:]


def diff_lines(one: Plan, other: Plan, paint: Paint) -> Iterator[str]:
    """Steps that only one of two plans has: `-` the first, `+` the second; nothing when they are the same."""
    from ocifw.display import wrapped

    for phase, changes in _differences(one, other):
        yield paint(f"{phase.number:2} {phase.name} ({phase.side})", "bold")
        for sign, step in changes:
            colour = "green" if sign == "+" else "red"
            text = _printable(step.describe()) + (f" [{step.at}]" if step.at else "")
            first = f"  {sign} {step.plugin:{_PLUGIN_WIDTH - 1}} "
            for line in wrapped(text, first, " " * (6 + _PLUGIN_WIDTH)):
                yield paint(line, colour)


def diff_document(one: Plan, other: Plan) -> list[dict[str, Any]]:
    """The same as JSON: a list of phases with the steps that go, and those that come."""
    return [
        {
            "phase": phase.name,
            "removed": [_step(step) for sign, step in changes if sign == "-"],
            "added": [_step(step) for sign, step in changes if sign == "+"],
        }
        for phase, changes in _differences(one, other)
    ]


def _differences(one: Plan, other: Plan) -> Iterator[tuple[Phase, list[tuple[str, Step]]]]:
    from difflib import SequenceMatcher

    for (phase, before), (_, after) in zip(one.phases, other.phases):
        changes: list[tuple[str, Step]] = []
        matcher = SequenceMatcher(None, _named(before), _named(after), autojunk=False)
        for tag, i, j, k, n in matcher.get_opcodes():
            if tag != "equal":
                changes += [("-", step) for step in before[i:j]]
                changes += [("+", step) for step in after[k:n]]
        if changes:
            yield phase, changes


def _named(steps: Sequence[Step]) -> list[str]:
    """Steps as what can be compared and hashed, whatever their fields are."""
    return [f"{step.plugin} {step!r}" for step in steps]


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
