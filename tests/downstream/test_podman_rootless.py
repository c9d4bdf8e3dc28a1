"""podman of an ordinary user: it calls the runtime as root of the user's user namespace, without any cgroup."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from engines import DEBIAN_PATH, Done, Engine, wait_until

UID = 54242
FIRST, COUNT = 600000, 65536
BECOME = [
    "setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--inh-caps=-all",
]  # fmt: skip


class UsersPodman(Engine):
    """podman, started by root as an ordinary user with subordinate ids."""

    program = "podman"
    image = "example.test/busybox:latest"

    def __init__(self, folder, names, runtime):
        super().__init__(folder, names, runtime)
        self.runtime_folder = folder / "run"
        self.runtime_folder.mkdir()
        conf = folder / "containers.conf"
        conf.write_text(f"""
[containers]
default_ulimits = ["nofile=512:512", "nproc=512:512"]
netns = "none"
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "{self.runtime_name}"
runtime_supports_json = ["{self.runtime_name}"]
[engine.runtimes]
{self.runtime_name} = ["{runtime}"]
""")
        for path in (folder, self.runtime_folder, conf):
            os.chown(path, UID, UID)
        self.runtime_folder.chmod(0o700)
        self.environment.update(CONTAINERS_CONF=str(conf), XDG_RUNTIME_DIR=str(self.runtime_folder))
        self.options = ["--storage-driver", "vfs"]

    def command(self, *arguments):
        return [*BECOME, *super().command(*arguments)]

    def run(self, *arguments, **keywords):
        return self("run", "--rm", *arguments, **keywords)


@pytest.fixture(scope="module")
def whole(folder, names, runtime_path, image_tar):
    if shutil.which("newuidmap", path=DEBIAN_PATH) is None:
        pytest.skip("needs newuidmap (Debian: uidmap)")
    tables = {
        "passwd": f"someone:x:{UID}:{UID}::/:/bin/sh",
        "group": f"someone:x:{UID}:",
        "subuid": f"{UID}:{FIRST}:{COUNT}",
        "subgid": f"{UID}:{FIRST}:{COUNT}",
    }
    covered = []
    for name, line in tables.items():
        own = Path("/etc", name)
        text = own.read_text() if name in ("passwd", "group") else ""
        path = folder / f"etc-{name}"
        path.write_text(f"{text}{line}\n")
        # Our mounts are our own: nobody else sees the user.
        subprocess.run(["mount", "--bind", path, own], check=True)
        covered.append(own)
    try:
        made = UsersPodman(folder / "users-podman", names, runtime_path)
        version = [*BECOME, runtime_path, "--version"]
        if subprocess.run(version, capture_output=True, check=False).returncode:
            pytest.skip(f"an ordinary user cannot execute {runtime_path}")
        image_tar.chmod(0o644)
        made("import", image_tar, made.image)
        yield made
        pause = made.runtime_folder / "libpod/tmp/pause.pid"
        if pause.exists():
            os.kill(int(pause.read_text()), signal.SIGKILL)
    finally:
        for path in covered:
            subprocess.run(["umount", path], check=True)


@pytest.fixture
def podman(whole, runtime_path):
    yield whole
    whole("rm", "--force", "--all", "--time", "0")
    state = whole.runtime_folder / os.path.basename(runtime_path)
    wait_until(lambda: not list(state.glob("*")), "left in the state root", patience_s=15)


def test_run(podman):
    """Root inside is the user outside; output and status are the command's."""
    done = podman.run(
        podman.image, "sh", "-c", "id -u; cat /proc/self/uid_map; exit 7", check=False
    )
    assert done.status == 7
    assert done.out.split() == ["0", "0", str(UID), "1", "1", str(FIRST), str(COUNT)]


@pytest.mark.parametrize(
    ("command", "status", "text"),
    [
        ("nosuch", 127, 'exec: "nosuch": executable file not found in $PATH'),
        ("/etc/passwd", 126, "permission denied"),
    ],
)
def test_command_that_cannot_run(podman, command, status, text):
    """podman understands the runtime's text."""
    done = podman.run(podman.image, command, check=False)
    assert done.status == status and text in done.err


def test_user(podman):
    """The command can be another user of the range, or the user's own id."""
    assert podman.run("--user", "1000", podman.image, "id", "-u").out == "1000\n"
    assert podman.run("--userns", "keep-id", podman.image, "id", "-u").out == f"{UID}\n"
    done = podman.run("--uidmap", "0:1:100", "--gidmap", "0:1:100", podman.image, "cat", "/proc/self/uid_map")  # fmt: skip
    assert done.out.split() == ["0", "1", "100"]


def test_whole_life(podman):
    """A container runs in the background, is entered, stopped and removed."""
    podman("run", "--detach", "--name", "box", podman.image, "sleep", "1000")
    done = podman("exec", "box", "sh", "-c", "echo in; exit 5", check=False)
    assert (done.status, done.out) == (5, "in\n")
    podman("stop", "--time", "0", "box")
    assert podman("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "box").out == "exited 137\n"  # fmt: skip
    podman("start", "box")
    podman("kill", "box")
    assert podman("wait", "box").out == "137\n"
    podman("rm", "box")


def test_terminal(podman):
    """Terminals work for commands and containers."""
    done: Done = podman.on_terminal("run", "--rm", "-it", podman.image, "sh", "-c", "tty; exit 4")
    assert done.status == 4 and "/dev/pts/0" in done.out, done
    podman("run", "--detach", "--name", "box", podman.image, "sleep", "1000")
    done = podman.on_terminal("exec", "-it", "box", "sh", "-c", "tty; exit 6")
    assert done.status == 6 and "/dev/pts/" in done.out, done


def test_volumes(podman):
    """A volume belongs to root inside, and a read-only one cannot be written."""
    source = podman.folder / "volume"
    source.mkdir()
    os.chown(source, UID, UID)
    try:
        script = "stat -c %u /rw; echo x > /rw/file; echo > /ro/file"
        volumes = ("-v", f"{source}:/rw", "-v", f"{source}:/ro:ro")
        done = podman.run(*volumes, podman.image, "sh", "-c", script, check=False)
        assert done.out == "0\n" and "Read-only file system" in done.err
        assert (source / "file").stat().st_uid == UID
    finally:
        shutil.rmtree(source)


def test_build(podman):
    """RUN of a build runs in the runtime."""
    build = podman.folder / "build"
    build.mkdir()
    (build / "Containerfile").write_text(f"FROM {podman.image}\nRUN id -u > /file\n")
    os.chown(build, UID, UID)
    podman(
        "build", "--isolation", "oci", "--network", "none", "--ulimit", "nofile=512:512",
        "--ulimit", "nproc=512:512", "--tag", "made", build,
    )  # fmt: skip
    assert podman.run("made", "cat", "/file").out == "0\n"
