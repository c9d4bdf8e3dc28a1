"""One virtual machine: QEMU without KVM, booted or resumed, that runs a script and ends.

The first boot of a variant is saved as a running machine (`saved`); resuming that takes about a second. What a
machine writes to its disk is lost with it. Folders of this machine are shared by virtiofs, at the same path.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

CONTROL, STDOUT, STDERR = 1, 2, 3
"""Ports of the virtio serial device: see guest/files/usr/local/sbin/vm-agent."""

BOOT_PATIENCE_S = 240
SETTLE_S = 3
"""How long a machine that booted is left alone before it is saved, so that it is idle."""

PR_SET_PDEATHSIG = 1


class MachineError(Exception):
    """The machine went wrong, not the command in it."""


class Variant(NamedTuple):
    """What has to be the same for a saved machine to be resumed.

    cgroup: v2, v1 or hybrid; the last two need the old kernel, whose memory and cpuset controllers know v1.
    selinux: SELinux (permissive) instead of AppArmor. memory: as QEMU takes it.
    """

    cgroup: str = "v2"
    selinux: bool = False
    memory: str = "2G"
    cpus: int = 2

    @property
    def kernel(self) -> str:
        return "new" if self.cgroup == "v2" else "old"

    @property
    def name(self) -> str:
        # A saved machine fits one QEMU command line only.
        version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
        labels = "selinux" if self.selinux else "apparmor"
        return f"{self.cgroup}-{labels}-{self.memory}-{self.cpus}-{version}"

    @property
    def kernel_arguments(self) -> str:
        words = "console=ttyS0 TERM=dumb quiet loglevel=4 panic=-1 mitigations=off psi=1"
        if self.cgroup != "v2":
            words += " SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1 systemd.unified_cgroup_hierarchy=0"
            words += f" systemd.legacy_systemd_cgroup_controller={int(self.cgroup == 'v1')}"
        if self.selinux:
            words += " security=selinux selinux=1 enforcing=0"
        return words


class Share(NamedTuple):
    """A folder that the machine sees at the same path."""

    path: str
    read_only: bool = False


def saved(image: Path, variant: Variant) -> tuple[Path, Path]:
    """The disk and the state of a machine of this variant, running and idle; it is booted when there is none yet.

    Raises MachineError when it does not boot.
    """
    disk, state = image / f"{variant.name}.qcow2", image / f"{variant.name}.state"
    with open(image / f"{variant.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if state.exists():
            return disk, state
        print(f"vm: booting {variant.name}, to be resumed from now on", file=sys.stderr)
        create = [image / "qemu/usr/bin/qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw"]
        subprocess.run([*create, "-b", "root.img", disk], check=True, env=_environment(image))
        with Machine(image, variant, disk, keep_writes=True) as machine:
            machine.wait_ready(time.monotonic() + BOOT_PATIENCE_S)
            time.sleep(SETTLE_S)
            machine.qmp("stop")
            machine.migrate("migrate", Path(f"{state}.new"))
            machine.qmp("quit")
            machine.qemu.wait()
        os.rename(f"{state}.new", state)
    return disk, state


class Machine:
    """A QEMU process and what serves it, for the time of a `with`; all of it is killed at its end."""

    def __init__(
        self,
        image: Path,
        variant: Variant,
        disk: Path,
        *,
        state: Path | None = None,
        keep_writes: bool = False,
        shares: list[Share] | None = None,
    ) -> None:
        """state: resume from there instead of booting. keep_writes: into `disk`."""
        self.image, self.variant, self.disk = image, variant, disk
        self.state, self.keep_writes, self.shares = state, keep_writes, shares or []
        self.children: list[subprocess.Popen[bytes]] = []
        self.ports: dict[int | str, socket.socket] = {}

    def __enter__(self) -> Machine:
        self.scratch = tempfile.TemporaryDirectory(prefix="ocifw-vm.")
        self.serial_log = Path(self.scratch.name, "serial.log")
        try:
            self._start()
            if self.state:
                self.migrate("migrate-incoming", self.state)
                self.qmp("cont")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # QEMU first: it would complain about a lost virtiofsd.
        for child in reversed(self.children):
            child.kill()
            child.wait()
        self.scratch.cleanup()

    def _start(self) -> None:
        virtiofsd = [self._serve(number, share) for number, share in enumerate(self.shares)]
        descriptors = []
        command = self._command()
        for port in (CONTROL, STDOUT, STDERR, "qmp"):
            self.ports[port], theirs = socket.socketpair()
            descriptors.append(theirs)
            command += ["-chardev", f"socket,id=c{port},fd={theirs.fileno()}"]
            if port == "qmp":
                command += ["-mon", "chardev=cqmp,mode=control"]
            else:
                command += ["-device", f"virtserialport,chardev=c{port},nr={port}"]
        for number, address in enumerate(virtiofsd):
            command += ["-chardev", f"socket,id=share{number},path={address}"]
        if self.state:
            command += ["-incoming", "defer"]
        self.qemu = self._spawn(command, pass_fds=[one.fileno() for one in descriptors])
        for descriptor in descriptors:
            descriptor.close()
        self.monitor = self.ports["qmp"].makefile("rw")
        self.monitor.readline()
        self.qmp("qmp_capabilities")

    def _command(self) -> list[str]:
        tree, variant = self.image / "qemu/usr", self.variant
        kind = {".img": "raw", ".qcow2": "qcow2"}[self.disk.suffix]
        snapshot = "off" if self.keep_writes else "on"
        words = f"""
            {tree}/bin/qemu-system-x86_64 -L {tree}/share/qemu -L {tree}/share/seabios
            -nodefaults -no-user-config -display none -no-reboot
            -accel tcg,thread=multi -cpu max -smp {variant.cpus} -m {variant.memory}
            -object memory-backend-memfd,id=memory,size={variant.memory},share=on
            -machine pc,memory-backend=memory
            -kernel {self.image}/vmlinuz-{variant.kernel} -initrd {self.image}/initramfs-{variant.kernel}
            -drive file={self.disk},format={kind},if=none,id=root,cache=unsafe,snapshot={snapshot}
            -device virtio-blk-pci,drive=root -device virtio-rng-pci -device vmgenid,guid=auto
            -serial file:{self.serial_log} -device virtio-serial-pci
        """
        return [*words.split(), "-append", variant.kernel_arguments]

    def _serve(self, number: int, share: Share) -> Path:
        """Start a virtiofsd for a share; returns its socket."""
        address = Path(self.scratch.name, f"share{number}")
        program = self.image / "qemu/usr/lib/qemu/virtiofsd"
        options = f"source={share.path},cache=auto,sandbox=chroot"
        with open(f"{address}.log", "wb") as log:
            command = [program, f"--socket-path={address}", "-o", options]
            daemon = self._spawn(command, stdout=log, stderr=log)
        while not address.exists():
            if daemon.poll() is not None:
                raise MachineError(f"virtiofsd: {Path(f'{address}.log').read_text()}")
            time.sleep(0.01)
        return address

    def _spawn(self, command: list[Any], **keywords: Any) -> subprocess.Popen[bytes]:
        def die_with_parent() -> None:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

        child = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            env=_environment(self.image),
            preexec_fn=die_with_parent,  # noqa: PLW1509  # this program has one thread
            **keywords,
        )
        self.children.append(child)
        return child

    # -- the monitor -----------------------------------------------------------------------------------------------

    def qmp(self, name: str, **arguments: Any) -> Any:
        """A command of QEMU's monitor. Raises MachineError when it fails."""
        try:
            self.monitor.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
            self.monitor.flush()
        except BrokenPipeError:
            raise self._error("QEMU ended") from None
        for line in self.monitor:
            answer = json.loads(line)
            if "error" in answer:
                raise self._error(f"{name}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise self._error("QEMU ended")

    def migrate(self, name: str, state: Path) -> None:
        """Save the machine to a file (`migrate`), or load it (`migrate-incoming`)."""
        wanted = [{"capability": one, "state": True} for one in ("mapped-ram", "multifd")]
        self.qmp("migrate-set-capabilities", capabilities=wanted)
        self.qmp(name, uri=f"file:{state}")
        while (status := self.qmp("query-migrate").get("status")) != "completed":
            if status == "failed":
                raise self._error(f"{name} failed")
            time.sleep(0.01)

    def _error(self, text: str) -> MachineError:
        return MachineError(f"{text}; the console said:\n{self.console()}")

    def console(self) -> str:
        """What was written to the console, without control sequences."""
        text = self.serial_log.read_text(errors="replace") if self.serial_log.exists() else ""
        return re.sub(r"\x1b\[[0-9;?!]*[A-Za-z]|\r|\x1bc", "", text).strip()

    # -- the agent -------------------------------------------------------------------------------------------------

    def wait_ready(self, deadline: float) -> None:
        """Wait until a machine that boots can be given a script."""
        control = self.ports[CONTROL]
        control.settimeout(max(0.1, deadline - time.monotonic()))
        try:
            if control.recv(16) != b"ready\n":
                raise self._error("the machine ended while it booted")
        except TimeoutError:
            raise self._error("the machine did not boot in time") from None
        control.settimeout(None)

    def run(self, script: str, deadline: float) -> int | None:
        """Run a shell script; its output becomes ours. Returns its exit status, None at the deadline."""
        # A device for a share cannot be part of a saved machine: it is added now.
        for number, _ in enumerate(self.shares):
            self.qmp("device_add", driver="vhost-user-fs-pci", chardev=f"share{number}",
                     tag=f"share{number}", id=f"fs{number}")  # fmt: skip
        data = (self._mounts() + script).encode()
        self.ports[CONTROL].sendall(b"%.3f %d\n%s" % (time.time(), len(data), data))
        sinks = {self.ports[STDOUT]: sys.stdout.buffer, self.ports[STDERR]: sys.stderr.buffer}
        answer, ports = b"", [self.ports[CONTROL], *sinks]
        while True:
            finished = b"\n" in answer
            wait_s = 0 if finished else max(0, min(deadline - time.monotonic(), 3600))
            ready = select.select(ports, [], [], wait_s)[0]
            for port in ready:
                data = port.recv(65536)
                if not data:
                    ports.remove(port)
                elif port in sinks:
                    sinks[port].write(data)
                    sinks[port].flush()
                else:
                    answer += data
            if finished and not ready:
                return int(answer.split()[1])
            if not ports or (not ready and self.qemu.poll() is not None):
                raise self._error("the machine ended")
            if not ready and time.monotonic() >= deadline:
                return None

    def _mounts(self) -> str:
        lines = []
        for number, share in enumerate(self.shares):
            path = shlex.quote(share.path)
            options = "-o ro" if share.read_only else ""
            lines.append(f"""mkdir -p {path}; tries=0
until mount -t virtiofs {options} share{number} {path} 2>/run/vm-mount; do
    tries=$((tries + 1)); [ $tries -lt 100 ] || {{ cat /run/vm-mount >&2; exit 125; }}; sleep 0.05
done
""")
        return "".join(lines)


def _environment(image: Path) -> dict[str, str]:
    return {**os.environ, "LD_LIBRARY_PATH": f"{image}/qemu/usr/lib/x86_64-linux-gnu"}
