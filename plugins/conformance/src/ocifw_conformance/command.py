"""`ocifw conformance`: the MUSTs of runtime-spec 1.3, tried on runtimes through their command lines."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocifw.errors import OcifwError, UsageError
from ocifw.options import FLAG, HELP, TEXTS, Option, check_count, parse
from ocifw.output import write

from . import matrix, report

if TYPE_CHECKING:
    from ocifw.context import Globals

    from .case import Case

USAGE = """\
usage: ocifw conformance [--runtime PATH]... [--only PATTERN] [--json] [--write FILE] [--compat-runc] [--list]

Tries what runtime-spec 1.3 demands, with containers of busybox, and prints a matrix. Needs root.

--runtime PATH  a runtime to try, by name or path; may be repeated; without it ocifw itself
--only PATTERN  only cases whose name, section or demand matches the regular expression
--json          print the matrix as JSON
--write FILE    write it as a Markdown document, too
--compat-runc   try ocifw once more as engines get it; its column is otherwise that of `compat: spec`
--list          print the cases, and run none
"""
OPTIONS = (
    HELP,
    Option("runtime", "", TEXTS),
    Option("only", default=""),
    Option("json", "", FLAG, False),
    Option("write", default=""),
    Option("compat-runc", "", FLAG, False),
    Option("list", "", FLAG, False),
)


def main(globals_: Globals, words: list[str]) -> int:
    """Run the verb. Returns 0 when nothing failed, else 1."""
    options, rest = parse(OPTIONS, words)
    check_count("conformance", rest, 0, 0)
    if options["help"]:
        write(USAGE)
        return 0
    rows = _rows(options["only"])
    if options["list"]:
        write("".join(f"{case.name}: {case.section}: {case.demand}\n" for case in rows))
        return 0
    if os.geteuid() != 0:
        raise OcifwError("conformance needs root: it makes containers of all kinds")
    with tempfile.TemporaryDirectory(prefix="ocifw-conformance-") as folder:
        runtimes = _runtimes(globals_, options, Path(folder))
        columns = [(tested, matrix.run(tested, rows, _progress)) for tested in runtimes]
    write(report.as_json(rows, columns) if options["json"] else report.as_text(rows, columns))
    if options["write"]:
        Path(options["write"]).write_text(
            report.as_document(rows, columns, shlex.join(words)), encoding="utf-8"
        )
    return int(any(v.result == "FAIL" for _, column in columns for v in column.values()))


def _rows(pattern: str) -> list[Case]:
    import re

    try:
        rows = matrix.chosen(pattern)
    except re.error as error:
        raise UsageError(f"conformance: --only {pattern}: {error}") from error
    if not rows:
        raise UsageError(f"conformance: --only {pattern}: no case matches; --list shows them")
    return rows


def _progress(line: str) -> None:
    """Show a line that the next one replaces, to who sits at a terminal."""
    if os.isatty(2):
        width = os.get_terminal_size(2).columns - 1
        os.write(2, f"\r{line[:width]:{width}}\r".encode())


def _runtimes(globals_: Globals, options: dict[str, Any], folder: Path) -> list[matrix.Runtime]:
    """The columns. ocifw gets the profiles of the command line, or one that says `compat: spec`."""
    columns = []
    for path in options["runtime"] or ["ocifw"]:
        name = os.path.basename(path)
        if not name.startswith("ocifw"):
            columns.append(matrix.runtime(name, path))
            continue
        program = _own_program() if "/" not in path else path
        profiles = globals_.profiles or (_profile(folder, "spec"),)
        columns.append(matrix.runtime(name, program, _layers(profiles)))
        if options["compat-runc"]:
            layers = _layers((_profile(folder, "runc"),))
            columns.append(matrix.runtime(f"{name}, compat: runc", program, layers))
    return columns


def _layers(profiles: tuple[str, ...]) -> list[str]:
    return [word for profile in profiles for word in ("--profile", profile)]


def _profile(folder: Path, compat: str) -> str:
    """The path of a profile that chooses between runc's way and the specification's."""
    path = folder / f"{compat}.yaml"
    path.write_text(f"compat: {compat}\n")
    path.chmod(0o600)
    return str(path)


def _own_program() -> str:
    """The path of the ocifw command that runs this code."""
    import ocifw

    called = sys.argv[1] if len(sys.argv) > 1 else ""
    if os.path.basename(called).startswith("ocifw") and (found := shutil.which(called)):
        return found
    # .../lib/python3.11/site-packages/ocifw/__init__.py belongs to .../bin/ocifw.
    beside = Path(ocifw.__file__).parents[4] / "bin/ocifw"
    return str(beside) if beside.exists() else "ocifw"
