"""docs/profiles.md, word for word: its files are written, its commands executed in order, their output compared."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ocifw.profile import SHIPPED

FOLDER = "/srv/tutorial"
OWN = "/usr/lib/ocifw/profiles"
BLOCK = re.compile(
    r"(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
WRAPPER = """#!/bin/sh
# ocifw with a state root and, for what makes containers, a cgroup of the test's own.
verb=$1; shift
case $verb in
    run|create) exec {ocifw} --root {root} "$verb" --set linux.cgroupsPath={cgroup} "$@" ;;
    *) exec {ocifw} --root {root} "$verb" "$@" ;;
esac
"""


def parts(text):
    """The files and commands, in order: ("file", path, content) or ("command", line, expected output)."""
    for block in BLOCK.finditer(text):
        if block["file"]:
            yield "file", block["file"], block["text"]
        else:
            for command in re.split(r"^\$ ", block["text"], flags=re.MULTILINE)[1:]:
                line, _, output = command.partition("\n")
                yield "command", line, output


def tutorial(repository):
    return (repository / "docs/profiles.md").read_text()


def test_every_block_is_used(repository):
    """Console blocks hold commands, and every other block is a file."""
    blocks = list(BLOCK.finditer(tutorial(repository)))
    assert tutorial(repository).count("```") == 2 * len(blocks)
    assert all(block["file"] or block["text"].startswith("$ ") for block in blocks)


class Machine:
    """The folder of the tutorial, and a command `ocifw` that leaves the rest of the machine alone."""

    def __init__(self, folder):
        self.folder = folder / "tutorial"
        self.folder.mkdir()
        self.cgroup = f"/ocifw-tutorial-{os.getpid()}"
        program = folder / "bin/ocifw"
        program.parent.mkdir()
        beside = Path(sys.executable).parent / "ocifw"
        program.write_text(
            WRAPPER.format(
                ocifw=beside if beside.exists() else shutil.which("ocifw"),
                root=folder / "state",
                cgroup=self.cgroup,
            )
        )
        program.chmod(0o755)
        self.environment = {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
            "HOME": "/root",
        }

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o644)

    def run(self, line):
        """The output of a command, errors included, with what is the test's own replaced."""
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        text = done.stdout.replace(str(self.folder), FOLDER).replace(SHIPPED, OWN)
        text = text.replace(self.cgroup, "/web")
        return re.sub(r'^time="[^"]*" ', 'time="..." ', text, flags=re.MULTILINE)

    def clean(self):
        self.run("ocifw delete --force web")


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_tutorial(repository, tmp_path):
    """Every command of the tutorial prints what the tutorial says."""
    if shutil.which("busybox") is None:
        pytest.skip("needs busybox-static")
    machine = Machine(tmp_path)
    checker = doctest.OutputChecker()
    wrong = []
    try:
        for kind, name, text in parts(tutorial(repository)):
            if kind == "file":
                machine.write(name, text)
                continue
            found = machine.run(name)
            if not checker.check_output(text, found, doctest.ELLIPSIS):
                wrong.append(f"$ {name}\n--- expected\n{text}--- found\n{found}")
    finally:
        machine.clean()
    assert not wrong, "\n".join(wrong)
