"""The engines as objects: how each is told to use the tested runtime, and to keep its state in a folder of the test."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
import struct
import subprocess
import tarfile
import termios
import time
from pathlib import Path

import pytest

CGROUPS = Path("/sys/fs/cgroup")
DEBIAN_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# Engines set a terminal's size once the command runs: a shell's command that waits for it, and prints it.
SIZE = "until stty size 2>/dev/null | grep .; do sleep 0.05; done"
PATIENCE_S = 60


class Done:
    """A command that ended: status, out and err as texts."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    def __repr__(self):
        return f"Done({self.status}, out={self.out!r}, err={self.err!r})"


class Engine:
    """A client program. `engine("ps", "-a")` runs it to its end."""

    program = ""
    image = "example.test/busybox:latest"
    run_options: tuple[str, ...] = ()

    def __init__(self, folder, names, runtime, parent=""):
        self.path = shutil.which(self.program, path=DEBIAN_PATH)
        if self.path is None:
            pytest.skip(f"needs {self.program}")
        self.folder, self.runtime, self.parent = folder, runtime, parent
        self.runtime_name = os.path.basename(runtime)
        self.folder.mkdir()
        self.environment = {
            "PATH": f"{names}:{DEBIAN_PATH}",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
        }

    def command(self, *arguments):
        return [self.path, *self.options, *map(str, arguments)]

    def __call__(self, *arguments, check=True, stdin=None, env=None, cwd=None):
        command = self.command(*arguments)
        environment = {**self.environment, **(env or {})}
        try:
            done = subprocess.run(
                command, input=stdin, capture_output=True, timeout=PATIENCE_S,
                env=environment, cwd=cwd, check=False,
                stdin=subprocess.DEVNULL if stdin is None else None,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"{arguments} hangs: {error.stdout} {error.stderr}") from None
        made = Done(
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )
        if check:
            assert made.status == 0, (arguments, made)
        return made

    def on_terminal(self, *arguments, rows=33, columns=101, stdin=b""):
        """Run the client on a terminal of this size; returns it with all that the terminal showed."""
        return on_terminal(self.command(*arguments), self.environment, rows, columns, stdin)


class Cli(Engine):
    """What podman and docker have in common."""

    at_once: tuple[str, ...] = ()

    def run(self, *arguments, check=True, **keywords):
        """`run --rm` in the foreground; options, then the command: options end before the first "--"."""
        return self("run", "--rm", *self._placed(arguments), check=check, **keywords)

    def start(self, *arguments, name="box"):
        """`run --detach`; returns the container's name."""
        self("run", "--detach", "--name", name, *self._placed(arguments))
        return name

    def placed(self, *arguments):
        """Options of `run`, image and command."""
        return self._placed(arguments)

    def _placed(self, arguments):
        words = [*map(str, arguments)]
        at = words.index("--") if "--" in words else 0
        options, command = words[:at], words[at + 1 :] if "--" in words else words
        return [*self.run_options, *options, self.image, *command]

    def remove(self, name="box"):
        """Remove a running container, without waiting for it to end by itself."""
        self("rm", "--force", *self.at_once, name)

    def inspect(self, name, what):
        """A part of `inspect`, as a Go template writes it."""
        return self("inspect", "--format", what, name).out.strip()

    def pid(self, name="box"):
        return int(self.inspect(name, "{{.State.Pid}}"))

    def status(self, name="box"):
        return self.inspect(name, "{{.State.Status}}")


class Podman(Cli):
    program = "podman"
    at_once = ("--time", "0")

    def __init__(self, folder, names, runtime, parent):
        super().__init__(folder, names, runtime, parent)
        self.conf = folder / "containers.conf"
        # Root without CAP_SYS_RESOURCE cannot raise its limits to podman's default.
        self.conf.write_text(f"""
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
        self.environment["CONTAINERS_CONF"] = str(self.conf)
        self.run_options = ("--cgroup-parent", f"/{parent}")
        self.options = [
            "--root", f"{folder}/storage", "--runroot", f"{folder}/run", "--tmpdir", f"{folder}/tmp",
            "--storage-driver", "vfs",
        ]  # fmt: skip

    def remove_all(self):
        self("pod", "rm", "--force", "--all", *self.at_once)
        self("rm", "--force", "--all", *self.at_once)


class Docker(Cli):
    program = "docker"

    def __init__(self, folder, names, runtime, parent, containerd):
        super().__init__(folder, names, runtime, parent)
        self.containerd = containerd
        self.run_options = ("--network", "none")
        self.socket = f"unix://{folder}/socket"
        (folder / "daemon.json").write_text("{}")  # instead of the machine's
        self.options = ["--host", self.socket]

    def daemon_command(self):
        """dockerd in a network namespace of its own, where it may make a bridge."""
        if shutil.which("dockerd", path=DEBIAN_PATH) is None:
            pytest.skip("needs dockerd (Debian: docker.io)")
        runtimes = []
        if self.runtime_name != "runc":
            runtimes = ["--add-runtime", f"{self.runtime_name}={self.runtime}"]
        return [
            "unshare", "--net", "dockerd", "--host", self.socket,
            "--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec",
            "--pidfile", f"{self.folder}/pid", "--containerd", self.containerd,
            "--config-file", f"{self.folder}/daemon.json",
            *runtimes, "--default-runtime", self.runtime_name,
            "--cgroup-parent", f"/{self.parent}", "--storage-driver", "vfs",
            "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--bip", "10.213.0.1/24",
            "--default-ulimit", "nofile=512:512",
        ]  # fmt: skip

    def remove_all(self):
        if names := self("ps", "--all", "--quiet").out.split():
            self("rm", "--force", *names)


class Containerd(Engine):
    program = "ctr"

    def __init__(self, folder, names, runtime, parent):
        super().__init__(folder, names, runtime, parent)
        self.socket = f"{folder}/socket"
        self.options = ["--address", self.socket]
        self.config = folder / "config.toml"
        self.config.write_text(f"""
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{self.socket}"
""")

    def daemon_command(self):
        if shutil.which("containerd", path=DEBIAN_PATH) is None:
            pytest.skip("needs containerd")
        return ["containerd", "--config", str(self.config)]

    def run_command(self, *options, command=("/bin/true",), name="box"):
        """`run` with the tested runtime."""
        return [
            "run", "--runc-binary", self.runtime, "--cgroup", f"/{self.parent}/{name}",
            "--snapshotter", "native", *options, self.image, name, *command,
        ]  # fmt: skip

    def run(self, *options, command=("/bin/true",), name="box", check=True, **keywords):
        return self(
            *self.run_command("--rm", *options, command=command, name=name), check=check, **keywords
        )

    def start(self, *options, command=("/bin/sleep", "1000"), name="box"):
        self(*self.run_command("--detach", "--null-io", *options, command=command, name=name))
        return name

    def task(self, verb, *arguments, **keywords):
        return self("task", verb, *arguments, **keywords)

    def status(self, name="box"):
        rows = [line.split() for line in self.task("ls").out.splitlines()]
        return next((row[2] for row in rows if row[0] == name), "")

    def pid(self, name="box"):
        rows = [line.split() for line in self.task("ls").out.splitlines()]
        return next(int(row[1]) for row in rows if row[0] == name)

    def remove_all(self):
        for name in self.task("ls", "--quiet").out.split():
            self.task("rm", "--force", name, check=False)
        for name in self("container", "ls", "--quiet").out.split():
            self("container", "rm", name)


class Buildah(Engine):
    program = "buildah"

    def __init__(self, folder, names, runtime):
        super().__init__(folder, names, runtime)
        self.options = [
            "--root", f"{folder}/storage", "--runroot", f"{folder}/run", "--storage-driver", "vfs",
        ]  # fmt: skip
        conf = folder / "containers.conf"
        conf.write_text('[containers]\ndefault_ulimits = ["nofile=512:512", "nproc=512:512"]\n')
        self.environment.update(
            BUILDAH_RUNTIME=runtime, BUILDAH_ISOLATION="oci", CONTAINERS_CONF=str(conf)
        )


class Daemon:
    """A daemon that runs while the `with` block does, and is stopped by its pid."""

    def __init__(self, command, environment, log):
        self.command, self.environment, self.log = command, environment, log

    def __enter__(self):
        # Should the tests be killed, the daemons end as well.
        command = ["setpriv", "--pdeathsig", "TERM", *self.command]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self

    def wait_until(self, answers):
        def ready():
            assert self.process.poll() is None, Path(self.log).read_text()[-3000:]
            return answers()

        wait_until(ready, lambda: Path(self.log).read_text()[-3000:], step_s=0.1)

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def on_terminal(command, environment, rows, columns, stdin):
    """Run a command as leader of a session on a terminal of this size."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command],
        stdin=slave, stdout=slave, stderr=slave, env=environment,
    )  # fmt: skip
    os.close(slave)
    os.write(master, stdin)
    shown = io.BytesIO()
    try:
        # EIO: all have closed the terminal.
        while data := os.read(master, 65536):
            shown.write(data)
    except OSError:
        pass
    finally:
        os.close(master)
    return Done(process.wait(PATIENCE_S), shown.getvalue().decode(errors="replace"), "")


def wait_until(condition, complaint, step_s=0.02, patience_s=PATIENCE_S):
    """Poll a condition; there is nothing to wait on for what another program says."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(complaint() if callable(complaint) else complaint)
        time.sleep(step_s)


def cgroup_folders(name):
    """A cgroup's folder in each hierarchy."""
    v2 = (CGROUPS / "cgroup.controllers").exists()
    roots = [CGROUPS] if v2 else [path for path in CGROUPS.iterdir() if path.is_dir()]
    return [root / name for root in roots if (root / name).is_dir()]


def remove_cgroups(name):
    for folder in cgroup_folders(name):
        for path, _, _ in os.walk(folder, topdown=False):
            try:
                os.rmdir(path)
            except OSError as error:
                procs = Path(path, "cgroup.procs").read_text().split()
                commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in procs]
                raise AssertionError(f"{path}: {error}; {commands}") from error


def limit(pid, v1, v2):
    """The content of a file of a process's cgroup: v1 is "CONTROLLER/FILE", v2 the file's name in version 2."""
    controller, _, name = v1.partition("/")
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return Path(f"{CGROUPS}/{controller}{path}", name).read_text().strip()
        if not controllers and (CGROUPS / "cgroup.controllers").exists():
            return Path(f"{CGROUPS}{path}", v2).read_text().strip()
    raise AssertionError(f"process {pid} is in no cgroup of {controller}")


def write_image(path, layer, name):
    """Write an OCI image layout with one layer into a tar file (image-spec, image-layout.md)."""
    blobs = {}

    def blob(media_type, data):
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    base = "application/vnd.oci.image"
    layer_blob = blob(f"{base}.layer.v1.tar", layer)
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [layer_blob["digest"]]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{base}.manifest.v1+json",
        "config": blob(f"{base}.config.v1+json", json.dumps(config).encode()),
        "layers": [layer_blob],
    }
    entry = blob(f"{base}.manifest.v1+json", json.dumps(manifest).encode())
    entry["annotations"] = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    blobs["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    blobs["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    with tarfile.open(path, "w") as file:
        for member, data in blobs.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
