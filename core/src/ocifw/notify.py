"""NOTIFY_SOCKET: what the container's service says to the host's service manager. See sd_notify(3).

The container gets a socket of its own. Of what comes there only READY=1 goes on to the host's socket, followed by
MAINPID=, for the container cannot know its pid there; anything else (MAINPID=, FDSTORE=1) would let it act on the
host's service manager.
"""

from __future__ import annotations

import os
from select import POLLIN, poll

from .errors import OcifwError, errno_text
from .linux.unix import SOCK_DGRAM, bind, connect, receive_message, send_message

FOLDER = "notify"
"""In the container's state folder; mounted at /run/notify."""
SOCKET = "notify.sock"
_LIMIT_BYTES = 4096
_BARRIER_MS = 30_000


class Proxy:
    """The socket in `STATE/notify/`. `forward` is called when `fileno()` is readable; -1 when there is no more to do."""

    def __init__(self, host_socket: str, state_dir: str) -> None:
        """host_socket: the path, or @NAME, in NOTIFY_SOCKET. Raises OcifwError for any other address.

        Nothing is done before `listen`, since the state folder may not be there yet.
        """
        if host_socket[:1] not in ("/", "@"):
            raise OcifwError(
                f"NOTIFY_SOCKET: {host_socket!r} is neither a path nor an abstract name"
            )
        self._host_socket = host_socket
        self._state_dir = state_dir
        self._fd = -1
        self._done = False

    def listen(self) -> None:
        """Make the socket, before the program can look for it. Every user of the container may write to it."""
        if self._fd >= 0 or self._done:
            return
        path = f"{self._state_dir}/{FOLDER}"
        try:
            try:
                os.mkdir(path, 0o755)
            except FileExistsError:
                pass
            folder = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                # By the folder's fd: the state root may be longer than a socket's address.
                socket = f"/proc/self/fd/{folder}/{SOCKET}"
                self._fd = bind(socket, SOCK_DGRAM)
                os.chmod(socket, 0o666)  # noqa: S103 -- the folder above is only the container's
            finally:
                os.close(folder)
        except OSError as error:
            raise OcifwError(f"{path}/{SOCKET}: {errno_text(error.errno or 0)}") from error

    def fileno(self) -> int:
        return self._fd

    def forward(self, pid: int) -> bool:
        """Read a message; pass READY on, once. pid: of the container process. Returns whether it was READY.

        Raises OcifwError when the host's socket cannot be reached.
        """
        data, fds = receive_message(self._fd, _LIMIT_BYTES)
        for fd in fds:
            os.close(fd)
        ready = next((line for line in data.split(b"\n") if line.startswith(b"READY=")), b"")
        if not ready:
            return False
        self._to_host([(ready + b"\n", ()), (f"MAINPID={pid}\n".encode(), ())])
        self.close()
        return True

    def wait(self, pid: int, pidfd: int) -> None:
        """Until READY has come and the service manager has read it, or the process has ended: for `start`."""
        self.listen()
        waiting = poll()
        waiting.register(self._fd, POLLIN)
        waiting.register(pidfd, POLLIN)
        while True:
            ready = [fd for fd, _ in waiting.poll()]
            if self._fd in ready:
                if self.forward(pid):
                    self._barrier()
                    return
            elif pidfd in ready:
                self.close()
                return

    def close(self) -> None:
        """Stop. The socket file goes with the state folder."""
        self._done = True
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _barrier(self) -> None:
        """sd_notify_barrier(3): our process may end, and its messages be thrown away, before they were attributed."""
        read_end, write_end = os.pipe()
        try:
            self._to_host([(b"BARRIER=1", (write_end,))])
            os.close(write_end)
            write_end = -1
            waiting = poll()
            waiting.register(read_end, 0)
            waiting.poll(_BARRIER_MS)
        finally:
            os.close(read_end)
            if write_end >= 0:
                os.close(write_end)

    def _to_host(self, messages: list[tuple[bytes, tuple[int, ...]]]) -> None:
        try:
            host = connect(self._host_socket, SOCK_DGRAM)
            try:
                for data, fds in messages:
                    send_message(host, data, fds)
            finally:
                os.close(host)
        except OSError as error:
            raise OcifwError(
                f"NOTIFY_SOCKET {self._host_socket}: {errno_text(error.errno or 0)}"
            ) from error
