"""Processes by file descriptor, which cannot come to mean another process: pidfd_open(2), kernel 5.3."""

from __future__ import annotations

from ._kernel import numbers, syscall


def pidfd_open(pid: int, flags: int = 0) -> int:
    """pidfd_open(2): a file descriptor, close-on-exec, readable when the process ends. ESRCH: there is none.

    A pid read from a file may have been given to another process since: compare its start time *after* opening.
    """
    return syscall(numbers["pidfd_open"], pid, flags)


def pidfd_send_signal(pidfd: int, sig: int) -> None:
    """pidfd_send_signal(2), kernel 5.1; signal 0 only checks. ESRCH: it has ended and was waited for."""
    syscall(numbers["pidfd_send_signal"], pidfd, sig, None, 0)
