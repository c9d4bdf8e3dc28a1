"""Id-mapped mounts: the source is opened as a detached tree whose ids are mapped, before the container exists.

mount_setattr(2) takes the mapping as a user namespace. A process has to be in it to make one, and Python, which may run
threads and must not fork, cannot be that process: ocifw-init is, for a moment.
"""

from __future__ import annotations

import os
from errno import EINVAL, EPERM

from ocifw.errors import OcifwError, StepFailed
from ocifw.linux.mount import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    MOUNT_ATTR_IDMAP,
    MS_REC,
    OPEN_TREE_CLONE,
    mount_setattr,
    open_tree,
)
from ocifw.step import RuntimeStep

from .mounts import bind_source, namespace, tree_slot
from .options import parse
from .root import host_propagation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar

    from ocifw.context import Context, Request

    Config = dict[str, Any]

_SIGKILL = 9


def open_step(mount: Config, index: int, config: Config, request: Request) -> OpenIdmapped:
    """The step that opens the source of an id-mapped mount."""
    options = parse(mount.get("options") or ())
    user = namespace(config, "user") or {}
    linux = config.get("linux") or {}
    own = mount if mount.get("uidMappings") else linux
    joined = "" if mount.get("uidMappings") else user.get("path") or ""
    return OpenIdmapped(
        tree_slot(index),
        bind_source(mount, request),
        options.bind == "rbind",
        options.idmap == "ridmap",
        "" if joined else map_lines(own.get("uidMappings") or ()),
        "" if joined else map_lines(own.get("gidMappings") or ()),
        joined,
        host_propagation(config) & ~MS_REC,
        at=f"mounts[{index}]",
    )


def map_lines(mappings: Any) -> str:
    """Mappings as /proc/PID/uid_map takes them: what is on the filesystem, what it becomes, how many."""
    return "".join(f"{m['containerID']} {m['hostID']} {m['size']}\n" for m in mappings)


class OpenIdmapped(RuntimeStep):
    """Open `source` as a detached tree with mapped ids, in the slot `slot`.

    recursive: with the mounts below it; map_all: their ids are mapped, too. uid_map, gid_map: lines of uid_map, or
    userns: the path of the user namespace that has them. propagation: what the tree's mounts get, as the container's
    copies of the host's mounts do.
    Raises StepFailed when the filesystem does not support it.
    """

    _text: ClassVar[str] = "open {source} with mapped ids"

    slot: str
    source: str
    recursive: bool
    map_all: bool
    uid_map: str
    gid_map: str
    userns: str
    propagation: int

    def apply(self, context: Context) -> None:
        userns = self._user_namespace(context)
        try:
            tree = open_tree(
                AT_FDCWD, self.source, OPEN_TREE_CLONE | (AT_RECURSIVE if self.recursive else 0)
            )
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.source) from error
        context.fds[self.slot] = tree
        mapped = AT_EMPTY_PATH | (AT_RECURSIVE if self.map_all else 0)
        try:
            mount_setattr(tree, "", mapped, MOUNT_ATTR_IDMAP, userns_fd=userns)
        except OSError as error:
            reason = ""
            if error.errno in (EINVAL, EPERM):
                reason = "the filesystem may not support id-mapped mounts, or is mapped already"
            raise StepFailed(self, error.errno or 0, "mount_setattr", reason) from error
        # Of the host's own kind until now: where that is shared, mounts made below would come out on the host.
        mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, propagation=self.propagation)

    def _user_namespace(self, context: Context) -> int:
        """The file descriptor of the user namespace; mounts with the same mappings share one."""
        name = f"idmapping:{self.userns}:{self.uid_map}:{self.gid_map}"
        fd = context.fds.get(name)
        if fd is None:
            if self.userns:
                fd = os.open(self.userns, os.O_RDONLY | os.O_CLOEXEC)
            else:
                fd = make_user_namespace(self.uid_map, self.gid_map)
            context.fds[name] = fd
        return fd


def make_user_namespace(uid_map: str, gid_map: str) -> int:
    """The file descriptor of a new user namespace with these mappings, in which no process is left.

    Raises OSError with the file's name when the kernel refuses a mapping.
    """
    # Only here: a plan with such a step is made without the compiled parts.
    from _struct import unpack_from

    from ocifw.execute import CLONED, MESSAGE_LIMIT, PROGRAM, failure
    from ocifw.linux._kernel import receive_message, send_message, spawn
    from ocifw.linux.init import init_fd
    from ocifw.linux.memfd import sealed
    from ocifw.linux.namespaces import CLONE_NEWUSER
    from ocifw.linux.unix import socketpair
    from ocifw.phases import ATTACH
    from ocifw.program import encode
    from ocifw.steps import Clone, PassBaton

    steps = (Clone(CLONE_NEWUSER), PassBaton(ATTACH.number))
    init = baton = theirs = memory = -1
    children: list[int] = []
    try:
        init = init_fd()
        baton, theirs = socketpair()
        children.append(spawn(init, theirs))
        os.close(theirs)
        theirs = -1
        memory = sealed("program", encode(steps, {}))
        send_message(baton, PROGRAM.to_bytes(4, "little") + bytes(12), [memory])
        data, _ = receive_message(baton, MESSAGE_LIMIT)
        if not data:
            raise OcifwError("the helper for a user namespace ended without a word")
        kind, index, number, pid = unpack_from("<IIiI", data)
        if kind != CLONED:
            raise failure(steps, index, number, data[16:])
        children.append(pid)
        _write(f"/proc/{pid}/uid_map", uid_map)
        _write(f"/proc/{pid}/gid_map", gid_map)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        for fd in (init, baton, theirs, memory):
            if fd >= 0:
                os.close(fd)
        for child in children:
            os.kill(child, _SIGKILL)
            os.waitpid(child, 0)


def _write(path: str, lines: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, lines.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(fd)
