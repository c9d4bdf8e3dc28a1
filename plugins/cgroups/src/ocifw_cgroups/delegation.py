"""Giving a v2 cgroup to the user that the container process becomes: config-linux.md, Cgroup ownership."""

from __future__ import annotations

import os
from errno import ENOENT

from ocifw.step import RuntimeStep

from .files import read_or

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocifw.context import Context

_LISTED_IN = "/sys/kernel/cgroup/delegate"
_FILES = "cgroup.procs cgroup.subtree_control cgroup.threads"


def owner(config: dict[str, Any]) -> int | None:
    """The host's uid that is to own the container's cgroup; None when it stays the runtime's.

    Only a container that sees its own cgroup alone (a cgroup namespace of its own), and may change it (mounted read-write
    at /sys/fs/cgroup), has use for it.
    """
    linux = config.get("linux") or {}
    namespaces = linux.get("namespaces") or ()
    private = any(one["type"] == "cgroup" and not one.get("path") for one in namespaces)
    if not private or not any(map(_is_writable, config.get("mounts") or ())):
        return None
    uid = int(((config.get("process") or {}).get("user") or {}).get("uid") or 0)
    mappings = linux.get("uidMappings") or ()
    for one in mappings:
        if one["containerID"] <= uid < one["containerID"] + one["size"]:
            return int(one["hostID"] + uid - one["containerID"])
    return None if mappings else uid


def _is_writable(mount: dict[str, Any]) -> bool:
    """Whether this mount lets the container write to its cgroup."""
    kept = [option for option in mount.get("options") or () if option in ("ro", "rw")]
    return (
        mount["destination"].rstrip("/") == "/sys/fs/cgroup"
        and mount.get("source") == "cgroup"
        and kept[-1:] != ["ro"]
    )


class OwnCgroup(RuntimeStep):
    """Give a cgroup's folder, and those of its files that the kernel lists for it, to a user; limits stay the runtime's."""

    _text = "give cgroup {folder} to uid {uid}"
    folder: str
    uid: int

    def apply(self, context: Context) -> None:
        os.chown(self.folder, self.uid, -1)
        for name in read_or(_LISTED_IN, _FILES).split():
            try:
                os.chown(f"{self.folder}/{name}", self.uid, -1, follow_symlinks=False)
            except OSError as error:
                # Some of the files are there with certain controllers only.
                if error.errno != ENOENT:
                    raise
