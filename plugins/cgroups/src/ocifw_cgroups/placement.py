"""Where a container's cgroups lie: linux.cgroupsPath, and the paths of `exec --cgroup`.

The rules are runc's: an absolute path lies below the hierarchy's mount point; a relative
one, or the container's id when there is none, below the runtime's own cgroup. `..` never leads above where it starts.
"""

from __future__ import annotations

import os

from ocifw.errors import OcifwError

from .hierarchies import UNIFIED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .hierarchies import Hierarchy, Layout


def clean(path: str) -> str:
    """A path without empty components, `.` and `..`; absolute when it was. `..` at the top is dropped."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def folders(
    layout: Layout, cgroups_path: str, container_id: str, rootless: bool = False
) -> list[tuple[Hierarchy, str]]:
    """Each hierarchy with the folder of the container's cgroup in it.

    rootless: without a cgroupsPath, leave out the hierarchies in which the runtime may not make cgroups.
    """
    inner = clean(cgroups_path or container_id)
    found = []
    for hierarchy in layout.hierarchies:
        if inner.startswith("/"):
            path = inner
        else:
            own = hierarchy.own
            if layout.unified:
                # The runtime's own cgroup holds processes, so that it cannot have controllers for cgroups below it.
                own = own.rpartition("/")[0]
            path = f"{own.rstrip('/')}/{inner}"
        folder = hierarchy.mountpoint.rstrip("/") + path
        if not rootless or cgroups_path or _may_make(folder):
            found.append((hierarchy, folder))
    return found


def by_controller(placed: Iterable[tuple[Hierarchy, str]]) -> dict[str, str]:
    """The container's folder by controller; UNIFIED is the v2 hierarchy's."""
    return {name: folder for hierarchy, folder in placed for name in hierarchy.controllers}


def _may_make(folder: str) -> bool:
    """Whether this process may make a folder: whether the nearest one that is there is writable."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return os.access(folder, os.W_OK | os.X_OK)


def sub_cgroups(folders: Mapping[str, str], wanted: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The folders that a process of `exec` joins: the container's, or those below that `--cgroup` names.

    wanted: pairs of a controller ("" is every one) and a path below the container's cgroup.
    Raises OcifwError on a path that leads elsewhere, and on an unknown controller.
    """
    joined = dict(folders)
    for controller, path in wanted:
        if ".." in path.split("/") or "\0" in path:
            raise OcifwError(f"{path} is not a sub cgroup path")
        names = list(folders) if controller == "" else controller.split(",")
        for given in names:
            name = given if given in folders else f"name={given}"
            if name not in folders:
                raise OcifwError(f"unknown controller {controller} in --cgroup {controller}:{path}")
            joined[name] = f"{folders[name]}/{clean(path).lstrip('/')}".rstrip("/")
    return joined


def join_files(folders: Mapping[str, str]) -> list[str]:
    """The files to write 0 to, each once, v2 last: from the folders by controller."""
    files = [f"{folder}/tasks" for name, folder in folders.items() if name != UNIFIED]
    if UNIFIED in folders:
        files.append(f"{folders[UNIFIED]}/cgroup.procs")
    return list(dict.fromkeys(files))
