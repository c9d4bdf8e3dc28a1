"""Telling when the kernel killed processes of a container for want of memory, for `events`."""

from __future__ import annotations

import os

from .files import keyed_value, read_or

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def watch(folders: Mapping[str, str]) -> OomEventsV1 | OomEventsV2 | None:
    """What tells of the container's OOM events; None where memory is not counted. folders: by controller."""
    if "memory" in folders:
        return OomEventsV1(folders["memory"])
    folder = folders.get("", "")
    if folder and os.path.exists(f"{folder}/memory.events"):
        return OomEventsV2(folder)
    return None


class OomEventsV1:
    """An eventfd that the kernel adds to for each OOM in a v1 cgroup, and once when the cgroup is removed."""

    def __init__(self, folder: str) -> None:
        """Raises OSError when the cgroup is gone or the caller may not watch it."""
        self._folder = folder
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            control = os.open(f"{folder}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._register(f"{self._event} {control}")
            finally:
                os.close(control)
        except BaseException:
            os.close(self._event)
            raise

    def _register(self, line: str) -> None:
        fd = os.open(f"{self._folder}/cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, line.encode())
        finally:
            os.close(fd)

    def fileno(self) -> int:
        return self._event

    def read(self) -> int:
        """The number of OOM events since the last call."""
        try:
            count = os.eventfd_read(self._event)
        except BlockingIOError:
            return 0
        return count if os.path.exists(self._folder) else 0

    def close(self) -> None:
        os.close(self._event)


class OomEventsV2:
    """The counter oom_kill in memory.events, whose changes the kernel tells by POLLPRI.

    The file itself is always readable; an epoll that waits for POLLPRI alone is readable when there is news.
    """

    def __init__(self, folder: str) -> None:
        from select import EPOLLPRI, epoll

        self._path = f"{folder}/memory.events"
        self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        self._news = epoll()
        self._news.register(self._file, EPOLLPRI)
        self._count = 0
        self.read()

    def fileno(self) -> int:
        return self._news.fileno()

    def read(self) -> int:
        """The number of processes killed since the last call."""
        self._news.poll(0)
        try:
            text = os.pread(self._file, 4096, 0).decode()
        except OSError:
            text = read_or(self._path, "")
        count = int(keyed_value(text, "oom_kill"))
        new, self._count = count - self._count, max(count, self._count)
        return max(new, 0)

    def close(self) -> None:
        self._news.close()
        os.close(self._file)
