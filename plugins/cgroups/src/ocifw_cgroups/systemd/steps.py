"""Making, changing and stopping the unit of a container."""

from __future__ import annotations

import os

from ocifw.errors import OcifwError
from ocifw.linux.pidfd import pidfd_open, pidfd_send_signal
from ocifw.linux.process import prctl
from ocifw.step import RuntimeStep
from ocifw_cgroups.create import CreateCgroup, refuse_used

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ocifw.context import Context

    from .bus import Manager
    from .properties import Row

PLACEHOLDER = "placeholder"
PR_SET_PDEATHSIG = 1
SIGKILL = 9


class CreateUnit(CreateCgroup):
    """Let systemd make a unit for the container, then its cgroup in the hierarchies that systemd leaves out.

    A scope cannot be without a process, and the container's is not there yet: a process that only waits holds its place
    until the container process joined the cgroup (`EndPlaceholder`). `undo` stops the unit, and removes what is left.
    """

    unit: str = ""
    properties: tuple[Row, ...] = ()
    user: bool = False
    adopted = True

    def describe(self) -> str:
        return f"let systemd start {self.unit} ({super().describe()})"

    def apply(self, context: Context) -> None:
        for _, _, folder in self.folders:
            if os.path.isdir(folder):
                refuse_used(folder)
        rows = list(self.properties)
        if not self.unit.endswith(".slice"):
            pid = _wait_for_death()
            context.fds[PLACEHOLDER] = pidfd_open(pid)
            rows.append(("PIDs", "au", [pid], 0))
        self._start(rows)
        object.__setattr__(self, "_started", True)
        super().apply(context)
        context.notes["systemd"] = {"unit": self.unit, "user": self.user}

    def _start(self, rows: list[Row]) -> None:
        from . import bus

        with bus.Manager(self.user) as manager:
            wanted = typed(rows, manager.version())
            try:
                manager.start_transient_unit(self.unit, wanted)
            except bus.BusError as error:
                if error.name != bus.UNIT_EXISTS:
                    raise
                # One that failed stays loaded until it is reset; one that runs is somebody's.
                _reset(manager, self.unit)
                manager.start_transient_unit(self.unit, wanted)

    def undo(self, context: Context) -> None:
        end_placeholder(context)
        # Otherwise the unit may be somebody else's, whose name was taken; and after a `create` that was killed there is
        # no process in it any more, so that systemd has stopped it.
        if "systemd" in context.notes or "_started" in self.__dict__:
            stop(self.unit, self.user)
        super().undo(context)


class EndPlaceholder(RuntimeStep):
    """End the process that held the place of the container process in its scope."""

    at_restore = True
    _text = "end the placeholder process of {unit}"
    unit: str

    def apply(self, context: Context) -> None:
        end_placeholder(context)


class UpdateUnit(RuntimeStep):
    """Change properties of the container's unit; `old` is what they were, for `undo`."""

    undoable = True
    unit: str
    properties: tuple[Row, ...]
    old: tuple[Row, ...]
    user: bool = False

    def describe(self) -> str:
        names = ", ".join([f"{row[0]}={row[2]}" for row in self.properties])
        return f"set properties of {self.unit}: {names}"

    def apply(self, context: Context) -> None:
        self._set(self.properties)

    def undo(self, context: Context) -> None:
        self._set(self.old)

    def _set(self, rows: Iterable[Row]) -> None:
        from . import bus

        with bus.Manager(self.user) as manager:
            wanted = typed(rows, manager.version())
            if wanted:
                manager.set_unit_properties(self.unit, wanted)


def typed(rows: Iterable[Row], version: int) -> list[tuple[str, tuple[str, Any]]]:
    """Rows as D-Bus takes them, without those that need a newer systemd."""
    return [
        (name, (signature, _plain(signature, value)))
        for name, signature, value, since in rows
        if since <= version
    ]


def _plain(signature: str, value: Any) -> Any:
    """The value as it was before the journal made lists of everything."""
    if signature == "ay":
        return bytes(value)
    return [tuple(one) for one in value] if signature == "a(ss)" else value


def stop(unit: str, user: bool) -> None:
    """Stop a unit and let systemd forget it. One that is gone is no error."""
    from . import bus

    with bus.Manager(user) as manager:
        try:
            manager.stop_unit(unit)
        except bus.BusError as error:
            if error.name != bus.NO_SUCH_UNIT:
                raise
        _reset(manager, unit)


def _reset(manager: Manager, unit: str) -> None:
    try:
        manager.reset_failed_unit(unit)
    except OcifwError:
        # It did not fail, and was not loaded any more.
        pass


def _wait_for_death() -> int:
    """A process of ours that waits until it is killed, or until we end; its pid."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        prctl(PR_SET_PDEATHSIG, SIGKILL)
        if os.getppid() == parent:
            from select import poll

            poll().poll()
    finally:
        os._exit(0)


def end_placeholder(context: Context) -> None:
    """Kill the placeholder process and wait for it, if there is one."""
    fd = context.fds.pop(PLACEHOLDER, -1)
    if fd < 0:
        return
    try:
        pidfd_send_signal(fd, SIGKILL)
        os.waitid(os.P_PIDFD, fd, os.WEXITED)
    except (ProcessLookupError, ChildProcessError):
        pass
    finally:
        os.close(fd)
