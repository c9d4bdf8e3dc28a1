"""What plugins are told: the request and the host while planning, the context while steps are applied."""

from __future__ import annotations

import os
from errno import ENOENT

from .record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .container import Container
    from .step import Step


SPEC_VERSION = "1.3.0"
"""The version of the runtime specification that ocifw implements, and its state documents comply with."""

SETTINGS = "/etc/ocifw/config.yaml"
"""The administrator's file about ocifw itself: which profiles count. See `ocifw.profile`."""


class Globals(Record):
    """The global options of the command line.

    root: the state root. rootless: "true", "false" or "auto". cgroup_manager: cgroupfs, systemd or disabled.
    profiles: names, or absolute paths, of --profile; sets: what --set says, as PATH=VALUE. program: the profile that
    the name of the program chooses. own_profile: OCIFW_PROFILE, when it may count: see `ocifw.profile`.
    """

    root: str
    systemd_cgroup: bool = False
    rootless: str = "auto"
    cgroup_manager: str = "cgroupfs"
    debug: bool = False
    profiles: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    program: str = ""
    own_profile: str = ""


class Request(Record):
    """What the command asks for, beside config.json. Plain values, known before anything is done.

    operation: "create" (also of `run`), "exec" or "restore".
    bundle: absolute path. rootfs: absolute path of the root filesystem, resolved as root.path says.
    state_dir: the container's own folder below the state root; nothing is there yet while planning.
    run: the container is started by the same process (no AwaitStart). console: a pseudo-terminal is sent over the
    slot "console". pidfd: a pidfd is sent over the slot "pidfd". preserve_fds: file descriptors 3 to 2+N go to the
    program. streams: file descriptors of ours that become its 0 to 2; -1 is ours of the same number.
    rootless: errors for lack of privilege over cgroups are tolerated. no_cgroup: the container gets no cgroup of
    its own, whatever config.json says (`--cgroup-manager disabled`). notify_socket: path of the host's
    NOTIFY_SOCKET or "". cgroup: of exec, pairs of controller ("" is every) and path below the container's own.
    container: of exec and restore, the container as its state tells.
    compat: "runc" or "spec": what counts where runc breaks the spec; engines get runc.
    """

    operation: str
    id: str
    bundle: str
    rootfs: str
    state_dir: str
    run: bool = False
    console: bool = False
    pidfd: bool = False
    no_pivot: bool = False
    no_new_keyring: bool = False
    systemd_cgroup: bool = False
    rootless: bool = False
    no_cgroup: bool = False
    preserve_fds: int = 0
    listen_fds: int = 0
    streams: tuple[int, int, int] = (-1, -1, -1)
    notify_socket: str = ""
    cgroup: tuple[tuple[str, str], ...] = ()
    container: Container | None = None
    compat: str = "runc"

    @property
    def is_exec(self) -> bool:
        """Whether a process is added to a container that is there."""
        return self.operation == "exec"


class Host:
    """What is so on this machine, read when first asked for and then kept. Planning reads, and never writes.

    files: for tests, contents by path that stand for the machine's; None stands for a file that is not there. When
    given, nothing else is read.
    """

    def __init__(
        self, files: dict[str, bytes | None] | None = None, euid: int | None = None
    ) -> None:
        self._only_files = files is not None
        self._files: dict[str, bytes | None] = dict(files or {})
        self.euid = os.geteuid() if euid is None else euid
        self.warnings: list[str] = []

    def read(self, path: str) -> bytes:
        """The whole content of a file of /proc or /sys, or of another small file. FileNotFoundError: there is none."""
        content = self._files.get(path)
        if content is None and path not in self._files and not self._only_files:
            content = self._files[path] = _content(path)
        if content is None:
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), path)
        return content

    def exists(self, path: str) -> bool:
        """Whether a file is there, without reading it."""
        if path in self._files or self._only_files:
            return self._files.get(path) is not None
        return os.access(path, os.F_OK)

    def warn(self, message: str) -> None:
        """Something about this machine or the config that is not as asked for, and survived; logged by the command."""
        if message not in self.warnings:
            self.warnings.append(message)

    @property
    def machine(self) -> str:
        """The kernel's name of the architecture: x86_64, aarch64."""
        return os.uname().machine

    @property
    def kernel(self) -> tuple[int, int]:
        """Major and minor number of the running kernel."""
        major, minor = os.uname().release.split(".")[:2]
        digits = minor[: next((i for i, c in enumerate(minor) if not c.isdigit()), len(minor))]
        return int(major), int(digits)

    @property
    def in_user_namespace(self) -> bool:
        """Whether the runtime itself runs in a user namespace other than the first (user_namespaces(7))."""
        return self.read("/proc/self/uid_map").split() != [b"0", b"0", b"4294967295"]


def _content(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
    finally:
        os.close(fd)
    return b"".join(parts)


class Context:
    """What runtime steps work with while they are applied or undone; the only thing that changes.

    id, bundle, state_dir: as in the request. pid: the container process in the runtime's pid namespace, 0 while there
    is none. fds: file descriptors by slot name; whoever puts one in gives it away: the core closes all of them.
    notes: what a plugin wants to find again in the container's state (`container.notes`), JSON values by plugin name.
    The core reads two itself: notes["freezer"] = {"file": PATH, "contains": TEXT} tells `state` when the container is
    paused, notes["processes"] = [folders of cgroups] where its processes are counted.
    document: the OCI state document, with status and pid as they are now.
    undoing: steps are being taken back. apply_phase: of `restore`, what applies those steps of a phase, by its name,
    that count there, too (`RuntimeStep.at_restore`); None otherwise.
    """

    __slots__ = (
        "annotations",
        "apply_phase",
        "bundle",
        "fds",
        "id",
        "notes",
        "oci_version",
        "pid",
        "state_dir",
        "undoing",
        "warnings",
    )

    def __init__(
        self,
        container_id: str,
        bundle: str,
        state_dir: str,
        oci_version: str = SPEC_VERSION,
        annotations: dict[str, str] | None = None,
        pid: int = 0,
        notes: dict[str, Any] | None = None,
    ) -> None:
        self.id = container_id
        self.bundle = bundle
        self.state_dir = state_dir
        self.oci_version = oci_version
        self.annotations = annotations or {}
        self.pid = pid
        self.fds: dict[str, int] = {}
        self.notes: dict[str, Any] = {} if notes is None else notes
        self.warnings: list[str] = []
        self.undoing = False
        self.apply_phase: Callable[[str], None] | None = None

    def warn(self, message: str) -> None:
        """Something that the operation survives; logged once it is over."""
        self.warnings.append(message)

    def note_program(
        self, step: Step, path: str, status: int, out: bytes, err: bytes, duration_ms: int
    ) -> None:
        """Keep in the state how a hook went: notes["hooks"] has a record for each, in the order in which they ended.

        status: the exit status, or minus the signal that ended it. out, err: the ends of its outputs.
        """
        record = {
            "at": step.at,
            "path": path,
            "status": status,
            "stdout": out.decode("utf-8", "replace"),
            "stderr": err.decode("utf-8", "replace"),
            "durationMs": duration_ms,
        }
        self.notes.setdefault("hooks", []).append(record)

    def report(self) -> None:
        """Log what the operation survived, once."""
        if self.warnings:
            from . import log

            for warning in self.warnings:
                log.warning(warning)
            self.warnings = []

    def oci_state(self, status: str, pid: int | None = None) -> dict[str, Any]:
        """The state document of the spec (runtime.md, State) with this status; hooks get it on their stdin."""
        return oci_state(
            self.oci_version,
            self.id,
            status,
            self.pid if pid is None else pid,
            self.bundle,
            self.annotations,
        )

    def close(self) -> None:
        """Close every file descriptor."""
        while self.fds:
            os.close(self.fds.popitem()[1])


def oci_state(
    oci_version: str,
    container_id: str,
    status: str,
    pid: int,
    bundle: str,
    annotations: dict[str, str],
) -> dict[str, Any]:
    """The state document of the spec (runtime.md, State); `annotations` only when there are some."""
    document: dict[str, Any] = {
        "ociVersion": oci_version,
        "id": container_id,
        "status": status,
        "pid": pid,
        "bundle": bundle,
    }
    if annotations:
        document["annotations"] = annotations
    return document
