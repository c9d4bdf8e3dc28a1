"""The help of the command and of each verb, made from the tables that the options are read by."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

from . import cli
from .commands import VERBS
from .options import FLAG, HELP, NUMBER, NUMBERS, Option

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

_WIDTH = 80


def global_help() -> str:
    """The help of `ocifw` itself."""
    width = max(map(len, VERBS)) + 2
    verbs = "".join(f"   {verb:{width}}{cli.command(verb).SUMMARY}\n" for verb in VERBS)
    return (
        "NAME:\n   ocifw - run containers as the OCI runtime specification describes them\n\n"
        "USAGE:\n   ocifw [global options] command [command options] [arguments...]\n\n"
        f"COMMANDS:\n{verbs}   {'help':{width}}show this help, or that of a command\n\n"
        f"GLOBAL OPTIONS:\n{_options([*cli.OPTIONS, HELP])}"
    )


def verb_help(verb: str, module: ModuleType) -> str:
    """The help of one verb: SUMMARY, USAGE, DESCRIPTION and OPTIONS of its module."""
    shown = " [command options]" if module.OPTIONS else ""
    text = f"NAME:\n   ocifw {verb} - {module.SUMMARY}\n\n"
    text += f"USAGE:\n   ocifw {verb}{shown} {module.USAGE}".rstrip() + "\n"
    if module.DESCRIPTION:
        paragraphs = module.DESCRIPTION.strip("\n").split("\n\n")
        text += "\nDESCRIPTION:\n" + "\n".join(map(_paragraph, paragraphs))
    return text + f"\nOPTIONS:\n{_options([*module.OPTIONS, HELP])}"


def _paragraph(text: str) -> str:
    """Filled, unless it is indented: then it is an example, and stays as it is."""
    if text.startswith("    "):
        return "".join([f"   {line}\n" for line in text.splitlines()])
    return (
        fill(" ".join(text.split()), _WIDTH, initial_indent="   ", subsequent_indent="   ") + "\n"
    )


def _options(options: Iterable[Option]) -> str:
    shown = [(_spelling(option), option) for option in options if not option.hidden]
    margin = " " * (max(len(spelling) for spelling, _ in shown) + 5)
    text = ""
    for spelling, option in shown:
        default = "" if option.default in ("", False, None) else f" (default: {option.default})"
        first = f"   {spelling}".ljust(len(margin))
        text += fill(
            option.help + default, 100, initial_indent=first, subsequent_indent=margin
        ).rstrip()
        text += "\n"
    return text


def _spelling(option: Option) -> str:
    value = "" if option.kind == FLAG else " N" if option.kind in (NUMBER, NUMBERS) else " value"
    short = f", -{option.short}{value}" if option.short else ""
    return f"--{option.name}{value}{short}"
