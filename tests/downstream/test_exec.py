"""podman and docker execute further commands in a running container."""

from __future__ import annotations

import pytest
from engines import SIZE, limit, wait_until


@pytest.fixture
def box(engine):
    """A running container."""
    engine.start("--env", "FROM=image", "--", "/bin/sleep", "1000")
    return engine


def sh(script):
    return ("/bin/sh", "-c", script)


def test_output_and_status(box):
    """Output and errors come apart, and the status is the command's."""
    done = box("exec", "box", *sh("echo out; echo err >&2; exit 7"), check=False)
    assert (done.status, done.out, done.err) == (7, "out\n", "err\n")


def test_signal(box):
    """Death by a signal is 128 and its number."""
    assert box("exec", "box", *sh("kill -9 $$"), check=False).status == 137


@pytest.mark.parametrize(
    ("command", "status", "text"),
    [
        ("nosuch", 127, 'exec: "nosuch": executable file not found in $PATH'),
        ("/nosuch", 127, "no such file or directory"),
        ("/etc/passwd", 126, "permission denied"),
    ],
)
def test_command_that_cannot_run(box, command, status, text):
    """Why the command cannot run is said, and the status is 127 or 126."""
    done = box("exec", "box", command, check=False)
    # docker 20.10 says 126 whatever the reason, and writes it to standard output.
    assert done.status == (status if box.program == "podman" else 126), done
    assert text in done.err + done.out


def test_options(box):
    """User, folder and variables are the options'."""
    done = box(
        "exec", "--user", "1000:2000", "--workdir", "/tmp", "--env", "A=b", "box",
        *sh("id -u; id -g; pwd; echo $A $FROM"),
    )  # fmt: skip
    assert done.out.split("\n") == ["1000", "2000", "/tmp", "b image", ""]


def test_privileged(box, runtime_has_all_capabilities):
    """With --privileged the command has capabilities that the container lacks."""
    status = ("box", "grep", "CapEff", "/proc/self/status")
    default = int(box("exec", *status).out.split()[1], 16)
    all_ = int(box("exec", "--privileged", *status).out.split()[1], 16)
    assert all_ != default and all_ & default == default


def test_user_of_the_image(box):
    """A name is looked up in the image."""
    assert box("exec", "--user", "user", "box", "id", "-un").out == "user\n"


def test_stdin(box):
    """What is piped in arrives, to its end."""
    text = b"line\n" * 20000
    assert box("exec", "-i", "box", "wc", "-c", stdin=text).out.strip() == str(len(text))


def test_much_output(box):
    """Ten megabytes of output arrive completely."""
    script = "dd if=/dev/zero bs=1M count=10 2>/dev/null | tr '\\0' x"
    assert len(box("exec", "box", *sh(script)).out) == 10 << 20


def test_terminal(box):
    """With a terminal the command has one of its own, of the caller's size."""
    done = box.on_terminal("exec", "-it", "box", *sh(f"tty; {SIZE}"), rows=29, columns=83)
    assert done.status == 0, done
    assert "/dev/pts/0" in done.out
    assert "29 83" in done.out


def test_terminal_status(box):
    """Also on a terminal the status is the command's."""
    done = box.on_terminal("exec", "-it", "box", "/bin/sh", stdin=b"echo $((6*7))\nexit 6\n")
    assert done.status == 6, done
    assert "42" in done.out


def test_detached(box):
    """A command can be left in the background."""
    box("exec", "--detach", "box", *sh("echo $$ > /pid; exec sleep 999"))
    wait_until(lambda: "sleep 999" in box("top", "box").out, "does not run")


def test_in_the_containers_isolation(box):
    """The command is in the container's cgroup, seccomp filter and namespaces."""
    done = box(
        "exec", "box", *sh("grep Seccomp: /proc/self/status; ls /proc/1/exe >/dev/null; hostname")
    )
    assert done.out.split()[:2] == ["Seccomp:", "2"]
    box("exec", "--detach", "box", "sleep", "998")
    wait_until(lambda: "sleep 998" in box("top", "box").out, "does not run")
    pids = limit(box.pid(), "pids/pids.current", "pids.current")
    assert pids == "2"


def test_ends_with_the_container(box):
    """A command in the background ends when the container does, and the caller of one in the foreground is told."""
    box("exec", "--detach", "box", "sleep", "997")
    box("stop", "--time", "0", "box")
    assert box("exec", "box", "true", check=False).status != 0
