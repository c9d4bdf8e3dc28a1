"""The matrix for readers and for programs: on a terminal, as JSON, as a document."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from typing import TYPE_CHECKING

from . import machine
from .case import OLD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .case import Case
    from .matrix import Column, Runtime

    Columns = Sequence[tuple[Runtime, Column]]

ELSEWHERE = """\
## What another machine must show

Where a case was skipped, the table says what was missing. Beyond that, these demands have no case here, since they cannot
be seen on a machine with cgroup v1 and without security modules:

* cgroup v2 alone: `unified`, `cpu.idle`, `memory.checkBeforeUpdate`, conversions to `cpu.weight`, `io.weight` and `io.max`,
  device rules as BPF programs, ownership of a delegated cgroup, `cgroup` mounts of the unified hierarchy. ocifw's own tests
  for them are `tests/conformance/test_cgroup_v2.py` and `tests/vm`.
* AppArmor and SELinux: `process.apparmorProfile`, `process.selinuxLabel` and `linux.mountLabel` in force.
* hardware: `linux.intelRdt` with resctrl, `resources.rdma`, `linux.memoryPolicy` over several nodes.
"""

HOW = """\
Made by `ocifw conformance {command}`: do not edit. A row is a demand of runtime-spec 1.3, tried through the command line
alone, as an engine would; `ok` means that the runtime does it, `FAIL` says what it does instead, `skip` names what the
machine lacks. A column of ocifw is that of `compat: spec`, unless it says otherwise: engines get `compat: runc`, which
`--compat-runc` tries, too.

Rows with † ask for fields that the specification got after 1.0.2 and that runc 1.1, made for that version, does not know:
config.md lets a runtime ignore them. In other rows "create is no error" means that a value which the specification calls
invalid is accepted (config.md, Valid values). SHOULD and MAY stand where they are meant; all else is a MUST.

"""


def as_text(rows: Sequence[Case], columns: Columns) -> str:
    """A table of verdicts, then what failed and why."""
    width = max((len(case.name) for case in rows), default=0) + 2
    lines = [" " * width + "".join(r.name.ljust(max(8, len(r.name) + 2)) for r, _ in columns)]
    for section, cases in itertools.groupby(rows, lambda case: case.section):
        lines.append(section)
        for case in cases:
            cells = [c[case.name].result.ljust(max(8, len(r.name) + 2)) for r, c in columns]
            lines.append(f"  {case.name}".ljust(width) + "".join(cells))
    lines.append("")
    for runtime, column in columns:
        verdicts = [(case.name, column[case.name]) for case in rows]
        lines += [f"{runtime.name}: {name}: {v}" for name, v in verdicts if v.reason]
    lines += [f"{runtime.name}: {counted(column)}" for runtime, column in columns]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def counted(column: Column) -> str:
    """How many verdicts there are of each kind."""
    results = [verdict.result for verdict in column.values()]
    return ", ".join(f"{results.count(result)} {result}" for result in ("ok", "FAIL", "skip"))


def as_json(rows: Sequence[Case], columns: Columns) -> str:
    """Everything, for programs."""
    document = {
        "machine": machine.facts(),
        "runtimes": [
            {"name": r.name, "command": list(r.command), "version": r.version} for r, _ in columns
        ],
        "cases": [
            {
                "name": case.name,
                "section": case.section,
                "demand": case.demand,
                "verdicts": {
                    r.name: {"result": c[case.name].result, "reason": c[case.name].reason}
                    for r, c in columns
                },
            }
            for case in rows
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def as_document(rows: Sequence[Case], columns: Columns, command: str) -> str:
    """The matrix as Markdown, with the machine and the versions."""
    today = dt.datetime.now(dt.UTC).date()
    lines = ["# Conformance with runtime-spec 1.3", "", HOW.format(command=command)]
    lines += ["## Versions and machine", "", f"Of {today}.", ""]
    for runtime, column in columns:
        lines.append(f"* {runtime.name}: {runtime.version}; {counted(column)}")
    lines += [f"* {key}: {value}" for key, value in machine.facts().items()]
    lines.append("")
    names = " | ".join(runtime.name for runtime, _ in columns)
    by_file = itertools.groupby(rows, lambda case: case.section.partition(",")[0])
    for file, cases in by_file:
        lines += [f"## {file}", "", f"| demand | {names} |"]
        lines.append("|---" * (len(columns) + 1) + "|")
        for section, group in itertools.groupby(cases, lambda case: case.section):
            lines.append(f"| **{section.partition(', ')[2]}** |" + " |" * len(columns))
            for case in group:
                cells = [str(column[case.name]).replace("|", "\\|") for _, column in columns]
                demand = case.demand.replace("|", "\\|") + " †" * (case.runc == OLD)
                lines.append(f"| {demand} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n" + ELSEWHERE
