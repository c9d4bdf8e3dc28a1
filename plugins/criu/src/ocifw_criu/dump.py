"""The step of `checkpoint`: let CRIU write a container's processes to a folder. Facts of how runc asks for it."""

from __future__ import annotations

import os

from ocifw.errors import OcifwError, errno_text
from ocifw.step import RuntimeStep

from . import external, images, logs, options, rpc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ocifw.container import Container
    from ocifw.context import Context

LOG = "dump.log"
NOTIFY = "/run/notify"


def plan(container: Container, flags: Mapping[str, Any], criu: str) -> Dump:
    """The step that dumps `container`. Raises OcifwError for what CRIU could not be asked for."""
    freezer = container.notes.get("freezer") or {}
    return Dump(
        criu,
        dict(flags),
        container.config,
        freezer.get("file", ""),
        freezer.get("contains", ""),
        container.status == "paused",
        bool(container.state.get("notifySocket")),
    )


class Dump(RuntimeStep):
    """Dump the processes of the container into options["image-path"].

    Without leave-running and pre-dump CRIU ends them. When it fails they run as before; what it wrote so far stays, with
    its log. freezer, frozen: the freezer's note. paused: the container was frozen before.
    notify: it has a folder for NOTIFY_SOCKET, which is bound from the state's.
    """

    criu: str
    options: dict[str, Any]
    config: dict[str, Any]
    freezer: str = ""
    frozen: str = ""
    paused: bool = False
    notify: bool = False

    def describe(self) -> str:
        return f"criu: dump to {self.options['image-path']}"

    def apply(self, context: Context) -> None:
        folder, work = self.options["image-path"], self.options["work-path"]
        version = rpc.version(self.criu)
        if os.geteuid() != 0:
            context.warn("checkpoint is untested without root's privileges")
        fds: list[int] = []
        try:
            fds.append(images.open_folder(folder, make=True))
            if work:
                fds.append(images.open_folder(work, make=True, what="work"))
            message = self._message(context, fds)
            log = logs.path(work, folder, LOG)
            _forget(log)
            if not self.options["pre-dump"]:
                self._note(context.pid, folder, version)
            try:
                rpc.ask(self.criu, message)
            except OcifwError as error:
                self._thaw()
                raise OcifwError(logs.described(error, log)) from error
        finally:
            for fd in fds:
                os.close(fd)

    def _message(self, context: Context, fds: list[int]) -> Any:
        flags = self.options
        before = flags["pre-dump"]
        message = rpc.request("PRE_DUMP" if before else "DUMP")
        opts = message.opts
        opts.images_dir_fd = fds[0]
        if flags["work-path"]:
            opts.work_dir_fd = fds[1]
        opts.log_file = LOG
        opts.pid = context.pid
        opts.root = f"/proc/{context.pid}/root"
        opts.leave_running = flags["leave-running"]
        options.fill(opts, flags, context.annotations)
        if self.freezer and os.path.exists(self.freezer):
            opts.freeze_cgroup = os.path.dirname(self.freezer)
        if flags["page-server"]:
            address, _, port = flags["page-server"].rpartition(":")
            opts.ps.address, opts.ps.port = address.strip("[]"), int(port)
        if flags["parent-path"]:
            opts.parent_img = flags["parent-path"]
            opts.track_mem = True
            if not os.path.isdir(os.path.join(flags["image-path"], flags["parent-path"])):
                raise OcifwError(
                    f"--parent-path {flags['parent-path']}: no such folder, relative to {flags['image-path']}"
                )
        if before or flags["lazy-pages"]:
            self._check_features(opts)
        if flags["lazy-pages"] and flags["status-fd"] >= 0:
            opts.status_fd = flags["status-fd"]
            _check_fd(flags["status-fd"])
        if not before:
            self._name_external(opts, context)
        return message

    def _check_features(self, opts: Any) -> None:
        wanted = "mem_track" if self.options["pre-dump"] else "lazy_pages"
        if not rpc.features(self.criu, wanted)[wanted]:
            what = "pre-dump: memory tracking" if wanted == "mem_track" else "lazy pages"
            raise OcifwError(f"this kernel or CRIU does not support {what}")
        if wanted == "mem_track":
            opts.track_mem = True

    def _name_external(self, opts: Any, context: Context) -> None:
        mounts = external.dumped_mounts(self.config, context.bundle, context.pid)
        if self.notify:
            mounts.append((NOTIFY, NOTIFY))
        for point, name in mounts:
            opts.ext_mnt.add(key=point, val=name)
        for kind, path in external.joined(self.config):
            if kind in external.KEYS:
                try:
                    inode = external.namespace_inode(path)
                except OSError:
                    raise OcifwError(f"Requested {kind} namespace {path} does not exist") from None
                opts.external.append(f"{external.FILES[kind]}[{inode}]:{external.KEYS[kind]}")
        opts.external.extend([name for name in external.foreign_files(context.pid) if name])

    def _note(self, pid: int, folder: str, version: tuple[int, int, int]) -> None:
        """What restore needs, and the report compares with."""
        notes = {
            "version": 1,
            "kernel": os.uname().release,
            "machine": os.uname().machine,
            "criu": list(version),
            "files": external.foreign_files(pid),
            "notify": self.notify,
        }
        images.note(folder, external.standard_files(pid), notes)

    def _thaw(self) -> None:
        """CRIU thaws what it froze, unless it was killed."""
        if self.paused or not self.freezer:
            return
        v1 = self.freezer.endswith("freezer.state")
        switch = self.freezer if v1 else f"{os.path.dirname(self.freezer)}/cgroup.freeze"
        try:
            with open(self.freezer, "rb", buffering=0) as file:
                if self.frozen.encode() not in (file.read(4096) or b""):
                    return
            with open(switch, "wb", buffering=0) as file:
                file.write(b"THAWED" if v1 else b"0")
        except OSError as error:
            raise OcifwError(f"thaw {switch}: {errno_text(error.errno or 0)}") from error


def _check_fd(fd: int) -> None:
    try:
        os.fstat(fd)
    except OSError:
        raise OcifwError(f"--status-fd {fd} is not open") from None


def _forget(path: str) -> None:
    """Remove an old log: its errors are not ours."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
