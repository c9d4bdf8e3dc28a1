"""Write the manual pages: ocifw.8, and ocifw-VERB.8 for each verb. For packages; nothing of it is in the repository.

    python3 tools/generate_man.py FOLDER

They say what `ocifw help` says, made from the same tables: SUMMARY, USAGE, DESCRIPTION and OPTIONS of each verb. Markup is
that of man(7).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "core" / "src"))

from ocifw import __version__, cli  # noqa: E402 - the checkout's, whatever is installed
from ocifw.commands import VERBS  # noqa: E402
from ocifw.options import FLAG, HELP, NUMBER, NUMBERS, Option  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import ModuleType

SUMMARY = "run containers as the OCI runtime specification describes them"
FILES = (
    ("/run/ocifw", "The states of containers, unless --root names another folder."),
    ("/etc/ocifw/config.yaml", "Which profile containers get, and who else may choose one."),
    ("/etc/ocifw/profiles, /usr/share/ocifw/profiles", "Profiles of the administrator and of packages."),
    ("/etc/ocifw/sets.d, /usr/lib/ocifw/sets.d", "Plugin sets of the administrator and of packages."),
    ("/var/cache/ocifw", "Bytecode, linked plugin sets and compiled profiles. It can be removed at any time."),
)  # fmt: skip
ENVIRONMENT = (
    ("OCIFW_PROFILE", "Names of profiles, for callers at a terminal; engines' containers ignore it."),
    ("XDG_RUNTIME_DIR", "Users without privileges have the states of containers in its folder ocifw."),
)  # fmt: skip


def escape(text: str) -> str:
    """Text that roff shows as it is: hyphens that can be copied, no accidental requests, ASCII only."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    text = "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in text)
    return "\n".join(
        f"\\&{line}" if line.startswith((".", "\\(aq")) else line for line in text.split("\n")
    )


def options(table: Iterable[Option]) -> Iterator[str]:
    """A paragraph for each option."""
    for option in table:
        if option.hidden:
            continue
        value = " \\fIN\\fR" if option.kind in (NUMBER, NUMBERS) else " \\fIvalue\\fR"
        value = "" if option.kind == FLAG else value
        spellings = [f"\\fB{escape('--' + option.name)}\\fR{value}"]
        spellings += [f"\\fB{escape('-' + option.short)}\\fR{value}"] * bool(option.short)
        default = (
            "" if option.default in ("", False, None) else f" The default is {option.default}."
        )
        end = "" if option.help.endswith(".") or not default else "."
        yield f".TP\n{', '.join(spellings)}\n{escape(option.help + end + default)}"


def description(text: str) -> Iterator[str]:
    """Paragraphs; indented ones are examples and stay as they are."""
    for paragraph in text.strip("\n").split("\n\n"):
        if paragraph.startswith("    "):
            lines = "\n".join(line.removeprefix("    ") for line in paragraph.split("\n"))
            yield f".PP\n.RS 4\n.nf\n{escape(lines.rstrip())}\n.fi\n.RE"
        else:
            yield f".PP\n{escape(' '.join(paragraph.split()))}"


def header(name: str) -> str:
    """The title line."""
    return f'.TH "{escape(name.upper())}" "8" "" "ocifw {__version__}" "ocifw"'


def items(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A paragraph for each pair of term and text."""
    for term, text in pairs:
        yield f".TP\n\\fB{escape(term)}\\fR\n{escape(text)}"


def verb_page(verb: str, module: ModuleType) -> str:
    """ocifw-VERB.8"""
    synopsis = f".B ocifw {escape(verb)}\n"
    if module.OPTIONS:
        synopsis += "[\\fIoptions\\fR]\n"
    if module.USAGE:
        synopsis += escape(module.USAGE) + "\n"
    parts = [
        header(f"ocifw-{verb}"),
        f".SH NAME\n{escape(f'ocifw-{verb}')} \\- {escape(module.SUMMARY)}",
        f".SH SYNOPSIS\n{synopsis.rstrip()}",
    ]
    if module.DESCRIPTION.strip():
        parts += [".SH DESCRIPTION", *description(module.DESCRIPTION)]
    parts += [".SH OPTIONS", *options([*module.OPTIONS, HELP])]
    parts += ['.SH "SEE ALSO"\n.BR ocifw (8)']
    return "\n".join(parts) + "\n"


def main_page() -> str:
    """ocifw.8"""
    modules = {verb: cli.command(verb) for verb in VERBS}
    verbs = ((f"ocifw-{verb}(8)", module.SUMMARY) for verb, module in modules.items())
    about = (
        "ocifw has the command line and the job of runc: engines start it to make containers out of a bundle, which is"
        " a config.json and a root filesystem. What is done is a plan of small steps, which plugins make; \"ocifw plan\""
        " shows it without doing it. Each command has a page of its own."
    )  # fmt: skip
    parts = [
        header("ocifw"),
        f".SH NAME\nocifw \\- {SUMMARY}",
        ".SH SYNOPSIS\n.B ocifw\n[\\fIglobal options\\fR] \\fIcommand\\fR [\\fIoptions\\fR] [\\fIarguments\\fR]",
        f".SH DESCRIPTION\n{escape(about)}",
        ".SH COMMANDS", *items(verbs),
        '.SH "GLOBAL OPTIONS"', *options([*cli.OPTIONS, HELP]),
        ".SH FILES", *items(FILES),
        ".SH ENVIRONMENT", *items(ENVIRONMENT),
        ".SH \"EXIT STATUS\"\nThat of the container's program where the command waits for it; else 0, or 1 after an error.",
        '.SH "SEE ALSO"\n.BR runc (8),\n.BR crun (1),\n.BR podman (1)',
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def main(arguments: list[str]) -> int:
    """Write all pages."""
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ocifw.8").write_text(main_page())
    for verb in VERBS:
        (folder / f"ocifw-{verb}.8").write_text(verb_page(verb, cli.command(verb)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) if len(sys.argv) == 2 else __doc__)
