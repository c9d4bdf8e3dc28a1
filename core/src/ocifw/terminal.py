"""The other side of a container's pseudo-terminal: sent to an engine over its console socket, or copied by ourselves.

The container makes the terminal in its own devpts and sends the master as the payload's file descriptor: unix(7),
SCM_RIGHTS. See pty(7).
"""

from __future__ import annotations

import os
import termios
from _struct import pack, unpack
from fcntl import ioctl
from select import POLLIN, POLLOUT, poll

from .errors import OcifwError, errno_text
from .linux.unix import PATH_LIMIT_BYTES, SOCK_STREAM, connect, receive_message, socketpair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

STDIN, STDOUT = 0, 1
_CHUNK_BYTES = 4096
"""What a pipe or terminal that is ready takes without blocking (PIPE_BUF), and a terminal holds of input."""
_BUFFER_BYTES = 65536
_QUIET_MS = 100
"""How long after the process's end a terminal that somebody else holds open may be silent before it is left."""


class Console:
    """The master of a container's terminal, joined to standard input and output of this process.

    `container_end()` gives away the socket that the container sends the master over; `receive_master()` takes it and
    puts the caller's terminal in raw mode; `interest()` and `copy()` do the copying within somebody's poll(2);
    `close()` restores the caller's terminal, whatever happened.
    """

    def __init__(self) -> None:
        self._socket, self._theirs = socketpair()
        self._master = -1
        self._stdin_open = self._stdout_open = True
        self._to_master = bytearray()
        self._to_stdout = bytearray()
        self._saved: list[Any] | None = None

    def container_end(self) -> int:
        """The container's end of the socket. The caller owns it."""
        fd, self._theirs = self._theirs, -1
        return fd

    def receive_master(self) -> None:
        """Take the master, which the container has sent by now. Raises OcifwError when it has not."""
        if self._theirs >= 0:
            os.close(self.container_end())
        _, fds = receive_message(self._socket, _CHUNK_BYTES)
        if len(fds) != 1:
            for fd in fds:
                os.close(fd)
            raise OcifwError("the container did not send its terminal")
        self._master = fds[0]
        os.set_blocking(self._master, False)
        self.resize()
        self._set_raw()

    def resize(self) -> None:
        """Give the container's terminal the size of the caller's. Without one it stays as it is."""
        found = caller_size()
        if found and self._master >= 0:
            try:
                ioctl(self._master, termios.TIOCSWINSZ, pack("4H", *found, 0, 0))
            except OSError:
                # The other side was hung up; its reader learns it soon.
                return

    def interest(self) -> list[tuple[int, int]]:
        """What to wait for: pairs of file descriptor and poll(2) events."""
        wanted = []
        if self._master >= 0:
            events = POLLIN if len(self._to_stdout) < _BUFFER_BYTES else 0
            events |= POLLOUT if self._to_master else 0
            if events:
                wanted.append((self._master, events))
            if self._stdin_open and len(self._to_master) < _CHUNK_BYTES:
                wanted.append((STDIN, POLLIN))
        if self._to_stdout:
            wanted.append((STDOUT, POLLOUT))
        return wanted

    def copy(self, ready: Mapping[int, int]) -> None:
        """Copy what can be copied without waiting. ready: the events by file descriptor, as poll(2) tells them."""
        if ready.get(self._master, 0) & POLLOUT:
            self._write_master()
        if ready.get(self._master, 0) & ~POLLOUT:
            self._read_master()
        if STDIN in ready:
            self._read_stdin()
        if STDOUT in ready:
            self._write_stdout()

    def finish(self) -> None:
        """Copy what the process has left in the terminal, until its other side is closed everywhere, or silent."""
        waiting = poll()
        if self._master >= 0:
            waiting.register(self._master, POLLIN)
        while self._master >= 0 and waiting.poll(_QUIET_MS):
            self._read_master()
            self._flush()
        self._flush()

    def close(self) -> None:
        """Restore the caller's terminal and close everything."""
        if self._saved is not None:
            try:
                termios.tcsetattr(STDIN, termios.TCSADRAIN, self._saved)
            except termios.error:
                # The terminal was hung up.
                pass
            self._saved = None
        for fd in (self._socket, self._theirs, self._master):
            if fd >= 0:
                os.close(fd)
        self._socket = self._theirs = self._master = -1

    # -- copying ---------------------------------------------------------------------------------------------------

    def _read_master(self) -> None:
        try:
            data = os.read(self._master, _BUFFER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            # EIO: nobody holds the other side open any more.
            data = b""
        if data:
            self._to_stdout += data
        else:
            os.close(self._master)
            self._master = -1
            self._to_master.clear()

    def _write_master(self) -> None:
        try:
            del self._to_master[: os.write(self._master, self._to_master)]
        except BlockingIOError:
            return
        except OSError:
            self._to_master.clear()

    def _read_stdin(self) -> None:
        try:
            data = os.read(STDIN, _CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            # EIO: hung up, or in the background.
            data = b""
        self._to_master += data
        self._stdin_open = bool(data)

    def _write_stdout(self) -> None:
        if not self._stdout_open:
            self._to_stdout.clear()
            return
        try:
            del self._to_stdout[: os.write(STDOUT, self._to_stdout[:_CHUNK_BYTES])]
        except BlockingIOError:
            return
        except OSError:
            # Nobody reads it any more; the process may go on without.
            self._stdout_open = False
            self._to_stdout.clear()

    def _flush(self) -> None:
        waiting = poll()
        waiting.register(STDOUT, POLLOUT)
        while self._to_stdout:
            waiting.poll()
            self._write_stdout()

    def _set_raw(self) -> None:
        """cfmakeraw(3), when standard input is a terminal: every key goes to the container's, which has the modes."""
        try:
            mode = termios.tcgetattr(STDIN)
        except termios.error:
            return
        self._saved = [*mode[:6], list(mode[6])]
        iflag, oflag, cflag, lflag, ispeed, ospeed, characters = mode
        iflag &= ~(
            termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
            | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
        )  # fmt: skip
        oflag &= ~termios.OPOST
        lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        characters[termios.VMIN] = 1
        characters[termios.VTIME] = 0
        raw = [iflag, oflag, cflag, lflag, ispeed, ospeed, characters]
        termios.tcsetattr(STDIN, termios.TCSANOW, raw)


def caller_size() -> tuple[int, int] | None:
    """Rows and columns of the first terminal among 0 to 2; None for one that nobody gave a size, too.

    The step that makes the container's terminal should be told: `resize` comes when the program runs already.
    """
    for fd in (STDIN, STDOUT, 2):
        try:
            rows, columns, _, _ = unpack("4H", ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
        except OSError:
            continue
        return (rows, columns) if rows and columns else None
    return None


def connect_console_socket(path: str) -> int:
    """Connect to a socket that an engine waits at for a terminal or a pidfd. Returns the file descriptor, close-on-exec.

    Paths longer than a socket's address are reached through their folder. Raises OcifwError.
    """
    try:
        if len(os.fsencode(path)) <= PATH_LIMIT_BYTES:
            return connect(path, SOCK_STREAM)
        above, _, name = path.rpartition("/")
        folder = os.open(above or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return connect(f"/proc/self/fd/{folder}/{name}", SOCK_STREAM)
        finally:
            os.close(folder)
    except OSError as error:
        raise OcifwError(f"dial unix {path}: connect: {errno_text(error.errno or 0)}") from error
