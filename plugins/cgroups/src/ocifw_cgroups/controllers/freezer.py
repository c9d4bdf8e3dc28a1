"""The controller freezer of v1 and its successor in the core of v2: pause, resume."""

from __future__ import annotations

import time

from ocifw.errors import OcifwError
from ocifw.step import RuntimeStep
from ocifw_cgroups.files import read, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ocifw.context import Context

FROZEN, THAWED = "FROZEN", "THAWED"
_TRIES = 1000
_PATIENCE_S = 10.0


def note(folders: Mapping[str, str]) -> dict[str, str] | None:
    """What tells whether the container is frozen: a file and what it then contains. None: it cannot be frozen."""
    if "freezer" in folders:
        return {"file": f"{folders['freezer']}/freezer.state", "contains": FROZEN}
    if "" in folders:
        return {"file": f"{folders['']}/cgroup.events", "contains": "frozen 1"}
    return None


def freeze(file: str) -> None:
    """Freeze a cgroup, named by the file of its `note`; every process in it is frozen then.

    Raises OcifwError when that does not succeed; then it is thawed.
    """
    try:
        if file.endswith("freezer.state"):
            _freeze_v1(file)
        else:
            _freeze_v2(file)
    except BaseException:
        thaw(file)
        raise


def _freeze_v1(file: str) -> None:
    """While processes join or fork, v1 may stay FREEZING for ever: it has to be asked again, now and then after a thaw."""
    for attempt in range(1, _TRIES):
        if attempt % 50 == 0:
            write(file, THAWED)
            time.sleep(0.01)
        write(file, FROZEN)
        if attempt % 25 == 0:
            time.sleep(0.00001)
        state = read(file)
        if state == FROZEN:
            return
        if state != "FREEZING":
            raise OcifwError(f"unexpected state {state} while freezing")
    raise OcifwError("unable to freeze")


def _freeze_v2(events: str) -> None:
    """v2 freezes for certain, but not at once: the kernel tells when it has (POLLPRI)."""
    import os
    from select import POLLPRI, poll

    write(f"{events.rpartition('/')[0]}/cgroup.freeze", "1")
    fd = os.open(events, os.O_RDONLY | os.O_CLOEXEC)
    try:
        changed = poll()
        changed.register(fd, POLLPRI)
        end = time.monotonic() + _PATIENCE_S
        while b"frozen 1" not in os.pread(fd, 4096, 0):
            left_s = end - time.monotonic()
            if left_s <= 0:
                raise OcifwError("unable to freeze")
            changed.poll(left_s * 1000)
    finally:
        os.close(fd)


def thaw(file: str) -> None:
    """Thaw a cgroup, named by the file of its `note`. One that is gone is no error."""
    path, value = file, THAWED
    if not file.endswith("freezer.state"):
        path, value = f"{file.rpartition('/')[0]}/cgroup.freeze", "0"
    try:
        write(path, value)
    except FileNotFoundError:
        pass


class Freeze(RuntimeStep):
    """Freeze every process of the container. `file` tells the state: see `note`."""

    undoable = True
    _text = "freeze the processes of {file}"
    file: str

    def apply(self, context: Context) -> None:
        freeze(self.file)

    def undo(self, context: Context) -> None:
        thaw(self.file)


class Thaw(RuntimeStep):
    """Let every process of the container run again."""

    _text = "thaw the processes of {file}"
    file: str

    def apply(self, context: Context) -> None:
        thaw(self.file)
