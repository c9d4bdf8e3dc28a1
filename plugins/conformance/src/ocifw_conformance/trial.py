"""One case on one runtime: a bundle, the runtime's command line, and what both are asked."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import machine
from .case import Lacks, Wrong
from .config import CONFIG

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = float(os.environ.get("OCIFW_TEST_PATIENCE_S", "10"))
"""How long a command may take before it counts as hanging."""
FOREVER = "exec sleep 1000"
RUNTIME_HOOKS = ("prestart", "createRuntime", "poststart", "poststop")
HOOK_PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"


class Done:
    """A command that ended: its status, and what it wrote."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def complaint(self) -> str:
        """The last line of what it said, short enough for a table."""
        lines = self.err.strip().splitlines() or [f"status {self.status}"]
        line = lines[-1]
        for key in ('msg="', "error: "):
            line = line.partition(key)[2].rstrip('"') or line
        return line


class Trial:
    """A bundle whose `config` the case changes, and the runtime, with a state root and a cgroup parent of its own.

    command: the runtime's program and options. folder: of this trial alone, removed with it. rootfs: shared by all
    trials and read-only; `own_rootfs` makes a copy.
    """

    def __init__(self, command: list[str], folder: Path, rootfs: Path, cgroup_parent: str) -> None:
        self.command = [*command[:1], "--root", str(folder / "state"), *command[1:]]
        self.folder, self.rootfs = folder, rootfs
        self.bundle = folder / "bundle"
        self.bundle.mkdir()
        self.cgroup_parent = cgroup_parent
        self.config: dict[str, Any] = copy.deepcopy(CONFIG)
        self.config["root"]["path"] = str(rootfs)
        self.process: dict[str, Any] = self.config["process"]
        self.linux: dict[str, Any] = self.config["linux"]
        self.linux["cgroupsPath"] = f"/{cgroup_parent}/box"
        self.resources: dict[str, Any] = self.linux["resources"]
        self.ids: list[str] = []
        self.holders: list[subprocess.Popen[bytes]] = []
        self.through: list[str] = []
        self.keywords: dict[str, Any] = {}
        self.out = self.last_output = folder / "none"
        self.log_file = folder / "shared/log"
        self.count = 0

    # ---- the config ----

    def own_rootfs(self) -> Path:
        """Let the container have a writable root of its own."""
        shared, self.rootfs = self.rootfs, self.bundle / "rootfs"
        shutil.copytree(shared, self.rootfs, symlinks=True)
        self.config["root"] = {"path": str(self.rootfs)}
        return self.rootfs

    def mount(
        self, destination: str, kind: str, source: object, *options: str, **more: Any
    ) -> None:
        """Add a mount."""
        entry = {"destination": destination, "type": kind, "source": str(source)}
        self.config["mounts"].append({**entry, "options": list(options), **more})

    def namespace(self, kind: str, path: object = None, keep: bool = True) -> None:
        """Replace the entry of a namespace, by one with a path; keep=False: leave it out."""
        others = [entry for entry in self.linux["namespaces"] if entry["type"] != kind]
        entry = {"type": kind, **({"path": str(path)} if path else {})}
        self.linux["namespaces"] = [*others, entry] if keep else others

    def user_namespace(self) -> None:
        """Let the container have a user namespace, in which ids from 0 are those from 100000 outside."""
        self.namespace("user")
        mapping = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        self.linux["uidMappings"] = self.linux["gidMappings"] = mapping

    def hook(self, kind: str, script: str, **fields: Any) -> None:
        """Add a hook that runs a shell script, in which $LOG is the log, also in the container.

        It takes the state from its standard input first, unless the script does: crun ends by SIGPIPE when nobody reads.
        """
        if "cat" not in script:
            script = f"cat >/dev/null; {script}"
        if not self.log_file.exists():
            self.log_file.parent.mkdir(mode=0o777)
            self.log_file.touch()
            self.mount(str(self.log_file.parent), "bind", self.log_file.parent, "bind", "rw")
            if self.rootfs != self.bundle / "rootfs":
                self.own_rootfs()
        entry = {"path": "/bin/sh", "args": ["sh", "-c", script]}
        entry |= {"env": [HOOK_PATH, f"LOG={self.log_file}"]}
        self.config.setdefault("hooks", {}).setdefault(kind, []).append({**entry, **fields})

    def log(self) -> list[str]:
        """The lines of the log."""
        return self.log_file.read_text().splitlines()

    def sh(self, script: str) -> None:
        """Let the container run a shell script."""
        self.process["args"] = ["/bin/sh", "-c", script]

    def write(self) -> Path:
        """Write config.json. Returns the bundle."""
        (self.bundle / "config.json").write_text(json.dumps(self.config))
        return self.bundle

    # ---- the runtime ----

    def __call__(self, *words: object, check: bool = True) -> Done:
        """Run a command of the runtime to its end. Output goes through files: a container may keep it open."""
        self.count += 1
        out, err = self.folder / f"{self.count}.out", self.folder / f"{self.count}.err"
        command = [*self.through, *self.command, *map(str, words)]
        with out.open("wb") as out_file, err.open("wb") as err_file:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out_file, stderr=err_file, **self.keywords
            )
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise Wrong(f"{words[0]} hangs") from None
        self.last_output = out
        text = [path.read_text(errors="replace") for path in (out, err)]
        done = Done(process.returncode, *text)
        if check and done.status != 0:
            raise Wrong(f"{words[0]}: {done.complaint}")
        return done

    def new_id(self) -> str:
        """An id for a container."""
        self.ids.append(f"{self.cgroup_parent}-{len(self.ids)}")
        return self.ids[-1]

    def run(self, script: str | None = None, check: bool = True) -> Done:
        """Run a container in the foreground, with a shell script."""
        if script is not None:
            self.sh(script)
        return self("run", "--bundle", self.write(), self.new_id(), check=check)

    def output(self, script: str) -> list[str]:
        """The words that a shell script in the container writes. Its status is no matter, its start is."""
        done = self.run(script + "\n:", check=False)
        if done.status != 0:
            raise Wrong(f"run: {done.complaint}")
        return done.out.split()

    def create(self, script: str = FOREVER, *options: object) -> str:
        """Create a container that runs a shell script; returns its id."""
        self.sh(script)
        name = self.new_id()
        self("create", *options, "--bundle", self.write(), name)
        self.out = self.last_output
        return name

    def running(self, script: str = FOREVER) -> str:
        """The id of a container that runs."""
        name = self.create(script)
        self("start", name)
        return name

    def stopped(self, script: str = "true") -> str:
        """The id of a container that ran and ended."""
        name = self.running(script)
        self.wait(name, "stopped")
        return name

    def state(self, name: str) -> dict[str, Any]:
        """What `state` prints."""
        state: dict[str, Any] = json.loads(self("state", name).out)
        return state

    def pid(self, name: str) -> int:
        """The pid of a container's process."""
        return int(self.state(name)["pid"])

    def wait(self, name: str, status: str) -> None:
        """Wait until a container has a status."""
        self.until(lambda: self.state(name)["status"] == status, f"not {status}")

    def until(self, condition: Callable[[], bool], complaint: str) -> None:
        """Poll: there is nothing to wait on for what other processes do."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise Wrong(complaint)
            reap()
            time.sleep(0.01)

    # ---- what is demanded ----

    def same(self, found: object, wanted: object, what: str = "") -> None:
        """Raises Wrong when two values are not the same."""
        if found != wanted:
            prefix = f"{what}: " if what else ""
            raise Wrong(f"{prefix}{brief(found)}, not {brief(wanted)}")

    def demand(self, condition: object, complaint: str) -> None:
        """Raises Wrong unless the condition holds."""
        if not condition:
            raise Wrong(complaint)

    def fails(self, *words: object) -> Done:
        """A command that must be an error."""
        done = self(*words, check=False)
        self.demand(done.status != 0, f"{words[0]} is no error")
        return done

    def refused(self) -> None:
        """`create` must be an error, after which there is no container."""
        name = self.new_id()
        self.fails("create", "--bundle", self.write(), name)
        self.gone(name)

    def gone(self, name: str) -> None:
        """There must be no such container."""
        done = self("state", name, check=False)
        self.demand(done.status != 0, "the container is still there")

    # ---- the machine ----

    def needs(self, condition: object, what: str) -> None:
        """Raises Lacks unless the machine has it."""
        if not condition:
            raise Lacks(what)

    def cgroup(self, controller: str) -> Path:
        """The container's cgroup in the hierarchy of a v1 controller."""
        self.needs(not machine.cgroup_v2(), "cgroup v1")
        self.needs(controller in machine.controllers(), f"cgroup v1 controller {controller}")
        return Path(f"{machine.CGROUPS}/{controller}{self.linux['cgroupsPath']}")

    def holder(self, *options: str) -> int:
        """The pid of a process in new namespaces, made by unshare(1)."""
        self.needs(shutil.which("unshare"), "unshare(1)")
        command = ["unshare", *options, "sh", "-c", "echo; exec sleep 1000"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.holders.append(process)
        if process.stdout is not None:
            with process.stdout as stream:
                stream.readline()
        return process.pid

    def clean(self) -> None:
        """Take back everything that the trial made."""
        for process in self.holders:
            process.kill()
            process.wait()
        self.through = []
        self.keywords = {}
        end_children()
        for name in self.ids:
            if (self.folder / "state" / name).exists():
                try:
                    self("delete", "--force", name, check=False)
                except Wrong:
                    continue
        end_children()
        machine.remove_cgroups(self.cgroup_parent)
        shutil.rmtree(self.folder, ignore_errors=True)


def namespace(pid: object, kind: str) -> str:
    """The identity of a namespace."""
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def brief(value: object) -> str:
    """A value as it fits into a table."""
    if isinstance(value, list):
        return " ".join(map(str, value)) or "nothing"
    return str(value)


def reap() -> None:
    """Take the exit status of the processes that became ours."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def end_children() -> None:
    """Kill and reap the processes of containers, which became our children when the runtime's commands ended."""
    deadline = time.monotonic() + 1
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    while (pids := path.read_text().split()) and time.monotonic() < deadline:
        for pid in pids:
            os.kill(int(pid), 9)
        reap()
        time.sleep(0.002)
