"""The hooks of ocifw-criu: they say what is missing for checkpoint and restore, which are not implemented yet."""

from __future__ import annotations

from ocifw import hookimpl
from ocifw.errors import OcifwError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_PROGRAMS = ("/usr/sbin/criu", "/usr/bin/criu", "/usr/local/sbin/criu", "/usr/local/bin/criu")


@hookimpl
def ocifw_checkpoint() -> None:
    refuse("checkpoint")


@hookimpl
def ocifw_restore() -> None:
    refuse("restore")


def refuse(verb: str) -> NoReturn:
    """Raise OcifwError: with the packages that are missing, or, when none is, that this is not implemented."""
    import os
    from importlib.util import find_spec

    missing = []
    if not any(os.access(path, os.X_OK) for path in _PROGRAMS):
        missing.append("criu")
    if find_spec("pycriu") is None:
        missing.append("python3-pycriu")
    if missing:
        raise OcifwError(
            f"{verb} needs CRIU and its Python module pycriu: missing Debian packages: {', '.join(missing)}"
        )
    raise OcifwError(f"{verb} is not implemented")
