"""Steps on the resctrl filesystem: groups are folders, and what they allow is in their file `schemata`."""

from __future__ import annotations

import os
from errno import ENOENT

from ocifw.errors import OcifwError, errno_name, errno_text
from ocifw.steps import RuntimeStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocifw.context import Context

_LIMIT_BYTES = 65536


class MakeGroup(RuntimeStep):
    """Make a group that was not there while planning. If somebody else has made it since, its schemata must be `lines`.

    Only what was made here is taken back: notes["rdt"]["made"] remembers it.
    """

    _text = "make RDT group {folder}"
    undoable = True
    folder: str
    lines: tuple[str, ...]

    def apply(self, context: Context) -> None:
        try:
            os.mkdir(self.folder, 0o755)
        except FileExistsError:
            object.__setattr__(self, "_found", True)
            compare(self.folder, self.lines)
            return
        context.notes.setdefault("rdt", {}).setdefault("made", []).append(self.folder)

    def undo(self, context: Context) -> None:
        notes = context.notes.get("rdt")
        ours = self.was_applied if notes is None else self.folder in notes["made"]
        if "_found" in self.__dict__ or not ours:
            return
        try:
            # The kernel moves what is in there to the default group.
            os.rmdir(self.folder)
        except FileNotFoundError:
            pass


class WriteSchemata(RuntimeStep):
    """Write lines to a group's schemata, in one write. The kernel's reason is part of the error."""

    _text = "set RDT schemata of {folder}"
    undoable = True
    folder: str
    lines: tuple[str, ...]

    def apply(self, context: Context) -> None:
        path = f"{self.folder}/schemata"
        object.__setattr__(self, "_before", _before(read(path), self.lines))
        try:
            _write(path, "\n".join(self.lines) + "\n")
        except OSError as error:
            number = error.errno or 0
            reason = f"{errno_text(number)} ({errno_name(number)})"
            status = last_status(self.folder)
            raise OcifwError(
                f"{self.phase}: {self.plugin}: {self.describe()}: write {'; '.join(self.lines)}: {reason}"
                + (f": {status}" if status else "")
            ) from error

    def undo(self, context: Context) -> None:
        """Of `update`, in the same process: what was there before. Else the group itself goes."""
        before = self.__dict__.get("_before")
        if not before:
            return
        try:
            _write(f"{self.folder}/schemata", "\n".join(before) + "\n")
        except FileNotFoundError:
            pass


class CompareSchemata(RuntimeStep):
    """Make sure that a group which was there allows exactly what is asked for, as far as it is asked for."""

    _text = "compare RDT schemata of {folder}"
    folder: str
    lines: tuple[str, ...]

    def apply(self, context: Context) -> None:
        compare(self.folder, self.lines)


class JoinGroup(RuntimeStep):
    """Move the container process into a group."""

    at_restore = True
    _text = "join RDT group {folder}"
    folder: str

    def apply(self, context: Context) -> None:
        _write(f"{self.folder}/tasks", str(context.pid))


def compare(folder: str, lines: tuple[str, ...]) -> None:
    """Raises OcifwError when a group's schemata differ from these lines in any domain that they name."""
    found = parse(read(f"{folder}/schemata").splitlines())
    for kind, domains in parse(lines).items():
        for domain, value in domains.items():
            has = found.get(kind, {}).get(domain)
            if has != value:
                raise OcifwError(
                    f"RDT group {folder} exists, but with other schemata:"
                    f" {kind}:{domain} is {'absent' if has is None else format(has, 'x')},"
                    f" asked for is {value if isinstance(value, str) else format(value, 'x')}"
                )


def parse(lines: list[str] | tuple[str, ...]) -> dict[str, dict[str, int | str]]:
    """Schemata by resource and domain. Numbers are compared as such: the kernel pads them. Of two lines the last counts."""
    found: dict[str, dict[str, int | str]] = {}
    for line in lines:
        kind, _, rest = line.strip().partition(":")
        domains = found.setdefault(kind.strip(), {})
        for part in rest.split(";"):
            domain, equals, value = part.partition("=")
            if equals:
                try:
                    domains[domain.strip()] = int(value.strip(), 16)
                except ValueError:
                    domains[domain.strip()] = value.strip()
    return found


def read(path: str) -> str:
    """A small file as text. Raises OSError."""
    with open(path, "rb", buffering=0) as file:
        return (file.read(_LIMIT_BYTES) or b"").decode("utf-8", "replace")


def last_status(folder: str) -> str:
    """What the kernel says about the last write that failed, "" for nothing: info/last_cmd_status at the top."""
    while folder.strip("/"):
        try:
            status = read(f"{folder}/info/last_cmd_status").strip()
        except OSError as error:
            if error.errno != ENOENT:
                return ""
            folder = os.path.dirname(folder)
        else:
            return "" if status == "ok" else status
    return ""


def _before(text: str, lines: tuple[str, ...]) -> list[str]:
    """The lines of these resources as they are now."""
    kinds = set(parse(lines))
    return [line.strip() for line in text.splitlines() if line.strip().partition(":")[0] in kinds]


def _write(path: str, text: str) -> None:
    """One write(2), which the kernel takes as a whole."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)
