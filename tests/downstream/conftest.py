"""Real engines drive the runtime: podman, dockerd, containerd and buildah. `./dev test-engines` runs these tests.

They are not part of the whole suite: they need the engines' Debian packages and some minutes. With `--runtime runc` the
engines use runc, which proves the tests: what is asserted here is what an engine's user sees.

The tests have mounts of their own, with an empty /run: all state of the engines and of the runtime, which nobody tells
where to put it, stands there, and vanishes with the mount. Daemons are stopped by their pids, and cgroups are removed.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from engines import (
    DEBIAN_PATH,
    Buildah,
    Containerd,
    Daemon,
    Docker,
    Podman,
    cgroup_folders,
    remove_cgroups,
    wait_until,
    write_image,
)

CLONE_NEWNS = 0x00020000
PR_SET_CHILD_SUBREAPER = 36
# Cgroups that engines make once, and keep.
ENGINES_OWN = ("buildkit", "conmon")


@pytest.fixture(scope="session")
def runtime_path(request):
    """The program that is tested."""
    name = request.config.getoption("--runtime")
    beside = Path(sys.executable).parent / "ocifw"
    path = shutil.which(name, path=DEBIAN_PATH) if name else str(beside)
    assert path and os.path.exists(path), "the runtime is not installed"
    return path


@pytest.fixture(scope="session")
def is_ocifw(runtime_path):
    return "ocifw" in os.path.basename(runtime_path)


@pytest.fixture(scope="session")
def folder():
    """A folder in memory, for all that engines store; in mounts of our own, so that nothing is left of them."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(CLONE_NEWNS) == 0, os.strerror(ctypes.get_errno())
    # What engines leave behind (conmon, shims) becomes ours to end.
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for path in ("/run", "/var/tmp"):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", path], check=True)
    path = Path("/run/engines")
    path.mkdir()
    yield path
    end_children()


def end_children():
    """Kill and reap all that is below this process now: only what tests started can be."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    deadline = time.monotonic() + 5
    while (pids := children.read_text().split()) and time.monotonic() < deadline:
        for pid in pids:
            # A paused one would not end: podman and containerd have removed those.
            os.kill(int(pid), 9)
            os.waitpid(int(pid), 0)


@pytest.fixture(scope="session")
def names(folder, runtime_path):
    """A folder that, first in PATH, gives the tested runtime its own name and that of runc."""
    path = folder / "bin"
    path.mkdir()
    for name in {"runc", os.path.basename(runtime_path)}:
        (path / name).symlink_to(runtime_path)
    return path


@pytest.fixture(scope="session")
def image_tree(folder):
    """The content of the image: busybox, a user, a file that cannot be executed."""
    busybox = shutil.which("busybox", path=DEBIAN_PATH)
    if busybox is None:
        pytest.skip("needs busybox-static")
    tree = folder / "tree"
    for name in ("bin", "dev", "proc", "sys", "tmp", "etc", "root", "home", "run", "var"):
        (tree / name).mkdir(parents=True)
    shutil.copy(busybox, tree / "bin/busybox")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        if applet != "busybox":
            (tree / "bin" / applet).symlink_to("busybox")
    (tree / "tmp").chmod(0o1777)
    (tree / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n"
    )
    (tree / "etc/group").write_text("root:x:0:\nuser:x:1000:\nmore:x:2000:user\n")
    return tree


@pytest.fixture(scope="session")
def image_tar(folder, image_tree):
    """The image's one layer."""
    path = folder / "image.tar"
    with tarfile.open(path, "w") as file:
        file.add(image_tree, arcname=".")
    return path


@pytest.fixture(scope="session")
def image_archive(folder, image_tar):
    """The image as an OCI layout in a tar file."""
    path = folder / "image-oci.tar"
    write_image(path, image_tar.read_bytes(), "example.test/busybox:latest")
    return path


@pytest.fixture(scope="session")
def cgroup_parent(folder):
    """A cgroup parent of this test run. It is removed at the end, as is what podman makes at the top."""
    parent = f"ocifw-engines-{os.getpid()}"
    ours = [parent, *[name for name in ("libpod_parent",) if not cgroup_folders(name)]]
    yield parent
    for name in ours:
        remove_cgroups(name)


@pytest.fixture(scope="session")
def whole_podman(folder, names, runtime_path, image_tar, cgroup_parent):
    """podman, with the runtime among its known ones, as an administrator would write into containers.conf."""
    made = Podman(folder / "podman", names, runtime_path, cgroup_parent)
    made("import", image_tar, made.image)
    return made


@pytest.fixture(scope="session")
def whole_containerd(folder, names, runtime_path, image_archive, cgroup_parent):
    """containerd, and ctr to speak with it."""
    made = Containerd(folder / "containerd", names, runtime_path, cgroup_parent)
    with Daemon(made.daemon_command(), made.environment, made.folder / "log") as daemon:
        daemon.wait_until(lambda: made("version", check=False).status == 0)
        made("image", "import", image_archive)
        yield made


@pytest.fixture(scope="session")
def whole_docker(folder, names, runtime_path, image_tar, cgroup_parent, whole_containerd):
    """dockerd on our containerd, with a network of its own, and docker to speak with it."""
    containerd = whole_containerd.socket
    made = Docker(folder / "docker", names, runtime_path, cgroup_parent, containerd)
    with Daemon(made.daemon_command(), made.environment, made.folder / "log") as daemon:
        daemon.wait_until(lambda: made("version", check=False).status == 0)
        made("import", image_tar, made.image)
        yield made


@pytest.fixture(scope="session")
def buildah(folder, names, runtime_path, cgroup_parent):
    return Buildah(folder / "buildah", names, runtime_path)


@pytest.fixture
def podman(whole_podman, nothing_left):
    yield whole_podman
    whole_podman.remove_all()


@pytest.fixture
def docker(whole_docker, nothing_left):
    yield whole_docker
    whole_docker.remove_all()


@pytest.fixture
def containerd(whole_containerd, nothing_left):
    yield whole_containerd
    whole_containerd.remove_all()


@pytest.fixture(params=["podman", "docker"])
def engine(request):
    """podman, then docker: their command lines are one."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def nothing_left(folder, cgroup_parent, runtime_path):
    """After a test and the removal of its containers nothing of them is in state roots and cgroups."""
    yield

    def left():
        folders = [Path("/run", os.path.basename(runtime_path))]
        folders += [*Path("/run").glob("containerd/runc/*")]
        folders += folder.glob("docker/exec/runtime-*/*")
        found = [entry for path in folders if path.is_dir() for entry in path.iterdir()]
        for path in cgroup_folders(cgroup_parent):
            found += [e for e in path.iterdir() if e.is_dir() and e.name not in ENGINES_OWN]
        return found

    # podman cleans up in the background after a container that ended by itself.
    wait_until(lambda: not left(), lambda: f"left behind: {left()}", patience_s=15)


@pytest.fixture
def runtime_has_all_capabilities(is_ocifw):
    """Skip where runc fails: dockerd asks for all capabilities, also for those that the machine withholds from root."""
    lines = Path("/proc/self/status").read_text().splitlines()
    has = int(next(line for line in lines if line.startswith("CapBnd")).split()[1], 16)
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    if not is_ocifw and has != (2 << last) - 1:
        pytest.skip("runc needs all capabilities for it")
