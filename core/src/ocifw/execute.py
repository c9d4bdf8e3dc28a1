"""Executing a plan: the runtime's side of the baton, and taking back what was done when a step fails.

The protocol is in native/README.md. The runtime applies its own steps of a phase when the container process passes the
baton for it. Steps that leave something behind are journaled before they are applied; when anything fails, the
container process is ended, the journal's steps are undone in reverse order, and the first error is raised.
"""

from __future__ import annotations

import os
from _struct import pack, unpack_from
from errno import ENOENT

from . import document, phases
from .errors import OcifwError, StepFailed
from .linux._kernel import receive_message, send_message, spawn
from .linux.init import init_fd
from .linux.memfd import sealed
from .linux.unix import socketpair
from .program import assign_slots, encode
from .step import from_document
from .steps import JoinCgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from .context import Context
    from .phases import Phase
    from .plan import Plan
    from .step import ContainerStep, RuntimeStep, Step

    Watch = Callable[[Phase, Sequence[Step]], None]

PROGRAM, GO, FDS = 1, 2, 3
CLONED, PASS, ERROR, WARNING, REPORT = 10, 11, 12, 13, 14
MESSAGE_LIMIT = 8192
MESSAGE_FDS = 250
NO_STEP = 0xFFFFFFFF
SIGKILL = 9

_BY_NUMBER = {phase.number: phase for phase in phases.PHASES}


class Journal:
    """The steps that can be undone, on disk before they are applied: one JSON document a line."""

    __slots__ = ("fd", "path")

    def __init__(self, path: str) -> None:
        """Open the journal for appending; it is made when it is missing."""
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self.fd = os.open(path, flags, 0o600)

    def record(self, step: RuntimeStep) -> None:
        """Write a step down. One write(2): a killed runtime leaves a whole line or none."""
        os.write(self.fd, document.dump(step.document()).encode() + b"\n")

    def close(self) -> None:
        os.close(self.fd)


def read_journal(path: str) -> list[RuntimeStep]:
    """The steps of a journal, in the order they were applied. No journal is an empty one; so is half a last line.

    Raises PlanError when the plugin of a step is not there any more.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            lines = file.readall().split(b"\n")
    except OSError as error:
        if error.errno != ENOENT:
            raise
        return []
    return [from_document(document.parse(line, path)) for line in lines[:-1]]


class Execution:
    """One execution of a plan. `pid` is the container process once it exists, 0 before."""

    def __init__(
        self, plan: Plan, context: Context, journal: Journal | None, watch: Watch | None = None
    ) -> None:
        """journal: where undoable steps are written down; None for those that nobody undoes later (`exec`)."""
        self.plan = plan
        self.context = context
        self.journal = journal
        self.watch = watch
        self.program = plan.program(watched=watch is not None)
        self._born_in = _take_unified(self.program)
        self.applied: list[RuntimeStep] = []
        self._slots = assign_slots(self.program)
        self._code = b""
        self._sent: set[str] = set()
        self._baton = -1
        self._children: set[int] = set()

    # -- the whole -------------------------------------------------------------------------------------------------

    def run(self, created: Callable[[], None] | None = None) -> int:
        """Apply the plan; returns the pid of the container process.

        created: called when everything up to phase `created` is done, before the container process goes on; for a
        plan that waits for start, that is the end. Otherwise returns when the program was executed.
        Raises the first error, after everything was taken back.
        """
        try:
            self._code = encode(self.program, self._slots)
            self._apply(phases.PREPARE)
            self._spawn(self.plan.request.preserve_fds + self.plan.request.listen_fds)
            self._converse(created)
        except BaseException:
            self.fail()
            raise
        finally:
            if self._baton >= 0:
                os.close(self._baton)
                self._baton = -1
        return self.context.pid

    def fail(self) -> None:
        """End what runs and take back what was done, in reverse order."""
        for pid in self._children:
            try:
                os.kill(pid, SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        self._children.clear()
        self.context.pid = 0
        undo(self.applied, self.context)
        self.applied = []

    # -- the runtime's side ----------------------------------------------------------------------------------------

    def _apply(self, phase: Phase) -> None:
        steps = self.plan.runtime(phase)
        if self.watch:
            self.watch(phase, steps)
        for step in steps:
            if step.undoable:
                if self.journal is not None:
                    self.journal.record(step)
                self.applied.append(step)
            apply(step, self.context)

    # -- the container's side --------------------------------------------------------------------------------------

    def _spawn(self, preserve_fds: int) -> None:
        """Start ocifw-init and give it the program, with the file descriptors that are ready."""
        init = init_fd()
        try:
            self._baton, theirs = socketpair()
            try:
                self._children.add(self._start(init, theirs, preserve_fds))
            finally:
                os.close(theirs)
        finally:
            os.close(init)
        memory = sealed("program", self._code)
        try:
            self._send(PROGRAM, [memory])
        finally:
            os.close(memory)

    def _start(self, init: int, baton: int, preserve_fds: int) -> int:
        """Start ocifw-init, in its cgroup v2 where the kernel can do that; returns its pid."""
        if self._born_in is None:
            return spawn(init, baton, preserve_fds)
        index, join = self._born_in
        try:
            cgroup = os.open(os.path.dirname(join.path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                return spawn(init, baton, preserve_fds, cgroup)
            finally:
                os.close(cgroup)
        except OSError:
            # An old kernel, a sandbox without clone3, or a cgroup that cannot be joined: the step tells which.
            self.program.insert(index, join)
            self._code = encode(self.program, self._slots)
            return spawn(init, baton, preserve_fds)

    def _send(self, kind: int, before: list[int]) -> None:
        """Send a message with the slots that became ready since the last; as many messages as they need."""
        ready = [
            name for name in self._slots if name in self.context.fds and name not in self._sent
        ]
        self._sent.update(ready)
        rows = [(self._slots[name], self.context.fds[name]) for name in ready]
        while len(rows) + len(before) > MESSAGE_FDS:
            self._send_rows(FDS, rows[:MESSAGE_FDS], [])
            rows = rows[MESSAGE_FDS:]
        self._send_rows(kind, rows, before)

    def _send_rows(self, kind: int, rows: list[tuple[int, int]], before: list[int]) -> None:
        data = pack(f"<IIiI{len(rows)}I", kind, 0, 0, len(rows), *[slot for slot, _ in rows])
        send_message(self._baton, data, [*before, *[fd for _, fd in rows]])

    def _converse(self, created: Callable[[], None] | None) -> None:
        """Answer the container's side until it is alone: created, or executed."""
        context = self.context
        intermediate = next(iter(self._children))
        while True:
            data, fds = receive_message(self._baton, MESSAGE_LIMIT)
            for fd in fds:
                os.close(fd)
            if not data:
                if context.pid and not self._ended(context.pid):
                    return
                raise self._vanished(context.pid or intermediate)
            kind, index, number, value = unpack_from("<IIiI", data)
            if kind == CLONED:
                self._children.add(value)
                context.pid = value
                os.waitpid(intermediate, 0)
                self._children.discard(intermediate)
            elif kind == PASS:
                phase = _BY_NUMBER[value]
                self._apply(phase)
                if phase == phases.CREATED:
                    if created:
                        created()
                    self._send(GO, [])
                    if not self.plan.request.run:
                        return
                else:
                    self._send(GO, [])
            elif kind == REPORT:
                if self.watch:
                    self.watch(_BY_NUMBER[value], self.plan.of(_BY_NUMBER[value]))
            elif kind == WARNING:
                context.warn(str(failure(self.program, index, number, data[16:])))
            else:
                raise failure(self.program, index, number, data[16:])

    def _ended(self, pid: int) -> bool:
        """Whether a child that closed the baton has ended: executed programs are still there, or ended later.

        ocifw-init closes the baton without a word only by executing or by dying; a program that was executed has
        another name, unless it is over already, which its exit status cannot tell from a death of ocifw-init. So:
        whoever died by SIGKILL or of a broken ocifw-init (SIGSEGV, SIGBUS, SIGSYS) while still being ocifw-init.
        """
        try:
            info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        if info is None or info.si_code == os.CLD_EXITED:
            return False
        try:
            with open(f"/proc/{pid}/comm", "rb", buffering=0) as file:
                return bool(file.read(32) == b"ocifw-init\n")
        except OSError:
            return False

    def _vanished(self, pid: int) -> OcifwError:
        """The error about a container process that ended without a word."""
        status = "ended unexpectedly"
        try:
            info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            if info is not None and info.si_code != os.CLD_EXITED:
                status = f"was killed by signal {info.si_status}"
        except ChildProcessError:
            pass
        hint = " (out of memory? the memory limit may be too low)" if status.endswith(" 9") else ""
        return OcifwError(f"container init {status}{hint}")


def _take_unified(program: list[ContainerStep]) -> tuple[int, JoinCgroup] | None:
    """Take the step that joins a cgroup v2 out of the program: its index, and the step. See `JoinCgroup`.

    Only from among the first steps, which join cgroups: on which CPUs the process moves into them may be said before.
    """
    for index, step in enumerate(program):
        if not isinstance(step, JoinCgroup):
            break
        if os.path.basename(step.path) == "cgroup.procs":
            del program[index]
            return index, step
    return None


def failure(program: Sequence[ContainerStep], index: int, number: int, text: bytes) -> OcifwError:
    """The error that a message ERROR or WARNING tells of."""
    call, _, detail = text.decode("utf-8", "surrogateescape").rstrip("\0").partition("\0")
    if index >= len(program):
        return OcifwError(f"ocifw-init: {call}: {detail}: errno {number}")
    return StepFailed(program[index], number, call, detail)


def apply(step: RuntimeStep, context: Context) -> None:
    """Apply a runtime step; a system call's error becomes one that names phase, plugin, object and errno."""
    try:
        step.apply(context)
    except OSError as error:
        raise StepFailed(step, error.errno or 0, "", _file(error)) from error


def _file(error: OSError) -> str:
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if name]
    return " ".join(names) if names else ("" if error.errno else str(error))


def undo(steps: Iterable[RuntimeStep], context: Context) -> list[str]:
    """Take steps back in reverse order, all of them, whatever happens. Returns what could not be taken back."""
    context.undoing = True
    left = []
    for step in reversed(list(steps)):
        try:
            step.undo(context)
        except Exception as error:
            left.append(f"{step.phase}: {step.plugin}: undo {step.describe()}: {error}")
            context.warn(left[-1])
    context.undoing = False
    return left


def apply_all(steps: Iterable[RuntimeStep], context: Context) -> None:
    """Apply the steps of an operation (pause, update, …); when one fails, those before are taken back."""
    applied: list[Any] = []
    for step in steps:
        try:
            applied.append(step)
            apply(step, context)
        except BaseException:
            undo([done for done in applied if done.undoable], context)
            raise
