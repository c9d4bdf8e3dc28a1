"""What only dockerd does."""

from __future__ import annotations

import os
import subprocess
import time

from engines import wait_until

SLEEP = ("--", "/bin/sleep", "1000")


def sh(script):
    return ("--", "/bin/sh", "-c", script)


def test_bridge(docker):
    """The network of the default bridge is set up by a prestart hook before the command starts."""
    docker("run", "--detach", "--name", "box", docker.image, *SLEEP[1:])
    address = docker.inspect("box", "{{.NetworkSettings.IPAddress}}")
    assert address.startswith("10.213.0.")
    script = "ip addr show eth0; ping -c 1 -W 5 10.213.0.1 >/dev/null && echo reached"
    done = docker("run", "--rm", docker.image, "/bin/sh", "-c", script)
    assert "inet 10.213.0." in done.out and "reached" in done.out


def test_network_of_another(docker):
    """A container in the network of another reaches it on the loopback."""
    docker("run", "--detach", "--name", "box", docker.image, "nc", "-l", "-p", "80", "-e", "echo", "hi")  # fmt: skip
    script = "until nc 127.0.0.1 80 </dev/null | grep hi; do sleep 0.1; done"
    done = docker("run", "--rm", "--network", "container:box", docker.image, "sh", "-c", script)
    assert done.out == "hi\n"


def test_build(docker, tmp_path):
    """RUN of a build runs in the runtime, with both builders, and its failure is the build's."""
    for buildkit in ("0", "1"):
        environment = {"DOCKER_BUILDKIT": buildkit, "BUILDKIT_PROGRESS": "plain"}
        (tmp_path / "Dockerfile").write_text(
            f"FROM {docker.image}\nRUN echo built > /file && id -u >> /file\n"
            "USER 1000\nRUN id -u > /tmp/user\n"
        )
        build = ("build", "--network", "none", "--no-cache", "--tag", "made")
        docker(*build, tmp_path, env=environment)
        done = docker("run", "--rm", *docker.run_options, "made", "cat", "/file", "/tmp/user")
        assert done.out == "built\n0\n1000\n"
        (tmp_path / "Dockerfile").write_text(f"FROM {docker.image}\nRUN exit 9\n")
        done = docker(*build, tmp_path, check=False, env=environment)
        assert done.status != 0
        assert "returned a non-zero code: 9" in done.err or "exit code: 9" in done.err
        docker("rmi", "--force", "made")


def test_as_runc(docker):
    """Under the name runc, in its place, the runtime is found and used."""
    done = docker.run("--runtime", "runc", "--", "echo", "hello")
    assert done.out == "hello\n"


def test_restart_policy(docker):
    """A container that fails is started again."""
    docker.start("--restart", "on-failure:2", *sh("echo run; exit 1"))
    wait_until(lambda: docker.inspect("box", "{{.RestartCount}}") == "2", "not restarted")
    wait_until(lambda: docker("logs", "box").out == "run\n" * 3, "wrong logs")


def test_update_of_the_restart_policy(docker):
    """For an update of the policy alone dockerd sends zeros for all limits: they stay."""
    docker.start("--memory", "64m", *SLEEP)
    docker("update", "--restart", "no", "box")
    assert docker.inspect("box", "{{.HostConfig.Memory}}") == str(64 << 20)
    pid = docker.pid()
    with open(f"/proc/{pid}/cgroup") as file:
        paths = [line.rstrip().split(":") for line in file if ":memory:" in line]
    if paths:
        with open(f"/sys/fs/cgroup/memory{paths[0][2]}/memory.limit_in_bytes") as file:
            assert file.read() == f"{64 << 20}\n"


def test_attach(docker):
    """A client that attaches sees the output that follows, and the status."""
    docker.start(*sh("until test -e /go; do sleep 0.05; done; echo after; exit 4"))
    client = subprocess.Popen(
        docker.command("attach", "--no-stdin", "box"), env=docker.environment,
        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    # The client asks for the events of its container before it attaches: nothing else shows from outside.
    wait_until(lambda: has_socket(client.pid), "the client does not connect")
    docker("exec", "box", "touch", "/go")
    out, _ = client.communicate(timeout=60)
    assert (client.returncode, out) == (4, b"after\n")


def has_socket(pid):
    """Whether a process has two connections open: docker's client to ask, and to attach."""
    folder = f"/proc/{pid}/fd"
    links = [os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)]
    return sum(link.startswith("socket:") for link in links) >= 2


def test_signal_proxy(docker):
    """A signal to the client goes to the command."""
    docker_command = docker.command(
        "run", "--rm", "--name", "box",
        *docker.placed(*sh("trap 'echo got; exit 3' TERM; echo ready; while :; do sleep 0.05; done")),
    )  # fmt: skip
    client = subprocess.Popen(
        docker_command, env=docker.environment, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert client.stdout.readline() == b"ready\n"
    client.terminate()
    out, _ = client.communicate(timeout=60)
    assert (client.returncode, out) == (3, b"got\n")


def test_events(docker):
    """The daemon's events tell of a container's life in order."""
    since = f"{time.time() - 1:.3f}"
    docker.run("--name", "short", "--", "true")
    done = docker(
        "events", "--since", since, "--until", f"{time.time() + 1:.3f}",
        "--filter", "container=short", "--format", "{{.Action}}",
    )  # fmt: skip
    # The removal of the container may come later.
    actions = [a for a in done.out.split() if a in ("create", "start", "die")]
    assert actions == ["create", "start", "die"]


def test_killed_from_outside(docker):
    """After a container's process was killed from outside, the daemon knows its status."""
    docker.start(*SLEEP)
    os.kill(docker.pid(), 9)
    wait_until(lambda: docker.status() == "exited", "the daemon does not notice")
    assert docker.inspect("box", "{{.State.ExitCode}}") == "137"
