"""buildah runs commands in the runtime: create, start, state until it has stopped, delete."""

from __future__ import annotations

import pytest


@pytest.fixture
def working(buildah, image_tar):
    """The name of a working container."""
    name = buildah("from", "scratch").out.strip()
    buildah("add", name, image_tar, "/")
    yield name
    buildah("rm", name)


def run(buildah, *arguments, **keywords):
    return buildah("run", "--network", "none", *arguments, **keywords)


def test_run(buildah, working):
    """What a command writes stays, and output and status are its own."""
    done = run(
        buildah, working, "--", "/bin/sh", "-c", "echo built > /file; echo out; echo err >&2"
    )
    assert done.out == "out\n" and "err\n" in done.err
    assert run(buildah, working, "--", "/bin/cat", "/file").out == "built\n"
    done = run(buildah, working, "--", "/bin/sh", "-c", "exit 9", check=False)
    assert done.status == 9


def test_command_that_cannot_run(buildah, working):
    """Why a command cannot run is said."""
    done = run(buildah, working, "--", "nosuch", check=False)
    assert done.status != 0
    assert 'exec: "nosuch": executable file not found in $PATH' in done.err.replace("\\", "")


def test_options(buildah, working, tmp_path):
    """User, folder, volumes and input are the options'."""
    (tmp_path / "file").write_text("host\n")
    done = run(
        buildah, "--user", "1000:1000", "--workingdir", "/tmp", "--volume", f"{tmp_path}:/v:ro",
        working, "--", "/bin/sh", "-c", "id -u; pwd; wc -c",
        stdin=b"12345",
    )  # fmt: skip
    assert done.out.split() == ["1000", "/tmp", "5"]
    assert run(buildah, "--volume", f"{tmp_path}:/v:ro", working, "--", "cat", "/v/file").out == "host\n"  # fmt: skip


def test_terminal(buildah, working):
    """With a terminal the command has one."""
    done = buildah.on_terminal(
        "run", "--network", "none", "--terminal", working, "--", "/bin/sh", "-c", "tty; exit 3"
    )
    assert done.status == 3 and "/dev/pts/0" in done.out, done


def test_build(buildah, working, tmp_path):
    """RUN of a build file runs in the runtime."""
    buildah("commit", working, "base")
    path = tmp_path / "Containerfile"
    path.write_text("FROM localhost/base\nRUN echo built > /file\nRUN cat /file\n")
    done = buildah("build", "--network", "none", "--file", path, "--tag", "made", tmp_path)
    assert "built" in done.out
    buildah("rmi", "--force", "made", "base")
