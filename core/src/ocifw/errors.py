"""What can go wrong, as exceptions that say where and with which value.

The command line prints `str(error)` on one line. Engines match on fixed parts of these texts (containerd on
`container not running`, docker and podman on `no such file or directory`), so errno texts are spelled the way
Go spells them: in lower case.
"""

from __future__ import annotations

import errno
import os

from .record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .steps import Step


def errno_text(number: int) -> str:
    """The text of an errno as engines match on it: `no such file or directory`."""
    text = os.strerror(number)
    return text[:1].lower() + text[1:]


def errno_name(number: int) -> str:
    """The kernel's name of an errno: `ENOENT`. An unknown number gives `errno 999`."""
    return errno.errorcode.get(number, f"errno {number}")


class Problem(Record):
    """One thing that is wrong with a document.

    path: where in the document, as `linux.namespaces[2].type`; empty for the whole of it.
    message: one sentence without the path, naming the value unless it may be a secret.
    origin: the file (and line) the value came from, where it is known.
    """

    path: str
    message: str
    origin: str = ""

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.origin, self.path) if part)
        return f"{place}: {self.message}" if place else self.message


class OcifwError(Exception):
    """Base of every error that is reported to the user in one line, without a traceback."""

    exit_code = 1


class UsageError(OcifwError):
    """The command line cannot be understood."""


class ConfigError(OcifwError):
    """A document (config.json, process.json, a profile) was refused; all its problems at once.

    problems: at least one `Problem`.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))


class ContainerError(OcifwError):
    """An operation that the container's status, or its absence, does not allow."""


class NotFound(ContainerError):
    """No container has this id under this state root."""

    def __init__(self, container_id: str) -> None:
        super().__init__("container does not exist")
        self.container_id = container_id


class WaitTimeout(OcifwError, TimeoutError):
    """A process of the library's did not end in time. It still runs."""


class PlanError(OcifwError):
    """The plugins' answers do not make a plan: a wrong type, two claims on one thing, an unowned field."""


class PluginError(OcifwError):
    """A plugin failed while answering a hook. The original exception is `__cause__`."""

    def __init__(self, plugin: str, hook: str, reason: str) -> None:
        super().__init__(f"plugin {plugin}: {hook}: {reason}")
        self.plugin = plugin
        self.hook = hook


class StepFailed(OcifwError):
    """A step of the plan failed while it was applied.

    Reads `PHASE: PLUGIN: what the step does: errno text (ERRNO)`; `call` names the failing system call and
    `detail` adds what the kernel or a program said.
    """

    def __init__(self, step: Step, number: int, call: str = "", detail: str = "") -> None:
        self.step = step
        self.errno = number
        self.call = call
        self.detail = detail
        where = f"{step.phase}: {step.plugin}: " if step.phase else ""
        text = where + (step.failure(number, call, detail) or self._default_text())
        super().__init__(text + (f" [{step.at}]" if step.at else ""))

    def _default_text(self) -> str:
        parts = [self.step.describe()]
        if self.call:
            parts.append(self.call)
        if self.detail:
            parts.append(self.detail)
        if self.errno:
            parts.append(f"{errno_text(self.errno)} ({errno_name(self.errno)})")
        return ": ".join(parts)
