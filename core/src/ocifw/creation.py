"""Creating a container: what is read and planned first, then what is done, as a whole or not at all."""

from __future__ import annotations

import os
import time

from . import container as containers
from . import document, execute, phases, plugins
from .container import Container, Lock
from .context import SETTINGS, SPEC_VERSION, Context, Host, Request
from .errors import ConfigError, ContainerError, NotFound, OcifwError, Problem
from .linux.unix import listen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .context import Globals
    from .notify import Proxy
    from .plan import Plan
    from .plugins import PluginSet
    from .profile import Effective
    from .step import ContainerStep
    from .terminal import Console

EXISTS = "container with given ID already exists"


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
        # The environment of a command; that of a library's process is not about its containers.
        if "listen_fds" not in options:
            options["listen_fds"] = _listen_fds()
            options["notify_socket"] = os.environ.get("NOTIFY_SOCKET") or ""
        self.request = Request(
            "create",
            container_id,
            self.bundle,
            os.path.realpath(os.path.join(self.bundle, rootfs)) if rootfs else "",
            self.folder,
            systemd_cgroup=globals_.systemd_cgroup or globals_.cgroup_manager == "systemd",
            rootless=is_rootless(globals_, self.host),
            no_cgroup=globals_.cgroup_manager == "disabled",
            **options,
        )
        self.effective: Effective | None = None
        if self._is_layered():
            from . import profile

            self.effective = profile.effective(
                globals_,
                self.config,
                self.request,
                self.host,
                self.plugins,
                config_file=config_file,
            )
            if self.effective is not None:
                self._lay(self.effective)

    def _is_layered(self) -> bool:
        """Whether anything can lie over config.json. Mostly not, and then not even the module is imported."""
        of = self.globals
        return bool(
            of.profiles
            or of.sets
            or of.program
            or of.own_profile
            or self.plugins.has("ocifw_layers")
            or self.plugins.has("ocifw_edits")
            or self.plugins.terms.profile
            or self.plugins.terms.policy
            or os.access(SETTINGS, os.F_OK)
        )

    def _lay(self, effective: Effective) -> None:
        """From here on, the config and the plugins are those that the profiles made of them."""
        self.config = effective.config
        self.plugins = self.plugins.limited(effective.settings, effective.disabled)
        rootfs = (self.config.get("root") or {}).get("path") or ""
        self.request = self.request.changed(
            rootfs=os.path.realpath(os.path.join(self.bundle, rootfs)) if rootfs else "",
            compat=effective.compat,
        )

    def plan(self) -> Plan:
        """What is to be done. Raises PolicyError when a profile's policy does not allow it."""
        from .plan import make_plan

        if not self.config.get("process") and (self.request.compat == "runc" or self.request.run):
            # config.md: REQUIRED when start is called. runc asks for it in create.
            raise ConfigError([Problem("process", "process property must not be empty")])
        plan = make_plan(self.plugins, self.config, self.request, self.host)
        if self.effective is not None and self.effective.rules:
            from .policy import check_create

            check_create(self.effective.policy, self.config, plan)
        return plan

    def unknown_properties(self) -> list[tuple[str, str]]:
        """Properties of config.json that the spec does not know, which are ignored: path, and what may be meant."""
        from . import validate

        return validate.warnings(self.config, "config")

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
            SPEC_VERSION,
            self.config.get("annotations") or {},
        )
        context.warnings += self.host.warnings
        if self.effective is not None and self.globals.debug:
            self.effective.log()
        context.warnings += [
            f"config.json: {path}: {message}" for path, message in self.unknown_properties()
        ]
        container = Container(self.folder, {"id": self.request.id})
        begun = False
        with Reservation(self.globals.root, self.folder):
            try:
                journal = execute.Journal(f"{self.folder}/{containers.JOURNAL}")
                try:
                    self._open_slots(context, console_socket, pidfd_socket, console)
                    watching = watch(self.plugins, context)
                    execution = execute.Execution(plan, context, journal, watching)

                    def created() -> None:
                        container.state = self.state(plan, execution)
                        container.save()
                        if pid_file:
                            write_pid_file(pid_file, context.pid)

                    begun = True
                    execution.run(created)
                finally:
                    journal.close()
                    context.close()
            except BaseException:
                containers.remove_folder(self.folder)
                if begun:
                    # runtime.md, Lifecycle 3 to 5: after a failure, poststop. As in runc, not only after a hook's.
                    execute.apply_each(plan.runtime(phases.POSTSTOP), context)
                context.report()
                raise
            if self.request.run and context.notes.get("hooks"):
                # What startContainer hooks said came after the state was written.
                container.save()
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

    def state(self, plan: Plan, execution: execute.Execution) -> dict[str, Any]:
        """What is written down of the container that was made."""
        from .linux.process import start_time

        context = execution.context
        profiled = {} if self.effective is None else {"profile": self.effective.document()}
        return {
            **profiled,
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
            "set": self.plugins.terms.name,
            "plugins": plugins.made_by(self.plugins),
            "systemdCgroup": self.request.systemd_cgroup,
            "noNewKeyring": self.request.no_new_keyring,
            "notifySocket": self.request.notify_socket,
            "watched": execution.watch is not None,
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


class Reservation:
    """Make the container's folder and hold its lock. The id is taken as soon as the folder is there.

    Between both, `delete --force` may remove the folder, and another `create` make and fill it: the folder that is
    locked is ours only while it is empty.
    """

    def __init__(self, root: str, folder: str) -> None:
        self.root = root
        self.folder = folder
        self.lock = Lock(folder)

    def __enter__(self) -> None:
        try:
            os.mkdir(self.folder, 0o700)
        except FileNotFoundError:
            self._make_root()
            self.__enter__()
            return
        except FileExistsError:
            raise ContainerError(EXISTS) from None
        except PermissionError as error:
            raise _no_root(error) from error
        try:
            self.lock.__enter__()
            used = os.listdir(self.lock.fd)
        except NotFound:
            self.__enter__()
            return
        except BaseException:
            # Only an empty one goes.
            containers.remove_empty(self.folder)
            self.lock.__exit__()
            raise
        if used:
            self.lock.__exit__()
            raise ContainerError(EXISTS)

    def _make_root(self) -> None:
        try:
            os.makedirs(self.root, 0o700, exist_ok=True)
        except PermissionError as error:
            raise _no_root(error) from error

    def __exit__(self, *_: object) -> None:
        self.lock.__exit__()


def _no_root(error: OSError) -> OcifwError:
    """A user who may not write the default state root has lost the variable that says where the own is."""
    why = ""
    if os.geteuid() != 0 and not os.environ.get("XDG_RUNTIME_DIR"):
        why = f" (XDG_RUNTIME_DIR is not set: export XDG_RUNTIME_DIR=/run/user/{os.getuid()}, or use --root)"
    return OcifwError(f"mkdir {os.fsdecode(error.filename)}: permission denied{why}")


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
