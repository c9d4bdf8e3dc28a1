"""The step of `restore`: let CRIU make a container's processes again from a folder. Facts of how runc asks for it."""

from __future__ import annotations

import os
from errno import EEXIST, EINVAL, ENOENT, ENOTDIR, ENOTEMPTY

from ocifw.errors import OcifwError, errno_text
from ocifw.linux.mount import MNT_DETACH, MS_BIND, MS_REC, UMOUNT_NOFOLLOW, mount, umount2
from ocifw.linux.openat2 import open_in_root
from ocifw.linux.process import state
from ocifw.linux.unix import send_message
from ocifw.step import RuntimeStep

from . import external, images, logs, options, rpc
from .dump import NOTIFY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ocifw.context import Context, Host, Request

LOG = "restore.log"
ROOT = "criu-root"
PROCESSES = "criu-processes"
YARD = ".criu.cgyard."
"""How the folder begins in which CRIU mounts the cgroup hierarchies: criu/cgroup.c."""
_SIGKILL = 9
_JOINABLE = {"ipc": "ipc", "uts": "uts", "time": "time"}


def plan(
    config: dict[str, Any], flags: Mapping[str, Any], request: Request, host: Host, criu: str
) -> Restore:
    """The step that restores a container. Raises OcifwError when the images cannot be those of one."""
    folder = flags["image-path"]
    os.close(images.open_folder(folder))
    images.check(folder, host.machine)
    kept = images.notes(folder)
    return Restore(
        criu,
        dict(flags),
        config,
        request.rootfs,
        tuple(images.descriptors(folder)),
        tuple(kept.get("files") or ("", "", "")),
        kept.get("notify") is True,
    )


class Restore(RuntimeStep):
    """Make the processes again that options["image-path"] holds; sets context.pid.

    CRIU runs in the container's cgroups, as the processes will. It wants a root that is a mount point with nothing over the
    folder above: the root is bound below the state's folder meanwhile. Its mount namespace must be this one, since it
    mounts in the folders that it gets as file descriptors. descriptors: what the standard files were; pipes are replaced
    by this process's own, and so are files of the host, which `files` names.
    notify: the container has a folder for NOTIFY_SOCKET; nobody listens in it any more.
    `undo` ends what was restored.
    """

    undoable = True

    criu: str
    options: dict[str, Any]
    config: dict[str, Any]
    rootfs: str
    descriptors: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    notify: bool = False

    def describe(self) -> str:
        return f"criu: restore from {self.options['image-path']}"

    def document(self) -> dict[str, Any]:
        """In the journal, only what `undo` needs."""
        found = super().document()
        found["fields"] = {
            "criu": self.criu,
            "options": {name: self.options.get(name, "") for name in ("image-path", "work-path")},
            "config": {},
            "rootfs": self.rootfs,
        }
        return found

    def apply(self, context: Context) -> None:
        folder, work = self.options["image-path"], self.options["work-path"]
        rpc.version(self.criu)
        root = f"{context.state_dir}/{ROOT}"
        make_mount_points(self.config, context.bundle, self.rootfs)
        os.mkdir(root, 0o700)
        mount(self.rootfs, root, "", MS_BIND | MS_REC)
        fds: list[int] = []
        try:
            fds.append(images.open_folder(folder))
            if work:
                fds.append(images.open_folder(work, make=True, what="work"))
            for fd in fds:
                images.let_in(fd, self.config)
            message = self._message(context, fds, root)
            log = logs.path(work, folder, LOG)
            _forget(log)
            joins = _cgroup_files(context)

            def prepare() -> None:
                for path in joins:
                    with open(path, "wb", buffering=0) as file:
                        file.write(b"0")

            def notified(script: str, pid: int, received: list[int]) -> None:
                self._notified(context, script, pid, received)

            def started(pid: int) -> None:
                _remember(context, pid)

            _add_cgroup_roots(message, context)
            try:
                answer = rpc.ask(self.criu, message, notified, prepare, started)
            except rpc.CriuError as error:
                raise OcifwError(logs.described(error, log)) from error
            finally:
                release_yards(work or folder)
            context.pid = answer.restore.pid
            _remember(context, context.pid)
        finally:
            for fd in fds:
                os.close(fd)
            _release(root)

    def undo(self, context: Context) -> None:
        """End what was begun: CRIU, and the first process of the container, with which its pid namespace ends."""
        for pid, started in _remembered(context):
            try:
                if state(pid)[1] != started:
                    continue
                os.kill(pid, _SIGKILL)
                os.waitpid(pid, 0)
            except (FileNotFoundError, ProcessLookupError, ChildProcessError):
                continue
        _release(f"{context.state_dir}/{ROOT}")
        release_yards(self.options.get("work-path") or self.options["image-path"])
        _forget(f"{context.state_dir}/{PROCESSES}")

    # -- what CRIU is asked ------------------------------------------------------------------------------------------

    def _message(self, context: Context, fds: list[int], root: str) -> Any:
        flags = self.options
        message = rpc.request("RESTORE")
        opts = message.opts
        opts.images_dir_fd = fds[0]
        if flags["work-path"]:
            opts.work_dir_fd = fds[1]
        opts.log_file = LOG
        opts.root = root
        # Our child, not CRIU's: the engine gets it as the child of a `create`.
        opts.rst_sibling = True
        options.fill(opts, flags, context.annotations)
        if flags["lsm-profile"]:
            opts.lsm_profile = flags["lsm-profile"]
        if flags["lsm-mount-context"]:
            opts.lsm_mount_context = flags["lsm-mount-context"]
        for name, source in external.restored_mounts(self.config, context.bundle):
            opts.ext_mnt.add(key=name, val=source)
        if self.notify:
            folder = f"{context.state_dir}/notify"
            os.mkdir(folder, 0o755)
            opts.ext_mnt.add(key=NOTIFY, val=folder)
        for name, source in external.restored_cgroups(self.config, _folders(context), os.getpid()):
            opts.ext_mnt.add(key=name, val=source)
        for kind, path in external.joined(self.config):
            self._join(opts, kind, path, fds)
        for fd, (link, file) in enumerate(zip(self.descriptors, self.files, strict=True)):
            key = file or (link if link.startswith("pipe:[") else "")
            if key:
                opts.inherit_fd.add(key=key, fd=fd)
        return message

    def _join(self, opts: Any, kind: str, path: str, fds: list[int]) -> None:
        """A namespace that the container joined by path: the one that has this path now."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            raise OcifwError(f"Requested {kind} namespace {path} does not exist") from None
        fds.append(fd)
        if kind in external.KEYS:
            # CRIU executes with it.
            os.set_inheritable(fd, True)
            opts.inherit_fd.add(key=external.KEYS[kind], fd=fd)
        elif kind in _JOINABLE:
            opts.join_ns.add(ns=_JOINABLE[kind], ns_file=path)

    def _notified(self, context: Context, script: str, pid: int, received: list[int]) -> None:
        if script == "setup-namespaces":
            context.pid = pid
            _remember(context, pid)
            if context.apply_phase is not None:
                context.apply_phase("create_runtime")
        elif script == "post-restore":
            context.pid = pid
        elif script == "orphan-pts-master" and received:
            console = context.fds.pop("console", -1)
            if console < 0:
                raise OcifwError("the container has a terminal, and there is no console socket")
            try:
                send_message(console, b"/dev/ptmx", received[:1])
            finally:
                os.close(console)


# ---- cgroups -------------------------------------------------------------------------------------------------------


def _cgroup_files(context: Context) -> list[str]:
    """The files by which CRIU joins the container's cgroups, one for each hierarchy."""
    return [f"{folder}/cgroup.procs" for folder in dict.fromkeys(_folders(context).values())]


def _folders(context: Context) -> dict[str, str]:
    found: dict[str, str] = context.notes.get("cgroups") or {}
    return found


def _add_cgroup_roots(message: Any, context: Context) -> None:
    """Where in each hierarchy CRIU puts what was below the dumped container's cgroup."""
    grouped: dict[str, list[str]] = {}
    for name, folder in _folders(context).items():
        grouped.setdefault(folder, []).append(name)
    for _, _, point, kind in external.mounted(os.getpid()):
        if kind not in ("cgroup", "cgroup2"):
            continue
        for folder, names in grouped.items():
            if folder.startswith(f"{point}/"):
                message.opts.cg_root.add(ctrl=",".join(names), path=folder[len(point) :])


# ---- mount points --------------------------------------------------------------------------------------------------


def make_mount_points(config: dict[str, Any], bundle: str, rootfs: str) -> None:
    """Make what is missing in the root to mount on. Below another mount CRIU, or its source, has it already."""
    sources = dict(external.binds(config, bundle))
    above: list[str] = []
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for one in config.get("mounts") or ():
            target = os.path.normpath("/" + one["destination"].lstrip("/"))
            if target == "/":
                continue
            if not any(target.startswith(f"{folder}/") for folder in above):
                is_file = target in sources and not os.path.isdir(sources[target])
                _make(root, target, is_file)
            above.append(target)
    finally:
        os.close(root)


def _make(root: int, path: str, is_file: bool) -> None:
    """Make a folder or an empty file in the root, and the folders above it; each is opened inside the root."""
    try:
        os.close(open_in_root(root, path, os.O_PATH))
        return
    except FileNotFoundError:
        pass
    above, _, name = path.rpartition("/")
    if above:
        _make(root, above, False)
    folder = open_in_root(root, above or ".", os.O_PATH | os.O_DIRECTORY)
    try:
        if is_file:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o644, dir_fd=folder))
        else:
            os.mkdir(name, 0o755, dir_fd=folder)
    except OSError as error:
        if error.errno != EEXIST:
            raise OcifwError(f"make mount point {path}: {errno_text(error.errno or 0)}") from error
    finally:
        os.close(folder)


# ---- what was begun ------------------------------------------------------------------------------------------------


def _release(root: str) -> None:
    """Take the root's mount away, and its folder. What is not there is no error."""
    try:
        umount2(root, MNT_DETACH | UMOUNT_NOFOLLOW)
    except OSError as error:
        if error.errno not in (EINVAL, ENOENT):
            raise
    try:
        os.rmdir(root)
    except FileNotFoundError:
        pass


def release_yards(folder: str) -> None:
    """Take away the mounts of all cgroup hierarchies that a CRIU which failed or was killed leaves in its work folder.

    Who removed that folder with all in it would remove the host's cgroups. A CRIU that is at work holds a lock on nothing:
    two restores with one work folder are not told from each other.
    """
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if name.startswith(YARD):
            path = os.path.join(os.path.realpath(folder), name)
            rows = [point for _, _, point, _ in external.mounted(os.getpid()) if point == path]
            for _ in rows:
                umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW)
            try:
                os.rmdir(path)
            except OSError as error:
                if error.errno not in (ENOENT, ENOTDIR, ENOTEMPTY):
                    raise


def _remember(context: Context, pid: int) -> None:
    """Note a process, so that `delete --force` ends it when this one is killed."""
    try:
        started = state(pid)[1]
    except (FileNotFoundError, ProcessLookupError):
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(f"{context.state_dir}/{PROCESSES}", flags, 0o600)
    try:
        os.write(fd, f"{pid} {started}\n".encode())
    finally:
        os.close(fd)


def _remembered(context: Context) -> list[tuple[int, int]]:
    try:
        with open(f"{context.state_dir}/{PROCESSES}", encoding="ascii") as file:
            rows = [line.split() for line in file]
    except FileNotFoundError:
        return []
    return [(int(row[0]), int(row[1])) for row in rows if len(row) == 2]


def _forget(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
