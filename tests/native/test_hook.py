"""RunProgram: what the runtime learns of a hook that ran in the container."""

from __future__ import annotations

import pytest
from baton import ERROR, PASS
from conftest import needs_root

from ocifw.steps import Clone, PassBaton, RunProgram

pytestmark = needs_root


def sh(script, timeout_s=0):
    return RunProgram("/bin/sh", ("sh", "-c", script), ("PATH=/usr/bin:/bin",), b"", b"", timeout_s)


def said(container):
    [message] = container.outputs
    return message.step, message.error, message.call, message.detail


def test_output_of_a_hook(spawn):
    """A hook's exit status, duration and what it wrote come as a message, and the container goes on."""
    container = spawn([Clone(), sh("echo out; echo err >&2"), PassBaton(3)])
    container.cloned()
    container.expect(PASS)
    assert said(container) == (1, 0, "out\n", "err\n")
    assert container.outputs[0].value < 5000


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -9 $$", -9)])
def test_output_of_a_hook_that_fails(spawn, script, status):
    """The message comes before the error, with the exit status or minus the signal."""
    container = spawn([Clone(), sh(f"echo because; {script}")])
    container.cloned()
    assert "because" in container.expect(ERROR).detail
    assert said(container) == (1, status, "because\n", "")


def test_output_is_limited(spawn):
    """Of much output the end is told, without NULs."""
    container = spawn([Clone(), sh("yes 12345678 | head -c 100000; printf '\\0end'"), PassBaton(3)])
    container.cloned()
    container.expect(PASS)
    _, _, out, _ = said(container)
    assert out.endswith("?end") and 900 <= len(out) <= 1920


@pytest.mark.slow
def test_output_of_a_hook_that_is_killed(spawn):
    """A hook that ran too long is told of as killed, with what it had written."""
    container = spawn([Clone(), sh("echo begun; exec sleep 1000", 1)])
    container.cloned()
    assert "timeout" in container.expect(ERROR).detail
    assert said(container) == (1, -9, "begun\n", "")
