"""A container that is there: its state on disk, whether it lives, and the lock that keeps operations apart.

The state root holds one folder for each container, `ROOT/ID/` (0700), with

* `state.json`: written when the container is created, by rename. Until then the container is `creating`.
* `journal`: one JSON line for each runtime step that can be undone, written before the step is applied, and another when
  it was, so that what a killed `create` left behind can be taken back by `delete --force`.
* `start`: the socket on which the container process waits for `ocifw start`. It is there as long as the container is
  `created`; that is what tells created from running.

Nothing of it is read from the bundle again: what happens to config.json after `create` does not matter.
"""

from __future__ import annotations

import os
from errno import EBUSY, EEXIST, ENOENT, ENOSYS, ENOTDIR, ENOTEMPTY, ESRCH, EXDEV
from fcntl import LOCK_EX, flock

from . import document
from .errors import ContainerError, NotFound, OcifwError
from .linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

STATE = "state.json"
JOURNAL = "journal"
START = "start"
STATE_VERSION = 1
ID_LIMIT = 1024

_ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-.")


class Container:
    """A container as its state tells. Everything here was fixed at `create`, except by `update`."""

    __slots__ = ("folder", "id", "state")

    def __init__(self, folder: str, state: dict[str, Any]) -> None:
        self.folder = folder
        self.state = state
        self.id: str = state["id"]

    # -- what the state says ---------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The container process in the runtime's pid namespace; 0 while it is being created."""
        return int(self.state["pid"])

    @property
    def bundle(self) -> str:
        return str(self.state["bundle"])

    @property
    def created(self) -> str:
        """When the container was made, as RFC 3339 with nanoseconds."""
        from .text import rfc3339

        return rfc3339(self.state["created"])

    @property
    def config(self) -> dict[str, Any]:
        """The effective config.json the container was created with, and `update` changed."""
        config: dict[str, Any] = self.state["config"]
        return config

    @property
    def notes(self) -> dict[str, Any]:
        """What plugins noted while they made the container, by plugin name. See `ocifw.context.Context`."""
        notes: dict[str, Any] = self.state["notes"]
        return notes

    @property
    def annotations(self) -> dict[str, str]:
        return self.config.get("annotations") or {}

    # -- what is so now --------------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """creating, created, running, paused or stopped (runtime.md, State)."""
        if not self.pid:
            return "creating"
        if not self.alive():
            return "stopped"
        if self.frozen():
            return "paused"
        return "created" if os.path.lexists(f"{self.folder}/{START}") else "running"

    def alive(self) -> bool:
        """Whether the container process is there: the same process, and not a zombie."""
        try:
            letter, start_time = process.state(self.pid)
        except (FileNotFoundError, ProcessLookupError):
            return False
        return start_time == self.state["startTime"] and letter not in "ZX"

    def frozen(self) -> bool:
        """Whether the freezer holds the container; not when there is none, or none any more."""
        freezer = self.notes.get("freezer")
        if not freezer:
            return False
        try:
            with open(freezer["file"], "rb", buffering=0) as file:
                return freezer["contains"].encode() in (file.read(4096) or b"")
        except OSError:
            return False

    def pidfd(self) -> int:
        """A file descriptor of the container process. ProcessLookupError: it is gone."""
        from .linux.pidfd import pidfd_open

        fd = pidfd_open(self.pid)
        # Compared after opening: a pid that was given to another process since is noticed (semantics of pidfd_open).
        if not self.alive():
            os.close(fd)
            raise ProcessLookupError(ESRCH, os.strerror(ESRCH))
        return fd

    # -- on disk ---------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the state; readers see the old one or the new one, never half of it."""
        write_file(f"{self.folder}/{STATE}", document.dump(self.state).encode())


class Lock:
    """The lock of one container, for the time of a `with`. It ends with the process that holds it."""

    __slots__ = ("fd", "folder")

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.fd = -1

    def __enter__(self) -> Lock:
        """Wait for the lock. Raises NotFound when the container is gone by then."""
        try:
            self.fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            flock(self.fd, LOCK_EX)
            if os.fstat(self.fd).st_ino != os.stat(self.folder).st_ino:
                raise FileNotFoundError
        except (FileNotFoundError, NotADirectoryError):
            self.__exit__()
            raise NotFound(os.path.basename(self.folder)) from None
        return self

    def __exit__(self, *_: object) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def check_id(container_id: str) -> None:
    """Raises ContainerError, with runc's text, when this cannot be the id of a container."""
    if not container_id:
        raise ContainerError("container id cannot be empty")
    if (
        not _ID_CHARACTERS.issuperset(container_id)
        or container_id in (".", "..")
        or len(container_id) > ID_LIMIT
    ):
        raise ContainerError(f"invalid container ID format: {container_id!r}")


def folder_of(root: str, container_id: str) -> str:
    """The folder of the container with this id below the state root. Raises ContainerError for what cannot be an id."""
    check_id(container_id)
    return f"{root}/{container_id}"


def load(root: str, container_id: str) -> Container:
    """The container with this id below the state root. Raises NotFound; OcifwError on a state that cannot be read.

    One that is being created (or whose creation was killed) has status `creating`, an empty config and no process.
    """
    folder = folder_of(root, container_id)
    try:
        with open(f"{folder}/{STATE}", "rb", buffering=0) as file:
            data = file.readall()
    except OSError as error:
        if error.errno == ENOTDIR:
            raise NotFound(container_id) from None
        if error.errno != ENOENT:
            raise OcifwError(f"{folder}/{STATE}: {error.strerror}") from error
        try:
            created = os.stat(folder).st_mtime
        except OSError:
            raise NotFound(container_id) from None
        return Container(folder, _creating(container_id, created))
    state = document.parse(data, f"{folder}/{STATE}")
    if not isinstance(state, dict) or state.get("version") != STATE_VERSION:
        raise OcifwError(f"{folder}/{STATE}: made by another version of ocifw")
    return Container(folder, state)


def _creating(container_id: str, created: float) -> dict[str, Any]:
    return {
        "version": STATE_VERSION,
        "id": container_id,
        "ociVersion": "1.3.0",
        "pid": 0,
        "startTime": 0,
        "bundle": "",
        "rootfs": "",
        "created": int(created * 10**9),
        "config": {},
        "notes": {},
        "owner": 0,
        "poststart": [],
        "poststop": [],
    }


def identifiers(root: str) -> Iterator[str]:
    """The ids of the containers below a state root, sorted; nothing when there is no such folder."""
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return
    for name in names:
        if _ID_CHARACTERS.issuperset(name) and os.path.isdir(f"{root}/{name}"):
            yield name


def write_file(path: str, data: bytes, mode: int = 0o600) -> None:
    """Write a file by renaming a temporary one over it. What was there stays when it fails."""
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name}.{os.getpid()}" if folder else f".{name}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, mode)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def remove_folder(folder: str) -> None:
    """Remove a container's folder and what is in it. It is ours: nobody else may have written there.

    OSError(EBUSY): something is mounted below it, which is not ours; it stays.
    """
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            _refuse_mount(entry.path)
            remove_folder(entry.path)
        else:
            unlink(entry.path)
    remove_empty(folder)


def _refuse_mount(path: str) -> None:
    """Raise OSError(EBUSY) when a folder is a mount point: what is below it is another's, maybe an image's."""
    from .linux.openat2 import RESOLVE_NO_XDEV, openat2

    above, _, name = path.rpartition("/")
    folder = os.open(above, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(openat2(folder, name, os.O_PATH | os.O_NOFOLLOW, 0, RESOLVE_NO_XDEV))
    except OSError as error:
        if error.errno == EXDEV or (error.errno == ENOSYS and os.path.ismount(path)):
            raise OSError(EBUSY, os.strerror(EBUSY), path) from None
        if error.errno != ENOSYS:
            raise
    finally:
        os.close(folder)


def remove_empty(folder: str) -> None:
    """Remove a folder; one that is not there, or in which somebody else has put something by now, is fine."""
    try:
        os.rmdir(folder)
    except OSError as error:
        if error.errno not in (ENOENT, ENOTEMPTY, EEXIST):
            raise


def unlink(path: str) -> None:
    """Remove a file; one that is not there is fine."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
