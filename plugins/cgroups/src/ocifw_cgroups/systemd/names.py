"""linux.cgroupsPath for systemd, "SLICE:PREFIX:NAME": which unit a container is, and where its cgroup lies."""

from __future__ import annotations

from ocifw.errors import OcifwError
from ocifw.record import Record

SYSTEM_SLICE, USER_SLICE = "system.slice", "user.slice"
DEFAULT_PREFIX = "runc"
"""runc's prefix: tools look for scopes of this name."""


class Unit(Record):
    """A unit of systemd. name: with its suffix. slice: the slice that it lies in. path: its cgroup below systemd's root."""

    name: str
    slice: str
    path: str

    @property
    def is_slice(self) -> bool:
        """A slice holds no processes of its own for systemd, and is not delegated."""
        return self.name.endswith(".slice")


def unit_of(cgroups_path: str, container_id: str, rootless: bool) -> Unit:
    """The unit of a container. Raises OcifwError, with runc's texts, when cgroupsPath is none for systemd."""
    parts = cgroups_path.split(":") if cgroups_path else ["", DEFAULT_PREFIX, container_id]
    if len(parts) != 3:
        raise OcifwError(
            'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups,'
            f' got "{cgroups_path}" instead'
        )
    slice_, prefix, name = parts
    slice_ = slice_ or (USER_SLICE if rootless else SYSTEM_SLICE)
    if not name.endswith(".slice"):
        name = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    if "/" in name or name.startswith("."):
        raise OcifwError(f'"{name}" is not the name of a unit')
    return Unit(name, slice_, f"{slice_path(slice_)}/{name}")


def slice_path(slice_: str) -> str:
    """The cgroup of a slice: `a-b.slice` lies in `a.slice`; `-.slice` is the root, "" (systemd.slice(5)).

    Raises OcifwError when it is not the name of a slice.
    """
    name = slice_.removesuffix(".slice")
    if name == "-" and name != slice_:
        return ""
    parts = name.split("-")
    if name == slice_ or "/" in name or not all(parts):
        raise OcifwError(f"invalid slice name: {slice_}")
    return "".join(f"/{'-'.join(parts[: end + 1])}.slice" for end in range(len(parts)))
