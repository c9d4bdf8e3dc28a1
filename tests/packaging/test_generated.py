"""Manual pages and completions, which packages have, are made from what the command line reads."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from ocifw import cli
from ocifw.commands import VERBS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(repository, tmp_path_factory):
    """A folder with all that the generators write."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("man", "completions"):
        command = [sys.executable, "-B", repository / f"tools/generate_{name}.py", folder / name]
        subprocess.run(command, check=True)
    return folder


def test_every_verb_has_a_manual_page(made):
    """A page for each verb and one for all, each with every option that is shown."""
    names = {path.name for path in (made / "man").iterdir()}
    assert names == {"ocifw.8", *(f"ocifw-{verb}.8" for verb in VERBS)}
    for verb in VERBS:
        text = (made / f"man/ocifw-{verb}.8").read_text().replace("\\-", "-")
        for option in cli.command(verb).OPTIONS:
            assert option.hidden or f"--{option.name}" in text, f"{verb} --{option.name}"


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_manual_pages_are_well_formed(made):
    """groff has nothing to warn about."""
    pages = sorted((made / "man").iterdir())
    command = ["groff", "-man", "-Tutf8", "-ww", "-z", *pages]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ocifw", "cr"], ["create"]),
        (["ocifw", "--log", "create", "de"], ["delete"]),
        (["ocifw", "delete", "--f"], ["--force"]),
        (["ocifw", "--cgroup-manager", "s"], ["systemd"]),
        (["ocifw", "sets", "l"], ["list", "lock"]),
        (["ocifw", "help", "st"], ["start", "state"]),
    ],
)
def test_bash_completes(made, words, expected):
    """The verb is found behind global options and their values; then its options and subcommands count."""
    script = (
        '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ocifw; echo "${COMPREPLY[@]}"'
    )
    command = ["bash", "-c", script, "bash", made / "completions/ocifw", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == expected
    assert done.stderr == ""


@pytest.mark.parametrize(("shell", "name"), [("zsh", "_ocifw"), ("fish", "ocifw.fish")])
def test_other_shells_accept_theirs(made, shell, name):
    """Their completions have no syntax errors."""
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    command = [shell, "-n", made / "completions" / name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
