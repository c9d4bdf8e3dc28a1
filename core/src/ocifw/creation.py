"""Creating a container: what is read and planned first, then what is done, as a whole or not at all."""

from __future__ import annotations

import os
import time

from . import container as containers
from . import document, execute, phases, plugins
from .container import Container, Lock
from .context import Context, Host, Request
from .errors import ContainerError, OcifwError
from .linux.unix import listen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .context import Globals
    from .notify import Proxy
    from .plan import Plan
    from .plugins import PluginSet
    from .step import ContainerStep
    from .terminal import Console

SPEC_VERSION = "1.3.0"


def create(
    globals_: Globals,
    container_id: str,
    bundle: str,
    *,
    config_file: str = "config.json",
    console_socket: str = "",
    pid_file: str = "",
    pidfd_socket: str = "",
    preserve_fds: int = 0,
    no_pivot: bool = False,
    no_new_keyring: bool = False,
) -> Container:
    """Make a container up to `created`: everything but executing its program.

    Raises ConfigError, PlanError, StepFailed and others of ocifw.errors; then nothing is left of it.
    """
    creation = Creation(
        globals_,
        container_id,
        bundle,
        config_file,
        preserve_fds=preserve_fds,
        no_pivot=no_pivot,
        no_new_keyring=no_new_keyring,
        console=bool(console_socket),
        pidfd=bool(pidfd_socket),
    )
    creation.check_terminal(detached=True)
    return creation.run(console_socket, pidfd_socket, pid_file)


class Creation:
    """One `create`: what is read and planned first, then what is done."""

    def __init__(
        self,
        globals_: Globals,
        container_id: str,
        bundle: str,
        config_file: str = "config.json",
        **options: Any,
    ) -> None:
        containers.check_id(container_id)
        self.globals = globals_
        self.bundle = os.path.abspath(bundle or ".")
        self.folder = f"{globals_.root}/{container_id}"
        self.config = read_config(self.bundle, config_file)
        rootfs = (self.config.get("root") or {}).get("path") or ""
        self.host = Host()
        self.notify: Proxy | None = None
        self.plugins = plugins.load()
        listen_fds = _listen_fds()
        self.request = Request(
            "create",
            container_id,
            self.bundle,
            os.path.realpath(os.path.join(self.bundle, rootfs)) if rootfs else "",
            self.folder,
            systemd_cgroup=globals_.systemd_cgroup or globals_.cgroup_manager == "systemd",
            rootless=is_rootless(globals_, self.host),
            listen_fds=listen_fds,
            notify_socket=os.environ.get("NOTIFY_SOCKET") or "",
            **options,
        )

    def plan(self) -> Plan:
        from .plan import make_plan

        return make_plan(self.plugins, self.config, self.request, self.host)

    def check_terminal(self, detached: bool) -> None:
        """A terminal needs somebody who holds its other side. runc's texts."""
        terminal = bool((self.config.get("process") or {}).get("terminal"))
        if detached and terminal and not self.request.console:
            raise OcifwError(
                "cannot allocate tty if runc will detach without setting console socket"
            )
        if self.request.console and not (detached and terminal):
            raise OcifwError("cannot use console socket if runc will not detach or allocate tty")

    def run(
        self,
        console_socket: str = "",
        pidfd_socket: str = "",
        pid_file: str = "",
        console: Console | None = None,
    ) -> Container:
        """Plan, reserve the id, apply. Undone as a whole when anything fails."""
        check_preserved(3, self.request.preserve_fds + self.request.listen_fds)
        plan = self.plan()
        context = Context(
            self.request.id,
            self.bundle,
            self.folder,
            self.config.get("ociVersion", SPEC_VERSION),
            self.config.get("annotations") or {},
        )
        context.warnings += self.host.warnings
        with _Reservation(self.globals.root, self.folder):
            journal = execute.Journal(f"{self.folder}/{containers.JOURNAL}")
            try:
                self._open_slots(context, console_socket, pidfd_socket, console)
                container = Container(self.folder, {"id": self.request.id})
                execution = execute.Execution(plan, context, journal, watch(self.plugins, context))

                def created() -> None:
                    container.state = self._state(plan, execution)
                    container.save()
                    if pid_file:
                        write_pid_file(pid_file, context.pid)

                execution.run(created)
            except BaseException:
                containers.remove_folder(self.folder)
                raise
            finally:
                journal.close()
                context.close()
        context.report()
        return container

    def _open_slots(
        self,
        context: Context,
        console_socket: str,
        pidfd_socket: str,
        console: Console | None,
    ) -> None:
        """The file descriptors that the core gives to the container process."""
        if not self.request.run:
            context.fds["start"] = _listen(self.folder)
        if console_socket or pidfd_socket:
            from .terminal import connect_console_socket

            if console_socket:
                context.fds["console"] = connect_console_socket(console_socket)
            if pidfd_socket:
                context.fds["pidfd"] = connect_console_socket(pidfd_socket)
        if console is not None:
            context.fds["console"] = console.container_end()
        if self.request.notify_socket:
            os.mkdir(f"{self.folder}/notify", 0o755)
        if self.notify is not None:
            # Before the program can look for it.
            self.notify.listen()

    def _state(self, plan: Plan, execution: execute.Execution) -> dict[str, Any]:
        from .linux.process import start_time

        context = execution.context
        return {
            "version": containers.STATE_VERSION,
            "ociVersion": SPEC_VERSION,
            "id": self.request.id,
            "pid": context.pid,
            "startTime": start_time(context.pid),
            "bundle": self.bundle,
            "rootfs": self.request.rootfs,
            "created": time.time_ns(),
            "owner": self.host.euid,
            "config": self.config,
            "notes": context.notes,
            "plugins": [[p.name, p.version] for p in self.plugins.plugins],
            "systemdCgroup": self.request.systemd_cgroup,
            "noNewKeyring": self.request.no_new_keyring,
            "notifySocket": self.request.notify_socket,
            "started": _remember_program(execution.program),
            "poststart": [step.document() for step in plan.runtime(phases.POSTSTART)],
            "poststop": [step.document() for step in plan.runtime(phases.POSTSTOP)],
        }


def read_config(bundle: str, config_file: str = "config.json") -> dict[str, Any]:
    """config.json of a bundle, checked against the schema and the spec's rules. Raises ConfigError."""
    from . import validate

    path = os.path.join(bundle, config_file)
    config: dict[str, Any] = document.read(path, "config.json")
    validate.check(config, "config", path)
    return config


class _Reservation:
    """Make the container's folder and hold its lock. The id is taken as soon as the folder is there."""

    def __init__(self, root: str, folder: str) -> None:
        self.root = root
        self.folder = folder
        self.lock = Lock(folder)

    def __enter__(self) -> None:
        try:
            os.mkdir(self.folder, 0o700)
        except FileNotFoundError:
            os.makedirs(self.root, 0o700, exist_ok=True)
            self.__enter__()
            return
        except FileExistsError:
            raise ContainerError("container with given ID already exists") from None
        self.lock.__enter__()

    def __exit__(self, *_: object) -> None:
        self.lock.__exit__()


def _listen(folder: str) -> int:
    """The socket on which the container process will wait for start; its path may be long."""
    directory = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return listen(f"/proc/self/fd/{directory}/{containers.START}")
    finally:
        os.close(directory)


def _listen_fds() -> int:
    """LISTEN_FDS of systemd's socket activation: how many file descriptors from 3 on are passed to us."""
    text = os.environ.get("LISTEN_FDS")
    if not text:
        return 0
    if not text.isdecimal() or int(text) > 4096:
        raise OcifwError(f"LISTEN_FDS {text!r} is not a number of file descriptors")
    return int(text)


def check_preserved(first: int, count: int) -> None:
    """Every file descriptor that is to be passed must be open."""
    for fd in range(first, first + count):
        try:
            os.fstat(fd)
        except OSError:
            raise OcifwError(
                f"please check that preserved-fd {fd - first} (of {count}) is present"
            ) from None
        os.set_inheritable(fd, True)


def is_rootless(globals_: Globals, host: Host) -> bool:
    """Whether lack of privilege over cgroups is tolerated: as --rootless says, by default without full privileges."""
    if globals_.rootless == "auto":
        return host.euid != 0 or host.in_user_namespace
    return globals_.rootless == "true"


def write_pid_file(path: str, pid: int) -> None:
    """The pid in decimal without a newline, complete as soon as the file is there."""
    try:
        containers.write_file(path, str(pid).encode(), 0o644)
    except OSError as error:
        raise OcifwError(f"cannot write pid file {path}: {error.strerror}") from error


def watch(active: PluginSet, context: Context) -> execute.Watch | None:
    """What tells the watching plugins of each phase; None when there are none."""
    if not active.has("ocifw_run_phase"):
        return None

    def tell(phase: phases.Phase, steps: Sequence[Any]) -> None:
        active.ask(
            "ocifw_run_phase",
            {"phase": phase, "side": phase.side, "steps": steps, "context": context},
        )

    return tell


_TEXT_KINDS = ("Text", "InRoot", "HostPath", "Number", "Flag")


def _remember_program(program: Sequence[ContainerStep]) -> list[list[Any]]:
    """The steps after AwaitStart, as far as `start` needs them to explain a failure: no environment, no filter."""
    names = [type(step).__name__ for step in program]
    if "AwaitStart" not in names:
        return []
    rows = []
    for index in range(names.index("AwaitStart"), len(program)):
        step = program[index]
        kinds = type(step).__annotations__
        fields = {
            name: list(value) if name == "args" else value
            for name, value in step.items()
            if str(kinds[name]) in _TEXT_KINDS or name == "args"
        }
        rows.append([index, names[index], step.plugin, step.phase, step.at, fields])
    return rows
