"""docs/packaging.md, word for word, with the packages that `./dev test-packages` has built, on a clean Debian."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / "docs"))
import guide  # noqa: E402

sys.path.pop(0)

CGROUP = "ocifw-packages"
pytestmark = pytest.mark.slow


def of_checkout(line, folder):
    """The output of a command in the checkout. What builds the packages has run: its result is there as `out`."""
    if line.startswith("sudo packaging/build_debian.py out"):
        (folder / "out").symlink_to(os.environ["OCIFW_PACKAGES"])
        return "built\n"
    done = subprocess.run(
        ["sh", "-c", line], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_word_for_word(repository, machine, tmp_path):
    """Who follows the guide sees what it shows: packages, a container, a set of one's own, and that it goes again."""
    text = (repository / "docs/packaging.md").read_text()
    wrong, count = [], 0
    for prompt, line, expected in guide.parts(text):
        if prompt == "#":
            done = machine.run(
                # A container that waits for somebody to type is an error, too.
                "timeout", "--signal=KILL", "60", "sh", "-c", f"{{ {line}\n}} 2>&1", check=False, capture=True,
            )  # fmt: skip
            output = done.stdout
            if line == "ocifw bundle /srv/box":
                # What the machine of the tests has is not ours alone.
                path = machine.root / "srv/box/config.json"
                config = json.loads(path.read_text())
                config["linux"]["cgroupsPath"] = f"/{CGROUP}/box"
                path.write_text(json.dumps(config))
        elif prompt == "$" and "out" in line.replace("/", " ").split():
            output = of_checkout(line, tmp_path)
        else:
            continue
        count += 1
        wrong += [f"{prompt} {line}\n{text}" for text in (guide.differs(expected, output),) if text]
    assert not wrong, "\n".join(wrong)
    assert count > 15
