"""Signalling every process of a container, those included that are forked meanwhile."""

from __future__ import annotations

import os
from errno import ENODEV, ENOENT

from ocifw.errors import OcifwError
from ocifw.step import RuntimeStep

from .controllers.freezer import freeze, thaw
from .files import write
from .processes import pids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocifw.context import Context

SIGKILL = 9
_ROUNDS = 1000


class KillCgroup(RuntimeStep):
    """Send a signal to every process in a cgroup and below.

    SIGKILL on v2 is one write to cgroup.kill. Otherwise the cgroup is frozen meanwhile, if it can be, so that nobody forks
    unseen, and thawed in any case: a frozen process of v1 does not even die. freezer: the file of the freezer's note, or "".
    """

    _text = "send signal {signal} to all processes of cgroup {folder}"
    folder: str
    signal: int
    freezer: str = ""
    unified: bool = False

    def apply(self, context: Context) -> None:
        if self.signal == SIGKILL and self.unified and _kill_v2(self.folder):
            if self.freezer:
                thaw(self.freezer)
            return
        if not self.freezer or not os.path.exists(self.freezer):
            signal_all(self.folder, self.signal)
            return
        try:
            try:
                freeze(self.freezer)
            except OcifwError as error:
                # Listing again and again reaches those who fork, too, as long as they are not faster.
                context.warn(str(error))
            except OSError as error:
                if error.errno not in (ENOENT, ENODEV):
                    raise
            finally:
                signal_all(self.folder, self.signal)
        finally:
            thaw(self.freezer)


def _kill_v2(folder: str) -> bool:
    """cgroup.kill (kernel 5.14) ends all processes below at once, frozen ones too. False: there is no such file."""
    try:
        write(f"{folder}/cgroup.kill", "1")
    except FileNotFoundError:
        return False
    return True


def signal_all(folder: str, signal: int) -> None:
    """Send a signal to each process of a cgroup and below once, until no new ones appear."""
    signalled: set[int] = set()
    for _ in range(_ROUNDS):
        found = [pid for pid in pids(folder) if pid not in signalled]
        if not found:
            return
        for pid in found:
            try:
                os.kill(pid, signal)
            except ProcessLookupError:
                pass
        signalled.update(found)
