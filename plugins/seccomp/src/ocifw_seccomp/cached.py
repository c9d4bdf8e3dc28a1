"""Compiled filters in the cache: a profile that was compiled before costs one read.

Compiling Docker's profile takes as long as all other planning. A file is found by the profile's content and the
architecture; both, and what the compiler was made of, stand in it and are compared, so that it is either the right one or
not used. Whoever may write there could weaken every container's filter: see `ocifw.boot.read_cache` for who may.
"""

from __future__ import annotations

import os
from binascii import crc32
from marshal import dumps, loads

from ocifw import boot
from ocifw.document import dump
from ocifw.steps import LoadFilter

from . import PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Filter = tuple[bytes, int]

FORMAT = 1
KEPT = 64
"""How many compiled filters are kept; the oldest make room."""

_LIMIT_BYTES = 1 << 20
_SOURCES = ("architectures.py", "bpf.py", "compiler.py", "numbers", "profile.py", "rules.py")

_found: dict[str, Filter] = {}


def load_filter(
    seccomp: dict[str, Any], machine: str, listener: str = "", state: str = ""
) -> list[LoadFilter]:
    """The step that loads the filter for linux.seccomp; none when no filter is asked for.

    listener, state: slots of what the listener's file descriptor is sent over, and with. Raises as `compile_filter`.
    """
    program, flags = filter_for(seccomp, machine)
    return [LoadFilter(program, flags, listener, state, at=PATH)] if program else []


def is_known(seccomp: dict[str, Any]) -> bool:
    """Whether this profile was compiled for this machine before, and so is a right one."""
    return _read(_key(seccomp, os.uname().machine)) is not None


def filter_for(seccomp: dict[str, Any], machine: str) -> Filter:
    """The program and flags for linux.seccomp: from the cache, else compiled, and then kept. Raises as `compile_filter`."""
    key = _key(seccomp, machine)
    known = _read(key)
    if known is not None:
        return known
    from ocifw import cache

    from .compiler import compile_filter

    made = compile_filter(seccomp, machine)
    _found[key] = made
    cache.write(_name(key), dumps((key, *made)), keep=KEPT)
    return made


def _key(seccomp: dict[str, Any], machine: str) -> str:
    """Everything that a program depends on."""
    folder = os.path.dirname(os.path.abspath(__file__))
    sources = []
    for name in _SOURCES:
        status = os.stat(f"{folder}/{name}")
        sources += [status.st_mtime_ns, status.st_size]
    return dump([FORMAT, machine, sources, seccomp])


def _name(key: str) -> str:
    # A short name is enough: the whole key is compared.
    return f"seccomp-{crc32(key.encode()):08x}"


def _read(key: str) -> Filter | None:
    known = _found.get(key)
    if known is not None:
        return known
    data = boot.read_cache(_name(key), _LIMIT_BYTES)
    if data is None:
        return None
    try:
        stored, program, flags = loads(data)  # noqa: S302 -- read_cache() looks at whose it is
    except (ValueError, EOFError, TypeError) as error:
        boot.notes.append(f"{_name(key)} is not used: it is damaged: {error}")
        return None
    if stored != key or type(program) is not bytes or type(flags) is not int:
        boot.notes.append(f"{_name(key)} is not used: it was made for something else")
        return None
    _found[key] = (program, flags)
    return program, flags
