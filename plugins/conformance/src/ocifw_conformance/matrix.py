"""Running cases on runtimes: one process for each runtime, in a mount namespace of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ocifw.errors import OcifwError

from . import cases as _cases  # noqa: F401 - importing it is what fills CASES
from . import machine
from .case import CASES, Case, Lacks, Wrong
from .trial import Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

REASON_LENGTH = 110


@dataclass(frozen=True)
class Runtime:
    """A column. command: the program and its global options. version: its own first line."""

    name: str
    command: tuple[str, ...]
    version: str


@dataclass(frozen=True)
class Verdict:
    """A cell: "ok", "FAIL" or "skip", and why."""

    result: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.result}: {self.reason}" if self.reason else self.result


Column = dict[str, Verdict]


def runtime(name: str, path: str, options: Sequence[str] = ()) -> Runtime:
    """A runtime by name or path. Raises OcifwError when there is none."""
    found = shutil.which(path)
    if found is None:
        raise OcifwError(f"conformance: {path}: no such program")
    done = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines() or ["of unknown version"]
    return Runtime(name, (os.path.abspath(found), *options), lines[0])


def chosen(pattern: str) -> list[Case]:
    """The cases in whose name, section or demand the pattern, a regular expression, is found; in order."""
    import re

    expression = re.compile(pattern, re.IGNORECASE)
    return [c for c in CASES if expression.search(f"{c.name} {c.section} {c.demand}")]


def run(tested: Runtime, rows: Sequence[Case], progress: Callable[[str], None]) -> Column:
    """The verdicts on one runtime, by the names of cases. progress: called with a line now and then.

    The cases run in a process of their own: it becomes the reaper of the containers' processes, and leaves the host's mounts.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            _run_here(tested, rows, writer)
            status = 0
        except BaseException as error:
            os.write(2, f"conformance: {tested.name}: {type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(status)
    os.close(writer)
    column: Column = {}
    with open(reader) as results:
        for line in results:
            name, result, reason = json.loads(line)
            column[name] = Verdict(result, reason)
            progress(f"{tested.name} {len(column)}/{len(rows)} {name}: {column[name]}")
    _, status = os.waitpid(pid, 0)
    if status:
        raise OcifwError(f"conformance: the cases of {tested.name} broke off")
    return column


def _run_here(tested: Runtime, rows: Sequence[Case], writer: int) -> None:
    # crun says itself that it does not know a unified hierarchy beside those of v1.
    machine.become_private(hide_unified=tested.name.startswith("crun"))
    with tempfile.TemporaryDirectory(prefix="ocifw-conformance-") as name:
        # Root of a user namespace must get there.
        os.chmod(name, 0o755)
        rootfs = machine.make_rootfs(Path(name, "rootfs"))
        for number, case in enumerate(rows):
            folder = Path(name, f"case-{number}")
            folder.mkdir()
            parent = f"ocifw-conformance-{os.getpid()}-{number}"
            verdict = attempt(case, Trial(list(tested.command), folder, rootfs, parent))
            line = json.dumps([case.name, verdict.result, verdict.reason])
            os.write(writer, line.encode() + b"\n")


def attempt(case: Case, trial: Trial) -> Verdict:
    """The verdict of a case; nothing is left behind, whatever happens."""
    try:
        case.attempt(trial)
        return Verdict("ok")
    except Wrong as wrong:
        return Verdict("FAIL", _short(str(wrong)))
    except Lacks as lacks:
        return Verdict("skip", f"needs {lacks}")
    except Exception as error:
        # What the runtime printed was not what it should be, so that reading it failed.
        return Verdict("FAIL", _short(f"{type(error).__name__}: {error}"))
    finally:
        trial.clean()


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= REASON_LENGTH else f"{text[: REASON_LENGTH - 1]}…"
