"""Processes that somebody waits for: `run`, which is create, start and delete in one, and `exec`."""

from __future__ import annotations

from . import container as containers
from . import execute as executor
from . import plugins
from .context import Host, Request
from .creation import Creation, check_preserved, is_rootless, watch, write_pid_file
from .errors import ContainerError, NotFound, OcifwError
from .lifecycle import context_of, delete, poststart, wait_for_ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .container import Container
    from .context import Globals
    from .notify import Proxy
    from .plan import Plan
    from .profile import Effective
    from .supervise import Supervisor
    from .terminal import Console


def run(
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
    detach: bool = False,
    keep: bool = False,
    no_subreaper: bool = False,
) -> int:
    """Create and start in one; in the foreground, wait and delete. Returns the exit status, 128+N for signal N."""
    options = {
        "preserve_fds": preserve_fds,
        "no_pivot": no_pivot,
        "no_new_keyring": no_new_keyring,
        "pidfd": bool(pidfd_socket),
        "run": True,
    }
    creation = Creation(
        globals_, container_id, bundle, config_file, console=bool(console_socket), **options
    )
    creation.check_terminal(detach)
    if not detach:
        _use_caller_size(creation.config.get("process") or {})
    supervisor, console = _foreground(
        detach, no_subreaper, bool((creation.config.get("process") or {}).get("terminal"))
    )
    if console is not None:
        creation.request = creation.request.changed(console=True)
    try:
        notify = creation.notify = _notify_proxy(creation)
        container = creation.run(console_socket, pidfd_socket, pid_file, console)
        try:
            poststart(globals_, container)
            if supervisor is None:
                if notify is not None:
                    wait_for_ready(container, notify)
                return 0
            if console is not None:
                console.receive_master()
            return supervisor.wait(container.pid, console, notify)
        finally:
            if supervisor is not None and not keep:
                end(globals_, container)
    finally:
        if console is not None:
            console.close()
        if supervisor is not None:
            supervisor.close()


def _foreground(
    detach: bool, no_subreaper: bool, terminal: bool
) -> tuple[Supervisor | None, Console | None]:
    """Who waits for the process, and its terminal's other side; made before the process, so that no signal is lost."""
    if detach:
        return None, None
    from .supervise import Supervisor

    supervisor = Supervisor(subreaper=not no_subreaper)
    if not terminal:
        return supervisor, None
    from .terminal import Console

    try:
        return supervisor, Console()
    except BaseException:
        supervisor.close()
        raise


def _use_caller_size(process: dict[str, Any]) -> None:
    """The terminal of a foreground process begins with the size of the caller's, not with consoleSize."""
    if process.get("terminal"):
        from .terminal import caller_size

        size = caller_size()
        if size:
            process["consoleSize"] = {"height": size[0], "width": size[1]}


def _notify_proxy(creation: Creation) -> Proxy | None:
    if not creation.request.notify_socket:
        return None
    from .notify import Proxy

    return Proxy(creation.request.notify_socket, creation.folder)


def end(globals_: Globals, container: Container) -> None:
    """Delete a container that ran in the foreground; one that was deleted meanwhile is fine."""
    try:
        delete(globals_, container.id, force=True)
    except NotFound:
        pass


def execute(
    globals_: Globals,
    container_id: str,
    process: dict[str, Any],
    *,
    detach: bool = False,
    console_socket: str = "",
    pid_file: str = "",
    pidfd_socket: str = "",
    preserve_fds: int = 0,
    cgroup: tuple[tuple[str, str], ...] = (),
    ignore_paused: bool = False,
    no_subreaper: bool = False,
    foreign: bool = False,
) -> int:
    """Run another process in a container. Returns its exit status; 0 at once when detached.

    foreign: the process was made by somebody who does not know what the container's profiles say of every process; it
    is brought in line with them. Raises PolicyError for what their policy does not allow.
    """
    addition = Addition(
        globals_,
        container_id,
        process,
        console=bool(process.get("terminal")),
        foreign=foreign,
        ignore_paused=ignore_paused,
        pidfd=bool(pidfd_socket),
        preserve_fds=preserve_fds,
        cgroup=cgroup,
    )
    addition.check_terminal(detach, console_socket)
    if not detach:
        _use_caller_size(addition.process)
    plan = addition.plan()
    supervisor, console = _foreground(detach, no_subreaper, addition.request.console)
    try:
        pid = addition.run(plan, console_socket, pidfd_socket, pid_file, console)
        if supervisor is None:
            return 0
        if console is not None:
            console.receive_master()
        return supervisor.wait(pid, console)
    finally:
        if console is not None:
            console.close()
        if supervisor is not None:
            supervisor.close()


class Addition:
    """One `exec`: what is read and planned first, then what is done.

    foreign: see `execute`. options: further fields of the request.
    """

    def __init__(
        self,
        globals_: Globals,
        container_id: str,
        process: dict[str, Any],
        *,
        foreign: bool = False,
        ignore_paused: bool = False,
        **options: Any,
    ) -> None:
        self.container = container = containers.load(globals_.root, container_id)
        _check_executable(container, ignore_paused)
        self.plugins = plugins.of(container)
        plugins.check_unchanged(container, self.plugins)
        from . import validate

        validate.check(process, "process", "process")
        self.effective: Effective | None = None
        if "profile" in container.state:
            from . import profile

            self.effective = profile.stored(container.state)
            if self.effective is not None and foreign:
                process = profile.tightened(self.effective, process)
        self.process = process
        self.host = Host()
        self.request = Request(
            "exec",
            container.id,
            container.bundle,
            container.state["rootfs"],
            container.folder,
            run=True,
            systemd_cgroup=container.state["systemdCgroup"],
            rootless=is_rootless(globals_, self.host),
            no_new_keyring=container.state["noNewKeyring"],
            container=container,
            compat="runc" if self.effective is None else self.effective.compat,
            **options,
        )

    def check_terminal(self, detached: bool, console_socket: str) -> None:
        """A terminal needs somebody who holds its other side. runc's texts."""
        terminal = bool(self.process.get("terminal"))
        if detached and terminal and not console_socket:
            raise OcifwError(
                "cannot allocate tty if runc will detach without setting console socket"
            )
        if console_socket and not (detached and terminal):
            raise OcifwError("cannot use console socket if runc will not detach or allocate tty")

    def plan(self) -> Plan:
        """What is to be done. Raises PolicyError when a profile's policy does not allow it."""
        from .plan import make_plan

        check_preserved(3, self.request.preserve_fds)
        config = {**self.container.config, "process": self.process}
        plan = make_plan(self.plugins, config, self.request, self.host)
        if self.effective is not None and self.effective.rules:
            from .policy import check_exec

            check_exec(self.effective.policy, self.container.config, self.process, plan)
        return plan

    def run(
        self,
        plan: Plan,
        console_socket: str = "",
        pidfd_socket: str = "",
        pid_file: str = "",
        console: Console | None = None,
    ) -> int:
        """Apply the plan; returns the pid of the process, which is a child of this one."""
        context = context_of(self.container)
        context.pid = 0
        try:
            try:
                context.fds["container"] = self.container.pidfd()
            except ProcessLookupError:
                raise ContainerError("cannot exec in a stopped container") from None
            if console_socket or pidfd_socket:
                from .terminal import connect_console_socket

                if console_socket:
                    context.fds["console"] = connect_console_socket(console_socket)
                if pidfd_socket:
                    context.fds["pidfd"] = connect_console_socket(pidfd_socket)
            if console is not None:
                context.fds["console"] = console.container_end()
            execution = executor.Execution(plan, context, None, watch(self.plugins, context))
            pid = execution.run()
            if pid_file:
                _write_pid_file_or_end(pid_file, pid, execution)
        finally:
            context.close()
        context.report()
        return pid


def _check_executable(container: Container, ignore_paused: bool) -> None:
    status = container.status
    if status in ("stopped", "creating"):
        raise ContainerError(f"cannot exec in a {status} container")
    if status == "paused" and not ignore_paused:
        raise ContainerError("cannot exec in a paused container (use --ignore-paused to override)")


def _write_pid_file_or_end(path: str, pid: int, execution: executor.Execution) -> None:
    try:
        write_pid_file(path, pid)
    except OcifwError:
        execution.fail()
        raise
