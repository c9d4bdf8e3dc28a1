"""What is in the repository, and what must not be."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

LARGEST_BYTES = 1 << 20


@pytest.fixture(scope="module")
def files(repository):
    """Every file that is, or could be, committed."""
    command = [
        "git",
        "-c",
        "safe.directory=*",
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ]
    try:
        done = subprocess.run(command, cwd=repository, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs git")
    if done.returncode:
        pytest.skip("needs a git checkout")
    paths = [repository / name.decode() for name in done.stdout.split(b"\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def texts(files: list[Path]) -> list[tuple[Path, str]]:
    """The files that are text."""
    found = []
    for path in files:
        content = path.read_bytes()
        if b"\0" not in content:
            found.append((path, content.decode()))
    return found


def test_no_large_or_built_files(files):
    """Nothing is committed that is built, cached or large."""
    built = re.compile(r"\.(pyc|so|o|a|whl|egg|tar|gz|xz|zst)$|/(__pycache__|build|dist)/")
    assert [path for path in files if built.search(str(path))] == []
    assert [path for path in files if path.stat().st_size > LARGEST_BYTES] == []


def test_no_machine_or_registry(files, repository):
    """No file names a folder of the machine it was written on, or the host of a package registry."""
    # In pieces, so that this file does not find itself.
    registries = ["pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "deb.debian" + ".org"]
    registries += ["crates" + ".io", "proxy.golang" + ".org"]
    folders = ["/" + "work/main", "/" + "work/shared", "/root/" + ".pyenv", "/home/" + "runner"]
    found = [
        f"{path.relative_to(repository)}: {word}"
        for path, text in texts(files)
        for word in registries + folders
        if word in text
    ]
    assert found == []


def test_texts_end_with_a_newline(files, repository):
    """Text files are UTF-8, have no carriage returns, and end with exactly one newline."""
    broken = [
        path.relative_to(repository)
        for path, text in texts(files)
        if text and ("\r" in text or not text.endswith("\n") or text.endswith("\n\n"))
    ]
    assert broken == []


def test_what_is_executable_says_so(files, repository):
    """Executable files begin with #!, and files that begin with #! are executable."""
    wrong = [
        path.relative_to(repository)
        for path in files
        if path.read_bytes().startswith(b"#!") != bool(path.stat().st_mode & 0o111)
    ]
    assert wrong == []
