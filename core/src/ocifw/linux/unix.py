"""Sockets of the local machine: unix(7), with SOCK_SEQPACKET unless another type is asked for.

By system call, because `_socket` costs 0.2 ms at start-up. All file descriptors are close-on-exec.
"""

from __future__ import annotations

from os import close, fsencode

from ._kernel import numbers, receive_message, send_message, syscall

__all__ = [
    "bind",
    "connect",
    "listen",
    "receive_message",
    "send_message",
    "shutdown",
    "socketpair",
]

MSG_DONTWAIT = 0x40
PATH_LIMIT_BYTES = 107

SOCK_STREAM = 1
SOCK_DGRAM = 2
SOCK_SEQPACKET = 5

_AF_UNIX = 1
_SOCK_CLOEXEC = 0o2000000
_TYPE = SOCK_SEQPACKET | _SOCK_CLOEXEC


def socketpair() -> tuple[int, int]:
    """socketpair(2): two connected sockets."""
    fds = bytearray(8)
    syscall(numbers["socketpair"], _AF_UNIX, _TYPE, 0, fds)
    return int.from_bytes(fds[:4], "little"), int.from_bytes(fds[4:], "little")


def listen(path: str, backlog: int = 8) -> int:
    """socket(2), bind(2), listen(2): a listening socket at `path`, which must not exist.

    EADDRINUSE: it does. ENAMETOOLONG: more than 107 bytes (go through /proc/self/fd/N then).
    """
    fd = bind(path)
    try:
        syscall(numbers["listen"], fd, backlog)
    except BaseException:
        close(fd)
        raise
    return fd


def bind(path: str, kind: int = SOCK_SEQPACKET) -> int:
    """socket(2), bind(2): a socket at `path`, which must not exist. Raises as `listen` does."""
    fd = syscall(numbers["socket"], _AF_UNIX, kind | _SOCK_CLOEXEC, 0)
    try:
        address = _address(path)
        syscall(numbers["bind"], fd, address, len(address))
    except BaseException:
        close(fd)
        raise
    return fd


def connect(path: str, kind: int = SOCK_SEQPACKET) -> int:
    """socket(2), connect(2); "@NAME" is an abstract address.

    ECONNREFUSED: nobody listens there any more. ENOENT: nobody ever did. EPROTOTYPE: another kind of socket.
    """
    fd = syscall(numbers["socket"], _AF_UNIX, kind | _SOCK_CLOEXEC, 0)
    try:
        address = _address(path)
        syscall(numbers["connect"], fd, address, len(address))
    except BaseException:
        close(fd)
        raise
    return fd


def shutdown(fd: int, how: int = 2) -> None:
    """shutdown(2): 0 ends receiving, 1 sending, 2 both."""
    syscall(numbers["shutdown"], fd, how)


def _address(path: str) -> bytes:
    """A struct sockaddr_un. OSError(ENAMETOOLONG), with the path, when it does not fit."""
    raw = fsencode(path)
    if len(raw) > PATH_LIMIT_BYTES:
        from errno import ENAMETOOLONG
        from os import strerror

        raise OSError(ENAMETOOLONG, strerror(ENAMETOOLONG), path)
    # An abstract name has no NUL at its end: that would be part of it.
    text = b"\0" + raw[1:] if raw[:1] == b"@" else raw + b"\0"
    return _AF_UNIX.to_bytes(2, "little") + text
