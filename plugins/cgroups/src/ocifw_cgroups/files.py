"""Reading and writing the files of a cgroup, with few system calls and errors that say file, value and errno."""

from __future__ import annotations

import os
from errno import EBUSY, EINVAL, ENODEV, ENOENT

from ocifw.errors import StepFailed, errno_text
from ocifw.step import RuntimeStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ocifw.context import Context

    Write = tuple[tuple[str, str], ...]

NOTHING = ("", "")
"""The last alternative of a `Write` that is skipped when its files are not there."""


def read(path: str) -> str:
    """The content of a file without blanks around it. FileNotFoundError, or OSError(ENODEV): the cgroup is gone."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
    finally:
        os.close(fd)
    return b"".join(parts).decode().strip()


def read_or(path: str, otherwise: str) -> str:
    """The content of a file, or `otherwise` when it is not there, or not any more."""
    try:
        return read(path)
    except OSError as error:
        if error.errno not in (ENOENT, ENODEV):
            raise
        return otherwise


def write(path: str, value: str) -> None:
    """Write a value in one write(2). OSError: of open(2) with a filename, of write(2) without one."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


_UNSET = {"io.max": "rbps=max wbps=max riops=max wiops=max", "io.weight": "default"}
"""What takes a device's line out of a file, where it is not 0."""


def keyed_value(text: str, name: str) -> str:
    """The value of a line `NAME VALUE`; "0" when there is none."""
    for line in text.split("\n"):
        key, _, value = line.partition(" ")
        if key == name:
            return value
    return "0"


class WriteCgroup(RuntimeStep):
    """Write values into files of a cgroup: the limits of one controller.

    Each of `writes` is a tuple of alternatives, pairs of file and value: the first whose file is there is written;
    `NOTHING` as the last one says that none needs to be there. Values that only fit together in a certain order (a
    memory limit above the old swap limit, a period below the old quota) give EINVAL: they are written again after the
    others. warning: what the user is to know about settings that have no effect.
    """

    at_restore = True

    folder: str
    controller: str
    writes: tuple[Write, ...]
    warning: str = ""

    def describe(self) -> str:
        values = [f"{write[0][0]}={write[0][1]}" for write in self.writes]
        return f"write {', '.join(values)} to {self.controller} cgroup {self.folder}"

    def apply(self, context: Context) -> None:
        if self.warning:
            context.warn(self.warning)
        self._write(self.writes)

    def _write(self, writes: Iterable[Write]) -> None:
        again = []
        for one in writes:
            try:
                self._write_one(one)
            except StepFailed as failure:
                if failure.errno != EINVAL:
                    raise
                again.append(one)
        for one in again:
            self._write_one(one)

    def _write_one(self, alternatives: Write) -> None:
        for number, (name, value) in enumerate(alternatives, 1):
            if not name:
                return
            try:
                write(f"{self.folder}/{name}", value)
                return
            except FileNotFoundError:
                if number == len(alternatives):
                    raise self._failed(ENOENT, "open", name, value) from None
            except OSError as error:
                call = "open" if error.filename else "write"
                raise self._failed(error.errno or 0, call, name, value) from error

    def _failed(self, number: int, call: str, name: str, value: str) -> StepFailed:
        path = f"{self.folder}/{name}"
        if number == EBUSY and name == "memory.limit_in_bytes":
            usage = read_or(f"{self.folder}/memory.usage_in_bytes", "?")
            peak = read_or(f"{self.folder}/memory.max_usage_in_bytes", "?")
            text = f"unable to set memory limit to {value} (current usage: {usage}, peak usage: {peak})"
            return StepFailed(self, number, call, text)
        return StepFailed(self, number, call, f'failed to write "{value}": {call} {path}')

    def failure(self, number: int, call: str, detail: str) -> str:
        return f"{detail}: {errno_text(number)}"


class UpdateCgroup(WriteCgroup):
    """WriteCgroup on a container that is there: `undo` writes back what the files held before."""

    undoable = True

    def apply(self, context: Context) -> None:
        object.__setattr__(self, "_old", self._present())
        super().apply(context)

    def _present(self) -> list[Write]:
        """Writes that make the files what they are now."""
        present: list[Write] = []
        for write_ in self.writes:
            name = next((name for name, _ in write_ if os.access(f"{self.folder}/{name}", 4)), "")
            if name:
                present += [((name, value),) for value in self._restoring(name, write_)]
        return present

    def _restoring(self, name: str, write_: Write) -> Iterator[str]:
        """What to write for a file to be as it is now."""
        value = read(f"{self.folder}/{name}")
        changed = dict(write_)[name]
        if name == "memory.oom_control":
            yield keyed_value(value, "oom_kill_disable")
        elif "\n" not in value and ":" not in changed:
            # Weights of block devices are read as "default 100".
            yield value.removeprefix("default ")
        else:
            # A file with a line for each device, page size or interface: only the line that is changed.
            key = changed.split(" ", 1)[0]
            lines = [line for line in value.split("\n") if line.split(" ", 1)[0] == key]
            yield from lines or [f"{key} {_UNSET.get(name, '0')}"]

    def undo(self, context: Context) -> None:
        old: list[Write] = self.__dict__.get("_old") or []
        if old and os.path.isdir(self.folder):
            present = self._present()
            self._write([write_ for write_ in old if write_ not in present])
