"""RunHook: run a hook on the runtime's side, wait for it, and say how it failed.

posix_spawn(3) instead of a fork of the interpreter: the memory of a large process is not copied, and nothing of Python
runs in the child. The hook gets nothing but three streams, an environment and a working directory that no image chose;
signals are as in a fresh process, and it has a process group of its own, so that it can be killed with its children.
"""

from __future__ import annotations

import os
from _thread import allocate_lock, start_new_thread
from errno import EAGAIN, EINTR, ENOSYS
from select import POLLIN, poll
from time import monotonic

from ocifw import document
from ocifw.errors import StepFailed, errno_text
from ocifw.linux._kernel import numbers, syscall
from ocifw.linux.memfd import sealed
from ocifw.linux.pidfd import pidfd_open
from ocifw.steps import RuntimeStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ocifw.context import Context

OUTPUT_LIMIT_BYTES = 4096
"""How much of the end of each stream is kept for the error."""

_READ_BYTES = 65536
# More than a pipe holds: what a hook has written before it ended is read, what children left behind write, is not.
_READS_AFTER_END = 32
# A signal for us that comes just before poll(2) does not wake it: it is noticed after this time.
_SLICE_MS = 500.0
_SIGKILL = 9
_CLONE_FS = 0x200
# Every signal but SIGKILL, SIGSTOP and the two that glibc keeps for itself.
_SIGNALS = [number for number in range(1, 65) if number not in (9, 19, 32, 33)]


class RunHook(RuntimeStep):
    """Run a hook with the state document on its standard input; anything but exit status 0 is an error.

    env: the whole environment. timeout_s: 0 is none; then the hook is killed. status: in the state document. kind and
    index: which entry of config.json it is.
    """

    at_restore = True
    _text = "run {kind} hook {path}"
    path: str
    args: tuple[str, ...]
    env: tuple[str, ...]
    timeout_s: int
    status: str
    kind: str
    index: int = 0

    def apply(self, context: Context) -> None:
        pid = 0 if self.status == "stopped" else context.pid
        state = document.dump(context.oci_state(self.status, pid)).encode()
        began = monotonic()
        text = ""
        try:
            status, out, err = run(self.path, self.args, self.env, state, self.timeout_s)
        except TimedOut as error:
            status, out, err = -_SIGKILL, error.out, error.err
            text = f"hook ran past specified timeout of {float(self.timeout_s):.1f}s"
            if out or err:
                text += f", stdout: {_text(out)}, stderr: {_text(err)}"
        except OSError as error:
            raise StepFailed(self, error.errno or 0, "execve", self.path) from error
        duration_ms = int((monotonic() - began) * 1000)
        context.note_program(self, self.path, status, out, err, duration_ms)
        if status:
            text = text or f"{_status_text(status)}, stdout: {_text(out)}, stderr: {_text(err)}"
            raise StepFailed(self, 0, "hook", text)

    def failure(self, number: int, call: str, detail: str) -> str:
        # runc's sentences, which people and engines know.
        reason = f"fork/exec {detail}: {errno_text(number)}" if number else detail
        return f"error running {self.kind} hook #{self.index}: {reason}"


class TimedOut(TimeoutError):
    """A program was killed because it ran too long. out, err: the ends of its outputs."""

    def __init__(self, text: str, out: bytes, err: bytes) -> None:
        super().__init__(text)
        self.out, self.err = out, err


def run(
    path: str, args: Sequence[str], env: Sequence[str], stdin: bytes, timeout_s: float = 0
) -> tuple[int, bytes, bytes]:
    """Run a program to its end: its exit status (-N for signal N) and the ends of its two outputs.

    Returns when the program has ended, even if processes that it left behind hold its outputs open.
    Raises TimedOut after `timeout_s` seconds (0: never), when it was killed with its process group; OSError when it
    cannot be executed.
    """
    fds: list[int] = []
    try:
        fds.append(sealed("hook-stdin", stdin))
        os.lseek(fds[0], 0, os.SEEK_SET)
        fds += os.pipe2(os.O_CLOEXEC)
        fds += os.pipe2(os.O_CLOEXEC)
        state, out, out_write, err, err_write = fds
        pid = _spawn(path, args, env, (state, out_write, err_write))
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    for fd in (state, out_write, err_write):
        os.close(fd)
    ended = False
    try:
        tails = {out: bytearray(), err: bytearray()}
        ended = _read(pid, tails, timeout_s)
        if not ended:
            text = f"{path} did not end within {timeout_s} s"
            raise TimedOut(text, bytes(tails[out]), bytes(tails[err]))
    finally:
        if not ended:
            _kill_group(pid)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(out)
        os.close(err)
    return status, bytes(tails[out]), bytes(tails[err])


def _spawn(path: str, args: Sequence[str], env: Sequence[str], streams: Sequence[int]) -> int:
    """Start the program in a process group of its own and in `/`. Returns its pid."""
    actions: list[tuple[int, ...]] = [
        (os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams)
    ]
    # What the caller of the runtime passed (--preserve-fds) is for the container, not for hooks.
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2 and _inherited(fd):
            actions.append((os.POSIX_SPAWN_CLOSE, fd))

    def spawn() -> int:
        syscall(numbers["unshare"], _CLONE_FS)
        os.chdir("/")
        return os.posix_spawn(
            path,
            list(args),
            _environment(env),
            file_actions=actions,
            setpgroup=0,
            setsigmask=(),
            setsigdef=_SIGNALS,
        )

    return _in_thread(spawn)


def _in_thread(function: Callable[[], int]) -> int:
    """Call a function in a thread of its own; returns what it does, raises what it raises.

    posix_spawn(3) cannot change the directory for the child only, and that of the process is everybody's: a thread can
    have one of its own (unshare(2), CLONE_FS), and takes it along when it ends.
    """
    pids: list[int] = []
    errors: list[BaseException] = []
    running = allocate_lock()

    def work() -> None:
        try:
            pids.append(function())
        except BaseException as error:
            errors.append(error)
        finally:
            running.release()

    running.acquire()
    start_new_thread(work, ())
    try:
        running.acquire()
    except BaseException:
        # Interrupted: a program that was started meanwhile must not be left behind.
        running.acquire()
        for pid in pids:
            _kill_group(pid)
            os.waitpid(pid, 0)
        raise
    if errors:
        raise errors[0]
    return pids[0]


def _read(pid: int, tails: dict[int, bytearray], timeout_s: float) -> bool:
    """Read the outputs until the program ends. Returns False when the time is over before."""
    deadline = monotonic() + timeout_s if timeout_s else None
    try:
        pidfd = pidfd_open(pid)
    except OSError as error:
        if error.errno != ENOSYS:
            raise
        # Before Linux 5.3 the end of both outputs is taken for the program's.
        pidfd = -1
    try:
        waiting = poll()
        for fd in (*tails, pidfd):
            if fd >= 0:
                waiting.register(fd, POLLIN)
        open_fds = set(tails)
        for fd in tails:
            os.set_blocking(fd, False)
        while open_fds or pidfd >= 0:
            left_ms = _SLICE_MS
            if deadline is not None:
                left_ms = min(left_ms, max(0.0, (deadline - monotonic()) * 1000))
            ready = dict(waiting.poll(left_ms))
            if not ready:
                if deadline is not None and monotonic() >= deadline:
                    return False
                continue
            ended = pidfd in ready
            for fd in list(open_fds):
                if (fd in ready or ended) and _drain(fd, tails[fd]):
                    waiting.unregister(fd)
                    open_fds.discard(fd)
            if ended:
                return True
    finally:
        if pidfd >= 0:
            os.close(pidfd)
    return True


def _drain(fd: int, tail: bytearray) -> bool:
    """Read what is there, keep the end of it. Returns whether nothing more will come."""
    for _ in range(_READS_AFTER_END):
        try:
            data = os.read(fd, _READ_BYTES)
        except OSError as error:
            if error.errno in (EAGAIN, EINTR):
                return False
            raise
        if not data:
            return True
        tail += data
        del tail[:-OUTPUT_LIMIT_BYTES]
    return False


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, _SIGKILL)
    except ProcessLookupError:
        pass


def _inherited(fd: int) -> bool:
    """Whether a child gets this file descriptor. One that is closed meanwhile (the folder's own) is none."""
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def _environment(env: Sequence[str]) -> Mapping[str, str]:
    """As execve(2) would take it, but a name that comes twice has its last value."""
    return {name: value for name, _, value in (entry.partition("=") for entry in env)}


def _status_text(status: int) -> str:
    """How Go says it, and so runc: `exit status 1`, `signal: killed`."""
    if status >= 0:
        return f"exit status {status}"
    from signal import strsignal

    return f"signal: {(strsignal(-status) or str(-status)).lower()}"


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace")
