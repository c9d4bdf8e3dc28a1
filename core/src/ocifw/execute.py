"""Executing a plan: the runtime's side of the baton, and taking back what was done when a step fails.

The protocol is in native/README.md. The runtime applies its own steps of a phase when the container process passes the
baton for it. Steps that leave something behind are journaled before they are applied; when anything fails, the
container process is ended, the journal's steps are undone in reverse order, and the first error is raised.
"""

from __future__ import annotations

import os
import time
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
from .steps import JoinCgroup, PassBaton

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
CLONED, PASS, ERROR, WARNING, REPORT, OUTPUT = 10, 11, 12, 13, 14, 15
MESSAGE_LIMIT = 8192
MESSAGE_FDS = 250
NO_STEP = 0xFFFFFFFF
SIGKILL = 9
_TRIES = 5000
_PAUSE_S = 0.0002

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

    def applied(self) -> None:
        """Note that the step written down last was applied."""
        os.write(self.fd, b'{"applied":true}\n')

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
    steps: list[RuntimeStep] = []
    for line in lines[:-1]:
        entry = document.parse(line, path)
        if "applied" in entry:
            object.__setattr__(steps[-1], "was_applied", True)
        else:
            steps.append(from_document(entry))
    return steps


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
        self.apply_steps(steps)

    def apply_steps(self, steps: Iterable[RuntimeStep]) -> None:
        """Apply runtime steps in order; those that can be undone are in the journal before."""
        for step in steps:
            journal = self.journal if step.undoable else None
            if journal is not None:
                journal.record(step)
            if step.undoable:
                self.applied.append(step)
            apply(step, self.context)
            if journal is not None:
                journal.applied()

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
            return spawn(init, baton, preserve_fds, -1, *self.plan.request.streams)
        index, join = self._born_in
        try:
            cgroup = os.open(os.path.dirname(join.path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                return spawn(init, baton, preserve_fds, cgroup, *self.plan.request.streams)
            finally:
                os.close(cgroup)
        except OSError:
            # An old kernel, a sandbox without clone3, or a cgroup that cannot be joined: the step tells which.
            self.program.insert(index, join)
            self._code = encode(self.program, self._slots)
            return spawn(init, baton, preserve_fds, -1, *self.plan.request.streams)

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
        # Given away: who is at the other end of a socket waits for its end.
        for name in ready:
            os.close(self.context.fds.pop(name))

    def _send_rows(self, kind: int, rows: list[tuple[int, int]], before: list[int]) -> None:
        data = pack(f"<IIiI{len(rows)}I", kind, 0, 0, len(rows), *[slot for slot, _ in rows])
        try:
            send_message(self._baton, data, [*before, *[fd for _, fd in rows]])
        except BrokenPipeError:
            raise self._vanished(self.context.pid or next(iter(self._children))) from None

    def _converse(self, created: Callable[[], None] | None) -> None:
        """Answer the container's side until it is alone: created, or executed."""
        context = self.context
        intermediate = next(iter(self._children))
        # How often the baton will still come: never, and nothing is left to do here but to see the program executed.
        expected = len([step for step in self.program if isinstance(step, PassBaton)])
        while True:
            try:
                data, fds = receive_message(self._baton, MESSAGE_LIMIT)
            except ConnectionResetError:
                # The other side ended before it had read what we sent.
                data, fds = b"", []
            for fd in fds:
                os.close(fd)
            if not data:
                if context.pid and not expected and _executed(context.pid):
                    return
                raise self._vanished(context.pid or intermediate)
            kind, index, number, value = unpack_from("<IIiI", data)
            if kind == CLONED:
                self._children.add(value)
                context.pid = value
                try:
                    os.waitpid(intermediate, 0)
                except ChildProcessError:
                    # Its status went to nobody, or, in a library, to somebody who waits for every child.
                    pass
                self._children.discard(intermediate)
            elif kind == PASS:
                phase = _BY_NUMBER[value]
                expected -= 1
                try:
                    self._apply(phase)
                except Exception as error:
                    if _ended(context.pid):
                        raise OcifwError(f"{error}: {self._vanished(context.pid)}") from error
                    raise
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
            elif kind == OUTPUT:
                note_output(context, self.program, index, number, value, data[16:])
            elif kind == WARNING:
                context.warn(str(failure(self.program, index, number, data[16:])))
            else:
                raise failure(self.program, index, number, data[16:])

    def _vanished(self, pid: int) -> OcifwError:
        """The error about a container process that ended without a word."""
        status = "ended unexpectedly"
        for _ in range(_TRIES):
            # It has closed the baton: its status may take a moment yet.
            if _ended(pid):
                break
            time.sleep(_PAUSE_S)
        try:
            info = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
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


def _ended(pid: int) -> bool:
    """Whether this child has ended; its status stays to be waited for."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _executed(pid: int) -> bool:
    """Whether a container process that closed the baton without a word did so by executing its program.

    ocifw-init does that only by executing or by dying. A program that was executed has another name than ocifw-init,
    even when it has ended since; execve(2) closes the baton a moment before it changes the name, and a process that
    dies closes it a moment before its status is there.
    """
    for _ in range(_TRIES):
        try:
            with open(f"/proc/{pid}/comm", "rb", buffering=0) as file:
                if file.read(32) != b"ocifw-init\n":
                    return True
        except OSError:
            # Its status went to nobody: the caller ignores SIGCHLD.
            return True
        if _ended(pid):
            return False
        time.sleep(_PAUSE_S)
    return True


def note_output(
    context: Context,
    program: Sequence[ContainerStep],
    index: int,
    status: int,
    duration_ms: int,
    text: bytes,
) -> None:
    """Keep what a message OUTPUT tells of a hook that ran in the container."""
    out, _, err = text.partition(b"\0")
    step = program[index]
    context.note_program(step, step.__dict__["path"], status, out, err, duration_ms)


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


def apply_each(steps: Iterable[RuntimeStep], context: Context) -> None:
    """Apply all steps, whatever happens: a failure is only a warning (runtime.md, Lifecycle: poststop hooks)."""
    for step in steps:
        try:
            apply(step, context)
        except OcifwError as error:
            context.warn(str(error))
