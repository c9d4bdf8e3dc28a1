"""docs/packaging.md, as far as it works in a checkout; `./dev test-packages` does what it says about packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import guide

sys.path.pop(0)


@pytest.fixture
def text(repository):
    return (repository / "docs/packaging.md").read_text()


def test_every_block_is_used(text):
    """Each block is a file or has commands."""
    assert guide.unused(text) == []


def test_files_are_the_examples(text, repository):
    """Files that are shown are those of the example, word for word."""
    found = [(name, content) for kind, name, content in guide.parts(text) if kind == "file"]
    assert len(found) == 2
    for name, content in found:
        assert (repository / name).read_text().endswith(content), name


@pytest.mark.slow
def test_commands(text, repository, tmp_path):
    """What is done in the checkout is as the guide shows it: the example is installed, inert, and passes its tests."""
    import ocifw

    library = Path(ocifw.__file__).parents[1]
    if library.name != "site-packages":
        pytest.skip("needs an installed ocifw")
    prefix = tmp_path / "prefix"
    target = prefix / library.relative_to(library.parents[2])
    target.mkdir(parents=True)
    for path in library.iterdir():
        if path.name.startswith("ocifw"):
            shutil.copytree(path, target / path.name)
        elif path.name != "__pycache__":
            (target / path.name).symlink_to(path)
    (prefix / "bin").mkdir()
    shutil.copy2(Path(sys.executable).parent / "ocifw", prefix / "bin/ocifw")
    work = tmp_path / "work"
    shutil.copytree(repository / "packaging", work / "packaging")
    replaced = {
        "pip install": f"{sys.executable} -m pip install -q --no-deps --no-index --no-build-isolation"
        f" --disable-pip-version-check --root-user-action ignore --target {target}",
        "python3 -m pytest": f"PYTHONPATH={target} {sys.executable} -B -m pytest -p no:cacheprovider",
    }
    cache = prefix / "cache"
    cache.mkdir(mode=0o700)
    count = 0
    for prompt, line, expected in guide.parts(text):
        if prompt != "$" or "out" in line.replace("/", " ").split() or "build_debian" in line:
            continue
        command = line
        for words, own in replaced.items():
            command = command.replace(words, own)
        words = ["sh", "-c", command]
        if os.geteuid() == 0:
            script = 'mount --bind "$1" /var/cache/ocifw && shift && exec "$@"'
            words = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", str(cache), *words]  # fmt: skip
        environment = {**os.environ, "PATH": f"{prefix}/bin:{os.environ['PATH']}", "XDG_CACHE_HOME": str(cache)}  # fmt: skip
        done = subprocess.run(
            words, cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"$ {line}\n{done.stdout}"
        output = done.stdout or "nothing\n"
        assert not guide.differs(expected, output), f"$ {line}\n{guide.differs(expected, output)}"
        count += 1
    assert count == 3
