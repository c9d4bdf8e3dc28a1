"""Which plugin set this process works with, as the command line said it: see `ocifw.sets`.

Read on every start, therefore apart from `sets`, which reads YAML.
"""

from __future__ import annotations

import os
from _thread import _local

from .record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .plugins import PluginSet

DEFAULT = "default"


class Selection(Record):
    """A plugin set, and what is left out of it.

    name: "" is the set that a container was made with, and `default` for new ones. without: plugins that are not asked,
    for rescue. folders: where set files lie, those of later folders before those of earlier ones; () is where this
    installation's are: PREFIX/lib/ocifw/sets.d, which for a distribution's packages is /usr/lib/ocifw/sets.d, and
    /etc/ocifw/sets.d.
    """

    name: str = ""
    without: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()

    def where(self) -> tuple[str, ...]:
        """The folders, those of this installation when none were given."""
        return self.folders or (f"{prefix()}/lib/ocifw/sets.d", "/etc/ocifw/sets.d")

    def key(self) -> tuple[Any, ...]:
        """What a linked table depends on: the choice, and the folders' stat, which changes with names in them."""
        return (
            self.name or DEFAULT,
            self.without,
            tuple([(folder, stamp(folder)) for folder in self.where()]),
        )


class _OfThread(_local):
    """Of each thread its own: a command has only one, and in a library each works for whoever called it."""

    chosen = Selection()
    held: PluginSet | None = None


_here = _OfThread()


def chosen() -> Selection:
    """What this thread works with."""
    return _here.chosen


def held() -> PluginSet | None:
    """The plugin set that the library loaded for all that this thread does; None in a command."""
    return _here.held


def hold(active: PluginSet | None) -> PluginSet | None:
    """Work with this plugin set in this thread, whatever changes on disk. Returns the one before, to be put back."""
    before = _here.held
    _here.held = active
    return before


def choose(**changes: Any) -> Selection:
    """Change the choice: fields of Selection. Returns what it was before, for `choose(**dict(before.items()))`."""
    before = _here.chosen
    _here.chosen = before.changed(**changes)
    return before


def library() -> str:
    """The folder that ocifw is installed in, and all plugins with it."""
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def prefix() -> str:
    """Where this installation begins: /usr, /usr/local, or the folder of a virtual environment."""
    folder = library()
    # PREFIX/lib/python3/dist-packages, PREFIX/lib/python3.11/site-packages
    return os.path.dirname(os.path.dirname(os.path.dirname(folder)))


def stamp(path: str) -> tuple[int, ...] | None:
    """What tells that a file or folder is as it was: size, time, mode and owner. None: it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_mode, status.st_uid
