"""Tests through the command line only, against ocifw or, with --runtime, any other runtime.

Those marked `runc_agrees` describe behaviour that is runc's: they must also pass with `--runtime runc`, which proves the
test. The others are ocifw's own, and are skipped there.
"""

from __future__ import annotations

import copy
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

PATIENCE_S = float(os.environ.get("OCIFW_TEST_PATIENCE_S", "20"))
"""How long a command may take before it counts as hanging; an emulated machine needs more."""
CGROUPS = Path("/sys/fs/cgroup")
IS_V2 = (CGROUPS / "cgroup.controllers").exists()
PR_SET_CHILD_SUBREAPER = 36

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--runtime"):
        return
    skip = pytest.mark.skip(reason="ocifw's own behaviour")
    for item in items:
        if "conformance" in item.path.parts and not item.get_closest_marker("runc_agrees"):
            item.add_marker(skip)


def ocifw_path():
    beside = Path(sys.executable).parent / "ocifw"
    return str(beside) if beside.exists() else shutil.which("ocifw")


@pytest.fixture(scope="session")
def runtime_path(request):
    """The program that is tested."""
    path = request.config.getoption("--runtime")
    path = shutil.which(path) if path else ocifw_path()
    assert path, "the runtime is not installed"
    return path


@pytest.fixture(scope="session")
def is_ocifw(runtime_path):
    return "ocifw" in os.path.basename(runtime_path)


@pytest.fixture
def only_ocifw(is_ocifw):
    """For single tests, in files of runc's behaviour, of what older runc does not do."""
    if not is_ocifw:
        pytest.skip("runc 1.1 does not do it")


@pytest.fixture(scope="session", autouse=True)
def subreaper():
    """Containers outlive the runtime's process: they become ours, as an engine's shim gets them."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@pytest.fixture(scope="session")
def busybox_rootfs():
    """A root filesystem of busybox, shared by all tests: none may change it.

    Not in pytest's folders, which only root may search: root of a user namespace must get there.
    """
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("needs busybox-static")
    with tempfile.TemporaryDirectory(prefix="ocifw-test-") as folder:
        os.chmod(folder, 0o755)
        yield make_rootfs(Path(folder, "rootfs"), busybox)


def make_rootfs(rootfs, busybox):
    for name in ("bin", "dev", "proc", "sys", "tmp", "etc", "root", "home", "run", "var"):
        (rootfs / name).mkdir(parents=True)
    shutil.copy(busybox, rootfs / "bin/busybox")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        if applet != "busybox":
            (rootfs / "bin" / applet).symlink_to("busybox")
    (rootfs / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n"
    )
    (rootfs / "etc/group").write_text("root:x:0:\nuser:x:1000:\n")
    return rootfs


CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]

CONFIG = {
    "ociVersion": "1.0.2",
    "process": {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/true"],
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": dict.fromkeys(
            ("bounding", "effective", "permitted", "ambient"), CAPABILITIES
        ),
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "box",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        },
        {
            "destination": "/dev/mqueue",
            "type": "mqueue",
            "source": "mqueue",
            "options": ["nosuid", "noexec", "nodev"],
        },
        {
            "destination": "/sys",
            "type": "sysfs",
            "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", "ro"],
        },
    ],
    "linux": {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [
            {"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")
        ],
        "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware", "/proc/acpi"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    },
}


class Bundle:
    """A bundle in the making: `config` is what `write` writes."""

    def __init__(self, path, rootfs, cgroup):
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.config = copy.deepcopy(CONFIG)
        self.config["root"]["path"] = str(rootfs)
        self.config["linux"]["cgroupsPath"] = cgroup
        self.process = self.config["process"]
        self.linux = self.config["linux"]

    @property
    def cgroup_path(self):
        """The container's cgroup as /proc/PID/cgroup tells it."""
        path = self.linux["cgroupsPath"]
        if ":" in path:
            slice_, prefix, name = path.split(":")
            return f"/{slice_}/{prefix}-{name}.scope"
        return path

    def cgroup(self, controller):
        """The folder of the container's cgroup in the hierarchy of a v1 controller, or in that of v2."""
        return Path(f"{CGROUPS}{'' if IS_V2 else f'/{controller}'}{self.cgroup_path}")

    def sh(self, script):
        """Let the container run a shell script."""
        self.process["args"] = ["/bin/sh", "-c", script]
        return self.write()

    def write(self):
        (self.path / "config.json").write_text(json.dumps(self.config))
        return self


class Done:
    """A command that ended: status, out and err as texts."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def __repr__(self):
        return f"Done({self.status}, out={self.out!r}, err={self.err!r})"


class Runtime:
    """The runtime under test, with a state root of its own."""

    def __init__(self, path, root, systemd):
        self.path, self.root = path, Path(root)
        self.options = ["--systemd-cgroup"] if systemd else []
        self.count = 0
        self.ids = []

    def command(self, *arguments):
        return [self.path, "--root", str(self.root), *self.options, *map(str, arguments)]

    def __call__(
        self,
        *arguments,
        check=True,
        stdin=subprocess.DEVNULL,
        pass_fds=(),
        env=None,
        cwd=None,
        through=(),
    ):
        """Run a command to its end. Output goes through files: a container may keep it open.

        through: a command that executes the one after it, as `["env", "A=b"]`.
        """
        self.count += 1
        base = self.root.parent / f"output-{self.count}"
        out, err = Path(f"{base}.out"), Path(f"{base}.err")
        data = stdin if isinstance(stdin, bytes) else None
        with out.open("wb") as out_file, err.open("wb") as err_file:
            process = subprocess.Popen(
                [*through, *self.command(*arguments)],
                stdin=subprocess.PIPE if data is not None else stdin,
                stdout=out_file,
                stderr=err_file,
                pass_fds=pass_fds,
                env=env,
                cwd=cwd,
            )
            try:
                process.communicate(data, timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError(f"{arguments} hangs: {err.read_text()}") from None
        done = Done(
            process.returncode, out.read_text(errors="replace"), err.read_text(errors="replace")
        )
        done.out_path, done.err_path = out, err
        if check:
            assert done.status == 0, (arguments, done)
        return done

    def id(self):
        self.ids.append(f"test-{os.getpid()}-{len(self.ids)}")
        return self.ids[-1]

    def run(self, bundle, *options, check=True, **keywords):
        """`run` in the foreground."""
        return self("run", "--bundle", bundle.path, *options, self.id(), check=check, **keywords)

    def create(self, bundle, *options, **keywords):
        """`create`; returns the id and what the command did."""
        container_id = self.id()
        done = self("create", "--bundle", bundle.path, *options, container_id, **keywords)
        return container_id, done

    def running(self, bundle, *options, **keywords):
        """The id of a container that runs in the background."""
        container_id, self.created = self.create(bundle, *options, **keywords)
        self("start", container_id)
        return container_id

    def state(self, container_id):
        return json.loads(self("state", container_id).out)

    def status(self, container_id):
        return self.state(container_id)["status"]

    def wait_for(self, container_id, status):
        """Wait until a container has this status."""
        wait_until(lambda: self.status(container_id) == status, f"{container_id} is not {status}")

    def wait_for_output(self, text):
        """Wait until the output of the container that `running` started holds a text."""
        wait_until(lambda: text in self.created.out_path.read_text(), f"no {text!r}")

    def pids(self, container_id):
        """The pids that `ps` tells."""
        return json.loads(self("ps", "--format", "json", container_id).out)

    def clean(self):
        end_children()
        for container_id in self.ids:
            self("delete", "--force", container_id, check=False)
        reap()


def wait_until(condition, complaint):
    """Poll a condition; there is nothing to wait on for what another program's files say."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, complaint
        reap()
        time.sleep(0.005)


def reap():
    """Take the exit status of what became our child."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def end_children():
    """Kill and reap the containers' processes that became our children.

    The first process of a pid namespace does not end before all others in it were reaped, which for those that `exec`
    made is our duty. A paused one does not end: that is what `delete --force` is for.
    """
    deadline = time.monotonic() + 0.5
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    while (pids := path.read_text().split()) and time.monotonic() < deadline:
        for pid in pids:
            os.kill(int(pid), 9)
        reap()


def cgroup_folders(parent):
    """The parent's folder in each hierarchy."""
    roots = [CGROUPS] if IS_V2 else [path for path in CGROUPS.iterdir() if path.is_dir()]
    return [root / parent for root in roots if (root / parent).is_dir()]


@pytest.fixture(scope="session")
def systemd(request):
    """Whether systemd makes the cgroups."""
    return request.config.getoption("--systemd-cgroup")


@pytest.fixture(scope="session")
def cgroup_parent(systemd):
    """A cgroup parent of this test run, a slice for systemd; removed at the end."""
    parent = f"ocifwtest{os.getpid()}.slice" if systemd else f"ocifw-test-{os.getpid()}"
    yield parent
    if systemd:
        subprocess.run(["systemctl", "stop", parent], check=False)
    for folder in cgroup_folders(parent):
        for path, _, _ in os.walk(folder, topdown=False):
            os.rmdir(path)


@pytest.fixture
def runtime(runtime_path, tmp_path, cgroup_parent, systemd):
    """The runtime under test; its containers are deleted afterwards, and nothing may be left of them."""
    tested = Runtime(runtime_path, tmp_path / "root", systemd)
    yield tested
    tested.clean()
    left = os.listdir(tested.root) if tested.root.exists() else []
    assert left == [], f"left in the state root: {left}"
    for folder in cgroup_folders(cgroup_parent):
        inside = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
        assert inside == [], f"cgroups left in {folder}: {inside}"


@pytest.fixture
def make_bundle(tmp_path, busybox_rootfs, cgroup_parent, systemd):
    """Make bundles: `make_bundle()`; `rootfs=True` gives it a copy of the root filesystem of its own."""
    made = []

    def make(rootfs=None):
        path = tmp_path / f"bundle-{len(made)}"
        if rootfs is True:
            rootfs = path / "rootfs"
            shutil.copytree(busybox_rootfs, rootfs, symlinks=True)
        name = f"c{len(made)}"
        cgroup = f"{cgroup_parent}:test:{name}" if systemd else f"/{cgroup_parent}/{name}"
        made.append(Bundle(path, rootfs or busybox_rootfs, cgroup))
        return made[-1]

    return make


@pytest.fixture
def bundle(make_bundle):
    return make_bundle()
