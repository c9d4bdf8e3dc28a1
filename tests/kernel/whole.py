"""Whole containers in the test's own process: a config that asks for everything, and what a machine has before and after."""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import socket
import subprocess
import time
import traceback
from pathlib import Path

from ocifw import document
from ocifw.context import Globals
from ocifw.creation import Creation
from ocifw.errors import OcifwError
from ocifw.plan import Plan
from ocifw.steps import Chdir, RuntimeStep

PATIENCE_S = 20
PR_SET_CHILD_SUBREAPER = 36
MISSING = "/nonexistent/ocifw"
SHIFT = 100_000
CAPABILITIES = ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
HIERARCHIES = [path for path in Path("/sys/fs/cgroup").iterdir() if path.is_dir()]


def make_rootfs(path):
    """A root filesystem of busybox."""
    for name in ("bin", "dev", "proc", "sys", "tmp", "etc", "bound", "full/below"):
        (path / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), path / "bin/busybox")
    for applet in ("sh", "sleep", "true", "false", "cat", "echo", "id", "kill"):
        (path / "bin" / applet).symlink_to("busybox")
    (path / "full/file").write_text("content\n")
    return path


def hook(path, *words):
    return {"path": path, "args": [path, *words], "env": ["A=B"], "timeout": PATIENCE_S}


def full_config(bundle, cgroup, user_namespace=False, id_mapped=True):
    """config.json with a value in every field that this machine and the plugins can follow.

    user_namespace: with a new one; some fields cannot be combined with it. id_mapped: with an id-mapped mount.
    """
    mapping = [{"containerID": 0, "hostID": SHIFT, "size": 65536}]
    kinds = ["pid", "network", "ipc", "uts", "mount", "cgroup", "time"]
    true = shutil.which("true")
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "mode=755"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        },
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
        {
            "destination": "/full",
            "type": "tmpfs",
            "source": "t",
            "options": ["tmpcopyup", "size=1m"],
        },
        {
            "destination": "/bound",
            "source": f"{bundle}/source",
            "options": ["rbind", "ro", "rslave"],
        },
        {
            "destination": "/etc/file",
            "source": f"{bundle}/source/file",
            "options": ["bind", "nosuid"],
        },
    ]
    if id_mapped:
        mounts.append(
            {
                "destination": "/mapped",
                "source": f"{bundle}/source",
                "options": ["rbind", "idmap"],
                "uidMappings": mapping,
                "gidMappings": mapping,
            }
        )
    config = {
        "ociVersion": "1.2.0",
        "process": {
            "terminal": True,
            "consoleSize": {"height": 24, "width": 80},
            "user": {"uid": 1000, "gid": 1000, "umask": 0o27, "additionalGids": [5, 6]},
            "args": ["sleep", "1000"],
            "env": ["PATH=/bin"],
            "cwd": "/tmp",
            "capabilities": dict.fromkeys(
                ("bounding", "effective", "permitted", "inheritable", "ambient"), CAPABILITIES
            ),
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 256, "hard": 512}],
            "noNewPrivileges": True,
            "oomScoreAdj": 500,
            "scheduler": {"policy": "SCHED_BATCH", "nice": 5},
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 5},
            "execCPUAffinity": {"initial": "0", "final": "0"},
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "whole",
        "domainname": "example",
        "annotations": {"org.example.test": "whole"},
        "mounts": mounts,
        "hooks": {
            "prestart": [hook(true)],
            "createRuntime": [hook(true), hook(true)],
            "createContainer": [hook(true)],
            "startContainer": [hook("/bin/true")],
            "poststart": [hook(true)],
            "poststop": [hook(true)],
        },
        "linux": {
            "namespaces": [{"type": kind} for kind in kinds],
            "timeOffsets": {"boottime": {"secs": 100, "nanosecs": 0}},
            "sysctl": {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096"},
            "cgroupsPath": f"{cgroup}/whole",
            "resources": {
                "devices": [
                    {"allow": False, "access": "rwm"},
                    {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
                ],
                "memory": {"limit": 64 << 20, "reservation": 32 << 20},
                "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
                "pids": {"limit": 64},
            },
            "devices": [
                {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666},
                {"path": "/dev/fifo", "type": "p", "fileMode": 0o600, "uid": 1, "gid": 1},
            ],
            "rootfsPropagation": "rslave",
            "maskedPaths": ["/proc/kcore", "/proc/acpi", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys", "/proc/bus"],
            "personality": {"domain": "LINUX"},
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
            },
        },
    }
    if user_namespace:
        linux = config["linux"]
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = linux["gidMappings"] = mapping
        # Not the user namespace's to set.
        del linux["sysctl"]["kernel.msgmax"]
    return config


class Box:
    """One bundle with a state root and a cgroup parent of its own, and how creating its container goes."""

    def __init__(self, folder, rootfs, cgroup, **options):
        self.bundle = Path(folder) / "bundle"
        (self.bundle / "source").mkdir(parents=True)
        (self.bundle / "source/file").write_text("source\n")
        self.cgroup = cgroup
        self.config = full_config(self.bundle, cgroup, **options)
        self.config["root"]["path"] = str(rootfs)
        self._written = {}
        self.globals = Globals(f"{folder}/state")
        os.mkdir(self.globals.root)
        self.socket_path = f"{folder}/console"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.socket_path)
        self.listener.listen(128)

    def creation(self, identifier="whole", **options):
        """A Creation, not run yet. options: of the request."""
        name = "config.json" if identifier == "whole" else f"{identifier}.json"
        self.config["linux"]["cgroupsPath"] = f"{self.cgroup}/{identifier}"
        text = document.dump(self.config)
        if text != self._written.get(name):
            (self.bundle / name).write_text(text)
            self._written[name] = text
        return Creation(
            self.globals,
            identifier,
            str(self.bundle),
            name,
            console=bool(self.config["process"].get("terminal")),
            pidfd=True,
            **options,
        )

    def run(self, creation, plan=None):
        """Create the container, by another plan than its own when there is one."""
        if plan is not None:
            creation.plan = lambda: plan
        return creation.run(self.socket_path if creation.request.console else "", self.socket_path)

    def take_connections(self):
        """Close what came over the console socket: else its backlog would be full at some time."""
        while select.select([self.listener], [], [], 0)[0]:
            self.listener.accept()[0].close()

    def close(self):
        self.take_connections()
        self.listener.close()


class Refuse(RuntimeStep):
    """A runtime step that fails as a system call does."""

    path: str = MISSING

    def apply(self, context):
        os.stat(self.path)


def stamped(step, phase, plugin="fault"):
    step.stamp(plugin, phase.name)
    return step


def with_step(plan, position, step):
    """The plan with one step more, before the one at `position`: the indexes of phase and step."""
    answers = [(phase, list(steps)) for phase, steps in plan.phases]
    answers[position[0]][1].insert(position[1], step)
    return Plan(plan.request, plan.config, answers)


def positions(plan, side, first=1, last=11):
    """Every place of a phase on this side at which a step can stand: pairs of phase and indexes."""
    return [
        (phase, (number, index))
        for number, (phase, steps) in enumerate(plan.phases)
        if phase.side == side and first <= phase.number <= last
        for index in range(len(steps) + 1)
    ]


def refusing(phase, side):
    """A step of the vocabulary, or a runtime step, that fails with ENOENT wherever it stands."""
    return stamped(Chdir(MISSING) if side == "container" else Refuse(), phase)


# ---- what is there -------------------------------------------------------------------------------------------------


def become_subreaper():
    """Whoever loses its parent becomes this process's child: then nothing that is left over can hide."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children(pid="self"):
    """The pids of all children, zombies included."""
    found = set()
    for task in os.listdir(f"/proc/{pid}/task"):
        found.update(map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split()))
    return found


def wait(pid):
    """Wait for a child to end, and take its status."""
    os.waitpid(pid, 0)


def reap():
    """Take the status of every child that has ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def open_fds():
    """Pairs of number and what it leads to, without the one that lists them."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
    return found


def mounts():
    return Path("/proc/self/mountinfo").read_text()


def cgroups(parent):
    """The cgroups below a parent, in every hierarchy."""
    found = []
    for hierarchy in HIERARCHIES:
        folder = Path(f"{hierarchy}{parent}")
        if folder.is_dir():
            found += [str(entry) for entry in folder.iterdir() if entry.is_dir()]
    return found


class Machine:
    """What is there, so that it can be compared with what is there later."""

    def __init__(self, box, fds=True):
        self.box = box
        self.children = children()
        self.fds = open_fds() if fds else None
        self.mounts = mounts()

    def check(self, state=()):
        """Nothing is left: no cgroup, no mount, no child, no open file, no state but of these containers."""
        assert sorted(os.listdir(self.box.globals.root)) == sorted(state), "left in the state root"
        assert cgroups(self.box.cgroup) == [], "left of cgroups"
        # What was there before, of other tests, may have ended.
        assert children() <= self.children, [
            Path(f"/proc/{pid}/status").read_text() for pid in children() - self.children
        ]
        if self.fds is not None:
            assert not set(open_fds().items()) ^ set(self.fds.items()), "left open"
        assert mounts() == self.mounts

    def settle(self, state=()):
        """The same, when processes that were told to end have done so, and were waited for."""

        def quiet():
            reap()
            return children() <= self.children

        wait_until(quiet, "processes are left")
        self.check(state)


def wait_until(condition, complaint):
    """Poll a condition; there is nothing to wait on for what another program does."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.0005)


class Participant:
    """A function that runs in a process of its own, as a command would."""

    def __init__(self, function, delay_s=0.0):
        self.output, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            text = "ok"
            try:
                time.sleep(delay_s)
                function()
            except OcifwError as error:
                text = str(error)
            except BaseException:
                text = traceback.format_exc()
            finally:
                os.write(writer, text.encode()[:4000])
                os._exit(0)
        os.close(writer)

    def result(self):
        """What it came to: "ok", or the text of its error. It must end in time.

        Meanwhile every child that ends is waited for, as an engine would: the init of a pid namespace ends last.
        """
        try:
            wait_until(self._ended, "it hangs")
            return os.read(self.output, 4096).decode()
        finally:
            os.close(self.output)

    def _ended(self):
        reap()
        return select.select([self.output], [], [], 0)[0]


def together(*functions, delays=()):
    """Run functions at the same time, the nth after the nth delay in seconds. Returns their results."""
    delays = [*delays, *[0.0] * len(functions)]
    running = [Participant(function, delay) for function, delay in zip(functions, delays)]
    return [participant.result() for participant in running]


def remove_cgroups(parent):
    """Remove a test's parent cgroups; whatever is in them is ended first."""
    for hierarchy in HIERARCHIES:
        folder = f"{hierarchy}{parent}"
        if not os.path.isdir(folder):
            continue
        for path, _, _ in os.walk(folder, topdown=False):
            for line in Path(path, "cgroup.procs").read_text().split():
                os.kill(int(line), 9)
            subprocess.run(["rmdir", path], check=False, capture_output=True)
