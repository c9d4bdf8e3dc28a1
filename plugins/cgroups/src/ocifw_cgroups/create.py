"""Making and removing a container's cgroups."""

from __future__ import annotations

import os
import time
from errno import EBUSY, ENODEV, ENOENT, ENOTEMPTY

from ocifw.errors import OcifwError
from ocifw.step import RuntimeStep

from .files import read_or
from .placement import clean
from .processes import counted_in, pids, subtree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Context

_REMOVAL_PATIENCE_S = 2.0


class CreateCgroup(RuntimeStep):
    """Make the container's cgroup in every hierarchy, and note where: notes["cgroups"], "freezer" and "processes".

    folders: rows of the hierarchy's controllers (with commas, "" for v2), its mount point, and the cgroup's folder.
    cpus, mems: of a v1 cpuset, which cannot be joined without; "" for those of the cgroup above.
    domain: on v2, whether controllers that cannot be in a threaded cgroup are needed; None on v1 and hybrid hosts, whose
    v2 hierarchy only tracks processes.

    A cgroup that is there already is used when it has no processes and is not frozen. `undo` removes the container's
    cgroups with all below them, whether this step made them or found them, as runc does; cgroups above them that this
    step had to make stay, as with runc: other containers may be about to use them.
    """

    undoable = True
    adopted = False
    """Whether the cgroup is expected to be there already, with a process of ours."""

    folders: tuple[tuple[str, str, str], ...]
    cpus: str = ""
    mems: str = ""
    domain: bool | None = None

    def describe(self) -> str:
        return f"create cgroup {', '.join([folder for _, _, folder in self.folders])}"

    def apply(self, context: Context) -> None:
        made: list[str] = []
        try:
            for controllers, mountpoint, folder in self.folders:
                if _make(folder, mountpoint, self.domain):
                    made.append(folder)
                elif not self.adopted:
                    refuse_used(folder)
                if "cpuset" in controllers.split(","):
                    from .controllers.cpuset import fill

                    fill(folder, mountpoint, self.cpus, self.mems)
        except BaseException:
            for folder in reversed(made):
                _rmdir(folder)
            object.__setattr__(self, "_failed", True)
            raise
        object.__setattr__(self, "_made", made)
        self._note(context)

    def _note(self, context: Context) -> None:
        from .controllers.freezer import note

        folders = self.by_controller()
        context.notes["cgroups"] = folders
        context.notes["processes"] = [counted_in(folders)]
        freezer = note(folders)
        if freezer:
            context.notes["freezer"] = freezer

    def by_controller(self) -> dict[str, str]:
        """The folder of each controller; of v2 under ""."""
        return {name: folder for names, _, folder in self.folders for name in names.split(",")}

    def undo(self, context: Context) -> None:
        if "_failed" in self.__dict__:
            return
        made: Any = self.__dict__.get("_made", ())
        for _, _, folder in self.folders:
            if "cgroups" in context.notes:
                remove(folder, kill=folder in made)
            elif self.was_applied:
                # Of a `create` that was killed: what runs in there is the container, which nobody else knows of.
                remove(folder, kill=True)
            else:
                # A `create` that was killed in here: what is in use is not the container's.
                _rmdir(folder)


def _make(folder: str, mountpoint: str, domain: bool | None) -> bool:
    """Make a cgroup and those above it that are missing. False: it was there."""
    if domain is not None:
        from .unified import make

        return make(folder, mountpoint, domain)
    try:
        os.mkdir(folder, 0o755)
    except FileExistsError:
        return False
    except FileNotFoundError:
        if folder == mountpoint:
            raise
        _make(folder.rpartition("/")[0], mountpoint, None)
        os.mkdir(folder, 0o755)
    return True


def refuse_used(folder: str) -> None:
    """Raise OcifwError, with runc's texts, when a cgroup that was there has processes or is frozen.

    Processes would share the container's limits and be killed with it; in a frozen cgroup `create` would hang.
    """
    found = pids(folder)
    if found:
        raise OcifwError(
            f"container's cgroup is not empty: {len(found)} process(es) found ({folder})"
        )
    if (
        read_or(f"{folder}/freezer.state", "") == "FROZEN"
        or read_or(f"{folder}/cgroup.freeze", "") == "1"
    ):
        raise OcifwError(f"container's cgroup unexpectedly frozen ({folder})")


def _rmdir(folder: str) -> bool:
    """Remove a cgroup without processes and without cgroups below. False: it has some."""
    try:
        os.rmdir(folder)
    except OSError as error:
        if error.errno in (EBUSY, ENOTEMPTY):
            return False
        if error.errno not in (ENOENT, ENODEV):
            raise
    return True


def _removed(folder: str) -> bool:
    """Remove a cgroup and those below it, as far as nothing runs in them. True: all of them are gone."""
    left = [path for path in subtree(folder) if not _rmdir(path)]
    return not left


def remove(folder: str, kill: bool = False) -> None:
    """Remove a cgroup and all below it. One that is gone is no error.

    kill: end the processes that are left in it. Raises OSError(EBUSY) when it stays in use: a process that was just
    killed holds its cgroup for a moment yet.
    """
    if clean(folder) != folder:
        raise OcifwError(f"{folder} is no path of a cgroup")
    if _rmdir(folder):
        return
    end = time.monotonic() + _REMOVAL_PATIENCE_S
    wait_s = 0.0005
    while not _removed(folder):
        if kill:
            from .kill import signal_all

            signal_all(folder, 9)
        if time.monotonic() > end:
            raise OSError(EBUSY, os.strerror(EBUSY), folder)
        time.sleep(wait_s)
        wait_s = min(wait_s * 2, 0.05)
