"""docs/writing-plugins.md, word for word: its files are written, its commands executed, their output compared."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BLOCK = re.compile(
    r"(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
PIP = """#!/bin/sh
# pip for this environment, from what is on the machine.
PIP_NO_INDEX=1 PIP_NO_BUILD_ISOLATION=0 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 \\
    exec {python} -m pip --python {own} "$@"
"""


def parts(text):
    """The guide's files and commands, in order: ("file", path, content) or ("command", line, expected output)."""
    for block in BLOCK.finditer(text):
        if block["file"]:
            yield "file", block["file"], block["text"]
        elif block["kind"] == "console":
            commands = re.split(r"^\$ ", block["text"], flags=re.MULTILINE)[1:]
            for command in commands:
                line, _, output = command.partition("\n")
                yield "command", line, output


def test_every_block_is_used(repository):
    """Console blocks hold commands, and every other block is a file."""
    text = (repository / "docs/writing-plugins.md").read_text()
    blocks = list(BLOCK.finditer(text))
    assert text.count("```") == 2 * len(blocks)
    assert all(block["file"] or block["text"].startswith("$ ") for block in blocks)


class Machine:
    """A folder with what the guide installs from the net: ocifw and pytest, from those of the test's interpreter."""

    def __init__(self, folder):
        self.folder = folder
        self.cache = folder / "cache"
        self.cache.mkdir(mode=0o700)

    def install(self):
        """`pip install ocifw pytest`, without the net: copies of what is installed."""
        import ocifw

        library = Path(ocifw.__file__).parents[1]
        own = self.folder / "work/.venv"
        target = next(own.glob("lib/python3*/site-packages"))
        for path in library.iterdir():
            if path.name.startswith("ocifw"):
                if path.name.split("-")[0] not in _examples():
                    shutil.copytree(path, target / path.name)
            elif path.name != "__pycache__" and not (target / path.name).exists():
                (target / path.name).symlink_to(path)
        shutil.copy2(Path(sys.executable).parent / "ocifw", own / "bin/ocifw")
        pip = own / "bin/pip"
        pip.unlink(missing_ok=True)
        pip.write_text(PIP.format(python=sys.executable, own=own / "bin/python"))
        pip.chmod(0o755)

    def run(self, line):
        """A command of the guide, as root already; its output, errors included."""
        if line == "python3 -m venv .venv":
            line = f"{sys.executable} -m venv --without-pip .venv"
        if line == ".venv/bin/pip install ocifw pytest":
            self.install()
            return "...\n"
        command = ["sh", "-c", line.replace("sudo ", "")]
        if os.geteuid() == 0:
            private = 'mount --bind "$1" /var/cache/ocifw && shift && exec "$@"'
            command = [
                "unshare",
                "-m",
                "--propagation",
                "private",
                "sh",
                "-c",
                private,
                "sh",
                str(self.cache),
                *command,
            ]
        environment = {
            **os.environ,
            "XDG_CACHE_HOME": str(self.cache),
            "PYTEST_ADDOPTS": "-p no:cacheprovider",
        }
        done = subprocess.run(
            command, cwd=self.folder / "work", env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"$ {line}\n{done.stdout}"
        return done.stdout


def _examples():
    return {"ocifw_cdi", "ocifw_hooks_d", "ocifw_landlock", "ocifw_audit_log"}


@pytest.mark.slow
def test_the_guide_works_word_for_word(repository, tmp_path):
    """Who follows the guide from an empty folder sees what it shows."""
    import ocifw

    if os.geteuid() != 0:
        pytest.skip("needs root: the guide runs a container")
    if "site-packages" not in ocifw.__file__:
        pytest.skip("needs an installed ocifw")
    machine = Machine(tmp_path)
    (tmp_path / "work").mkdir()
    compare = doctest.OutputChecker().check_output
    count = 0
    for kind, name, text in parts((repository / "docs/writing-plugins.md").read_text()):
        if kind == "file":
            path = tmp_path / "work" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            continue
        output = machine.run(name)
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        assert compare(text, output, flags), f"$ {name}\n{output}\n--- expected ---\n{text}"
        count += 1
    assert count > 20
