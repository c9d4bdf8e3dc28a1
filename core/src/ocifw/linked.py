"""The linked plugin set in the cache: what pluggy decided about the installed plugins, as a table."""

from __future__ import annotations

import os
import sys
from marshal import dumps, loads

from . import boot
from .selection import chosen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORMAT = 2


def key() -> tuple[Any, ...]:
    """What the table depends on beside the plugins' files: this interpreter, this ocifw, and what is installed.

    Installing, upgrading or removing a distribution changes the time of the folder it lies in.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    library = os.path.dirname(here)
    specs = os.stat(f"{here}/hookspecs.py")
    return (
        FORMAT,
        sys.hexversion,
        library,
        os.stat(library).st_mtime_ns,
        specs.st_mtime_ns,
        specs.st_size,
        *chosen().key(),
    )


def name(of: tuple[Any, ...]) -> str:
    """The name of the cache file: one for each interpreter, each place that ocifw is installed in, and each plugin set."""
    return boot.cache_name("plugins", *of[1:3], *of[6:8])


def read(expected: tuple[Any, ...]) -> dict[str, Any] | None:
    """The table that was written with this key, or None."""
    data = boot.read_cache(name(expected))
    if data is None:
        return None
    try:
        stored, table = loads(data)  # noqa: S302 -- read_cache() looks at whose it is
    except (ValueError, EOFError, TypeError) as error:
        boot.notes.append(f"{name(expected)} is not used: it is damaged: {error}")
        return None
    if stored == expected and type(table) is dict:
        return table
    boot.notes.append(f"{name(expected)} is not used: it was made for something else")
    return None


def write(of: tuple[Any, ...], table: dict[str, Any]) -> bool:
    """Write a table. Returns False when there is no place for it: that costs time, not correctness."""
    from . import cache

    return cache.write(name(of), dumps((of, table)))
