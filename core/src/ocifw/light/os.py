"""What `import os` is in the image: `posix`, which `os` is made of, and the little else that hot verbs need.

Everything that is not here is that of the real `os`, which is imported then. Exceptions and results are the same
objects as there, since both come from `posix`.
"""

from __future__ import annotations

import posix
import sys
from posix import *  # noqa: F403 -- as os.py does
from posix import _exit

from . import path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["_exit", "environ", "fsdecode", "fsencode", "path"]

SEEK_SET = 0

_ENCODING = sys.getfilesystemencoding()
_ERRORS = sys.getfilesystemencodeerrors()


def fsencode(filename: Any) -> bytes:
    """os.fsencode"""
    filename = posix.fspath(filename)
    return filename.encode(_ENCODING, _ERRORS) if isinstance(filename, str) else filename


def fsdecode(filename: Any) -> str:
    """os.fsdecode"""
    filename = posix.fspath(filename)
    return filename.decode(_ENCODING, _ERRORS) if isinstance(filename, bytes) else filename


class _Environ:
    """os.environ, as it was when the interpreter started; the real one as soon as that is there."""

    def __getitem__(self, name: str) -> str:
        if "os" in sys.modules:
            return sys.modules["os"].environ[name]  # type: ignore[no-any-return]
        return fsdecode(posix.environ[fsencode(name)])

    def __contains__(self, name: str) -> bool:
        try:
            self[name]
        except KeyError:
            return False
        return True

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default

    def __iter__(self) -> Iterator[str]:
        return iter(_real().environ)

    def __len__(self) -> int:
        return len(posix.environ)

    def __setitem__(self, name: str, value: str) -> None:
        _real().environ[name] = value

    def __delitem__(self, name: str) -> None:
        del _real().environ[name]

    def __getattr__(self, name: str) -> Any:
        return getattr(_real().environ, name)


environ = _Environ()  # type: ignore[assignment]  # posix has one of bytes


def _real() -> Any:
    # By a call: in the image the statement would import this module.
    return __import__("os")


def __getattr__(name: str) -> Any:
    if name.startswith("__"):  # what importlib asks every module for
        raise AttributeError(name)
    return getattr(_real(), name)
