"""Waiting for a process in the foreground: signals are passed on, orphans are reaped, its exit status is returned.

All signals are blocked before the process exists and read from a signalfd(2), so that none is lost and nothing is
done in a handler. The process itself starts with an empty mask: see `spawn` in native/kernel.c.
"""

from __future__ import annotations

import os
from _signal import (  # type: ignore[import-not-found]  # typeshed knows signal only
    SIG_BLOCK,
    SIG_SETMASK,
    pthread_sigmask,
)
from _struct import iter_unpack
from select import POLLIN, poll

from .errors import OcifwError, errno_text
from .linux._kernel import numbers, syscall
from .linux.pidfd import pidfd_open, pidfd_send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .notify import Proxy
    from .terminal import Console

SIGPIPE, SIGCHLD, SIGURG, SIGWINCH = 13, 17, 23, 28
_ALL = range(1, 65)
# 32 and 33 are the C library's, whose functions refuse to block them.
_BLOCKED = [number for number in _ALL if number not in (32, 33)]
_MASK = (2**64 - 1).to_bytes(8, "little")
_SFD_NONBLOCK = 0o4000
_SFD_CLOEXEC = 0o2000000
_SIGINFO = "<IiiI112x"
_SIGINFO_BYTES = 128
_PR_SET_CHILD_SUBREAPER = 36


class Supervisor:
    """Made before the process is, closed when all is over. Between, the caller's signals wait, and then reach the process.

    subreaper: be the parent of the container's orphans (PR_SET_CHILD_SUBREAPER), to reap them.
    """

    def __init__(self, subreaper: bool = True) -> None:
        self._ended: dict[int, int] = {}
        self._before = pthread_sigmask(SIG_BLOCK, _BLOCKED)
        self._signals = -1
        try:
            flags = _SFD_NONBLOCK | _SFD_CLOEXEC
            self._signals = syscall(numbers["signalfd4"], -1, _MASK, len(_MASK), flags)
            if subreaper:
                syscall(numbers["prctl"], _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        except BaseException:
            self.close()
            raise

    def wait(self, pid: int, console: Console | None = None, notify: Proxy | None = None) -> int:
        """Wait for a child to end. Returns its exit status, 128+N when signal N ended it.

        Meanwhile signals are passed on to it, except SIGCHLD, SIGURG (which Go programs send to themselves), and SIGWINCH,
        which changes the console's size; the console is copied, and after the end what is left in it; NOTIFY_SOCKET
        messages are passed on. Raises OcifwError when the process is no child of this one.
        """
        if notify is not None:
            notify.listen()
        try:
            pidfd = pidfd_open(pid)
        except OSError as error:
            raise OcifwError(f"wait for process {pid}: {errno_text(error.errno or 0)}") from error
        try:
            while pid not in self._ended:
                self._wait_once(pid, pidfd, console, notify)
            if console is not None:
                console.finish()
        finally:
            os.close(pidfd)
            if notify is not None:
                notify.close()
        return self._ended.pop(pid)

    def close(self) -> None:
        """Give the caller's signal mask back. Signals that came too late to be passed on are dropped: unblocked, they
        would end this process, whose exit status is the container's.
        """
        if self._signals >= 0:
            try:
                while os.read(self._signals, 16 * _SIGINFO_BYTES):
                    pass
            except BlockingIOError:
                pass
            os.close(self._signals)
            self._signals = -1
        pthread_sigmask(SIG_SETMASK, self._before)

    def _wait_once(
        self, pid: int, pidfd: int, console: Console | None, notify: Proxy | None
    ) -> None:
        interest = [(self._signals, POLLIN), (pidfd, POLLIN)]
        if console is not None:
            interest += console.interest()
        if notify is not None and notify.fileno() >= 0:
            interest.append((notify.fileno(), POLLIN))
        waiting = poll()
        for fd, events in interest:
            waiting.register(fd, events)
        ready = dict(waiting.poll())
        if self._signals in ready:
            self._pass_on(pidfd, console)
        if console is not None:
            console.copy(ready)
        if notify is not None and notify.fileno() in ready:
            self._notify(notify, pid)
        if pidfd in ready:
            self._reap()
            if pid not in self._ended:
                raise OcifwError(f"the exit status of process {pid} went to another parent")

    def _notify(self, notify: Proxy, pid: int) -> None:
        """Pass a message on. The container does not suffer from a service manager that is not there."""
        try:
            notify.forward(pid)
        except OcifwError as error:
            from . import log

            log.warning(str(error))
            notify.close()

    def _pass_on(self, pidfd: int, console: Console | None) -> None:
        """Read the signals that came, and do with each what belongs to it."""
        try:
            data = os.read(self._signals, 16 * _SIGINFO_BYTES)
        except BlockingIOError:
            return
        for number, _, _, sender in iter_unpack(_SIGINFO, data):
            if number == SIGCHLD:
                self._reap()
            elif number == SIGWINCH:
                if console is not None:
                    console.resize()
            elif number == SIGURG or (number == SIGPIPE and sender == os.getpid()):
                # SIGPIPE of our own: a reader of what is copied has gone.
                continue
            else:
                try:
                    pidfd_send_signal(pidfd, number)
                except ProcessLookupError:
                    continue

    def _reap(self) -> None:
        """Take the status of every child that has ended: the process, and orphans that came to us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            signal = status & 0x7F
            self._ended[pid] = 128 + signal if signal else status >> 8
